r"""Words and word n-grams of many texts as 64-bit hashes, without a step of Python per word.

Words are those of `words.words`: ``\w+`` of the folded text. A word's hash is a polynomial of its code points modulo
2**64 (Karp and Rabin, Efficient randomized pattern-matching algorithms, 1987), and so is an n-gram's of its words'
hashes: prefix sums give all of them at once, and n costs nothing. Two of 10**9 different grams get one hash with a
probability of 3 %; whoever claims something on a gram compares the words as well.
"""

from __future__ import annotations

import functools
import hashlib
import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from assay.core.guard import limits
from assay.core.machine import cores
from assay.data.words import folded

T = TypeVar("T")
R = TypeVar("R")
Hashes = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.uint32]

COVER_WORDS = 8  # the n-grams that templates are made of, and the shortest run that is evidence of a copy
PIECE = 1 << 20  # characters that are worked on at a time
_BLOCK = 1 << 16  # characters hashed at a time, so that the arrays stay in the cache
_LETTERS = 0x9E3779B97F4A7C15  # odd, so each has an inverse modulo 2**64
_WORDS = 0xD1342543DE82EF95
_ALL = 0x110000  # Unicode code points
_SAMPLE = 20_000  # items that templates are counted on
_SAMPLE_WORDS = 1 << 14  # of each of them at most
_SAMPLE_GRAMS = 1 << 23  # of all of them at most
_SLOTS = 20  # bits


def mix(values: Hashes) -> Hashes:
    """Each value scrambled, one to one (the finalizer of SplitMix64: Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _powers(base: int, count: int) -> Hashes:
    powers = np.full(count, base, dtype=np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, out=powers)


@functools.cache
def _letters() -> tuple[npt.NDArray[np.bool_], bytes, Hashes, Hashes]:
    r"""Which code points are ``\w``, the same of ASCII for `bytes.translate`, and the powers of a block."""
    inside = np.zeros(_ALL, dtype=np.bool_)
    for match in re.finditer(r"\w+", "".join(map(chr, range(_ALL)))):
        inside[match.start() : match.end()] = True
    return inside, inside[:256].tobytes(), _powers(_LETTERS, _BLOCK), _powers(pow(_LETTERS, -1, 2**64), _BLOCK)


class Words:
    """The words of several texts on one tape, and after each text a 0.

    A 0 elsewhere is a word of template: what lies between two zeros is a stretch of content.

    Args:
        tape: hashes of words, and zeros.
        starts: where each text begins; and, last, the length of the tape.
    """

    def __init__(self, tape: Hashes, starts: Ints) -> None:
        self.tape, self.starts = tape, starts
        self._zeros = np.flatnonzero(tape == 0)
        self._gaps = np.diff(self._zeros, prepend=-1)
        # For each place where its stretch of content ends: the next zero, or itself where it is one.
        self.ends: Ints = np.repeat(self._zeros, self._gaps)
        self._sums: tuple[Hashes, Hashes] | None = None

    @classmethod
    def of_small(cls, tape: Small, starts: Ints) -> Words:
        """Words of whose hashes only `small` is left; their grams have hashes of their own."""
        return cls(mix(tape.astype(np.uint64)), starts)

    def small(self) -> Small:
        """The tape with 32 bits of each hash, still none of them 0."""
        return np.where(self.tape != 0, np.maximum(self.tape >> np.uint64(32), np.uint64(1)), 0).astype(np.uint32)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def _prefix(self) -> tuple[Hashes, Hashes]:
        """Sums of the polynomial up to each place, and what undoes the power of the place."""
        if self._sums is None:  # functools.cached_property would make threads wait for each other
            sums = np.zeros(len(self.tape) + 1, dtype=np.uint64)
            np.cumsum(self.tape * _powers(_WORDS, len(self.tape)), out=sums[1:])
            self._sums = sums, _powers(pow(_WORDS, -1, 2**64), len(self.tape) + 1)
        return self._sums

    def begins(self) -> Ints:
        """For each place where its stretch of content begins: behind the last zero before it."""
        return np.repeat(self._zeros - self._gaps + 1, self._gaps)

    def counts(self) -> Ints:
        """Words of content of each text."""
        return np.diff(np.concatenate([[0], np.cumsum(self.tape != 0)])[self.starts])

    def texts(self, places: Ints) -> Ints:
        """The text that each place on the tape belongs to."""
        return np.searchsorted(self.starts, places, side="right") - 1

    def spots(self, n: int) -> Ints:
        """Where n words in a row lie within one stretch of content; ascending."""
        return np.flatnonzero(self.ends - np.arange(len(self.tape)) >= n)

    def grams(self, n: int) -> Hashes:
        """A hash of the n words from each place on, wherever so many lie before the tape's end."""
        sums, inverse = self._prefix()
        count = max(0, len(self.tape) - n + 1)
        return (sums[n:] - sums[:count]) * inverse[:count]

    def ranges(self, start: Ints, stop: Ints) -> Hashes:
        """A hash of the words from `start` up to `stop`, for each pair of places."""
        sums, inverse = self._prefix()
        return (sums[stop] - sums[start]) * inverse[start]


