"""Which setting is chosen, and whether another set of prompts confirms it.

The rule. Settings of which more than `max_loops` of the texts hold a loop are dropped. Of the rest the one is chosen
whose texts lie nearest to human texts of the same length: in how surprising they are to the base, in how much they
repeat, in the variety of their words, and of answers in their length. Human texts, since likelihood alone prefers
loops and variety alone prefers noise (arXiv 1904.09751). Where every setting loops, the one that does so least is
chosen, and said to loop.

The share of texts is what was found, and no bound: none of six can be far from none of all. So the exact interval of
the share of groups with any loop stands beside it, which is never below the share of texts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from assay.core.guard import limits
from assay.stats.intervals import Undefined, paired_interval, share_interval
from assay.stats.multiplicity import holm
from assay.stats.tests import groups_needed, sign_flip_p

Groups = Mapping[str, float]  # a number of each group
TESTED = ("loop", "distance")  # both are better when lower
VERDICTS = {True: "confirmed", False: "not confirmed", None: "cannot conclude"}


@dataclass(frozen=True)
class Candidate:
    """A setting's loops and distance on the prompts that choose, by group."""

    name: str
    loops: Groups
    distance: Groups


@dataclass(frozen=True)
class Choice:
    """The chosen setting, why, and of every other why not.

    `loops_too` where none keeps below the threshold; `unjudged` where some do, and none of these could be held against
    human texts. In both it is the one that loops least.
    """

    name: str
    why: str
    dropped: dict[str, str]
    loops_too: bool
    unjudged: bool


def choose(candidates: Sequence[Candidate], max_loops: float) -> Choice:
    """Choose by the rule of this module; of equals the first."""
    loops = {one.name: fmean(one.loops.values()) for one in candidates}
    # a distance over fewer groups than the others' is no smaller one
    groups = max(len(one.loops) for one in candidates)
    distance = {one.name: fmean(one.distance.values()) for one in candidates if len(one.distance) == groups}
    short = "its texts are too short, or human ones too few, to hold one against the other"
    dropped = {
        name: f"{_percent(share)} of its texts hold a loop" for name, share in loops.items() if share > max_loops
    }
    dropped |= {name: short for name in loops if name not in distance and name not in dropped}
    left = [name for name in loops if name not in dropped]
    by_name = {one.name: one for one in candidates}
    if left:
        chosen = min(left, key=distance.__getitem__)
        why = f"it alone loops in at most {_percent(max_loops)} of its texts and can be held against human ones"
        if len(left) > 1:
            why = (
                f"of the {len(left)} settings that loop in at most {_percent(max_loops)} of their texts, "
                "its texts are the nearest to human ones"
            )
            apart = {one.name: {"distance": one.distance} for one in candidates if one.name in left}
            tests = compared(apart.pop(chosen), apart, ("distance",))
            if close := sum(not test.shown for test in tests):
                verb = "is" if close == 1 else "are"
                why += f"; {close} of the {len(tests)} others {verb} not shown to be further off"
        return Choice(
            chosen, f"{why}; {looping(by_name[chosen].loops, max_loops)}", dropped, loops_too=False, unjudged=False
        )
    chosen = min(loops, key=lambda name: (loops[name], distance.get(name, float("inf"))))
    loops_too = loops[chosen] > max_loops  # it loops least
    why = f"none loops in at most {_percent(max_loops)} of its texts"
    if not loops_too:
        why = f"none that loops in at most {_percent(max_loops)} of its texts can be held against human ones"
    others = {name: text for name, text in dropped.items() if name != chosen}
    why += f"; it loops least; {looping(by_name[chosen].loops, max_loops)}"
    return Choice(chosen, why, others, loops_too=loops_too, unjudged=not loops_too)


def with_loops(loops: Groups) -> tuple[int, float, float]:
    """How many groups have any loop, and the exact 95 % interval of their share."""
    hits = sum(value > 0 for value in loops.values())
    return hits, *share_interval(hits, len(loops))


def looping(loops: Groups, max_loops: float) -> str:
    """The groups with any loop and the interval of their share in words, and whether so few could show a low share."""
    (hits, low, high), n = with_loops(loops), len(loops)
    said = f"{hits} of {n} groups have a loop, 95 % interval {100 * low:.0f} to {_percent(high)}"
    if share_interval(0, n)[1] <= max_loops:
        return said
    said += f": so few groups cannot show a share of at most {_percent(max_loops)}"
    if max_loops < 0.005:  # as good as none: no number of groups that one can have
        return said
    # none of n leaves up to 1 - 0.025^(1/n)
    return f"{said}, which takes {math.ceil(math.log(0.025) / math.log1p(-max_loops))} without a loop"


