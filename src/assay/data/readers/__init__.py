"""From files to rows in bounded memory: texts, CSV, JSON and Parquet, plain or packed with gzip.

Every fault of a file is an `InputError` that names its place; nothing is passed over but blank lines.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePath

from assay.core.errors import InputError
from assay.data.readers.csv_rows import read_csv, read_tsv
from assay.data.readers.json_rows import read_json, read_lines
from assay.data.readers.parquet_rows import read_parquet
from assay.data.readers.row import Row
from assay.data.readers.stream import ARCHIVES, wrongly_packed
from assay.data.readers.text import read_text, strip_frame
from assay.data.sources import SourceFile

__all__ = ["Row", "is_table", "read_rows", "strip_frame"]

_TABLES: dict[str, Callable[[SourceFile], Iterator[Row]]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_lines,
    ".ndjson": read_lines,
    ".json": read_json,
    ".parquet": read_parquet,
}
_TEXTS = (".txt", ".text", ".md", ".markdown", "")


def is_table(name: str) -> bool:
    """Whether a file of this name is read as a table, and not as one text."""
    return _ending(name) in _TABLES


def read_rows(file: SourceFile) -> Iterator[Row]:
    """The rows of a table in their order, or a text file as one; the ending of its name says how it is read.

    Line ends of CSV and text files become ``\\n``; texts within JSON and Parquet stay as they are.

    Raises:
        InputError: the format is unknown, the file is damaged, empty or not UTF-8, or a row is malformed.
    """
    ending = _ending(file.name)
    read = _TABLES.get(ending) or (read_text if ending in _TEXTS else None)
    if ending in ARCHIVES:
        raise wrongly_packed(file, ending)
    if read is None:
        raise InputError(
            f"files ending in {ending!r} are not read: only {', '.join(sorted([*_TEXTS[:-1], *_TABLES]))}, "
            "and each of them packed with gzip (.gz)",
            where=file.where,
            fix="convert it to one of these; a plain text may simply be renamed to .txt",
        )
    reached = 0
    try:
        for row in read(file):
            yield row
            reached = row.index
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"cannot be read{f' beyond row {reached}' if reached else ''}: {error}",
            where=file.where,
            fix="get the file anew if it was cut short or damaged",
        ) from error


def _ending(name: str) -> str:
    return PurePath(name.lower().removesuffix(".gz")).suffix
