from __future__ import annotations

import math

import pytest
from fixture_guards import sound

from assay.guards.training import (
    adapter_integrity,
    finite_training,
    memory_plan,
    resume_proof,
    supervision,
    weights_moved,
)


@pytest.mark.parametrize(
    ("rows", "supervised", "status"),
    [(100, 100, "pass"), (100, 99, "pass"), (100, 98, "warn"), (100, 95, "warn"), (100, 94, "fail"), (0, 0, "fail")],
)
def test_supervision(rows: int, supervised: int, status: str) -> None:
    found = sound(supervision(rows, supervised, unsupervised=["row 7"]))
    assert found.status == status
    assert (found.cls, found.stage) == ("V", "prepare")
    if rows:
        assert found.measured["share"] == supervised / rows
        assert f"{supervised} of {rows} rows" in found.why
        assert "row 7" in found.why


def test_supervision_doubled_prefix_fails_and_names_rows() -> None:
    found = sound(supervision(10, 10, ["r1", "r2", "r3", "r4", "r5"]))
    assert found.status == "fail"
    assert "r1, r2, r3 and 2 more" in found.why


def test_supervision_of_sound_chats_passes_and_shows_rows() -> None:
    ends = {"token": "<|im_end|>", "turns": 7, "supervised": 7}
    found = sound(supervision(10, 10, end_of_turn=ends, compared=7, shown=["a", "b", "c", "d"]))
    assert found.status == "pass"
    assert (found.measured["end_of_turn"], found.measured["compared_prompts"]) == (ends, 7)
    assert found.measured["shown"] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("ends", "word"),
    [
        (
            {"token": "<|im_end|>", "turns": 7, "supervised": 6},
            "<|im_end|>, which ends an answer, counts in the loss in 6 of",
        ),
        ({"token": None, "turns": 7, "supervised": 0}, "puts no token behind an answer"),
    ],
)
def test_supervision_of_ends_that_are_not_learned_fails(ends: dict[str, object], word: str) -> None:
    found = sound(supervision(10, 10, end_of_turn=ends))
    assert found.status == "fail"
    assert word in found.why


def test_supervision_of_other_prompts_fails_and_says_what_stands_there() -> None:
    others = [{"id": f"r{n}", "position": 4, "trained": "\n", "asked": "\n\n"} for n in range(5)]
    found = sound(supervision(10, 10, mismatches=others, compared=9))
    assert found.status == "fail"
    assert "5 of 9 prompts looked at have other ids" in found.why
    assert "r0 '\\n' where the model is asked with '\\n\\n'" in found.why
    assert len(found.measured["other_prompts"]) == 3


@pytest.mark.parametrize(
    ("relative", "status", "word"),
    [
        ({"q": 1e-4, "v": 2e-3}, "pass", "all 2 trainable modules changed"),
        ({"q": 0.0, "v": 2e-3}, "warn", "did not change: q"),
        ({"q": 0.0, "v": 1e-12}, "fail", "none of 2"),
        ({"q": math.nan, "v": 2e-3}, "fail", "q"),
        ({"q": math.inf}, "fail", "q"),
        ({}, "skip", "no module"),
        (None, "skip", "no module"),
    ],
)
def test_weights_moved(relative: dict[str, float] | None, status: str, word: str) -> None:
    found = sound(weights_moved(relative))
    assert found.status == status
    assert word in found.why


@pytest.mark.parametrize(
    ("steps", "overflows", "weights", "status"),
    [
        (30, 0, [], "pass"),
        (30, 4, [], "pass"),
        (30, 0, ["layer.0"], "fail"),
        (30, 4, ["layer.0"], "fail"),
        (0, 0, [], "skip"),
        (0, 0, ["layer.0"], "fail"),
    ],
)
def test_finite_training(steps: int, overflows: int, weights: list[str], status: str) -> None:
    found = sound(finite_training(steps, overflows=overflows, nonfinite_weights=weights))
    assert found.status == status
    assert all(name in found.why for name in weights)
    assert ("4 times" in found.why) == (overflows == 4)


NAMES = [f"layers.{i}.lora_{ab}.weight" for i in range(10) for ab in "AB"]
ZERO = [name for name in NAMES if "lora_B" in name]


def test_adapter_integrity_of_a_healthy_adapter_and_of_full_weights() -> None:
    assert sound(adapter_integrity(NAMES, reversed_names(), hash_ok=True)).status == "pass"
    assert sound(adapter_integrity(["w"], ["w"], hash_ok=True)).status == "pass"
    assert adapter_integrity(NAMES, NAMES, hash_ok=True, stage="train").stage == "train"


def reversed_names() -> list[str]:
    return NAMES[::-1]


def test_adapter_integrity_zero_b() -> None:
    assert sound(adapter_integrity(NAMES, NAMES, zero_b=ZERO[:1], hash_ok=True)).status == "warn"
    assert sound(adapter_integrity(NAMES, NAMES, zero_b=ZERO[:2], hash_ok=True)).status == "fail"
    found = sound(adapter_integrity(NAMES, NAMES, zero_b=ZERO, hash_ok=False))
    assert found.status == "fail"
    assert "10 of 10 LoRA B" in found.why
    assert "hash" in found.why


def test_adapter_integrity_faults() -> None:
    missing = sound(adapter_integrity(NAMES, NAMES[1:], hash_ok=True))
    extra = sound(adapter_integrity(NAMES, [*NAMES, "other"], hash_ok=True))
    broken = sound(adapter_integrity(NAMES, NAMES, nonfinite=NAMES[:1], hash_ok=True))
    changed = sound(adapter_integrity(NAMES, NAMES, hash_ok=False))
    nothing = sound(adapter_integrity([], [], hash_ok=True))
    assert [r.status for r in (missing, extra, broken, changed, nothing)] == ["fail"] * 5
    assert f"missing: {NAMES[0]}" in missing.why
    assert "unexpected: other" in extra.why
    assert f"not finite: {NAMES[0]}" in broken.why


def test_adapter_integrity_without_a_hash_is_no_pass() -> None:
    assert sound(adapter_integrity(NAMES, NAMES, hash_ok=None)).status == "skip"
    assert sound(adapter_integrity(NAMES, NAMES[1:], hash_ok=None)).status == "fail"


@pytest.mark.parametrize(
    ("step", "trained", "found", "status"),
    [(None, None, None, "skip"), (4, "a", "a", "pass"), (4, "a", "b", "fail"), (4, "a", None, "fail")],
)
def test_resume_proof(step: int | None, trained: str | None, found: str | None, status: str) -> None:
    assert sound(resume_proof(step, trained=trained, found=found)).status == status


@pytest.mark.parametrize(
    ("predicted", "measured", "status"),
    [
        (4e9, 4.3e9, "pass"),
        (4e9, 3.5e9, "warn"),
        (4e9, 5.2e9, "fail"),
        (0.1e9, 0.4e9, "pass"),  # what is imported on the way does not matter
        (0.1e9, 1.0e9, "warn"),
        (0.1e9, 1.2e9, "fail"),
        (None, 1e9, "skip"),
        (1e9, None, "skip"),
    ],
)
def test_memory_plan(predicted: float | None, measured: float | None, status: str) -> None:
    assert sound(memory_plan(predicted, measured)).status == status
