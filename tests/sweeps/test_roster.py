"""Which runs a sweep has and where each of them stands: as the runs' own files say."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fixture_sweep import sweep_record

from assay import pipeline
from assay.config.matrix import Variant, variants
from assay.core.console import Console
from assay.core.files import read_json, write_json
from assay.core.guard import record as guard
from assay.core.rundir import RunDir
from assay.sweeps.roster import FILE, Failure, Row, in_order, look, recall, rows_of, sweep_id

TEXT = """\
schema: 1
name: e
base: scratch:llama-tiny
data: {source: story.txt}
ablations: {rank: {adapter.rank: [4, 16]}}
"""

pytestmark = pytest.mark.usefixtures("no_page")


@pytest.fixture
def asked(tmp_path: Path) -> Callable[..., list[Variant]]:
    """A function that gives the variants of the experiment, with more lines in its file."""
    (tmp_path / "story.txt").write_text("\n\n".join(f"Paragraph {n} tells of thing number {n}." for n in range(300)))

    def of(more: str = "", overrides: tuple[str, ...] = ()) -> list[Variant]:
        (tmp_path / "e.yaml").write_text(TEXT + more)
        return variants(tmp_path / "e.yaml", overrides)

    return of


def name_of(found: list[Variant]) -> str:
    return sweep_id(found, found[0].loaded.matrix.sweep.search)


def test_a_sweep_is_named_by_what_it_asks_for(asked: Callable[..., list[Variant]]) -> None:
    own = name_of(asked())
    assert len(own) == 8
    assert name_of(asked("sweep: {workers: 2}\n")) == own  # how it is done is not what is asked for
    assert name_of(asked("seeds: [42]\n")) == own
    assert name_of(asked("seeds: [42, 43]\n")) != own
    assert name_of(asked(overrides=("train.steps=7",))) != own
    assert name_of(asked("evaluate: {window: 256}\n")) != own


def test_rows_have_keys_of_their_own(asked: Callable[..., list[Variant]]) -> None:
    rows = rows_of(asked())
    assert [(row.key, row.name, row.factors) for row in rows] == [
        ("baseline", "baseline", {}), ("rank=4", "rank=4", {"rank": "4"}), ("rank=16", "rank=16", {"rank": "16"}),
    ]  # fmt: skip
    assert rows[1].overrides == ["adapter.rank=4", "seed=42"]
    keys = [row.key for row in rows_of(asked("seeds: [0, 1]\n"))]
    assert keys == [
        "baseline-seed0",
        "baseline-seed1",
        "rank=4-seed0",
        "rank=4-seed1",
        "rank=16-seed0",
        "rank=16-seed1",
    ]


def test_a_run_stands_where_its_files_say(asked: Callable[..., list[Variant]], tmp_path: Path) -> None:
    variant, runs = asked()[1], tmp_path / "runs"

    def seen(earlier: dict[str, object] | None = None) -> Row:
        row = rows_of([variant])[0]
        recall(row, {row.key: earlier} if earlier else {})
        look(row, variant.loaded, runs)
        return row

    assert seen().state == "to do"
    assert seen().run is None
    made = pipeline.run(
        str(variant.loaded.path), runs_dir=runs, until="prepare", overrides=rows_of([variant])[0].overrides,
        console=Console(quiet=True),
    ).run  # fmt: skip
    assert (seen().state, seen().run) == ("unfinished", f"e/{made.path.name}")

    made.event("stopped", kind="MachineError", why="the disk is full")
    assert (seen().state, seen().failure) == ("failed", Failure("the disk is full", str(made.path), None, 4))
    told = {"what": "it broke", "where": None, "fix": "mend it", "code": 3}
    earlier = {"run": seen().run, "failure": told, "attempts": 2, "seconds": 7.5, "started": "then", "ended": "now"}
    again = seen(earlier)  # what the sweep has recorded says more
    assert (again.state, again.failure, again.attempts, again.seconds) == ("failed", Failure(**told), 2, 7.5)
    removed = seen(earlier | {"run": "e/removed"})  # this is another run, and what is told of it counts
    assert removed.failure == seen().failure
    assert (removed.attempts, removed.seconds, removed.started) == (0, 0.0, None)
    made.event("joined")  # is nothing that was done
    assert seen().state == "failed"
    made.event("stage started", stage="plan")
    assert seen().state == "unfinished"


def test_data_that_are_gone_are_the_failure_of_their_runs(asked: Callable[..., list[Variant]], tmp_path: Path) -> None:
    variant = asked()[0]
    (tmp_path / "story.txt").unlink()
    row = rows_of([variant])[0]
    look(row, variant.loaded, tmp_path / "runs")
    assert row.state == "failed"
    assert row.failure is not None
    assert row.failure.code == 2
    assert "story.txt" in f"{row.failure.where}{row.failure.what}"


def test_a_run_is_done_only_with_all_that_is_asked_of_it(
    asked: Callable[..., list[Variant]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    variant, runs = asked()[0], tmp_path / "runs"
    row = rows_of([variant])[0]
    made = pipeline.run(
        str(variant.loaded.path), runs_dir=runs, until="prepare", overrides=row.overrides, console=Console(quiet=True)
    ).run
    row.until = "prepare"
    look(row, variant.loaded, runs)
    assert (row.state, row.failure) == ("done", None)
    row.until = "plan"
    look(row, variant.loaded, runs)
    assert row.state == "unfinished"
    write_json(made.plan, {"decisions": {"threads": 2}})
    made.finish("plan", key="k", outputs=[made.plan], seconds=1)
    write_json(made.training, {})
    made.finish("train", key="k", outputs=[made.training], seconds=1)
    row.until = "train"
    look(row, variant.loaded, runs)
    assert row.state == "done"
    made.finish("evaluate", key="of other settings", outputs=[], seconds=1)
    made.finish("report", key="k", outputs=[], seconds=1)
    row.until = "report"
    look(row, variant.loaded, runs)
    assert row.state == "unfinished"  # it was evaluated otherwise


def test_a_failed_validity_guard_is_left_to_be_done_again(asked: Callable[..., list[Variant]], tmp_path: Path) -> None:
    variant, runs = asked()[0], tmp_path / "runs"
    row = rows_of([variant])[0]
    work = pipeline.work.resolve(variant.loaded, runs, Console(quiet=True))
    made = pipeline.work.find_or_create(work, new=False)
    for stage in ("prepare", "plan", "train"):
        made.finish(stage, key="k", outputs=[], seconds=1)
    made.finish("evaluate", key=pipeline.keys.stage_key(made, work, "evaluate"), outputs=[], seconds=1)
    made.finish("report", key=pipeline.keys.stage_key(made, work, "report"), outputs=[], seconds=1)
    look(row, variant.loaded, runs)
    assert row.state == "done"
    made.guards.add(guard("a-a-control", "fail", "the scores differ"))
    look(row, variant.loaded, runs)
    assert row.state == "unfinished"


def test_those_under_way_come_first_and_bases_take_turns() -> None:
    def row(key: str, state: str, base: str) -> Row:
        made = Row(key=key, name=key, seed=1, factors={}, overrides=[], predicted={"base": base})
        made.state = state  # type: ignore[assignment]
        return made

    rows = [
        row("a1", "to do", "a"), row("a2", "to do", "a"), row("b1", "to do", "b"), row("old", "failed", "a"),
        row("done", "done", "a"), row("half", "unfinished", "b"), row("b2", "to do", "b"),
    ]  # fmt: skip
    assert [one.key for one in in_order(rows)] == ["half", "a1", "b1", "a2", "b2", "old"]


def test_the_record_is_written_and_is_no_run(tmp_path: Path) -> None:
    from assay.core.ledger import run_dirs

    record = sweep_record(tmp_path, ["a"], workers=2)
    record.rows[0].failure = Failure("it broke", None, "mend it", 3)
    record.save()
    found = read_json(record.folder / FILE)
    assert (found["schema"], found["id"], found["workers"]) == (1, "abcd1234", 2)
    assert found["rows"][0]["failure"] == {"what": "it broke", "where": None, "fix": "mend it", "code": 3}
    assert "earlier" not in found
    assert run_dirs(record.runs_dir) == []
    again = sweep_record(tmp_path, ["a"])
    recall(again.rows[0], {row["key"]: row for row in found["rows"]})
    assert again.rows[0].failure == record.rows[0].failure


def test_its_directory(tmp_path: Path) -> None:
    row = Row(key="a", name="a", seed=1, factors={}, overrides=[])
    assert row.directory(tmp_path) is None
    row.run = "e/one"
    assert row.directory(tmp_path) == RunDir(tmp_path / "e" / "one")
