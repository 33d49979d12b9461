"""From sources to items: rows are read, parsed, cleaned and cut, and what remains waits on disk.

Memory holds a few dozen bytes per item: its group, stratum, side, size and hash.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from assay.core.errors import InputError
from assay.core.records import content_hash
from assay.data.chunk import chunks
from assay.data.clean import Cleaner, length_drop
from assay.data.columns import column_value
from assay.data.formats import Draft, Layout, decide
from assay.data.groups import (
    Decided,
    GroupRule,
    Repeats,
    Text,
    block_name,
    file_groups,
    table_rule,
    text_pieces,
    text_rule,
)
from assay.data.readers import Row, is_table, read_rows
from assay.data.segment import blocks
from assay.data.sources import SourceFile
from assay.data.spill import Spill, Spilled
from assay.data.tally import BEYOND, Drop, Tally

SIDES = ("", "dev", "test")  # given by files of their own; "" is divided by the split
_UNFILLED = {"data.group": "no-group", "data.split.stratify": "no-stratum"}
_FIRST = 200  # rows that a format is decided from


@dataclass(frozen=True)
class Settings:
    """How rows become items; see the keys of `data` with these names."""

    format: str
    fields: Mapping[str, str | None]
    template: str | None
    system_prompt: str | None
    group: GroupRule
    stratify: str | None
    chunk_by: str | None
    chunk_bytes: int
    overlap_bytes: int
    cleaner: Cleaner
    min_bytes: int | None
    max_bytes: int | None
    max_rows: int | None
    max_bad_rows: float


@dataclass
class Gathered:
    """All items, by number: contents on disk, small facts in memory."""

    spill: Spill
    rows: Tally = field(default_factory=lambda: Tally("rows"))
    items: Tally = field(default_factory=lambda: Tally("items"))
    group: array[int] = field(default_factory=lambda: array("i"))  # number of the name in `groups`
    stratum: array[int] = field(default_factory=lambda: array("i"))  # likewise in `strata`
    side: array[int] = field(default_factory=lambda: array("b"))  # index into SIDES
    size: array[int] = field(default_factory=lambda: array("q"))  # bytes
    digests: bytearray = field(default_factory=bytearray)  # 32 bytes per item: SHA-256 of its content
    groups: dict[str, int] = field(default_factory=dict)
    strata: dict[str, int] = field(default_factory=dict)
    layout: Layout | None = None
    rule: Decided | None = None
    repeats: Repeats = field(default_factory=Repeats)

    def __len__(self) -> int:
        return len(self.group)

    def digest(self, number: int) -> bytes:
        """The hash of an item's content."""
        return bytes(self.digests[32 * number : 32 * number + 32])


def gather(files: Sequence[tuple[SourceFile, str]], settings: Settings, folder: Path) -> Gathered:
    """Read every row of the files into items.

    Args:
        files: each with its side (one of SIDES).
        settings: how rows become items.
        folder: where the items wait; it holds as much as the texts themselves.

    Raises:
        InputError: a file or row is unreadable, too many rows are malformed, or nothing is left.
    """
    tables = [is_table(file.name) for file, _ in files]
    if any(tables) and not all(tables):
        table, text = (files[tables.index(kind)][0].name for kind in (True, False))
        raise InputError(
            f"data.source mixes a table ({table}) with a text ({text})", fix="give tables only, or texts only"
        )
    gathered = Gathered(Spill(folder / "items.arrow"))
    intake = _Intake(gathered, settings)
    if all(tables):
        intake.tables(files)
    else:
        intake.texts(files)
    gathered.spill.close()
    gathered.rows.judge_bad(
        settings.max_bad_rows,
        fix="look at these rows; correct the file or data.format, or allow more with data.max_bad_rows",
    )
    if not gathered.items.kept:
        raise _nothing_left(gathered, files[0][0].where, is_text=not any(tables))
    return gathered


