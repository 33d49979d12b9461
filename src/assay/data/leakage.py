"""Leaks between training and held-out items: the definitions of the guard `split-leak`, computed exactly.

An item leaks when it shares its group with a training item, or when, of words compared in lower case and
NFKC (`words`), it

* is equal to a training item (kind ``hash``),
* has a Jaccard similarity of word 5-grams of 0.8 or more with one (``jaccard``),
* has 50 consecutive words in common with one (``run``),
* is so short that fewer words than that are most of it: 8 or more consecutive words, common with one training item,
  cover 70 % of it (``cover``).

All but the first two look at content only: see `grams.Template`.

The held-out side is indexed by hashes of which any leak shares one, and the training side is read once. What the index
finds is compared word by word, of whose hashes 32 bits count.
"""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import IO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from assay.core.files import disk_errors
from assay.core.guard import limits
from assay.core.records import Item
from assay.data.grams import (
    COVER_WORDS,
    Hashes,
    Ints,
    Small,
    Template,
    Words,
    identities,
    map_batches,
    pieces,
    read_words,
)
from assay.data.postings import SLACK, Postings, Rarity, cuts, distinct, equal_words, rarest, similarities, spread
from assay.data.words import excerpt

Kind = Literal["group", "hash", "jaccard", "run", "cover"]

_JACCARD_WORDS = 5
_PASSAGE = 200  # characters
_SHARED = 3  # rare 5-grams that near-copies share, see `Rarity.prefixes`
_PART_WORDS = 1 << 18  # indexed at a time
_NEVER = np.uint64(2**64 - 1)
_LAST = chr(0x10FFFF)  # no id comes after it


@dataclass(frozen=True)
class Leak:
    """A held-out item that also stands, in whole or in part, in training.

    Args:
        held_id: the held-out item.
        train_id: a training item that it leaks from: of those that meet the definition, the one whose id comes first.
        kind: which definition it meets.
        amount: group, hash: 1; jaccard: the similarity; run: length in words; cover: share of the item's words
            of content.
        passage: what leaked, at most 200 characters of the training text; for a group its name.
    """

    held_id: str
    train_id: str
    kind: Kind
    amount: float
    passage: str


class _Batch(NamedTuple):
    """Items as they are compared; `tape` begins with a 0."""

    items: Sequence[Item]
    keys: Hashes  # see `_key`
    rank: Ints  # place of the id among these items' ids
    identities: Hashes  # of all their words
    tape: Small  # 32 bits of the hash of each word of content
    content: Words  # the same, mixed to 64


class _Hits(NamedTuple):
    """Pairs that meet a definition: held-out item, item of the batch, amount (of a cover its words), first word."""

    kind: Kind
    held: Ints
    text: Ints
    amount: npt.NDArray[np.float64]
    at: Ints

    @classmethod
    def joined(cls, parts: Sequence[_Hits]) -> _Hits:
        """Hits of one kind."""
        return cls(
            parts[0].kind,
            np.concatenate([part.held for part in parts]),
            np.concatenate([part.text for part in parts]),
            np.concatenate([part.amount for part in parts]),
            np.concatenate([part.at for part in parts]),
        )


def _read(items: Sequence[Item], template: Template) -> _Batch:
    texts = [item.text for item in items]
    words = read_words(texts)
    tape = np.concatenate([np.zeros(1, dtype=np.uint32), template.content(words).small()])
    keys = np.array([_key(item.id) for item in items], dtype=np.uint64)
    rank = np.argsort(np.array(sorted(range(len(items)), key=lambda n: items[n].id), dtype=np.int64))
    return _Batch(items, keys, rank, identities(words, texts), tape, Words.of_small(tape, words.starts + 1))


def _shingles(content: Words) -> tuple[Hashes, Ints]:
    """The 5-grams of each text, and where each text's begin."""
    spots = content.spots(_JACCARD_WORDS)
    return content.grams(_JACCARD_WORDS)[spots], np.searchsorted(spots, content.starts)


def _sets(tape: Small, starts: Ints, texts: Ints) -> tuple[Hashes, Ints]:
    """The sets of 5-grams of some texts on a tape."""
    lengths = starts[texts + 1] - starts[texts]
    content = Words.of_small(tape[spread(starts[texts], lengths)], np.concatenate([[0], np.cumsum(lengths)]))
    return distinct(*_shingles(content))


def _pieces(batches: Iterable[Sequence[Item]]) -> Iterator[Sequence[Item]]:
    return (piece for batch in batches for piece in pieces(batch, lambda item: item.text))


