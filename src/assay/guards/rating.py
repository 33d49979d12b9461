"""The guard on preferences: were the texts compared blind, often enough, and would the answers come out again?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.core.guard import GuardRecord, Status, limits, record, worst
from assay.guards.wording import bounds, count, sentence


@dataclass(frozen=True)
class Panel:
    """One source of preferences about one comparison.

    Args:
        name: who compared what, such as ``judge, tuned against base``.
        pairs: number of pairs with an answer (in both orders, of a judge).
        consistency: share of the pairs answered more than once whose answers name the same winner; None without any.
        twice: number of pairs answered more than once.
        blind: whether each arm was shown first now and then, so that its place does not tell it.
    """

    name: str
    pairs: int
    consistency: float | None
    twice: int
    blind: bool


def rating(panels: Sequence[Panel]) -> GuardRecord:
    """Can the preferences be relied on?

    Inconsistent or not blind fails, whatever the number; too few pairs, or no pair answered twice, warns.

    Args:
        panels: everyone who compared this run's texts; the worst counts. Empty: nobody did.
    """
    agree, enough = limits("rating.consistency"), limits("rating.pairs")
    threshold = {"consistency": bounds(agree), "pairs": enough.passes}
    if not panels:
        return record("rating", "skip", "nobody compared the generated texts", threshold=threshold)
    return record(
        "rating", worst(_status(panel) for panel in panels), sentence(_said(panel) for panel in panels),
        measured=[
            {"name": p.name, "pairs": p.pairs, "consistency": p.consistency, "twice": p.twice, "blind": p.blind}
            for p in panels
        ],
        threshold=threshold,
    )  # fmt: skip


def _status(panel: Panel) -> Status:
    if panel.pairs and not panel.blind:
        return "fail"
    consistent: Status = "warn" if panel.consistency is None else limits("rating.consistency").status(panel.consistency)
    return worst([consistent, limits("rating.pairs").status(panel.pairs)])


def _said(panel: Panel) -> str:
    if panel.pairs == 0:
        return f"{panel.name}: no usable answer"
    said = f"{panel.name}: {count(panel.pairs, 'pair')}"
    enough = limits("rating.pairs").passes
    if panel.pairs < enough:
        said += f" (fewer than {enough:g})"
    if not panel.blind:
        return f"{said}, and not blind: one model's text always stood first"
    if panel.consistency is None:
        return f"{said}, none of them answered twice: consistency is unknown"
    return f"{said}; of {panel.twice} answered twice {panel.consistency:.0%} named the same winner again"
