"""Items, the unit that is trained on or held out, and their Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assay.core.errors import InputError
from assay.core.files import write_atomic

_SCHEMA = {"id": pl.String, "group": pl.String, "text": pl.String, "bytes": pl.Int64}


@dataclass(frozen=True)
class Item:
    """One row, chapter, file or block of text, with the group that it is split by."""

    id: str
    group: str
    text: str

    @property
    def size(self) -> int:
        """Bytes of the text in UTF-8."""
        return len(self.text.encode())


def write_items(path: Path, items: Sequence[Item]) -> None:
    """Write items in their order as Parquet (id, group, text, bytes), atomically; equal items give equal bytes."""
    frame = pl.DataFrame(
        {
            "id": [item.id for item in items],
            "group": [item.group for item in items],
            "text": [item.text for item in items],
            "bytes": [item.size for item in items],
        },
        schema=_SCHEMA,
    )
    write_atomic(path, lambda temporary: frame.write_parquet(temporary, compression="zstd"))


def read_items(path: Path) -> list[Item]:
    """Read what `write_items` wrote.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        frame = pl.read_parquet(path, columns=["id", "group", "text"], use_pyarrow=False)
    except FileNotFoundError as error:
        raise InputError("there is no such data file", where=str(path), fix="do `assay prepare` again") from error
    except (pl.exceptions.PolarsError, OSError) as error:
        raise InputError(
            f"is not a Parquet file of prepared data: {str(error).splitlines()[0]}",
            where=str(path),
            fix="restore the file, or start over with --new",
        ) from error
    return [Item(*row) for row in frame.iter_rows()]
