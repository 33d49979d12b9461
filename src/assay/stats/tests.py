"""Paired tests: sign-flip permutation for differences, and what it can reach at all; McNemar for right and wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy.special import bdtr

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


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Exact two-sided p of "where just one of the two is right, each is so as often as the other" (McNemar 1947).

    Twice the smaller tail of a binomial over the items on which they differ, 1 where there is none. The items must be
    independent: with several questions to one document, take the share of right answers of each document and
    `sign_flip_p`.

    Args:
        only_first: items that the first alone has right.
        only_second: items that the second alone has right.
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"counts are {only_first} and {only_second}, below 0")
    return min(1.0, 2.0 * float(bdtr(min(only_first, only_second), only_first + only_second, 0.5)))


@dataclass(frozen=True)
class McNemar:
    """Right and wrong answers of two models to the same items, counted in items, and `mcnemar_exact`'s p.

    `unscored_first` and `unscored_second` are the items for which that model's answer could not be scored. They are no
    wrong answers and stand in no other count; an item may be in both. A model that often gives no answer to score is
    to be read from these, for the test does not see it.
    """

    both: int
    only_first: int
    only_second: int
    neither: int
    unscored_first: int
    unscored_second: int
    p: float

    def as_json(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


def mcnemar(first: Sequence[bool | None], second: Sequence[bool | None]) -> McNemar | Undefined:
    """McNemar's exact test of two models on the same items, in the same order.

    Args:
        first: whether each item was answered rightly; None where the answer could not be scored.
        second: the same of the other model.

    Returns:
        Undefined where there is no item whose answers could both be scored.
    """
    pairs = list(zip(first, second, strict=True))
    scored = [pair for pair in pairs if None not in pair]
    if not scored:
        return Undefined(f"of {len(pairs)} items none has an answer of both that could be scored")
    only_first, only_second = scored.count((True, False)), scored.count((False, True))
    return McNemar(
        both=scored.count((True, True)),
        only_first=only_first,
        only_second=only_second,
        neither=scored.count((False, False)),
        unscored_first=sum(a is None for a, _ in pairs),
        unscored_second=sum(b is None for _, b in pairs),
        p=mcnemar_exact(only_first, only_second),
    )
