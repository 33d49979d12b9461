"""Rows of Parquet files, a batch at a time."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.core.errors import InputError, first_line
from assay.core.files import disk_errors
from assay.data.readers.row import Row
from assay.data.readers.stream import unpacked
from assay.data.sources import SourceFile
from assay.data.values import plain_value

_BATCH_ROWS = 2048
_BATCH_BYTES = 1 << 24  # as the file's own index counts them, unpacked
# what pyarrow raises for files and values that are damaged
_FAULTS = (pa.ArrowException, OSError, ValueError, KeyError, TypeError, OverflowError)


def read_parquet(file: SourceFile) -> Iterator[Row]:
    """The rows of a Parquet file; lists and structs become lists and objects."""
    with _seekable(file) as stream:
        try:
            table = pq.ParquetFile(stream, pre_buffer=False, buffer_size=1 << 20)
            names = table.schema_arrow.names
            rows = table.metadata.num_rows
        except _FAULTS as error:
            raise _damaged(file, "is not a Parquet file", error) from error
        if doubled := sorted({name for name in names if names.count(name) > 1}):
            raise InputError(
                f"names the columns {', '.join(map(repr, doubled))} more than once",
                where=file.where,
                fix="give each column a name of its own",
            )
        if not rows:
            raise InputError("holds no rows", where=file.where, fix="give a file with at least one row")
        index = 0
        for batch in _batches(table, file):
            columns = [_values(column, name, index, file) for name, column in zip(names, batch.columns, strict=True)]
            for values in zip(*columns, strict=True):
                index += 1
                yield Row(index, dict(zip(names, values, strict=True)), f"{file.where} (row {index})")


@contextmanager
def _seekable(file: SourceFile) -> Iterator[BinaryIO]:
    """The file's bytes as a stream that can jump, for Parquet is read from its end: gzip is unpacked to the disk."""
    with ExitStack() as stack:
        stream: BinaryIO = stack.enter_context(unpacked(file))
        if not stream.seekable():
            with disk_errors(Path(tempfile.gettempdir())):
                plain = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(stream, plain, 1 << 20)
            stream = plain
        yield stream


def _batches(table: pq.ParquetFile, file: SourceFile) -> Iterator[pa.RecordBatch]:
    """Batches of rows that take a bounded room, however long their texts are."""
    groups = [table.metadata.row_group(number) for number in range(table.metadata.num_row_groups)]
    mean = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
    size = min(_BATCH_ROWS, max(1, int(_BATCH_BYTES / max(mean, 1.0))))
    index = 0
    try:
        for batch in table.iter_batches(size):
            yield batch
            index += batch.num_rows
    except _FAULTS as error:
        raise _damaged(file, f"cannot be read after row {index}", error) from error
    if index != table.metadata.num_rows:
        raise _damaged(file, f"ends after row {index} of {table.metadata.num_rows}", None)


def _values(column: pa.Array, name: str, before: int, file: SourceFile) -> list[Any]:
    """The values of a column in a batch that `before` rows precede."""
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        # texts, as writers without a type for them leave them; what is none is found by its decoding
        column = column.view(pa.large_string() if pa.types.is_large_binary(column.type) else pa.string())
    try:
        careful = any(_is_special(leaf) for leaf in _leaves(column))
        values = column.to_pylist(maps_as_pydicts="strict") if careful else column.to_pylist()
    except _FAULTS as error:
        raise _unreadable(column, name, before, file) or _damaged(file, f"column {name!r} is damaged", error) from error
    if not careful:
        return list(values)
    return [
        plain_value(value, column=name, index=index, where=f"{file.where} (row {index})")
        for index, value in enumerate(values, start=before + 1)
    ]


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """The values within lists and structs; of a map, the map."""
    if pa.types.is_struct(column.type):
        for part in column.flatten():
            yield from _leaves(part)
    elif pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        yield from _leaves(column.flatten())
    else:
        yield column


def _is_special(leaf: pa.Array) -> bool:
    """Whether any value is not what JSON holds as it is; asking this of a column is much faster than of each value."""
    kind = leaf.type
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_null(kind):
        return False
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return bool(pc.any(pc.match_substring(leaf, "\0")).as_py())
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return bool(pc.any(pc.is_nan(leaf)).as_py())
    return True


def _unreadable(column: pa.Array, name: str, before: int, file: SourceFile) -> InputError | None:
    """The error for the first value that cannot be read."""
    for index, value in enumerate(column, start=before + 1):
        try:
            value.as_py(maps_as_pydicts="strict")
        except _FAULTS as error:
            return InputError(
                f"row {index}, column {name!r} cannot be read: {first_line(error)}",
                where=f"{file.where} (row {index})",
                fix="turn it into text in UTF-8, or leave the column out",
            )
    return None


def _damaged(file: SourceFile, what: str, error: Exception | None) -> InputError:
    return InputError(
        f"{what}: {first_line(error)}" if error else what,
        where=file.where,
        fix="get the file anew: it is cut short or damaged",
    )
