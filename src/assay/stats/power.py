"""Power of the two-sided paired t test: what n groups could have found.

With differences of standard deviation sd and true mean `effect`, t has the noncentral t distribution
with n - 1 degrees of freedom and noncentrality effect · √n ÷ sd (Cohen 1988, chapter 2).
"""

from __future__ import annotations

import math

from scipy.special import nctdtr, stdtrit

from assay.stats.intervals import Undefined
from assay.stats.tests import groups_needed

# Beyond this many groups an answer helps nobody.
MOST_GROUPS = 10_000_000


def _power_at(noncentrality: float, n: int, alpha: float) -> float:
    critical = float(stdtrit(n - 1, 1 - alpha / 2))
    short = float(nctdtr(n - 1, noncentrality, critical))
    # The other tail, by symmetry: T(-nc) = -T(nc). It lies below the normal's P(Z < -nc).
    other = 1 - float(nctdtr(n - 1, -noncentrality, critical))
    # scipy answers NaN only where these are below 1e-13: the first from nc 35 up, the second from 7.5 up.
    return 1 - (0.0 if math.isnan(short) else short) + (0.0 if math.isnan(other) else other)


def _why_not(sd: float, n: int) -> Undefined | None:
    if n < 2:
        return Undefined(f"{max(n, 0)} of at least 2 groups")
    if not math.isfinite(sd) or sd < 0:
        return Undefined("the spread of the differences is not a finite number")
    if sd == 0:
        return Undefined("all groups differ by the same amount: there is no spread to plan with")
    return None


def power(effect: float, sd: float, n: int, *, alpha: float = 0.05) -> float | Undefined:
    """The chance that n groups show a true mean difference of `effect`.

    Args:
        effect: true mean difference, in the unit of `sd`; its sign does not matter.
        sd: standard deviation of the groups' differences.
        n: number of groups.
        alpha: two-sided error rate.
    """
    problem = _why_not(sd, n)
    return problem or _power_at(abs(effect) * math.sqrt(n) / sd, n, alpha)


def mde(sd: float, n: int, *, power: float = 0.8, alpha: float = 0.05) -> float | Undefined:
    """The minimum detectable effect: the smallest true mean difference that n groups show with chance `power`.

    In the unit of `sd`. Undefined below two groups, and for differences without spread.
    """
    problem = _why_not(sd, n)
    if problem:
        return problem
    low, high = 0.0, 1.0
    while _power_at(high, n, alpha) < power:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _power_at(middle, n, alpha) < power else (low, middle)
    return high * sd / math.sqrt(n)


def groups_for(effect: float, sd: float, *, power: float = 0.8, alpha: float = 0.05) -> int | Undefined:
    """The fewest groups that show a true mean difference of `effect` with chance `power`.

    Never fewer than the sign-flip test needs to reach `alpha` at all. Undefined for an effect of 0,
    for differences without spread, and beyond `MOST_GROUPS`.
    """
    least = groups_needed(alpha)
    problem = _why_not(sd, least)
    if problem:
        return problem
    size = abs(effect) / sd
    if not math.isfinite(size) or size == 0:
        return Undefined("no number of groups shows an effect of 0")
    low, high = least - 1, least
    while _power_at(size * math.sqrt(high), high, alpha) < power:
        if high >= MOST_GROUPS:
            return Undefined(f"more than {MOST_GROUPS:,} groups")
        low, high = high, min(2 * high, MOST_GROUPS)
    while high - low > 1:
        middle = (low + high) // 2
        found = _power_at(size * math.sqrt(middle), middle, alpha) >= power
        low, high = (low, middle) if found else (middle, high)
    return high