class _Intake:
    def __init__(self, gathered: Gathered, settings: Settings) -> None:
        self.g, self.s = gathered, settings
        self.row = 0  # number of the row that is being read
        self.rows = array("i")  # of each item

    def tables(self, files: Sequence[tuple[SourceFile, str]]) -> None:
        self.g.rule = table_rule(self.s.group)
        names = file_groups([file.name for file, _ in files])
        for (file, side), own in zip(files, names, strict=True):
            rows = read_rows(file)
            first = list(islice(rows, _FIRST))
            if self.g.layout is None:
                self.g.layout = self._decide(first)
            for row in chain(first, rows):
                # what is counted and shown names the file as the manifest does, not where it lies
                self._row(row, row.place.replace(file.where, file.name, 1), side, own)
        if isinstance(self.g.rule.rule, dict) and "blocks" in self.g.rule.rule:
            self._block_rows(int(self.g.rule.rule["blocks"]))

    def _decide(self, first: Sequence[Row]) -> Layout:
        return decide(self.s.format, self.s.fields, self.s.template, self.s.system_prompt, first)

    def _row(self, row: Row, place: str, side: str, file_group: str) -> None:
        if self.g.layout is None or self.g.rule is None:
            raise ValueError("the layout is decided first")
        if self._enough(side):
            return self.g.rows.drop(BEYOND, place)
        stratum = "" if self.s.stratify is None else _value(row, self.s.stratify, "data.split.stratify")
        rule = self.g.rule.rule
        group = _value(row, rule, "data.group") if isinstance(rule, str) else file_group if "file" in rule else None
        for value in (stratum, group):
            if isinstance(value, Drop):
                return self.g.rows.drop(value, place)
        draft = self._cleaned(self.g.layout.parse(row), place)
        if draft is None:
            return None
        self.g.repeats.add(row.columns)
        if group is None:
            # not by number: the same rows in another order are in the same groups
            group = f"row {content_hash(draft.text, draft.turns)[:16]}"
        self.row += 1
        for spilled in self._cut(draft, place):
            self._add(spilled, str(group), str(stratum), side)
        return None

    def texts(self, files: Sequence[tuple[SourceFile, str]]) -> None:
        if self.s.stratify is not None:
            raise InputError(
                "data.split.stratify names a column, but the source is a text and has none",
                where="data.split.stratify",
                fix="remove it",
            )
        texts: list[Text] = []
        for file, side in files:
            for row in read_rows(file):
                if self.g.layout is None:
                    self.g.layout = self._decide([row])
                if self._enough(side):
                    self.g.rows.drop(BEYOND, file.name)
                    continue
                draft = self._cleaned(self.g.layout.parse(row), file.name)
                if draft is not None:
                    texts.append(Text(file.name, draft.text, side))
        if texts:
            self._texts_into_items(texts)

    def _texts_into_items(self, texts: list[Text]) -> None:
        self.g.rule = text_rule(self.s.group, [text for text in texts if not text.side] or texts)
        if not isinstance(self.g.rule.rule, dict):
            raise ValueError("texts have no columns")
        for text, group, piece in text_pieces(texts, self.g.rule.rule):
            if isinstance(piece, Drop):
                self.g.items.drop(piece, text.name)
                continue
            for spilled in self._cut(Draft(piece, ()), f"{text.name} ({group})"):
                self._add(spilled, group, "", text.side)
        wanted, made = self.g.rule.rule.get("blocks"), len(self.g.groups)
        if wanted is not None and made != wanted:
            self.g.rule = _fewer_blocks(self.g.rule, wanted, made)

    def _enough(self, side: str) -> bool:
        """Whether as many rows of the source have been taken as are wanted; files of one's own are read whole."""
        return side == "" and self.s.max_rows is not None and self.g.rows.kept >= self.s.max_rows

    def _cleaned(self, draft: Draft | Drop, place: str) -> Draft | None:
        """A row's cleaned draft, counted; None when it was dropped."""
        cleaned = draft if isinstance(draft, Drop) else self.s.cleaner.apply(draft)
        if isinstance(cleaned, Drop):
            self.g.rows.drop(cleaned, place, "" if isinstance(draft, Drop) else draft.text)
            return None
        self.g.rows.keep()
        return cleaned

    def _cut(self, draft: Draft, place: str) -> Iterator[Spilled]:
        if self.s.chunk_by is None:
            yield Spilled(draft.text, draft.turns, place)
            return
        if draft.turns:
            raise InputError(
                "data.chunk cuts plain texts, and these rows are pairs or chats",
                where=place,
                fix="remove data.chunk, or set data.format to text and name the column in data.fields.text",
            )
        for number, chunk in enumerate(
            chunks(draft.text, by=self.s.chunk_by, max_bytes=self.s.chunk_bytes, overlap_bytes=self.s.overlap_bytes), 1
        ):
            yield Spilled(chunk.text, (), f"{place}, chunk {number}", chunk.overlap)

    def _add(self, item: Spilled, group: str, stratum: str, side: str) -> None:
        """Count an item and, where its length is right, keep it."""
        g, own = self.g, item.text[item.overlap :]
        size = len(own.encode())
        drop = length_drop(own, self.s.min_bytes, self.s.max_bytes)
        if drop is not None:
            return g.items.drop(drop, item.place, own)
        g.items.keep()
        digest = bytes.fromhex(content_hash(own, item.turns))
        g.group.append(g.groups.setdefault(group, len(g.groups)))
        g.stratum.append(g.strata.setdefault(stratum, len(g.strata)))
        g.side.append(SIDES.index(side))
        g.size.append(size)
        self.rows.append(self.row)
        g.digests += digest
        g.spill.add(item)
        return None

    def _block_rows(self, wanted: int) -> None:
        # by row, not by chunk: a block never ends within a row; and by side: none is both trained on and held out
        sizes: dict[int, dict[int, int]] = {}
        for side, row, size in zip(self.g.side, self.rows, self.g.size, strict=True):
            own = sizes.setdefault(side, {})
            own[row] = own.get(row, 0) + size
        numbers: dict[int, int] = {}
        for own in sizes.values():
            share = max(1, math.floor(wanted * sum(own.values()) / sum(self.g.size) + 0.5))
            first = max(numbers.values(), default=-1) + 1
            numbers |= zip(own, (first + number for number in blocks(list(own.values()), share)), strict=True)
        last = max(numbers.values(), default=0)
        self.g.groups = {block_name(number, last): number for number in range(last + 1)}
        self.g.group = array("i", (numbers[row] for row in self.rows))
        if self.g.rule is not None and last + 1 != wanted:
            self.g.rule = _fewer_blocks(self.g.rule, wanted, last + 1)


