"""What the prepared data looks like: lengths, groups, turns, duplicates, signs of trouble; as plain JSON values.

It knows no tokenizer: what a model's tokens make of the data is another profile.
"""

from __future__ import annotations

import heapq
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from assay.core.distribution import bin_edges, histogram, quantiles
from assay.core.optional import installed
from assay.core.records import Item
from assay.data.languages import PACKAGE, Languages
from assay.data.signs import SignCounter

_CANDIDATES = 64  # a value of a larger share than one in this many is named for certain
_LANGUAGE_ROWS, _LANGUAGE_CHARACTERS = 500, 1000  # judged, and of each
_JUDGEABLE = 80  # characters; a shorter text is too little to tell a language by
_Ints = npt.NDArray[np.int64]


class Profile:
    """Describes the items of each split in one pass.

    Of each row only numbers are kept, its lengths and hashes: some 60 bytes, or 60 MB for a million rows. The result
    does not depend on the order of the rows.

    Args:
        splits: the names, in the order of the result.
    """

    def __init__(self, splits: Sequence[str] = ("train", "dev", "test")) -> None:
        self._splits = {name: _Split() for name in splits}
        self._groups = _Commonest()
        self._turns = _Turns()
        self._signs = SignCounter()
        self._spoken: list[tuple[int, str, str]] = []  # the smallest draws: draw, id, start of the text

    def add(self, split: str, items: Sequence[Item]) -> None:
        """Take in a batch of a split's items."""
        if not items:
            return
        texts = pl.Series("text", [item.text for item in items], dtype=pl.String)
        sizes = self._splits[split].add(items, texts)
        self._groups.add([item.group for item in items], sizes)
        self._turns.add(items)
        draws = np.fromiter((zlib.crc32(item.id.encode()) for item in items), dtype=np.uint32, count=len(items))
        self._signs.add(items, texts, draws)
        judgeable = (
            (int(draw), item.id, item.text[:_LANGUAGE_CHARACTERS])
            for draw, item in zip(draws, items, strict=True)
            if len(item.text) >= _JUDGEABLE
        )
        self._spoken = heapq.nsmallest(_LANGUAGE_ROWS, [*self._spoken, *judgeable])

    def result(self) -> dict[str, Any]:
        """The profile.

        Returns:
            ``{"schema": 2, "splits", "groups", "turns", "signs", "languages"}``.

            ``splits``: name → ``rows``, ``groups``, ``bytes`` (UTF-8), ``characters``, ``words`` (``\\w+``),
            ``histograms`` and ``quantiles`` of the rows' lengths in ``bytes`` and ``characters``, ``longest``
            ``{"id", "group", "bytes"}``, ``exact_duplicates`` (rows beyond the first of each equal text) and
            ``non_ascii_share`` (of characters). Where a number would be undefined stands null. A histogram is
            ``{"edges", "counts"}``: a row as long as an edge stands in the bin above it, the last bin holds its upper
            edge too, and all splits have the same edges.

            ``groups``: of all splits together ``count`` and ``largest`` ``{"group", "bytes", "share"}``, the share of
            bytes; the name is null where it is not known for certain.

            ``turns``: null for plain text, else of all splits together ``rows``, ``turns`` (system prompts not
            counted), ``per_row`` ``{"histogram", "quantiles"}``, ``roles`` ``{role: {"turns", "characters", "share"}}``
            with the share of characters, and ``system`` ``{"rows", "distinct", "largest": {"text", "rows", "share"}}``.

            ``signs``: see `SignCounter.result`. ``languages``: of at most 500 rows of 80 characters or more
            ``{"sample", "judged", "shares": {code: share}, "reason"}``, the shares of the rows whose language is clear;
            null where a reason says why.
        """
        edges = {
            what: bin_edges(np.concatenate([split.column(what) for split in self._splits.values()]))
            for what in ("bytes", "characters")
        }
        every = sum(int(split.column("bytes").sum()) for split in self._splits.values())
        count, name, size = self._groups.result()
        return {
            "schema": 2,
            "splits": {name: split.result(edges) for name, split in self._splits.items()},
            "groups": {
                "count": count,
                "largest": {"group": name, "bytes": size, "share": _share(size, every)} if count else None,
            },
            "turns": self._turns.result(),
            "signs": self._signs.result(),
            "languages": _languages([text for _, _, text in self._spoken]),
        }


class _Split:
    """The rows of one split: parallel columns of numbers, in pieces as they came."""

    def __init__(self) -> None:
        self._pieces: dict[str, list[_Ints]] = {"bytes": [], "characters": [], "text": [], "group": []}
        self._words = 0
        self._non_ascii = 0
        self._longest: tuple[int, str, str] | None = None

    def add(self, items: Sequence[Item], texts: pl.Series) -> _Ints:
        """Count a batch; returns the rows' lengths in bytes."""
        text = pl.col("text").str
        found = texts.to_frame().select(
            bytes=text.len_bytes(),
            characters=text.len_chars(),
            words=text.count_matches(r"\w+"),
            other=text.count_matches(r"[^\x00-\x7F]"),
        )
        for name in ("bytes", "characters"):
            self._pieces[name].append(found[name].to_numpy().astype(np.int64))
        self._pieces["text"].append(_hashes([item.text for item in items]))
        self._pieces["group"].append(_hashes([item.group for item in items]))
        self._words += int(found["words"].sum())
        self._non_ascii += int(found["other"].sum())
        sizes = self._pieces["bytes"][-1]
        top = [(int(sizes[n]), items[n].id, items[n].group) for n in np.flatnonzero(sizes == sizes.max()).tolist()]
        self._longest = max([*top, *([self._longest] if self._longest else [])])
        return sizes

    def column(self, name: str) -> _Ints:
        """One number of each row."""
        return np.concatenate([np.zeros(0, dtype=np.int64), *self._pieces[name]])

    def result(self, edges: dict[str, list[int]]) -> dict[str, Any]:
        """The split's part of the profile."""
        lengths = {name: self.column(name) for name in ("bytes", "characters")}
        rows, characters = len(lengths["bytes"]), int(lengths["characters"].sum())
        size, name, group = self._longest or (0, "", "")
        return {
            "rows": rows,
            "groups": len(np.unique(self.column("group"))),
            "bytes": int(lengths["bytes"].sum()),
            "characters": characters,
            "words": self._words,
            "histograms": {name: histogram(values, edges[name]) for name, values in lengths.items()},
            "quantiles": {name: quantiles(values) for name, values in lengths.items()},
            "longest": {"id": name, "group": group, "bytes": size} if self._longest else None,
            "exact_duplicates": rows - len(np.unique(self.column("text"))),
            "non_ascii_share": _share(self._non_ascii, characters),
        }


