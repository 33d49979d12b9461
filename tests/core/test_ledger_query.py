"""Filters find what they say, whatever is typed into them."""

from __future__ import annotations

import json
import operator
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.core.files import read_json, write_json
from assay.core.ledger import Ledger, Query
from assay.core.ledger_query import leaf
from assay.core.rundir import RunDir

Make = Callable[..., RunDir]

RUNS: list[dict[str, Any]] = [
    {"settings": {"adapter.rank": 4, "adapter.rslora": True, "train.steps": None, "data.keep": []}, "gain": -0.02},
    {"settings": {"adapter.rank": 8, "adapter.rslora": False, "data.keep": ["a", "b"]}, "gain": 0.05},
    {"settings": {"adapter.rank": 16, "base": "Qwen/x", "train.steps": 30}, "gain": 0.1},
    {"settings": {"adapter.rank": "8", "train.learning_rate": 2e-4}, "gain": None},
]


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Ledger:
    """Four runs, made on 1, 2, 3 and 4 January; the third failed."""
    root = tmp_path_factory.mktemp("ledger")
    for number, run in enumerate(RUNS, 1):
        write_run(root / "runs" / "e" / f"2026010{number}-120000-0{number}bc1234", number, **run)
    return Ledger(root / "runs")


def write_run(path: Path, number: int, settings: dict[str, Any], gain: float | None) -> None:
    run = RunDir(path)
    write_json(run.identity, {"short": f"0{number}bc1234", "seed": number})
    sections: dict[str, list[str]] = {}
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        sections.setdefault(section, []).append(f"{'  ' if section else ''}{name}: {json.dumps(value)}")
    lines = [line for name, own in sections.items() for line in ([f"{name}:"] if name else []) + own]
    run.resolved.write_text("\n".join(lines))
    write_json(run.stages, {"prepare": {"seconds": 60.0 * number, "finished": "2026-01-01T00:00:00+00:00"}})
    write_json(run.manifest, {"splits": {"train": {"bytes": 1000 * number}}})
    write_json(run.summary, {"difference": {"mean": gain}})
    varied = [
        {"sweep": "one", "variant": "baseline" if number == 1 else f"rank={number}", "factors": {}},
        {"sweep": "two", "variant": "baseline" if number == 2 else f"rows={number}", "factors": {}},
    ]
    time = f"2026-01-0{number}T12:00:00+00:00"
    events = [{"time": time, "event": "created", "varied": varied[0]}, {"event": "joined", "varied": varied[1]}]
    events += [{"event": "stopped", "why": "disk is full"}] if number == 3 else []
    run.events.write_text("".join(json.dumps(event) + "\n" for event in events))


def found(ledger: Ledger, *filters: str, **how: Any) -> list[int]:
    """The seeds, which number the runs, of those found."""
    return [row["seed"] for row in ledger.select(Query(filters, **how)).rows]


