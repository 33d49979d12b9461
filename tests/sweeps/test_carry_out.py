"""Runs in processes of their own: all are tried, none outlives the sweep, and the record says how each ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from fixture_sweep import sweep_record, workers

from assay.core.console import Console
from assay.core.files import read_json, read_lines
from assay.sweeps.carry_out import Crew, carry_out
from assay.sweeps.roster import FILE, Record, Row
from assay.sweeps.slots import Slot

QUIET = Console(quiet=True)


def do(record: Record, slots: list[Slot], folder: Path, **behaviour: str) -> list[str]:
    """Carry all rows out in order; the keys as they ended."""
    waiting, ended = list(record.rows), []

    def take(working: list[Row]) -> Row | None:
        return waiting.pop(0) if waiting else None

    def end(row: Row) -> None:
        ended.append(row.key)

    carry_out(record, slots, take, ended=end, console=QUIET, command=workers(folder, **behaviour))
    return ended


def alive(pid: int) -> bool:
    """Whether a process is at work; one that has ended and that nobody has asked after is not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def by_key(record: Record) -> dict[str, dict[str, Any]]:
    """The rows as sweep.json has them."""
    return {row["key"]: row for row in read_json(record.folder / FILE)["rows"]}


def test_one_that_fails_does_not_stop_the_others_and_every_end_is_told(tmp_path: Path) -> None:
    record = sweep_record(tmp_path, ["a", "b", "c", "d", "e"])
    assert do(record, [Slot((0,))], tmp_path / "w", b="fails", c="killed", d="silent") == ["a", "b", "c", "d", "e"]
    rows = by_key(record)
    assert [rows[key]["state"] for key in "abcde"] == ["done", "failed", "failed", "failed", "done"]
    assert rows["b"]["failure"] == {"what": "it broke", "where": "here", "fix": "mend it", "code": 3}
    assert "SIGKILL" in rows["c"]["failure"]["what"]
    assert "memory" in rows["c"]["failure"]["what"]
    assert rows["c"]["failure"]["code"] == 4
    assert rows["d"]["failure"]["code"] == 7
    assert rows["a"]["run"] == "e/a"
    assert rows["a"]["seconds"] == 2.5
    assert all(row["attempts"] == 1 and row["started"] and row["ended"] for row in rows.values())
    assert rows["a"]["failure"] is None
    log = record.log("a").read_text()
    assert "a until report, on core 0" in log
    begun = read_lines(tmp_path / "w" / "begun.jsonl")
    assert begun[1]["run"]["varied"] == {"sweep": "abcd1234", "variant": "b", "factors": {"f": "b"}}
    assert begun[1]["run"]["overrides"] == ["adapter.rank=1"]


def test_never_more_at_once_than_slots_and_each_in_its_own(tmp_path: Path) -> None:
    keys = ["a", "b", "c", "d", "e"]
    slots = [Slot((0,)), Slot((1,))]
    do(sweep_record(tmp_path, keys), slots, tmp_path / "w", **dict.fromkeys(keys, "pause"))
    begun = {line["key"]: line for line in read_lines(tmp_path / "w" / "begun.jsonl")}
    ended = {line["key"]: line["at"] for line in read_lines(tmp_path / "w" / "ended.jsonl")}
    assert set(begun) == set(keys)
    assert {line["threads"] for line in begun.values()} == {"1"}
    at_once = 0
    for key, line in begun.items():
        beside = [other for other in keys if begun[other]["at"] <= line["at"] < ended[other]]
        assert len({tuple(begun[other]["cores"]) for other in beside}) == len(beside), f"a slot twice when {key} began"
        at_once = max(at_once, len(beside))
    assert at_once == 2


def test_a_slot_that_binds_to_no_cores_gives_its_process_threads_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    do(sweep_record(tmp_path, ["a"]), [Slot((0, 1), bound=False)], tmp_path / "w")
    (begun,) = read_lines(tmp_path / "w" / "begun.jsonl")
    assert (begun["cores"], begun["threads"]) == ([], "2")


