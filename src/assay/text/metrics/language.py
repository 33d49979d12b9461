"""Whether outputs are in the language that was asked for."""

from __future__ import annotations

import difflib
from typing import Protocol

from assay.core.errors import InputError

JUDGED = 2000  # characters of a text that are looked at
LETTERS = 20  # a text with fewer is too little to tell a language by


class Identifier(Protocol):
    """What tells languages apart, such as `assay.data.languages.Languages`."""

    known: frozenset[str]

    def of(self, text: str) -> str | None:
        """The code of a text's language (ISO 639-1), or None where it is not clear."""


def told(text: str, languages: Identifier) -> str | None:
    """The code of a text's language; None where it is not clear, or the text has fewer than 20 letters.

    Case is taken away first: identification is trained on ordinary case, and mistakes text in capitals.
    """
    beginning = text[:JUDGED].lower()
    enough = sum(character.isalpha() for character in beginning) >= LETTERS
    return languages.of(beginning) if enough else None


def checked_code(language: str, languages: Identifier, where: str | None = None) -> str:
    """The code without its region (``pt-br`` is ``pt``).

    Raises:
        InputError: no such language can be told.
    """
    code = language.lower().partition("-")[0].partition("_")[0]
    if code not in languages.known:
        near = difflib.get_close_matches(code[:2], sorted(languages.known), n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(
            f"{language!r} is no language that can be told",
            where=where,
            fix=f"{meant}known are the codes of ISO 639-1: {', '.join(sorted(languages.known))}",
        )
    return code
