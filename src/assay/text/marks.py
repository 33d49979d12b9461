"""Marks in a text: put around what is to be found again after it went through a template, and taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from assay.core.errors import InputError

Span = tuple[int, int]  # from a character to the one behind the last

_FREE = [chr(code) for code in range(0xFDD0, 0xFDF0)]  # Unicode's noncharacters: no text is meant to hold them


@dataclass(frozen=True, slots=True)
class Found:
    """Where the contents of the turns stand in a text, by number of the turn; what the template swallowed is absent."""

    starts: dict[int, int] = field(default_factory=dict)
    ends: dict[int, int] = field(default_factory=dict)
    behind: list[tuple[int, int]] = field(default_factory=list)  # (character, turn) behind each content, repeats too

    def before(self, number: int, position: int) -> int:
        """The end of the last other content that ends at or before a position."""
        return max((end for end, turn in self.behind if end <= position and turn != number), default=0)


def free(texts: Sequence[str], count: int, where: str | None) -> list[str]:
    """Characters that no text holds."""
    joined = "".join(texts)
    free = [mark for mark in _FREE[: count if joined.isascii() else None] if mark not in joined][:count]
    if len(free) < count:
        raise InputError(
            "holds all the characters that Unicode sets aside as no characters (U+FDD0 to U+FDEF)",
            where=where,
            fix="remove them from the text",
        )
    return free


def unmarked(raw: str, before: str, behind: str) -> tuple[str, list[Span]]:
    """The text without the marks of `{% generation %}`, and what they enclosed."""
    first, *others = raw.split(before)
    pieces, spans, position = [first], [], len(first)
    for piece in others:
        inside, _, outside = piece.partition(behind)
        spans.append((position, position + len(inside)))
        pieces += (inside, outside)
        position += len(inside) + len(outside)
    return "".join(pieces), [span for span in spans if span[0] < span[1]]


def wrap(text: str, label: str, mark: str, inside: bool) -> str:
    """A text in its two marks: at its ends, or inside the blanks there."""
    lead, core, trail = _blanks(text) if inside else ("", text, "")
    return f"{lead}{label}<{mark}{core}{label}>{mark}{trail}"


def _blanks(text: str) -> tuple[str, str, str]:
    core = text.strip()
    lead = text[: len(text) - len(text.lstrip())]
    return (lead, core, text[len(lead) + len(core) :])


def read_marks(pieces: Sequence[str], outside: Sequence[str], texts: Sequence[str]) -> Found:
    """Where each text stands, from a rendering split at its marks: text, label, text, label, ..., text.

    Args:
        pieces: the rendering, with the marks around the texts or, where that changed it, inside their blanks.
        outside: in the second case the one with the marks around; it tells the blanks that the template has kept,
            which are part of the content, from its own.
        texts: what was marked.
    """
    found, seen = Found(), set()
    labels = pieces[1::2]
    kept = _kept_blanks(pieces, outside, texts) if outside and outside[1::2] == labels else [(0, 0)] * (len(labels) + 1)
    for k, position in enumerate(accumulate(map(len, pieces[0:-1:2]))):
        number, first = int(labels[k][:-1]), labels[k][-1] == "<"
        if first:
            found.starts[number] = position - kept[k][1]
        else:
            found.ends[number] = position + kept[k + 1][0]
            found.behind.append((found.ends[number], number))
        if labels[k] in seen:  # the template repeats it, so that its place is not one
            found.starts.pop(number, None)
            found.ends.pop(number, None)
        seen.add(labels[k])
    return found


def _kept_blanks(pieces: Sequence[str], outside: Sequence[str], texts: Sequence[str]) -> list[tuple[int, int]]:
    """Of each piece of a rendering the blanks at its start and end that belong to the contents beside it."""
    kept = []
    labels = ["", *pieces[1::2], ""]
    for k, (piece, own) in enumerate(zip(pieces[0::2], outside[0::2], strict=True)):
        trail = _blanks(texts[int(labels[k][:-1])])[2] if labels[k].endswith(">") else ""
        lead = _blanks(texts[int(labels[k + 1][:-1])])[0] if labels[k + 1].endswith("<") else ""
        choices = [(a, b) for a in dict.fromkeys((trail, "")) for b in dict.fromkeys((lead, ""))]
        kept.append(next(((len(a), len(b)) for a, b in choices if piece == a + own + b), (0, 0)))
    return kept
