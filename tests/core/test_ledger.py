"""The ledger follows the run directories, whatever happens to it or to them."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.core.errors import InputError, MachineError
from assay.core.files import read_json, write_json
from assay.core.guard import record
from assay.core.ledger import COLUMNS, Ledger, Query, is_locked
from assay.core.rundir import STAGES, RunDir

Make = Callable[..., RunDir]


def test_a_finished_run_has_its_whole_row(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    (row,) = Ledger(tmp_path / "runs").rows()
    assert row.pop("created").endswith("+00:00")
    assert list(row) == [name for name in COLUMNS if name != "created"]
    assert row.pop("finished").endswith("+00:00")
    assert {name: value for name, value in row.items() if value is not None} == {
        "path": f"bard/{run.path.name}",
        "id": "01bc1234",
        "experiment": "bard",
        "status": "finished",
        "stage": "report",
        "base": "scratch:llama-tiny",
        "adapter": "lora",
        "rank": 4,
        "seed": 42,
        "outcome": "better",
        "sentence": "better by 0.097 bits per byte",
        "base_bpb": 1.25,
        "tuned_bpb": 1.153,
        "groups": 8,
        "train_items": 20,
        "train_bytes": 20_000,
        "seconds": 7.5,
        "prepare_seconds": 1.5,
        "plan_seconds": 1.5,
        "train_stage_seconds": 1.5,
        "evaluate_seconds": 1.5,
        "report_seconds": 1.5,
        "train_tokens": 61440,
        "train_tokens_per_s": 295.4,
        "difference": 0.097,
        "low": 0.085,
        "high": 0.109,
        "train_seconds": 208.0,
        "peak_memory": 3_100_000_000,
    }


@pytest.mark.parametrize("until", [None, *STAGES])
def test_status_and_last_stage(make_run: Make, tmp_path: Path, until: str | None) -> None:
    make_run(until=until)
    (row,) = Ledger(tmp_path / "runs").rows()
    assert row["stage"] == until
    assert row["status"] == ("finished" if until == "report" else "unfinished")
    # the report's checks come before a verdict
    assert row["outcome"] == ("better" if until == "report" else None)


def test_a_failed_validity_guard_takes_the_verdict_away(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    run.guards.add(record("power", "fail", "too few groups"))
    assert Ledger(tmp_path / "runs").rows()[0]["outcome"] == "better"
    run.guards.add(record("adapter-integrity", "fail", "B is zero"))
    (row,) = Ledger(tmp_path / "runs").rows()
    assert (row["status"], row["guard"], row["outcome"]) == ("failed", "adapter-integrity", None)


def test_a_run_that_stopped_with_an_error_has_failed_until_it_goes_on(make_run: Make, tmp_path: Path) -> None:
    run, ledger = make_run(until="plan"), Ledger(tmp_path / "runs")
    run.event("stopped", kind="MachineError", why="no space left")
    assert ledger.rows()[0]["status"] == "failed"
    run.event("stage started", stage="train")
    assert ledger.rows()[0]["status"] == "unfinished"


def test_a_run_is_running_while_its_lock_is_held(make_run: Make, tmp_path: Path) -> None:
    run, ledger = make_run(until="plan"), Ledger(tmp_path / "runs")
    with run.lock():
        ledger.upsert(run)
        assert is_locked(run)
        assert ledger.rows()[0]["status"] == "running"
    assert not is_locked(run)
    assert ledger.rows()[0]["status"] == "unfinished"


def test_rows_follow_the_directories(make_run: Make, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "runs")
    assert ledger.rows() == []
    assert not ledger.runs_dir.exists()
    first, second = make_run(number=1), make_run(number=2, until="prepare")
    assert [row["path"] for row in ledger.rows()] == [f"bard/{second.path.name}", f"bard/{first.path.name}"]
    second.finish("plan", key="k", outputs=[], seconds=1)
    assert ledger.rows()[0]["stage"] == "plan"
    shutil.rmtree(first.path)
    assert [row["path"] for row in ledger.rows()] == [f"bard/{second.path.name}"]


OLD = 1_700_000_000  # long enough ago for a folder to be settled


def settle(runs: Path) -> None:
    for folder in runs.iterdir():
        if folder.is_dir():
            os.utime(folder, (OLD, OLD))


def test_a_folder_that_has_not_changed_is_not_looked_into(make_run: Make, tmp_path: Path) -> None:
    make_run(number=1)
    settle(tmp_path / "runs")
    ledger = Ledger(tmp_path / "runs")
    assert len(ledger.rows()) == 1
    make_run(number=2)
    settle(tmp_path / "runs")  # as if nothing had happened: this is what the listing goes by
    assert len(ledger.rows()) == 1
    os.utime(tmp_path / "runs" / "bard")
    assert len(ledger.rows()) == 2


def test_a_folder_changed_just_now_is_looked_into_again(make_run: Make, tmp_path: Path) -> None:
    make_run(number=1)
    ledger, folder = Ledger(tmp_path / "runs"), tmp_path / "runs" / "bard"
    ledger.rows()
    state = folder.stat()
    make_run(number=2)
    os.utime(folder, ns=(state.st_atime_ns, state.st_mtime_ns))  # within the same tick of the clock
    assert len(ledger.rows()) == 2


def test_a_run_that_is_being_copied_here_is_found_when_it_is_whole(make_run: Make, tmp_path: Path) -> None:
    whole = make_run(number=1)
    empty = tmp_path / "runs" / "bard" / "20260102-120000-02bc1234"
    empty.mkdir()
    settle(tmp_path / "runs")
    ledger = Ledger(tmp_path / "runs")
    assert len(ledger.rows()) == 1
    shutil.copytree(whole.path, empty, dirs_exist_ok=True)
    settle(tmp_path / "runs")
    assert len(ledger.rows()) == 2


def test_assays_own_folders_do_not_keep_an_experiment_from_being_settled(make_run: Make, tmp_path: Path) -> None:
    run = make_run(number=1)
    for own in ("sweeps", "comparisons"):
        (run.path.parent / own / "0123abcd").mkdir(parents=True)
    settle(tmp_path / "runs")
    ledger = Ledger(tmp_path / "runs")
    assert len(ledger.rows()) == 1
    make_run(number=2)
    settle(tmp_path / "runs")  # as if nothing had happened: it is not looked into again
    assert len(ledger.rows()) == 1


def test_the_records_of_sweeps_are_no_runs(make_run: Make, tmp_path: Path) -> None:
    make_run()
    sweep = tmp_path / "runs" / "bard" / "sweeps" / "20260101-s1"
    write_json(sweep / "sweep.json", {})
    (sweep / "experiment.yaml").write_text("schema: 1")
    assert len(Ledger(tmp_path / "runs").rows()) == 1


def test_a_large_ledger_looks_at_what_is_not_finished_and_at_what_it_shows(make_run: Make, tmp_path: Path) -> None:
    finished, going = make_run(number=1), make_run(number=2, until="plan")
    ledger = Ledger(tmp_path / "runs", closely=0)
    ledger.rows()
    going.finish("train", key="k", outputs=[], seconds=1)
    going.event("stage finished", stage="train")
    assert ledger.select(Query(["stage=train"])).total == 1
    # edited by hand: found by what it was, shown as it is
    change(finished, outcome="worse")
    assert ledger.select(Query(["outcome=worse"])).rows == []
    assert [row["outcome"] for row in ledger.select(Query(["outcome=better"])).rows] == []
    assert [row["outcome"] for row in ledger.select(Query(["outcome=worse"])).rows] == ["worse"]


def test_a_small_ledger_looks_at_every_run(make_run: Make, tmp_path: Path) -> None:
    run, ledger = make_run(), Ledger(tmp_path / "runs")
    ledger.rows()
    change(run, outcome="worse")
    assert [row["outcome"] for row in ledger.select(Query(["outcome=worse"])).rows] == ["worse"]


def change(run: RunDir, *, outcome: str) -> None:
    write_json(run.summary, read_json(run.summary) | {"verdict": {"outcome": outcome}})


def test_a_process_that_was_killed_no_longer_runs(make_run: Make, tmp_path: Path) -> None:
    run, ledger = make_run(until="plan"), Ledger(tmp_path / "runs", closely=0)
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.path), str(tmp_path / "runs")], stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    assert ledger.rows()[0]["status"] == "running"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert ledger.rows()[0]["status"] == "unfinished"


HOLD = """
import sys, time
from pathlib import Path
from assay.core.ledger import Ledger
from assay.core.rundir import RunDir
run = RunDir(Path(sys.argv[1]))
with run.lock():
    Ledger(Path(sys.argv[2])).upsert(run)
    print("held", flush=True)
    time.sleep(60)
