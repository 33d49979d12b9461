"""From the bytes of a file to documents: plain text, CSV and JSON Lines, with every fault named by its place."""

from __future__ import annotations

import csv
import difflib
import io
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal

from assay.core.errors import InputError

_TEXT = {".txt", ".text", ".md", ".markdown", ""}
_DELIMITERS = ",;\t|"
_WHOLE = 2**31 - 1  # the longest cell that the csv module can be told to take, in characters
_START = re.compile(r"^\*{3} ?START OF (?:THE|THIS) PROJECT GUTENBERG[^*]{0,300}\*{3}.*\n", re.MULTILINE)
_END = re.compile(r"^\*{3} ?END OF (?:THE|THIS) PROJECT GUTENBERG", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """A text as it was read: a whole file, or one row of a table.

    Args:
        name: the file's name, unique among the files read.
        text: the text, with newlines as ``\\n`` and otherwise untouched.
        columns: for a row, its other columns as text.
        index: for a row, its number in the file from 1, header and blank lines not counted; 0 for a whole file.
        kind: ``file`` or ``row``.
    """

    name: str
    text: str
    columns: dict[str, str]
    index: int
    kind: Literal["file", "row"]


def parse(raw: bytes, name: str, where: str, text_field: str) -> list[Document]:
    """The documents of one file; its name's ending says how it is read.

    Args:
        raw: the file's bytes.
        name: the name that the documents carry.
        where: what errors call the file.
        text_field: the column that holds the text, for tables.

    Raises:
        InputError: the format is unknown, the file is empty or no UTF-8 text, or a row is malformed.
    """
    suffix = PurePath(name).suffix.lower()
    reader = READERS.get(suffix) or (_read_text if suffix in _TEXT else None)
    if raw[:2] == b"\x1f\x8b" or suffix in (".gz", ".zip", ".bz2", ".xz", ".zst"):
        raise InputError(
            "compressed files are not read", where=where, fix=f"unpack it first, such as gunzip -k {where}"
        )
    if reader is None:
        raise InputError(
            f"files ending in {suffix!r} are not read: only {', '.join(sorted((_TEXT - {''}) | set(READERS)))}",
            where=where,
            fix="convert it to one of these; a plain text may simply be renamed to .txt",
        )
    return reader(_decode(raw, where), name, where, text_field)


def strip_frame(text: str) -> str:
    """The text between Project Gutenberg's START and END lines, or all of it when it has none."""
    start, end = _START.search(text), _END.search(text)
    return text[start.end() if start else 0 : end.start() if end else len(text)]


def _decode(raw: bytes, where: str) -> str:
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError("is UTF-16, not UTF-8", where=where, fix=f"iconv -f UTF-16 -t UTF-8 {where} > utf8-file")
    nul = raw.find(b"\0")
    if nul >= 0:
        raise InputError(
            f"holds a NUL byte (offset {nul}), so it is no text file",
            where=f"{where}:{_line(raw, nul)}",
            fix="give a text file in UTF-8, or remove the byte: tr -d '\\000' < file > clean-file",
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # utf-8-sig counts offsets after the mark at the start of the file.
        offset = error.start + (3 if raw.startswith(b"\xef\xbb\xbf") else 0)
        raise InputError(
            f"is not UTF-8: byte 0x{raw[offset]:02x} at offset {offset}",
            where=f"{where}:{_line(raw, offset)}",
            fix=f"re-encode it, such as iconv -f LATIN1 -t UTF-8 {where} > utf8-file",
        ) from error
    if not text.strip():
        raise InputError("is empty", where=where, fix="give a file that holds text")
    return _newlines(text)


def _newlines(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _line(raw: bytes, offset: int) -> int:
    return raw.count(b"\n", 0, offset) + 1


def _read_text(text: str, name: str, where: str, text_field: str) -> list[Document]:
    body = strip_frame(text)
    if not body.strip():
        raise InputError("is empty between Project Gutenberg's START and END lines", where=where, fix="get it anew")
    return [Document(name, body, {}, 0, "file")]


def _read_csv(text: str, name: str, where: str, text_field: str) -> list[Document]:
    rows = _csv_rows(text, where, "\t" if name.lower().endswith(".tsv") else None, text_field)
    _, first = rows[0]
    header = [cell.strip() for cell in first]
    doubled = sorted({column for column in header if column and header.count(column) > 1})
    if doubled:
        raise InputError(
            f"the header names {', '.join(map(repr, doubled))} more than once",
            where=f"{where}:1",
            fix="give each column a name of its own",
        )
    if text_field not in header:
        raise _no_column(text_field, header, f"{where}:1")
    if len(rows) == 1:
        raise InputError("has a header and no rows", where=where, fix="give a file with at least one row")
    documents = []
    for index, (line, cells) in enumerate(rows[1:], start=1):
        if len(cells) != len(header):
            raise InputError(
                f"row {index} has {len(cells)} cells, but the header names {len(header)} columns",
                where=f"{where}:{line}",
                fix='put cells that hold the separator or a line break into double quotes: "like, this"',
            )
        row = dict(zip(header, cells, strict=True))
        documents.append(Document(name, row.pop(text_field), row, index, "row"))
    return documents


def _csv_rows(text: str, where: str, delimiter: str | None, text_field: str) -> list[tuple[int, list[str]]]:
    """Each record that is not a blank line, with the line that it starts on."""
    csv.field_size_limit(_WHOLE)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter or _delimiter(text, text_field), strict=True)
    rows: list[tuple[int, list[str]]] = []
    start = 1
    try:
        for cells in reader:
            if cells:
                rows.append((start, cells))
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(
            f"row {len(rows)} is not valid CSV: {error}",
            where=f"{where}:{start}",
            fix='close every double quote, and write a quote within a quoted cell as two: ""',
        ) from error
    return rows


def _delimiter(text: str, text_field: str) -> str:
    """The separator under which the header names the text column; failing that, the one that splits it most."""

    def header(delimiter: str) -> list[str]:
        try:
            cells = next((row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if row), [])
        except csv.Error:
            return []
        return [cell.strip() for cell in cells]

    csv.field_size_limit(_WHOLE)
    return max(_DELIMITERS, key=lambda delimiter: (text_field in header(delimiter), len(header(delimiter))))


def _no_column(text_field: str, columns: list[str], where: str) -> InputError:
    named = [column if len(column) <= 40 else column[:37] + "..." for column in columns if column]
    near = [*difflib.get_close_matches(text_field, named, n=1), *named, "NAME"][0]
    return InputError(
        f"there is no column {text_field!r}; the columns are {', '.join(map(repr, named))}",
        where=where,
        fix=f"name the column that holds the text: --set data.fields.text={near}",
    )


def _read_jsonl(text: str, name: str, where: str, text_field: str) -> list[Document]:
    documents: list[Document] = []
    # Not splitlines(): a JSON string may hold U+2028 and other line ends as they are.
    for line, content in enumerate(text.split("\n"), start=1):
        if content.strip():
            documents.append(_json_row(content, name, f"{where}:{line}", text_field, len(documents) + 1))
    return documents


def _json_row(content: str, name: str, where: str, text_field: str, index: int) -> Document:
    try:
        row = json.loads(content)
    except json.JSONDecodeError as error:
        raise InputError(
            f"row {index} is not valid JSON: {error.msg}",
            where=f"{where}:{error.colno}",
            fix="write one whole JSON object on each line",
        ) from error
    except RecursionError as error:
        raise InputError(f"row {index} is nested too deeply", where=where, fix="flatten it") from error
    if not isinstance(row, dict):
        raise InputError(
            f"row {index} is a JSON {_json_type(row)}, not an object",
            where=where,
            fix=f'write one object on each line, such as {{"{text_field}": "..."}}',
        )
    if text_field not in row:
        raise _no_column(text_field, list(row), f"{where} (row {index})")
    text = row.pop(text_field)
    if text is not None and not isinstance(text, str):
        raise InputError(
            f"row {index}: {text_field!r} is a JSON {_json_type(text)}, not a text: {json.dumps(text)[:60]}",
            where=where,
            fix="put the value into double quotes if it is a text, or name another column with data.fields.text",
        )
    columns = {key: _as_text(value) for key, value in row.items()}
    for value in (text or "", *columns.values()):
        _check_characters(value, where, index)
    return Document(name, _newlines(text or ""), columns, index, "row")


def _check_characters(value: str, where: str, index: int) -> None:
    """Refuse what JSON can escape and no text file can hold: NUL, and halves of surrogate pairs."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"row {index} holds half of a surrogate pair (\\u{ord(value[error.start]):04x})",
            where=where,
            fix="write the character itself, or both halves",
        ) from error
    if "\0" in value:
        raise InputError(f"row {index} holds a NUL character", where=where, fix="remove \\u0000 from the row")


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def _json_type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]


# Endings of tables; everything else that is read is plain text.
READERS: dict[str, Callable[[str, str, str, str], list[Document]]] = {
    ".csv": _read_csv,
    ".tsv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
}
