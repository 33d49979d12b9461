"""Words of one text, as all checks that compare texts count them; for many texts at once see `data.grams`."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+")


def folded(text: str) -> str:
    """The text in NFKC and lower case: only ever for comparing, never for training or scoring."""
    return (text if text.isascii() else unicodedata.normalize("NFKC", text)).lower()


def words(text: str) -> list[str]:
    r"""The words (``\w+``) of the folded text. A script without spaces gives one word per clause."""
    return _WORD.findall(folded(text))


def word_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each word, as offsets into `folded(text)`."""
    return [match.span() for match in _WORD.finditer(folded(text))]


def excerpt(text: str, first: int, count: int, most: int) -> str:
    """The text from its word number `first` on (from 0), `count` words long, cut to `most` characters."""
    normal = folded(text)
    # Folding may change the length of a text; then offsets fit the folded one only.
    shown = text if len(normal) == len(text) else normal
    spans = word_spans(text)[first : first + count]
    return shown[spans[0][0] : spans[-1][1]][:most]
