"""The checks of the sweeps' benchmarks find what they are for; the measuring itself takes minutes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import psutil
import pytest

from assay.sweeps import child

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def kills() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield __import__("sweep_kills")


@pytest.fixture(scope="module")
def costs() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield __import__("sweep_cost")


def found(kills: ModuleType, **changed: Any) -> Any:
    """Two runs that were trained without a break."""
    stages = ["prepare", "plan", "train", "evaluate", "report"]
    values = {
        "identities": {"a": "id-a", "b": "id-b"}, "finished": {"a": stages, "b": stages},
        "begun": {"a": [0], "b": [0]}, "last_step": {"a": 20, "b": 20},
    }  # fmt: skip
    return kills.Found(**{**values, **changed})


def test_lost_and_doubled_work_is_found(kills: ModuleType) -> None:
    plan, whole = {"a": "id-a", "b": "id-b"}, found(kills)
    killed = found(kills, finished={"a": ["prepare"], "b": []}, last_step={"a": 9, "b": 0}, begun={"a": [0], "b": []})
    went_on = found(kills, begun={"a": [0, 8], "b": [0]})
    assert kills.lost_or_doubled(plan, [killed], went_on) == []
    from_the_start = found(kills, begun={"a": [0, 0], "b": [0]})
    assert (
        "step 9 was done, and the training went on after step 0"
        in kills.lost_or_doubled(plan, [killed], from_the_start)[0]
    )
    twice = found(kills, finished={"a": ["train", "train"], "b": []})
    assert "train was finished 2 times" in kills.lost_or_doubled(plan, [], twice)[0]
    other = found(kills, identities={"a": "id-a", "c": "id-a"})
    wrong = kills.lost_or_doubled(plan, [], other)
    assert "not those of the plan" in wrong[0]
    assert "has several runs" in wrong[1]
    assert kills.lost_or_doubled(plan, [], whole) == []


def test_a_failure_that_is_not_told_is_found(kills: ModuleType, tmp_path: Path) -> None:
    why = "guard finite-training failed: the gradient is not finite"
    rows = [{"state": "done", "failure": None}] * 12 + [{"state": "failed", "failure": {"what": why}}]
    record = {"folder": tmp_path, "rows": rows}
    compared = {"entries": [1] * 12, "failed": [{"why": why}]}
    (tmp_path / "compare.json").write_text(json.dumps(compared))
    (tmp_path / "compare.md").write_text(f"it says {why}")
    assert kills.concluded(record) == []
    (tmp_path / "compare.md").write_text("it says nothing")
    assert kills.concluded(record) == ["compare.md has no reason"]
    (tmp_path / "compare.json").write_text(json.dumps(compared | {"failed": []}))
    assert "the comparison says of failures: []" in kills.concluded(record)
    assert "the runs ended so" in kills.concluded(record | {"rows": rows[:5]})[0]


def test_a_sweeps_processes_are_known_by_their_command(kills: ModuleType) -> None:
    assert kills.processes_of(1) == []
    start = [sys.executable, "-c", "input()", *child.command()[3:]]
    with subprocess.Popen(start, stdin=subprocess.PIPE) as process:
        assert kills.processes_of(os.getpid()) == [process.pid]
        process.kill()


def test_a_descendant_that_is_left_is_found_whatever_it_runs(kills: ModuleType) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        family = [psutil.Process(process.pid)]
        assert kills.left_of(1, family) == [process.pid]
        process.kill()
    assert kills.left_of(1, family) == []


def test_the_cost_by_hand(costs: ModuleType) -> None:
    runs = [costs.Alone(prepare=10, train=60, evaluate=50, tuned=30, others=0.0)] * 6
    result = costs.cost(wall=600, runs=runs)
    assert result["parts"] == {"train": 360, "tuned": 180, "prepare": 10, "base": 20}
    assert result["cost"] == pytest.approx(600 / 570)
    assert result["one_by_one"] == 6 * 120


@pytest.fixture(scope="module")
def ledgers() -> Iterator[ModuleType]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield __import__("ledger")


def test_lost_rows_and_slow_listings_are_found(ledgers: ModuleType) -> None:
    writers = {"lost": 0, "integrity": "ok", "exit_codes": [0, 0]}
    times = {"newest 50": {"median": 0.1}, "all rows": {"median": 3.0}}
    found = {"two_writers": writers, "many_runs": {"listing_seconds": times}}
    assert ledgers.wrong(found) == []
    assert ledgers.wrong(found | {"two_writers": writers | {"lost": 3}}) == ["3 rows were lost"]
    assert len(ledgers.wrong(found | {"two_writers": {"lost": 0, "integrity": "torn", "exit_codes": [1, 0]}})) == 2
    slow = {"many_runs": {"listing_seconds": times | {"newest 50": {"median": 0.5}}}}
    assert "newest 50: 0.5 s" in ledgers.wrong(found | slow)[0]