"""


def test_upsert_replaces_and_remove_forgets(make_run: Make, tmp_path: Path) -> None:
    run, ledger = make_run(until="prepare"), Ledger(tmp_path / "runs")
    ledger.upsert(run)
    ledger.upsert(run)
    assert stored(ledger) == [("prepare",)]
    run.finish("plan", key="k", outputs=[], seconds=1)
    ledger.upsert(run)
    assert stored(ledger) == [("plan",)]
    ledger.remove(run)
    assert stored(ledger) == []
    ledger.rebuild()
    assert stored(ledger) == [("plan",)]


def stored(ledger: Ledger) -> list[tuple[str]]:
    connection = sqlite3.connect(ledger.path)
    rows = connection.execute("SELECT stage FROM runs").fetchall()
    connection.close()
    return rows


def test_the_table_is_in_wal_mode(make_run: Make, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "runs")
    ledger.upsert(make_run())
    connection = sqlite3.connect(ledger.path)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


def test_a_deleted_damaged_or_older_table_is_built_anew(make_run: Make, tmp_path: Path) -> None:
    make_run(number=1)
    make_run(number=2)
    ledger = Ledger(tmp_path / "runs")
    rows = ledger.rows()
    ledger.path.unlink()
    assert ledger.rows() == rows
    ledger.path.write_bytes(b"this is no database" * 1000)
    assert ledger.rows() == rows
    connection = sqlite3.connect(ledger.path)
    connection.executescript("DROP TABLE runs; CREATE TABLE runs (old TEXT); PRAGMA user_version = 99")
    connection.close()
    assert ledger.rows() == rows


@pytest.mark.parametrize(
    "name", ["identity.json", "stages.json", "evaluate/summary.json", "guards.json", "events.jsonl"]
)
@pytest.mark.parametrize("content", [None, b"", b'{"verdict": {"outc', b"[1, 2]", b'{"short": 3}', b"\xff\x00"])
def test_torn_and_missing_files_are_no_obstacle(
    make_run: Make, tmp_path: Path, name: str, content: bytes | None
) -> None:
    run = make_run()
    if content is None:
        (run.path / name).unlink()
    else:
        (run.path / name).write_bytes(content)
    (row,) = Ledger(tmp_path / "runs").rows()
    assert row["experiment"] == "bard"
    assert row["id"] == "01bc1234"
    assert row["created"]


def test_a_table_that_is_damaged_inside_is_built_anew(make_run: Make, tmp_path: Path) -> None:
    for number in range(1, 9):
        make_run(number=number)
    ledger = Ledger(tmp_path / "runs")
    rows = ledger.rows()
    content = bytearray(ledger.path.read_bytes())
    assert len(content) > 10 * 4096
    content[4096:] = b"\xff" * (len(content) - 4096)  # the first page, with version and schema, is whole
    ledger.path.write_bytes(content)
    assert ledger.rows() == rows
    assert ledger.unwritable is None
    connection = sqlite3.connect(ledger.path)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_what_is_known_of_a_run_goes_with_it(make_run: Make, tmp_path: Path) -> None:
    run, ledger = make_run(), Ledger(tmp_path / "runs")
    run.event("joined", varied={"sweep": "s1", "variant": "baseline", "factors": {}})
    ledger.upsert(run)
    ledger.remove(run)
    connection = sqlite3.connect(ledger.path)
    assert [connection.execute(f"SELECT COUNT(*) FROM {t}").fetchone() for t in ("settings", "members")] == [(0,)] * 2
    connection.close()


def test_a_rebuild_tells_how_far_it_is(make_run: Make, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        make_run(number=number)
    told: list[tuple[int, int]] = []
    Ledger(tmp_path / "runs").rebuild(lambda done, total: told.append((done, total)))
    assert told == [(3, 3)]


def test_a_runs_directory_without_rights_to_write_can_still_be_read(make_run: Make, tmp_path: Path) -> None:
    make_run()
    (tmp_path / "runs" / "ledger.sqlite").mkdir()  # where a database should be: none can be opened
    ledger = Ledger(tmp_path / "runs")
    assert [row["experiment"] for row in ledger.rows()] == ["bard"]
    assert ledger.select(Query(["adapter.rank=4"])).total == 1
    assert "cannot be written" in str(ledger.unwritable)


WRITE = """
import sys
from pathlib import Path
from assay.core.ledger import Ledger
from assay.core.rundir import RunDir
from assay.core.files import read_json, write_json
runs, name = Path(sys.argv[1]), sys.argv[2]
ledger = Ledger(runs)
for n in range(200):
    run = RunDir(runs / name / f"20260101-{n:06}-{n:08x}")
    write_json(run.identity, {"short": f"{n:08x}"})
    run.resolved.write_text(f"seed: {n}\\nadapter:\\n  rank: 8\\n")
    ledger.upsert(run)
