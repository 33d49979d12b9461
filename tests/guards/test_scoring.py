from __future__ import annotations

import math
from typing import Any

import pytest
from fixture_guards import sound as any_sound

from assay.core.guard import GuardRecord
from assay.guards.scoring import (
    a_a_control,
    adapter_effect,
    fresh_reload,
    impossible_equality,
    right_split,
    unit_counting,
)


def sound(record: GuardRecord) -> GuardRecord:
    assert record.cls == "V"
    return any_sound(record)


@pytest.mark.parametrize(
    ("m", "noise", "status"),
    [
        (0.05, 1e-4, "pass"),
        (0.05, 0.0, "pass"),  # the noise is taken as at least 1e-5
        (0.02, 2e-3, "warn"),  # r = 10 exactly does not exceed 10
        (0.005, 1e-3, "warn"),
        (9e-4, 0.0, "warn"),  # r = 90, but m below 1e-3
        (0.003, 1e-3, "fail"),  # r = 3 exactly
        (2e-5, 0.0, "fail"),
        (0.0, 0.0, "fail"),
        (0.0, None, "fail"),
        (math.nan, 1e-4, "fail"),
        (0.05, math.nan, "fail"),
        (0.05, None, "skip"),
        (None, 1e-4, "skip"),
    ],
)
def test_adapter_effect(m: float | None, noise: float | None, status: str) -> None:
    assert sound(adapter_effect(m, noise, texts=16)).status == status


def test_adapter_effect_tells_numbers_and_stage() -> None:
    found = adapter_effect(0.05, 1e-4, texts=16, stage="train")
    assert found.stage == "train"
    assert found.measured == {"m": 0.05, "noise": 1e-4, "r": pytest.approx(500), "texts": 16}
    assert "16 held-out texts" in found.why
    assert adapter_effect(0.05, 1e-4, texts=0).status == "skip"


@pytest.mark.parametrize(
    ("change", "status"), [(0.0, "pass"), (9e-4, "pass"), (1e-3, "warn"), (9e-3, "warn"), (1e-2, "fail"), (1.0, "fail")]
)
def test_fresh_reload(change: float, status: str) -> None:
    # Powers of two keep the change per token exact enough for the bounds themselves.
    found = sound(fresh_reload([0.0, 0.0], [change * 64, -change * 64], [64, 64]))
    assert found.status == status
    assert found.measured["nll_per_token"] == pytest.approx(change)


@pytest.mark.parametrize(
    ("change", "status"), [(9e-3, "pass"), (1.1e-2, "warn"), (9e-2, "warn"), (0.11, "fail"), (1.0, "fail")]
)
def test_fresh_reload_beside_4_bit(change: float, status: str) -> None:
    found = sound(fresh_reload([0.0, 0.0], [change * 64, -change * 64], [64, 64], four_bit=True))
    assert found.status == status
    assert found.threshold == {"pass": 1e-2, "warn": 1e-1}


def test_fresh_reload_edges() -> None:
    assert sound(fresh_reload([], [], [])).status == "skip"
    assert sound(fresh_reload([1.0], [9.0], [0])).status == "skip"
    assert sound(fresh_reload([1.0, 2.0], [1.0], [3, 3])).status == "fail"
    assert sound(fresh_reload([1.0, 2.0], [1.0, math.nan], [3, 3])).status == "fail"
    assert sound(fresh_reload([math.inf, -math.inf], [1.0, 2.0], [3, 3])).status == "fail"


def row(name: str, group: str) -> dict[str, Any]:
    return {"id": name, "group": group, "sha256": f"sha-{name}", "bytes": 10}


SPLITS = {
    "train": [row("t1", "A"), row("t2", "B")],
    "dev": [row("d1", "C")],
    "test": [row("e1", "D"), row("e2", "E")],
}


def test_right_split_passes_on_the_frozen_test_texts() -> None:
    found = sound(right_split([("e1", "sha-e1"), ("e2", "sha-e2")], SPLITS))
    assert found.status == "pass"
    assert found.measured["scored_groups"] == found.measured["test_groups"] == 2


def test_right_split_fails_where_test_texts_are_left_out_or_counted_twice() -> None:
    left_out = sound(right_split([("e1", "sha-e1")], SPLITS))
    assert (left_out.status, left_out.measured["left_out"]) == ("fail", 1)
    twice = sound(right_split([("e1", "sha-e1"), ("e2", "sha-e2"), ("e2", "sha-e2")], SPLITS))
    assert (twice.status, twice.measured["twice"]) == ("fail", 1)


