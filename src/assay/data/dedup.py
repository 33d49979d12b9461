"""Near-duplicates: texts whose sets of word 5-grams have a Jaccard similarity of at least a threshold.

The set of a text holds the 5-grams of its content (`grams.Template`), and each stretch of content of fewer than 5 words
as one gram. A text without content is the one gram of all its words, and one without words that of its signs.

Candidates are found by MinHash (Broder, On the resemblance and containment of documents, 1997) with bands (Leskovec,
Rajaraman and Ullman, Mining of Massive Datasets, section 3.4): the smallest of a set's hashes under a random
permutation is the same for two sets with a probability of s, their similarity; so b bands of r permutations all miss a
pair with (1 - s^r)^b. Candidates are then compared gram by gram: no estimate decides. Nothing is drawn anew in each
run, and the order of the texts does not matter.

The permutations are NumPy's work: rensa, written in Rust, is faster at them (5 against 16 microseconds for a text of
350 words, in version 0.5.0), but hands the result over as lists of Python's integers, which takes another 21.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from assay.data.grams import Hashes, Ints, Small, Template, identities, map_batches, mix, pieces, read_words
from assay.data.postings import SLACK, Rarity, cuts, distinct, spread

SHINGLE_WORDS = 5
_MISS = 1e-5  # probability of missing a pair at exactly the threshold
_PERMUTATIONS = 168  # at most
_BLOCK_GRAMS = 1 << 22  # compared at a time
_PIECE_GRAMS = 1 << 18  # fetched at a time, some 1.5 MB of text
_PIECE_TEXTS = 1 << 12
_RARE_GRAMS = 1 << 23  # held at a time

Fetch = Callable[[Sequence[int]], list[str]]


def bands_for(threshold: float) -> tuple[int, int]:
    """Bands and rows per band: the most rows, so the fewest false candidates, that few enough permutations allow."""
    best = (1, 1)
    for rows in range(1, 17):
        hit = threshold**rows
        bands = math.ceil(math.log(_MISS) / math.log1p(-hit)) if hit < 1 else 1
        if bands * rows <= _PERMUTATIONS:
            best = (bands, rows)
    return best


def shingles(texts: Sequence[str], template: Template) -> tuple[Hashes, Ints]:
    """The grams that texts are compared by, text after text and with repetitions, and where each text's begin.

    Returns:
        Hashes; and offsets, one more than texts. Each text has a gram at least.
    """
    words = read_words(texts)
    content = template.content(words)
    hashes = np.zeros(len(content.tape), dtype=np.uint64)
    chosen = np.zeros(len(content.tape), dtype=np.bool_)
    spots = content.spots(SHINGLE_WORDS)
    hashes[spots], chosen[spots] = content.grams(SHINGLE_WORDS)[spots], True
    heads = np.flatnonzero((content.begins() == np.arange(len(content.tape))) & (content.tape != 0))
    short = heads[content.ends[heads] - heads < SHINGLE_WORDS]
    hashes[short], chosen[short] = content.ranges(short, content.ends[short]), True
    empty = np.flatnonzero(content.counts() == 0)
    last = words.starts[empty + 1] - 1
    hashes[last], chosen[last] = identities(words, texts)[empty], True
    return hashes[chosen], np.concatenate([[0], np.cumsum(chosen)])[words.starts]


class NearDuplicates:
    """A search for near-duplicates: texts are added in batches, then clusters are asked for.

    Memory holds 4 bytes per band of each text (120 bytes at 0.8), and later one block of candidates.

    Args:
        threshold: the Jaccard similarity from which texts are near-duplicates, in [0.5, 1].
        template: what is no content.
    """

    def __init__(self, threshold: float, template: Template) -> None:
        self.threshold, self.template = threshold, template
        self.apart = 0  # texts in groups of candidates too large to be compared as a whole: some pairs may be missed
        self._bands, rows = bands_for(threshold)
        # Multiply-add modulo 2**32 stands for a permutation: the grams' hashes are mixed already.
        seeds = mix(np.arange(1, 2 * self._bands * rows + 1, dtype=np.uint64)).astype(np.uint32).reshape(2, -1)
        self._factors, self._terms = seeds[0] | np.uint32(1), seeds[1]
        self._marks: list[Small] = []
        self._sizes: list[Small] = []

    def add(self, texts: Sequence[str]) -> None:
        """Take in a batch; texts are numbered as they come, from 0."""
        for marks, sizes in map_batches(self._sketch, pieces(texts)):
            self._marks.append(marks)
            self._sizes.append(sizes)

    def _sketch(self, texts: Sequence[str]) -> tuple[Small, Small]:
        """Of each text a hash per band, and the number of its grams."""
        grams, offsets = shingles(texts, self.template)
        values = (grams >> np.uint64(32)).astype(np.uint32)
        least = np.empty((len(self._factors), len(texts)), dtype=np.uint64)
        permuted = np.empty_like(values)
        for n, (factor, term) in enumerate(zip(self._factors, self._terms, strict=True)):
            np.multiply(values, factor, out=permuted)
            np.add(permuted, term, out=permuted)
            least[n] = np.minimum.reduceat(permuted, offsets[:-1])
        marks = np.zeros((self._bands, len(texts)), dtype=np.uint64)
        for row in range(0, len(least), self._bands):
            marks = mix(marks ^ least[row : row + self._bands])
        return (marks.T >> np.uint64(32)).astype(np.uint32), np.diff(offsets).astype(np.uint32)

    def clusters(self, fetch: Fetch) -> list[list[int]]:
        """Texts that a chain of near-duplicates connects: numbers ascending, two or more together, by their first.

        Args:
            fetch: gives the texts with some numbers, which ascend.
        """
        if not self._marks:
            return []
        self._sizes = [np.concatenate(self._sizes)]
        found: list[list[int]] = []
        for block in self._blocks(self._candidates(fetch)):
            found += [np.sort(cluster).tolist() for cluster in self._compared(block, fetch) if len(cluster) > 1]
        return sorted(found)

    def _compared(self, block: Ints, fetch: Fetch) -> list[Ints]:
        """The clusters of some texts, those of one text among them.

        More than are compared at a time are so in parts, and then a text of each cluster with those of the others, as
        long as that makes them fewer.
        """
        parts = np.split(block, cuts(self._weights(block), _BLOCK_GRAMS, len(block)))
        if len(parts) == 1:
            block = np.sort(block)
            sets = [distinct(*grams) for _, grams in self._fetched(block, fetch)]
            offsets = np.concatenate([[0], np.cumsum(np.concatenate([np.diff(starts) for _, starts in sets]))])
            labels = linked(np.concatenate([members for members, _ in sets]), offsets, self.threshold)
            return [block[group] for group in _groups(labels, 1)]
        self.apart += len(block)
        found = [cluster for part in parts for cluster in self._compared(part, fetch)]
        firsts = np.array([cluster[0] for cluster in found])
        if self._weights(firsts).sum() > self._weights(block).sum() / 2:
            return found
        by_first = {int(cluster[0]): cluster for cluster in found}
        together = self._compared(firsts, fetch)
        return [np.concatenate([by_first[first] for first in cluster.tolist()]) for cluster in together]

    def _weights(self, numbers: Ints) -> Ints:
        return self._sizes[0][numbers].astype(np.int64)

    def _fetched(self, numbers: Ints, fetch: Fetch) -> Iterator[tuple[Ints, tuple[Hashes, Ints]]]:
        """The shingles of some texts, in pieces: which of the numbers a piece is of, and its shingles."""
        for part in np.split(np.arange(len(numbers)), cuts(self._weights(numbers), _PIECE_GRAMS, _PIECE_TEXTS)):
            yield part, shingles(fetch(numbers[part].tolist()), self.template)

    def _candidates(self, fetch: Fetch) -> Iterator[Ints]:
        """Groups of texts such that no pair is found across two of them."""
        labels = np.arange(len(self._sizes[0]))
        for band in range(self._bands):
            labels = _joined(labels, np.concatenate([part[:, band] for part in self._marks]), np.arange(len(labels)))
        for group in _groups(labels, 2):
            if self._weights(group).sum() > _BLOCK_GRAMS:
                yield from self._by_rare_grams(group, fetch)
            else:
                yield group

    def _by_rare_grams(self, group: Ints, fetch: Fetch) -> Iterator[Ints]:
        """A large group in smaller ones: what all its texts share is common, and near-duplicates share what is rare."""
        rarity, labels = Rarity(), np.arange(len(group))
        for _, (grams, _) in self._fetched(group, fetch):
            rarity.add(grams)
        turns = 1 + int(self._weights(group).sum() * (1 - self.threshold)) // _RARE_GRAMS
        for turn in range(turns):
            found = []
            for part, (grams, offsets) in self._fetched(group, fetch):
                rare, owners, _, _ = rarity.prefixes(grams, offsets, self.threshold)
                marks = (rare >> np.uint64(32)).astype(np.uint32)
                now = marks % turns == turn
                found.append((marks[now], part[owners[now]]))
            labels = _joined(labels, *(np.concatenate(column) for column in zip(*found, strict=True)))
        for smaller in (group[places] for places in _groups(labels, 2)):
            if self._weights(smaller).sum() > _BLOCK_GRAMS:  # those alike in some bands side by side
                marks = np.concatenate([part[:, :4] for part in self._marks])[smaller]
                smaller = smaller[np.lexsort(marks.T)]
            yield smaller

    def _blocks(self, groups: Iterable[Ints]) -> Iterator[Ints]:
        """Groups put together as far as they are compared at a time."""
        waiting: list[Ints] = []
        size = 0
        for group in groups:
            weight = int(self._weights(group).sum())
            if waiting and size + weight > _BLOCK_GRAMS:
                yield np.concatenate(waiting)
                waiting, size = [], 0
            waiting.append(group)
            size += weight
        if waiting:
            yield np.concatenate(waiting)


def _joined(labels: Ints, marks: Small, owners: Ints) -> Ints:
    """The labels after those of all owners of an equal mark have become one."""
    keys = np.sort(marks.astype(np.uint64) << np.uint64(32) | owners.astype(np.uint64))
    equal = np.flatnonzero(keys[1:] >> np.uint64(32) == keys[:-1] >> np.uint64(32))
    one, other = (labels[(keys[equal + n] & np.uint64(0xFFFFFFFF)).astype(np.int64)] for n in (0, 1))
    return _components(len(labels), one, other)[labels]


def _components(count: int, one: Ints, other: Ints) -> Ints:
    """The least number of each number's connected component, from pairs of numbers below `count`.

    Each round hooks the larger root of a pair onto the smaller and lets all numbers point to their roots (Shiloach and
    Vishkin, 1982). scipy has this too, and takes 60 MB to load.
    """
    root = np.arange(count, dtype=np.int64)
    while len(apart := np.flatnonzero(root[one] != root[other])):
        one, other = one[apart], other[apart]
        np.minimum.at(root, np.maximum(root[one], root[other]), np.minimum(root[one], root[other]))
        while not np.array_equal(jumped := root[root], root):
            root = jumped
    return root


def _groups(labels: Ints, least: int) -> list[Ints]:
    """The places of each label that stands at so many or more, ascending."""
    often = np.flatnonzero(np.bincount(labels)[labels] >= least)
    order = often[np.argsort(labels[often], kind="stable")]
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(order) else []


def linked(sets: Hashes, offsets: Ints, threshold: float) -> Ints:
    """A number for each set, the same for sets that a chain of pairs at or above the threshold connects.

    Args:
        sets: the distinct members of each set, set after set.
        offsets: where each set begins, one more than sets.
        threshold: of the Jaccard similarity.
    """
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(mix(sets))])
    _, first, same = np.unique(sums[offsets[1:]] - sums[offsets[:-1]], return_index=True, return_inverse=True)
    sizes = np.diff(offsets)[first]
    join = _Join(sets[spread(offsets[first], sizes)], sizes, threshold)
    labels = np.full(len(sizes), -1, dtype=np.int64)
    for seed in range(len(sizes)):
        reached = [seed] if labels[seed] < 0 else []
        labels[reached] = seed
        join.settle(reached)
        while reached and join.open:
            near = join.near(reached.pop())
            labels[near] = seed
            join.settle(near)
            reached += near
    return labels[same]


class _Join:
    """Which of the sets still open are near a given one, by prefixes.

    Two sets that are similar enough have one of their rarest members in common, of which as many count as the
    threshold leaves room for (Xiao et al., Efficient similarity joins for near-duplicate detection, 2011). So what a
    great many texts share, short of a template, is no cost.

    Args:
        members: the different sets, one after another.
        sizes: of each.
        threshold: of the Jaccard similarity.
    """

    def __init__(self, members: Hashes, sizes: Ints, threshold: float) -> None:
        self.open = len(sizes)
        self._sizes, self._threshold = sizes, threshold
        self._starts = np.cumsum(sizes) - sizes
        self._is_open = np.ones(len(sizes), dtype=np.bool_)
        owners = np.repeat(np.arange(len(sizes)), sizes)
        _, numbers, counts = np.unique(members, return_inverse=True, return_counts=True)
        rank = np.empty_like(counts)
        rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
        self._members = np.sort(owners << 32 | rank[numbers]) & 0xFFFFFFFF  # rarest first
        self._marked = np.zeros(len(counts), dtype=np.bool_)
        self._prefix = sizes - np.ceil(threshold * sizes - SLACK).astype(np.int64) + 1
        rare = spread(self._starts, self._prefix)
        order = np.argsort(self._members[rare], kind="stable")
        self._rare, self._holders = self._members[rare][order], owners[rare][order]
        self._indexed = self.open

    def settle(self, numbers: Sequence[int]) -> None:
        """Leave some sets out of what is looked for."""
        self._is_open[numbers] = False
        self.open -= len(numbers)
        if self.open < self._indexed / 2:
            stays = self._is_open[self._holders]
            self._rare, self._holders = self._rare[stays], self._holders[stays]
            self._indexed = self.open

    def near(self, number: int) -> list[int]:
        """The open sets that are near this one."""
        own = self._members[self._starts[number] :][: self._sizes[number]]
        rare = own[: self._prefix[number]]
        first, last = (np.searchsorted(self._rare, rare, side=side) for side in ("left", "right"))
        holders = np.unique(self._holders[spread(first, last - first)])
        holders = holders[self._is_open[holders]]
        if not len(holders):
            return []
        sizes = self._sizes[holders]
        self._marked[own] = True
        hits = self._marked[self._members[spread(self._starts[holders], sizes)]]
        self._marked[own] = False
        common = np.add.reduceat(hits, np.cumsum(sizes) - sizes, dtype=np.int64)
        near: list[int] = holders[common / (len(own) + sizes - common) >= self._threshold].tolist()
        return near
