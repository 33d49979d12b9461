"""An evaluation written by hand, in round numbers: what the report says of it can be worked out on paper."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fixture_run import edit, make_run

from assay.core.files import sha256_file, write_json, write_lines
from assay.core.guard import record
from assay.core.rundir import RunDir

PROMPTS = ("To be, or not to be,", "O Romeo,", "My lord,", "What news", "Enter a", "The king", "Good night,", "Alas,")
ARMS = ("base", "prompt_only", "tuned")


def interval(mean: float | None, half: float = 0.0, units: int = 8, reason: str | None = None) -> dict[str, Any]:
    """A cell of the table of text metrics."""
    low, high = (None, None) if mean is None else (mean - half, mean + half)
    left_out = 8 - units if units < 8 else 0
    return {"mean": mean, "low": low, "high": high, "units": units, "left_out": left_out, "reason": reason}


def metric(
    unit: str, better: str, arms: list[float], difference: dict[str, Any], *, cut: bool = False
) -> dict[str, Any]:
    """A metric of base, prompt-only, tuned and (where there are four numbers) reference."""
    cells = {arm: interval(mean, abs(mean) / 10) for arm, mean in zip((*ARMS, "reference"), arms, strict=False)}
    return {"unit": unit, "better": better, "equal_length": cut, "arms": cells, "difference": difference}


SHORT = interval(None, units=0, reason="fewer than 50 words, or none that comes twice")
METRICS = {
    "words": metric("words", "reference", [100, 110, 120, 150], interval(20, 5)),
    "repeated 4-grams": metric(
        "share of 4-grams of words", "lower", [0.02, 0.03, 0.10, 0.01], interval(0.08, 0.03), cut=True
    ),
    "distinct-2": metric(
        "different ÷ all 2-grams of words", "reference", [0.90, 0.91, 0.91, 0.95], interval(0.01, 0.04), cut=True
    ),
    "MTLD": {
        "unit": "words", "better": "reference", "equal_length": True,
        "arms": dict.fromkeys((*ARMS, "reference"), SHORT), "difference": SHORT,
    },
    "stop rate": metric("share of outputs", "none", [0.5, 0.5, 0.75], interval(0.25, 0.4)),
    "commas": metric("per 1,000 characters", "reference", [12.0, 12.0, 14.0, 20.0], interval(2.0, 4.0)),
}  # fmt: skip
CORPUS = {"texts": 8, "distinct-1": 0.5, "distinct-2": 0.875, "distinct-3": None, "compression ratio": 1.75}
COST = {
    arm: {
        "batch": 8, "tokens_per_s": together, "tokens_per_s_alone": alone, "first_token_s": first, "peak_memory": peak
    }
    for arm, together, alone, first, peak in (
        ("base", 41.5, 12.5, 0.08, 1_200_000_000),
        ("prompt_only", 30.0, 10.0, 0.4, None),
        ("tuned", 38.0, 11.0, 1.25, 1_300_000_000),
    )
}  # fmt: skip


def text(name: str, named: bool, base: float, mean: float, low: float, high: float, outcome: str) -> dict[str, Any]:
    """The record of one language: base - tuned in bits per byte."""
    return {
        "name": name, "named": named, "groups": 12, "base_bpb": base, "tuned_bpb": base - mean, "mean": mean,
        "low": low, "high": high, "level": 0.9, "margin": 0.02 * base, "p_worse": 0.5, "p_better": 0.5, "p": 0.5,
        "n_groups": 12, "outcome": outcome,
    }  # fmt: skip


FORGETTING = {
    "margin": 0.02,
    "texts": [
        text("sv", True, 2.0, -0.1, -0.12, -0.08, "beyond"),
        text("de", True, 1.6, -0.016, -0.048, 0.016, "not-shown"),
        text("en", False, 1.0, -0.005, -0.012, 0.002, "equivalent"),
    ],
    "suites": [
        {
            "name": "general", "questions": 80, "base": 0.5, "tuned": 0.4, "both": 30, "only_first": 10,
            "only_second": 2, "neither": 38, "unscored_first": 0, "unscored_second": 0, "p": 158 / 4096,
        }
    ],
}  # fmt: skip
MEMORISATION = {
    "prompt_tokens": 50, "continued_tokens": 50, "rows": {"train": 100, "held_out": 50},
    "too_short": {"train": 3, "held_out": 0},
    "rates": {"train": {"base": 0.01, "tuned": 0.06}, "held_out": {"base": 0.02, "tuned": 0.02}},
    "excess": 0.05, "longest_span": 63, "longest_text": 120,
}  # fmt: skip
DIFFERENCE = {
    "mean": 0.1, "low": 0.08, "high": 0.12, "half_width": 0.02, "method": "t", "level": 0.95, "p": 2 / 256,
    "n_groups": 8, "sd": 0.0239, "mde": 0.0284, "groups_for_half": 25, "base_mean": 2.0, "reason": None,
}  # fmt: skip


def write_evaluation(root: Path) -> RunDir:
    """A finished run whose evaluation holds all parts."""
    unwelcome = [
        record("forgetting", "fail", "sv: +5.0 % bits per byte, beyond the margin"),
        record("memorisation", "warn", "6.0 % of 100 training stretches are gone on with word for word"),
        record("fair-baseline", "pass", "base and tuned got the same 8 prompts", measured={"examples": 2}),
        record("selection-hygiene", "pass", "the first weights measured on these test texts", measured={"looks": 1}),
    ]
    run = make_run(root, guards=unwelcome)
    summary = json.loads(run.summary.read_text())
    sentence = "better by 0.100 ± 0.020 bits per byte (8 held-out groups, p = .008); this checkpoint only (1 seed)"
    edit(
        run.summary,
        {
            "schema": 2,
            "difference": DIFFERENCE,
            "verdict": summary["verdict"] | {"sentence": sentence},
            "forgetting": FORGETTING,
            "memorisation": MEMORISATION,
            "generation": {
                "cost": COST,
                "manner": {
                    "metrics": METRICS,
                    "equal_length": {"words": 40, "kept": 7, "too_short": 1, "reference": 60, "reference_too_short": 4},
                    "corpus": {arm: CORPUS for arm in (*ARMS, "reference")},
                },
            },
        },
    )
    write_lines(run.generations, [_line(i, prompt) for i, prompt in enumerate(PROMPTS)])
    return run


def _line(number: int, prompt: str) -> dict[str, Any]:
    line: dict[str, Any] = {"id": f"prompt-{number}", "prompt": prompt, "seed": 42 + number}
    for arm in ARMS:
        line |= {arm: f"{arm} says {number} <b>\x07", f"tokens_{arm}": 60, f"stopped_{arm}": arm == "tuned"}
    return line


def share(mean: float | None, low: float | None, high: float | None, reason: str | None = None) -> dict[str, Any]:
    """An estimate over prompts."""
    return {"mean": mean, "low": low, "high": high, "level": 0.95, "groups": 8, "reason": reason}


def comparison(against: str, rate: dict[str, Any], counts: tuple[int, int, int], p: float | None) -> dict[str, Any]:
    """What answers about tuned against another arm came to."""
    wins, ties, losses = counts
    return {
        "arm": "tuned", "against": against, "wins": wins, "ties": ties, "losses": losses, "rate": rate, "p": p,
        "pairs": 8, "equal": 0, "unparsable": 1, "blind": True, "twice": 8, "consistency": share(0.875, 0.47, 0.99),
        "first_share": share(0.55, 0.4, 0.7), "length_gap": share(3.0, -1.0, 7.0), "longer_wins": share(0.5, 0.2, 0.8),
        "people": None,
    }  # fmt: skip


def write_judged(run: RunDir) -> None:
    """A judge's answers and two people's, about the texts as they are."""
    both = [
        comparison("base", share(0.8125, 0.6, 0.95), (6, 1, 1), 0.03125),
        comparison("prompt_only", share(0.5, 0.2, 0.8), (3, 2, 3), 1.0),
    ]
    common = {"schema": 1, "generations_sha256": sha256_file(run.generations), "answers": 32, "comparisons": both}
    chances = {"tuned": share(0.8, 0.55, 0.97), "prompt_only": share(0.78, 0.5, 0.96)}
    write_json(
        run.judge,
        common | {
            "judge": {"model": "a-judge", "url": "http://localhost/v1", "seed": 0}, "raters": ["a-judge"],
            "strengths": {"against": "base", "chances": chances, "reason": None},
            "tokens": {"in": 3200, "out": 224, "uncounted_answers": 0},
        },
    )  # fmt: skip
    unasked = comparison("base", share(None, None, None, "no groups"), (0, 0, 0), None)
    stars = {
        "arms": {"base": share(3.0, 2.5, 3.5), "tuned": share(3.75, 3.25, 4.25)}, "shifts": {}, "corrected": None,
        "reason": "not every rater has rated an anchor: scales cannot be aligned",
        "beyond": {"base": share(0.75, 0.25, 1.25)},
        "raters_agree": {"alpha": None, "reason": "no unit was rated by two"},
    }  # fmt: skip
    write_json(
        run.ratings,
        common | {
            "raters": ["first", "second"], "comparisons": [unasked | {"twice": 0, "blind": False}], "unanswered": 2,
            "strengths": {"against": None, "chances": None, "reason": "only two arms were compared"},
            "raters_agree": {"alpha": 0.42, "reason": None}, "stars": stars,
        },
    )  # fmt: skip
