"""The examples load, and so does what their first comment says to type."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
import typer

from assay.cli.main import app
from assay.config.load import load_experiment

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "examples").glob("*.yaml"))


def test_the_examples_are_there() -> None:
    assert len(FILES) >= 7


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_an_example_loads(file: Path) -> None:
    experiment = load_experiment(file).experiment
    assert experiment.name.replace("-", "_").startswith(file.stem)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_its_first_comment_says_what_to_type(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    head = file.read_text(encoding="utf-8").split("\nschema:")[0].splitlines()
    assert all(line.startswith("# ") for line in head)
    program, *args = shlex.split("\n".join(line.removeprefix("#") for line in head[1:]).replace("\\\n", ""))
    assert program == "assay"
    group = typer.main.get_command(app)
    name, command, rest = group.resolve_command(group.make_context("assay", args), args)
    given = command.make_context(name, rest).params
    assert name == "prepare"
    assert Path(given["target"]) == file.relative_to(ROOT)
    loaded = load_experiment(given["target"], given["overrides"])
    assert loaded.origins["data.source"] == "--set"
    assert loaded.experiment.data.sources[0].startswith(str(ROOT / "path" / "to"))
    assert loaded.experiment.data.format == load_experiment(file).experiment.data.format
