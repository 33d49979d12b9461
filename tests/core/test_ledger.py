"""The ledger follows the run directories, whatever happens to it or to them."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.core.errors import InputError, MachineError
from assay.core.guard import record
from assay.core.ledger import Ledger, is_locked, is_run, resolve_run, run_dirs
from assay.core.rundir import STAGES, RunDir

Make = Callable[..., RunDir]


def test_a_finished_run_has_its_whole_row(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    (row,) = Ledger(tmp_path / "runs").rows()
    assert row.pop("created").endswith("+00:00")
    assert row == {
        "path": f"bard/{run.path.name}",
        "id": "01bc1234",
        "experiment": "bard",
        "status": "finished",
        "stage": "report",
        "guard": None,
        "base": "scratch:llama-tiny",
        "adapter": "lora",
        "rank": 4,
        "outcome": "better",
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


def test_a_runs_directory_without_rights_to_write_can_still_be_read(make_run: Make, tmp_path: Path) -> None:
    make_run()
    (tmp_path / "runs" / "ledger.sqlite").mkdir()  # where a database should be: none can be opened
    assert [row["experiment"] for row in Ledger(tmp_path / "runs").rows()] == ["bard"]


WRITE = """
import sys
from pathlib import Path
from assay.core.ledger import Ledger
from assay.core.rundir import RunDir
from assay.core.files import write_json
runs, name = Path(sys.argv[1]), sys.argv[2]
ledger = Ledger(runs)
for n in range(200):
    run = RunDir(runs / name / f"20260101-{n:06}-{n:08x}")
    write_json(run.identity, {"short": f"{n:08x}"})
    ledger.upsert(run)
"""


def test_two_processes_write_two_hundred_rows_each(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, str(runs), name]) for name in ("a", "b")]
    assert [writer.wait(timeout=120) for writer in writers] == [0, 0]
    connection = sqlite3.connect(runs / "ledger.sqlite")
    assert dict(connection.execute("SELECT experiment, COUNT(*) FROM runs GROUP BY experiment")) == {"a": 200, "b": 200}
    connection.close()


def test_runs_are_found_by_path_hash_and_name(make_run: Make, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    old, new, other = make_run(number=1), make_run(number=2), make_run("frankenstein", number=1, short="ffee0011")
    assert resolve_run(str(old.path), runs).path == old.path
    assert resolve_run(f"bard/{old.path.name}", runs).path == old.path
    assert resolve_run("01bc1234", runs).path == old.path
    assert resolve_run("01", runs).path == old.path
    assert resolve_run("FF", runs).path == other.path
    assert resolve_run("bard", runs).path == new.path


def test_of_runs_with_one_identity_the_newest_is_found(make_run: Make, tmp_path: Path) -> None:
    make_run(number=1, short="abcd0000")
    newest = make_run(number=2, short="abcd0000")
    assert resolve_run("abcd", tmp_path / "runs").path == newest.path


def test_a_run_that_is_not_there_is_told_with_the_nearest(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds none"):
        resolve_run("bard", tmp_path / "runs")
    make_run(number=1, short="abcd0000")
    make_run(number=2, short="abcd1111")
    with pytest.raises(InputError, match="nearest: bard"):
        resolve_run("brad", tmp_path / "runs")
    with pytest.raises(InputError, match="abcd0000, abcd1111"):
        resolve_run("abcd", tmp_path / "runs")
    with pytest.raises(InputError):
        resolve_run("", tmp_path / "runs")


def test_a_folder_with_an_experiment_is_no_run_but_one_in_the_runs_directory_is_listed(tmp_path: Path) -> None:
    recipe = tmp_path / "recipes" / "bard"
    recipe.mkdir(parents=True)
    (recipe / "experiment.yaml").write_text("schema: 1")
    assert not is_run(recipe)
    killed = tmp_path / "runs" / "bard" / "20260101-120000-abcd0000"
    killed.mkdir(parents=True)
    (killed / "experiment.yaml").write_text("schema: 1")
    (tmp_path / "runs" / ".store" / "prepare" / "key").mkdir(parents=True)
    assert [run.path for run in run_dirs(tmp_path / "runs")] == [killed]
    assert Ledger(tmp_path / "runs").rows()[0]["id"] == "abcd0000"


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
