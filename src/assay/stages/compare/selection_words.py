"""A choice by weighted criteria in sentences: what is chosen, how sure that is, and what would change it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.core.console import duration
from assay.core.words import count, listed
from assay.stages.compare.criterion import Criterion, Kind
from assay.stages.compare.words import NBSP, decimals_for, fixed, percent, share, short
from assay.stats.choice import Choice, Flip

SURE = 0.95  # of the redrawn measurements: below, what was measured does not tell the chosen one from the others
NAMED = 3  # turning points that are told in sentences, the nearest
LEAST = 0.005  # a smaller share is not named beside others
SCALINGS = {"rank": "ranks instead of amounts", "ratio": "doublings beyond the first entry"}
_BYTES = {1e12: "TB", 1e9: "GB", 1e6: "MB", 1e3: "kB"}
Labels = Mapping[str, str]


def sentences(choice: Choice, labels: Labels, weights: str, once: Sequence[Kind]) -> list[str]:
    """What a choice comes to.

    Args:
        choice: of `stats.choice`.
        labels: what readers call each criterion, to stand within a sentence.
        weights: whose they are, as in ``under your weights``.
        once: criteria of which some entry was measured once, so that it has no spread of its own.
    """
    if len(choice.names) == 1:
        return [f"{choice.names[0]} is the only entry: there is nothing to choose from"]
    told_apart = [*_never(choice), *_fresh(choice)]
    if choice.chosen is None:
        return [
            f"{listed(choice.best)} are equally good {weights} (overall {fixed(max(choice.overall), 2)} of 1), so that "
            "none is chosen: weigh the criteria otherwise, or measure more",
            _by_chance(choice, labels, once),
            *told_apart,
        ]
    ranked = sorted(range(len(choice.names)), key=lambda i: -choice.overall[i])
    first, second = ((choice.names[i], fixed(choice.overall[i], 2)) for i in ranked[:2])
    return [
        f"{first[0]} is chosen {weights}: overall {first[1]} of 1; next is {second[0]} with {second[1]}",
        _by_chance(choice, labels, once),
        _by_weights(choice, labels),
        *_turns(choice, labels),
        *_by_scaling(choice),
        *told_apart,
    ]


def unweighed(choice: Choice, labels: Labels) -> list[str]:
    """What can be said before anybody has weighed the criteria: what any weights could choose."""
    if len(choice.names) == 1:
        return [f"{choice.names[0]} is the only entry: there is nothing to choose from"]
    shares = sorted(zip(choice.in_weightings, choice.names, strict=True), reverse=True)
    told = ", ".join(f"{name} {share(own)}" for own, name in shares if own >= LEAST)
    return [
        "no entry is chosen: what each criterion is worth is yours to say, as in --weights quality=3,memory=1",
        f"the shares of all possible weightings that choose each: "
        f"{told}; this ranks nothing, as most weightings are nobody's",
        *_never(choice),
    ]


def _by_chance(choice: Choice, labels: Labels, once: Sequence[Kind]) -> str:
    # of equals the one that is best most often
    leading = choice.chosen or max(choice.best, key=lambda name: choice.in_draws[choice.names.index(name)])
    at = choice.names.index(leading)
    own = choice.in_draws[at]
    said = f"measured values redrawn within their uncertainty choose {'it' if choice.chosen else leading} in "
    said += f"{share(own)} of the cases" + _others(choice.names, choice.in_draws, at)
    if own < SURE and choice.chosen:
        said += ": what was measured does not tell it from the others for sure"
    fixed_ones = [labels[kind.name] for kind in once if not kind.resolution]
    near = [f"{labels[kind.name]} within {percent(kind.resolution, 0)}" for kind in once if kind.resolution]
    taken = [listed(near)] if near else []
    taken += [f"{listed(fixed_ones)} as measured"] if fixed_ones else []
    if taken:
        said += f" (measured once: {', '.join(taken)})"
    return said


def _by_weights(choice: Choice, labels: Labels) -> str:
    if len(choice.criteria) == 1:
        return f"{labels[choice.criteria[0]]} alone is weighed"
    at = choice.names.index(str(choice.chosen))
    said = f"it stays chosen in {share(choice.in_weightings[at])} of all possible weightings of these "
    return said + f"{count(len(choice.criteria), 'criterion', 'criteria')}" + _others(
        choice.names, choice.in_weightings, at
    )  # fmt: skip


def _others(names: Sequence[str], shares: Sequence[float], at: int) -> str:
    named = [f"{names[i]} {share(own)}" for i, own in enumerate(shares) if i != at and own >= LEAST]
    return f" ({', '.join(named)})" if named else ""


def _turns(choice: Choice, labels: Labels) -> list[str]:
    """The nearest turning points."""
    if len(choice.criteria) == 1:
        return []
    found = sorted(
        (abs(edge - flip.weight), turn)
        for flip in choice.flips
        for edge, turn in zip((flip.under, flip.over), turns(flip, labels), strict=True)
        if edge is not None and turn
    )
    if not found:
        return ["no change of one weight alone would choose another"]
    more = len(found) - NAMED
    rest = f" (the table has {count(more, 'turning point')} more)" if more > 0 else ""
    return [f"it would be {'; '.join(turn for _, turn in found[:NAMED])}{rest}"]


def turns(flip: Flip, labels: Labels | None = None) -> tuple[str | None, str | None]:
    """What would be chosen below and above a criterion's turning points; None where there is none."""
    said: list[str | None] = []
    for edge, instead, way in ((flip.under, flip.instead_under, "less"), (flip.over, flip.instead_over, "more")):
        if edge is None:
            said.append(None)
            continue
        limit, now = _apart(edge, flip.weight)
        subject, rest = (f"{labels[flip.criterion]} counted ", f" (now {now})") if labels else ("", "")
        said.append(f"{' or '.join(instead)} if {subject}{way} than {limit}{rest}")
    return said[0], said[1]


