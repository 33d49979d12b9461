from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from assay.core.records import Turn
from assay.data.arrow import TURNS, turns_array, turns_of

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
turns = st.builds(Turn, st.sampled_from(["system", "user", "assistant", "prompt", "completion"]), texts)
rows = st.lists(st.lists(turns, max_size=3).map(tuple), max_size=8)


@given(rows)
def test_the_array_is_the_one_that_pyarrow_makes(rows: list[tuple[Turn, ...]]) -> None:
    values = [[{"role": turn.role, "text": turn.text} for turn in row] if row else None for row in rows]
    array = turns_array(rows)
    array.validate(full=True)
    assert array.equals(pa.array(values, TURNS))


@given(rows, st.data())
def test_turns_come_back_from_any_part(rows: list[tuple[Turn, ...]], data: st.DataObject) -> None:
    array = turns_array(rows)
    assert turns_of(array) == rows
    first, last = sorted(data.draw(st.tuples(*[st.integers(0, len(rows))] * 2)))
    assert turns_of(array.slice(first, last - first)) == rows[first:last]
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=5)) if rows else []
    assert turns_of(array.take(pa.array(chosen, pa.int64()))) == [rows[number] for number in chosen]
    assert turns_of(pa.array(array.to_pylist(), TURNS)) == rows  # as it comes out of a Parquet file