def read_words(texts: Sequence[str]) -> Words:
    """The words of each text, all of them content."""
    normal = [folded(text) for text in texts]
    heads = np.cumsum([0, *(len(text) + 1 for text in normal)])
    places, hashes = _hashed("\n".join(normal))
    starts = np.searchsorted(places, heads) + np.arange(len(heads))
    tape = np.zeros(starts[-1], dtype=np.uint64)
    words = np.ones(len(tape), dtype=np.bool_)
    words[starts[1:] - 1] = False
    tape[words] = hashes
    return Words(tape, starts)


def identities(words: Words, texts: Sequence[str]) -> Hashes:
    """A hash of all words of each text, equal for equal words; of a text without any, that of its signs."""
    found = words.ranges(words.starts[:-1], words.starts[1:] - 1)
    for number in np.flatnonzero(np.diff(words.starts) == 1).tolist():
        signs = " ".join(folded(texts[number]).split())
        found[number] = int.from_bytes(hashlib.blake2b(signs.encode("utf-8", "surrogatepass"), digest_size=8).digest())
    return found


def _hashed(text: str) -> tuple[Ints, Hashes]:
    """Where each word begins, and its hash, which is never 0. A word may reach over several blocks."""
    places: list[Ints] = [np.zeros(0, dtype=np.int64)]
    hashes: list[Hashes] = [np.zeros(0, dtype=np.uint64)]
    carried: tuple[int, int, int] | None = None  # first letter, hash so far, and the power of its next letter
    for at in range(0, len(text), _BLOCK):
        starts, stops, found = _block(text[at : at + _BLOCK])
        if carried:
            first, begun, power = carried
            if len(starts) and starts[0] == 0:
                starts[0] = first - at
                found[0] = (begun + power * int(found[0])) % 2**64
            else:
                starts, stops = np.append(first - at, starts), np.append(0, stops)
                found = np.append(np.uint64(begun), found)
        carried = None
        if len(stops) and stops[-1] == _BLOCK:
            first = at + int(starts[-1])
            carried = first, int(found[-1]), pow(_LETTERS, at + _BLOCK - first, 2**64)
            starts, found = starts[:-1], found[:-1]
        places.append(starts + at)
        hashes.append(mix(found))
    if carried:
        places.append(np.array(carried[:1]))
        hashes.append(mix(np.array(carried[1:2], dtype=np.uint64)))
    return np.concatenate(places), np.maximum(np.concatenate(hashes), np.uint64(1))


def _block(text: str) -> tuple[Ints, Ints, Hashes]:
    """Start, end and polynomial of each word of at most `_BLOCK` characters."""
    inside, table, powers, inverse = _letters()
    within = np.zeros(len(text) + 2, dtype=np.bool_)
    codes: npt.NDArray[np.uint8] | npt.NDArray[np.uint32]
    if text.isascii():
        raw = text.encode("ascii")
        codes = np.frombuffer(raw, dtype=np.uint8)
        within[1:-1] = np.frombuffer(raw.translate(table), dtype=np.bool_)
    else:
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
        np.take(inside, codes, out=within[1:-1])
    edges = np.flatnonzero(within[1:] != within[:-1])
    starts, stops = edges[::2], edges[1::2]
    sums = np.zeros(len(text) + 1, dtype=np.uint64)
    np.cumsum(codes * powers[: len(text)], out=sums[1:])
    return starts, stops, (sums[stops] - sums[starts]) * inverse[starts]


class Template:
    """What is no content: the words of the 8-grams that a large share of all texts holds (a system prompt, a form).

    Args:
        grams: hashes of the 8-grams.
    """

    def __init__(self, grams: Hashes | None = None) -> None:
        self.grams: Hashes = np.unique(np.zeros(0, dtype=np.uint64) if grams is None else grams)

    @classmethod
    def find(cls, batches: Iterable[Sequence[str]], count: int) -> Template:
        """The 8-grams that stand in a fifth of the texts, and in 10 at least.

        Of more than 20,000 texts some 20,000 are looked at, those whose hash is lowest, and fewer where they are long:
        2**23 8-grams are, 2**14 of one text at most. The order of the texts does not matter.

        Args:
            batches: the texts.
            count: how many there are.
        """
        sample = _Sample(min(1.0, _SAMPLE / max(1, count)))
        for found in map_batches(sample.look, (piece for batch in batches for piece in pieces(batch))):
            sample.keep(found)
        return cls(sample.common())

    def content(self, words: Words) -> Words:
        """The words with those of template blotted out."""
        if not len(self.grams):
            return words
        spots = words.spots(COVER_WORDS)
        hashes = words.grams(COVER_WORDS)[spots]
        at = np.minimum(np.searchsorted(self.grams, hashes), len(self.grams) - 1)
        chosen = spots[self.grams[at] == hashes]
        change = np.zeros(len(words.tape) + 1, dtype=np.int64)
        change[chosen] += 1
        change[chosen + COVER_WORDS] -= 1
        return Words(np.where(np.cumsum(change[:-1]) > 0, np.uint64(0), words.tape), words.starts)