"""


def test_two_processes_write_two_hundred_rows_each(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(runs), name]) for name in ("a", "b")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    connection = sqlite3.connect(runs / "ledger.sqlite")
    assert dict(connection.execute("SELECT experiment, COUNT(*) FROM runs GROUP BY experiment")) == {"a": 200, "b": 200}
    connection.close()
    ledger = Ledger(runs)
    assert ledger.select(Query(["adapter.rank=8"], limit=1)).total == 400


def test_a_ledger_that_cannot_be_made_is_told_with_place_and_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    run = RunDir(tmp_path / "elsewhere" / "bard" / "20260101-120000-abcd0000")
    with pytest.raises(InputError, match="is a file"):
        Ledger(tmp_path / "file").upsert(run)
    (tmp_path / "runs" / "ledger.sqlite").mkdir(parents=True)
    with pytest.raises(MachineError, match="the ledger of the runs cannot be written") as caught:
        Ledger(tmp_path / "runs").upsert(run)
    assert caught.value.where == str(tmp_path / "runs" / "ledger.sqlite")
    assert "--runs-dir" in str(caught.value.fix)


def test_a_full_disk_is_told_by_the_ledger_too(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    script = (
        "import resource, sys\n"
        "from pathlib import Path\n"
        "from assay.core.errors import MachineError\n"
        "from assay.core.ledger import Ledger\n"
        "from assay.core.rundir import RunDir\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))\n"
        "ledger = Ledger(Path(sys.argv[1]))\n"
        "try: ledger.upsert(RunDir(Path(sys.argv[2])))\n"
        "except MachineError as error: assert error.fix\n"
        "else: sys.exit('it was written')\n"
        "assert len(ledger.rows()) == 1  # from the run itself\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "runs"), str(run.path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
