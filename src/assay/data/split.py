"""From groups to the splits train, dev and test, whatever the order in which the groups came.

The group is the independent unit (a play, a chapter, a conversation): texts of one group never
stand on both sides of a split. Splitting knows no tokenizer.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from assay.core.errors import InputError

SPLITS = ("train", "dev", "test")
Amount = int | float  # a number of groups, or a share of them below 1


def split_groups(
    groups: Iterable[str], dev: Amount | None, test: Amount | None, seed: int, strata: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Give each group its split.

    The groups are sorted by sha256 of ``seed:group``; the first of them are test, the next dev, the rest train. A
    share becomes round(share x G) groups, halves rounded up, and one at least. With strata each stratum gives the
    share of its groups, the largest remainders rounded up until the sum is right.

    Args:
        groups: their names; repeated ones count once.
        dev: a share in (0, 1), a number of groups, or None for no dev groups (they come from elsewhere).
        test: likewise.
        seed: another seed gives another split.
        strata: group → stratum.

    Returns:
        group → ``train``, ``dev`` or ``test``.

    Raises:
        InputError: there are too few groups for each wanted split to have one.
    """
    order = sorted(set(groups), key=lambda group: hashlib.sha256(f"{seed}:{group}".encode()).digest())
    wanted = {name: amount for name, amount in (("dev", dev), ("test", test)) if amount is not None}
    if len(order) < len(wanted) + 1:
        raise too_few(len(order), len(wanted) + 1)
    held = {name: _number(amount, len(order)) for name, amount in wanted.items()}
    over = [name for name in held if isinstance(wanted[name], int) and held[name] >= len(order)]
    if over or (sum(held.values()) >= len(order) and all(isinstance(amount, int) for amount in wanted.values())):
        raise InputError(
            f"{' and '.join(f'{n} {name}' for name, n in held.items())} groups are to be held out, but there are "
            f"{len(order)} in all",
            where=f"data.split.{over[0] if over else 'test'}",
            fix="hold out fewer groups, or a share such as 0.2",
        )
    while sum(held.values()) >= len(order):
        held[max(held, key=lambda name: held[name])] -= 1
    assigned: dict[str, str] = {}
    for name in ("test", "dev"):
        for group in _choose([g for g in order if g not in assigned], held.get(name, 0), strata):
            assigned[group] = name
    return {group: assigned.get(group, "train") for group in order}


def _number(amount: Amount, count: int) -> int:
    return amount if isinstance(amount, int) else max(1, math.floor(amount * count + 0.5))


def _choose(order: Sequence[str], count: int, strata: Mapping[str, str] | None) -> list[str]:
    """The first `count` groups of the order; with strata, of each stratum in proportion (largest remainders)."""
    if strata is None:
        return list(order[:count])
    members: dict[str, list[str]] = defaultdict(list)
    for group in order:
        members[strata[group]].append(group)
    shares = {stratum: count * len(own) / len(order) for stratum, own in members.items()}
    numbers = {stratum: math.floor(share) for stratum, share in shares.items()}
    by_remainder = sorted(shares, key=lambda stratum: (numbers[stratum] - shares[stratum], stratum))
    for stratum in by_remainder[: count - sum(numbers.values())]:
        numbers[stratum] += 1
    return [group for stratum, own in members.items() for group in own[: numbers[stratum]]]


def strata_of(groups: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    """The stratum of each group: the value that most of its items have, of equally many the first in order.

    Args:
        groups: the group of each item.
        values: the value of each item.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for group, value in zip(groups, values, strict=True):
        counts[group][value] += 1
    return {group: min(found, key=lambda value: (-found[value], value)) for group, found in counts.items()}


def nested_subset(digests: Sequence[bytes], count: int, seed: int) -> list[int]:
    """Numbers of `count` items, ascending: with one seed a smaller subset lies within a larger one.

    Args:
        digests: a hash of each item's content; the choice depends on these alone, not on their order.
        count: how many; all, where there are fewer.
        seed: another seed gives another subset.
    """
    keys = [hashlib.sha256(f"{seed}:".encode() + digest).digest() for digest in digests]
    return sorted(sorted(range(len(keys)), key=keys.__getitem__)[:count])


def too_few(count: int, needed: int, rule: object = None, dropped: Mapping[str, int] | None = None) -> InputError:
    """The error for data with too few groups to split."""
    lost = f" ({', '.join(f'{n} x {reason}' for reason, n in dropped.items())} dropped)" if dropped else ""
    by = f" by {rule!r}" if rule is not None else ""
    rules = rule if isinstance(rule, dict) else {}
    if "row" in rules:
        fix = "bring more rows"
    elif "blocks" in rules:
        fix = "bring more text, so that it can be cut"
    else:
        fix = "set data.group to a rule that finds more groups: {row: true} for a table, {blocks: 40} for a text"
    return InputError(
        f"the data has {count} group{'' if count == 1 else 's'}{by}{lost}; "
        f"train, dev and test need at least one each, {needed} in all",
        where="data.group",
        fix=fix,
    )
