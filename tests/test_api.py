"""The Python API with data that a program holds."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

import assay
from assay.core.files import read_json
from assay.data.items import read_items

ROWS = [
    {"text": f"Row {number} tells of the thing {number * 7} and of nothing else.", "n": number} for number in range(40)
]


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "e.yaml"
    file.write_text("schema: 1\nname: rows\nbase: scratch:llama-tiny\ndata: {source: nothing.jsonl}\n")
    return file


def test_rows_of_a_program_are_prepared_as_a_file_of_them_is(experiment: Path, tmp_path: Path) -> None:
    first = assay.prepare(experiment, rows=(row for row in ROWS), runs_dir=tmp_path / "runs")
    assert read_json(first.run.manifest)["rows"]["kept"] == 40
    texts = {item.text for name in ("train", "dev", "test") for item in read_items(first.run.split(name))}
    assert texts == {row["text"] for row in ROWS}
    again = assay.prepare(experiment, rows=pl.DataFrame(ROWS), runs_dir=tmp_path / "runs")
    assert again.already_finished
    assert again.run == first.run
    other = assay.prepare(experiment, rows=[row["text"] for row in ROWS[:30]], runs_dir=tmp_path / "runs", new=True)
    assert other.run != first.run
