"""The Parquet files of prepared items: one row each, read and written in batches of bounded size."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.core.errors import InputError
from assay.core.files import write_atomic
from assay.core.records import Item, Turn
from assay.data.arrow import TURNS, turns_array, turns_of

__all__ = [
    "BATCH",
    "Item",
    "ItemWriter",
    "Turn",
    "groups_of",
    "item_batches",
    "item_ids",
    "read_groups",
    "read_items",
    "without",
    "write_items",
]

BATCH = 1024  # items read or written at a time
_SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("group", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
        ("text", pa.string()),
        ("turns", TURNS),
    ]
)


class ItemWriter:
    """Writes items in their order as Parquet (id, group, sha256, bytes, text, turns); equal items give equal bytes.

    `sha256` is the hash of the content, `turns` is null for plain text. The file is whole once `close` has returned.
    """

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, _SCHEMA, compression="zstd")
        self._waiting: list[pa.Table] = []

    def add(self, items: Sequence[Item]) -> None:
        """Append items."""
        self.add_columns(
            [item.id for item in items], [item.group for item in items], [item.sha256 for item in items],
            [item.size for item in items], pa.array([item.text for item in items], pa.string()),
            turns_array([item.turns for item in items]),
        )  # fmt: skip

    def add_columns(
        self,
        ids: Sequence[str],
        groups: Sequence[str],
        hashes: Sequence[str],
        sizes: Sequence[int],
        texts: pa.Array,
        turns: pa.Array,
    ) -> None:
        """Append items by their columns."""
        names = [pa.array(values, pa.string()) for values in (ids, groups, hashes)]
        columns = [*names, pa.array(sizes, pa.int64()), texts.cast(pa.string()), turns]
        self.add_table(pa.table(columns, schema=_SCHEMA))

    def add_table(self, table: pa.Table) -> None:
        """Append the rows of such a file."""
        self._waiting.append(table)
        if sum(table.num_rows for table in self._waiting) >= BATCH:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.concat_tables(self._waiting))
        self._waiting = []

    def close(self) -> None:
        """Write what is left, and end the file."""
        if self._waiting:
            self._flush()
        self._writer.close()


def write_items(path: Path, batches: Iterable[Sequence[Item]]) -> None:
    """Write items as `ItemWriter` does, atomically."""

    def write(temporary: Path) -> None:
        writer = ItemWriter(temporary)
        for batch in batches:
            writer.add(batch)
        writer.close()

    write_atomic(path, write)


def item_batches(path: Path) -> Iterator[list[Item]]:
    """The items of a file that `write_items` wrote, in order, a batch at a time.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH, columns=["id", "group", "text", "turns"]):
                columns = (batch.column(name).to_pylist() for name in ("id", "group", "text"))
                yield list(map(Item, *columns, turns_of(batch.column("turns"))))
    except FileNotFoundError as error:
        raise InputError("there is no such data file", where=str(path), fix="do `assay prepare` again") from error
    except (pa.ArrowException, OSError, KeyError) as error:
        raise InputError(
            f"is not a Parquet file of prepared data: {str(error).splitlines()[0]}",
            where=str(path),
            fix="restore the file, or start over with --new",
        ) from error


def read_items(path: Path) -> list[Item]:
    """All items of a file that `write_items` wrote; see `item_batches`."""
    return [item for batch in item_batches(path) for item in batch]


def item_ids(path: Path) -> list[str]:
    """The ids of a file's items; nothing else of it is read."""
    ids: list[str] = pq.read_table(path, columns=["id"])["id"].to_pylist()
    return ids


def read_groups(path: Path, groups: Collection[str]) -> list[Item]:
    """The items of some groups of a file; nothing else of it is held."""
    return [item for batch in item_batches(path) for item in batch if item.group in groups]


def without(path: Path, ids: Collection[str]) -> None:
    """Write a file again without some of its items, atomically."""
    unwanted = pa.array(sorted(ids), pa.string())

    def write(temporary: Path) -> None:
        writer = ItemWriter(temporary)
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(BATCH):
                writer.add_table(pa.table(batch.filter(pc.invert(pc.is_in(batch.column("id"), unwanted)))))
        writer.close()

    write_atomic(path, write)


def groups_of(paths: Iterable[Path], ids: Collection[str]) -> dict[str, str]:
    """The groups of some items, by id."""
    found: dict[str, str] = {}
    for path in paths:
        rows = pl.scan_parquet(path).select("id", "group").filter(pl.col("id").is_in(list(ids))).collect()
        found |= dict(rows.iter_rows())
    return found
