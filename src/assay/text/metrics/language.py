"""Whether outputs are in the language that was asked for."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class LanguageShare:
    """How many outputs are in the expected language.

    Args:
        expected: its code.
        told: the code of each output, None where it is undecided.
        share: of the decided outputs, those in the expected language; None where `reason` says why.
        others: how many of the decided are in which other language, the most frequent first.
        undecided: how many are too short, or in no clear language.
        reason: why there is no share.
    """

    expected: str
    told: list[str | None]
    share: float | None
    others: dict[str, int]
    undecided: int
    reason: str | None


def language_share(texts: Sequence[str], expected: str, languages: Identifier) -> LanguageShare:
    """The share of outputs in the expected language: an answer in English where a translation was asked for counts.

    Args:
        texts: the outputs, new text only.
        expected: the language's code; a region behind it (``pt-BR``) does not matter.
        languages: what tells them.

    Raises:
        InputError: the expected language cannot be told.
    """
    code = checked_code(expected, languages)
    codes = [told(text, languages) for text in texts]
    found = Counter(some for some in codes if some is not None)
    decided = found.total()
    why = None if decided else f"none of {len(codes)} outputs is long enough and clearly in one language"
    others = {other: count for other, count in found.most_common() if other != code}
    return LanguageShare(code, codes, found[code] / decided if decided else None, others, len(codes) - decided, why)