def _apart(one: float, other: float) -> tuple[str, str]:
    """Two numbers with as many decimals, two at least, as show that they are not the same."""
    for digits in range(2, 6):
        both = fixed(one, digits), fixed(other, digits)
        if both[0] != both[1]:
            break
    return both


def _by_scaling(choice: Choice) -> list[str]:
    others = {kind: name for kind, name in choice.by_scaling.items() if name not in (None, choice.chosen)}
    return [f"with {SCALINGS[kind]} it would be {name}" for kind, name in others.items()]


def _never(choice: Choice) -> list[str]:
    said = [
        f"{name} is chosen under no weights: {listed(better)} {'is' if len(better) == 1 else 'are'} as good or better "
        "in everything that is weighed"
        for name, better in choice.dominated.items()
    ]
    between = [name for name in choice.never if name not in choice.dominated and name not in choice.best]
    return [*said, *([f"{listed(between)} would be chosen under no weights of these criteria"] if between else [])]


def _fresh(choice: Choice) -> list[str]:
    if "quality" not in choice.criteria:
        return []
    return [
        "the choice was made by the held-out texts: there the best of several looks better than it is, so confirm it "
        "on texts that had no part in it"
    ]


def amount(unit: str, value: float, half: float | None = None) -> str:
    """A value with its unit, with as many digits as an uncertainty (half an interval) bears."""
    if unit == "bytes":
        step = next((step for step in _BYTES if abs(value) >= step), 1.0)
        return f"{short(value / step, 3)}{NBSP}{_BYTES.get(step, 'B')}"
    if unit == "s":
        return duration(value) if value >= 10 else f"{short(value, 3)}{NBSP}s"
    if unit == "share":
        return percent(value, decimals_for(100 * half, at_least=0, at_most=2) if half else 1)
    return fixed(value, decimals_for(half, at_least=0, at_most=5)) if half else short(value)


def told(cell: Criterion) -> tuple[str, str]:
    """A criterion's value in words, and its interval with how far the seeds are apart."""
    value, unit, half = float(cell.value or 0.0), cell.kind.unit, None
    if cell.low is None or cell.high is None:
        ends = "measured once" if cell.n == 1 else "no interval"
    elif cell.low == cell.high:
        ends = "all alike"
    else:
        half = (cell.high - cell.low) / 2
        ends = f"{amount(unit, cell.low, half)} to {amount(unit, cell.high, half)}"
    seeds = count(len(cell.by_seed), "seed") if len(cell.by_seed) > 1 else ""
    if cell.seed_sd and unit == "share":
        seeds += f", sd {fixed(100 * cell.seed_sd, decimals_for(100 * cell.seed_sd, at_least=0))} points"
    elif cell.seed_sd:
        seeds += f", sd {amount(unit, cell.seed_sd, cell.seed_sd)}"
    return amount(unit, value, half), "; ".join(part for part in (ends, seeds) if part)
