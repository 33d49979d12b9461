from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.items import Item, Turn, read_items, write_items

text = st.text(st.characters(exclude_categories=["Cs"]))
turns = st.lists(st.builds(Turn, st.sampled_from(["system", "user", "assistant"]), text), max_size=3).map(tuple)


@given(st.lists(st.builds(Item, text, text, text, turns), max_size=10))
def test_items_survive_their_file_byte_by_byte(tmp_path_factory: pytest.TempPathFactory, items: list[Item]) -> None:
    folder = tmp_path_factory.mktemp("items")
    write_items(folder / "a.parquet", [items])
    write_items(folder / "b.parquet", [items])
    assert read_items(folder / "a.parquet") == items
    assert (folder / "a.parquet").read_bytes() == (folder / "b.parquet").read_bytes()


def test_bytes_are_those_of_utf8(tmp_path: Path) -> None:
    write_items(tmp_path / "a.parquet", [[Item("1", "g", "né")]])
    columns = pl.read_parquet(tmp_path / "a.parquet").select("id", "group", "text", "bytes", "turns")
    assert columns.rows() == [("1", "g", "né", 3, None)]


def test_faults(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such data file"):
        read_items(tmp_path / "none.parquet")
    (tmp_path / "bad.parquet").write_bytes(b"not parquet at all")
    with pytest.raises(InputError, match=r"bad\.parquet: is not a Parquet file"):
        read_items(tmp_path / "bad.parquet")
    write_items(tmp_path / "cut.parquet", [[Item("1", "g", "x" * 1000)]])
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "cut.parquet").read_bytes()[:-20])
    with pytest.raises(InputError, match="is not a Parquet file"):
        read_items(tmp_path / "cut.parquet")
    pl.DataFrame({"id": ["1"]}).write_parquet(tmp_path / "other.parquet")
    with pytest.raises(InputError, match="is not a Parquet file of prepared data"):
        read_items(tmp_path / "other.parquet")
