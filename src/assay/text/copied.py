"""The longest spans that generations share with training rows, exactly.

A suffix automaton (Blumer et al. 1985, Theoretical Computer Science 40, 31-55) of the generations, which are few, reads
the training rows, which are many: after each token its state and length are the longest string that ends there and
stands in a generation. Every common string is met in this way, and none is guessed (the table of edges is addressed by
a hash, but compares whole keys). Thousands of rows are read side by side, a token of each at a time, so that the work
lies in numpy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Small = NDArray[np.int32]

_PIECE = 1024  # tokens: longer rows are cut into overlapping pieces
_BATCH = 8192  # pieces that are read side by side,
_TOKENS = 1 << 22  # of so many tokens together
_PLACE = 43  # bits for a place in all training tokens; the 20 above hold a length
_PLACES = (1 << _PLACE) - 1
LONGEST = (1 << 20) - 1  # tokens of a generation


@dataclass(frozen=True)
class Span:
    """A copied span, in tokens: how long, where it begins in the generation, and in which row it stands and where.

    Where several places hold it, this is one of them, and the same one every time.
    """

    length: int
    start: int
    row: int
    row_start: int


@dataclass(frozen=True)
class Copied:
    """What one generation shares with the training rows.

    Args:
        longest: the longest span, the first of several; None where no token is shared.
        lengths: for each token of the generation the longest span that ends with it; 0 where no row holds it.
    """

    longest: Span | None
    lengths: Small

    def covered(self, least: int) -> float | None:
        """The share of the tokens inside spans of at least so many tokens; None for an empty generation."""
        if not len(self.lengths):
            return None
        ends = np.flatnonzero(self.lengths >= least)
        edges = np.zeros(len(self.lengths) + 1, np.int64)
        np.add.at(edges, ends + 1 - self.lengths[ends], 1)
        np.add.at(edges, ends + 1, -1)
        return float(np.count_nonzero(np.cumsum(edges)[:-1])) / len(self.lengths)


def copied_spans(generations: Sequence[Sequence[int]], rows: Iterable[NDArray[np.integer]]) -> list[Copied]:
    """What each generation shares with training rows; a span never crosses the end of a row.

    Time grows with the tokens of the rows, memory with those of the generations (about 1 kB each) and, by 8 bytes a
    row, with the rows.

    Args:
        generations: token ids (not negative) of each, new tokens only; at most 1,048,575.
        rows: token ids of each training row, by the same tokenizer; read once, a few thousand at a time.
    """
    automaton = _Automaton(generations)
    starts, total = [0], 0
    for row in rows:
        total += automaton.read(row, total)
        starts.append(total)
    return automaton.found(np.array(starts, np.int64))


class _Automaton:
    """A suffix automaton of the generations, and the longest match that was met in each of its states."""

    def __init__(self, generations: Sequence[Sequence[int]]) -> None:
        self._sizes = [len(tokens) for tokens in generations]
        longest = max(self._sizes, default=0)
        if longest > LONGEST:
            raise ValueError(f"a generation of {longest} tokens; at most {LONGEST}")
        # A span is no longer than a generation: with this overlap it lies in one piece of a long row.
        self._overlap = max(0, longest - 1)
        self._piece = max(_PIECE, 2 * self._overlap)
        flat = np.array([token for tokens in generations for token in tokens], np.int64)
        known = np.unique(flat)
        self._number = np.full(int(known[-1]) + 2 if len(known) else 1, -1, np.int32)
        self._number[known] = np.arange(len(known))
        self._tokens = max(1, len(known))
        edges, sizes, links, self._ends = _built(np.split(self._number[flat], np.cumsum(self._sizes)[:-1]))
        self._size, self._link = np.array(sizes, np.int32), np.array(links, np.int32)
        pairs = [(state * self._tokens + token, to) for state, some in enumerate(edges) for token, to in some.items()]
        self._table = _Table(np.array(pairs, np.int64).reshape(-1, 2))
        # The longest match of each state: its length, and below that the place where it ends, turned around.
        self._best = np.zeros(len(sizes), np.int64)
        self._waiting: list[tuple[Small, int]] = []
        self._held = 0

    def read(self, row: NDArray[np.integer], place: int) -> int:
        """Take in a row whose first token is number `place` of all; its size."""
        tokens = self._number[np.minimum(row, len(self._number) - 1)]
        for start in range(0, max(1, len(tokens) - self._overlap), self._piece - self._overlap):
            self._waiting.append((tokens[start : start + self._piece], place + start))
        self._held += len(tokens)
        if len(self._waiting) >= _BATCH or self._held >= _TOKENS:
            self._walk()
        return len(tokens)

    def _walk(self) -> None:
        """Read the waiting pieces, the longest first, one token of each at a time."""
        waiting = sorted(self._waiting, key=lambda piece: -len(piece[0]))
        self._waiting, self._held = [], 0
        lengths = np.array([len(tokens) for tokens, _ in waiting], np.int64)
        places = np.array([place for _, place in waiting], np.int64)
        grid = np.full((len(waiting), int(lengths[0]) if len(lengths) else 0), -1, np.int32)
        grid[np.arange(grid.shape[1]) < lengths[:, None]] = np.concatenate([tokens for tokens, _ in waiting])
        state, size = np.zeros(len(waiting), np.int32), np.zeros(len(waiting), np.int64)
        for step, tokens in enumerate(np.ascontiguousarray(grid.T)):
            count = int(np.searchsorted(-lengths, -step))  # pieces that are longer than this
            now = state[:count]
            self._advance(now, size[:count], tokens[:count])
            longer = np.flatnonzero(size[:count] << _PLACE > self._best[now])
            if len(longer):
                codes = (size[longer] << _PLACE) + (_PLACES - places[longer] - step)
                np.maximum.at(self._best, now[longer], codes)

    def _advance(self, state: Small, size: Ints, tokens: Small) -> None:
        """Go on by one token each, in place: along an edge, or from the next shorter suffix that has one."""
        after = self._table.find(state.astype(np.int64) * self._tokens + tokens)
        unknown = tokens < 0
        after[unknown] = 0
        size += 1
        size[unknown] = 0
        stuck = np.flatnonzero(after < 0)
        at, wanted = state[stuck], tokens[stuck]
        while len(stuck):  # the first state, of the empty string, has an edge for each known token
            at = self._link[at]
            found = self._table.find(at.astype(np.int64) * self._tokens + wanted)
            done = found >= 0
            after[stuck[done]] = found[done]
            size[stuck[done]] = self._size[at[done]] + 1
            stuck, at, wanted = stuck[~done], at[~done], wanted[~done]
        state[:] = after

    def found(self, starts: Ints) -> list[Copied]:
        """The results, given the place where each row starts, and the end of the last."""
        if self._waiting:
            self._walk()
        best = self._best.tolist()
        sizes, links = self._size.tolist(), self._link.tolist()
        order = np.argsort(self._size, kind="stable").tolist()[1:]
        for state in reversed(order):  # what was met in a state was met, shorter, in that of each of its suffixes
            if best[state]:
                up = links[state]
                best[up] = max(best[up], (sizes[up] << _PLACE) + (best[state] & _PLACES))
        for state in order:  # what was not met at any length of a state may have been met at a shorter suffix
            best[state] = best[state] or best[links[state]]
        codes = np.array([best[state] for state in self._ends], np.int64)
        return [_result(some, starts) for some in np.split(codes, np.cumsum(self._sizes)[:-1])][: len(self._sizes)]


def _result(codes: Ints, starts: Ints) -> Copied:
    lengths = (codes >> _PLACE).astype(np.int32)
    if not lengths.any():
        return Copied(None, lengths)
    end = int(lengths.argmax())
    length, last = int(lengths[end]), _PLACES - int(codes[end] & _PLACES)
    row = int(np.searchsorted(starts, last, side="right")) - 1
    return Copied(Span(length, end + 1 - length, row, last + 1 - length - int(starts[row])), lengths)


def _built(texts: Iterable[Small]) -> tuple[list[dict[int, int]], list[int], list[int], list[int]]:
    """A suffix automaton of several texts.

    Returns:
        Of each state its edges (token to state), the length of its longest string, and its suffix link (-1 for the
        first); and for each token of the texts the state of all that ends with it.
    """
    edges: list[dict[int, int]] = [{}]
    sizes, links, ends = [0], [-1], []
    for tokens in texts:
        last = 0
        for token in tokens.tolist():
            last = _extended(edges, sizes, links, last, token)
            ends.append(last)
    return edges, sizes, links, ends


def _extended(edges: list[dict[int, int]], sizes: list[int], links: list[int], last: int, token: int) -> int:
    """Add the strings that end with one more token; the state of all of them."""
    if token in edges[last]:  # an earlier text has begun in the same way
        return _of_size(edges, sizes, links, last, token)
    new = len(edges)
    edges.append({})
    sizes.append(sizes[last] + 1)
    links.append(0)
    while last >= 0 and token not in edges[last]:
        edges[last][token] = new
        last = links[last]
    if last >= 0:
        links[new] = _of_size(edges, sizes, links, last, token)
    return new


def _of_size(edges: list[dict[int, int]], sizes: list[int], links: list[int], state: int, token: int) -> int:
    """The state behind an edge, split where it also holds strings that are longer than the state's and the token."""
    old = edges[state][token]
    if sizes[old] == sizes[state] + 1:
        return old
    new = len(edges)
    edges.append(edges[old].copy())
    sizes.append(sizes[state] + 1)
    links.append(links[old])
    links[old] = new
    while state >= 0 and edges[state].get(token) == old:
        edges[state][token] = new
        state = links[state]
    return new


