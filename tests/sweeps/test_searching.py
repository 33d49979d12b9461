"""A search is trained and looked at on dev alone; what is best there is measured on the test texts, nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixture_sweep import sweep_record, workers

from assay.cli.sweeping import in_all, plan_lines, result_lines
from assay.core.console import Console
from assay.core.files import read_json, read_lines
from assay.sweeps.result import exit_code
from assay.sweeps.roster import FILE
from assay.sweeps.search import JOURNAL
from assay.sweeps.sweep import Swept, sweep

EXPERIMENT = """\
schema: 1
name: e
base: scratch:llama-tiny
data: {source: story.txt}
sweep:
  search: {method: random, trials: 3, space: {adapter.rank: [1, 2, 3, 4, 5, 6, 7]}}
"""
KEYS = ["trial_0-b78328", "trial_1-0a13c0", "trial_2-22bd96"]


@pytest.fixture
def search(tmp_path: Path) -> Callable[..., Swept]:
    """A function that does the sweep with processes that give each key its bits per byte of the dev texts."""
    pytest.importorskip("optuna")
    (tmp_path / "story.txt").write_text("\n\n".join(f"Paragraph {n} tells of thing number {n}." for n in range(300)))
    (tmp_path / "e.yaml").write_text(EXPERIMENT)

    def do(*overrides: str, **behaviour: str) -> Swept:
        return sweep(
            str(tmp_path / "e.yaml"), runs_dir=tmp_path / "runs", overrides=overrides, console=Console(quiet=True),
            command=workers(tmp_path / "w", **behaviour),
        )  # fmt: skip

    return do


def begun(folder: Path) -> list[tuple[str, str]]:
    lines = read_lines(folder / "w" / "begun.jsonl")
    return [(line["key"], line["until"]) for line in lines if line["until"] != "plan"]


def test_the_plan_counts_each_seed_of_a_trial(tmp_path: Path) -> None:
    made = sweep_record(tmp_path, ["baseline-seed0", "baseline-seed1"])
    made.rows[1].seed, made.search = 2, {"method": "random", "trials": 5, "tried": 2}
    assert made.trainings_ahead() == 6  # 3 trials with 2 seeds
    for row in made.rows:
        row.predicted = dict.fromkeys(("low_seconds", "high_seconds", "rest_seconds"))
        row.predicted |= {"base": "b", "device": "cpu", "threads": 1, "memory": 10, "how": ""}
        row.predicted |= {"train_seconds": 60.0, "whole_seconds": 60.0}
    assert (in_all(made)["runs"], in_all(made)["seconds"]) == (8, 480.0)
    made.search["tried"] = 7  # fewer trials are asked for than were tried
    assert made.trainings_ahead() == 0


def test_the_best_alone_is_measured(search: Callable[..., Swept], tmp_path: Path) -> None:
    scores = dict(zip(["baseline", *KEYS], ["dev:8.0", "dev:7.5", "fails", "dev:7.75"], strict=True))
    done = search(**scores)
    expected = [("baseline", "train"), *((key, "train") for key in KEYS), (KEYS[0], "report")]
    assert begun(tmp_path) == expected
    last: dict[str, Any] = read_lines(tmp_path / "w" / "begun.jsonl")[-1]["run"]["varied"]
    assert last["chosen"] == "the values, as the best of 3 trials"
    record = read_json(done.record.folder / FILE)
    assert record["search"] == {
        "method": "random", "trials": 3, "tried": 3, "failed": 1, "best": "trial 0", "dev_bpb": 7.5,
        "dev_bpb_as_it_stands": 8.0, "untold": [], "changed": False,
    }  # fmt: skip
    assert [row["dev_bpb"] for row in record["rows"]] == [8.0, 7.5, None, 7.75]
    assert exit_code(done.record) in (0, 2)  # a failed trial is none of the sweep; such runs have nothing to compare
    said = "\n".join(result_lines(done))
    assert "3 trials (1 failed); lowest on dev: trial 0 with 7.5 bits per byte (the experiment as it stands: 8)" in said
    assert "trial_1-0a13c0: FAILED (exit 3): it broke" in said
    assert "0 of 3 trials tried" not in "\n".join(plan_lines(done.record))


def test_the_experiment_as_it_stands_may_be_the_best(search: Callable[..., Swept], tmp_path: Path) -> None:
    done = search(**dict(zip(["baseline", *KEYS], ["dev:7.0", "dev:7.5", "dev:7.6", "dev:7.75"], strict=True)))
    assert begun(tmp_path)[-1] == ("baseline", "report")
    assert done.record.search is not None
    assert done.record.search["best"] == "baseline"


def test_a_search_that_has_no_number_measures_nothing(search: Callable[..., Swept], tmp_path: Path) -> None:
    done = search(**dict.fromkeys(["baseline", *KEYS], "fails"))
    assert {until for _, until in begun(tmp_path)} == {"train"}
    assert exit_code(done.record) == 3
    assert "none has a number" in "\n".join(result_lines(done))


def test_trials_that_were_told_are_not_made_again(search: Callable[..., Swept], tmp_path: Path) -> None:
    scores = dict(zip(["baseline", *KEYS], ["dev:8.0", "dev:7.5", "fails", "dev:7.75"], strict=True))
    search("sweep.search.trials=2", **scores)
    (tmp_path / "w" / "begun.jsonl").unlink()
    done = search(**scores)  # more trials go on with the same search
    assert done.record.search is not None
    assert done.record.search["tried"] == 3
    assert (KEYS[1], "train") not in begun(tmp_path)
    assert (KEYS[2], "train") in begun(tmp_path)
    failed = next(row for row in done.record.rows if row.key == KEYS[1])
    assert failed.failure is not None
    assert failed.failure.what == "it broke"


def told(done: Swept) -> list[int]:
    return [line["tell"] for line in read_lines(done.record.folder / JOURNAL) if "tell" in line]


@pytest.mark.parametrize(("how", "code"), [("killed", 4), ("silent", 7), ("held", 2)])
def test_what_came_from_outside_is_tried_again(
    search: Callable[..., Swept], tmp_path: Path, how: str, code: int
) -> None:
    scores = dict(zip(["baseline", *KEYS], ["dev:8.0", "dev:7.5", how, "fails"], strict=True))
    done = search(**scores)
    assert told(done) == [0, 2]  # a validity guard's failure is the trial's own
    assert begun(tmp_path).count((KEYS[1], "train")) == 1  # not twice by one command
    assert exit_code(done.record) == code
    assert done.record.search is not None
    assert (done.record.search["tried"], done.record.search["untold"]) == (2, ["trial 1"])
    said = "\n".join(result_lines(done))
    assert "search: 2 of 3 trials (1 failed); lowest on dev: trial 0" in said
    assert "search: trial 1 came to no end for a reason that is not in the values" in said
    again = search(**(scores | {KEYS[1]: "dev:7.0"}))
    assert told(again) == [0, 2, 1]
    assert begun(tmp_path).count((KEYS[2], "train")) == 1
    assert again.record.search is not None
    assert (again.record.search["best"], again.record.search["untold"]) == ("trial 1", [])
    assert "reason that is not in the values" not in "\n".join(result_lines(again))


def test_a_value_that_cannot_be_is_the_trials_own_failure(search: Callable[..., Swept]) -> None:
    done = search(**dict(zip(["baseline", *KEYS], ["dev:8.0", "dev:7.5", "refused", "dev:7.75"], strict=True)))
    assert told(done) == [0, 1, 2]
    assert done.record.search is not None
    assert (done.record.search["failed"], done.record.search["untold"]) == (1, [])


def test_the_experiment_as_it_stands_may_fail_from_outside_too(search: Callable[..., Swept]) -> None:
    done = search(**dict(zip(["baseline", *KEYS], ["killed", "dev:7.5", "dev:7.6", "dev:7.75"], strict=True)))
    assert done.record.search is not None
    assert done.record.search["untold"] == ["baseline"]
    assert exit_code(done.record) == 4


def test_an_edited_file_ends_the_search_for_now_and_burns_no_trial(
    search: Callable[..., Swept], tmp_path: Path
) -> None:
    """A comment is written into the file while the first trial is trained; the search stays the same search."""
    scores = dict(zip(["baseline", *KEYS], ["dev:8.0", "edits", "dev:7.6", "dev:7.75"], strict=True))
    done = search(**scores)
    assert begun(tmp_path) == [("baseline", "train"), (KEYS[0], "train"), (KEYS[0], "report")]
    assert told(done) == [0]
    assert done.record.search is not None
    assert (done.record.search["tried"], done.record.search["changed"]) == (1, True)
    assert exit_code(done.record) == 2
    said = "\n".join(result_lines(done))
    assert "search: 1 of 3 trials; lowest on dev: trial 0" in said
    assert "no more trials were begun: the experiment file changed while its sweep was under way" in said
    again = search(**scores)
    assert again.record.folder == done.record.folder
    assert told(again) == [0, 1, 2]
    assert again.record.search is not None
    assert (again.record.search["tried"], again.record.search["changed"]) == (3, False)


def test_a_file_that_is_broken_during_the_planning_untells_no_trial(
    search: Callable[..., Swept], tmp_path: Path
) -> None:
    scores = dict(zip(["baseline", *KEYS], ["dev:8.0", "dev:7.5", "dev:7.6", "dev:7.75"], strict=True))
    search("sweep.search.trials=2", **scores)
    done = search(**(scores | {"baseline": "breaks"}))
    assert told(done) == [0, 1]
    assert exit_code(done.record) == 2
    (tmp_path / "e.yaml").write_text(EXPERIMENT)
    assert told(search(**scores)) == [0, 1, 2]


def test_time_in_all_counts_the_trials_that_are_not_known_yet(search: Callable[..., Swept]) -> None:
    done = search(**dict.fromkeys(["baseline", *KEYS], "fails"))
    record = done.record
    plan = {
        "base": "b",
        "device": "cpu",
        "threads": 1,
        "memory": 100,
        "how": "",
        "low_seconds": 1.0,
        "high_seconds": 9.0,
    }
    for row in record.rows:
        row.state = "done"
    record.rows[0].state = "to do"
    record.rows[0].predicted = plan | {"train_seconds": 5.0, "whole_seconds": 5.0, "rest_seconds": 7.0}
    record.search = {"method": "tpe", "trials": 20, "tried": 10}
    assert in_all(record)["runs"] == 11
    assert in_all(record)["seconds"] == 5 + 7 + 10 * 5
