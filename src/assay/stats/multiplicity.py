"""Several comparisons at once: p-values adjusted so that the family of them keeps its error rate.

The family is what was going to be tested, declared before the looking. A comparison whose p does not exist (None) was
tested too: it counts in the family as if its p were 1, and stays None. Were it left out, a run that broke would make
the others' findings easier.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from assay.stats.intervals import Floats, Undefined

Adjusted = list[float | None]


def holm(ps: Sequence[float | None]) -> Adjusted | Undefined:
    """Adjusted p-values in the order given, which hold the chance of any false finding (Holm 1979).

    The k-th smallest of m is multiplied by m - k + 1; none is below the one before it. Whatever depends on whatever.

    Args:
        ps: one per comparison of the family; None where it does not exist. Undefined for one outside [0, 1].
    """
    return _adjusted(ps, lambda p: np.maximum.accumulate(p * np.arange(p.size, 0, -1)))


def benjamini_hochberg(ps: Sequence[float | None]) -> Adjusted | Undefined:
    """Adjusted p-values in the order given, which hold the expected share of false findings (Benjamini, Hochberg 1995).

    The k-th smallest of m is multiplied by m ÷ k; none is above the one behind it. For tests that are independent or
    depend on each other positively (Benjamini, Yekutieli 2001).

    Args:
        ps: as of `holm`.
    """
    return _adjusted(ps, lambda p: np.minimum.accumulate((p * p.size / np.arange(1, p.size + 1))[::-1])[::-1])


def _adjusted(ps: Sequence[float | None], step: Callable[[Floats], Floats]) -> Adjusted | Undefined:
    family = np.asarray([1.0 if p is None else p for p in ps], dtype=np.float64)
    bad = np.flatnonzero(~((family >= 0) & (family <= 1)))
    if bad.size:
        return Undefined(f"p-value {bad[0] + 1} of {family.size} is not in [0, 1]")
    order = np.argsort(family, kind="stable")
    found = np.empty_like(family)
    found[order] = np.minimum(step(family[order]), 1.0)
    return [None if p is None else float(value) for p, value in zip(ps, found, strict=True)]
