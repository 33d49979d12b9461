"""Where experiments come from: one's own file, the models, the recipes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from assay.cli.main import main
from assay.config.load import load_experiment
from assay.core.recipes import find_recipes, recipes_dir
from assay.model.registry import ALIASES, PRESETS

TEXT = "\n\n".join(f"Paragraph {n} tells something that no other paragraph tells." for n in range(200))


def test_new_writes_an_experiment_that_loads_and_never_overwrites(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "my story.txt").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    assert main(["new", "texts/my story.txt"]) == 0
    target = tmp_path / "my story.yaml"
    assert "next: assay run 'my story.yaml'" in capsys.readouterr().out
    assert load_experiment(target).experiment.data.source == str(tmp_path / "texts" / "my story.txt")
    target.write_text("mine")
    assert main(["new", "texts/my story.txt"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert target.read_text() == "mine"
    assert main(["new", "texts/my story.txt", "sub/other.yaml"]) == 0
    assert load_experiment("sub/other.yaml").experiment.data.source == str(tmp_path / "texts" / "my story.txt")


def test_new_takes_packed_chats_and_what_it_writes_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [
        [{"role": "user", "content": f"What is {n}?"}, {"role": "assistant", "content": f"The number behind {n - 1}."}]
        for n in range(40)
    ]
    rows = "".join(json.dumps({"messages": turns}) + "\n" for turns in said)
    (tmp_path / "chats.jsonl.gz").write_bytes(gzip.compress(rows.encode()))
    monkeypatch.chdir(tmp_path)
    assert main(["new", "chats.jsonl.gz"]) == 0
    assert main(["prepare", "chats.yaml", "--set", "base=scratch:llama-tiny", "--show", "1"]) == 0
    shown = capsys.readouterr().out
    assert "User: What is" in shown
    assert "Assistant:[[ The number behind" in shown


def test_new_says_what_is_wrong_with_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "story.txt").write_text(TEXT)
    assert main(["new", str(tmp_path / "stroy.txt"), str(tmp_path / "a.yaml")]) == 2
    assert "story.txt" in capsys.readouterr().err
    assert not (tmp_path / "a.yaml").exists()


def test_models(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models"]) == 0
    text = capsys.readouterr().out
    assert main(["models", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [*ALIASES, *(f"scratch:{preset}" for preset in PRESETS)]
    for row in rows:
        assert row["name"] in text
        assert row["note"] in text


def test_recipes_are_named_by_their_folder_and_described_by_their_first_comment(tmp_path: Path) -> None:
    for name in ("b/experiment.yaml", "b/full.yaml", "a/experiment.yaml"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"# About {name}\n# in two lines.\n#\n# not this\nschema: 1\n")
    (tmp_path / "b" / "README.md").write_text("x")
    found = find_recipes(tmp_path)
    assert [recipe.name for recipe in found] == ["a", "b", "b/full"]
    assert found[2].description == "About b/full.yaml in two lines."


def test_the_recipes_that_ship(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {"bard", "frankenstein"} <= {row["name"] for row in rows}
    for row in rows:
        assert row["description"], row["name"]
        load_experiment(row["path"])
    assert main(["recipes"]) == 0
    text = capsys.readouterr().out
    assert all(row["path"] in text for row in rows)


def test_one_recipes_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes", "bard"]) == 0
    assert capsys.readouterr().out.strip() == str(recipes_dir() / "bard" / "experiment.yaml")
    assert main(["recipes", "brad"]) == 2
    assert "did you mean bard?" in capsys.readouterr().err
