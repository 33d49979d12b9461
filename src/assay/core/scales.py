"""On which scale bits per byte stand: what was read, and how. Numbers of two scales do not stand beside each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from assay.core.files import each_line, no_items


def drawn(limit: int | None, seed: Any, rows: Path) -> tuple[int, Any] | None:
    """How excerpts of long test groups were drawn: limit and seed; None where no group is long enough for that.

    Args:
        limit: bytes of a group that were scored at most (`evaluate.max_bytes_per_group`).
        seed: that they were drawn by (`data.split.seed`).
        rows: the run's list of prepared items.

    Raises:
        InputError: the list is missing or damaged.
    """
    return (limit, seed) if limit is not None and _longest_group(rows) > limit else None


def _longest_group(rows: Path) -> int:
    """Bytes of the longest test group."""
    import polars as pl  # most listings read no row anew, and do not wait for it

    try:
        test = pl.scan_parquet(rows).filter(pl.col("split").cast(pl.String) == "test")
        longest = test.group_by("group").agg(pl.col("bytes").sum()).select(pl.col("bytes").max()).collect().item()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise no_items(rows, error) from error
    return longest or 0


class DevScale(NamedTuple):
    """What decides the scale of the numbers on the development texts.

    `texts` is their hash, `window` how many tokens were read at a time, and `part` the groups and bytes that a look
    takes of them. What is not recorded is None.
    """

    texts: str | None
    window: int | None
    part: tuple[Any, Any] | None


def dev_scale(texts: str | None, window: int | None, metrics: Path) -> DevScale:
    """The scale of a run's numbers on its development texts.

    Args:
        texts: the hash of the texts.
        window: of the training, which the looks read with (`train.max_length`).
        metrics: the training's lines; the first look says how much it read.

    Raises:
        OSError: the lines cannot be read.
    """
    lines = (line for line in each_line(metrics) if isinstance(line, dict))
    part = next(((line.get("dev_groups"), line["dev_bytes"]) for line in lines if "dev_bytes" in line), None)
    return DevScale(texts, window, part)