@pytest.mark.parametrize(
    ("text", "runs"),
    [
        ("status=failed", [3]),
        ("status!=failed", [1, 2, 4]),
        ("experiment=e", [1, 2, 3, 4]),
        ("experiment=E", []),
        ("why~DISK", [3]),
        ("why=none", [1, 2, 4]),
        ("why!=none", [3]),
        ("why!=x", [1, 2, 3, 4]),
        ("difference>0", [2, 3]),
        ("difference >= 5e-2", [2, 3]),
        ("difference<0.05", [1]),
        ("difference=-.02", [1]),
        ("difference!=0.1", [1, 2, 4]),
        ("difference=none", [4]),
        ("seed==2", [2]),
        ("prepare_seconds<=2min", [1, 2]),
        ("prepare_seconds>0.05h", [4]),
        ("prepare_seconds=60", [1]),
        ("train_bytes>=3kB", [3, 4]),
        ("train_bytes<2000", [1]),
        ("created>=2026-01-03", [3, 4]),
        ("created>2026-01-03", [4]),
        ("created<2026-01-03", [1, 2]),
        ("created<=2026-01-03", [1, 2, 3]),
        ("created=2026-01-03", [3]),
        ("created!=2026-01-03", [1, 2, 4]),
        ("created=2026", [1, 2, 3, 4]),
        ("created>2026-01", []),
        ("created>=2026-01-02 12:00", [2, 3, 4]),
        ("created>2026-01-02T12:00:00", [3, 4]),
        ("adapter.rank=8", [2, 4]),
        ("adapter.rank!=8", [1, 3]),
        ("adapter.rank>=8", [2, 3]),
        ("adapter.rank<8", [1]),
        ("adapter.rslora=true", [1]),
        ("adapter.rslora=False", []),
        ("adapter.rslora=false", [2]),
        ("adapter.rslora=none", [3, 4]),
        ("train.steps=none", [1, 2, 4]),
        ("train.steps!=none", [3]),
        ("train.learning_rate=0.0002", [4]),
        ("train.learning_rate=2e-4", [4]),
        ("train.learning_rate<1", [4]),
        ("data.keep=[]", [1]),
        ('data.keep=["a",  "b"]', [2]),
        ('data.keep~"b"', [2]),
        ("sweep=one", [1, 2, 3, 4]),
        ("sweep=three", []),
        ("sweep!=one", []),
        ("sweep=none", []),
        ("variant=baseline", [1, 2]),
        ("variant~rank", [2, 3, 4]),
        ("comparable=yes", []),
        ("comparable=none", [1, 2, 3, 4]),
    ],
)
def test_one_filter(ledger: Ledger, text: str, runs: list[int]) -> None:
    assert sorted(found(ledger, text)) == runs


def test_all_filters_must_hold_and_the_newest_come_first(ledger: Ledger) -> None:
    assert found(ledger) == [4, 3, 2, 1]
    assert found(ledger, "adapter.rank=8", "difference>0") == [2]
    assert found(ledger, reverse=True) == [1, 2, 3, 4]


def test_sweep_and_variant_are_of_one_and_the_same_sweep(ledger: Ledger) -> None:
    assert found(ledger, "sweep=one", "variant=baseline") == [1]
    assert found(ledger, "sweep=two", "variant=baseline") == [2]


def test_sorting_puts_what_is_undefined_last_both_ways(ledger: Ledger) -> None:
    assert found(ledger, sort="difference") == [1, 2, 3, 4]
    assert found(ledger, sort="difference", reverse=True) == [3, 2, 1, 4]
    assert found(ledger, sort="train.steps") == [3, 4, 2, 1]
    assert found(ledger, sort="adapter.rank") == [1, 2, 3, 4]  # a text behind the numbers
    assert found(ledger, "seed>1", sort="adapter.rank", reverse=True, limit=2) == [4, 3]


def test_a_limit_counts_what_it_leaves_out(ledger: Ledger) -> None:
    listing = ledger.select(Query(["seed>1"], limit=2))
    assert (len(listing.rows), listing.total) == (2, 3)
    assert ledger.select(Query(["seed>1"], limit=5)).total == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("status", ["no operator", "'difference>0.05'", "in quotes"]),
        ("", ["no filter"]),
        ("=3", ["no filter"]),
        ("status=", ["no value", "status=none"]),
        ("adaptr.rank=8", ["'adaptr.rank'", "adapter.rank"]),
        ("learning_rate=8", ["'learning_rate'", "train.learning_rate"]),
        ("staus=failed", ["'staus'", "did you mean status"]),
        ("zzz=1", ["'zzz'", "the columns are path, id"]),
        ("status=fail", ["one of running, unfinished, finished, failed", "did you mean failed?"]),
        ("outcome=good", ["better, better-but-small"]),
        ("status>failed", ["status is text", "~"]),
        ("difference~3", ["difference is no text"]),
        ("difference>many", ["'many' is none", "give a number"]),
        ("difference>nan", ["is none"]),
        ("difference>1e999", ["is none"]),
        ("difference>none", ["neither small nor large"]),
        ("adapter.rank>none", ["neither small nor large"]),
        ("adapter.rank>large", ["'large' is none"]),
        ("peak_memory>3GiB", ["B, kB, MB, GB, TB"]),
        ("seconds>3weeks", ["s, min, h, d"]),
        ("created>yesterday", ["no time", "2026-11-01"]),
        ("created>2026-13-01", ["no time"]),
        ("created>2026-02-30", ["no time"]),
        ("comparable=perhaps", ["true or false"]),
        ("why=\udcff", ["no filter"]),
    ],
)
def test_a_wrong_filter_is_told_with_its_fix(ledger: Ledger, text: str, words: list[str]) -> None:
    with pytest.raises(InputError) as caught:
        ledger.select(Query([text]))
    assert caught.value.fix
    for word in words:
        assert word in str(caught.value)