def test_a_task_may_be_longer_than_an_argument(tmp_path: Path) -> None:
    record = sweep_record(tmp_path, [f"run{n}" for n in range(40)])
    for row in record.rows:
        row.overrides = ["name=" + "x" * 6000]  # 240 kB in all; Linux takes 128 KiB in an argument
    with Crew(record, workers(tmp_path / "w")) as crew:
        crew.start(record.rows, Slot((0,)), until="plan", name="plan")
        assert crew.wait().silent == []
    begun = read_lines(tmp_path / "w" / "begun.jsonl")
    assert [line["run"]["overrides"] for line in begun] == [row.overrides for row in record.rows]
    assert [path.name for path in (record.folder / "logs").iterdir()] == ["plan.log"]


def test_what_may_not_begin_yet_waits_for_one_to_end(tmp_path: Path) -> None:
    record = sweep_record(tmp_path, ["a", "b", "c"])
    waiting = list(record.rows)

    def alone(working: list[Row]) -> Row | None:
        return None if working or not waiting else waiting.pop(0)

    carry_out(record, [Slot((0,)), Slot((1,))], alone, console=QUIET, command=workers(tmp_path / "w", a="pause"))
    begun, ended = (read_lines(tmp_path / "w" / f"{name}.jsonl") for name in ("begun", "ended"))
    assert all(one["at"] > before["at"] for one, before in zip(begun[1:], ended, strict=False))


def test_an_interrupt_ends_all_and_leaves_them_unfinished(tmp_path: Path) -> None:
    record = sweep_record(tmp_path, ["a", "b", "c"])
    waiting = list(record.rows)

    def interrupted(row: Row) -> None:
        until = time.monotonic() + 30
        while not any(line["key"] == "b" for line in read_lines(tmp_path / "w" / "begun.jsonl")):
            assert time.monotonic() < until
            time.sleep(0.01)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        carry_out(
            record, [Slot((0,)), Slot((1,))], lambda working: waiting.pop(0) if waiting else None, ended=interrupted,
            console=QUIET, command=workers(tmp_path / "w", b="sleep", c="sleep"),
        )  # fmt: skip
    assert all(not alive(line["pid"]) for line in read_lines(tmp_path / "w" / "begun.jsonl"))
    rows = by_key(record)
    assert (rows["a"]["state"], rows["b"]["state"]) == ("done", "unfinished")
    assert rows["b"]["failure"] is None
    assert {"key": "b"} in read_lines(tmp_path / "w" / "interrupted.jsonl")


def test_a_run_that_is_stopped_from_outside_has_failed(tmp_path: Path) -> None:
    record = sweep_record(tmp_path, ["a"])
    with Crew(record, workers(tmp_path / "w", a="sleep")) as crew:
        record.rows[0].state = "running"
        crew.start(record.rows, Slot((0,)), until="report", name="a")
        while not read_lines(tmp_path / "w" / "begun.jsonl"):
            time.sleep(0.01)
        crew.working[0].process.terminate()
        assert crew.wait().failed == record.rows
    assert record.rows[0].failure is not None
    assert "outside" in record.rows[0].failure.what
    assert record.rows[0].failure.code == 130


SWEEP = """\
import sys
from pathlib import Path
sys.path.insert(0, {helpers!r})
from fixture_sweep import sweep_record, workers
from assay.sweeps.carry_out import Crew
from assay.sweeps.slots import Slot
folder = Path({folder!r})
record = sweep_record(folder, ["a", "b"])
with Crew(record, workers(folder / "w", a="sleep", b="sleep")) as crew:
    for row in record.rows:
        crew.start([row], Slot((0,)), until="report", name=row.key)
    crew.wait()
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_a_sweep_that_was_killed(tmp_path: Path, how: signal.Signals) -> None:
    helpers = str(Path(__file__).parents[1] / "helpers")
    script = SWEEP.format(helpers=helpers, folder=str(tmp_path))
    sweep = subprocess.Popen([sys.executable, "-c", script], env={**os.environ})
    until = time.monotonic() + 60
    while len(begun := read_lines(tmp_path / "w" / "begun.jsonl")) < 2:
        assert sweep.poll() is None
        assert time.monotonic() < until
        time.sleep(0.01)
    assert all(alive(line["pid"]) for line in begun)
    sweep.send_signal(how)
    sweep.wait(timeout=30)
    until = time.monotonic() + 10
    while any(alive(line["pid"]) for line in begun):
        assert time.monotonic() < until, "a process is still there"
        time.sleep(0.02)
