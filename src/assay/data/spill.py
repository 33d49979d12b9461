"""Items on disk between reading and writing: appended once, then read in batches or by number."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Literal

import pyarrow as pa

from assay.core.records import Turn
from assay.data.arrow import TURNS, turns_array

_ITEMS, _BYTES = 2048, 8_000_000  # of one batch, whichever comes first
_SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),
        ("turns", TURNS),
        ("place", pa.string()),
        ("overlap", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class Spilled:
    """An item without a group yet: content, turns, its place, and how much of it the one before holds too."""

    text: str
    turns: tuple[Turn, ...]
    place: str
    overlap: int = 0


class Spill:
    """An Arrow file of items, compressed by lz4. Memory holds one batch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._starts = [0]
        self._waiting: list[Spilled] = []
        self._size = 0
        self._options = pa.ipc.IpcWriteOptions(compression="lz4")
        self._writer: pa.ipc.RecordBatchFileWriter | None = pa.ipc.new_file(str(path), _SCHEMA, options=self._options)

    def __len__(self) -> int:
        return self._starts[-1] + len(self._waiting)

    def add(self, item: Spilled) -> None:
        """Append an item; its number is the length before."""
        self._waiting.append(item)
        self._size += len(item.text)
        if len(self._waiting) >= _ITEMS or self._size >= _BYTES:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            raise ValueError("the spill is closed")
        rows = self._waiting
        arrays = [
            pa.array([row.text for row in rows], pa.large_string()),
            turns_array([row.turns for row in rows]),
            pa.array([row.place for row in rows], pa.string()),
            pa.array([row.overlap for row in rows], pa.int32()),
        ]
        self._writer.write_batch(pa.record_batch(arrays, schema=_SCHEMA))
        self._starts.append(self._starts[-1] + len(rows))
        self._waiting, self._size = [], 0

    def close(self) -> None:
        """End the writing; from here on the items can be read."""
        if self._writer is not None:
            if self._waiting:
                self._flush()
            self._writer.close()
            self._writer = None

    def batches(self) -> Iterator[pa.RecordBatch]:
        """All items in order: text, turns, place, overlap."""
        with pa.OSFile(str(self.path)) as source:  # not mapped: pages of a map count as memory
            reader = pa.ipc.open_file(source)
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)

    def texts(self) -> Iterator[list[str]]:
        """The contents of all items in order, a batch at a time."""
        for batch in self.batches():
            yield batch.column("text").to_pylist()

    def fetch(self, numbers: Sequence[int], column: Literal["text", "place"] = "text") -> list[str]:
        """The contents (or places) of some items, in the order asked for; sorted numbers are read fastest."""
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        found = [""] * len(numbers)
        with pa.OSFile(str(self.path)) as source:
            reader = pa.ipc.open_file(source)
            for batch, places in groupby(order, key=lambda at: bisect_right(self._starts, numbers[at]) - 1):
                values = reader.get_batch(batch).column(column)
                for at in places:
                    found[at] = values[numbers[at] - self._starts[batch]].as_py()
        return found