class _Commonest:
    """Among many names, how many there are and which weighs most, without keeping them all.

    The weights are exact, by the names' hashes. Of the names themselves the heaviest are kept: those of a share
    above 1 ÷ `_CANDIDATES` are certain to be among them (Misra and Gries 1982; with weights and in batches as in
    Agarwal et al., Mergeable summaries, 2012).
    """

    def __init__(self) -> None:
        self._hashes: list[_Ints] = []
        self._weights: list[_Ints] = []
        self._candidates: Counter[str] = Counter()

    def add(self, names: Sequence[str], weights: _Ints) -> None:
        """Count a batch."""
        self._hashes.append(_hashes(names))
        self._weights.append(weights)
        for name, weight in zip(names, weights.tolist(), strict=True):
            self._candidates[name] += weight
        if len(self._candidates) > _CANDIDATES:
            ranked = self._candidates.most_common(_CANDIDATES + 1)
            self._candidates = Counter({name: weight - ranked[-1][1] for name, weight in ranked[:-1]})

    def result(self) -> tuple[int, str | None, int]:
        """The number of names, the heaviest one (None where it is not certain which), and its weight."""
        if not self._hashes:
            return 0, None, 0
        distinct, inverse = np.unique(np.concatenate(self._hashes), return_inverse=True)
        totals = np.bincount(inverse, weights=np.concatenate(self._weights))
        names = {hash(name): name for name in self._candidates}
        top = int(totals.max())
        heaviest = [names.get(int(distinct[n])) for n in np.flatnonzero(totals == top).tolist()]
        known = sorted(name for name in heaviest if name is not None)
        return len(distinct), known[0] if len(known) == len(heaviest) else None, top


class _Turns:
    """Who says how much, in rows that have turns."""

    def __init__(self) -> None:
        self._per_row: list[int] = []
        self._turns: Counter[str] = Counter()
        self._characters: Counter[str] = Counter()
        self._system = _Commonest()
        self._system_rows = 0

    def add(self, items: Sequence[Item]) -> None:
        """Count a batch."""
        prompts = []
        for item in items:
            if not item.turns:
                continue
            said = 0
            for turn in item.turns:
                if turn.role == "system":
                    prompts.append(turn.text)
                else:
                    said += 1
                    self._turns[turn.role] += 1
                    self._characters[turn.role] += len(turn.text)
            self._per_row.append(said)
        if prompts:
            self._system.add(prompts, np.ones(len(prompts), dtype=np.int64))
            self._system_rows += len(prompts)

    def result(self) -> dict[str, Any] | None:
        """The part ``turns`` of the profile."""
        if not self._per_row:
            return None
        per_row, characters = np.array(self._per_row, dtype=np.int64), sum(self._characters.values())
        distinct, text, rows = self._system.result()
        return {
            "rows": len(per_row),
            "turns": int(per_row.sum()),
            "per_row": {"histogram": histogram(per_row), "quantiles": quantiles(per_row)},
            "roles": {
                role: {
                    "turns": count,
                    "characters": self._characters[role],
                    "share": _share(self._characters[role], characters),
                }
                for role, count in sorted(self._turns.items(), key=lambda pair: (-pair[1], pair[0]))
            },
            "system": {
                "rows": self._system_rows,
                "distinct": distinct,
                "largest": {"text": text, "rows": rows, "share": _share(rows, self._system_rows)} if distinct else None,
            },
        }


def _languages(texts: Sequence[str]) -> dict[str, Any]:
    nothing = {"sample": len(texts), "judged": 0, "shares": None}
    if not installed(PACKAGE):
        return nothing | {"reason": "the package py3langid is not installed: assay[clean] brings it"}
    if not texts:
        return nothing | {"reason": f"no text has {_JUDGEABLE} characters, too few to tell"}
    found = Counter(code for code in map(Languages().of, texts) if code is not None)
    judged = found.total()
    if 2 * judged < len(texts):
        return nothing | {"judged": judged, "reason": f"{judged} of {len(texts)} texts are clearly in one language"}
    ranked = sorted(found.items(), key=lambda pair: (-pair[1], pair[0]))
    shares = {code: _share(rows, judged) for code, rows in ranked}
    return {"sample": len(texts), "judged": judged, "shares": shares, "reason": None}


def _hashes(texts: Sequence[str]) -> _Ints:
    # 64 bits: among a million texts two different ones share a hash once in 37 million times
    return np.fromiter(map(hash, texts), dtype=np.int64, count=len(texts))


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 6) if whole else None
