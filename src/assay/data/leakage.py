"""Leaks between training and held-out items: the definitions of the guard `split-leak`, computed exactly.

An item leaks when it shares its group with a training item, or when, of words compared in lower case and
NFKC (`words`), it

* is equal to a training item (kind ``hash``),
* has a Jaccard similarity of word 5-grams of 0.8 or more with one (``jaccard``),
* has 50 consecutive words in common with one (``run``),
* is so short that fewer words than that are most of it: 8 or more consecutive words, common with one training item,
  cover 70 % of it (``cover``).

All but the first two look at content only. Template (a system prompt, a licence, a form's labels) is every 8-gram that
stands in a fifth of all training items, and in 10 at least.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from assay.core.guard import limits
from assay.data.items import Item
from assay.data.words import folded, word_spans, words

Kind = Literal["group", "hash", "jaccard", "run", "cover"]
_Ints = npt.NDArray[np.int64]
_Hashes = npt.NDArray[np.uint64]

_JACCARD_WORDS = 5
_COVER_WORDS = 8
_PASSAGE = 200  # characters
_BASE = 0x9E3779B97F4A7C15  # odd, so it has an inverse modulo 2**64


@dataclass(frozen=True)
class Leak:
    """A held-out item that also stands, in whole or in part, in training.

    Args:
        held_id: the held-out item.
        train_id: a training item that it leaks from.
        kind: which definition it meets.
        amount: group, hash: 1; jaccard: the similarity; run: length in words; cover: share of the item's words
            of content.
        passage: what leaked, at most 200 characters of the held-out text; for a group its name.
    """

    held_id: str
    train_id: str
    kind: Kind
    amount: float
    passage: str


def find_leaks(train: Sequence[Item], held: Sequence[Item]) -> list[Leak]:
    """All held-out items that leak from training, at most once per kind; an exact copy is reported as ``hash`` alone.

    Each leak names one training item that meets the definition, not every one. The result does not depend on the
    order of either list. Text of n words takes O(n log n).

    Returns:
        Leaks, sorted by held-out id and kind.
    """
    train, held = sorted(train, key=lambda item: item.id), sorted(held, key=lambda item: item.id)
    leaks = _group_leaks(train, held)
    digests: dict[bytes, Item] = {}
    for item in train:
        digests.setdefault(_digest(item.text), item)
    rest = []
    for item in held:
        twin = digests.get(_digest(item.text))
        if twin is None:
            rest.append(item)
        else:
            leaks.append(Leak(item.id, twin.id, "hash", 1.0, item.text.strip()[:_PASSAGE]))
    # Copies of one training text leak what the first of them leaks.
    sources = list(digests.values())
    if sources and rest:
        corpus = _Corpus([item.text for item in [*sources, *rest]], len(sources))
        leaks += _jaccard_leaks(corpus, sources, rest)
        leaks += _run_leaks(corpus, sources, rest)
    return sorted(leaks, key=lambda leak: (leak.held_id, leak.kind))


def _group_leaks(train: Sequence[Item], held: Sequence[Item]) -> list[Leak]:
    groups: dict[str, str] = {}
    for item in train:
        groups.setdefault(item.group, item.id)
    return [Leak(i.id, groups[i.group], "group", 1.0, i.group[:_PASSAGE]) for i in held if i.group in groups]


def _digest(text: str) -> bytes:
    # Without a single word (only signs or emoji) the folded text itself is compared, or all such texts would be equal.
    normal = " ".join(words(text)) or " ".join(folded(text).split())
    return hashlib.sha256(normal.encode()).digest()


class _Corpus:
    """The words of several texts, one after another; the first `n_train` texts are training's.

    Per word: its number `word`, its text `item`, and `end`, where its stretch of content ends (for a word of template
    its own place). Per text: `start`, its first word, and `length`, its words of content. `spots` are the places of
    all 8-grams of content, `gram` their numbers.
    """

    def __init__(self, texts: Sequence[str], n_train: int) -> None:
        numbers: dict[str, int] = {}
        flat: list[int] = []
        lengths = []
        for text in texts:
            found = words(text)
            lengths.append(len(found))
            flat += [numbers.setdefault(word, len(numbers)) for word in found]
        # A word's value is a hash of its letters, so that no result depends on the order in which words are met.
        values = np.array([_word_hash(word) for word in numbers] or [0], dtype=np.uint64)
        self.word: _Ints = np.array(flat, dtype=np.int64)
        self.start: _Ints = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        self.item: _Ints = np.repeat(np.arange(len(texts)), lengths)
        self.end: _Ints = self.start[self.item + 1]
        self.n_train = n_train
        n = len(flat)
        powers = np.ones(n + 1, dtype=np.uint64)
        powers[1:] = np.cumprod(np.full(n, _BASE, dtype=np.uint64))
        self._sums: _Hashes = np.zeros(n + 1, dtype=np.uint64)
        self._sums[1:] = np.cumsum(values[self.word] * powers[:n])
        self._inverse: _Hashes = np.ones(n + 1, dtype=np.uint64)
        self._inverse[1:] = np.cumprod(np.full(n, pow(_BASE, -1, 2**64), dtype=np.uint64))
        spots, gram = self.numbered(_COVER_WORDS)
        template = self._template(spots, gram)
        self.length: _Ints = np.bincount(self.item[~template], minlength=len(texts)).astype(np.int64)
        following = np.where(template, np.arange(n), n)
        self.end = np.minimum(self.end, np.minimum.accumulate(following[::-1])[::-1])
        content = spots + _COVER_WORDS <= self.end[spots]
        self.spots, self.gram = spots[content], gram[content]

    def _template(self, spots: _Ints, gram: _Ints) -> npt.NDArray[np.bool_]:
        """Which words stand in an 8-gram that a large share of the training texts holds."""
        share, items = (limits(f"split-leak.template_{what}").passes for what in ("share", "items"))
        least = max(items, math.ceil(share * self.n_train))
        ours = self.item[spots] < self.n_train
        holders = _distinct(gram[ours] * self.n_train + self.item[spots][ours]) // self.n_train
        common = np.bincount(holders, minlength=int(gram.max(initial=0)) + 1) >= least
        change = np.zeros(len(self.word) + 1, dtype=np.int64)
        chosen = spots[common[gram]]
        np.add.at(change, chosen, 1)
        np.add.at(change, chosen + _COVER_WORDS, -1)
        return np.cumsum(change)[:-1] > 0

    def positions(self, n: int) -> _Ints:
        """Where n words in a row lie within one stretch of content."""
        every = np.arange(len(self.word), dtype=np.int64)
        return every[every + n <= self.end]

    def numbered(self, n: int) -> tuple[_Ints, _Ints]:
        """Where n words in a row lie within one stretch of content, and a number for each such n-gram."""
        spots = self.positions(n)
        # Two of the some 10**7 grams of a corpus get one 64-bit hash with probability 10**-6 or so.
        _, gram = np.unique(self.grams(spots, n), return_inverse=True)
        return spots, gram.astype(np.int64)

    def grams(self, at: _Ints, n: int) -> _Hashes:
        """Hashes of the n words from each position: a polynomial modulo 2**64, from prefix sums."""
        return (self._sums[at + n] - self._sums[at]) * self._inverse[at]

    def common(self, a: int, b: int) -> int:
        """How many words from positions `a` and `b` on are the same, within their stretches of content."""
        room = min(self.end[a] - a, self.end[b] - b)
        differ = np.flatnonzero(self.word[a : a + room] != self.word[b : b + room])
        return int(differ[0]) if len(differ) else int(room)


def _distinct(values: _Ints) -> _Ints:
    """The distinct values, ascending; numpy's own unique hashes instead, which is slower here."""
    ordered = np.sort(values)
    distinct: _Ints = ordered[np.diff(ordered, prepend=ordered[:1] - 1) != 0]
    return distinct


