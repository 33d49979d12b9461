"""What was spent on a stage before it was finished counts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from assay.core.errors import InputError
from assay.core.files import append_line, read_json, read_lines
from assay.core.ledger import Ledger
from assay.core.receipt import write_receipt
from assay.core.rundir import RunDir, attempts, spent
from assay.pipeline import order
from assay.pipeline.attempts import Earlier, earlier

Make = Callable[..., RunDir]


def at(run: RunDir, second: int, event: str, **details: object) -> None:
    append_line(run.events, {"time": f"2026-01-01T00:00:{second:02}+00:00", "event": event, **details})


def test_a_finished_stage_has_nothing_before_it(make_run: Make) -> None:
    run = make_run(until="plan")
    assert earlier(run, "evaluate") == Earlier()
    at(run, 0, "stage started", stage="evaluate")
    at(run, 9, "stage finished", stage="evaluate")
    assert earlier(run, "evaluate") == Earlier()


def test_attempts_that_told_their_time_add_up(make_run: Make) -> None:
    run = make_run(until="plan")
    at(run, 0, "stage started", stage="evaluate")
    at(run, 5, "stage broken off", stage="evaluate", seconds=5.25)
    at(run, 5, "interrupted")
    assert earlier(run, "evaluate") == Earlier(1, 5.25)
    at(run, 30, "stage started", stage="evaluate", earlier={"attempts": 1, "seconds": 5.25})
    at(run, 40, "stopped", kind="InputError", why="by another command")
    assert earlier(run, "evaluate") == Earlier(2, 5.25)  # killed: what it took is not known
    assert earlier(run, "report") == Earlier()


def test_of_a_killed_training_its_loading_and_its_steps_count(make_run: Make) -> None:
    run = make_run(until="plan")
    run.metrics.unlink(missing_ok=True)
    at(run, 0, "stage started", stage="train")
    assert earlier(run, "train") == Earlier(1, 0.0)
    at(run, 4, "training started", step=0)
    for step, seconds in ((0, 1.0), (1, 2.0), (2, 2.5)):
        append_line(run.metrics, {"step": step, "seconds": seconds})
    assert earlier(run, "train") == Earlier(1, 4 + 5.5)
    at(run, 20, "stage started", stage="train", earlier={"attempts": 1, "seconds": 9.5})
    at(run, 23, "training resumed", step=1)
    append_line(run.metrics, {"step": 3, "seconds": 0.5})
    assert earlier(run, "train") == Earlier(2, 9.5 + 3 + 2.5 + 0.5)


def test_it_reaches_the_record_the_receipt_and_the_ledger(make_run: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    run = make_run()
    monkeypatch.setattr(order, "stage_key", lambda *given: "k")

    def breaks(*given: object) -> list[Path]:
        raise InputError("the file is gone")

    monkeypatch.setitem(order.stages.PERFORM, "report", breaks)
    with pytest.raises(InputError):
        order._perform(run, None, "report")  # type: ignore[arg-type]
    broken = read_lines(run.events)[-1]
    assert (broken["event"], broken["stage"]) == ("stage broken off", "report")
    append_line(run.events, broken | {"seconds": 40.0})
    monkeypatch.setitem(order.stages.PERFORM, "report", lambda *given: [])
    order._perform(run, None, "report")  # type: ignore[arg-type]
    record = read_json(run.stages)["report"]
    assert record["earlier"] == {"attempts": 1, "seconds": 40.0}
    assert attempts(record) == 2
    assert spent(record) == pytest.approx(40.0 + record["seconds"])
    receipt = write_receipt(run)
    assert receipt["wall_seconds"]["report"] >= 40.0
    assert receipt["attempts"]["report"] == 2
    (row,) = Ledger(run.path.parents[1]).rows()
    assert row["report_seconds"] >= 40.0
    assert earlier(run, "report") == Earlier()
