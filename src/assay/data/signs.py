"""Signs of trouble in texts: wrong decoding, markup, template tokens, invisible characters; counted with examples."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from assay.core.records import Item

SAMPLE = 20_000  # rows looked at; of more, between half of this and this many
_AROUND = 40  # characters shown on both sides of a sign
_SHOWN = 60  # characters of the sign itself that are shown
_LEVELS = 33  # of a 32-bit draw: leading zeros, from 0 to 32


@dataclass(frozen=True)
class Sign:
    """What is looked for, in the syntax that Rust's regex and Python's re share, and what it means.

    `absent`: the sign is that the pattern is found nowhere in the text.
    """

    pattern: str
    meaning: str
    absent: bool = False


# The characters that the bytes 0x80 to 0xBF become when UTF-8 is read as Latin-1 or Windows-1252.
_CONTINUED = "[\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
_TAGS = (
    "a|b|blockquote|br|center|code|div|em|font|h[1-6]|hr|i|img|li|ol|p|pre|script|span|strong|style|table|t[dhr]|ul?"
)

SIGNS: dict[str, Sign] = {
    "mojibake": Sign(
        f"[\u00c3\u00c2]{_CONTINUED}|\u00e2\u20ac|\u00e2\u0080|\u00f0\u0178|\u00f0\u009f|\u00ef\u00bb\u00bf",
        "UTF-8 that was read as another encoding, such as é as Ã©",
    ),
    "replacement-character": Sign("\ufffd", "a character that was lost in decoding (U+FFFD)"),
    "template-token": Sign(
        r"<\|[A-Za-z_]{1,30}\|>|\[/?INST\]|<</?SYS>>|</?s>|<(?:start|end)_of_turn>|<(?:bos|eos|pad|unk)>",
        "a chat template's or tokenizer's own token, written out in the text",
    ),
    "html-tag": Sign(rf"(?i)</?(?:{_TAGS})(?:\s[^<>]*)?/?>", "an HTML tag"),
    "html-entity": Sign(r"&(?:amp|apos|gt|lt|mdash|nbsp|quot|#[0-9]{1,6}|#x[0-9A-Fa-f]{1,5});", "an HTML entity"),
    "control-character": Sign("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "a control character"),
    "zero-width": Sign("[\u200b\u2060\ufeff]", "an invisible character of no width"),
    "carriage-return": Sign("\r", "a carriage return, left over from another system's line ends"),
    "trailing-space": Sign(r"(?m)[ \t]+$", "blanks at the end of a line"),
    "curly-quotes": Sign("[\u2018-\u201f]", "curly quotes or apostrophes"),
    "straight-quotes": Sign("[\"']", "straight quotes or apostrophes"),
    "no-words": Sign(r"[^\W_]", "no letter and no digit at all", absent=True),
}


class SignCounter:
    """Counts the rows that hold each sign, in one pass, over a sample whose size is bounded.

    A row's draw is a number that follows from its id alone. The sample is every row whose draw has at least so many
    leading zeros that no more than `SAMPLE` rows have: it depends on the rows, not on their order, and needs no
    memory of them (adaptive sampling; Flajolet, Computing 43, 1990).
    """

    def __init__(self) -> None:
        self._level = 0
        self._rows = np.zeros(_LEVELS, dtype=np.int64)
        self._found = {name: np.zeros(_LEVELS, dtype=np.int64) for name in SIGNS}
        self._examples: dict[str, tuple[int, Item]] = {}

    def add(self, items: Sequence[Item], texts: pl.Series, draws: npt.NDArray[np.uint32]) -> None:
        """Count a batch.

        Args:
            items: the rows.
            texts: their texts.
            draws: a number for each, uniform over 32 bits.
        """
        levels = 31 - np.floor(np.log2(np.maximum(draws, 1))).astype(np.int64) + (draws == 0)
        chosen = np.flatnonzero(levels >= self._level)
        levels, draws = levels[chosen], draws[chosen]
        self._rows += np.bincount(levels, minlength=_LEVELS)
        text = pl.col("text")
        flags = pl.DataFrame({"text": texts.gather(chosen)}).select(
            **{name: text.str.contains(sign.pattern) != sign.absent for name, sign in SIGNS.items()}
        )
        for name in SIGNS:
            marked = np.flatnonzero(flags[name].to_numpy())
            if len(marked):
                self._found[name] += np.bincount(levels[marked], minlength=_LEVELS)
                self._remember(name, [(int(draws[n]), items[chosen[n]]) for n in marked])
        while self._rows[self._level :].sum() > SAMPLE:
            self._level += 1

    def _remember(self, name: str, marked: list[tuple[int, Item]]) -> None:
        # The smallest draw is the last to fall out of the sample.
        known = [self._examples[name]] if name in self._examples else []
        self._examples[name] = min([*known, *marked], key=lambda pair: (pair[0], pair[1].id))

    def result(self) -> dict[str, Any]:
        """``{"sample": rows looked at, "found": {sign: {"rows", "share", "example"}}}``, signs not seen left out.

        An example is ``{"id", "group", "before", "match", "after"}``: the first place of the sign in a row, and what
        stands around it.
        """
        sample = int(self._rows[self._level :].sum())
        found: dict[str, Any] = {}
        for name in SIGNS:
            rows = int(self._found[name][self._level :].sum())
            if rows:
                item = self._examples[name][1]
                found[name] = {"rows": rows, "share": round(rows / sample, 6), "example": _example(name, item)}
        return {"sample": sample, "found": found}


def _example(name: str, item: Item) -> dict[str, str]:
    match = re.search(SIGNS[name].pattern, item.text)
    start, end = match.span() if match else (0, len(item.text))
    return {
        "id": item.id,
        "group": item.group,
        "before": item.text[max(0, start - _AROUND) : start],
        "match": item.text[start : min(end, start + _SHOWN)],
        "after": item.text[end : end + _AROUND],
    }
