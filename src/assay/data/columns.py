"""The values of a row's columns, reached by name or by a dotted path, with every fault named by its place."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from assay.core.errors import InputError
from assay.data.values import newlines

if TYPE_CHECKING:
    from assay.data.readers import Row

MISSING = object()  # what `find` gives where there is no such column; None is a null
_NUMBER = re.compile(r"\d{1,9}")
_DEPTH = 3  # levels of nested values whose paths are suggested
_SHOWN = 60  # characters of a value in a message
_LISTED = 30  # columns in a message
_KINDS = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}


def find(columns: Mapping[str, Any], path: str) -> Any:
    """The value of a column, or of a path such as ``instances.0.output`` into a nested one.

    A column whose own name has dots comes first. Below a null, and beyond the end of a list, there is None.

    Returns:
        The value, or MISSING.
    """
    if path in columns:
        return columns[path]
    value: Any = columns
    for part in path.split("."):
        if value is None:
            return None
        if isinstance(value, Mapping):
            if part not in value:
                return MISSING
            value = value[part]
        elif isinstance(value, list) and _NUMBER.fullmatch(part):
            value = value[int(part)] if int(part) < len(value) else None
        else:
            return MISSING
    return value


def column_value(row: Row, path: str, key: str) -> Any:
    """The value of a row's column.

    Args:
        row: the row.
        path: the column, or a dotted path.
        key: the key of the experiment file that names it, for the message.

    Raises:
        InputError: the row has no such column.
    """
    value = find(row.columns, path)
    if value is MISSING:
        raise no_column(path, row.columns, row.place, key)
    return value


def column_text(row: Row, path: str, key: str, *, optional: bool = False) -> str:
    r"""The text of a row's column, with newlines as ``\n``; of a null (and of a missing column, if `optional`) none.

    Raises:
        InputError: the row has no such column, or it holds no text.
    """
    value = find(row.columns, path) if optional else column_value(row, path, key)
    if value is None or value is MISSING:
        return ""
    if not isinstance(value, str):
        raise InputError(
            f"the column {path!r} holds {kind_of(value)}, not a text: {short(value)}",
            where=row.place,
            fix=f"write it as a text, or name another column or a path into it with {key}, or write data.template",
        )
    return newlines(value)


def no_column(path: str, columns: Mapping[str, Any], where: str, key: str) -> InputError:
    """The error that there is no such column, with the nearest that there is."""
    near = difflib.get_close_matches(path, list(_paths(columns)), n=1)
    return InputError(
        f"there is no column {path!r}; {listed(columns)}",
        where=where,
        fix=f"correct {key}" + (f": did you mean {near[0]!r}?" if near else ""),
    )


def listed(columns: Mapping[str, Any]) -> str:
    """``the columns are 'id', 'text'``."""
    names = [repr(name if len(name) <= 40 else name[:37] + "...") for name in columns if name]
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"the columns are {', '.join(names[:_LISTED])}{more}" if names else "it has no named column"


def kind_of(value: Any) -> str:
    """What JSON calls such a value: ``a text``, ``an object``."""
    return "null" if value is None else _KINDS[type(value)]


def short(value: Any) -> str:
    """The start of a value, as JSON."""
    shown = json.dumps(value, ensure_ascii=False)
    return shown if len(shown) <= _SHOWN else shown[: _SHOWN - 1] + "…"


def _paths(value: Any, prefix: str = "", depth: int = _DEPTH) -> Iterator[str]:
    """The name of each column, and the paths into nested ones; of a list its first value stands for all."""
    inner = value.items() if isinstance(value, Mapping) else enumerate(value[:1]) if isinstance(value, list) else ()
    for name, below in inner if depth else ():
        yield f"{prefix}{name}"
        yield from _paths(below, f"{prefix}{name}.", depth - 1)
