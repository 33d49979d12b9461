"""Words of a text, as the leak checks and the profile count them."""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"\w+")


def folded(text: str) -> str:
    """The text in NFKC and lower case: only ever for comparing, never for training or scoring."""
    return unicodedata.normalize("NFKC", text).lower()


def words(text: str) -> list[str]:
    r"""The words (``\w+``) of the folded text. A script without spaces gives one word per clause."""
    return _WORD.findall(folded(text))


def word_spans(text: str) -> list[tuple[int, int]]:
    """Start and end of each word, as offsets into `folded(text)`."""
    return [match.span() for match in _WORD.finditer(folded(text))]
