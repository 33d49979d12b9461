from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.stats.intervals import Undefined
from assay.stats.power import groups_for, mde, power


@pytest.mark.parametrize("n", [2, 3, 6, 8, 30, 300])
@pytest.mark.parametrize("noncentrality", [0.0, 0.5, 2.0, 3.5])
def test_power_is_that_of_the_noncentral_t(n: int, noncentrality: float) -> None:
    critical = scipy.stats.t.ppf(0.975, n - 1)
    reference = scipy.stats.nct.sf(critical, n - 1, noncentrality) + scipy.stats.nct.cdf(
        -critical, n - 1, noncentrality
    )
    assert power(noncentrality / math.sqrt(n), 1.0, n) == pytest.approx(reference, abs=1e-8)


def test_published_sample_sizes() -> None:
    # Cohen 1988, table 2.4.1 and G*Power: paired t, two-sided .05, power .80.
    assert groups_for(0.5, 1.0) == 34
    assert groups_for(0.8, 1.0) == 15
    assert groups_for(0.2, 1.0) == 199


def test_power_agrees_with_simulation() -> None:
    draws = np.random.default_rng(0).normal(0.9, 1.0, size=(20_000, 8))
    p = scipy.stats.ttest_1samp(draws, 0.0, axis=1).pvalue
    assert power(0.9, 1.0, 8) == pytest.approx(np.mean(p < 0.05), abs=0.01)


@settings(max_examples=40, deadline=None)
@given(st.floats(1e-6, 1e3), st.integers(2, 500), st.sampled_from([0.5, 0.8, 0.95]))
def test_mde_has_its_power_and_scales_with_the_spread(sd: float, n: int, goal: float) -> None:
    found = mde(sd, n, power=goal)
    assert isinstance(found, float)
    assert power(found, sd, n) == pytest.approx(goal, abs=1e-6)
    assert mde(2 * sd, n, power=goal) == pytest.approx(2 * found)


@settings(max_examples=40, deadline=None)
@given(st.floats(0.05, 5))
def test_groups_for_is_the_fewest(effect: float) -> None:
    n = groups_for(effect, 1.0)
    assert isinstance(n, int)
    reached, before = power(effect, 1.0, n), power(effect, 1.0, n - 1)
    assert isinstance(reached, float)
    assert isinstance(before, float)
    assert n >= 6
    assert reached >= 0.8
    assert n == 6 or before < 0.8


def test_half_the_effect_takes_about_four_times_the_groups() -> None:
    found = mde(1.0, 30)
    assert isinstance(found, float)
    assert groups_for(found / 2, 1.0) == pytest.approx(115, abs=1)


def test_undefined() -> None:
    assert isinstance(mde(1.0, 1), Undefined)
    assert isinstance(mde(0.0, 8), Undefined)
    assert isinstance(mde(float("nan"), 8), Undefined)
    assert isinstance(power(0.1, 1.0, 0), Undefined)
    assert isinstance(groups_for(0.0, 1.0), Undefined)
    assert isinstance(groups_for(0.1, 0.0), Undefined)
    assert isinstance(groups_for(1e-9, 1.0), Undefined)
