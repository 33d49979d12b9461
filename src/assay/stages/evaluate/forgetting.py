"""What a model may have forgotten: generic texts by language, and questions with one right answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.core.records import Item, Turn, is_name
from assay.data.generic import generic_items
from assay.model.score import Nats, Reading, item_readings
from assay.stats.equivalence import equivalence
from assay.stats.intervals import Undefined
from assay.stats.tests import mcnemar
from assay.stats.verdict import group_scores
from assay.text.suites import GENERIC, Question, generic_texts, questions
from assay.text.tokens import Encoder

ALWAYS = "en"  # measured whether named or not


@dataclass(frozen=True)
class Generic:
    """Texts of one language or source; `named` where the experiment asks that they be retained."""

    name: str
    named: bool
    items: list[Item]


@dataclass(frozen=True)
class Remembered:
    """All that is asked of base and tuned alike, as readings behind each other: texts, then each question's choices."""

    generic: list[Generic]
    suites: list[tuple[str, list[Question]]]
    readings: list[Reading]


def load(retain: Sequence[str], suites: Sequence[str], encoder: Encoder, *, seed: int, cache: Path) -> Remembered:
    """Read what is to be remembered.

    Args:
        retain: shipped languages (`en`, `sv`, ...) or sources of texts.
        suites: shipped question suites or files.
        encoder: of the model.
        seed: of the excerpts.
        cache: where downloads are kept.

    Raises:
        InputError: one of them is missing or unreadable.
    """
    names = [*retain, *([] if ALWAYS in retain else [ALWAYS])]
    generic = [Generic(name, name in retain, _items(name, seed, cache)) for name in names]
    asked = [(name, questions(name)) for name in suites]
    texts = [item for one in generic for item in one.items]
    answers = [item for _, found in asked for question in found for item in _choices(question)]
    return Remembered(generic, asked, item_readings([*texts, *answers], encoder))


def _items(name: str, seed: int, cache: Path) -> list[Item]:
    if is_name(name):
        return [Item(own, own, text) for own, text in generic_texts(name)]
    return generic_items(name, seed=seed, cache=cache)


def _choices(question: Question) -> list[Item]:
    """Each choice as a completion, in the words that lm-evaluation-harness asks with."""
    return [
        Item(f"{question.id}-{number}", question.id, said, (Turn("prompt", asked), Turn("completion", said)))
        for number, (asked, said) in enumerate(question.pairs)
    ]


def compare(
    remembered: Remembered, base: Sequence[Nats], tuned: Sequence[Nats], *, margin: float, alpha: float
) -> dict[str, Any]:
    """What was forgotten, by text and by suite.

    Args:
        remembered: what was read.
        base: the nats of each of its readings under the base.
        tuned: likewise.
        margin: the change that still counts as none, as a share of the base's bits per byte.
        alpha: error rate of each of the two one-sided tests.
    """
    rows = zip(remembered.readings, base, tuned, strict=True)
    return {
        "margin": margin,
        "texts": [_texts(one, rows, margin, alpha) for one in remembered.generic],
        "suites": [_suite(name, asked, rows) for name, asked in remembered.suites],
    }


Rows = Iterator[tuple[Reading, Nats, Nats]]


def _texts(one: Generic, rows: Rows, margin: float, alpha: float) -> dict[str, Any]:
    """Base - tuned in bits per byte, text by text: below 0 the tuned model is worse."""
    scored = [
        (item.group, len(b), reading.size, float(b.sum()), float(t.sum()))
        for item, (reading, b, t) in zip(one.items, rows, strict=False)
    ]
    groups = group_scores(scored)
    known = [(g.base_bpb, g.tuned_bpb) for g in groups if g.base_bpb is not None and g.tuned_bpb is not None]
    base, tuned = (sum(pair[side] for pair in known) / len(known) if known else None for side in (0, 1))
    found = {"name": one.name, "named": one.named, "groups": len(groups), "base_bpb": base, "tuned_bpb": tuned}
    if base is None or len(known) < len(groups):
        return found | {"outcome": None, "reason": "a text has no finite score"}
    tested = equivalence([before - after for before, after in known], margin * base, alpha=alpha)
    if isinstance(tested, Undefined):
        return found | {"outcome": None, "reason": tested.reason}
    return found | tested.as_json()


def _suite(name: str, asked: Sequence[Question], rows: Rows) -> dict[str, Any]:
    """How many questions each model answers: the choice with the fewest nats per byte is its answer."""
    before: list[bool | None] = []
    after: list[bool | None] = []
    for question in asked:
        scored = [next(rows) for _ in question.choices]
        sizes = [reading.size for reading, _, _ in scored]
        for answers, nats in ((before, [b for _, b, _ in scored]), (after, [t for _, _, t in scored])):
            answers.append(_answers(question, [float(n.sum()) / size for n, size in zip(nats, sizes, strict=True)]))
    found = {"name": name, "questions": len(asked), "base": _share(before), "tuned": _share(after)}
    tested = mcnemar(before, after)
    return found | ({"p": None, "reason": tested.reason} if isinstance(tested, Undefined) else tested.as_json())


def _answers(question: Question, costs: Sequence[float]) -> bool | None:
    """Whether the cheapest choice is the right one; None where a cost is not finite."""
    return costs.index(min(costs)) == question.answer if all(map(math.isfinite, costs)) else None


def _share(answers: Sequence[bool | None]) -> float | None:
    known = [answer for answer in answers if answer is not None]
    return sum(known) / len(known) if known else None


def in_words(found: dict[str, Any]) -> str:
    """The part of the verdict's sentence that tells of it."""
    margin = f"{100 * found['margin']:g} %"
    by: dict[str | None, list[str]] = {}
    for text in found["texts"]:
        by.setdefault(text["outcome"], []).append(GENERIC.get(text["name"], text["name"]))
    if "beyond" in by:
        return f"forgetting: beyond {margin} on {', '.join(by['beyond'])}"
    if "not-shown" in by:
        return f"forgetting: not ruled out beyond {margin} on {', '.join(by['not-shown'])}"
    kept = by.get("equivalent", []) + by.get("not-worse", [])
    return f"forgetting: none beyond {margin} on {', '.join(kept)}" if kept else "forgetting: not measured"