def _word_hash(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")


def _run_leaks(corpus: _Corpus, train: Sequence[Item], held: Sequence[Item]) -> list[Leak]:
    """Common runs of consecutive words, as long as each held-out item's own length asks for."""
    run, cover = round(limits("split-leak.run_words").passes), limits("split-leak.short_cover").passes
    ours = corpus.item[corpus.spots] < corpus.n_train
    # A longer common run begins with a common 8-gram: nothing but these spots needs to be looked at again.
    kinds = int(corpus.gram.max(initial=0)) + 1
    sides = [np.bincount(corpus.gram[side], minlength=kinds) > 0 for side in (ours, ~ours)]
    shared = (sides[0] & sides[1])[corpus.gram]
    train_spots, held_spots = corpus.spots[ours & shared], corpus.spots[~ours & shared]
    needed = np.maximum(_COVER_WORDS, np.ceil(cover * corpus.length[corpus.item[held_spots]] - 1e-9)).astype(np.int64)
    needed = np.minimum(needed, run)
    leaks = []
    for length in np.unique(needed).tolist():
        best = _longest(corpus, train_spots, held_spots[needed == length], length)
        for index, (words_common, at, source) in best.items():
            item, own = held[index - corpus.n_train], int(corpus.length[index])
            spans = word_spans(item.text)[at : at + words_common]
            kind: Kind = "run" if words_common >= run else "cover"
            amount = float(words_common) if kind == "run" else words_common / own
            leaks.append(Leak(item.id, train[source].id, kind, amount, _passage(item.text, spans)))
    return leaks


def _longest(corpus: _Corpus, train_spots: _Ints, held_spots: _Ints, length: int) -> dict[int, tuple[int, int, int]]:
    """For each held-out text with a common run of `length` words or more: the run's words, first word and source.

    Of the places in training where a run begins, the first is followed; so the run found meets the definition,
    and is the longest from there.
    """
    train_spots = train_spots[train_spots + length <= corpus.end[train_spots]]
    held_spots = held_spots[held_spots + length <= corpus.end[held_spots]]
    hashes = corpus.grams(train_spots, length)
    order = np.argsort(hashes, kind="stable")
    hashes, train_spots = hashes[order], train_spots[order]
    wanted = corpus.grams(held_spots, length)
    at = np.searchsorted(hashes, wanted)
    found = (at < len(hashes)) & (hashes[np.minimum(at, len(hashes) - 1)] == wanted) if len(hashes) else at < 0
    best: dict[int, tuple[int, int, int]] = {}
    done = -1
    for spot, source in zip(held_spots[found].tolist(), train_spots[at[found]].tolist(), strict=True):
        if spot + length <= done:
            continue  # lies within a run that has been measured
        words_common = corpus.common(spot, source)
        index = int(corpus.item[spot])
        # Equal hashes of unequal words are next to impossible, but a leak is claimed on the words alone.
        if words_common < length:
            continue
        done = spot + words_common
        if words_common > best.get(index, (0, 0, 0))[0]:
            best[index] = (words_common, spot - int(corpus.start[index]), int(corpus.item[source]))
    return best


def _passage(text: str, spans: list[tuple[int, int]]) -> str:
    normal = folded(text)
    # Folding may change the length of a text; then offsets fit the folded one only.
    shown = text if len(normal) == len(text) else normal
    return shown[spans[0][0] : spans[-1][1]][:_PASSAGE]


def _jaccard_leaks(corpus: _Corpus, train: Sequence[Item], held: Sequence[Item]) -> list[Leak]:
    """Near-copies by Jaccard similarity of the sets of word 5-grams, with prefix, length and position filters.

    Method: Xiao et al., Efficient similarity joins for near-duplicate detection (PPJoin), 2011. The filters pass
    every pair at or above the threshold; each pair that passes is counted out.
    """
    threshold = limits("split-leak.jaccard").passes
    sets = _gram_sets(corpus)
    index: dict[int, dict[tuple[int, int], list[int]]] = defaultdict(lambda: defaultdict(list))
    wanted = {gram for own in sets[corpus.n_train :] for gram in _prefix(own, threshold)}
    for number, own in enumerate(sets[: corpus.n_train]):
        for position, gram in enumerate(_prefix(own, threshold)):
            if gram in wanted:
                index[gram][len(own), position].append(number)
    leaks = []
    for item, own in zip(held, sets[corpus.n_train :], strict=True):
        mine = set(own.tolist())
        for number in _candidates(index, own, threshold):
            shared = len(mine.intersection(sets[number].tolist()))
            similarity = shared / (len(mine) + len(sets[number]) - shared)
            if similarity >= threshold:
                passage = item.text.strip()[:_PASSAGE]
                leaks.append(Leak(item.id, train[number].id, "jaccard", similarity, passage))
                break
    return leaks


def _gram_sets(corpus: _Corpus) -> list[_Ints]:
    """Each text's set of 5-grams, as numbers that order all grams from rare to common; ascending."""
    spots, gram = corpus.numbered(_JACCARD_WORDS)
    pairs = _distinct(corpus.item[spots] * (gram.max(initial=0) + 1) + gram)
    item, gram = np.divmod(pairs, gram.max(initial=0) + 1)
    rarest_first = np.argsort(np.bincount(gram), kind="stable")
    rank = np.empty_like(rarest_first)
    rank[rarest_first] = np.arange(len(rank))
    ranked = rank[gram]
    order = np.lexsort((ranked, item))
    cuts = np.cumsum(np.bincount(item, minlength=len(corpus.length)))[:-1]
    return np.split(ranked[order], cuts)


def _prefix(own: _Ints, threshold: float) -> list[int]:
    """The rarest grams of a set: any set similar enough has one of its own rarest among them."""
    rarest: list[int] = own[: len(own) - math.ceil(threshold * len(own) - 1e-9) + 1].tolist()
    return rarest


def _candidates(index: dict[int, dict[tuple[int, int], list[int]]], own: _Ints, threshold: float) -> Iterator[int]:
    """Training texts that may be similar enough, each once: by length, and by where the first common gram stands."""
    size = len(own)
    seen: set[int] = set()
    for position, gram in enumerate(_prefix(own, threshold)):
        for (other, place), numbers in index.get(gram, {}).items():
            least = math.ceil(threshold / (1 + threshold) * (size + other) - 1e-9)
            if 1 + min(size - position - 1, other - place - 1) < least:
                continue
            for number in numbers:
                if number not in seen:
                    seen.add(number)
                    yield number
