"""Guards on the prepared data: leaks over the split line, and how many independent groups there are to judge by."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from assay.core.guard import GuardRecord, limits, record
from assay.data.leakage import Leak
from assay.guards.wording import count

_EXAMPLES = 20  # leaks shown in the record


def split_leak(leaks: Sequence[Leak], held: int, groups: Mapping[str, str], *, emptied: bool) -> GuardRecord:
    """Does no held-out item also stand in training?

    Args:
        leaks: what was found; a held-out item may stand there once per kind.
        held: number of held-out items.
        groups: the group of each item that a leak names.
        emptied: dropping the leaking items would leave a split without any.
    """
    leaking = len({leak.held_id for leak in leaks})
    bound = limits("split-leak.share")
    shared = any(leak.kind == "group" for leak in leaks)
    status = "fail" if shared or emptied else bound.status(leaking / held)
    measured = {
        "share": leaking / held,
        "leaking": leaking,
        "held_out": held,
        "kinds": dict(sorted(Counter(leak.kind for leak in leaks).items())),
        "examples": [
            asdict(leak) | {"held_group": groups[leak.held_id], "train_group": groups[leak.train_id]}
            for leak in leaks[:_EXAMPLES]
        ],
    }
    return record(
        "split-leak", status, _sentence(status, leaks, leaking, held, groups),
        measured=measured, threshold={"pass": bound.passes, "warn": bound.warns, "unit": "share of held-out items"},
    )  # fmt: skip


def _sentence(status: str, leaks: Sequence[Leak], leaking: int, held: int, groups: Mapping[str, str]) -> str:
    if not leaks:
        return f"none of {held} dev and test texts also stands in training"
    first = leaks[0]
    passage = " ".join(first.passage.split())
    example = (
        f"{groups[first.held_id]!r} (held out) against {groups[first.train_id]!r} (training), by {first.kind}: "
        f'"{passage[:77] + "..." if len(passage) > 80 else passage}"'
    )
    found = f"{leaking} of {held} held-out texts ({leaking / held:.2%}) also stand in training"
    if status == "warn":
        return f"{found}; dropped from the held-out texts, {held - leaking} are left; for example {example}"
    return f"{found}; for example {example}"


def power(test_groups: int, every: int) -> GuardRecord:
    """How many independent test groups there are; the detectable effect is known only with the verdict.

    Args:
        test_groups: groups held out for the verdict.
        every: groups in all.
    """
    bound = limits("power.groups")
    status = bound.status(test_groups)
    needed = math.ceil(bound.warns)
    if status == "fail":
        why = (
            f"{count(test_groups, 'test group')} of {every}: no verdict can be reached with fewer than "
            f"{needed}, whatever the model does"
        )
    else:
        why = f"{test_groups} independent test groups of {every}"
        why += "" if status == "pass" else f"; {bound.passes:g} would show smaller effects"
    share = needed / every
    fix = None
    if status == "fail":
        fix = (
            f"hold out a larger share (--set data.split.test={math.ceil(share * 100) / 100:g} gives {needed}), "
            "or bring more groups"
            if share <= 0.5
            else f"bring more groups: {every} are too few to hold {needed} out and learn from the rest; "
            "data.group={blocks: 40} cuts a text finer, but neighbouring blocks are less independent"
        )
    return record(
        "power", status, why, fix=fix, measured={"test_groups": test_groups, "groups": every},
        threshold={"pass": bound.passes, "warn": bound.warns, "unit": "independent test groups"},
    )  # fmt: skip
