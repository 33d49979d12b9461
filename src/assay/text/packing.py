"""Short rows together in sequences of one length: best-fit decreasing."""

from __future__ import annotations

from bisect import bisect_left, insort

import numpy as np
from numpy.typing import ArrayLike, NDArray


def pack(lengths: ArrayLike, max_length: int) -> list[NDArray[np.int64]]:
    """Put rows into as few sequences as best-fit decreasing finds: the longest row first, each where least is left.

    As in "Fewer Truncations Improve Language Modeling" (arXiv 2404.10830). Rows of equal length go in together, so that
    the work grows with the number of different lengths, not with the number of rows.

    Args:
        lengths: tokens of each row, 1 to `max_length`.
        max_length: tokens of a sequence.

    Returns:
        The numbers of the rows in each sequence.

    Raises:
        ValueError: a length is out of bounds.
    """
    sizes = np.asarray(lengths, np.int64)
    if not sizes.size:
        return []
    if sizes.min() < 1 or sizes.max() > max_length:
        raise ValueError(f"lengths are from {sizes.min()} to {sizes.max()}, outside of 1 to {max_length}")
    order = np.argsort(-sizes, kind="stable")
    bins = _Bins(max_length)
    placed = np.empty(sizes.size, np.int64)
    values, starts = np.unique(-sizes[order], return_index=True)
    for value, start, end in zip(-values, starts, [*starts[1:], sizes.size], strict=True):
        placed[start:end] = bins.put(int(value), int(end - start))
    by_bin = order[np.argsort(placed, kind="stable")]
    return np.split(by_bin, np.cumsum(np.bincount(placed))[:-1])


class _Bins:
    """Sequences by the room that is left in them."""

    def __init__(self, size: int) -> None:
        self.size, self.count = size, 0
        self.by_room: dict[int, list[int]] = {}
        self.rooms: list[int] = []  # ascending, those that some sequence has

    def put(self, length: int, count: int) -> NDArray[np.int64]:
        """The sequences that so many rows of one length go into, one after the other."""
        chosen = []
        while count:
            room, bins = self._tightest(length, count)
            each = room // length  # once a row is in, the same sequence is the tightest for the next
            used = -(-count // each)
            taken, rest = bins[:used], bins[used:]
            self._keep(room, rest)
            into = np.repeat(np.array(taken, np.int64), each)[:count]
            last = into.size - each * (len(taken) - 1)  # rows in the last one
            self._keep(room - each * length, taken[:-1])
            self._keep(room - last * length, taken[-1:])
            count -= into.size
            chosen.append(into)
        return np.concatenate(chosen)

    def _tightest(self, length: int, count: int) -> tuple[int, list[int]]:
        """The sequences with the least room that suffices, taken out; new ones where none does."""
        at = bisect_left(self.rooms, length)
        if at < len(self.rooms):
            room = self.rooms.pop(at)
            return room, self.by_room.pop(room)
        needed = -(-count // (self.size // length))
        self.count += needed
        return self.size, list(range(self.count - needed, self.count))

    def _keep(self, room: int, bins: list[int]) -> None:
        if bins and room:
            if room not in self.by_room:
                insort(self.rooms, room)
                self.by_room[room] = []
            self.by_room[room] += bins
