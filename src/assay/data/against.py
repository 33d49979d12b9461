"""Training items against benchmarks: an item that shares a passage with a benchmark row is contaminated.

A row is compared by each of its texts of 8 words or more or, where it has none, by all its texts together. The passage
is 13 words in a row (Brown et al., Language models are few-shot learners, 2020, appendix C); of a text of 8 to 12 words
it is 8 words in a row that are 70 % of it, and a text of 4 to 7 words stands in the item as a whole. Words are those of
`words.words`; those of template, as the benchmark's own rows show it (`grams.Template`), do not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from assay.core.errors import InputError
from assay.core.records import Item
from assay.data.grams import COVER_WORDS, Ints, Template, Words, map_batches, pieces, read_words
from assay.data.postings import SLACK, Postings, equal_words
from assay.data.readers import read_rows
from assay.data.sources import locate
from assay.data.words import excerpt, words

_GRAM = 13  # words in a row that contaminate
_COVER = 0.7  # of a text too short for them
_LEAST = 4  # words of the shortest text that is looked for
_PASSAGE = 200  # characters
_EXAMPLES = 20  # matches shown


@dataclass(frozen=True)
class Match:
    """A training item that shares a passage with a benchmark row.

    Args:
        train_id: the item.
        benchmark: the row; of several the one with the longest passage, and of those the first.
        grams13: how many 13-grams of the row stand in the item.
        grams8_share: the share of the row's 8-grams that stands in the item; 1 for a row of fewer words.
        longest: words of the passage.
        passage: the longest that both have, at most 200 characters as the item has it.
    """

    train_id: str
    benchmark: str
    grams13: int
    grams8_share: float
    longest: int
    passage: str


def read_benchmarks(specs: Sequence[str], *, cache: Path) -> Benchmarks:
    """Benchmarks from files; every text in any column of a row counts, those in lists and objects too.

    Args:
        specs: sources, see `sources.locate`.
        cache: where downloads are kept.

    Raises:
        InputError: a file is missing, unreadable or malformed, or holds no text.
        MachineError: a download failed.
    """
    rows: list[tuple[str, list[str]]] = []
    files = locate(specs, sha256=None, cache=cache).files if specs else []
    for file in files:
        before = len(rows)
        for row in read_rows(file):
            texts = list(_texts(row.columns))
            if texts:
                rows.append((f"{file.name} (row {row.index})" if row.index else file.name, texts))
        if len(rows) == before:
            raise InputError("holds no text", where=file.where, fix="leave it out of data.against")
    return Benchmarks(rows, [file.name for file in files])


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _texts(entry)


class _Hits(NamedTuple):
    """Words that an item and a text of a benchmark have in common.

    Per hit: number of the item, of the text and of its row; where on the tape an 8-gram (or the whole text) stands that
    both have; how many words are the same from there on, and in the whole run; and the number of its first word in the
    item.
    """

    item: Ints
    text: Ints
    row: Ints
    place: Ints
    after: Ints
    length: Ints
    first: Ints


class Benchmarks:
    """Benchmark rows, indexed; memory holds some 40 bytes per word.

    Args:
        rows: name and texts of each row.
        files: what they come from, for the summary.
    """

    def __init__(self, rows: Iterable[tuple[str, Sequence[str]]], files: Sequence[str] = ()) -> None:
        self.files = list(files)
        self.names: list[str] = []
        owners: list[int] = []
        texts: list[str] = []
        for name, all_texts in rows:
            long = [text for text in all_texts if len(words(text)) >= COVER_WORDS] or ["\n".join(all_texts)]
            owners += [len(self.names)] * len(long)
            texts += long
            self.names.append(name)
        self._row: Ints = np.array(owners, dtype=np.int64)
        cuts = np.searchsorted(self._row, np.arange(len(self.names) + 1)).tolist()
        joined = ["\n".join(texts[first:last]) for first, last in pairwise(cuts)]
        whole = read_words(texts)
        content = Template.find([joined], len(joined)).content(whole)
        self._tape = np.concatenate([np.zeros(1, dtype=np.uint32), content.small()])
        self._content = Words.of_small(self._tape, content.starts + 1)
        own, lengths = content.counts(), np.diff(whole.starts) - 1
        short = np.flatnonzero((lengths >= _LEAST) & (lengths < COVER_WORDS))
        covered = np.clip(np.ceil(_COVER * own - SLACK).astype(np.int64), COVER_WORDS, _GRAM)
        self._needed: Ints = np.where(own < _GRAM, covered, _GRAM)
        self._needed[short] = lengths[short]
        spots = self._content.spots(COVER_WORDS)
        self._grams = np.bincount(self._row[self._content.texts(spots)], minlength=len(self.names))
        self._by_gram = Postings([(self._content.grams(COVER_WORDS)[spots], spots)], len(self._tape))
        self._lengths: list[int] = np.unique(lengths[short]).tolist()
        starts = self._content.starts[short]
        self._by_whole = Postings([(self._content.ranges(starts, starts + lengths[short]), starts)], len(self._tape))
        self._shared = np.zeros((2, len(self.names)), dtype=np.bool_)  # rows with a common 8-gram, with a passage

    def scan(self, items: Sequence[Item]) -> list[Match]:
        """The items of a batch that are contaminated, in their order."""
        if not self.names:
            return []
        matches: list[Match] = []
        for part, hits in map_batches(self._search, pieces(items, lambda item: item.text)):
            found = np.flatnonzero(hits.length >= self._needed[hits.text])
            self._shared[0, hits.row] = True
            self._shared[1, hits.row[found]] = True
            order = found[np.lexsort((hits.first[found], hits.row[found], -hits.length[found], hits.item[found]))]
            for n in order[np.diff(hits.item[order], prepend=-1) != 0].tolist():
                matches.append(self._match(part[int(hits.item[n])], hits, n))
        return matches

    def _match(self, item: Item, hits: _Hits, n: int) -> Match:
        row, length = int(hits.row[n]), int(hits.length[n])
        own = (hits.item == hits.item[n]) & (hits.row == row)
        grams13 = len(np.unique(hits.place[own & (hits.after >= _GRAM)]))
        grams8 = len(np.unique(hits.place[own])) / self._grams[row] if self._grams[row] else 1.0
        passage = excerpt(item.text, int(hits.first[n]), length, _PASSAGE)
        return Match(item.id, self.names[row], grams13, grams8, length, passage)

    def _search(self, items: Sequence[Item]) -> tuple[Sequence[Item], _Hits]:
        """What items and benchmarks have in common."""
        read = read_words([item.text for item in items])
        tape = np.concatenate([np.zeros(1, dtype=np.uint32), read.small()])
        own = Words.of_small(tape, read.starts + 1)
        parts = [(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64))]  # places in the items, and here
        spots = own.spots(COVER_WORDS)
        parts += [(spots[at], place) for at, place in self._by_gram.find(own.grams(COVER_WORDS)[spots])]
        for n in self._lengths:
            spots = own.spots(n)
            parts += [(spots[at], place) for at, place in self._by_whole.find(own.grams(n)[spots])]
        here, place = (np.concatenate(column) for column in zip(*parts, strict=True))
        text = self._content.texts(place)
        after = equal_words(self._tape, place, tape, here, 1)
        sure = after >= np.minimum(COVER_WORDS, self._needed[text])
        here, place, text, after = here[sure], place[sure], text[sure], after[sure]
        before = equal_words(self._tape, place - 1, tape, here - 1, -1)
        number = own.texts(here)
        first = here - before - own.starts[number]
        return items, _Hits(number, text, self._row[text], place, after, before + after, first)

    def summary(self, matches: Sequence[Match]) -> dict[str, Any] | None:
        """What was found, as JSON values; None without benchmarks.

        Args:
            matches: of all batches.
        """
        if not self.names:
            return None
        grazed, touched = self._shared.sum(axis=1).tolist()
        return {
            "files": self.files,
            "rows": len(self.names),
            "touched": len(matches),
            "rows_in_training": touched,
            "rows_with_a_common_8_gram": grazed,
            "matches": [asdict(match) for match in matches[:_EXAMPLES]],
        }
