"""What a sweep concludes from runs that were written by hand: declared differences warn, undeclared ones fail."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixture_compare import FLAT, GROUPS, write_run

from assay.core.guard import GuardRecord
from assay.stages.compare.runs import Compared, compare
from assay.sweeps.result import conclude, exit_code
from assay.sweeps.roster import Record, Row

ADAPTER = {"kind": "lora", "rank": 4, "alpha": 16.0, "rslora": False}
TRAIN = {"steps": 30, "learning_rate": 5e-4}
CROSSED = {"rank": ["adapter.rank"], "rate": ["train.learning_rate"]}


def swept(
    folder: Path, declared: dict[str, list[str]], runs: dict[str, tuple[dict[str, str], dict[str, Any]]]
) -> Record:
    """A sweep whose runs are done: by name the levels of each, and the sections of its identity that differ."""
    rows = []
    for number, (name, (factors, changed)) in enumerate(runs.items()):
        bits = [FLAT[g] - 0.1 * number - 0.001 * number * g for g in range(GROUPS)]
        sections = {"adapter": ADAPTER | changed.get("adapter", {}), "train": TRAIN | changed.get("train", {})}
        write_run(folder / "runs" / "e" / str(number), bits, changed=sections)
        key = f"run-{number}"
        rows.append(Row(key, name, 1, factors, [], state="done", run=f"e/{number}"))
    own = {"id": "abcd1234", "experiment": "e.yaml", "text_sha256": "0" * 64, "created": "2026-01-01"}
    return Record(folder / "runs" / "e" / "sweeps" / "abcd1234", folder / "runs", rows=rows, declared=declared, **own)


def change(pair: Compared) -> GuardRecord:
    return next(record for record in pair.guards if record.guard == "one-change")


@pytest.fixture
def crossed(tmp_path: Path) -> Record:
    """Two ranks at two rates."""
    runs = {
        f"rank={rank} rate={rate}": (
            {"rank": str(rank), "rate": str(rate)},
            {"adapter": {"rank": rank}, "train": {"learning_rate": rate}},
        )
        for rank in (4, 64)
        for rate in (0.001, 0.01)
    }
    return swept(tmp_path, CROSSED, runs)


def test_a_crossed_sweep_does_not_fail_by_its_design(crossed: Record) -> None:
    found = conclude(crossed)
    assert found is not None
    assert exit_code(crossed) == 0
    assert [change(pair).status for pair in found.pairs] == ["pass", "pass", "warn"]
    assert [pair.causal for pair in found.pairs] == [True, True, False]
    said = (
        "the runs differ in the factors rank and rate, as declared: which of them did it cannot be told from this pair"
    )
    assert found.pairs[2].cause == f"no cause may be named: {said}"
    assert f"rank=64 rate=0.01 beside rank=4 rate=0.001: {said}." in found.not_concluded


def test_by_hand_the_same_runs_have_nothing_declared(crossed: Record) -> None:
    runs = [run for row in crossed.rows if (run := row.directory(crossed.runs_dir))]
    assert [change(pair).status for pair in compare(runs).pairs] == ["pass", "pass", "fail"]


def test_a_factor_of_two_keys_is_one_declared_change(tmp_path: Path) -> None:
    both = {"adapter": {"rank": 8}, "train": {"learning_rate": 0.01}}
    declared = {"both": ["adapter.rank", "train.learning_rate"]}
    record = swept(tmp_path, declared, {"baseline": ({}, {}), "both=8": ({"both": "8"}, both)})
    found = conclude(record)
    assert found is not None
    assert exit_code(record) == 0
    (pair,) = found.pairs
    assert (change(pair).status, pair.causal) == ("warn", True)
    assert pair.cause == (
        "the factor both changes adapter.rank and train.learning_rate together: which of the two did it cannot be told"
    )


def test_what_was_not_declared_still_fails(tmp_path: Path) -> None:
    """Whatever made it: the run has another rate, and its factor is the rank."""
    changed = {"adapter": {"rank": 8}, "train": {"learning_rate": 0.01}}
    record = swept(tmp_path, CROSSED, {"baseline": ({}, {}), "rank=8": ({"rank": "8"}, changed)})
    found = conclude(record)
    assert found is not None
    assert exit_code(record) == 3
    assert change(found.pairs[0]).why == "2 things differ: adapter.rank, train.learning_rate"
