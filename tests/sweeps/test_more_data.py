"""The design that is offered for "more data", as it is printed, put into an experiment file and carried out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import assay
from assay.cli.main import main
from assay.core.files import read_json

EXPERIMENT: dict[str, Any] = {
    "schema": 1,
    "name": "rows",
    "base": "scratch:llama-tiny",
    "data": {"source": "rows.csv", "group": "play", "split": {"dev": 0.15, "test": 0.35}},
    "train": {"steps": 3, "max_length": 128, "batch_tokens": 512, "learning_rate": 0.01},
    "evaluate": {"window": 128, "max_bytes_per_group": 300, "prompts": [], "questions": [], "continuations": 0},
}


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    rows = [f'"{n} came to {n * n} and said so {n % 7} times over, as it is told of it.",p{n % 20}' for n in range(60)]
    (tmp_path / "rows.csv").write_text("\n".join(["text,play", *rows]) + "\n")
    path = tmp_path / "e.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(assay.__file__).parents[1]))  # for the processes, from another folder
    return path


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Both, section by section."""
    both = {key: merged(one[key], value) for key, value in other.items() if isinstance(one.get(key), dict)}
    return one | other | both


@pytest.mark.parametrize(("own", "length"), [("steps", "3"), pytest.param("epochs", "2", marks=pytest.mark.long)])
def test_the_printed_design_answers_its_question(
    file: Path, capsys: pytest.CaptureFixture[str], own: str, length: str
) -> None:
    for rows, more in (("6", length), ("14", "5")):
        values = {"data.split.train_rows": rows, "train.steps": "null", "train.epochs": "null", f"train.{own}": more}
        runs = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
        assert main(["run", str(file), "--quiet", *runs]) == 0
    folders = sorted(map(str, file.parent.glob("runs/rows/2*")))
    capsys.readouterr()
    assert main(["compare", *folders]) == 3
    said = capsys.readouterr().err
    assert "neither equal steps nor equal epochs" in said
    printed = yaml.safe_load("\n".join(line for line in said.splitlines() if line.startswith("    ")))
    assert printed["train"] == {own: int(length)}

    experiment = merged(EXPERIMENT, printed)
    experiment["train"] = {key: v for key, v in experiment["train"].items() if key != "steps"} | printed["train"]
    file.write_text(yaml.safe_dump(experiment))
    assert main(["sweep", str(file), "--quiet"]) == 0
    (path,) = file.parent.glob("runs/rows/sweeps/*/compare.json")
    pairs = read_json(path)["pairs"]
    found = {pair["name"].partition("=")[0]: pair for pair in pairs}
    for kind in ("steps", "epochs"):
        pair = found.pop(f"equal-{kind}")
        assert pair["causal"]
        (record,) = [one for one in pair["guards"] if one["guard"] == "one-change"]
        assert record["measured"]["held"] == kind
        assert "the runs differ in the number of training rows (6 and 14), both at " in record["why"]
    assert found == {}
