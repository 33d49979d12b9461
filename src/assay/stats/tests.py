"""The sign-flip permutation test for paired differences, and what it can reach at all."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from assay.stats.intervals import Floats, Undefined, checked

# Up to here all 2^n sign patterns are counted; above, they are sampled.
EXACT_UP_TO = 20
_PIECE = 1_000_000


def _all_sums(array: Floats) -> Floats:
    """|sum| under every sign pattern with the first sign fixed: its mirror image has the same |sum|."""
    sums = array[:1]
    for value in array[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return np.abs(sums)


def sign_flip_p(differences: Sequence[float], *, seed: int = 0, draws: int = 20_000) -> float | Undefined:
    """Two-sided p of "each group's difference is as likely to be its negative".

    The share of sign patterns whose |mean| reaches the observed one. Exact up to `EXACT_UP_TO`
    groups; above, `draws` random patterns with the observed one counted in, (k + 1) ÷ (draws + 1),
    so that p is never 0 (Phipson and Smyth 2010, arXiv 1603.05766).
    """
    array = checked(differences, 1)
    if isinstance(array, Undefined):
        return array
    # Sums taken in another order differ in the last bits; those count as ties.
    reached = abs(math.fsum(array)) - 1e-12 * math.fsum(np.abs(array))
    if array.size <= EXACT_UP_TO:
        return float(np.mean(_all_sums(array) >= reached))
    generator = np.random.default_rng(seed)
    rows = max(1, _PIECE // array.size)
    count = 0
    for start in range(0, draws, rows):
        signs = generator.integers(0, 2, size=(min(rows, draws - start), array.size), dtype=np.int8)
        # Σ ±d = 2 · Σ over the kept ones - Σ d, with one product instead of two.
        sums = 2 * (signs.astype(np.float64) @ array) - array.sum()
        count += int(np.count_nonzero(np.abs(sums) >= reached))
    return (count + 1) / (draws + 1)


def smallest_p(n: int) -> float:
    """The smallest two-sided p that n groups can reach: 2 ÷ 2^n; 1 for one group or none."""
    return min(1.0, 2.0 ** (1 - n))


def groups_needed(alpha: float = 0.05, comparisons: int = 1) -> int:
    """The fewest groups with which the sign-flip test can fall below alpha ÷ comparisons (Holm's first step).

    6 for one comparison at .05, 7 for two or three, 8 for four to six.
    """
    n = 1
    while smallest_p(n) >= alpha / comparisons:
        n += 1
    return n
