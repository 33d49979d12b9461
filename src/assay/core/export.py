"""Rows of the ledger as CSV, for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.core.ledger import COLUMNS
from assay.core.ledger_query import leaf
from assay.core.spreadsheet import text_cell

FIRST = ("path", "id", "experiment")  # of every such file: by them it is known again


def csv_text(rows: Sequence[dict[str, Any]], columns: Sequence[str] = ()) -> str:
    """A header and a line for each run: the ledger's columns, and behind them every setting by its dotted key.

    Texts are no formulas (`core.spreadsheet`). What is undefined is empty. Numbers
    are written in full: seconds, bytes, bits per byte.

    Args:
        rows: with their "settings".
        columns: if any are given, only these, behind path, id and experiment.
    """
    settings = sorted({key for row in rows for key in row["settings"]} - COLUMNS.keys())
    header = list(dict.fromkeys([*FIRST, *(columns or [*COLUMNS, *settings])]))
    stream = io.StringIO()
    writer = csv.writer(stream)  # lines end as RFC 4180 has it; with another end a carriage return is not quoted
    writer.writerow(header)
    for row in rows:
        everything = {**row["settings"], **{key: row[key] for key in COLUMNS}}
        writer.writerow([_cell(everything.get(key)) for key in header])
    return stream.getvalue()


def is_ours(file: Path) -> bool:
    """Whether a file begins as `csv_text` does."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            header = next(csv.reader(stream), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return tuple(header[: len(FIRST)]) == FIRST


def _cell(value: Any) -> str | int | float | None:
    found = leaf(value)
    return text_cell(found) if isinstance(found, str) else found
