"""What counts as one independent group: by a column, a file, a row, a heading, or a block of paragraphs or rows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import PurePosixPath
from typing import Any

from assay.core.errors import InputError
from assay.data.segment import blocks, compiled, detect_heading, paragraphs, sections
from assay.data.tally import Drop

GroupRule = str | Mapping[str, Any] | None
BLOCKS = 40
_FEW = 3  # train, dev and test


@dataclass(frozen=True)
class Text:
    """A whole text file, cleaned: its name among the sources, its text, and the split it was given for (or none)."""

    name: str
    text: str
    side: str = ""


@dataclass(frozen=True)
class Decided:
    """The rule that groups are made by, and why it is this one."""

    rule: str | dict[str, Any]
    reason: str


def table_rule(rule: GroupRule) -> Decided:
    """How the rows of a table are grouped.

    Raises:
        InputError: the rule fits texts only.
    """
    if rule is None:
        return Decided({"row": True}, "a table with no group named: each row stands for itself")
    if isinstance(rule, Mapping) and "heading" in rule:
        raise InputError(
            "data.group cuts at headings, but this is a table",
            where="data.group",
            fix="set data.group to a column's name, or to {row: true}",
        )
    return Decided(rule if isinstance(rule, str) else dict(rule), "named in the experiment")


def text_rule(rule: GroupRule, texts: Sequence[Text]) -> Decided:
    """How whole texts are grouped: three files or more are groups each; else headings cut them; else 40 blocks do.

    Raises:
        InputError: the rule fits tables only.
    """
    if isinstance(rule, str):
        raise InputError(
            f"data.group names a column, {rule!r}, but {texts[0].name} is a text and has none",
            where=texts[0].name,
            fix="set data.group to {heading: <regular expression>}, {file: true} or {blocks: 40}",
        )
    if rule is not None:
        return Decided({"file": True} if "row" in rule else dict(rule), "named in the experiment")
    if len(texts) >= _FEW:
        return Decided({"file": True}, f"{len(texts)} files: each is a group")
    heading = detect_heading([text.text for text in texts])
    if heading is not None:
        title = next(section.title for text in texts for section in sections(text.text, heading)[0])
        return Decided({"heading": heading}, f"the text has headings, such as {title!r}")
    return Decided({"blocks": BLOCKS}, "a text without headings: contiguous paragraphs stay together")


def text_pieces(texts: Sequence[Text], rule: Mapping[str, Any]) -> Iterator[tuple[Text, str, str | Drop]]:
    """Cut texts by a rule: (its text, group, piece), or the reason for which a piece is left out."""
    files = dict(zip(range(len(texts)), file_groups([text.name for text in texts]), strict=True))
    several = len(texts) > 1
    if "heading" in rule:
        compiled(str(rule["heading"]))
        for number, text in enumerate(texts):
            found, lost = sections(text.text, str(rule["heading"]))
            for section in found:
                yield text, f"{files[number]}/{section.title}" if several else section.title, section.text
            for reason, count in lost.items():
                for _ in range(count):
                    yield text, files[number], Drop(reason)
    elif "blocks" in rule:
        total = sum(len(text.text.encode()) for text in texts)
        for number, text in enumerate(texts):
            share = max(1, math.floor(int(rule["blocks"]) * len(text.text.encode()) / total + 0.5))
            for name, piece in _blocks(text.text, share):
                yield text, f"{files[number]}/{name}" if several else name, piece
    else:
        for number, text in enumerate(texts):
            yield text, files[number], text.text


def _blocks(text: str, count: int) -> Iterator[tuple[str, str]]:
    spans = paragraphs(text)
    numbers = blocks([len(text[start:end].encode()) for start, end in spans], count)
    for number, members in groupby(zip(numbers, spans, strict=True), key=lambda pair: pair[0]):
        own = [span for _, span in members]
        # A slice of the text as it is: blank lines between the paragraphs stay as they were.
        yield block_name(number, numbers[-1]), text[own[0][0] : own[-1][1]]


def block_name(number: int, last: int) -> str:
    """``block 07``, with as many digits as the last one needs."""
    return f"block {number + 1:0{len(str(last + 1))}d}"


def file_groups(names: Sequence[str]) -> list[str]:
    """Each file as a group's name: without its endings where no two files then share a name."""
    short = {name: str(PurePosixPath(name.removesuffix(".gz")).with_suffix("")) for name in names}
    return [short[name] if len(set(short.values())) == len(short) else name for name in names]


class Repeats:
    """Which columns of a table repeat their values, as a title does that many rows belong to: better groups."""

    ROWS = 5000  # the first rows, which are looked at

    def __init__(self) -> None:
        self.rows = 0
        self.values: dict[str, Counter[str]] = {}

    def add(self, columns: Mapping[str, Any]) -> None:
        """Look at one row."""
        if self.rows < self.ROWS:
            self.rows += 1
            for name, value in columns.items():
                if isinstance(value, str | int) and not isinstance(value, bool) and 0 < len(str(value).strip()) <= 200:
                    self.values.setdefault(name, Counter())[str(value)] += 1

    def found(self) -> list[dict[str, Any]]:
        """Columns of names (not of numbers) with 20 values or more, each on 3 rows or more on average.

        Returns:
            ``[{"column", "values", "largest"}]``.
        """
        return [
            {"column": name, "values": len(counts), "largest": max(counts.values())}
            for name, counts in self.values.items()
            if len(counts) >= 20 and counts.total() == self.rows >= 3 * len(counts) and _names(counts)
        ]


def _names(values: Mapping[str, int]) -> bool:
    return sum(any(character.isalpha() for character in value) for value in values) * 2 > len(values)