def test_sorting_and_columns_know_the_keys_too(ledger: Ledger) -> None:
    for query in (Query(sort="adapter.rnk"), Query(columns=["adapter.rnk"])):
        with pytest.raises(InputError, match=r"adapter\.rnk") as caught:
            ledger.select(query)
        assert "adapter.rank" in str(caught.value.fix)
    (row, *_) = ledger.select(Query(columns=["id", "adapter.rank"], limit=1)).rows
    assert row["settings"]["adapter.rank"] == "8"


def test_without_a_run_the_settings_are_not_known(tmp_path: Path) -> None:
    for runs in (tmp_path, tmp_path / "none"):
        assert Ledger(runs).select(Query(["adapter.rank=8"])).rows == []
        with pytest.raises(InputError):
            Ledger(runs).select(Query(["nothing=8"]))
    assert not (tmp_path / "none").exists()


@given(
    key=st.sampled_from(
        ["status", "difference", "created", "adapter.rank", "data.keep", "base", "sweep", "comparable"]
    ),
    sign=st.sampled_from(["=", "!=", "<", ">=", "~"]),
    value=st.text(st.characters(codec="utf-8"))
    | st.sampled_from(["'; DROP TABLE runs; --", '") OR 1=1 --', "[" * 9999]),
)
def test_whatever_is_typed_is_a_value_or_an_error(ledger: Ledger, key: str, sign: str, value: str) -> None:
    total, fix = 0, ""
    try:
        total = ledger.select(Query([f"{key}{sign}{value}"])).total
    except InputError as error:
        fix = str(error.fix)
    assert fix or total <= 4
    assert len(ledger.rows()) == 4


COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}


@given(bound=st.floats(-1, 1), sign=st.sampled_from(sorted(COMPARE)))
def test_numbers_compare_as_numbers(ledger: Ledger, bound: float, sign: str) -> None:
    gains = [(n, run["gain"]) for n, run in enumerate(RUNS, 1) if run["gain"] is not None]
    expected = [n for n, gain in gains if COMPARE[sign](gain, bound)]
    assert sorted(found(ledger, f"difference{sign}{bound!r}")) == expected


def test_a_leaf_is_what_sqlite_can_compare() -> None:
    values: list[Any] = [None, 3, 0.5, "x", True, ["a", 1], {"k": None}]
    assert [leaf(value) for value in values] == [None, 3, 0.5, "x", "true", '["a",1]', '{"k":null}']


def test_a_setting_that_changes_is_found_by_its_new_value_alone(make_run: Make, tmp_path: Path) -> None:
    run, ledger = make_run(), Ledger(tmp_path / "runs")
    assert ledger.select(Query(["adapter.rank=4"])).total == 1
    run.resolved.write_text(run.resolved.read_text().replace("rank: 4", "rank: 5"))
    ledger.upsert(run)
    assert ledger.select(Query(["adapter.rank=4"])).total == 0
    assert ledger.select(Query(["adapter.rank=5"])).total == 1
    assert read_json(run.identity)["adapter"]["rank"] == 4
