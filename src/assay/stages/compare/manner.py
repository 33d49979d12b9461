"""How each model writes: the table of text metrics in words, and the texts themselves side by side."""

from __future__ import annotations

import math
from typing import Any

from scipy.special import stdtr, stdtrit

from assay.core.guard import limits
from assay.core.words import count as number
from assay.stages.compare.evaluation import ARMS, examples
from assay.stages.compare.evidence import Evidence, Json
from assay.stages.compare.words import NBSP, UNKNOWN, count, decimals_for, defined, fixed, percent, value_text
from assay.stats.intervals import Undefined
from assay.stats.multiplicity import benjamini_hochberg
from assay.stats.tests import groups_needed, smallest_p

SHOWN_PROMPTS = 24
TEXT_LIMIT = 3000  # characters of a generation that are shown
LEVEL = 0.95  # of the metrics' intervals, which are Student's t over prompts
REFERENCE = "reference"
COLUMNS = ARMS | {REFERENCE: "Held-out texts"}
# What a newcomer is to look at first; the others are folded away.
FIRST = ("words", "stop rate", "repeated 4-grams", "distinct-2", "MTLD", "sentence length", "reading ease",
         "known words", "like the data", "checks passed", "all checks passed", "asked language")  # fmt: skip
PLAIN = {
    "words": "words in a text",
    "characters": "characters in a text",
    "sentences": "sentences in a text",
    "sentence length": "words in a sentence",
    "distinct-1": "words that are different, of all words: the more, the more varied",
    "distinct-2": "pairs of words that are different, of all pairs: the more, the more varied",
    "distinct-3": "runs of three words that are different, of all: the more, the more varied",
    "repeated 4-grams": "runs of four words that come again in the same text, of all",
    "compression ratio": "how many times smaller the text can be packed: the more, the more it repeats itself",
    "MTLD": "words until the vocabulary begins to repeat itself: the more, the richer",
    "loops": "texts that say one thing over and over",
    "ends in a loop": "texts that end saying one thing over and over",
    "known words": "words that stand in the training texts too, of all: made-up ones do not",
    "reading ease": "Flesch’s points for English: about 100 is easy, 0 hard",
    "grade level": "Flesch and Kincaid’s school years for English",
    "like the data": "how likely a text is the data’s own and not the base’s, by a classifier of their words",
    "stop rate": "texts that the model ended by itself, before the limit",
    "all checks passed": "prompts of which every such instruction was followed",
    "checks passed": "instructions of the prompts that were followed, as far as a program can tell",
    "asked language": "answers in the language that was asked for",
}


def manner(evidence: Evidence) -> Json:
    """All text metrics of all arms; which differ beyond chance is said in words."""
    found, missing = evidence.part("generation")
    if not found:
        return {"missing": missing}
    table = found["manner"]
    if not table:
        return {"missing": "no prompts were continued"}
    metrics, equal = table["metrics"], table["equal_length"]
    clear = beyond_chance({name: metric["difference"] for name, metric in metrics.items()})
    arms = [arm for arm in COLUMNS if any(arm in metric["arms"] for metric in metrics.values())]
    rows = {name: _metric(name, metric, arms, clear[name]) for name, metric in metrics.items()}
    prompts = max((metric["difference"]["units"] for metric in metrics.values()), default=0)
    first = [name for name in FIRST if name in rows]
    return {
        "missing": None,
        "answer": _answer(rows, clear, prompts),
        "arms": [COLUMNS[arm] for arm in arms],
        "examples": examples(evidence) if "prompt_only" in arms else None,
        "level": percent(LEVEL, 0),
        "classifier": _classifier(found.get("adherence")),
        "vocabulary": _vocabulary(found.get("vocabulary")),
        "first": [rows[name] for name in first],
        "others": [row for name, row in rows.items() if name not in first],
        "equal": {
            "words": None if equal["words"] is None else count(equal["words"]),
            "kept": number(equal["kept"], "prompt"),
            "too_short": equal["too_short"],
            "reference": number(equal["reference"], "held-out text"),
        },
        "together": _together(table["corpus"], arms),
    }


