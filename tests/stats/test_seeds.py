from __future__ import annotations

import json
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.stats.intervals import Interval, Undefined, paired_interval
from assay.stats.seeds import SeedVariance, seed_p, seed_variance

numbers = st.floats(-1, 1).map(lambda x: round(x, 3))
matrices = st.integers(2, 9).flatmap(
    lambda groups: st.lists(st.lists(numbers, min_size=groups, max_size=groups), min_size=2, max_size=5)
)


def varied(rows: list[list[float]]) -> SeedVariance:
    got = seed_variance(rows, draws=1000)
    assert isinstance(got, SeedVariance)
    return got


def test_by_hand() -> None:
    # Seeds' means 1, 2, 3 (sd 1), each on all of four groups; t(2) = 4.302653, and 2 ÷ chi-square(2) at .975 and .025.
    got = varied([[1.0] * 4, [2.0] * 4, [3.0] * 4])
    assert (got.mean, got.seed_sd, got.n_seeds, got.n_groups) == (2.0, 1.0, 3, 4)
    assert got.by_seeds == pytest.approx(4.302653 / math.sqrt(3))
    assert got.by_groups == 0
    assert (got.low, got.high) == pytest.approx((2 - got.by_seeds, 2 + got.by_seeds))
    assert (got.seed_sd_low, got.seed_sd_high) == pytest.approx((math.sqrt(2 / 7.377759), math.sqrt(2 / 0.0506356)))


@settings(max_examples=40, deadline=None)
@given(matrices)
def test_the_parts_are_scipys_and_ours(rows: list[list[float]]) -> None:
    got, matrix = varied(rows), np.asarray(rows)
    seeds = scipy.stats.ttest_1samp(matrix.mean(axis=1), 0.0) if np.ptp(matrix.mean(axis=1)) > 1e-12 else None
    if seeds is not None:
        ends = seeds.confidence_interval(0.95)
        assert got.by_seeds == pytest.approx((ends.high - ends.low) / 2, rel=1e-6)
    groups = paired_interval(list(matrix.mean(axis=0)), draws=1000)
    assert isinstance(groups, Interval)
    assert got.by_groups == pytest.approx(groups.half_width)
    assert got.mean - got.low == pytest.approx(math.hypot(got.by_seeds, got.mean - groups.low), abs=1e-9)
    assert got.high - got.mean == pytest.approx(math.hypot(got.by_seeds, groups.high - got.mean), abs=1e-9)
    assert got.seed_sd_low <= got.seed_sd <= got.seed_sd_high
    json.dumps(got.as_json(), allow_nan=False)


def test_equal_seeds_leave_the_interval_over_groups() -> None:
    row = [0.11, 0.08, 0.12, 0.07, 0.1, 0.09]
    got, alone = varied([row] * 3), paired_interval(row, draws=1000)
    assert isinstance(alone, Interval)
    assert (got.low, got.high) == pytest.approx((alone.low, alone.high))
    assert (got.seed_sd, got.seed_sd_low, got.seed_sd_high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("seed_sd", [0.0, 0.3, 2.0])
def test_coverage_of_the_recipes_effect(seed_sd: float) -> None:
    generator, runs, hits, alone = np.random.default_rng(8), 500, 0, 0
    for _ in range(runs):
        drawn = generator.normal(size=(1, 8)) + seed_sd * generator.normal(size=(3, 1))
        got = seed_variance((drawn + 0.3 * generator.normal(size=(3, 8))).tolist(), draws=50)
        assert isinstance(got, SeedVariance)
        hits += got.low <= 0 <= got.high
        alone += abs(got.mean) <= got.by_groups
    assert hits / runs >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / runs)
    assert (alone / runs < 0.8) == (seed_sd > 1)  # groups alone are not enough


def test_undefined() -> None:
    one = seed_variance([[0.1, 0.2, 0.3]])
    assert isinstance(one, Undefined)
    assert one.reason == "1 of at least 2 training seeds"
    unlike = seed_variance([[0.1, 0.2], [0.1]])
    assert isinstance(unlike, Undefined)
    assert unlike.reason == "the seeds were measured on unlike numbers of groups: 2, 1"
    broken = seed_variance([[0.1, 0.2], [0.1, math.inf]])
    assert isinstance(broken, Undefined)
    assert broken.reason == "value 2 of seed 2 is not finite"
    assert isinstance(seed_variance([[0.1], [0.2]]), Undefined)
    assert isinstance(seed_variance([[], []]), Undefined)


# p


def test_p_of_groups_that_agree_is_students_over_seeds() -> None:
    rows = [[1.0] * 4, [2.0] * 4, [3.0] * 4]
    assert seed_p(rows) == pytest.approx(scipy.stats.ttest_1samp([1.0, 2.0, 3.0], 0.0).pvalue, rel=2e-4)


@given(matrices, st.sampled_from([0.01, 0.05, 0.2]))
@settings(max_examples=30)
def test_p_is_below_alpha_just_where_the_interval_leaves_zero_out(rows: list[list[float]], alpha: float) -> None:
    p, interval = seed_p(rows, draws=500), seed_variance(rows, level=1 - alpha, draws=500)
    assert isinstance(p, float)
    assert isinstance(interval, SeedVariance)
    assert 1 / 500 <= p <= 1
    if abs(p / alpha - 1) > 1e-3:
        assert (p < alpha) == (interval.low > 0 or interval.high < 0)
    opposite = seed_p([[-value for value in row] for row in rows], draws=500)
    assert opposite == pytest.approx(p, rel=0.2)  # the draws are not mirrored


def test_p_of_nothing_is_1_and_of_the_plainest_effect_what_the_draws_can_tell() -> None:
    assert seed_p([[0.0, 0.0], [0.0, 0.0]]) == 1.0
    assert seed_p([[1.0, 1.0], [1.0, 1.0]], draws=1000) == 1 / 1000


def test_p_is_undefined_where_the_interval_is() -> None:
    for rows in ([[1.0, 2.0]], [[1.0], [2.0]], [[1.0, math.nan], [1.0, 2.0]]):
        assert isinstance(seed_p(rows), Undefined)