def _fewer_blocks(rule: Decided, wanted: int, made: int) -> Decided:
    return Decided({"blocks": made}, f"{rule.reason}; {wanted} blocks were wanted, the text makes {made}")


def _value(row: Row, column: str, key: str) -> str | Drop:
    """A row's value in a column that `key` names, as text; a row without one is left out.

    Raises:
        InputError: there is no such column, or it holds a list or an object.
    """
    value = column_value(row, column, key)
    if isinstance(value, list | dict):
        raise InputError(
            f"row {row.index} has a {type(value).__name__} in the column {column!r} that {key} names",
            where=row.place,
            fix="name a column of plain values",
        )
    text = "" if value is None else str(value).strip()
    return text or Drop(_UNFILLED[key], f"the column {column!r} is empty", bad=True)


def _nothing_left(gathered: Gathered, where: str, *, is_text: bool) -> InputError:
    rows, items = gathered.rows.as_json(), gathered.items.as_json()
    lost = ", ".join(f"{count} x {reason}" for reason, count in (rows["dropped"] | items["dropped"]).items())
    return InputError(
        f"no text is left of {rows['in']} row{'' if rows['in'] == 1 else 's'}: {lost}",
        where=where,
        fix=(
            "name another data.group"
            if is_text
            else "name the column that holds the text (--set data.fields.text=NAME)"
        )
        + ", or loosen data.clean",
    )
