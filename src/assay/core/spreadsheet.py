"""Texts in the cells of CSV files, as spreadsheets open them."""

from __future__ import annotations

import unicodedata

# What a spreadsheet takes for the beginning of a formula: = + - @, in full width too; blanks before it change nothing.
_FORMULA = tuple("=+-@\uff1d\uff0b\uff0d\uff20")


def plain(text: str) -> str:
    """A text with lines that end with LF, and U+FFFD for control signs (but tabs) and halves of surrogate pairs."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join("\ufffd" if unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" else c for c in lines)


def is_formula(text: str) -> bool:
    """Whether a spreadsheet would take a text for a formula."""
    return text.lstrip().startswith(_FORMULA)


def text_cell(text: str) -> str:
    """A plain text that is no formula: where it would be one, an apostrophe stands in front."""
    kept = plain(text)
    return f"'{kept}" if is_formula(kept) else kept