def beyond_chance(differences: dict[str, Json]) -> dict[str, bool | None]:
    """Of each metric whether tuned and base differ beyond chance; None where too few prompts could show it.

    p is that of the t interval which the difference has: mean ÷ (half-width ÷ t) against Student's t. Where all prompts
    differ by the same amount, which leaves no spread, it is the smallest that a sign-flip test could reach. All metrics
    are one family (Benjamini, Hochberg 1995), of which at most one mark in twenty is expected to be false.
    """
    alpha = limits("paired-verdict.p").passes
    adjusted = benjamini_hochberg([_p(one) for one in differences.values()])
    ps = [None] * len(differences) if isinstance(adjusted, Undefined) else adjusted
    enough = groups_needed(alpha)
    return {
        name: None if p is None or one["units"] < enough else p < alpha
        for (name, one), p in zip(differences.items(), ps, strict=True)
    }


def _p(difference: Json) -> float | None:
    mean, low, high = (defined(difference[key]) for key in ("mean", "low", "high"))
    n = difference["units"]
    if mean is None or low is None or high is None:
        return None
    if high == low:
        return smallest_p(n) if mean else 1.0
    error = (high - low) / 2 / float(stdtrit(n - 1, (1 + LEVEL) / 2))
    return min(1.0, 2 * float(stdtr(n - 1, -abs(mean) / error)))


def _answer(rows: dict[str, Json], clear: dict[str, bool | None], prompts: int) -> list[str]:
    """The section's finding in a sentence or two."""
    told = [name for name, found in clear.items() if found is not None]
    if not told:
        least = number(groups_needed(limits("paired-verdict.p").passes), "prompt")
        return [
            f"{number(prompts, 'prompt')}: too few to tell a difference in style from chance, which takes {least}. "
            "The numbers are shown all the same."
        ]
    found = [f"{name}: {rows[name]['said']}" for name in told if clear[name]]
    if not found:
        return [f"No difference in style beyond chance, in any of {count(len(told))} metrics over {prompts} prompts."]
    return [f"{count(len(found))} of {count(len(told))} metrics differ beyond chance. {'; '.join(found)}."]


def _classifier(found: Json | None) -> str | None:
    """How good the classifier of the data's style is, or why there is none."""
    if not found:
        return None
    if found["reason"]:
        return f"There is none: {found['reason']}."
    quality = found["quality"]
    ends = f"{fixed(100 * quality['low'], 0)} to {percent(quality['high'], 0)}"
    return (
        f"Of {count(quality['texts'])} dev passages, half of them continued by the base, it tells "
        f"{percent(quality['accuracy'], 0)} right ({ends}; guessing: {percent(quality['chance'], 0)}), from the first "
        f"{count(found['words'])} words. It hears words, not sense: what is likely the data’s need not be good."
    )


def _vocabulary(found: Json | None) -> Json | None:
    """Words with how often they stand in the tuned model's texts and in held-out ones."""
    if not found:
        return None
    return {
        side: ", ".join(f"{use['word']} ({use['count']} / {use['reference_count']})" for use in uses)
        for side, uses in found.items()
    }


def _metric(name: str, metric: Json, arms: list[str], clear: bool | None) -> Json:
    cells = [metric["arms"].get(arm) or {} for arm in arms]
    difference, share = metric["difference"], metric["unit"].startswith(("share", "different"))
    # the difference is what the row is about; where it has no spread, the finest of the others
    half = _half(difference) or min((found for cell in cells if (found := _half(cell))), default=None)
    digits = 0 if half is None else decimals_for((100 if share else 1) * half, at_least=0, at_most=2)
    return {
        "name": name,
        "plain": PLAIN.get(name, metric["unit"]),
        "cut": metric["equal_length"],
        "cells": [_cell(cell, share, digits, told=difference["mean"] is not None) for cell in cells],
        "difference": _cell(difference, share, digits, sign=True),
        "said": _said(metric, clear),
        "marked": clear is True,
    }


def _half(cell: Json) -> float | None:
    low, high = defined(cell.get("low")), defined(cell.get("high"))
    return None if low is None or high is None else (high - low) / 2 or None


