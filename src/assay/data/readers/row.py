"""What every reader gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a table, or the whole of a text file.

    Args:
        index: its number in the file from 1, header and blank lines not counted; 0 for a text file.
        columns: JSON values by column, in the file's order; of a text file, ``text``.
        place: where it stands, for messages: ``file.csv:12`` (the line that it starts on), ``file.parquet (row 12)``.
    """

    index: int
    columns: dict[str, Any]
    place: str