@pytest.mark.parametrize(
    ("scored", "word"),
    [
        ([("t1", "sha-t1")], "training split (t1)"),
        ([("e1", "sha-t2")], "training split (e1)"),  # a training text under a test text's id
        ([("d1", "sha-d1")], "not in the frozen test split (d1)"),
        ([("e1", "sha-e1"), ("zz", "s")], "not in the frozen test split (zz)"),
        ([("e1", "edited")], "frozen (e1)"),
    ],
)
def test_right_split_fails(scored: list[tuple[str, str]], word: str) -> None:
    found = sound(right_split(scored, SPLITS))
    assert found.status == "fail"
    assert word in found.why


def test_right_split_without_texts_or_manifest() -> None:
    assert sound(right_split([], SPLITS)).status == "skip"
    assert sound(right_split([("e1", "s")], {})).status == "fail"


def counting(**changes: Any) -> GuardRecord:
    plain: dict[str, Any] = {
        "tokens": (30, 30), "size": (99, 99), "single": [10.0, 20.0], "batched": [10.0, 20.0],
        "reversed_order": [10.0, 20.0], "dtype": "fp32",
    }  # fmt: skip
    return sound(unit_counting(**{**plain, **changes}))


@pytest.mark.parametrize(
    ("shift", "fp32", "short", "four_bit"),
    [
        (0.0, "pass", "pass", "pass"),
        (2e-3, "pass", "pass", "pass"),
        (2e-2, "warn", "pass", "pass"),
        (1e-1, "fail", "warn", "pass"),
        (4e-1, "fail", "fail", "warn"),
        (1, "fail", "fail", "fail"),
    ],
)
@pytest.mark.parametrize("column", ["batched", "reversed_order"])
def test_unit_counting_by_dtype(shift: float, fp32: str, short: str, four_bit: str, column: str) -> None:
    for dtype, status in {"fp32": fp32, "bf16": short, "fp16": short, "4-bit": four_bit}.items():
        assert counting(**{column: [10.0, 20.0 + shift], "dtype": dtype}).status == status


def test_unit_counting_counts_exactly() -> None:
    assert counting(tokens=(30, 31)).status == "fail"
    found = counting(size=(99, 98))
    assert found.status == "fail"
    assert "98 bytes were counted where there are 99" in found.why


def test_unit_counting_edges() -> None:
    assert counting(single=[], batched=[], reversed_order=[]).status == "skip"
    assert counting(batched=[10.0]).status == "fail"
    assert counting(reversed_order=[10.0, math.nan]).status == "fail"
    assert counting(batched=[math.inf, 20.0]).status == "fail"
    assert counting(single=[0.0], batched=[0.0], reversed_order=[0.0]).status == "pass"
    # A short text's tiny score does not blow up the relative difference.
    assert counting(single=[0.001, 200.0], batched=[0.002, 200.0], reversed_order=[0.001, 200.0]).status == "pass"
    # An error in one direction is not undone by one in the other.
    assert counting(batched=[10.5, 19.5]).status == "fail"


@pytest.mark.parametrize(
    ("noise", "half", "status"),
    [
        (0.0, 0.01, "pass"), (0.001, 0.01, "pass"), (-0.001, 0.01, "pass"), (0.005, 0.01, "warn"),
        (0.006, 0.01, "fail"), (0.0, 0.0, "pass"), (1e-9, 0.0, "fail"), (math.nan, 0.01, "fail"),
        (math.inf, 0.01, "fail"), (0.01, math.nan, "fail"), (0.01, None, "skip"), (None, 0.01, "skip"),
    ],
)  # fmt: skip
def test_a_a_control(noise: float | None, half: float | None, status: str) -> None:
    assert sound(a_a_control(noise, half)).status == status


def test_impossible_equality() -> None:
    same, other = ("same", 21, 50.0, 50.0), ("other", 40, 70.0, 69.0)
    found = sound(impossible_equality([same, other], weights_differ=True))
    assert found.status == "fail"
    assert "1 of 2 texts" in found.why
    assert "same" in found.why
    assert sound(impossible_equality([other], weights_differ=True)).status == "pass"


def test_impossible_equality_asks_only_of_long_texts_and_different_weights() -> None:
    short, same = ("short", 20, 5.0, 5.0), ("same", 21, 50.0, 50.0)
    assert sound(impossible_equality([short], weights_differ=True)).status == "skip"
    assert sound(impossible_equality([short, ("o", 30, 1.0, 2.0)], weights_differ=True)).status == "pass"
    assert sound(impossible_equality([same], weights_differ=False)).status == "skip"
    assert sound(impossible_equality([], weights_differ=True)).status == "skip"
