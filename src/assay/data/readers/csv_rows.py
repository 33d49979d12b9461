"""Rows of CSV and TSV files, in the dialects that spreadsheets write."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator

from assay.core.errors import InputError
from assay.data.readers.row import Row
from assay.data.readers.stream import LONGEST, Lines, head, row_name, unpacked
from assay.data.sources import SourceFile
from assay.data.values import newlines

_DELIMITERS = ",;\t|"


def read_csv(file: SourceFile) -> Iterator[Row]:
    """The rows under the header, every cell as text; the separator is what splits the first rows like the header."""
    yield from _read(file, _delimiter(*head(file)))


def read_tsv(file: SourceFile) -> Iterator[Row]:
    """The rows under the header, separated by tabs."""
    yield from _read(file, "\t")


def _read(file: SourceFile, delimiter: str) -> Iterator[Row]:
    with unpacked(file) as stream:
        records = _records(Lines(stream, file.where), file.where, delimiter)
        line, first = next(records, (1, []))
        if not first:
            raise InputError("is empty", where=file.where, fix="give a file that holds text")
        header = _header(first, f"{file.where}:{line}")
        index = 0
        for index, (line, cells) in enumerate(records, start=1):
            if len(cells) != len(header):
                raise InputError(
                    f"row {index} has {_count(len(cells), 'cell')}, but the header names "
                    f"{_count(len(header), 'column')}",
                    where=f"{file.where}:{line}",
                    fix='put cells that hold the separator or a line break into double quotes: "like, this"',
                )
            yield Row(index, dict(zip(header, cells, strict=True)), f"{file.where}:{line}")
        if not index:
            raise InputError("has a header and no rows", where=file.where, fix="give a file with at least one row")


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _header(cells: list[str], where: str) -> list[str]:
    """The columns' names; one without a name is called by its number, as ``column 3``."""
    if not any(cell.strip() for cell in cells):
        raise InputError("the header names no column", where=where, fix="name the columns in the first line")
    names = [cell.strip() or f"column {number}" for number, cell in enumerate(cells, start=1)]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(
            f"the header names {', '.join(map(repr, doubled))} more than once",
            where=where,
            fix="give each column a name of its own",
        )
    return names


def _records(lines: Lines, where: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The header and each row, with the line that it starts on; blank lines are passed over."""
    csv.field_size_limit(LONGEST)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    start, width = 1, 0
    try:
        for cells in reader:
            # in a table of one column, a line of white space is a cell
            if cells and (width == 1 or len(cells) > 1 or cells[0].strip()):
                width = width or len(cells)
                yield start, cells
                lines.row += 1
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"{row_name(lines.row)} is not valid CSV: {error}",
            where=f"{where}:{start}",
            fix='close every double quote, and write a quote within a quoted cell as two: ""',
        ) from error


def _delimiter(start: str, whole: bool) -> str:
    """The separator under which most of the first rows have as many cells as the header, and the header the most."""
    best, delimiter = (0.0, 1), ","
    for candidate in _DELIMITERS:
        records = [cells for cells in csv.reader(io.StringIO(newlines(start)), delimiter=candidate) if cells]
        width = len(records[0]) if records else 0
        rows = records[1:] if whole else records[1:-1]
        alike = sum(len(cells) == width for cells in rows) / len(rows) if rows else 0.0
        if width > 1 and (alike, width) > best:
            best, delimiter = (alike, width), candidate
    return delimiter
