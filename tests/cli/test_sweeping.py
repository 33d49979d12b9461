"""What `assay sweep` says: the plan with every state, and at the end each failure with its reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fixture_sweep import sweep_record

from assay.cli.sweeping import as_values, in_all, plan_lines, result_lines
from assay.sweeps.result import exit_code, plan_code
from assay.sweeps.roster import Failure, Record
from assay.sweeps.sweep import Swept


def foretold(**changed: Any) -> dict[str, Any]:
    values = {
        "base": "b", "device": "cpu", "threads": 1, "memory": 3 * 10**9, "train_seconds": 60.0, "low_seconds": 40.0,
        "high_seconds": 90.0, "whole_seconds": 60.0, "rest_seconds": 30.0, "how": "measured",
    }  # fmt: skip
    return values | changed


def record(folder: Path) -> Record:
    """One run of each state, and one that did not come to a plan."""
    made = sweep_record(folder, ["a", "b", "c", "d", "e"], workers=2)
    for row, state in zip(made.rows, ("done", "unfinished", "to do", "failed", "failed"), strict=True):
        row.state = state  # type: ignore[assignment]
        row.predicted = None if row.key in "ae" else foretold()
    made.rows[3].failure = Failure("it broke", "e.yaml:3", "mend it", 3)
    made.rows[4].failure = Failure("there is no base", None, None, 2)
    return made


def test_the_plan_in_words(tmp_path: Path) -> None:
    lines = plan_lines(record(tmp_path))
    assert lines[0] == "sweep abcd1234 of e.yaml: 5 runs: 1 done, 1 unfinished, 1 to do, 2 failed"
    table = lines[1].splitlines()
    assert table[0].split("  ")[0] == "run"
    assert "1 min 0 s (40 s to 1 min 30 s)" in table[2]
    assert "failed before" in table[4]
    assert table[5].split() == ["e", "failed", "-", "-", "-"]
    said = "\n".join(lines)
    assert "in all: 3 runs left, about 3 min 0 s by 2 workers, up to 6.0 GB of memory at once" in said
    assert "d: failed before, and is tried again (exit 3): it broke\n  where: e.yaml:3\n  fix: mend it" in said
    assert "e: FAILED (exit 2): there is no base" in said


def test_what_cannot_be_foretold_is_said(tmp_path: Path) -> None:
    made = record(tmp_path)
    made.rows[1].predicted = foretold(
        train_seconds=None, low_seconds=None, high_seconds=None, whole_seconds=None, how="torch is not installed"
    )
    made.rows[2].predicted = foretold(rest_seconds=None)
    said = "\n".join(plan_lines(made))
    assert "without 1 run whose time is not foretold: torch is not installed" in said
    assert "of 1 run the training alone" in said
    made.rows[2].predicted = made.rows[3].predicted = None
    assert in_all(made)["seconds"] is None
    for row in made.rows:
        row.state = "done"
    assert "nothing is left to do" in "\n".join(plan_lines(made))


def test_the_end_in_words_and_its_exit_code(tmp_path: Path) -> None:
    made = record(tmp_path)
    made.comparison = {"files": [], "why": "no run has finished", "code": 0}
    said = "\n".join(result_lines(Swept(made)))
    assert "d: FAILED (exit 3): it broke" in said
    assert "no comparison: no run has finished" in said
    assert exit_code(made) == 3
    assert plan_code(made) == 2  # of e, which has no plan; d has one, and is tried again
    made.rows[4].state, made.rows[4].failure = "to do", None
    assert plan_code(made) == 1  # it has no plan, whatever the reason
    made.rows[4].predicted = foretold()
    assert plan_code(made) == 0
    for row in made.rows:
        row.failure = None
    assert exit_code(made) == 0
    made.comparison["code"] = 3  # the runs may not stand beside each other
    assert exit_code(made) == 3


def test_as_json(tmp_path: Path) -> None:
    values = as_values(record(tmp_path))
    assert values["id"] == "abcd1234"
    assert values["in_all"]["runs"] == 3
    assert values["rows"][3]["failure"]["fix"] == "mend it"
    assert values["folder"] == str(tmp_path / "runs" / "e" / "sweeps" / "abcd1234")
