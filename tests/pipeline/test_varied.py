"""What a run is of a sweep stands in its events, once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from assay import pipeline
from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.files import read_lines

pytestmark = pytest.mark.usefixtures("no_page")

PART = {"sweep": "s1", "variant": "rank=4", "factors": {"rank": "4"}}


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    (tmp_path / "story.txt").write_text("\n\n".join(f"Paragraph {n} tells of thing number {n}." for n in range(300)))
    file = tmp_path / "e.yaml"
    file.write_text("schema: 1\nname: e\nbase: scratch:llama-tiny\ndata: {source: story.txt}\n")
    return file


def prepared(file: Path, **how: Any) -> list[dict[str, Any]]:
    """The events of the run, brought as far as its data."""
    found = pipeline.run(str(file), runs_dir=file.parent / "runs", until="prepare", console=Console(quiet=True), **how)
    return [{"event": e["event"], "varied": e["varied"]} for e in read_lines(found.run.events) if "varied" in e]


def test_a_run_is_made_as_a_part_of_a_sweep_and_found_by_another(experiment: Path) -> None:
    other = {**PART, "sweep": "s2"}
    made, joined = {"event": "created", "varied": PART}, {"event": "joined", "varied": other}
    assert prepared(experiment, varied=PART) == [made]
    assert prepared(experiment, varied=other) == [made, joined]
    assert prepared(experiment, varied=PART) == [made, joined]  # a sweep that goes on joins nothing twice
    assert prepared(experiment, varied=other) == [made, joined]


def test_other_texts_are_another_run_and_edited_ones_are_refused(experiment: Path) -> None:
    """Runs on several sources stand beside each other, unfinished, as in a sweep that has data.source as a factor."""
    for name in ("dev", "test", "other"):
        texts = "\n\n".join(f"Passage {n} of {name} has {n} words." for n in range(40))
        experiment.with_name(f"{name}.txt").write_text(texts)
    held = [f"data.split.{name}={experiment.with_name(f'{name}.txt')}" for name in ("dev", "test")]
    prepared(experiment, overrides=held)
    prepared(experiment, overrides=[*held, f"data.source={experiment.with_name('other.txt')}"])
    prepared(experiment, overrides=held)
    assert len(list(experiment.parent.glob("runs/e/2*"))) == 2
    experiment.with_name("story.txt").write_text("Another text.")
    with pytest.raises(InputError, match="the data changed since this unfinished run began"):
        prepared(experiment, overrides=held)


def test_a_run_by_hand_is_a_part_of_nothing_until_a_sweep_finds_it(experiment: Path) -> None:
    assert prepared(experiment) == []
    assert prepared(experiment, varied=PART) == [{"event": "joined", "varied": PART}]
