from __future__ import annotations

from typing import Any

import pytest
from fixture_guards import sound

from assay.guards.behaviour import fair_baseline, forgetting, memorisation, output_hygiene, style_fairness

SYSTEM = "You are a careful assistant who answers every question in one short sentence and never guesses."


@pytest.mark.parametrize(
    ("clean", "dirty", "status"),
    [
        (8, 0, "pass"),
        (7, 1, "warn"),
        (6, 2, "fail"),
        (198, 2, "warn"),
        (197, 3, "fail"),
        (0, 1, "warn"),
        (0, 0, "skip"),
    ],
)
def test_output_hygiene(clean: int, dirty: int, status: str) -> None:
    outputs = ["To be"] * clean + ["or not<|im_end|>"] * dirty
    record = sound(output_hygiene(outputs, ["<|im_end|>", ""]))
    assert record.status == status
    if dirty:
        assert "<|im_end|>" in record.why
        assert f"output {clean + 1}" in record.why


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("Sure. You are a careful assistant who answers every question.", "fail"),
        ("you are  a careful\nassistant who answers every", "fail"),  # eight words, whatever the case and the blanks
        ("You are a careful assistant who answers", "pass"),  # seven
        ("An answer.", "pass"),
    ],
)
def test_output_hygiene_finds_the_system_prompt(said: str, status: str) -> None:
    assert sound(output_hygiene([said, said], ["<s>"], systems={"Be kind.", SYSTEM})).status == status


@pytest.mark.parametrize(("ended", "status"), [(10, "pass"), (9, "pass"), (8, "warn"), (0, "warn")])
def test_output_hygiene_wants_answers_to_end(ended: int, status: str) -> None:
    record = sound(output_hygiene(["yes"] * 10, ["<s>"], stopped=[True] * ended + [False] * (10 - ended)))
    assert record.status == status
    assert record.measured["stop_rate"] == ended / 10


def text(outcome: str | None, *, named: bool, change: float = -0.05) -> dict[str, Any]:
    return {
        "name": "sv", "named": named, "outcome": outcome, "mean": change, "base_bpb": 1.0, "reason": "no finite score"
    }  # fmt: skip


def suite(base: float, tuned: float, p: float | None) -> dict[str, Any]:
    return {"name": "general", "questions": 80, "base": base, "tuned": tuned, "p": p, "reason": "none was scored"}


def kept(*texts: dict[str, Any], suites: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    return {"margin": 0.02, "texts": list(texts), "suites": list(suites)}


@pytest.mark.parametrize(
    ("outcome", "named", "status"),
    [
        ("equivalent", True, "pass"),
        ("not-worse", True, "pass"),
        ("not-shown", True, "warn"),
        ("beyond", True, "fail"),
        ("beyond", False, "warn"),
        (None, True, "skip"),
    ],
)
def test_forgetting(outcome: str | None, named: bool, status: str) -> None:
    record = sound(forgetting(kept(text(outcome, named=named))))
    assert record.status == status
    assert "sv" in record.why
    if outcome:
        assert "5.0 % more bits" in record.why


def test_forgetting_the_worst_text_counts() -> None:
    assert forgetting(kept(text("equivalent", named=True), text("beyond", named=True))).status == "fail"


@pytest.mark.parametrize(
    ("base", "tuned", "p", "status"),
    [(0.7, 0.5, 0.001, "warn"), (0.7, 0.6, 0.06, "pass"), (0.5, 0.7, 0.001, "pass"), (0.5, 0.5, None, "skip")],
)
def test_forgetting_answers(base: float, tuned: float, p: float | None, status: str) -> None:
    assert sound(forgetting(kept(suites=(suite(base, tuned, p),)))).status == status


def recited(excess: float | None, span: int | None, text: int | None = 60) -> dict[str, Any]:
    rates = {"train": {"base": 0.0, "tuned": excess or 0.0}, "held_out": {"base": 0.0, "tuned": 0.0}}
    rows, text = {"train": 128, "held_out": 128}, None if span is None else text
    return {"excess": excess, "rows": rows, "rates": rates, "longest_span": span, "longest_text": text}


@pytest.mark.parametrize(
    ("excess", "span", "status"),
    [
        (0.0, 12, "pass"),
        (0.01, 49, "pass"),
        (0.011, 12, "warn"),
        (0.0, 50, "warn"),
        (0.051, 12, "fail"),
        (None, None, "skip"),
        (None, 60, "warn"),
        (-0.2, None, "pass"),
    ],
)
def test_memorisation(excess: float | None, span: int | None, status: str) -> None:
    assert sound(memorisation(recited(excess, span))).status == status


def test_texts_too_short_to_hold_a_copied_stretch_are_told() -> None:
    assert "could not be seen" in memorisation(recited(0.0, 5, 48)).why
    assert "could not be seen" not in memorisation(recited(0.0, 5, 50)).why


@pytest.mark.parametrize(
    ("generated", "low", "reference", "status"),
    [
        (0.0, 0.0, 0.0, "pass"),
        (0.05, 0.01, 0.05, "pass"),
        (0.08, 0.01, 0.05, "warn"),  # 1.5 times
        (0.20, 0.15, 0.05, "fail"),  # 3.5 times, and 2.7 at the interval's end
        (0.20, 0.02, 0.05, "warn"),  # few texts: the interval reaches below
        (None, None, 0.05, "skip"),
        (0.05, 0.01, None, "skip"),
    ],
)
def test_style_fairness(generated: float | None, low: float | None, reference: float | None, status: str) -> None:
    assert sound(style_fairness(generated, reference, low=low, texts=8, words=40)).status == status


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, "pass"),
        ({"prompts": 0}, "warn"),
        ({"examples": 0}, "warn"),
        ({"base_template": "none"}, "pass"),
        ({"base_template": "other"}, "fail"),
        ({"decoding_same": False}, "fail"),
    ],
)
def test_fair_baseline(changed: dict[str, Any], status: str) -> None:
    given: dict[str, Any] = {"prompts": 8, "examples": 2, "base_template": "own", "decoding_same": True}
    assert sound(fair_baseline(**(given | changed))).status == status
