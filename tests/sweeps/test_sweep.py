"""A sweep from end to end, with real runs of a tiny model: what is done is done once, what fails is in the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock
from fixture_sweep import sweep_record, workers

import assay
from assay.cli.main import main
from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.files import read_json, read_lines, write_json
from assay.core.ledger import Ledger
from assay.core.rundir import RunDir
from assay.sweeps.roster import FILE, Record
from assay.sweeps.slots import Slot
from assay.sweeps.sweep import _refitted, _same_test_texts, budget, sweep

EXPERIMENT = """\
schema: 1
name: e
base: scratch:llama-tiny
data: {source: story.txt, split: {dev: 0.15, test: 0.35}}
train: {steps: 3, max_length: 128, batch_tokens: 512, learning_rate: 0.01}
evaluate: {window: 128, max_bytes_per_group: 300, prompts: [], questions: [], continuations: 0}
ablations:
  rank: {adapter.rank: [4]}
  base: {base: [./no-model]}
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "story.txt").write_text("\n\n".join(f"Paragraph {n} tells of thing number {n}." for n in range(300)))
    path = tmp_path / "e.yaml"
    path.write_text(EXPERIMENT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(assay.__file__).parents[1]))  # for the processes, from another folder
    return path


MISSING = "base=no-model"


def states(record: dict[str, Any]) -> dict[str, str]:
    return {row["key"]: row["state"] for row in record["rows"]}


