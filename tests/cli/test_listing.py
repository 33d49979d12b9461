"""`assay runs` lists, filters, sorts, and writes files; `runs reindex` and `report --history` say what they did."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.cli.main import main
from assay.cli.tables import fitted
from assay.core.files import read_json, write_json
from assay.core.rundir import RunDir

Make = Callable[..., RunDir]
Call = Callable[..., str]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Call a command in an empty folder beside the runs; gives standard output, or the errors of one that must fail."""
    monkeypatch.setenv("ASSAY_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.chdir(tmp_path)

    def do(*argv: str, code: int = 0) -> str:
        assert main(list(argv)) == code
        out, err = capsys.readouterr()
        return out if code == 0 else err

    return do


def names(text: str) -> list[str]:
    """The first column, without its header."""
    return [line.split()[0] for line in text.splitlines()[1:]]


def test_filters_in_every_place(make_run: Make, call: Call) -> None:
    make_run(number=1)
    make_run(number=2, until="plan")
    for argv in (
        ["runs", "status=finished"],
        ["runs", "list", "status=finished"],
        ["runs", "status=finished", "--limit", "3"],
        ["runs", "--limit", "3", "status=finished"],
        ["runs", "--runs-dir", "runs", "status=finished"],
        ["runs", "--runs-dir=runs", "list", "status=finished"],
    ):
        assert names(call(*argv)) == ["01bc1234"]
    assert names(call("runs", "--sort", "path")) == ["01bc1234", "02bc1234"]
    assert names(call("runs", "--sort", "path", "--reverse")) == ["02bc1234", "01bc1234"]
    assert "no run in" in call("runs", "status=failed")


def test_a_wrong_filter_ends_with_two_and_a_fix(make_run: Make, call: Call) -> None:
    make_run()
    for argv in (["runs", "statu=failed"], ["runs", "--sort", "x"], ["runs", "--columns", "id,x"], ["runs", "remove"]):
        assert "\n  fix: " in call(*argv, code=2)
    assert call("runs", "--limit", "0", code=2)


def test_the_help_of_the_group_names_its_commands(call: Call) -> None:
    text = call("runs", "--help")
    for word in ("list", "reindex", "rm", "du"):
        assert word in text
    assert "created>=2026-11-01" in call("runs", "list", "--help")


def test_a_failure_stands_there_with_its_reason(make_run: Make, call: Call) -> None:
    run = make_run(until="plan")
    run.event("stopped", kind="MachineError", why="no space\nleft \x1b[31m" + "x" * 99)
    text = call("runs")
    assert "failed: no space left  [31mxxx" in text
    assert "x…" in text
    assert "\x1b" not in text


def test_times_that_shared_the_machine_are_marked(make_run: Make, call: Call) -> None:
    run = make_run()
    stages = read_json(run.stages)
    stages["train"]["others"] = 1.0
    write_json(run.stages, stages)
    assert "3 min 28 s, shared the machine" in call("runs")


def test_columns_and_settings_with_their_units(make_run: Make, call: Call) -> None:
    make_run()
    text = call(
        "runs", "--columns", "id, adapter.rank,peak_memory,train_seconds,comparable,base.nothing".rpartition(",")[0]
    )
    assert text.splitlines()[0].split() == ["id", "adapter.rank", "peak_memory", "train_seconds", "comparable"]
    assert text.splitlines()[1].split() == ["01bc1234", "4", "3.1", "GB", "3", "min", "28", "s", "-"]
    (row,) = json.loads(call("runs", "--columns", "id,adapter.rank,guard", "--json"))
    assert row == {"id": "01bc1234", "adapter.rank": 4, "guard": None}


def test_a_narrow_terminal_loses_columns_and_says_so(
    make_run: Make, call: Call, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_run()
    monkeypatch.setenv("COLUMNS", "70")
    assert main(["runs"]) == 0
    out, err = capsys.readouterr()
    assert max(map(len, out.splitlines())) <= 70
    assert "gain in bits per byte" in out
    assert "left out, as the terminal is 70 wide: memory, training, created" in err


def test_fitting_leaves_out_the_least_first_and_cuts_at_last() -> None:
    header, rows = ["id", "least", "right"], [["1", "aaaa", "bbbb"]]
    assert fitted(header, rows, 0, ["least"]) == ("id  least  right\n1   aaaa   bbbb", [])
    assert fitted(header, rows, 10, ["least"]) == ("id  right\n1   bbbb", ["least"])
    assert fitted(header, rows, 5, ["least"]) == ("id\n1", ["least", "right"])
    assert fitted(["identity"], [["123456789"]], 5, []) == ("iden…\n1234…", [])


def test_the_table_shows_fifty_and_says_how_many_there_are(
    make_run: Make, call: Call, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(until=None)
    for number in range(60):
        shutil.copytree(run.path, tmp_path / "runs" / "bard" / f"20260201-{number:06}-{number:08x}")
    assert main(["runs"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 51
    assert "50 of 61 runs" in err
    assert len(call("runs", "--limit", "55").splitlines()) == 56
    assert len(json.loads(call("runs", "--json"))) == 61


def test_csv_has_everything_and_replaces_only_its_own(make_run: Make, call: Call, tmp_path: Path) -> None:
    make_run(number=1)
    make_run(number=2, until="plan")
    assert "wrote 2 runs to experiments_log.csv" in call("runs", "--csv", "experiments_log.csv")
    assert "wrote 1 run" in call("runs", "status=finished", "--csv", "experiments_log.csv")
    with open("experiments_log.csv", newline="", encoding="utf-8") as stream:
        (row,) = csv.DictReader(stream)
    assert (row["id"], row["adapter.rank"], row["difference"]) == ("01bc1234", "4", "0.097")
    (tmp_path / "mine.csv").write_text("a,b\n")
    assert "is not replaced" in call("runs", "--csv", "mine.csv", code=2)
    assert (tmp_path / "mine.csv").read_text() == "a,b\n"
    assert "a folder" in call("runs", "--csv", "runs", code=2)
    assert len(json.loads(call("runs", "--csv", "new/log.csv", "--json"))) == 2
    assert (tmp_path / "new" / "log.csv").is_file()


def test_reindex_tells_what_it_found_and_what_it_could_not_read(make_run: Make, call: Call, tmp_path: Path) -> None:
    make_run(number=1)
    torn = make_run(number=2)
    torn.summary.write_text('{"verdict"')
    make_run("frankenstein", number=3, until="plan")
    (tmp_path / "runs" / "bard" / "notes").mkdir()
    for own in ("sweeps", "comparisons"):
        (tmp_path / "runs" / "bard" / own).mkdir()
    text = call("runs", "reindex")
    assert "3 runs of 2 experiments in " in text
    assert ": 2 finished, 1 unfinished" in text or ": 1 unfinished, 2 finished" in text
    assert (
        f"1 run could not be read in full:\n  bard/{torn.path.name}: evaluate/summary.json: is not valid JSON" in text
    )
    assert "1 folder that is no run:\n  bard/notes" in text
    assert "sweeps" not in text
    assert "comparisons" not in text
    assert "there is no such folder" in call("runs", "reindex", "--runs-dir", "nowhere", code=2)


def test_runs_copied_from_another_machine_are_indexed(make_run: Make, call: Call, tmp_path: Path) -> None:
    make_run()
    call("runs")
    shutil.copytree(tmp_path / "runs", tmp_path / "copied")
    (tmp_path / "copied" / "ledger.sqlite").unlink()
    assert "1 run of 1 experiment" in call("runs", "reindex", "--runs-dir", "copied")
    assert names(call("runs", "--runs-dir", "copied")) == ["01bc1234"]


def test_history_of_an_experiment_by_its_name_its_file_and_a_run(make_run: Make, call: Call, tmp_path: Path) -> None:
    run = make_run()
    for target in ("bard", str(run.experiment), str(run.path), "01bc1234"):
        said = call("report", "--history", target)
        assert [line.split("/")[-1] for line in said.splitlines()] == ["history.html", "history.md"]
        for line in said.splitlines():
            file = Path(line.removeprefix("history: "))
            assert file.parent == tmp_path / "runs" / "bard"
            file.unlink()
    assert "nearest: bard" in call("report", "--history", "brad", code=2)
    assert "cannot use --new" in call("report", "--history", "bard", "--new", code=2)
    assert "cannot use a.b=c" in call("report", "--history", "bard", "--set", "a.b=c", code=2)
