"""Cutting one text into sections at its headings, or into contiguous blocks of paragraphs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from assay.core.errors import InputError

_NUMBER = (
    r"(?:\d{1,3}|[IVXLC]+|[ivxlc]+|One|Two|Three|Four|Five|Six|Seven|Eight|Nine|Ten|Eleven|Twelve"
    r"|ONE|TWO|THREE|FOUR|FIVE|SIX|SEVEN|EIGHT|NINE|TEN|ELEVEN|TWELVE|THE FIRST|the First)"
)
_NAME = "|".join(
    word for name in ("Chapter", "Letter", "Act", "Book", "Part", "Canto", "Stave", "Volume", "Section")
    for word in (name, name.upper())
)  # fmt: skip
# What counts as a heading where the experiment names no rule; the first that finds enough sections is taken.
DEFAULT_HEADINGS = (
    rf"^\s{{0,12}}(?:#{{1,6}}\s+)?(?:{_NAME})\s+{_NUMBER}(?:\s*$|\s*[.:\u2014\u2013-]+(?:\s.{{0,80}})?$)",
    r"^#\s+\S",
    r"^##\s+\S",
    r"^###\s+\S",
)
_ENOUGH = 6  # sections that make a default rule convincing at once
_LEAST = 3  # one each for train, dev and test
_BODY = 200  # bytes below which what follows a heading is an entry in a table of contents
_FRONT = 2000  # bytes below which the text before the first heading is a title page
FRONT = "before the first heading"


@dataclass(frozen=True)
class Section:
    """A part of a text, with its heading as its title."""

    title: str
    text: str


def compiled(pattern: str) -> re.Pattern[str]:
    """A heading's regular expression, compiled.

    Raises:
        InputError: it is not a valid one.
    """
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"{pattern!r} is not a regular expression: {error}",
            where="data.group.heading",
            fix="write one that matches a heading's line, such as ^CHAPTER [IVXLC]+",
        ) from error


def sections(text: str, pattern: str) -> tuple[list[Section], dict[str, int]]:
    """Cut a text at every line in which `pattern` is found.

    A section is its heading's line and all up to the next heading. Less than 200 bytes after a heading is an entry
    in a table of contents: dropped, and counted as ``heading-without-body``. Text before the first heading is dropped
    and counted as ``before-first-heading`` when it has less than 2,000 bytes, and otherwise a section of its own.
    Titles that come again are made unique: ``Chapter 1 (2)``.

    Returns:
        The sections in order, and the number of pieces dropped by reason.
    """
    heading = compiled(pattern)
    lines = text.split("\n")
    starts = [number for number, line in enumerate(lines) if heading.search(line)]
    dropped = {"before-first-heading": 0, "heading-without-body": 0}
    kept: list[Section] = []
    taken: set[str] = set()
    front = "\n".join(lines[: starts[0]] if starts else lines).strip("\n")
    if len(front.encode()) >= _FRONT:
        kept.append(Section(_unique(FRONT, taken), front))
    elif front.strip():
        dropped["before-first-heading"] = 1
    for start, end in pairwise([*starts, len(lines)]):
        if len("\n".join(lines[start + 1 : end]).strip().encode()) < _BODY:
            dropped["heading-without-body"] += 1
            continue
        title = _unique(lines[start].strip().lstrip("#").strip() or lines[start].strip(), taken)
        kept.append(Section(title, "\n".join(lines[start:end]).strip("\n")))
    return kept, {reason: count for reason, count in dropped.items() if count}


def detect_heading(texts: Sequence[str]) -> str | None:
    """The default rule that cuts the texts into six sections or more; else into three or more; else None."""
    counts = [sum(len(sections(text, pattern)[0]) for text in texts) for pattern in DEFAULT_HEADINGS]
    for least in (_ENOUGH, _LEAST):
        for pattern, count in zip(DEFAULT_HEADINGS, counts, strict=True):
            if count >= least:
                return pattern
    return None


def paragraphs(text: str) -> list[tuple[int, int]]:
    """Start and end of each paragraph (lines between blank lines), or of each line where paragraphs are under three."""
    found = [match.span() for match in re.finditer(r"(?m)^[^\n]*\S[^\n]*(?:\n[^\n]*\S[^\n]*)*", text)]
    return found if len(found) >= _LEAST else [match.span() for match in re.finditer(r"(?m)^[^\n]*\S[^\n]*", text)]


def blocks(sizes: Sequence[int], count: int) -> list[int]:
    """The block of each unit: `count` contiguous blocks (or one per unit, if fewer), balanced by size.

    Args:
        sizes: bytes of each unit, in order.
        count: blocks wanted, at least 1.

    Returns:
        For each unit its block from 0; each block has at least one unit.
    """
    count = min(count, len(sizes))
    total, done, block, empty = sum(sizes), 0, 0, True
    numbers = []
    for index, size in enumerate(sizes):
        units_left, blocks_after = len(sizes) - index, count - 1 - block
        # Open the next block when this unit's middle lies beyond the boundary, or when every unit left is needed.
        beyond = (done + size / 2) * count >= total * (block + 1)
        if not empty and blocks_after and (beyond or units_left <= blocks_after):
            block += 1
        numbers.append(block)
        empty = False
        done += size
    return numbers


def _unique(title: str, taken: set[str]) -> str:
    name, copy = title, 2
    while name in taken:
        name, copy = f"{title} ({copy})", copy + 1
    taken.add(name)
    return name
