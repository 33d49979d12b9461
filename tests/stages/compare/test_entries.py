"""Which runs are one entry, what an entry is called, and which runs are no entry."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fixture_compare import IDENTITY, write_run

from assay.core.errors import GuardError, InputError
from assay.core.files import read_json, write_json
from assay.core.guard import record
from assay.core.rundir import RunDir
from assay.stages.compare.entries import Failed, entries, sifted

Make = Callable[..., RunDir]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that writes one more run of experiment e, with these parts of its identity."""
    count = iter(range(100))

    def made(experiment: str = "e", **changed: Any) -> RunDir:
        n = next(count)
        folder = tmp_path / "runs" / experiment / f"202601{n:02}-120000-{n:02}aabbcc"
        return write_run(folder, changed={"short": f"{n:02}aabbcc"} | changed)

    return made


def rank(value: int) -> dict[str, Any]:
    return {"adapter": {"kind": "lora", "rank": value}}


def varied(run: RunDir, sweep: str, variant: str, factors: dict[str, str], event: str = "joined") -> None:
    run.event(event, varied={"sweep": sweep, "variant": variant, "factors": factors})


def test_runs_that_differ_in_their_seed_alone_are_one_entry_by_seed(make: Make) -> None:
    runs = [make(seed=2), make(**rank(8), seed=0), make(seed=0), make(**rank(8), seed=2)]
    found = entries(runs)
    assert [entry.runs for entry in found] == [(runs[2], runs[0]), (runs[1], runs[3])]
    assert [entry.seeds for entry in found] == [(0, 2), (0, 2)]


@pytest.mark.parametrize(
    "changed",
    [rank(8), {"train": {"steps": 60}}, {"base": {"spec": "a", "hash": "1"}},
     {"data": IDENTITY["data"] | {"content": "d"}}],
    ids=["adapter", "train", "base", "data"],
)  # fmt: skip
def test_anything_else_that_differs_makes_another_entry(make: Make, changed: dict[str, Any]) -> None:
    assert len(entries([make(seed=0), make(seed=1, **changed)])) == 2


def test_the_same_base_by_another_name_is_the_same_entry(make: Make) -> None:
    assert len(entries([make(seed=0), make(seed=1, base={"spec": "./copy", "hash": "0"})])) == 1


def test_a_repetition_is_an_entry_of_its_own(make: Make) -> None:
    runs = [make(seed=0), make(seed=1), make(seed=0)]
    assert [entry.runs for entry in entries(runs)] == [(runs[0], runs[1]), (runs[2],)]


# names


def test_names_are_those_that_are_given_with_the_factors_of_that_variant(make: Make) -> None:
    one, two = make(), make(**rank(8))
    varied(two, "s1", "rank=8", {"rank": "8"}, "created")
    varied(two, "s2", "wide", {"width": "wide"})
    found = entries([one, two], {one.path: "baseline", two.path: "rank=8"})
    assert [(entry.name, entry.factors) for entry in found] == [("baseline", {}), ("rank=8", {"rank": "8"})]


def test_runs_of_one_sweep_are_called_as_its_variants(make: Make) -> None:
    runs = make(), make(**rank(8))
    for run, name in zip(runs, ("baseline", "rank=8"), strict=True):
        varied(run, "s1", name, {"rank": name})
    assert [(entry.name, entry.factors) for entry in entries(runs)] == [
        ("baseline", {"rank": "baseline"}), ("rank=8", {"rank": "rank=8"}),
    ]  # fmt: skip
    varied(runs[1], "s2", "rank=8", {})
    assert [entry.name for entry in entries(runs)] == ["rank=4", "rank=8"]


def test_else_by_their_experiments_or_by_what_differs_or_by_their_hashes(make: Make) -> None:
    assert [entry.name for entry in entries([make("one"), make("two", **rank(8))])] == ["one", "two"]
    assert [entry.name for entry in entries([make(), make(**rank(8))])] == ["rank=4", "rank=8"]
    full = make(adapter={"kind": "full"})
    assert [entry.name for entry in entries([make(), full])] == ["kind=lora", "kind=full"]
    longer = make(train=IDENTITY["train"] | {"steps": None, "epochs": 2})
    assert [entry.name for entry in entries([make(), longer])] == ["steps=30", "epochs=2"]
    much = [make(), make(**rank(8), train={"steps": 60, "schedule": {"kind": "cosine"}})]
    repeated = [make(), make()]  # differ in nothing
    for runs in (much, repeated):
        hashes = [run.path.name.rpartition("-")[2] for run in runs]
        assert [entry.name for entry in entries(runs)] == [f"e {short}" for short in hashes]


def test_a_name_that_two_entries_have_is_told_apart(make: Make) -> None:
    one, two = make(), make(**rank(8))
    found = entries([one, two], {one.path: "same", two.path: "same"})
    assert [entry.name for entry in found] == [f"same ({one.path.name})", f"same ({two.path.name})"]


# what has no numbers


def test_what_has_no_numbers_is_an_error_by_hand_and_told_by_a_sweep(make: Make) -> None:
    fine, undone, distrusted, changed = make(seed=0), make(seed=1), make(**rank(8)), make(**rank(16))
    write_json(undone.stages, {})
    distrusted.guards.add(record("adapter-effect", "fail", "the adapter does nothing"))
    pl.read_parquet(changed.texts).with_columns(pl.col("nll_tuned") * 0.9).write_parquet(changed.texts)
    for run, kind in ((undone, InputError), (distrusted, GuardError), (changed, GuardError)):
        with pytest.raises(kind):
            entries([fine, run])
    names = {fine.path: "baseline", undone.path: "baseline", distrusted.path: "rank=8", changed.path: "rank=16"}
    usable, failed = sifted([fine, undone, distrusted, changed], names)
    assert [(entry.name, entry.runs) for entry in usable] == [("baseline", (fine,))]
    assert failed == [
        Failed("baseline", "has not been evaluated", f"e/{undone.path.name}"),
        Failed("rank=8", "guard adapter-effect failed: the adapter does nothing", f"e/{distrusted.path.name}"),
        Failed(
            "rank=16", "guard unit-counting failed: evaluate/texts.parquet changed after the evaluation wrote it",
            f"e/{changed.path.name}",
        ),
    ]  # fmt: skip


def test_a_run_is_given_once(make: Make) -> None:
    run = make()
    with pytest.raises(InputError, match="given twice"):
        entries([run, RunDir(run.path / ".." / run.path.name)])


@pytest.mark.parametrize(
    ("file", "section", "key", "fix"),
    [
        ("identity", None, "adapter", "--new"),
        ("training", "weights", "sha256", "--new"),
        ("summary", "settings", "lossy_share", "assay evaluate"),
    ],
)
def test_a_run_of_an_earlier_version_is_refused_with_what_it_lacks(
    make: Make, file: str, section: str | None, key: str, fix: str
) -> None:
    run = make()
    path = getattr(run, file)
    values = read_json(path)
    del (values[section] if section else values)[key]
    write_json(path, values)
    run.finish("evaluate", key="k", outputs=[run.texts, run.summary], seconds=1.0)
    with pytest.raises(InputError, match=f"has no .*{key}, as runs of earlier versions") as caught:
        entries([run])
    assert fix in str(caught.value.fix)
    usable, failed = sifted([run, other := make(seed=2)], {run.path: "a", other.path: "b"})
    assert ([entry.name for entry in usable], [one.name for one in failed]) == (["b"], ["a"])
