"""From texts to steps: which tokens are trained on, in which order, in which rows.

The order is a function of (seed, epoch, index) alone, whatever the micro-batch: the same experiment
sees the same tokens in the same step on any machine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from assay.text.tokenizer import TextTokenizer

Segment = list[int]  # ids; all but the first are predicted


@dataclass(frozen=True)
class Corpus:
    """The training rows as segments of at most `max_length` predicted tokens."""

    segments: list[Segment]
    rows: int
    supervised_rows: int
    doubled_prefix: list[int]  # numbers of rows that begin with the tokenizer's prefix twice
    tokens: int  # predicted tokens in all segments


def make_corpus(texts: Sequence[str], tokenizer: TextTokenizer, *, max_length: int) -> Corpus:
    """Tokenize rows and cut them into segments.

    A row is its own document: the tokenizer's prefix in front where it has one, the end-of-text
    token behind. A long row is cut every `max_length` tokens; each cut repeats the last token as
    context, so that every token of a row is predicted exactly once (but for a first token that
    has nothing before it).
    """
    segments: list[Segment] = []
    supervised, doubled = 0, []
    prefix = list(tokenizer.prefix)
    suffix = [] if tokenizer.eos is None else [tokenizer.eos]
    for number, ids in enumerate(tokenizer.encode_batch(list(texts)), start=1):
        if prefix and ids[: len(prefix)] == prefix:
            doubled.append(number)
        whole = [*prefix, *ids, *suffix]
        cut = [whole[start : start + max_length + 1] for start in range(0, len(whole) - 1, max_length)]
        segments += cut
        supervised += bool(ids) and bool(cut)
    return Corpus(segments, len(texts), supervised, doubled, sum(len(s) - 1 for s in segments))


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
