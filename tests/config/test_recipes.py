"""The recipes load, and hold out enough groups."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from assay.config.load import load_experiment, load_text, resolved_yaml

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted(RECIPES.glob("*/*.yaml"))
HEADINGS = [
    *(f"Letter {n}" for n in range(1, 5)),
    *(f"Chapter {n}" for n in range(1, 25)),
    "CHAPTER XXIV.",
    "Chapter I",
]


def test_the_recipes_are_there() -> None:
    names = {str(file.relative_to(RECIPES)) for file in FILES}
    assert {"bard/experiment.yaml", "frankenstein/experiment.yaml", "frankenstein/distilgpt2-full.yaml"} <= names


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_recipe_loads_and_its_resolved_form_is_the_same(file: Path) -> None:
    loaded = load_experiment(file)
    assert load_text(resolved_yaml(loaded), file).experiment == loaded.experiment
    assert loaded.experiment.name.startswith(file.parent.name)
    assert loaded.experiment.evaluate.prompts
    assert (file.parent / "README.md").is_file()


def test_bard_holds_out_whole_plays() -> None:
    data = load_experiment(RECIPES / "bard" / "experiment.yaml").experiment.data
    assert data.group == {"file": True}
    assert round(38 * data.split.test) >= 7
    assert data.sha256


@pytest.mark.parametrize("file", sorted((RECIPES / "frankenstein").glob("*.yaml")), ids=lambda file: file.stem)
def test_frankenstein_knows_its_chapters(file: Path) -> None:
    data = load_experiment(file).experiment.data
    assert isinstance(data.group, dict)
    pattern = re.compile(str(data.group["heading"]), re.MULTILINE)
    for heading in HEADINGS:
        assert pattern.search(heading), heading
    for line in ("Letter", "Chapter 1 was long", "the Chapter 1", "Letter to a friend", ""):
        assert not pattern.search(line), line
    assert round(28 * data.split.test) >= 6


def test_both_frankensteins_share_the_held_out_chapters() -> None:
    one, two = (
        load_experiment(RECIPES / "frankenstein" / name).experiment
        for name in ("experiment.yaml", "distilgpt2-full.yaml")
    )
    assert one.data == two.data
    assert one.evaluate == two.evaluate


def test_a_table_of_ones_own_needs_no_headings(tmp_path: Path) -> None:
    own = tmp_path / "chunks.csv"
    loaded = load_experiment(
        RECIPES / "frankenstein" / "experiment.yaml", [f"data.source={own}", "data.group=null"]
    )  # as the recipe's comment says
    assert loaded.experiment.data.group is None
    assert loaded.experiment.data.source == str(own)
