"""Which gathered items stay, in which group and split: decided on numbers and hashes, before anything is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.core.errors import InputError
from assay.data.dedup import NearDuplicates
from assay.data.grams import Template
from assay.data.intake import SIDES, Gathered
from assay.data.split import SPLITS, Amount, split_groups, strata_of, too_few
from assay.data.tally import EXAMPLES, Drop

DROPPED = -1
_EXAMPLES = 5  # pairs of near-duplicates shown
_EXCERPT = 300  # characters
_Numbers = npt.NDArray[np.int64]


@dataclass
class Arranged:
    """Per item number its split (index into SPLITS, or DROPPED) and its group's number in `names`."""

    split: npt.NDArray[np.int8]
    group: _Numbers
    names: list[str]


def same(gathered: Gathered) -> list[list[int]]:
    """Numbers of the items with equal content, two or more together."""
    words = np.frombuffer(bytes(gathered.digests), dtype=">u8").reshape(-1, 4)[:, :2]
    order = np.lexsort((words[:, 1], words[:, 0]))
    new = np.any(words[order][1:] != words[order][:-1], axis=1)
    parts = np.split(order, np.flatnonzero(new) + 1) if len(order) else []
    return [sorted(part.tolist()) for part in parts if len(part) > 1]


class Duplicates:
    """Equal and nearly equal items: one of each cluster is kept, or all of them on one side of the split."""

    def __init__(self, gathered: Gathered, *, drop: bool) -> None:
        self.gathered, self.drop = gathered, drop
        self.gone = np.zeros(len(gathered), dtype=bool)
        self.names = list(gathered.groups)
        self._leader = list(range(len(self.names)))  # union-find over groups

    def exact(self) -> None:
        """Deal with the items of equal content."""
        for cluster in same(self.gathered):
            self._deal(cluster, "duplicate")

    def near(self, threshold: float, template: Template) -> dict[str, Any]:
        """Deal with the items nearly equal; returns what was found, for the manifest."""
        spill = self.gathered.spill
        search = NearDuplicates(threshold, template)
        alive = np.flatnonzero(~self.gone)
        done = 0
        for texts in spill.texts():
            search.add([text for at, text in enumerate(texts, done) if not self.gone[at]])
            done += len(texts)
        clusters = [
            [int(alive[number]) for number in cluster]
            for cluster in search.clusters(lambda numbers: spill.fetch([int(alive[n]) for n in numbers]))
        ]
        examples = [
            [text.strip()[:_EXCERPT] for text in spill.fetch(sorted(cluster)[:2])] for cluster in clusters[:_EXAMPLES]
        ]
        for cluster in clusters:
            self._deal(cluster, "near-duplicate")
        return {
            "threshold": threshold,
            "clusters": len(clusters),
            "largest": max(map(len, clusters), default=0),
            "compared_in_parts": search.apart,
            "examples": examples,
        }

    def _deal(self, cluster: Sequence[int], reason: str) -> None:
        g = self.gathered
        if not self.drop:
            for number in cluster[1:]:
                self._unite(g.group[cluster[0]], g.group[number])
            return
        # what was given as test stays test; then the longest; then whatever does not depend on the order
        best, *rest = sorted(cluster, key=lambda n: (-g.side[n], -g.size[n], g.digest(n), self.names[g.group[n]]))
        self.gone[rest] = True
        shown = rest[: max(0, EXAMPLES - len(g.items.examples.get(reason, ())))]
        if shown:
            kept, *places = g.spill.fetch([best, *shown], "place")
            for place, text in zip(places, g.spill.fetch(shown), strict=True):
                g.items.unkeep(Drop(reason, f"of {kept}"), place, text)
        g.items.unkeep_many(reason, len(rest) - len(shown))

    def _unite(self, one: int, other: int) -> None:
        one, other = self._find(one), self._find(other)
        # the name that comes first names both, whatever came first
        first, second = sorted((one, other), key=self.names.__getitem__)
        self._leader[second] = first

    def _find(self, group: int) -> int:
        while self._leader[group] != group:
            self._leader[group] = self._leader[self._leader[group]]
            group = self._leader[group]
        return group

    def groups(self) -> _Numbers:
        """The group of each item, united groups under one number."""
        leaders = np.array([self._find(group) for group in range(len(self._leader))], dtype=np.int64)
        return leaders[np.asarray(self.gathered.group, dtype=np.int64)]


def arrange(
    gathered: Gathered, duplicates: Duplicates, *, dev: Amount | None, test: Amount | None, seed: int, stratified: bool
) -> Arranged:
    """Split what is left by group.

    Args:
        dev: a share, a number of groups, or None where files of their own were given.
        test: likewise.
        seed: of the split.
        stratified: by the strata of the items.

    Raises:
        InputError: too few groups, or a split would be empty.
    """
    group, names = duplicates.groups(), duplicates.names
    side = np.asarray(gathered.side, dtype=np.int8)
    free = np.flatnonzero(~duplicates.gone & (side == SIDES.index("")))
    found = {int(number) for number in np.unique(group[free])}
    wanted = 1 + sum(amount is not None for amount in (dev, test))
    if len(found) < wanted:
        rule = gathered.rule.rule if gathered.rule else None
        raise too_few(len(found), wanted, rule, gathered.items.dropped)
    strata = None
    if stratified:
        values = list(gathered.strata)
        strata = strata_of([names[group[n]] for n in free], [values[gathered.stratum[n]] for n in free])
    assigned = split_groups([names[number] for number in sorted(found)], dev, test, seed, strata)
    table = np.full(len(names), DROPPED, dtype=np.int8)
    for number in found:
        table[number] = SPLITS.index(assigned[names[number]])
    split = np.where(side == SIDES.index(""), table[group], np.where(side == SIDES.index("dev"), 1, 2)).astype(np.int8)
    split[duplicates.gone] = DROPPED
    arranged = Arranged(split, group, names)
    for number, name in enumerate(SPLITS):
        if not (split == number).any():
            raise InputError(
                f"no text is left for {name}", where=f"data.split.{name}", fix="bring more texts, or loosen data.clean"
            )
    return arranged
