from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.records import Turn
from assay.data import spill
from assay.data.arrow import turns_of
from assay.data.spill import Spill, Spilled

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=9)
turns = st.lists(st.builds(Turn, st.sampled_from(["user", "assistant"]), texts), max_size=2).map(tuple)
items = st.lists(st.builds(Spilled, texts, turns, texts, st.integers(0, 3)), max_size=12)


@given(items, st.integers(1, 5), st.integers(1, 30), st.data())
def test_items_come_back_in_order_and_by_number(
    tmp_path_factory: pytest.TempPathFactory, items: list[Spilled], most: int, size: int, data: st.DataObject
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(spill, "_ITEMS", most)
        patch.setattr(spill, "_BYTES", size)
        waiting = Spill(tmp_path_factory.mktemp("spill") / "items.arrow")
        for number, item in enumerate(items):
            assert len(waiting) == number
            waiting.add(item)
        waiting.close()
        waiting.close()  # once more is no harm
    assert len(waiting) == len(items)
    back = []
    for batch in waiting.batches():
        assert 1 <= batch.num_rows <= most
        columns = (batch.column(name).to_pylist() for name in ("text", "place", "overlap"))
        back += list(zip(*columns, turns_of(batch.column("turns")), strict=True))
    assert back == [(item.text, item.place, item.overlap, item.turns) for item in items]
    assert [text for batch in waiting.texts() for text in batch] == [item.text for item in items]
    numbers = data.draw(st.lists(st.integers(0, len(items) - 1), max_size=9)) if items else []
    assert waiting.fetch(numbers) == [items[number].text for number in numbers]
    assert waiting.fetch(numbers, "place") == [items[number].place for number in numbers]


def test_a_long_text_does_not_wait(tmp_path: Path) -> None:
    waiting = Spill(tmp_path / "items.arrow")
    for _ in range(3):
        waiting.add(Spilled("long " * 2_000_000, (), ""))
    waiting.add(Spilled("short", (), ""))
    waiting.close()
    assert [batch.num_rows for batch in waiting.batches()] == [1, 1, 1, 1]
    assert waiting.path.stat().st_size < 1_000_000  # packed


def test_after_the_end_nothing_is_added(tmp_path: Path) -> None:
    waiting = Spill(tmp_path / "items.arrow")
    waiting.close()
    assert (len(waiting), list(waiting.batches()), waiting.fetch([])) == (0, [], [])
    with pytest.raises(ValueError, match="closed"):
        waiting.add(Spilled("long " * 2_000_000, (), ""))
