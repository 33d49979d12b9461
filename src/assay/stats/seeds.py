"""What a recipe does, from several trainings of it: the mean effect over seeds, and how far one seed is from another.

One training is one draw from what a recipe may give. An interval over groups alone speaks of that checkpoint; taken for
the recipe it is far too narrow as soon as seeds differ (arXiv 2103.03098).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import chdtri

from assay.stats.intervals import Undefined, mean, paired_interval, sd, t_interval


@dataclass(frozen=True)
class SeedVariance:
    """The effect of a recipe, in the unit of the differences, for seeds and groups that are both draws of many.

    `mean` is the mean over seeds of the means over groups, and `low` to `high` the interval of the recipe's effect at
    `level`. `by_seeds` and `by_groups` are the half-widths of its two parts: of the larger, more would narrow it most.
    `seed_sd` is the standard deviation of the seeds' means over these groups, and `seed_sd_low` to `seed_sd_high` its
    interval at `level`. That is wide: from three seeds, half of `seed_sd` to six times as much.
    """

    mean: float
    low: float
    high: float
    level: float
    by_seeds: float
    by_groups: float
    seed_sd: float
    seed_sd_low: float
    seed_sd_high: float
    n_seeds: int
    n_groups: int

    def as_json(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


def seed_variance(
    differences: Sequence[Sequence[float]], *, level: float = 0.95, seed: int = 0, draws: int = 10_000
) -> SeedVariance | Undefined:
    """The effect of a recipe over its training seeds and over groups.

    The error of the mean has one part from the draw of the seeds and one from the draw of the groups, each with an
    interval of its own: Student's t over the seeds' means, `paired_interval` over the groups' means. Each end lies the
    root of their summed squares away from the mean. Of two t intervals of normal parts that covers at least `level`,
    whatever the two variances are (Banerjee 1960, Sankhyā 22, 357): the chance that |z| stays below √x is concave in
    x. Satterthwaite's degrees of freedom cover less where few seeds differ much (benchmarks/coverage.py). The interval
    of the standard deviation is chi-square's, and takes the seeds' means for normal.

    Args:
        differences: a row per training seed: base - tuned of the same groups in the same order.
        level: of both intervals.
        seed: of the bootstrap over groups.
        draws: of the bootstrap over groups.

    Returns:
        Undefined below two seeds or two groups, for rows of unlike length, and for a value that is not finite.
    """
    sizes = [len(row) for row in differences]
    if len(sizes) < 2:
        return Undefined(f"{len(sizes)} of at least 2 training seeds")
    if len(set(sizes)) > 1:
        return Undefined(f"the seeds were measured on unlike numbers of groups: {', '.join(map(str, sizes))}")
    if sizes[0] < 2:
        return Undefined(f"{sizes[0]} of at least 2 groups")
    matrix = np.asarray(differences, dtype=np.float64)
    bad = np.argwhere(~np.isfinite(matrix))
    if bad.size:
        return Undefined(f"value {bad[0, 1] + 1} of seed {bad[0, 0] + 1} is not finite")
    seeds = matrix.mean(axis=1).tolist()
    centre, spread, by_seeds = mean(seeds), sd(seeds), t_interval(seeds, level=level)
    by_groups = paired_interval(matrix.mean(axis=0).tolist(), level=level, seed=seed, draws=draws)
    if isinstance(by_groups, Undefined):
        return by_groups
    if isinstance(centre, Undefined):
        return centre
    if isinstance(spread, Undefined):
        return spread
    if isinstance(by_seeds, Undefined):
        return by_seeds
    df = len(seeds) - 1
    return SeedVariance(
        mean=centre,
        low=centre - math.hypot(by_seeds.half_width, centre - by_groups.low),
        high=centre + math.hypot(by_seeds.half_width, by_groups.high - centre),
        level=level,
        by_seeds=by_seeds.half_width,
        by_groups=by_groups.half_width,
        seed_sd=spread,
        seed_sd_low=spread * math.sqrt(df / float(chdtri(df, (1 - level) / 2))),
        seed_sd_high=spread * math.sqrt(df / float(chdtri(df, (1 + level) / 2))),
        n_seeds=len(seeds),
        n_groups=sizes[0],
    )


def seed_p(differences: Sequence[Sequence[float]], *, seed: int = 0, draws: int = 10_000) -> float | Undefined:
    """Two-sided p of "the recipe has no effect", for seeds and groups that are both draws of many.

    It is the smallest alpha at which the interval of `seed_variance` at level 1 - alpha lies on one side of 0: tests
    and intervals are each other's inverse (Lehmann and Romano, Testing Statistical Hypotheses, 2005, section 3.5), so
    that p < .05 if and only if the 95 % interval leaves 0 out. It is never below 1 ÷ draws, of which the interval over
    groups is made.

    Args:
        differences: as of `seed_variance`.
        seed: of the bootstrap over groups.
        draws: of the bootstrap over groups.

    Returns:
        Undefined as `seed_variance`.
    """

    def leaves_zero_out(alpha: float) -> bool | Undefined:
        found = seed_variance(differences, level=1 - alpha, seed=seed, draws=draws)
        return found if isinstance(found, Undefined) else found.low > 0 or found.high < 0

    least, most = 1 / draws, 1.0
    at_least = leaves_zero_out(least)
    if isinstance(at_least, Undefined) or at_least:
        return at_least if isinstance(at_least, Undefined) else least
    while most / least > 1 + 1e-4:  # of the two, the first never leaves 0 out and the second is taken to
        middle = math.sqrt(least * most)
        if leaves_zero_out(middle):
            most = middle
        else:
            least = middle
    return most
