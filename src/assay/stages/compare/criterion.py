"""One criterion of a model: a measured value, how sure it is, and where it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from assay.stats.intervals import Undefined, mean, paired_interval, sd, t_interval
from assay.stats.seeds import seed_variance

Json = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """What a criterion is: its name in `--weights`, its name for readers, its unit, and whether more is better.

    `resolution` is the share by which it may differ between two runs of one thing on one quiet machine.
    """

    name: str
    label: str
    unit: str
    higher: bool
    resolution: float = 0.0


@dataclass(frozen=True)
class Criterion:
    """A criterion of one entry: the mean over its seeds.

    Args:
        kind: which criterion.
        value: None where it does not exist, and `reason` says why.
        low: the lower end of the value's 95 % interval, over units and (from two up) over seeds; None without one.
        high: the upper end.
        source: where the value came from, in plain words.
        n: of how many units (groups, prompts, pairs, runs) it is.
        by_seed: its value in each run.
        basis: what else decides it, beside the model: values may stand beside each other where these agree.
        reason: why there is no value.
        enough: the value beyond which better is no longer better.
        rated: whether people or a judge said it, who did not know whose text was whose.
        units: the value of each unit, the mean over seeds; empty where single units are not recorded.
        inner: there, the interval over the units alone, without what the seeds add.
    """

    kind: Kind
    value: float | None
    low: float | None = None
    high: float | None = None
    source: str = ""
    n: int = 0
    by_seed: tuple[float, ...] = ()
    basis: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None
    enough: float | None = None
    rated: bool = False
    units: Mapping[str, float] = field(default_factory=dict)
    inner: tuple[float, float] | None = None

    @property
    def seed_sd(self) -> float | None:
        """The standard deviation over seeds; None below two."""
        spread = sd(self.by_seed)
        return None if isinstance(spread, Undefined) else spread

    def as_json(self) -> Json:
        """All fields but the single units, as plain JSON values."""
        found = {key: value for key, value in asdict(self).items() if key not in ("kind", "units", "inner")}
        return {"label": self.kind.label, "unit": self.kind.unit, "higher": self.kind.higher} | found | {
            "by_seed": list(self.by_seed), "seed_sd": self.seed_sd,
        }  # fmt: skip


def nothing(kind: Kind, reason: str) -> Criterion:
    """A criterion without a value."""
    return Criterion(kind, None, reason=reason)


def from_units(kind: Kind, runs: Sequence[Mapping[str, float]], *, bounds: tuple[float, float] | None = None,
               **more: Any) -> Criterion:  # fmt: skip
    """A criterion whose value is a mean over units (groups, prompts) of equal weight.

    Args:
        kind: which one.
        runs: of each run the value of every unit; units that not all runs have are left out.
        bounds: of the scale, where the interval is cut off.
        more: further fields.
    """
    common = [unit for unit in runs[0] if all(unit in run for run in runs)]
    rows = [[run[unit] for unit in common] for run in runs]
    centres = [mean(row) for row in rows]
    by_seed = tuple(centre for centre in centres if not isinstance(centre, Undefined))
    if not common or len(by_seed) < len(runs):
        reasons = [centre.reason for centre in centres if isinstance(centre, Undefined)]
        return nothing(kind, reasons[0] if common else "no unit was measured in every run")
    found = seed_variance(rows) if len(rows) > 1 else paired_interval(rows[0])
    low, high = (None, None) if isinstance(found, Undefined) else (found.low, found.high)
    averaged = [math.fsum(values) / len(values) for values in zip(*rows, strict=True)]
    return Criterion(
        kind, math.fsum(by_seed) / len(by_seed), *_within(low, high, bounds), n=len(common), by_seed=by_seed,
        units=dict(zip(common, averaged, strict=True)), **more,
    )  # fmt: skip


def from_cells(kind: Kind, cells: Sequence[Json], *, bounds: tuple[float, float] | None = None,
               **more: Any) -> Criterion:  # fmt: skip
    """A criterion from each run's mean and 95 % interval, where single units are not recorded.

    The means' own intervals are averaged, which takes the runs' units for the same ones; with the seeds' t interval
    they make up the whole as two independent errors do: the root of the sum of the squared parts.
    """
    by_seed = tuple(float(cell["mean"]) for cell in cells)
    value = math.fsum(by_seed) / len(by_seed)
    known = [cell for cell in cells if cell.get("low") is not None and cell.get("high") is not None]
    over_seeds = t_interval(by_seed)
    seeds = 0.0 if isinstance(over_seeds, Undefined) else over_seeds.half_width
    low = high = inner = None
    if len(known) == len(cells):
        below, above = (
            math.fsum(sign * (cell[end] - cell["mean"]) for cell in cells) / len(cells)
            for end, sign in (("low", -1), ("high", 1))
        )
        low, high = value - math.hypot(below, seeds), value + math.hypot(above, seeds)
        inner = (value - below, value + above)
    return Criterion(kind, value, *_within(low, high, bounds), by_seed=by_seed, inner=inner, **more)


def from_runs(kind: Kind, by_seed: Sequence[float], **more: Any) -> Criterion:
    """A criterion with one amount of each run, none below 0: its only spread is that over seeds."""
    found = t_interval(by_seed)
    low, high = (None, None) if isinstance(found, Undefined) else _within(found.low, found.high, (0.0, math.inf))
    value = math.fsum(by_seed) / len(by_seed)
    return Criterion(kind, value, low, high, n=len(by_seed), by_seed=tuple(by_seed), **more)


def _within(
    low: float | None, high: float | None, bounds: tuple[float, float] | None
) -> tuple[float | None, float | None]:
    if bounds is None or low is None or high is None:
        return low, high
    return max(bounds[0], low), min(bounds[1], high)
