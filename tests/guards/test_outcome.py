from __future__ import annotations

import copy
import inspect
import math
from typing import Any

import numpy as np
import pytest
from fixture_guards import sound

from assay.core.guard import limits
from assay.guards.outcome import (
    missing_in_receipt,
    paired_verdict,
    plausibility,
    power,
    receipt,
    seeds,
)
from assay.stats.tests import groups_needed
from assay.stats.verdict import RECIPE_SEEDS, Difference, group_scores, summarise, verdict


def difference(centre: float, sd: float, n: int) -> Difference:
    raw = np.random.default_rng(n).normal(size=n)
    wanted = centre + sd * (raw - raw.mean()) / (raw.std(ddof=1) if n > 1 else 1.0)
    nat = 1000 * math.log(2)
    return summarise(group_scores((f"g{i}", 250, 1000, 2 * nat, (2 - d) * nat) for i, d in enumerate(wanted)))


def test_verdict_and_thresholds_agree() -> None:
    assert inspect.signature(verdict).parameters["alpha"].default == limits("paired-verdict.p").passes
    assert groups_needed(limits("paired-verdict.p").passes) == limits("power.groups").warns
    assert limits("seeds.recipe").passes == RECIPE_SEEDS


@pytest.mark.parametrize(
    ("centre", "sd", "n", "outcome", "status"),
    [
        (0.1, 0.01, 8, "better", "pass"),
        (0.008, 0.004, 8, "better-but-small", "pass"),
        (0.001, 0.01, 8, "not-shown", "warn"),
        (-0.1, 0.01, 8, "worse", "fail"),
        (0.1, 0.01, 5, "cannot-conclude", "skip"),
        (0.1, 0.0, 1, "cannot-conclude", "skip"),
    ],
)
def test_paired_verdict(centre: float, sd: float, n: int, outcome: str, status: str) -> None:
    found = difference(centre, sd, n)
    said = verdict(found, smallest_effect=0.005)
    record = sound(paired_verdict(said, found))
    assert (record.status, record.stage, record.cls) == (status, "report", "O")
    assert record.measured["outcome"] == outcome
    assert record.why == said.sentence


@pytest.mark.parametrize(
    ("sd", "n", "smallest", "status"),
    [(0.005, 40, 0.005, "pass"), (0.05, 40, 0.005, "warn"), (0.001, 8, 0.005, "warn"), (0.001, 5, 0.005, "fail")],
)
def test_power(sd: float, n: int, smallest: float, status: str) -> None:
    record = sound(power(difference(0.1, sd, n), smallest))
    assert (record.status, record.stage) == (status, "report")
    assert f"{n} held-out groups" in record.why


def test_power_asks_for_more_groups_with_every_look() -> None:
    assert power(difference(0.1, 0.001, 6), 0.01).status == "warn"  # of 30 groups that an interval wants
    second = power(difference(0.1, 0.001, 6), 0.01, looks=2)  # 2 · 2 ÷ 2⁶ = .0625
    assert (second.status, second.threshold["groups"]["warn"]) == ("fail", 7)
    assert "with fewer than 7 nothing can be concluded over 2 looks at them" in second.why


def test_power_without_spread_is_no_pass() -> None:
    nat = 1000 * math.log(2)
    flat = summarise(group_scores((f"g{i}", 250, 1000, 2 * nat, nat) for i in range(40)))
    record = sound(power(flat, 0.005))
    assert record.status == "warn"
    assert "no spread" in record.why
    assert sound(power(summarise([]), 0.005)).status == "fail"


@pytest.mark.parametrize(
    ("number", "claim", "status"),
    [
        (1, "checkpoint", "warn"), (2, "checkpoint", "warn"), (3, "checkpoint", "pass"), (3, "recipe", "pass"),
        (2, "recipe", "fail"), (0, "checkpoint", "fail"),
    ],
)  # fmt: skip
def test_seeds(number: int, claim: Any, status: str) -> None:
    record = sound(seeds(number, claim))
    assert (record.status, record.stage, record.cls) == (status, "report", "O")


