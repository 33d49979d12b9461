"""What a sweep's process does by itself: its cores, the text it began with, and a line for each run that has ended."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

import assay
from assay.core.files import read_json, read_lines, sha256_file
from assay.sweeps.child import Task, changed, command

EXPERIMENT = """\
schema: 1
name: e
base: scratch:llama-tiny
data: {source: story.txt}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "story.txt").write_text("\n\n".join(f"Paragraph {n} tells of thing number {n}." for n in range(300)))
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    return tmp_path / "e.yaml"


def outcomes(
    file: Path, runs: dict[str, list[str]], parent: int | None = None, **other: Any
) -> tuple[int, list[dict[str, Any]]]:
    """The exit code of a process that is to prepare these runs, and the lines that it wrote."""
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    values = {
        "experiment": str(file), "text_sha256": sha256_file(file), "runs_dir": str(file.parent / "runs"),
        "until": "prepare", "cores": [core], "outcomes": str(file.parent / "outcomes"),
        "runs": [
            {"key": key, "overrides": overrides, "varied": {"sweep": "s", "variant": key, "factors": {}}}
            for key, overrides in runs.items()
        ],
    }  # fmt: skip
    task = json.dumps(asdict(Task(**{**values, **other})))
    start = command() if parent is None else [*command()[:-1], str(parent)]
    done = subprocess.run(start, input=task, capture_output=True, text=True, check=False, cwd=file.parent)
    return done.returncode, read_lines(file.parent / "outcomes")


def test_runs_one_after_another_and_one_that_fails_between_them(file: Path) -> None:
    # the held-out share leaves nothing to train on
    code, lines = outcomes(file, {"a": [], "b": ["data.split.train_rows=100000"], "c": ["adapter.rank=4"]})
    assert code == 0
    assert [(line["key"], line["code"]) for line in lines] == [("a", 0), ("b", 2), ("c", 0)]
    assert lines[1]["what"].startswith("data.split.train_rows is 100,000")
    assert lines[1]["fix"]
    runs = [Path(line["run"]) for line in lines]
    assert len(set(runs)) == 3  # the failed one has a directory too
    assert read_json(runs[0] / "stages.json")["prepare"]
    assert read_lines(runs[2] / "events.jsonl")[0]["varied"]["variant"] == "c"
    assert all(line["seconds"] > 0 for line in lines)


def test_another_text_than_the_sweep_began_with_is_refused(file: Path) -> None:
    code, lines = outcomes(file, {"a": []}, text_sha256="0" * 64)
    assert code == 2
    assert "changed while its sweep was under way" in lines[0]["what"]
    assert lines[0]["run"] is None


def test_a_text_that_is_gone_is_another(file: Path) -> None:
    began = sha256_file(file)
    assert not changed(str(file), began)
    file.unlink()
    assert changed(str(file), began)


def test_files_beside_the_experiment_stand_in_for_no_library(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(assay.__file__).parents[1]))  # it still counts
    for name in ("statistics", "random", "yaml"):
        (file.parent / f"{name}.py").write_text("raise SystemExit('not the library')\n")
    code, lines = outcomes(file, {"a": []})
    assert (code, [line["code"] for line in lines]) == (0, [0])


def test_without_its_parent_it_does_nothing(file: Path) -> None:
    code, lines = outcomes(file, {"a": []}, parent=1 if os.getpid() != 1 else 2)
    assert (code, lines) == (137, [])
