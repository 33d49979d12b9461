"""The frozen list of prepared items: one row each, with hash and group, in `manifest.parquet`."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from assay.core.files import no_items

_SCHEMA = pa.schema(
    [
        ("split", pa.dictionary(pa.int8(), pa.string())),
        ("id", pa.string()),
        ("group", pa.string()),
        ("sha256", pa.string()),
        ("bytes", pa.int64()),
    ]
)


def write_manifest(path: Path, splits: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    """Write `manifest.parquet` from the files of the splits.

    Returns:
        Per split its ``items``, ``groups``, ``bytes``, and ``sha256``, a hash over ids and contents in their order.
    """
    summary = {}
    with pq.ParquetWriter(path, _SCHEMA, compression="zstd") as writer:
        for name, file in splits.items():
            rows = pq.read_table(file, columns=["id", "group", "sha256", "bytes"])
            names = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(rows)), pa.int8()), pa.array([name]))
            writer.write_table(rows.add_column(0, "split", names).cast(_SCHEMA))
            digest = hashlib.sha256()
            for own, content in zip(rows["id"].to_pylist(), rows["sha256"].to_pylist(), strict=True):
                digest.update(f"{own} {content}\n".encode())
            summary[name] = {
                "items": len(rows), "groups": len(rows["group"].unique()),
                "bytes": pc.sum(rows["bytes"], min_count=0).as_py(), "sha256": digest.hexdigest(),
            }  # fmt: skip
    return summary


def read_manifest(path: Path, splits: Iterable[str] = ("train", "dev", "test")) -> dict[str, list[dict[str, Any]]]:
    """Per split its rows: ``{"id", "group", "sha256", "bytes"}``, in order.

    Raises:
        InputError: the file is missing or damaged.
    """
    try:
        frame = pl.read_parquet(path)
        return {
            split: frame.filter(pl.col("split").cast(pl.String) == split).drop("split").to_dicts() for split in splits
        }
    except (pl.exceptions.PolarsError, OSError) as error:
        raise no_items(path, error) from error