@pytest.mark.parametrize(
    ("base", "tuned", "train", "leak", "status", "signs"),
    [
        (2.0, 1.9, 1.8, False, "pass", 0),
        (2.0, 1.9, 1.8, True, "pass", 0),
        (2.0, 1.9, 1.2, False, "warn", 1),
        (2.0, 1.1, 1.0, True, "warn", 1),
        (0.5, 0.44, 0.43, True, "warn", 1),
        (2.0, 1.1, 0.5, False, "warn", 2),
        (2.0, 1.1, 0.5, True, "fail", 2),
        (2.0, 0.44, 0.1, False, "fail", 3),
        (0.21, 0.19, 0.19, False, "fail", 1),
        (None, 1.9, None, False, "pass", 0),
        (math.nan, 1.9, math.inf, False, "pass", 0),
    ],
)
def test_plausibility(
    base: float | None, tuned: float, train: float | None, leak: bool, status: str, signs: int
) -> None:
    record = sound(plausibility(base, tuned, train, leak_evidence=leak, prose=True))
    assert (record.status, record.measured["signs"]) == (status, signs)


def test_plausibility_skips_what_is_not_prose_or_not_scored() -> None:
    assert sound(plausibility(2.0, 0.1, 0.1, leak_evidence=True, prose=False)).status == "skip"
    assert sound(plausibility(2.0, None, 1.0, leak_evidence=False, prose=True)).status == "skip"
    assert "gain was not measured" in plausibility(None, 1.9, 1.8, leak_evidence=False, prose=True).why


FULL: dict[str, Any] = {
    "schema": 1, "created": "2025-01-01T00:00:00Z", "assay": {"version": "0.1.0", "commit": None},
    "command": "assay run", "seeds": {"run": 42, "split": 0},
    "data": {"source": ["a.txt"], "sha256": "1", "train_sha256": "2", "dev_sha256": "3", "test_sha256": "4"},
    "split_sha256": "5", "tokenizer_sha256": "6", "template_sha256": None,
    "base": {"spec": "x", "revision": None, "hash": "7", "note": ""}, "adapter": {"kind": "lora", "sha256": "8"},
    "versions": {"python": "3.11", "torch": "2"},
    "hardware": {"cpu": "c", "cores": 2, "memory": 8, "gpu": None}, "dtype": "fp32", "attention": "sdpa",
    "tokens": 10, "steps": 3, "wall_seconds": {"train": 1.0}, "peak_memory": 5, "missing": [],
}  # fmt: skip


def without(*keys: str, value: Any = ...) -> dict[str, Any]:
    changed = copy.deepcopy(FULL)
    for key in keys:
        *path, last = key.split(".")
        place = changed
        for part in path:
            place = place[part]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return changed


def test_receipt_complete() -> None:
    record = sound(receipt(FULL))
    assert (record.status, record.measured) == ("pass", {"missing": []})
    assert record.cls == "R"


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        (("attention",), "warn"),
        (("attention", "peak_memory"), "warn"),
        (("attention", "peak_memory", "hardware.gpu"), "fail"),
        (("seeds.split",), "fail"),
        (("base.revision",), "fail"),
        (("adapter.sha256",), "fail"),
        (("data",), "fail"),
    ],
)
def test_receipt_missing(keys: tuple[str, ...], status: str) -> None:
    record = sound(receipt(without(*keys)))
    assert record.status == status
    assert keys[0] in record.why


@pytest.mark.parametrize("value", [None, "", {}, []])
def test_an_empty_entry_is_missing(value: Any) -> None:
    assert missing_in_receipt(without("command", value=value)) == ["command"]
    assert missing_in_receipt(without("seeds.run", value=0)) == []


def test_no_receipt() -> None:
    assert sound(receipt({})).status == "fail"
    assert sound(receipt(None)).status == "fail"
