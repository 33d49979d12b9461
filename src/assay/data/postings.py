"""Grams and words compared and looked up: sets of grams and their rarest members, runs of words, an index of hashes."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import numpy as np
import numpy.typing as npt

from assay.data.grams import COVER_WORDS, Hashes, Ints, Small

SLACK = 1e-9  # of products that ought to be whole numbers
_SLOTS = 22  # bits: where grams are counted
_COMMON = 2**12 - 1  # a gram that stands more often is as common as any
_LOAD = 16  # bits of an index's filter for each entry
_PART = 1 << 20  # members, entries or words at a time
_HITS = 1 << 16  # hits looked at at a time, so that what they show spares others


def spread(starts: Ints, counts: Ints) -> Ints:
    """The places of several ranges, one range after another."""
    before = np.cumsum(counts) - counts
    return np.repeat(starts - before, counts) + np.arange(int(counts.sum()))


def distinct(grams: Hashes, offsets: Ints) -> tuple[Hashes, Ints]:
    """The set of each text: 44 bits of each different hash, ascending; and where each set begins.

    Args:
        grams: hashes, text after text.
        offsets: where each text's begin, one more than texts, which are 2**20 at most.
    """
    owners = np.repeat(np.arange(len(offsets) - 1, dtype=np.uint64), np.diff(offsets))
    keys, sizes = _unlike(owners << np.uint64(44) | grams >> np.uint64(20), len(offsets) - 1)
    return keys & np.uint64(2**44 - 1), np.concatenate([[0], np.cumsum(sizes)])


def _unlike(keys: Hashes, texts: int) -> tuple[Hashes, Ints]:
    """The different keys, ascending, and how many each text has: its number stands in the upper 20 bits."""
    keys = np.sort(keys)
    keys = keys[np.diff(keys, prepend=~keys[:1]) != 0]
    return keys, np.bincount((keys >> np.uint64(44)).astype(np.int64), minlength=texts)


def similarities(
    one: tuple[Hashes, Ints], other: tuple[Hashes, Ints], pairs: tuple[Ints, Ints]
) -> npt.NDArray[np.float64]:
    """The Jaccard similarity of pairs of sets, counted out.

    Args:
        one: sets as `distinct` gives them.
        other: likewise.
        pairs: for each pair its number in `one` and in `other`.
    """
    (a, a_starts), (b, b_starts), (left, right) = one, other, pairs
    a_sizes, b_sizes = np.diff(a_starts)[left], np.diff(b_starts)[right]
    common = np.zeros(len(left), dtype=np.int64)
    for some in np.split(np.arange(len(left)), cuts(a_sizes + b_sizes, _PART, _PART)):
        keys = []
        for members, starts, sizes in ((a, a_starts[left], a_sizes), (b, b_starts[right], b_sizes)):
            number = np.repeat(np.arange(len(some), dtype=np.uint64), sizes[some])
            keys.append(members[spread(starts[some], sizes[some])] << np.uint64(20) | number)
        both = np.sort(np.concatenate(keys))
        twice = both[1:][both[1:] == both[:-1]] & np.uint64(2**20 - 1)
        common[some] = np.bincount(twice.astype(np.int64), minlength=len(some))
    return common / np.maximum(1, a_sizes + b_sizes - common)


def cuts(sizes: Ints, most: int, longest: int) -> Ints:
    """Where to cut a row of things so that each part has a total size and a length at most, or one thing alone."""
    found, begun, total = [], 0, 0
    for number, size in enumerate(sizes.tolist()):
        if number > begun and (total + size > most or number - begun == longest):
            found.append(number)
            begun, total = number, 0
        total += size
    return np.array(found, dtype=np.int64)


def equal_words(one: Small, here: Ints, other: Small, there: Ints, step: int) -> Ints:
    """How many words are the same from each pair of places on, on two tapes in one direction, up to a zero.

    Args:
        one: a tape that begins and ends with a 0.
        here: places on it.
        other: likewise.
        there: places on it, as many.
        step: 1 or -1.
    """
    count = np.zeros(len(here), dtype=np.int64)
    for first in range(0, len(here), _HITS):
        live = np.arange(first, min(first + _HITS, len(here)))
        width = COVER_WORDS
        while len(live):
            reach = (count[live, None] + np.arange(width)) * step
            words = np.take(one, here[live, None] + reach, mode="clip")
            same = (words == np.take(other, there[live, None] + reach, mode="clip")) & (words != 0)
            run = np.where(same.all(axis=1), width, same.argmin(axis=1))
            count[live] += run
            live = live[run == width]
            width = min(2 * width, max(COVER_WORDS, _PART // max(1, len(live))))
    return count


def rarest(order: Hashes, begins: Ints, lengths: Ints) -> Ints:
    """Where the lowest of some entries in a row stands, for each place that such a row begins at.

    Args:
        order: entries of 44 bits.
        begins: places, ascending.
        lengths: of the rows that begin there.
    """
    bits = np.uint64(len(order).bit_length())
    # The upper bits decide, the lower ones say where.
    level = order >> np.uint64(max(0, int(bits) - 20)) << bits | np.arange(len(order), dtype=np.uint64)
    found = np.zeros(len(begins), dtype=np.int64)
    width = 1  # `level` holds the least of so many entries from each place on
    while len(level) and width <= lengths.max(initial=0):
        now = (lengths >= width) & (lengths < 2 * width)
        at = begins[now]
        least = np.minimum(level[at], level[at + lengths[now] - width])
        found[now] = (least & ((np.uint64(1) << bits) - np.uint64(1))).astype(np.int64)
        level = np.minimum(level[:-width], level[width:])
        width *= 2
    return found


class Rarity:
    """How common grams are, by a count of hashes in 2**22 slots: it only orders them, so collisions do no harm."""

    def __init__(self) -> None:
        self._counts = np.zeros(1 << _SLOTS, dtype=np.uint32)

    def _slots(self, grams: Hashes) -> Ints:
        return (grams >> np.uint64(64 - _SLOTS)).astype(np.int64)

    def add(self, grams: Hashes) -> None:
        """Count the grams of some texts."""
        np.add.at(self._counts, self._slots(grams), np.uint32(1))

    def ranked(self, grams: Hashes) -> Hashes:
        """Numbers of 44 bits that order grams from rare to common: the count, and 32 bits of the hash."""
        common = np.minimum(self._counts[self._slots(grams)], _COMMON).astype(np.uint64)
        return common << np.uint64(32) | grams >> np.uint64(32)

    def prefixes(
        self, grams: Hashes, offsets: Ints, threshold: float, shared: int = 1
    ) -> tuple[Hashes, Ints, Ints, Ints]:
        """The rarest members of each text's set, so many that of any set similar enough they share a few.

        Of two sets of Jaccard similarity t or more the first n - ceil(t n) + l members in any one order of all members,
        n being the size of each, have l in common, or ceil(t n) if that is less (Chaudhuri et al., A primitive operator
        for similarity joins in data cleaning, 2006; Wang et al., Can we beat the prefix filtering?, 2012).

        Args:
            grams: hashes, text after text.
            offsets: where each text's begin, one more than texts, which are 2**20 at most.
            threshold: of the similarity.
            shared: l.

        Returns:
            The members, of whose hash the upper 32 bits count; the text of each; and of each text the size of its set,
            and how many of these members any similar set shares.
        """
        owners = np.repeat(np.arange(len(offsets) - 1, dtype=np.uint64), np.diff(offsets))
        keys, sizes = _unlike(owners << np.uint64(44) | self.ranked(grams), len(offsets) - 1)
        least = np.ceil(threshold * sizes - SLACK).astype(np.int64)
        common = np.minimum(shared, least)
        lengths = sizes - least + common
        first = keys[spread(np.cumsum(sizes) - sizes, lengths)]
        return first << np.uint64(32), np.repeat(np.arange(len(sizes)), lengths), sizes, common


class Postings:
    """An index from 64-bit hashes to numbers, in 10 bytes per entry.

    An entry is one integer: the number in the lower bits, and above it as much of the hash as there is room for. So
    what is found is likely, and the caller has to make sure of it. A filter of bits answers for most hashes that are
    not there.

    Args:
        parts: hashes, and the number to be found by each.
        limit: above all numbers.
    """

    def __init__(self, parts: Iterable[tuple[Hashes, Ints]], limit: int) -> None:
        self._mask = np.uint64((1 << max(1, (limit - 1).bit_length())) - 1)
        store = array("Q")  # grows in place
        for hashes, numbers in parts:
            store.frombytes((hashes & ~self._mask | numbers.astype(np.uint64)).tobytes())
        self._keys: Hashes = np.frombuffer(store, dtype=np.uint64)
        self._keys.sort()
        bits = max(16, (_LOAD * len(store)).bit_length())
        self._shift = np.uint64(64 - bits)
        self._filter = np.zeros(1 << bits - 3, dtype=np.uint8)
        for at in range(0, len(self._keys), _PART):
            for turn in (0, 1):
                np.bitwise_or.at(self._filter, *self._bits(self._keys[at : at + _PART], turn))

    def _bits(self, hashes: Hashes, turn: int) -> tuple[Ints, npt.NDArray[np.uint8]]:
        """Of each hash a byte and a bit of the filter, of which there are two."""
        slots = ((hashes & ~self._mask) * np.uint64(0x9E3779B97F4A7C15) if turn else hashes) >> self._shift
        bit = np.left_shift(np.uint8(1), (slots & np.uint64(7)).astype(np.uint8))
        return (slots >> np.uint64(3)).astype(np.int64), bit

    def _there(self, hashes: Hashes) -> Ints:
        """Where in `hashes` one stands that an entry begins with; ascending."""
        likely = np.arange(len(hashes))
        for turn in (0, 1):
            byte, bit = self._bits(hashes[likely], turn)
            likely = likely[(self._filter[byte] & bit) != 0]
        low = hashes[likely] & ~self._mask
        # Searched in ascending order, neighbours in memory are read one after another.
        order = np.argsort(low)
        first = np.searchsorted(self._keys, low[order])
        order = order[first < len(self._keys)]
        return np.sort(likely[order[self._keys[first[: len(order)]] & ~self._mask == low[order]]])

    def find(self, hashes: Hashes, owners: Ints | None = None) -> Iterator[tuple[Ints, Ints]]:
        """Where in `hashes` one stands that is likely in the index, and its number; once for each number, in parts.

        Args:
            hashes: to be looked up.
            owners: ascending; what is found of the hashes of one owner stays together.
        """
        at = self._there(hashes)
        low = hashes[at] & ~self._mask
        first = np.searchsorted(self._keys, low)
        counts = np.searchsorted(self._keys, low | self._mask, side="right") - first
        heads = np.arange(len(at)) if owners is None else np.flatnonzero(np.diff(owners[at], prepend=-1))
        totals = np.add.reduceat(counts, heads) if len(heads) else counts
        for part in np.split(np.arange(len(at)), heads[cuts(totals, _HITS, _HITS)]):
            numbers = self._keys[spread(first[part], counts[part])] & self._mask
            yield np.repeat(at[part], counts[part]), numbers.astype(np.int64)
