"""The registry, the table of thresholds, and the book of records."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import GuardError
from assay.core.files import read_json
from assay.core.guard import GUARDS, THRESHOLDS, GuardBook, GuardRecord, Limits, limits, record, worst
from assay.core.rundir import STAGES

NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=32)
ORDER = ["pass", "warn", "fail"]


def test_every_guard_is_complete() -> None:
    for name, guard in GUARDS.items():
        assert guard.cls in ("V", "O", "R"), name
        assert guard.stage in (*STAGES, "compare", "rate"), name
        assert guard.meaning, name
        assert guard.fix, name
        assert guard.source, name


def test_every_threshold_belongs_to_a_guard_or_to_timings_and_is_ordered() -> None:
    for name, row in THRESHOLDS.items():
        assert name.split(".")[0] in (*GUARDS, "timing"), name
        assert row.warns <= row.passes if row.higher_is_better else row.warns >= row.passes, name
        assert limits(name) is row


@given(NUMBERS, NUMBERS, NUMBERS, st.booleans())
def test_the_status_never_improves_as_the_value_worsens(a: float, b: float, value: float, higher: bool) -> None:
    low, high = sorted((a, b))
    row = Limits(high, low, higher_is_better=True) if higher else Limits(low, high)
    worse = value - 1 if higher else value + 1
    assert ORDER.index(row.status(worse)) >= ORDER.index(row.status(value))
    assert row.status(row.passes) == "pass"
    if low < high:
        assert row.status(row.warns) == "warn"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("higher", [True, False])
def test_what_is_not_finite_fails(value: float, higher: bool) -> None:
    assert Limits(0, 0, higher_is_better=higher).status(value) == "fail"


def test_a_record_takes_class_stage_and_fix_from_the_registry() -> None:
    made = record("split-leak", "fail", "2 % leak", measured=0.02, threshold=0.01)
    assert (made.cls, made.stage, made.fix) == ("V", "prepare", GUARDS["split-leak"].fix)
    assert record("split-leak", "pass", "none").fix is None
    assert record("split-leak", "warn", "few", fix="own words").fix == "own words"
    assert record("power", "pass", "enough", stage="report").stage == "report"


def test_the_worst() -> None:
    assert worst([]) == "skip"
    assert worst(["skip", "pass"]) == "pass"
    assert worst(["pass", "fail", "warn"]) == "fail"


def test_the_book_keeps_the_newest_of_each_guard_and_stage(tmp_path: Path) -> None:
    book = GuardBook(tmp_path / "guards.json")
    assert book.records() == []
    book.add(record("paired-verdict", "pass", "a"), record("power", "warn", "b"))
    book.add(record("power", "pass", "c", stage="report"), record("power", "fail", "d"))
    found = {(r.guard, r.stage): r.why for r in book.records()}
    assert found == {("power", "prepare"): "d", ("power", "report"): "c", ("paired-verdict", "report"): "a"}
    assert [r.guard for r in book.records()] == ["power", "power", "paired-verdict"]


def test_the_book_on_disk_has_the_documented_keys(tmp_path: Path) -> None:
    book = GuardBook(tmp_path / "guards.json")
    made = record("split-leak", "pass", "none", measured={"share": 0.0}, threshold=0.01)
    book.add(made)
    (row,) = read_json(book.path)
    assert set(row) == {"guard", "class", "stage", "status", "measured", "threshold", "why", "fix"}
    assert row["class"] == "V"
    assert book.records() == [made]


def test_dropping_a_stage_forgets_its_records_alone(tmp_path: Path) -> None:
    book = GuardBook(tmp_path / "guards.json")
    book.drop_stages("train")
    book.add(record("weights-moved", "pass", "a"), record("split-leak", "pass", "b"))
    book.drop_stages("train", "report")
    assert [r.guard for r in book.records()] == ["split-leak"]


@pytest.mark.parametrize(("guard", "status"), [("split-leak", "warn"), ("power", "fail"), ("receipt", "fail")])
def test_warnings_and_unwelcome_outcomes_do_not_stop(tmp_path: Path, guard: str, status: str) -> None:
    GuardBook(tmp_path / "guards.json").check(GuardRecord(guard, GUARDS[guard].cls, "prepare", status, 1, 0, "why"))  # type: ignore[arg-type]


def test_a_validity_failure_is_written_and_then_stops(tmp_path: Path) -> None:
    book = GuardBook(tmp_path / "guards.json")
    with pytest.raises(GuardError, match="guard split-leak failed: 5 % leak") as caught:
        book.check(record("power", "pass", "enough"), record("split-leak", "fail", "5 % leak"))
    assert caught.value.exit_code == 3
    assert caught.value.guard == "split-leak"
    assert [r.guard for r in book.records()] == ["split-leak", "power"]