class _Sample:
    """8-grams of the texts whose hash lies below `share` of all hashes; the share is halved as room runs out."""

    def __init__(self, share: float) -> None:
        self.share = share
        self._parts: list[tuple[Hashes, Ints, Hashes]] = []  # hash and number of 8-grams of each text, and those

    def look(self, texts: Sequence[str]) -> tuple[Hashes, Ints, Hashes]:
        """The hash of each text in the sample, how many 8-grams it has, and all of these."""
        keys = [
            int.from_bytes(hashlib.blake2b(t.encode("utf-8", "surrogatepass"), digest_size=8).digest()) for t in texts
        ]
        chosen = [n for n, key in enumerate(keys) if key <= self.share * (2**64 - 1)]
        words = read_words([texts[n] for n in chosen])
        spots = words.spots(COVER_WORDS)
        owners = words.texts(spots)
        early = spots - words.starts[owners] < _SAMPLE_WORDS
        spots, owners = spots[early], owners[early]
        counts = np.bincount(owners, minlength=len(words))
        return np.array([keys[n] for n in chosen], dtype=np.uint64), counts, words.grams(COVER_WORDS)[spots]

    def keep(self, found: tuple[Hashes, Ints, Hashes]) -> None:
        """Take what was found into the sample."""
        self._parts.append(self._below(found))
        while sum(len(grams) for _, _, grams in self._parts) > _SAMPLE_GRAMS:
            self.share /= 2
            self._parts = [self._below(part) for part in self._parts]

    def _below(self, part: tuple[Hashes, Ints, Hashes]) -> tuple[Hashes, Ints, Hashes]:
        """What belongs to the sample by the share of now; it may have been another as the texts were looked at."""
        keys, counts, grams = part
        stays = keys <= self.share * (2**64 - 1)
        return keys[stays], counts[stays], grams[np.repeat(stays, counts)]

    def common(self) -> Hashes:
        """The 8-grams that enough texts of the sample hold."""
        share, items = (limits(f"split-leak.template_{what}").passes for what in ("share", "items"))
        counts = np.concatenate([np.zeros(0, dtype=np.int64), *(counts for _, counts, _ in self._parts)])
        grams = np.concatenate([np.zeros(0, dtype=np.uint64), *(grams for _, _, grams in self._parts)])
        least = max(items, math.ceil(share * len(counts)))
        # Only grams in a slot that enough grams fall into can be common, and these are few.
        slots = (grams >> np.uint64(64 - _SLOTS)).astype(np.int64)
        likely = np.bincount(slots, minlength=1 << _SLOTS)[slots] >= least
        gram, numbers = np.unique(grams[likely], return_inverse=True)
        texts = np.repeat(np.arange(len(counts)), counts)[likely]
        holders = np.unique(numbers * len(counts) + texts) // max(1, len(counts))
        common: Hashes = gram[np.bincount(holders, minlength=len(gram)) >= least]
        return common


def pieces(batch: Sequence[T], text: Callable[[T], str] = str) -> Iterator[Sequence[T]]:
    """A batch in its order, cut so that a piece has some `PIECE` characters, or one text that is longer."""
    first = size = 0
    for number, item in enumerate(batch):
        size += len(text(item)) + 1
        if size >= PIECE:
            yield batch[first : number + 1]
            first, size = number + 1, 0
    if first < len(batch):
        yield batch[first:]


def map_batches(function: Callable[[T], R], batches: Iterable[T], threads: int | None = None) -> Iterator[R]:
    """`function` of each batch, in their order, on several threads; at most one batch more than these is under way.

    NumPy lets go of the interpreter in its larger operations, so that two threads are worth having.

    Args:
        function: must be safe to call from several threads.
        batches: read from the calling thread, no further ahead than that.
        threads: as many as there are cores, 4 at most, unless given.
    """
    threads = threads or min(4, cores())
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for batch in batches:
            waiting.append(pool.submit(function, batch))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
