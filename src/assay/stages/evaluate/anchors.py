"""Texts whose stars are agreed on: what raters give them tells how strict each of them is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from assay.core.errors import InputError
from assay.text.suites import json_rows


@dataclass(frozen=True)
class Anchor:
    """A text whose stars (1 to 5) are agreed on."""

    text: str
    stars: float


def read_anchors(path: Path) -> list[Anchor]:
    """The anchors of a file in JSON Lines, with the keys ``text`` and ``stars``.

    Raises:
        InputError: the file is missing or empty, or a row has another form; its line is named.
    """
    found = []
    for row in json_rows(path):
        text, stars = row.values.get("text"), row.values.get("stars")
        words = isinstance(text, str) and text.strip()
        number = isinstance(stars, int | float) and not isinstance(stars, bool)
        if row.values.keys() != {"text", "stars"} or not words or not number:
            raise InputError(
                "this is no anchor", where=row.where, fix='write {"text": "a text to be rated", "stars": 3}'
            )
        found.append(Anchor(str(text), float(str(stars))))
    if not found:
        raise InputError("the file holds no anchors", where=str(path), fix="write a line for each text")
    return found
