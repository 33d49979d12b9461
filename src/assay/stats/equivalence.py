"""Has something stayed as it was, within a margin? Two one-sided t tests on paired differences (TOST).

That no difference was found does not show that there is none: with few groups nothing is ever found. So the burden is
turned round: a loss beyond the margin is assumed until the data rule it out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from scipy.special import stdtr

from assay.stats.intervals import Undefined, mean, sd, t_interval

Kept = Literal["equivalent", "not-worse", "not-shown", "beyond"]


@dataclass(frozen=True)
class Equivalence:
    """Whether the mean paired difference lies within ± `margin`; all but the p-values in the unit of the differences.

    `low` to `high` is the t interval at `level` = 1 - 2 alpha: it lies inside the margin if and only if both one-sided
    tests reject at alpha (Schuirmann 1987). `p_worse` is for "the mean is at most -margin", `p_better` for "at least
    +margin"; `p` is the larger, and that of equivalence.

    - "equivalent": the interval lies inside the margin on both sides.
    - "not-worse": it lies above -margin, and reaches +margin or lies beyond it: perhaps better, no loss that matters.
    - "not-shown": it holds -margin.
    - "beyond": it lies below -margin as a whole: a loss beyond the margin is shown.
    """

    mean: float
    low: float
    high: float
    level: float
    margin: float
    p_worse: float
    p_better: float
    p: float
    n_groups: int
    outcome: Kept

    def as_json(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


def equivalence(differences: Sequence[float], margin: float, *, alpha: float = 0.05) -> Equivalence | Undefined:
    """Two one-sided paired t tests against ± `margin` (Schuirmann 1987; Lakens 2017).

    Forgetting has one direction: text that the tuned model predicts better than before is not forgotten, by however
    much. So the tests are read one by one: the lower one alone (non-inferiority) decides whether there is a loss;
    "equivalent", which says that nothing changed either way, takes both. Each has the error rate alpha with no
    correction, since neither is claimed unless each test that it needs rejects (Berger 1982). The same holds for
    "nothing was forgotten" over several texts, if it is said only where every one of them passes.

    Where all differences are the same number, the interval is that number and each p is 0 or 1, as in the limit.

    Args:
        differences: base - tuned, one per group, above 0 where the tuned model is better.
        margin: the smallest loss that matters, in the unit of the differences, chosen before the data were seen: of
            a margin of 2 % the caller takes 0.02 times the base's mean.
        alpha: error rate of each of the two tests.

    Returns:
        Undefined below two groups, for a difference that is not finite, and for a margin that is not above 0.
    """
    if not (math.isfinite(margin) and margin > 0):
        return Undefined("the margin is not a finite number above 0")
    interval, centre, spread = t_interval(differences, level=1 - 2 * alpha), mean(differences), sd(differences)
    if isinstance(interval, Undefined):
        return interval
    if isinstance(centre, Undefined):
        return centre
    if isinstance(spread, Undefined):
        return spread
    n = len(differences)
    error = spread / math.sqrt(n)
    worse, better = _upper_tail(centre + margin, error, n - 1), _upper_tail(margin - centre, error, n - 1)
    if interval.low > -margin:
        outcome: Kept = "equivalent" if interval.high < margin else "not-worse"
    else:
        outcome = "beyond" if interval.high < -margin else "not-shown"
    return Equivalence(
        centre, interval.low, interval.high, interval.level, margin, worse, better, max(worse, better), n, outcome
    )


def _upper_tail(distance: float, error: float, df: int) -> float:
    """P(T > distance ÷ error): small where the mean lies far inside of its bound."""
    if error == 0:
        return 0.0 if distance > 0 else 1.0
    return float(stdtr(df, -distance / error))