@dataclass(frozen=True)
class Test:
    """The chosen setting minus another, in one number, paired by group; p is two-sided, `adjusted` over the family."""

    against: str
    number: str
    mean: float | None
    low: float | None
    high: float | None
    p: float | None
    adjusted: float | None
    groups: int
    reason: str | None

    @property
    def lower(self) -> bool:
        """The chosen one is shown to be lower, which is better."""
        return self.shown and (self.mean or 0.0) < 0

    @property
    def higher(self) -> bool:
        """The chosen one is shown to be higher, which is worse."""
        return self.shown and not self.lower

    @property
    def shown(self) -> bool:
        """There is a difference beyond chance: p is small enough, and the interval leaves 0 out."""
        if self.adjusted is None or self.low is None or self.high is None:
            return False
        return self.adjusted < limits("paired-verdict.p").passes and not self.low <= 0 <= self.high


def compared(
    chosen: Mapping[str, Groups], others: Mapping[str, Mapping[str, Groups]], numbers: Sequence[str] = TESTED
) -> list[Test]:
    """The chosen setting against each of the others, in each of the numbers: one family (Holm)."""
    found = []
    for name, other in others.items():
        for number in numbers:
            groups = [group for group in chosen[number] if group in other[number]]
            found.append(_test(name, number, [chosen[number][g] - other[number][g] for g in groups]))
    adjusted = holm([p for _, p in found])
    ps = [None] * len(found) if isinstance(adjusted, Undefined) else adjusted
    return [Test(**values, p=p, adjusted=own) for (values, p), own in zip(found, ps, strict=True)]


def _test(against: str, number: str, differences: Sequence[float]) -> tuple[dict[str, Any], float | None]:
    interval, p = paired_interval(differences), sign_flip_p(differences)
    ends = {"low": None, "high": None} if isinstance(interval, Undefined) else {
        "low": interval.low, "high": interval.high,
    }  # fmt: skip
    values = {
        "against": against, "number": number, "mean": fmean(differences) if differences else None, **ends,
        "groups": len(differences), "reason": interval.reason if isinstance(interval, Undefined) else None,
    }  # fmt: skip
    return values, None if isinstance(p, Undefined) else p


@dataclass(frozen=True)
class Confirmation:
    """Whether other prompts confirm the choice: True, False, or None where they cannot; and in a sentence why."""

    confirmed: bool | None
    sentence: str
    tests: list[Test]


def confirm(
    name: str, loops: Groups, tests: Sequence[Test], *, max_loops: float, reference: str | None, default: str
) -> Confirmation:
    """Judge the chosen setting on prompts that had no part in the choice.

    It is confirmed where it keeps below the threshold, is shown to loop less than `reference` or to lie nearer to human
    texts, and is shown to be worse in neither than any setting that it was tested against.

    Args:
        name: of the chosen setting.
        loops: its loops on these prompts, by group.
        tests: of `compared`.
        max_loops: the threshold.
        reference: the setting that it is to beat; None where there is no other.
        default: the name of `evaluate.decoding`.
    """
    called = {one: one for one in (name, *(test.against for test in tests))}
    called[default] = f"{default} (evaluate.decoding)"
    share, n = fmean(loops.values()), len(loops)
    told = f"on {n} other groups of prompts {_percent(share)} of the texts of {called[name]} hold a loop"
    worse = [f"but {_words(test, called[test.against])}" for test in tests if test.higher]
    if share > max_loops:
        worse.insert(0, f"but no more than {_percent(max_loops)} may")
    confirmed, lack = (False, []) if worse else _beaten(tests, reference, called)
    if any((test.against, test.number, test.shown) == (default, "distance", False) for test in tests):
        lack.append(f"its texts are not shown to lie nearer to human texts than those of {called[default]}, or further")
    better = [_words(test, called[test.against]) for test in tests if test.lower]
    sentence = "; ".join([f"{VERDICTS[confirmed]}: {told}", *better, *worse, *lack, looping(loops, max_loops)])
    return Confirmation(confirmed, sentence, list(tests))


def _beaten(tests: Sequence[Test], reference: str | None, called: Mapping[str, str]) -> tuple[bool | None, list[str]]:
    """Whether the chosen setting, shown to be worse than none, is shown to be better than `reference`; else why not."""
    if reference is None:
        return None, ["there is no other setting to beat"]
    own = [test for test in tests if test.against == reference]
    needed = groups_needed(limits("paired-verdict.p").passes, len(tests))
    if max(test.groups for test in own) < needed:
        return None, [f"with {needed} groups of prompts a difference from {called[reference]} could be shown"]
    if not any(test.lower for test in own):
        return False, [f"no difference from {called[reference]} is shown"]
    return True, []


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _words(test: Test, whose: str) -> str:
    mean, p = test.mean or 0.0, test.adjusted or 0.0
    if test.number == "loop":
        way = "fewer" if mean < 0 else "more"
        return f"loops are {100 * abs(mean):.0f} points {way} than with {whose}, p = {p:.2g}"
    way = "nearer to" if mean < 0 else "further from"
    return f"its texts lie {abs(mean):.2g} spreads {way} human texts than those of {whose}, p = {p:.2g}"
