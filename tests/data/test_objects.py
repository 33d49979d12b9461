from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from assay.core.errors import InputError
from assay.data.objects import rows_file
from assay.data.readers import read_rows
from assay.data.sources import locate


def read_back(rows: Any, cache: Path) -> list[dict[str, Any]]:
    (file,) = locate([str(rows_file(rows, cache))], sha256=None, cache=cache).files
    return [row.columns for row in read_rows(file)]


def test_the_file_is_named_by_its_content(tmp_path: Path) -> None:
    rows = [{"b": 1, "a": "é"}, {"b": None, "a": ""}]
    path = rows_file(rows, tmp_path)
    raw = b'{"b": 1, "a": "\xc3\xa9"}\n{"b": null, "a": ""}\n'
    assert path == tmp_path / "rows" / f"{hashlib.sha256(raw).hexdigest()}.jsonl"
    assert path.read_bytes() == raw
    assert rows_file(iter(rows), tmp_path) == path
    assert rows_file(rows[:1], tmp_path) != path
    assert len(list((tmp_path / "rows").iterdir())) == 2


def test_texts_and_streams(tmp_path: Path) -> None:
    def stream() -> Iterator[str]:
        yield from ("a", "b\nc")

    assert read_back(stream(), tmp_path) == [{"text": "a"}, {"text": "b\nc"}]


def test_values_of_other_libraries(tmp_path: Path) -> None:
    day = datetime.date(2024, 2, 29)
    row = {
        "day": day,
        "time": datetime.datetime(2024, 2, 29, 1, 2, 3),
        "price": Decimal("1.50"),
        "numpy": [np.int64(3), np.float32(0.5), np.bool_(True), np.str_("x"), np.array([[1, 2]])],
        "missing": [None, float("nan"), np.float64("nan"), Decimal("NaN"), np.datetime64("NaT")],
        "nanoseconds": np.datetime64("2024-02-29T01:02:03.000000004"),
        "tuple": ({"a": (1,)},),
    }
    assert read_back([row], tmp_path) == [
        {
            "day": "2024-02-29",
            "time": "2024-02-29T01:02:03",
            "price": "1.50",
            "numpy": [3, 0.5, True, "x", [[1, 2]]],
            "missing": [None] * 5,
            "nanoseconds": "2024-02-29T01:02:03.000000004",
            "tuple": [{"a": [1]}],
        }
    ]


ROWS = [{"text": "a", "n": 1, "turns": [{"role": "user"}]}, {"text": None, "n": 2, "turns": []}]


def test_a_polars_frame(tmp_path: Path) -> None:
    assert read_back(pl.DataFrame(ROWS), tmp_path) == ROWS
    assert read_back(pl.Series(["a", "b"]), tmp_path) == [{"text": "a"}, {"text": "b"}]


def test_a_pandas_frame(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    assert read_back(pandas.DataFrame(ROWS), tmp_path) == ROWS
    frame = pandas.DataFrame({"when": pandas.to_datetime(["2024-02-29", None]), "n": pandas.array([1, None], "Int64")})
    assert read_back(frame, tmp_path) == [{"when": "2024-02-29T00:00:00", "n": 1}, {"when": None, "n": None}]
    with pytest.raises(InputError, match="'a' more than once"):
        rows_file(pandas.DataFrame([[1, 2]], columns=["a", "a"]), tmp_path)
    with pytest.raises(InputError, match="has the name 0, which is no text"):
        rows_file(pandas.DataFrame([["x"]]), tmp_path)


def test_a_dataset_of_the_hubs_library(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    dataset = datasets.Dataset.from_list(ROWS)
    assert read_back(dataset, tmp_path) == ROWS
    with pytest.raises(InputError, match="the type DatasetDict is no list of rows"):
        rows_file(datasets.DatasetDict(train=dataset), tmp_path)


def circular() -> dict[str, Any]:
    row: dict[str, Any] = {}
    row["self"] = row
    return row


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda: "story.txt", ["the type str is no list of rows"]),
        (lambda: {"text": ["a"]}, ["the type dict is no list of rows"]),
        (lambda: 7, ["the type int is no list of rows"]),
        (lambda: pl.LazyFrame(ROWS), ["the type LazyFrame is no list of rows"]),
        (list, ["holds no rows"]),
        (lambda: ["a", {"text": "b"}], ["row 2 is a dict"]),
        (lambda: [{"text": "b"}, "a"], ["row 2 is a text"]),
        (lambda: [{"text": "b"}, ["a"]], ["row 2 is of the type list, not a dict or a text"]),
        (lambda: [{"text": "b"}, {"text": b"a"}], ["row 2, column 'text' holds a value of the type bytes"]),
        (lambda: [{"x": [{"y": object()}]}], ["row 1, column 'x' holds a value of the type object"]),
        (lambda: [{3: "b"}], ["row 1, column 3 has the name 3, which is no text"]),
        (lambda: [{"x": {3: "b"}}], ["row 1, column 'x' has the name 3"]),
        (lambda: [{"x": "a\ud800"}], ["row 1, column 'x' holds half of a surrogate pair (\\ud800)"]),
        (lambda: ["a\0"], ["row 1, column 'text' holds a NUL"]),
        (lambda: [circular()], ["row 1, column 'self' is nested too deeply"]),
    ],
)
def test_what_is_no_row(make: Callable[[], Any], parts: list[str], tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        rows_file(make(), tmp_path)
    for part in ["data.source: ", "fix: ", *parts]:
        assert part in str(caught.value)
    assert list((tmp_path / "rows").iterdir()) == []


def test_an_error_of_the_programs_own_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[str]:
        yield "a"
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        rows_file(broken(), tmp_path)
    assert list((tmp_path / "rows").iterdir()) == []


def test_rows_are_written_as_they_come(tmp_path: Path) -> None:
    path = rows_file(({"text": str(number)} for number in range(1000)), tmp_path)
    lines = path.read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [str(number) for number in range(1000)]
