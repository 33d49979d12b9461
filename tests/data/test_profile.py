from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.items import Item
from assay.data.profile import profile


def test_counts_by_hand() -> None:
    splits = {
        "train": [Item("1", "a", "one two"), Item("2", "a", "one two"), Item("3", "b", "né")],
        "dev": [Item("4", "c", "x" * 1000)],
        "test": [],
    }
    found = profile(splits)["splits"]
    train = found["train"]
    assert (train["rows"], train["groups"], train["bytes"], train["words"]) == (3, 2, 17, 5)
    assert train["exact_duplicates"] == 1
    assert train["non_ascii_share"] == pytest.approx(1 / 16, abs=1e-6)
    assert train["longest"] == {"id": "2", "group": "a", "bytes": 7}
    assert train["quantiles"]["0.5"] == 7.0
    assert found["test"]["quantiles"] is None
    assert found["test"]["longest"] is None
    assert found["test"]["non_ascii_share"] is None


@given(st.lists(st.text(max_size=50), min_size=1, max_size=30))
def test_each_row_is_in_one_bin_and_the_values_are_json(texts: list[str]) -> None:
    found = profile({"train": [Item(str(n), "g", text + "x") for n, text in enumerate(texts)]})
    histogram = found["splits"]["train"]["histogram"]
    assert sum(histogram["counts"]) == len(texts)
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1 <= 22
    assert json.loads(json.dumps(found, allow_nan=False)) == found