def test_a_sweep_ends_with_its_comparison_and_does_nothing_twice(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planned = assay.sweep(file, runs_dir=file.parent / "runs", only_plan=True)
    assert [row.state for row in planned.record.rows] == ["to do", "to do", "failed"]
    assert planned.comparison is None
    assert all(row.predicted and row.predicted["memory"] > 10**8 for row in planned.record.rows[:2])
    assert not list(file.parent.glob("runs/e/2*/train"))

    assert main(["sweep", str(file), "--quiet"]) == 2  # of the run that cannot be done
    said = capsys.readouterr().out
    (path,) = file.parent.glob("runs/e/sweeps/*/sweep.json")
    record = read_json(path)
    assert states(record) == {"baseline": "done", "rank=4": "done", MISSING: "failed"}
    assert record["declared"] == {"rank": ["adapter.rank"], "base": ["base"]}
    assert f"{MISSING}: FAILED (exit 2): is not there" in said
    assert "fix: give the folder of a saved model" in said
    assert record["comparison"]["files"] == ["compare.html", "compare.md", "compare.json", "compare.csv"]
    compared = read_json(path.parent / "compare.json")
    assert [entry["name"] for entry in compared["entries"]] == ["baseline", "rank=4"]
    assert compared["entries"][1]["factors"] == {"rank": "4"}
    assert [one["name"] for one in compared["failed"]] == ["base=no-model"]
    assert "is not there" in (path.parent / "compare.md").read_text()
    for row in record["rows"][:2]:
        run = file.parent / "runs" / row["run"]
        events = read_lines(run / "events.jsonl")
        assert sum(e["event"] == "stage finished" for e in events) == 5
        assert read_json(run / "plan.json")["decisions"]["threads"] == record["rows"][0]["predicted"]["threads"]
    assert {row["experiment"] for row in Ledger(file.parent / "runs").rows()} == {"e"}
    # the base was scored, and the data prepared, once
    store = file.parent / "runs" / ".store"
    assert len(list((store / "prepare").glob("[!.]*"))) == 1

    assert main(["sweep", str(file), "--quiet", "--json"]) == 2
    again = json.loads(capsys.readouterr().out)
    assert states(again) == states(record)
    assert again["rows"][0]["attempts"] == 1
    assert again["rows"][2]["attempts"] == 3
    run = file.parent / "runs" / record["rows"][0]["run"]
    assert sum(e["event"] == "stage finished" for e in read_lines(run / "events.jsonl")) == 5
    # a run by hand is the sweep's
    assert main(["run", str(file), "--quiet", "--set", "adapter.rank=4"]) == 0
    assert len(list(file.parent.glob("runs/e/2*"))) == 2


def test_another_sweep_of_the_experiment_is_waited_for(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = file.parent / "runs" / "e" / "sweeps"
    folder.mkdir(parents=True)
    with FileLock(folder / ".lock"):
        assert main(["sweep", str(file)]) == 2
    assert "another process is at work on a sweep of this experiment" in capsys.readouterr().err


def test_variants_that_are_one_run_are_refused_before_anything_is_trained(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other folder's file has the same texts: one run, which would be compared with itself."""
    folder = file.parent
    for name in ("dev", "test"):
        (folder / f"{name}.txt").write_text("\n\n".join(f"Passage {n} of {name} has {n} words." for n in range(40)))
    (folder / "copy").mkdir()
    (folder / "copy" / "story.txt").write_text((folder / "story.txt").read_text())
    held = EXPERIMENT.partition("ablations")[0].replace("dev: 0.15, test: 0.35", "dev: dev.txt, test: test.txt")
    file.write_text(held + "ablations: {text: {data.source: [copy/story.txt]}}\n")
    assert main(["sweep", str(file), "--quiet"]) == 2
    assert "baseline and text=story.txt are one run" in capsys.readouterr().err
    assert not list(folder.glob("runs/e/2*/train"))


def test_variants_with_other_test_texts_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    record = sweep_record(tmp_path, ["a", "b", "c"])
    for row, texts in zip(record.rows, ("1", "1", "2"), strict=True):
        row.run = f"e/{row.key}"
        write_json(RunDir(record.runs_dir / row.run).manifest, {"splits": {"test": {"sha256": texts}}})
    with pytest.raises(InputError, match="a and c have other test texts"):
        _same_test_texts(record)
    record.rows[2].run = None  # it came to no data
    _same_test_texts(record)


def test_an_experiment_file_is_asked_for(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", str(file.parent / "no.yaml")]) == 2
    run = file.parent / "runs" / "e" / "one"
    run.mkdir(parents=True)
    (run / "identity.json").write_text("{}")
    assert main(["sweep", str(run)]) == 2
    assert "is a run" in capsys.readouterr().err


def plans(record: Record, memory: int, device: str = "cpu") -> Record:
    for row in record.rows:
        row.predicted = dict.fromkeys(("low_seconds", "high_seconds", "whole_seconds", "rest_seconds", "train_seconds"))
        row.predicted |= {"base": "b", "device": device, "threads": 1, "memory": memory, "how": ""}
    return record


def test_fewer_workers_where_memory_does_not_suffice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slots = [Slot((0,)), Slot((1,))]
    record = sweep_record(tmp_path, ["a", "b", "c"])
    assert _refitted(record, 2, slots) == slots  # there is no plan to go by
    assert _refitted(plans(record, budget() // 4), 2, slots) == slots
    assert len(_refitted(plans(record, int(budget() / 1.5)), 2, slots)) == 1
    assert len(_refitted(plans(record, 10, device="mps"), 2, slots)) == 1


def test_places_on_gpus_that_the_plans_do_not_use(tmp_path: Path) -> None:
    slots = [Slot((0,), "GPU-1"), Slot((1,), "GPU-2")]
    record = plans(sweep_record(tmp_path, ["a", "b", "c"]), 10, device="cuda")
    assert _refitted(record, "auto", slots) == slots
    found = _refitted(plans(record, 10), "auto", slots)
    assert [slot.gpu for slot in found] == [None]


def test_what_has_no_plan_runs_alone(file: Path) -> None:
    """Planning that dies leaves each run to show by itself what is wrong with it, one at a time."""
    command = workers(file.parent / "w", baseline="killed")
    done = sweep(
        str(file),
        runs_dir=file.parent / "runs",
        overrides=["sweep.workers=2"],
        console=Console(quiet=True),
        command=command,
    )
    rows = {row.key: row for row in done.record.rows}
    assert rows["baseline"].state == "failed"
    assert rows["baseline"].failure is not None
    assert "SIGKILL" in rows["baseline"].failure.what
    assert rows["rank=4"].state == "done"
    assert done.record.comparison["why"]  # such a run has no numbers
    begun = read_lines(file.parent / "w" / "begun.jsonl")
    assert all(not psutil.pid_exists(line["pid"]) for line in begun)
    assert read_json(done.record.folder / FILE)["rows"][0]["attempts"] == 1
