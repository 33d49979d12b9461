"""From prepared tokens to steps: which tokens are trained on, in which order, in which rows.

The order is a function of (seed, epoch, index) alone, whatever the micro-batch: the same experiment
sees the same tokens in the same step on any machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
import numpy.typing as npt

Ids = npt.NDArray[np.int32]
Mask = npt.NDArray[np.bool_]


class Segment(NamedTuple):
    """A stretch of one row: all but its first token are predicted, those with `learn` set count in the loss."""

    ids: Ids
    learn: Mask


class Corpus(Sequence[Segment]):
    """The training rows as segments of at most `max_length` predicted tokens, sliced out of the flat arrays.

    Args:
        ids: the tokens of all rows, one after another; may lie on disk (memory-mapped).
        learn: which of them count in the loss.
        starts: where each row starts, and the end of the last: (rows + 1,).
        max_length: longest segment, in predicted tokens.
        truncate: cut a longer row off (a pair, a chat), rather than into several (plain text), in which each segment
            repeats the last token of the one before, so that every token of a row is predicted exactly once.
    """

    def __init__(
        self, ids: Ids, learn: Mask, starts: npt.NDArray[np.int64], *, max_length: int, truncate: bool
    ) -> None:
        self.ids, self.learn = ids, learn
        predicted = np.maximum(np.diff(starts) - 1, 0)
        self.long_rows = int((predicted > max_length).sum())  # longer than max_length
        self.lost = int(np.maximum(predicted - max_length, 0).sum()) if truncate else 0  # tokens that are cut off
        pieces = np.minimum(-(-predicted // max_length), 1 if truncate else predicted)
        row = np.repeat(np.arange(len(predicted)), pieces)
        nth = np.arange(len(row)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        begin = starts[row] + nth * max_length
        end = np.minimum(begin + max_length + 1, starts[row + 1])
        counts = _learned(learn, begin + 1, end)
        # A segment from which nothing is learned would be read for nothing.
        self.begin, self.end = begin[counts > 0], end[counts > 0]
        self.rows: list[int] = row[counts > 0].tolist()  # which row each segment is of
        self.learned: list[int] = counts[counts > 0].tolist()
        self.lengths: list[int] = (self.end - self.begin - 1).tolist()

    def __len__(self) -> int:
        return len(self.lengths)

    @overload
    def __getitem__(self, index: int) -> Segment: ...
    @overload
    def __getitem__(self, index: slice) -> list[Segment]: ...
    def __getitem__(self, index: int | slice) -> Segment | list[Segment]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        span = slice(int(self.begin[index]), int(self.end[index]))
        return Segment(self.ids[span], self.learn[span])

    def read_in(self, steps: Sequence[Sequence[int]]) -> npt.NDArray[np.int64]:
        """What these steps read: (stretches, 3), the row of each, and where it begins and ends in `ids`.

        Segments that lie next to each other in a row are one stretch, and none is told twice.
        """
        own = np.unique(np.fromiter((index for step in steps for index in step), dtype=np.int64))
        row, begin, end = np.asarray(self.rows)[own], self.begin[own], self.end[own]
        first = np.ones(len(own), dtype=bool)
        first[1:] = (row[1:] != row[:-1]) | (begin[1:] > end[:-1])
        last = np.roll(first, -1)
        return np.column_stack([row[first], begin[first], end[last]]).astype(np.int64)

    def fingerprint(self, segments: Sequence[int]) -> str:
        """SHA-256 of the ids of some segments and of which of them are learned, in order."""
        digest = hashlib.sha256()
        for ids, learn in (self[i] for i in segments):
            digest.update(ids.tobytes() + learn.tobytes())
        return digest.hexdigest()


def _learned(learn: Mask, begin: npt.NDArray[np.int64], end: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many tokens of each span [begin, end), none of them empty and one behind another, count in the loss."""
    if not len(begin):
        return np.zeros(0, dtype=np.int64)
    # reduceat sums from each place to the next: every other sum is that of the gap behind a span
    places = np.column_stack([begin, end]).ravel()
    places = places[:-1] if places[-1] == len(learn) else places
    sums: npt.NDArray[np.int64] = np.add.reduceat(learn, places, dtype=np.int64)[::2]
    return sums


def order(seed: int, epoch: int, count: int) -> list[int]:
    """The order of `count` segments in one epoch."""
    generator = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, epoch])))
    return [int(i) for i in generator.permutation(count)]


def _stream(seed: int, count: int, limit: int | None) -> Iterator[int]:
    epoch, given = 0, 0
    while limit is None or given < limit:
        for index in order(seed, epoch, count):
            if limit is not None and given >= limit:
                return
            yield index
            given += 1
        epoch += 1


def schedule_steps(
    lengths: Sequence[int], *, seed: int, batch_tokens: int, steps: int | None, epochs: float | None
) -> list[list[int]]:
    """Segments of each optimizer step: filled in order up to `batch_tokens` predicted tokens.

    Args:
        lengths: predicted tokens per segment.
        steps: how many steps, or None to go by `epochs`.
        epochs: passes over the data, or None to go by `steps`.
    """
    limit = None if steps is not None else max(1, round((epochs or 1.0) * len(lengths)))
    planned: list[list[int]] = []
    current: list[int] = []
    filled = 0
    for index in _stream(seed, len(lengths), limit):
        if current and filled + lengths[index] > batch_tokens:
            planned.append(current)
            current, filled = [], 0
            if steps is not None and len(planned) == steps:
                return planned
        current.append(index)
        filled += lengths[index]
    return [*planned, current]


def micro_batches(step: Sequence[int], lengths: Sequence[int], micro_tokens: int) -> list[list[int]]:
    """Cut a step into rows of at most `micro_tokens` tokens (a longer segment has a row of its own)."""
    rows: list[list[int]] = []
    filled = 0
    for index in step:
        if not rows or filled + lengths[index] > micro_tokens:
            rows.append([])
            filled = 0
        rows[-1].append(index)
        filled += lengths[index]
    return rows
