"""The run directory: one writer at a time, and a record of what is finished and intact."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.core.errors import InputError
from assay.core.files import read_lines
from assay.core.rundir import STAGES, RunDir

HOLD = (
    "import sys, time; from pathlib import Path; from assay.core.rundir import RunDir\n"
    "with RunDir(Path(sys.argv[1])).lock(): print('held', flush=True); time.sleep(60)"
)


def test_one_process_writes_at_a_time_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    with holder.stdout:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is writing to this run"), run.lock():
            pass
        holder.kill()
        holder.wait()
    with run.lock():
        pass


def test_the_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    with pytest.raises(ZeroDivisionError), run.lock():
        _ = 1 / 0
    with run.lock():
        pass


def test_finishing_a_stage_forgets_the_later_ones(make_run: Callable[..., RunDir]) -> None:
    run = make_run()
    assert all(run.finished(stage) for stage in STAGES)
    run.finish("plan", key="new", outputs=[run.plan], seconds=2)
    done = [stage for stage in STAGES if run.finished(stage)]
    assert done == ["prepare", "plan"]
    record = run.finished("plan")
    assert record is not None
    assert record["key"] == "new"


def test_outputs_that_changed_or_went_are_named(make_run: Callable[..., RunDir]) -> None:
    run = make_run()
    assert not any(run.changed_outputs(stage) for stage in STAGES)
    run.summary.write_text("{}")
    run.plan.unlink()
    assert run.changed_outputs("evaluate") == ["evaluate/summary.json"]
    assert run.changed_outputs("plan") == ["plan.json"]
    assert run.changed_outputs("train") == []


def test_a_run_that_has_begun_nothing_has_no_outputs(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    assert run.finished("prepare") is None
    assert run.changed_outputs("prepare") == []


def test_events_are_appended_with_their_time(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.event("created", name="bard")
    run.event("stage started", stage="prepare")
    first, second = read_lines(tmp_path / "events.jsonl")
    assert (first["event"], first["name"], second["stage"]) == ("created", "bard", "prepare")
    assert first["time"].endswith("+00:00")


def test_paths_lie_in_the_run(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    names = [name for name, value in vars(RunDir).items() if isinstance(value, property) and name != "guards"]
    paths = [getattr(run, name) for name in names] + [run.guards.path, run.split("test")]
    assert all(path.is_relative_to(tmp_path) for path in paths)
    assert len(set(paths)) == len(paths)