class _Table:
    """Numbers by keys (neither negative), in a hash table with linear probing that is read many keys at a time."""

    def __init__(self, pairs: Ints) -> None:
        bits = (2 * len(pairs)).bit_length() + 1
        self._mask, self._shift = (1 << bits) - 1, np.uint64(64 - bits)
        self._keys = np.full(1 << bits, -1, np.int64)
        self._values = np.full(1 << bits, -1, np.int32)
        keys, values = pairs[:, 0], pairs[:, 1]
        at = self._first(keys)
        while len(keys):
            free = self._keys[at] < 0
            self._keys[at[free]] = keys[free]  # of several, one gets the place
            placed = self._keys[at] == keys
            self._values[at[placed]] = values[placed]
            keys, values, at = keys[~placed], values[~placed], (at[~placed] + 1) & self._mask

    def _first(self, keys: Ints) -> Ints:
        """Where to look first: the highest bits of a product with 2^64 ÷ the golden ratio (Knuth, volume 3, 6.4)."""
        return ((keys.view(np.uint64) * np.uint64(0x9E3779B97F4A7C15)) >> self._shift).astype(np.int64)

    def find(self, keys: Ints) -> Small:
        """The number of each key, -1 where it has none."""
        at = self._first(keys)
        there = self._keys[at]
        found: Small = np.where(there == keys, self._values[at], np.int32(-1))
        rest = np.flatnonzero((there != keys) & (there >= 0))
        at = at[rest]
        while len(rest):
            at = (at + 1) & self._mask
            there = self._keys[at]
            hit = there == keys[rest]
            found[rest[hit]] = self._values[at[hit]]
            on = ~hit & (there >= 0)
            rest, at = rest[on], at[on]
        return found
