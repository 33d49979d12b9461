from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar

from assay.stats.intervals import Undefined
from assay.stats.tests import (
    EXACT_UP_TO,
    McNemar,
    groups_needed,
    mcnemar,
    mcnemar_exact,
    sign_flip_p,
    smallest_p,
)


def scipys(values: list[float]) -> float:
    result = scipy.stats.permutation_test(
        (np.asarray(values),), np.mean, permutation_type="samples", n_resamples=np.inf, alternative="two-sided"
    )
    return float(result.pvalue)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-50, 50).map(float), min_size=2, max_size=8))
def test_exact_p_is_scipys(values: list[float]) -> None:
    assert sign_flip_p(values) == pytest.approx(scipys(values))
    # Tenths have no exact sums; ties stay ties all the same (in scipy they do not near a mean of 0).
    assert sign_flip_p([v / 10 for v in values]) == sign_flip_p(values)


def test_exact_p_is_scipys_at_twelve() -> None:
    values = list(np.random.default_rng(4).normal(0.4, 1.0, size=12))
    assert sign_flip_p(values) == pytest.approx(scipys(values))


@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=12))
def test_one_sided_differences_reach_the_smallest_p(values: list[float]) -> None:
    assert sign_flip_p(values) == smallest_p(len(values))
    assert sign_flip_p([-v for v in values]) == smallest_p(len(values))


def test_sampled_p_is_near_the_exact_one_and_never_zero() -> None:
    values = list(np.random.default_rng(2).normal(0.35, 1.0, size=EXACT_UP_TO))
    exact = sign_flip_p(values)
    assert isinstance(exact, float)
    # A group that differs by nothing changes no exact p, but takes the number of groups over the limit.
    assert sign_flip_p([*values, 0.0]) == pytest.approx(exact, abs=0.01)
    assert sign_flip_p([*values, 0.0], seed=7) == sign_flip_p([*values, 0.0], seed=7)
    assert sign_flip_p([1.0] * 60, draws=999) == 1 / 1000


def test_p_of_nothing_and_of_no_difference() -> None:
    assert isinstance(sign_flip_p([]), Undefined)
    assert isinstance(sign_flip_p([1.0, float("nan")]), Undefined)
    assert sign_flip_p([0.3]) == 1.0
    assert sign_flip_p([0.0] * 9) == 1.0


def test_false_alarms_stay_at_the_nominal_rate() -> None:
    generator = np.random.default_rng(11)
    found = [sign_flip_p(list(generator.standard_t(3, size=8))) for _ in range(2000)]
    assert np.mean([p < 0.05 for p in found if isinstance(p, float)]) == pytest.approx(0.047, abs=0.015)


def test_reachable_p() -> None:
    assert [smallest_p(n) for n in (0, 1, 2, 6)] == [1.0, 1.0, 0.5, 0.03125]
    assert [groups_needed(0.05, k) for k in (1, 2, 3, 4, 6)] == [6, 7, 7, 8, 8]


@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemar_is_statsmodels(b: int, c: int) -> None:
    reference = statsmodels_mcnemar([[7, b], [c, 5]], exact=True).pvalue
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b) == pytest.approx(reference, rel=1e-9)


def test_mcnemar_by_hand() -> None:
    # 2 · (1 + 10) ÷ 2^10
    assert mcnemar_exact(1, 9) == pytest.approx(22 / 1024)
    assert mcnemar_exact(0, 0) == 1.0
    assert mcnemar_exact(4, 4) == 1.0
    with pytest.raises(ValueError, match="below 0"):
        mcnemar_exact(-1, 3)


answers = st.tuples(*[st.sampled_from([True, False, None])] * 2)


@given(st.lists(answers, max_size=40))
def test_mcnemar_counts_every_item(pairs: list[tuple[bool | None, bool | None]]) -> None:
    got = mcnemar([a for a, _ in pairs], [b for _, b in pairs])
    scored = [(a, b) for a, b in pairs if a is not None and b is not None]
    if not scored:
        assert isinstance(got, Undefined)
        assert str(len(pairs)) in got.reason
        return
    assert isinstance(got, McNemar)
    assert got.both + got.only_first + got.only_second + got.neither == len(scored)
    assert got.both + got.only_first == sum(a for a, _ in scored)
    assert got.unscored_first == sum(a is None for a, _ in pairs)
    assert got.unscored_second == sum(b is None for _, b in pairs)
    assert got.p == mcnemar_exact(got.only_first, got.only_second)


def test_an_answer_that_could_not_be_scored_is_no_wrong_answer() -> None:
    got = mcnemar([True] * 8 + [None, None], [False] * 8 + [True, None])
    assert got == McNemar(0, 8, 0, 0, unscored_first=2, unscored_second=1, p=2 / 2**8)
    with pytest.raises(ValueError, match="zip"):
        mcnemar([True], [])
