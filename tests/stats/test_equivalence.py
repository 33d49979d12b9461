from __future__ import annotations

import json

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.weightstats import ttost_paired

from assay.stats.equivalence import Equivalence, equivalence
from assay.stats.intervals import Undefined

numbers = st.floats(-1, 1).map(lambda x: round(x, 4))
samples = st.lists(numbers, min_size=3, max_size=40).filter(lambda values: np.ptp(values) > 1e-3)


def found_of(values: list[float], margin: float = 0.02, alpha: float = 0.05) -> Equivalence:
    got = equivalence(values, margin, alpha=alpha)
    assert isinstance(got, Equivalence)
    return got


def spread(centre: float, sd: float, n: int) -> list[float]:
    """n differences with exactly this mean and standard deviation."""
    raw = np.random.default_rng(n).normal(size=n)
    return list(centre + sd * (raw - raw.mean()) / raw.std(ddof=1))


@given(samples, st.floats(0.001, 2))
def test_p_is_statsmodels_and_scipys(values: list[float], margin: float) -> None:
    got = found_of(values, margin)
    p, (_, above, _), (_, below, _) = ttost_paired(np.asarray(values), np.zeros(len(values)), -margin, margin)
    assert (got.p_worse, got.p_better, got.p) == pytest.approx((above, below, p), rel=1e-9, abs=1e-14)
    assert got.p_worse == pytest.approx(
        scipy.stats.ttest_1samp(values, -margin, alternative="greater").pvalue, rel=1e-9, abs=1e-14
    )
    ends = scipy.stats.ttest_1samp(values, 0.0).confidence_interval(0.90)
    assert (got.low, got.high) == pytest.approx((ends.low, ends.high), rel=1e-9, abs=1e-12)
    assert (got.level, got.n_groups, got.mean) == (0.9, len(values), pytest.approx(np.mean(values), abs=1e-12))


@given(samples, st.floats(0.001, 2), st.sampled_from([0.01, 0.05, 0.1]))
def test_interval_and_tests_say_the_same(values: list[float], margin: float, alpha: float) -> None:
    got = found_of(values, margin, alpha)
    if min(abs(got.p_worse - alpha), abs(got.p_better - alpha), abs(1 - got.p_worse - alpha)) < 1e-9:
        return  # on the boundary the last bit decides
    assert (got.outcome == "equivalent") == (got.p < alpha)
    assert (got.outcome in ("equivalent", "not-worse")) == (got.p_worse < alpha)
    assert (got.outcome == "beyond") == (1 - got.p_worse < alpha)
    turned = found_of([-value for value in values], margin, alpha)
    assert (turned.p_worse, turned.p_better) == pytest.approx((got.p_better, got.p_worse))
    assert (turned.outcome == "equivalent") == (got.outcome == "equivalent")


@pytest.mark.parametrize(
    ("centre", "sd", "outcome"),
    [
        (0.0, 0.01, "equivalent"),
        (-0.005, 0.01, "equivalent"),
        (0.02, 0.01, "not-worse"),  # perhaps better by more than the margin
        (0.30, 0.01, "not-worse"),  # better by far: nothing is forgotten
        (0.30, 0.30, "not-worse"),
        (0.0, 0.10, "not-shown"),  # so wide that a loss of the margin is possible
        (-0.02, 0.01, "not-shown"),
        (-0.025, 0.02, "not-shown"),
        (-0.04, 0.01, "beyond"),
    ],
)
def test_outcomes(centre: float, sd: float, outcome: str) -> None:
    got = found_of(spread(centre, sd, 8))
    assert got.outcome == outcome
    json.dumps(got.as_json(), allow_nan=False)


def test_differences_without_spread_are_decided_by_their_value() -> None:
    same = found_of([0.0] * 8)
    assert (same.outcome, same.low, same.high, same.p) == ("equivalent", 0.0, 0.0, 0.0)
    assert found_of([-0.5] * 8).outcome == "beyond"
    assert (found_of([-0.5] * 8).p_worse, found_of([-0.5] * 8).p_better) == (1.0, 0.0)
    assert found_of([0.5] * 8).outcome == "not-worse"


def test_a_true_loss_of_the_margin_is_passed_at_most_as_often_as_alpha() -> None:
    draws = np.random.default_rng(5).normal(-0.02, 0.01, size=(4000, 8))
    passed = np.mean([found_of(list(row)).outcome in ("equivalent", "not-worse") for row in draws])
    assert passed == pytest.approx(0.05, abs=0.0138)  # four standard errors


@pytest.mark.parametrize("values", [[], [1.0], [0.0, float("nan")]])
def test_undefined_values(values: list[float]) -> None:
    assert isinstance(equivalence(values, 0.02), Undefined)


@pytest.mark.parametrize("margin", [0.0, -0.02, float("nan"), float("inf")])
def test_undefined_margin(margin: float) -> None:
    got = equivalence([0.0, 0.1], margin)
    assert isinstance(got, Undefined)
    assert "margin" in got.reason