def _cell(cell: Json, share: bool, digits: int, *, sign: bool = False, told: bool = False) -> tuple[str, str]:
    """A mean, and what stands below it: its interval, how many prompts it left out, or (`told`) why there is none.

    Shares are in per cent, differences of shares in points; the interval of a share ends where shares end.
    """
    if not cell:
        return ("–", "does not apply")
    mean = defined(cell["mean"])
    if mean is None:
        return ("none", str(cell["reason"]) if told else "")
    unit = "" if not share else f"{NBSP}points" if sign else f"{NBSP}%"
    value = f"{fixed((100 if share else 1) * mean, digits, sign=sign)}{unit}"
    left = f", {cell['units']} of {cell['units'] + cell['left_out']}" if cell["left_out"] else ""
    low, high = defined(cell.get("low")), defined(cell.get("high"))
    if low is None or high is None:
        return (value, f"no interval{left}")
    if low == high:
        return (value, f"all alike{left}")
    if share:
        least = -100 if sign else 0
        low, high = max(least, 100 * low), min(100, 100 * high)
    return (value, f"{fixed(low, digits)} to {fixed(high, digits)}{left}")


def _said(metric: Json, clear: bool | None) -> str:
    difference = metric["difference"]
    mean = defined(difference["mean"])
    if mean is None:
        return f"not measured: {difference['reason']}"
    if clear is None:
        return "too few prompts to tell"
    if not clear:
        return "no difference beyond chance"
    way = "higher" if mean > 0 else "lower"
    if metric["better"] in ("higher", "lower"):
        return f"{way}, which is {'better' if metric['better'] == way else 'worse'}"
    ends = [defined((metric["arms"].get(arm) or {}).get("mean")) for arm in ("base", "tuned", REFERENCE)]
    if metric["better"] == "reference" and None not in ends:
        base, tuned, reference = (float(end or 0.0) for end in ends)
        nearer = math.fabs(tuned - reference) < math.fabs(base - reference)
        return f"{way}, {'nearer to' if nearer else 'further from'} the held-out texts"
    return way


def _together(corpus: dict[str, Json], arms: list[str]) -> Json:
    """All texts of an arm taken together: one number each, without an interval."""
    columns = [name for name in next(iter(corpus.values()), {}) if name != "texts"]
    return {
        "columns": columns,
        "rows": [
            {
                "label": COLUMNS[arm],
                "texts": count(corpus[arm]["texts"]),
                "cells": [_number(corpus[arm][name]) for name in columns],
            }
            for arm in arms
            if arm in corpus
        ],
    }


def _number(value: Any) -> str:
    return "none" if defined(value) is None else fixed(value, 2)


def generations(evidence: Evidence) -> Json:
    """The same prompts continued by each model."""
    if not evidence.generations:
        done = evidence.summary is not None
        return {"missing": "the experiment names no prompts" if done else evidence.why_missing("evaluate")}
    settings = (evidence.summary or {}).get("settings") or {}
    decoding = settings.get("decoding") or (evidence.summary or {}).get("decoding")
    arms = {arm: label for arm, label in ARMS.items() if any(arm in g for g in evidence.generations)}
    rows = [
        {
            "prompt": visible(str(g.get("prompt", ""))),
            "seed": g.get("seed", UNKNOWN),
            "sides": [_side(g, arm, label) for arm, label in arms.items()],
        }
        for g in evidence.generations[:SHOWN_PROMPTS]
    ]
    return {
        "missing": None,
        "rows": rows,
        "examples": examples(evidence) if "prompt_only" in arms else None,
        "cut": max(0, len(evidence.generations) - SHOWN_PROMPTS),
        "decoding": value_text(decoding) if decoding else None,
    }


def _side(generation: Json, arm: str, label: str) -> Json:
    text = visible(str(generation.get(arm, "")))
    if len(text) > TEXT_LIMIT:
        text = f"{text[:TEXT_LIMIT]} … ({len(text) - TEXT_LIMIT} more characters)"
    ended = {True: "ended by itself", False: "cut at the limit"}
    return {
        "label": label,
        "css": arm.replace("_", "-"),
        "text": text,
        "tokens": count(generation.get(f"tokens_{arm}")),
        "end": ended.get(generation.get(f"stopped_{arm}", ""), ""),
    }


def visible(text: str) -> str:
    """Control characters, which an untrained model writes and a page may not hold, as the signs that stand for them."""
    return text.translate(_SIGNS)


_SIGNS = {code: 0x2400 + code for code in range(0x20) if chr(code) not in "\t\n"} | {0x7F: 0x2421}
