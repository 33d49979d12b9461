"""Rows that a Python program holds, as a source: they are written to a file once, and read from it like any other."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.core.errors import InputError
from assay.core.files import disk_errors, make_folder
from assay.data.values import plain_row

_WHERE = "data.source"
_KINDS = "a list or another iterable of dicts or of texts, a pandas or polars frame, or a datasets.Dataset"


def rows_file(rows: Any, cache: Path) -> Path:
    """Write rows as JSON Lines, once for equal rows, and give the file.

    The columns keep their order. For what becomes of values that JSON does not know, see `plain_value`; a text becomes
    the column ``text``.

    Args:
        rows: an iterable of dicts or of texts (a ``datasets.Dataset`` is one), or a pandas or polars frame.
        cache: the cache's root; the file is ``<cache>/rows/<its sha256>.jsonl``.

    Raises:
        InputError: these are no rows, there is none, or a value cannot be written as JSON; row and column are named.
        MachineError: no room.
    """
    folder = cache / "rows"
    make_folder(folder)
    digest = hashlib.sha256()
    with disk_errors(folder):
        handle, name = tempfile.mkstemp(dir=folder, suffix=".tmp", prefix=".rows.")
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as stream:
                for line in _lines(rows):
                    digest.update(line)
                    stream.write(line)
                if not stream.tell():
                    raise InputError("holds no rows", where=_WHERE, fix="give at least one row")
                stream.flush()
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            return temporary.replace(folder / f"{digest.hexdigest()}.jsonl")
        finally:
            temporary.unlink(missing_ok=True)


def _lines(rows: Any) -> Iterator[bytes]:
    texts = None
    for index, row in enumerate(_rows(rows), start=1):
        is_text = isinstance(row, str)
        if not is_text and not isinstance(row, Mapping):
            raise InputError(
                f"row {index} is of the type {type(row).__name__}, not a dict or a text",
                where=_WHERE,
                fix=f"give {_KINDS}",
            )
        texts = is_text if texts is None else texts
        if is_text != texts:
            raise InputError(
                f"row {index} is a {'text' if is_text else 'dict'}, the rows before it are not",
                where=_WHERE,
                fix="give all rows as dicts, or all as texts",
            )
        columns = plain_row({"text": row} if is_text else row, index=index, where=_WHERE)
        yield json.dumps(columns, ensure_ascii=False).encode() + b"\n"


def _rows(rows: Any) -> Iterator[Any]:
    """The rows one by one; frames are known by what they can do, so that neither library is imported."""
    if isinstance(rows, (str, bytes, Mapping)):
        raise _no_rows(rows)
    if hasattr(rows, "iter_rows"):  # polars
        yield from rows.iter_rows(named=True)
    elif hasattr(rows, "itertuples"):  # pandas
        yield from _pandas_rows(rows)
    elif isinstance(rows, Iterable):
        yield from rows
    else:
        raise _no_rows(rows)


def _no_rows(rows: Any) -> InputError:
    return InputError(
        f"a value of the type {type(rows).__name__} is no list of rows",
        where=_WHERE,
        fix=f"give {_KINDS}; of a dict of splits, name one",
    )


def _pandas_rows(frame: Any) -> Iterator[dict[Any, Any]]:
    names = list(frame.columns)
    if doubled := sorted({str(name) for name in names if names.count(name) > 1}):
        raise InputError(
            f"the frame names the columns {', '.join(map(repr, doubled))} more than once",
            where=_WHERE,
            fix="give each column a name of its own",
        )
    for values in frame.itertuples(index=False, name=None):
        yield dict(zip(names, values, strict=True))
