"""What is foretold of a run is its own plan, made for the cores that it will have."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fixture_sweep import sweep_record, workers

from assay.cli.sweeping import plan_lines
from assay.core.console import Console
from assay.core.files import read_lines, write_json
from assay.core.rundir import RunDir
from assay.sweeps.foretell import foretell, foretold
from assay.sweeps.result import plan_code
from assay.sweeps.roster import Record
from assay.sweeps.slots import Slot

MACHINE = {"processor": "cpu 1", "gpu": None}


def planned(record: Record, at: int, threads: int = 1, seconds: float | None = 60.0) -> RunDir:
    """Give a row's run a plan, as far as a sweep reads it."""
    row = record.rows[at]
    row.run = f"e/{row.key}"
    run = RunDir(record.runs_dir / row.run)
    write_json(run.identity, {"base": {"spec": "a-base"}})
    time = {"predicted_train_seconds": seconds, "low_seconds": seconds, "high_seconds": seconds, "how": "measured"}
    write_json(
        run.plan,
        {
            "machine": MACHINE, "time": time, "memory": {"predicted": {"total": 10**9}},
            "decisions": {"device": "cpu", "threads": threads},
        },
    )  # fmt: skip
    run.finish("prepare", key="k", outputs=[], seconds=1)
    run.finish("plan", key="k", outputs=[run.plan], seconds=1)
    return run


def receipt(record: Record, name: str, **other: Any) -> None:
    """An earlier run of the experiment that took 100 s in all, 60 of them for its steps."""
    values = {
        "base": {"spec": "a-base"}, "hardware": {"cpu": "cpu 1", "gpu": None}, "measured": {"train_seconds": 60.0},
        "wall_seconds": {"train": 70.0, "evaluate": 30.0},
    }  # fmt: skip
    write_json(record.runs_dir / "e" / name / "receipt.json", values | other)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return sweep_record(tmp_path, ["a", "b", "c"])


def test_only_runs_without_a_plan_for_these_cores_are_planned(record: Record, tmp_path: Path) -> None:
    record.rows[0].state = "done"
    planned(record, 1)
    other = planned(record, 2, threads=4)
    assert foretell(record, Slot((0,)), Console(quiet=True), command=workers(tmp_path / "w")) == []
    begun = read_lines(tmp_path / "w" / "begun.jsonl")
    assert [(line["key"], line["until"]) for line in begun] == [("c", "plan")]
    assert other.finished("plan") is None  # forgotten, to be made for one core
    assert record.rows[0].predicted is None
    found = foretold(record.rows[1])
    assert found is not None
    assert (found.train_seconds, found.memory, found.threads, found.base) == (60.0, 10**9, 1, "a-base")


def test_a_plan_by_which_something_was_trained_stays(record: Record, tmp_path: Path) -> None:
    begun, trained = planned(record, 0, threads=4), planned(record, 1, threads=4)
    (begun.checkpoints / "step-3").mkdir(parents=True)
    trained.finish("train", key="k", outputs=[], seconds=1)
    planned(record, 2)
    foretell(record, Slot((0,)), Console(quiet=True), command=workers(tmp_path / "w"))
    assert not (tmp_path / "w" / "begun.jsonl").exists()
    found = foretold(record.rows[1])
    assert found is not None
    assert (found.train_seconds, found.whole_seconds) == (0.0, 60.0)


def test_a_plan_that_others_work_by_stays(record: Record, tmp_path: Path) -> None:
    run = planned(record, 0, threads=4)
    planned(record, 1)
    planned(record, 2)
    with run.lock():
        foretell(record, Slot((0,)), Console(quiet=True), command=workers(tmp_path / "w"))
    assert run.finished("plan") is not None


def test_a_training_that_begins_while_the_lock_is_waited_for_keeps_its_plan(
    record: Record, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(record, 0, threads=4)
    planned(record, 1)
    planned(record, 2)
    taken = RunDir.lock

    @contextmanager
    def late(self: RunDir) -> Iterator[None]:
        (self.checkpoints / "step-3").mkdir(parents=True)
        with taken(self):
            yield

    monkeypatch.setattr(RunDir, "lock", late)
    foretell(record, Slot((0,)), Console(quiet=True), command=workers(tmp_path / "w"))
    assert run.finished("plan") is not None
    assert not (tmp_path / "w" / "begun.jsonl").exists()


def test_a_run_that_comes_to_no_plan_has_failed(record: Record, tmp_path: Path) -> None:
    planned(record, 0)
    planned(record, 2)
    assert foretell(record, Slot((0,)), Console(quiet=True), command=workers(tmp_path / "w", b="fails")) == [
        record.rows[1]
    ]
    assert record.rows[1].state == "failed"
    assert record.rows[1].failure is not None
    assert record.rows[1].failure.what == "it broke"
    assert record.rows[0].failure is None


def test_planning_that_is_killed_fails_no_run_and_leaves_a_reason(record: Record, tmp_path: Path) -> None:
    planned(record, 0)
    assert foretell(record, Slot((0,)), Console(quiet=True), command=workers(tmp_path / "w", b="killed")) == []
    assert [row.state for row in record.rows] == ["to do"] * 3  # each is to show by itself what is wrong with it
    assert record.rows[0].failure is None
    for row in record.rows[1:]:
        assert row.failure is not None
        assert "SIGKILL" in row.failure.what
        assert row.failure.where == str(record.log("plan"))
    assert plan_code(record) == 4


def test_planning_that_says_nothing_is_no_success(record: Record, tmp_path: Path) -> None:
    foretell(record, Slot((0,)), Console(quiet=True), command=workers(tmp_path / "w", a="silent"))
    assert plan_code(record) == 7
    said = "\n".join(plan_lines(record))
    assert "c: has no plan (exit 7): its process ended with code 7 and without a reason\n" in said
    foretell(record, Slot((0,)), Console(quiet=True), command=lambda: [sys.executable, "-c", ""])
    assert plan_code(record) == 1  # it ended with 0, and no run has a plan all the same


def test_what_comes_beside_the_training_is_learned_from_finished_runs(record: Record, tmp_path: Path) -> None:
    for at in range(3):
        planned(record, at, seconds=None if at == 2 else 60.0)
    foretell(record, Slot((0,)), Console(quiet=True), command=workers(tmp_path / "w"))
    plan = foretold(record.rows[0])
    assert plan is not None
    assert plan.rest_seconds is None
    assert plan.seconds == 60.0
    receipt(record, "one")
    receipt(record, "two", wall_seconds={"train": 70.0, "evaluate": 50.0})
    receipt(record, "three", wall_seconds={"train": 70.0, "evaluate": 10.0})
    receipt(record, "elsewhere", hardware={"cpu": "cpu 2", "gpu": None}, wall_seconds={"train": 900.0})
    receipt(record, "other-base", base={"spec": "b"}, wall_seconds={"train": 900.0})
    receipt(record, "old", measured=None)
    receipt(record, "broken-off", wall_seconds={"train": 5.0, "evaluate": 1.0}, attempts={"train": 2, "evaluate": 1})
    foretell(record, Slot((0,)), Console(quiet=True), command=workers(tmp_path / "w"))
    plan, blind = foretold(record.rows[0]), foretold(record.rows[2])
    assert plan is not None
    assert plan.rest_seconds == 40.0  # the median of 40, 60 and 20
    assert plan.seconds == 100.0
    assert blind is not None
    assert blind.seconds is None  # nothing is known of its speed
