"""The CSV opens in a spreadsheet, holds everything, and runs nothing."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.core.export import csv_text, is_ours
from assay.core.ledger import COLUMNS, Ledger
from assay.core.rundir import RunDir

Make = Callable[..., RunDir]


def rows(runs: Path) -> list[dict[str, Any]]:
    return Ledger(runs).select(settings=True).rows


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_columns_first_then_every_setting(make_run: Make, tmp_path: Path) -> None:
    make_run()
    (row,) = parsed(csv_text(rows(tmp_path / "runs")))
    assert list(row)[: len(COLUMNS)] == list(COLUMNS)
    assert list(row)[len(COLUMNS) :] == [
        "adapter.kind", "adapter.rank", "data.source", "evaluate.decoding.max_new_tokens",
        "evaluate.decoding.temperature", "evaluate.prompts", "name", "schema",
    ]  # fmt: skip
    assert row["adapter.rank"] == "4"
    assert row["difference"] == "0.097"
    assert row["guard"] == ""
    assert row["evaluate.prompts"] == '["To be: or not # to be"]'


def test_settings_that_one_run_has_are_empty_in_the_other(make_run: Make, tmp_path: Path) -> None:
    make_run(number=1)
    second = make_run(number=2)
    second.resolved.write_text("train:\n  steps: 3\n")
    newest, oldest = parsed(csv_text(rows(tmp_path / "runs")))
    assert (newest["train.steps"], newest["adapter.rank"]) == ("3", "")
    assert (oldest["train.steps"], oldest["adapter.rank"]) == ("", "4")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\n=", " =", "\uff1d"])
def test_a_text_is_no_formula_and_a_number_stays_one(make_run: Make, tmp_path: Path, start: str) -> None:
    run = make_run()
    run.event("stopped", why=f'{start}HYPERLINK("http://x")')
    (row,) = rows(tmp_path / "runs")
    row["difference"], row["settings"]["data.source"] = -0.5, f"{start}cmd"
    (written,) = parsed(csv_text([row]))
    assert written["why"] == f'\'{start}HYPERLINK("http://x")'
    assert written["data.source"] == f"'{start}cmd"
    assert written["difference"] == "-0.5"


def test_only_some_columns_behind_what_names_the_run(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    header, line = csv_text(rows(tmp_path / "runs"), ["status", "id", "adapter.rank"]).splitlines()
    assert header == "path,id,experiment,status,adapter.rank"
    assert line == f"bard/{run.path.name},01bc1234,bard,finished,4"


def test_what_was_written_is_known_again(make_run: Make, tmp_path: Path) -> None:
    make_run()
    file = tmp_path / "log.csv"
    for columns in ([], ["adapter.rank"], ["status"]):
        file.write_text(csv_text(rows(tmp_path / "runs"), columns))
        assert is_ours(file)
    for content in (b"", b"id,status\n1,open\n", b"\xff\xfe", b'"'):
        file.write_bytes(content)
        assert not is_ours(file)
    assert not is_ours(tmp_path / "missing.csv")
