"""From what libraries hold in a cell to what JSON holds: texts, numbers, lists and objects."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from assay.core.errors import InputError

_MISSING = ("NAType", "NaTType")  # pandas' marks for a value that is not there, known by name: pandas is not imported
_AS_TEXT = (Decimal, datetime.timedelta, uuid.UUID)


class _Unfit(ValueError):
    """What a value is, and what to do about it."""

    def __init__(self, what: str, fix: str) -> None:
        self.what, self.fix = what, fix
        super().__init__(what)


def plain_row(columns: Mapping[Any, Any], *, index: int, where: str) -> dict[str, Any]:
    """A row as JSON values, its columns in their order; see `plain_value`.

    Raises:
        InputError: a value cannot stand in a text file, or a column's name is no text.
    """
    row: dict[str, Any] = {}
    for name, value in columns.items():
        row |= plain_value({name: value}, column=name, index=index, where=where)  # the name is checked too
    return row


def plain_value(value: Any, *, column: Any, index: int, where: str) -> Any:
    """A cell's value as JSON has it.

    Dates and times become ISO 8601 text; decimals, time spans and UUIDs become text; NumPy's values Python's; tuples
    and arrays lists; NaN and the other marks of a missing value None.

    Args:
        value: the value.
        column: the name of its column, for messages.
        index: the number of its row, for messages.
        where: the place of its row, for messages.

    Raises:
        InputError: it cannot stand in a text file; row and column are named.
    """
    try:
        return _plain(value)
    except _Unfit as error:
        raise InputError(f"row {index}, column {column!r} {error.what}", where=where, fix=error.fix) from error
    except RecursionError as error:
        what = f"row {index}, column {column!r} is nested too deeply"
        raise InputError(what, where=where, fix="flatten it") from error


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind is str:
        return _text(value)
    if value is None or kind is int or kind is bool:
        return value
    if kind is float:
        return None if value != value else value
    if kind is list:
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {_key(key): _plain(entry) for key, entry in value.items()}
    return _converted(value)


def _converted(value: Any) -> Any:
    name = type(value).__name__
    if name in _MISSING:
        return None
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, _AS_TEXT):
        return None if isinstance(value, Decimal) and value.is_nan() else str(value)
    if type(value).__module__ == "numpy":
        # as Python's, a time in nanoseconds would be a bare number
        return _plain(None if str(value) == "NaT" else str(value) if name == "datetime64" else value.tolist())
    for kind in (str, int, float):
        if isinstance(value, kind):
            return _plain(kind(value))
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    raise _Unfit(
        f"holds a value of the type {name}, which is neither text nor number, list or object",
        "turn it into text, or leave the column out",
    )


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise _Unfit(f"has the name {key!r}, which is no text", "give every column and key a text as its name")
    return _text(key)


def _text(text: str) -> str:
    """Refuse what JSON can escape and no text file can hold: NUL, and halves of surrogate pairs."""
    if "\0" in text:
        raise _Unfit("holds a NUL character", "remove it: it is written \\u0000 in JSON")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(text[error.start]):04x}"
            raise _Unfit(
                f"holds half of a surrogate pair ({half})", "write the character itself, or both halves"
            ) from error
    return text


def newlines(text: str) -> str:
    """The text with its line ends as ``\\n``."""
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
