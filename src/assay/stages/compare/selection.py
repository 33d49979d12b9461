"""Model selection: the criteria of all entries, weighed by the reader's weights, and what that leads to."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.core.errors import InputError
from assay.core.words import listed
from assay.stages.compare.criteria import KINDS, alike, measure_all
from assay.stages.compare.criterion import Criterion
from assay.stages.compare.entries import Entry
from assay.stages.compare.measured import Measured
from assay.stages.compare.selection_words import sentences, unweighed
from assay.stats.choice import Choice, Column, choose

Json = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """A criterion that takes part: its weight (they sum to 1), and each entry's value."""

    name: str
    weight: float
    cells: tuple[Criterion, ...]


@dataclass(frozen=True)
class Selection:
    """What was weighed, what was not, and what that leads to.

    `names` are the entries. `given` are the user's weights; without them nothing is chosen, and `choice` tells of all
    possible weightings alone. `left_out` are criteria that not all entries have, or whose values may not stand beside
    each other, with the reason. `choice` is None where nothing could be weighed, and `reason` says why.
    """

    names: tuple[str, ...]
    rows: tuple[Row, ...]
    left_out: tuple[tuple[str, str], ...]
    given: Mapping[str, float] | None
    choice: Choice | None
    reason: str | None = None

    @property
    def chosen(self) -> str | None:
        """The entry that the user's weights choose; None without weights, and for a tie."""
        return self.choice.chosen if self.choice and self.given is not None else None

    @property
    def sentences(self) -> list[str]:
        """What is chosen, how sure that is, and what would change it; without weights what any weights could choose."""
        if self.choice is None:
            return [str(self.reason)]
        labels = {name: kind.label.lower() for name, kind in KINDS.items()}
        if self.given is None:
            return unweighed(self.choice, labels)
        once = [row for row in self.rows if row.weight and any(cell.low is None for cell in row.cells)]
        without = [labels[name] for name, _ in self.left_out if self.given.get(name)]
        weights = "under your weights"
        weights += f" without {listed(without)}, which could not be weighed" if without else ""
        return sentences(self.choice, labels, weights, [row.cells[0].kind for row in once])

    def as_json(self) -> Json:
        """All fields, as plain JSON values."""
        return {
            "names": list(self.names),
            "weights": None if self.given is None else dict(self.given),
            "criteria": [
                {"name": row.name, "weight": row.weight, "entries": [cell.as_json() for cell in row.cells]}
                for row in self.rows
            ],
            "left_out": [{"name": name, "reason": reason} for name, reason in self.left_out],
            "chosen": self.chosen,
            "choice": self.choice.as_json() if self.choice and self.given is not None else None,
            "in_weightings": dict(zip(self.names, self.choice.in_weightings, strict=True)) if self.choice else None,
            "sentences": self.sentences,
            "reason": self.reason,
        }


def parse_weights(texts: Sequence[str]) -> dict[str, float] | None:
    """``["quality=3,memory=1"]`` or ``["quality=3", "memory=1"]`` as numbers; None where there are none.

    Raises:
        InputError: one is not ``name=number``, names no criterion, is below 0, or is given twice; or all are 0.
    """
    found: dict[str, float] = {}
    for given in (part.strip() for text in texts for part in text.split(",")):
        name, _, number = (part.strip() for part in given.partition("="))
        try:
            weight = float(number)
        except ValueError:
            raise InputError(
                f"{given!r} is no weight of a criterion", where="--weights", fix="give name=number, as in quality=3"
            ) from None
        if name in found:
            raise InputError(f"{name} has two weights", where="--weights", fix="give each criterion one weight")
        found[name] = weight
    check_weights(found)
    return found or None


def check_weights(weights: Mapping[str, float]) -> None:
    """Nothing, where these are weights of criteria.

    Raises:
        InputError: a name is no criterion's, a number is below 0 or not finite, or all are 0.
    """
    for name, weight in weights.items():
        if name not in KINDS:
            near = difflib.get_close_matches(name, KINDS, n=1, cutoff=0.0)[0]
            raise InputError(
                f"{name!r} is no criterion", where="--weights",
                fix=f"did you mean {near}? There are {', '.join(KINDS)}",
            )  # fmt: skip
        if not math.isfinite(weight) or weight < 0:
            raise InputError(
                f"{name} has the weight {weight:g}", where="--weights",
                fix="give a number from 0 up; 0 leaves the criterion out",
            )  # fmt: skip
    if weights and not any(weights.values()):
        raise InputError("all weights are 0", where="--weights", fix="give at least one criterion a weight above 0")


def select(
    entries: Sequence[Entry],
    weights: Mapping[str, float] | None = None,
    *,
    sides: Sequence[Sequence[Measured]] | None = None,
    seed: int = 0,
) -> Selection:
    """Weigh the entries.

    Args:
        entries: what is compared, at least one; all must have been measured on the same held-out texts.
        weights: of the criteria; those that are not named have none. Without weights nothing is chosen.
        sides: the runs of each entry, where they have been read.
        seed: of the draws.

    Raises:
        InputError: weights that are none (see `check_weights`), or a file of a run is damaged.
    """
    check_weights(weights or {})
    measured = measure_all(entries, sides)
    columns: dict[str, tuple[Criterion, ...]] = {}
    left_out = []
    for name in KINDS:
        cells = tuple(one[name] for one in measured)
        why = _missing([entry.name for entry in entries], cells) or alike(cells)
        if why:
            left_out.append((name, why))
        else:
            columns[name] = cells
    names = tuple(entry.name for entry in entries)
    weighed = {name: 1.0 if weights is None else weights.get(name, 0.0) for name in columns}
    total = sum(weighed.values())
    if not total:
        what = "no criterion could be measured for all entries"
        if weights:
            what = f"none of the weighed criteria ({', '.join(weights)}) could be measured for all entries alike"
        return Selection(names, tuple(Row(n, 0.0, c) for n, c in columns.items()), tuple(left_out), weights, None, what)
    counted = [column_of(name, columns[name]) for name, weight in weighed.items() if weight]
    rows = tuple(Row(name, weighed[name] / total, cells) for name, cells in columns.items())
    choice = choose(names, counted, weighed, seed=seed)
    return Selection(names, rows, tuple(left_out), weights, choice)


def _missing(names: Sequence[str], cells: Sequence[Criterion]) -> str | None:
    """Which entries have no value, and why; None where all have one."""
    without: dict[str, list[str]] = {}
    for name, cell in zip(names, cells, strict=True):
        if cell.value is None:
            without.setdefault(str(cell.reason), []).append(name)
    said = [
        why if len(own) == len(names) else f"{listed(own)}: {why}" for why, own in without.items()
    ]  # fmt: skip
    return "; ".join(said) or None


def column_of(name: str, cells: Sequence[Criterion]) -> Column:
    """A criterion of all entries, as it is weighed."""
    units = [unit for unit in cells[0].units if all(unit in cell.units for cell in cells)]
    return Column(
        name, cells[0].kind.higher, tuple(float(cell.value or 0.0) for cell in cells),
        units=tuple(tuple(cell.units[unit] for unit in units) for cell in cells) if len(units) > 1 else None,
        intervals=tuple(cell.inner for cell in cells), seeds=tuple(cell.by_seed for cell in cells),
        enough=cells[0].enough, resolution=cells[0].kind.resolution,
    )  # fmt: skip