class LeakIndex:
    """The held-out side of a search for leaks.

    Its words lie in a temporary file, 4 bytes each. Memory holds 2 to 3 bytes for each of them, and the ids and groups.

    Args:
        held: the held-out items, in batches.
        template: what is no content.
        folder: where the temporary file stands; the system's folder for such files unless given.

    Raises:
        MachineError: there is no room for the file.
    """

    def __init__(self, held: Iterable[Sequence[Item]], template: Template, folder: Path | None = None) -> None:
        self._template = template
        self._alike = limits("split-leak.jaccard").passes
        self._run = round(limits("split-leak.run_words").passes)
        self._ids: list[str] = []
        self._groups: list[str] = []
        self._rarity = Rarity()
        same, own, lengths = array("Q"), array("q"), array("q", [1])
        with disk_errors(folder or Path(tempfile.gettempdir())), tempfile.TemporaryFile(dir=folder) as spool:
            spool.write(bytes(4))  # as a batch's tape begins
            for batch in map_batches(lambda items: _read(items, template), _pieces(held)):
                self._ids += [item.id for item in batch.items]
                self._groups += [item.group for item in batch.items]
                same.frombytes(batch.identities.tobytes())
                own.frombytes(batch.content.counts().tobytes())
                lengths.frombytes(np.diff(batch.content.starts).tobytes())
                self._rarity.add(_shingles(batch.content)[0])
                spool.write(batch.tape[1:].tobytes())
            self._identities: Hashes = np.frombuffer(same, dtype=np.uint64)
            self._own: Ints = np.frombuffer(own, dtype=np.int64)
            self._starts: Ints = np.cumsum(np.frombuffer(lengths, dtype=np.int64))
            cover = limits("split-leak.short_cover").passes
            most = np.ceil(cover * self._own - SLACK).astype(np.int64)
            self._needed: Ints = np.clip(most, COVER_WORDS, self._run)
            self._sizes = np.zeros(len(self._ids), dtype=np.int64)
            self._by_identity = Postings([(self._identities, np.arange(len(self._ids)))], len(self._ids))
            self._by_rare = Postings(map_batches(self._rare, self._parts(spool)), len(self._ids))
            self._by_gram = Postings(map_batches(self._few, self._parts(spool)), int(self._starts[-1]))
            # Of a mapped file only what is compared comes into memory.
            self._tape: Small = np.asarray(np.memmap(spool, dtype=np.uint32, mode="r"))
        self._first: dict[Kind, Hashes] = {}

    def _parts(self, spool: IO[bytes]) -> Iterator[tuple[int, Words]]:
        """The held-out items some at a time: the number of the first, and their content."""
        spool.seek(4)
        edges = [0, *cuts(np.diff(self._starts), _PART_WORDS, 1 << 20).tolist(), len(self._ids)]
        for first, last in pairwise(edges):
            starts = self._starts[first : last + 1]
            tape = np.frombuffer(spool.read(4 * int(starts[-1] - starts[0])), dtype=np.uint32)
            yield first, Words.of_small(tape, starts - starts[0])

    def _rare(self, part: tuple[int, Words]) -> tuple[Hashes, Ints]:
        """Rare 5-grams of which a near-copy has some, and the item of each."""
        first, content = part
        grams, owners, sizes, _ = self._rarity.prefixes(*_shingles(content), self._alike, _SHARED)
        self._sizes[first : first + len(content)] = sizes
        return grams, owners + first

    def _few(self, part: tuple[int, Words]) -> tuple[Hashes, Ints]:
        """So many 8-grams that every run of the words needed has one, and the place of each on the tape.

        A run of m words has m - 7 of them in a row, and the rarest of any so many in a row is taken (Schleimer et al.,
        Winnowing: local algorithms for document fingerprinting, 2003). So a phrase that many texts share, and that is
        too short to be a leak, is hardly ever looked up.
        """
        first, content = part
        needed = np.repeat(self._needed[first : first + len(content)], np.diff(content.starts))
        begins = np.flatnonzero(content.ends - np.arange(len(content.tape)) >= needed)
        grams = content.grams(COVER_WORDS)
        order = self._rarity.ranked(content.grams(_JACCARD_WORDS)[: len(grams)])
        chosen = np.zeros(len(grams), dtype=np.bool_)
        chosen[rarest(order, begins, needed[begins] - COVER_WORDS + 1)] = True
        return grams[chosen], np.flatnonzero(chosen) + self._starts[first]

    def scan(self, train: Iterable[Sequence[Item]]) -> list[Leak]:
        """All held-out items that leak from training, at most once per kind; an exact copy is no near-copy as well.

        The result does not depend on the order of the items.

        Args:
            train: the training items, in batches; read once.

        Returns:
            Leaks, sorted by held-out id and kind.
        """
        self._first = {kind: np.full(len(self._ids), _NEVER) for kind in ("hash", "jaccard", "run", "cover")}
        groups: dict[str, str | None] = dict.fromkeys(self._groups)
        found: dict[tuple[int, Kind], Leak] = {}
        for items, leaks in map_batches(self._search, _pieces(train)):
            for item in items:
                if item.group in groups and item.id < (groups[item.group] or _LAST):
                    groups[item.group] = item.id
            for number, leak in leaks:
                known = found.get((number, leak.kind))
                if known is None or leak.train_id < known.train_id:
                    found[number, leak.kind] = leak
        result = []
        for held_id, group in zip(self._ids, self._groups, strict=True):
            train_id = groups[group]
            if train_id is not None:
                result.append(Leak(held_id, train_id, "group", 1.0, group[:_PASSAGE]))
        for (number, kind), leak in found.items():
            said = (kind != "hash" and (number, "hash") in found) or (kind == "cover" and (number, "run") in found)
            if not said:
                result.append(leak)
        return sorted(result, key=lambda leak: (leak.held_id, leak.kind))

    def _search(self, items: Sequence[Item]) -> tuple[Sequence[Item], list[tuple[int, Leak]]]:
        """What leaks from some training items: the number of each held-out item, and the leak."""
        batch = _read(items, self._template)
        found: dict[Kind, list[_Hits]] = {}
        # One part after another: what one finds spares the next some comparisons.
        for hits in chain(self._copies(batch), self._alikes(batch), self._common(batch)):
            found.setdefault(hits.kind, []).append(hits)
            np.minimum.at(self._first[hits.kind], hits.held, batch.keys[hits.text])
        return items, [leak for kind in found for leak in self._leaks(batch, _Hits.joined(found[kind]))]

    def _leaks(self, batch: _Batch, hits: _Hits) -> Iterator[tuple[int, Leak]]:
        """Of each held-out item the hit in the training item whose id comes first; of several there the longest."""
        order = np.lexsort((hits.at, -hits.amount, batch.rank[hits.text], hits.held))
        for n in order[np.diff(hits.held[order], prepend=-1) != 0].tolist():
            held, item = int(hits.held[n]), batch.items[int(hits.text[n])]
            amount = float(hits.amount[n])
            if hits.kind in ("run", "cover"):
                passage = excerpt(item.text, int(hits.at[n]), int(amount), _PASSAGE)
            else:
                passage = item.text.strip()[:_PASSAGE]
            if hits.kind == "cover":
                amount /= int(self._own[held])
            yield held, Leak(self._ids[held], item.id, hits.kind, amount, passage)

    def _wanted(self, kind: Kind, held: Ints, keys: Hashes) -> npt.NDArray[np.bool_]:
        """Whether a training item with this key may come before all that are known: others need not be compared."""
        return keys <= self._first[kind][held]

    def _copies(self, batch: _Batch) -> Iterator[_Hits]:
        for text, held in self._by_identity.find(batch.identities):
            equal = self._identities[held] == batch.identities[text]
            yield _Hits("hash", held[equal], text[equal], np.ones(equal.sum()), text[equal])

    def _alikes(self, batch: _Batch) -> Iterator[_Hits]:
        rare, owners, sizes, common = self._rarity.prefixes(*_shingles(batch.content), self._alike, _SHARED)
        for at, held in self._by_rare.find(rare, owners):
            text = owners[at]
            wanted = self._wanted("jaccard", held, batch.keys[text])
            pairs, shared = np.unique(held[wanted] * len(sizes) + text[wanted], return_counts=True)
            held, text = np.divmod(pairs[shared >= common[pairs % len(sizes)]], len(sizes))
            small, large = np.minimum(self._sizes[held], sizes[text]), np.maximum(self._sizes[held], sizes[text])
            likely = small >= self._alike * large - SLACK
            held, text = held[likely], text[likely]
            one, left = np.unique(held, return_inverse=True)
            other, right = np.unique(text, return_inverse=True)
            sets = _sets(self._tape, self._starts, one), _sets(batch.tape, batch.content.starts, other)
            alike = similarities(*sets, (left, right))
            enough = alike >= self._alike
            yield _Hits("jaccard", held[enough], text[enough], alike[enough], text[enough])

    def _common(self, batch: _Batch) -> Iterator[_Hits]:
        """Runs of as many words as are needed."""
        spots = batch.content.spots(COVER_WORDS)
        kinds: tuple[Kind, Kind] = ("cover", "run")
        for at, places in self._by_gram.find(batch.content.grams(COVER_WORDS)[spots]):
            here = spots[at]
            text, held = batch.content.texts(here), np.searchsorted(self._starts, places, side="right") - 1
            # An item with too few words for a run can only be covered.
            short = self._own[held] < self._run
            wanted = np.where(short, *(self._wanted(kind, held, batch.keys[text]) for kind in kinds))
            here, places, text, held = here[wanted], places[wanted], text[wanted], held[wanted]
            after = equal_words(self._tape, places, batch.tape, here, 1)
            before = equal_words(self._tape, places - 1, batch.tape, here - 1, -1)
            length, first = before + after, here - before - batch.content.starts[text]
            found = (after >= COVER_WORDS) & (length >= self._needed[held])
            for kind, chosen in zip(kinds, (found & (length < self._run), found & (length >= self._run)), strict=True):
                yield _Hits(kind, held[chosen], text[chosen], length[chosen].astype(np.float64), first[chosen])


def _key(train_id: str) -> int:
    """A number that is smaller for an id only if that comes first."""
    return int.from_bytes(train_id.encode("utf-8", "replace")[:8].ljust(8, b"\0"))
