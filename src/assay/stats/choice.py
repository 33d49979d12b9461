"""Choosing one of several models by several measured criteria, and how far the choice hangs on weights and on chance.

Each criterion is scaled to 0 (the worst of the compared models) to 1 (the best), and the overall score is the weighted
mean: an additive value function (Keeney and Raiffa, Decisions with Multiple Objectives, 1976). Nothing in the data says
what the weights should be, so the choice is told with its share of all weightings, as in SMAA (Lahdelma, Hokkanen and
Salminen 1998, European Journal of Operational Research 106, 137-143), with the weight of each criterion at which it
changes, and with the choices that two other scalings lead to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from scipy.optimize import linprog

from assay.stats.intervals import Floats

Scaling = Literal["min-max", "rank", "ratio"]
SCALINGS: tuple[Scaling, ...] = ("min-max", "rank", "ratio")
TIE = 1e-9  # overall scores that are less apart are equal
Z = 1.959963984540054  # of a 95 % interval of a normal distribution


@dataclass(frozen=True)
class Column:
    """One criterion of all models, in their order.

    Args:
        name: of the criterion.
        higher: whether more is better.
        values: one for each model.
        units: for each model its value of every unit (prompt, group), the same units for all; None where they are not
            known. They are redrawn together, as pairs.
        intervals: the 95 % interval of each value, where no units are known; None: the value is taken as it is.
        seeds: for each model its value of every training seed; a single one says nothing of their spread.
        enough: the value beyond which better is no longer better.
        resolution: the share by which two measurements of one thing may differ. Values that are all as near to each
            other count as equal; of a value without seeds it is half the width of the 95 % interval.
    """

    name: str
    higher: bool
    values: tuple[float, ...]
    units: tuple[tuple[float, ...], ...] | None = None
    intervals: tuple[tuple[float, float] | None, ...] | None = None
    seeds: tuple[tuple[float, ...], ...] | None = None
    enough: float | None = None
    resolution: float = 0.0

    def drawn(self, generator: np.random.Generator, draws: int) -> Floats:
        """Values that would be as well in keeping with what was measured, draws × models.

        From units: multivariate Student's t around the means, with the covariance of the units between models. From an
        interval: normal on either side, half as wide as the interval's part there ÷ 1.96. From two seeds up each model
        besides has Student's t over its seeds, with one alone a normal deviation of the resolution ÷ 1.96.
        """
        centre = np.asarray(self.values, np.float64)
        found = np.tile(centre, (draws, 1))
        if self.units is not None and len(self.units[0]) > 1:
            found += _paired(np.asarray(self.units, np.float64), generator, draws)
        elif self.intervals is not None:
            for model, ends in enumerate(self.intervals):
                if ends is not None:
                    normal = generator.standard_normal(draws)
                    below, above = (centre[model] - ends[0]) / Z, (ends[1] - centre[model]) / Z
                    found[:, model] += normal * np.where(normal < 0, below, above)
        for model, own in enumerate(self.seeds or [()] * len(centre)):
            if len(own) > 1:
                error = float(np.std(own, ddof=1)) / math.sqrt(len(own))
                found[:, model] += error * generator.standard_t(len(own) - 1, draws)
            elif self.resolution:
                found[:, model] += abs(centre[model]) * self.resolution / Z * generator.standard_normal(draws)
        return found


def _paired(units: Floats, generator: np.random.Generator, draws: int) -> Floats:
    """Deviations of the means, draws × models: multivariate t with n - 1 degrees of freedom and covariance S ÷ n."""
    n = units.shape[1]
    covariance = np.atleast_2d(np.cov(units)) / n
    sizes, axes = np.linalg.eigh(covariance)
    root = axes * np.sqrt(np.clip(sizes, 0, None))
    normal = generator.standard_normal((draws, len(units))) @ root.T
    stretch: Floats = np.sqrt((n - 1) / generator.chisquare(n - 1, draws))
    return np.asarray(normal * stretch[:, None], np.float64)


@dataclass(frozen=True)
class Flip:
    """The weights of one criterion at which the choice changes, the others keeping their proportions.

    Below `under` it would be `instead_under`, above `over` it would be `instead_over`; None: it never changes there.
    """

    criterion: str
    weight: float
    under: float | None
    instead_under: tuple[str, ...]
    over: float | None
    instead_over: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """What weights and measured values lead to; everything by model is in the order of `names`.

    `weights` sum to 1. `scores` are scaled, models × criteria, `overall` their weighted means. `chosen` is None where
    several are equally good: they are `best`. `in_draws` is the share of redrawn measurements, `in_weightings` that of
    all weightings (uniform; `exact`: worked out, else drawn) under which each model is the best; equals share.
    `by_scaling` is the choice under other scalings, None where it is undefined or a tie. `dominated` names, for models
    that another one equals or beats in everything, these others. `never` are the best alone under no weights at all.
    """

    names: tuple[str, ...]
    criteria: tuple[str, ...]
    weights: tuple[float, ...]
    scores: tuple[tuple[float, ...], ...]
    overall: tuple[float, ...]
    chosen: str | None
    best: tuple[str, ...]
    in_draws: tuple[float, ...]
    in_weightings: tuple[float, ...]
    exact: bool
    flips: tuple[Flip, ...]
    by_scaling: dict[str, str | None]
    dominated: dict[str, tuple[str, ...]]
    never: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


def choose(
    names: Sequence[str],
    columns: Sequence[Column],
    weights: Mapping[str, float],
    *,
    seed: int = 0,
    draws: int = 4000,
    weightings: int = 20_000,
) -> Choice:
    """Weigh the criteria of the models.

    Args:
        names: of the models, at least one.
        columns: the criteria, at least one.
        weights: of each criterion by its name, none below 0 and not all 0; they are scaled to sum 1.
        seed: of the draws.
        draws: how often the measurements are redrawn.
        weightings: how many are drawn, where there are three criteria or more.

    Raises:
        ValueError: no model, no criterion, or weights that cannot be weighed by.
    """
    own = np.array([weights[column.name] for column in columns], np.float64)
    if not names or not len(own) or not (np.isfinite(own) & (own >= 0)).all() or own.sum() <= 0:
        raise ValueError("there must be a model, a criterion, and a weight above 0")
    own = own / own.sum()
    values = np.array([counted(column, np.asarray(column.values, np.float64)) for column in columns]).T
    scores = scaled(values, "min-max")
    overall = scores @ own
    best = _best(overall)
    generator = np.random.default_rng(seed)
    redrawn = np.stack([counted(column, column.drawn(generator, draws)) for column in columns], axis=2)
    by_draw = np.stack([scaled(one, "min-max") @ own for one in redrawn])
    shares, exact = _over_weightings(scores, generator, weightings)
    chosen = best[0] if len(best) == 1 else None
    return Choice(
        names=tuple(names),
        criteria=tuple(column.name for column in columns),
        weights=tuple(own.tolist()),
        scores=tuple(map(tuple, scores.tolist())),
        overall=tuple(overall.tolist()),
        chosen=None if chosen is None else names[chosen],
        best=tuple(names[i] for i in best),
        in_draws=tuple(_shares(by_draw).tolist()),
        in_weightings=tuple(shares.tolist()),
        exact=exact,
        flips=() if chosen is None else tuple(_flips(names, columns, scores, own, chosen)),
        by_scaling={kind: _under(kind, names, values, own) for kind in SCALINGS},
        dominated=_dominated(names, values),
        never=tuple(name for i, name in enumerate(names) if _margin(scores, i) < TIE and len(names) > 1),
    )


def counted(column: Column, values: Floats) -> Floats:
    """Values of a criterion (… × models) so that more is better, no more than enough counts, and what is too near to be
    told apart is equal."""
    sign = 1.0 if column.higher else -1.0
    towards = sign * values
    if column.enough is not None:
        towards = np.minimum(towards, sign * column.enough)
    if column.resolution:
        near = column.resolution * np.abs(towards).max(axis=-1, keepdims=True)
        alike = np.ptp(towards, axis=-1, keepdims=True) <= near
        towards = np.where(alike, towards.mean(axis=-1, keepdims=True), towards)
    return np.asarray(towards, np.float64)


def scaled(values: Floats, kind: Scaling) -> Floats:
    """Values, models × criteria and the higher the better, on one scale for all criteria.

    ``min-max``: 0 is the worst of the models and 1 the best; 1 for all where they are equal. ``rank``: the share of the
    other models that it beats, equals counting half. ``ratio``: doublings beyond the first model (log2 of the ratio of
    the amounts): it leaves the other models out of account, and is defined for amounts that are not 0 and of one sign.

    Raises:
        ValueError: a ratio of amounts that have none.
    """
    if kind == "min-max":
        low, high = values.min(axis=0), values.max(axis=0)
        span = np.where(high > low, high - low, 1.0)
        return np.asarray(np.where(high > low, (values - low) / span, 1.0), np.float64)
    if kind == "rank":
        if len(values) == 1:
            return np.ones_like(values)
        gaps = values[:, None, :] - values[None, :, :]
        others = len(values) - 1
        return np.asarray(((gaps > 0).sum(axis=1) + ((gaps == 0).sum(axis=1) - 1) / 2) / others, np.float64)
    if not ((values > 0).all(axis=0) | (values < 0).all(axis=0)).all():
        raise ValueError("a criterion has amounts of both signs, or 0")
    return np.asarray(np.sign(values[0]) * np.log2(values / values[0]), np.float64)


def _best(overall: Floats) -> list[int]:
    """The numbers of the models with the highest score, of each row of scores."""
    return [int(i) for i in np.flatnonzero(overall >= overall.max() - TIE)]


def _shares(overall: Floats) -> Floats:
    """The share of the rows in which each model is the best; equals share a row."""
    top = overall >= overall.max(axis=1, keepdims=True) - TIE
    return np.asarray((top / top.sum(axis=1, keepdims=True)).mean(axis=0), np.float64)


def _over_weightings(scores: Floats, generator: np.random.Generator, count: int) -> tuple[Floats, bool]:
    """The share of all weightings under which each model is the best, and whether it was worked out exactly."""
    models, criteria = scores.shape
    if criteria == 1:
        return _shares(scores.T), True
    if criteria > 2:
        return _shares(generator.dirichlet(np.ones(criteria), count) @ scores.T), False
    # scores are straight lines in the first weight: between two crossings the best stays the best
    start, slope = scores[:, 1], scores[:, 0] - scores[:, 1]
    cuts = {0.0, 1.0}
    for i in range(models):
        for j in range(i):
            if abs(slope[i] - slope[j]) > TIE:
                cuts.add(float(np.clip((start[j] - start[i]) / (slope[i] - slope[j]), 0, 1)))
    edges = np.array(sorted(cuts))
    middles = (edges[1:] + edges[:-1]) / 2
    top = start + middles[:, None] * slope
    top = top >= top.max(axis=1, keepdims=True) - TIE
    return np.asarray(np.diff(edges) @ (top / top.sum(axis=1, keepdims=True)), np.float64), True


def _flips(names: Sequence[str], columns: Sequence[Column], scores: Floats, weights: Floats, chosen: int) -> list[Flip]:
    found = []
    for k, column in enumerate(columns if len(columns) > 1 else ()):
        others = np.delete(weights, k)
        others = others / others.sum() if others.sum() > 0 else np.full(len(others), 1 / len(others))
        rest = np.delete(scores, k, axis=1) @ others
        now, lead = float(weights[k]), rest[chosen] - rest
        slope = (scores[chosen, k] - scores[:, k]) - lead
        # the chosen one's lead over each other is lead + slope × weight
        with np.errstate(divide="ignore", invalid="ignore"):
            roots = np.where(np.abs(slope) > TIE, -lead / slope, np.nan)
        under = [r for i, r in enumerate(roots) if i != chosen and slope[i] > 0 and TIE < r < now]
        over = [r for i, r in enumerate(roots) if i != chosen and slope[i] < 0 and now < r < 1 - TIE]
        low, high = max(under, default=None), min(over, default=None)
        at = [[] if edge is None else np.flatnonzero(np.abs(roots - edge) <= TIE).tolist() for edge in (low, high)]
        instead = [tuple(names[i] for i in who if i != chosen) for who in at]
        ends = [None if edge is None else float(edge) for edge in (low, high)]
        found.append(Flip(column.name, now, ends[0], instead[0], ends[1], instead[1]))
    return found


def _under(kind: Scaling, names: Sequence[str], values: Floats, weights: Floats) -> str | None:
    weighed = weights > 0  # what does not count need not have a ratio
    try:
        best = _best(scaled(values[:, weighed], kind) @ weights[weighed])
    except ValueError:
        return None
    return names[best[0]] if len(best) == 1 else None


def _dominated(names: Sequence[str], values: Floats) -> dict[str, tuple[str, ...]]:
    found = {}
    for i, own in enumerate(values):
        better = [j for j, other in enumerate(values) if (other >= own).all() and (other > own).any()]
        if better:
            found[names[i]] = tuple(names[j] for j in better)
    return found


def _margin(scores: Floats, model: int) -> float:
    """The largest lead over all others that any weights w give a model: the linear program max t, w·(s - s_j) ≥ t."""
    others = np.delete(scores, model, axis=0)
    if not len(others):
        return math.inf
    criteria = scores.shape[1]
    solved = linprog(
        [*[0.0] * criteria, -1.0],
        A_ub=np.column_stack([others - scores[model], np.ones(len(others))]), b_ub=np.zeros(len(others)),
        A_eq=[[*[1.0] * criteria, 0.0]], b_eq=[1.0], bounds=[*[(0, 1)] * criteria, (None, None)],
    )  # fmt: skip
    return -float(solved.fun)
