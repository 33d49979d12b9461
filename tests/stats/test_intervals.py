from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.stats.intervals import (
    Interval,
    Undefined,
    cluster_bootstrap,
    mean,
    paired_interval,
    sd,
    t_interval,
    wider,
)

numbers = st.floats(-10, 10, allow_nan=False).map(lambda x: round(x, 3))


@given(st.lists(numbers, min_size=2, max_size=50), st.sampled_from([0.8, 0.9, 0.95, 0.99]))
def test_t_interval_is_scipys(values: list[float], level: float) -> None:
    got = t_interval(values, level=level)
    assert isinstance(got, Interval)
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    if np.ptp(values) == 0:
        assert got.low == got.high == pytest.approx(values[0])
        return
    low, high = scipy.stats.t.interval(level, len(values) - 1, np.mean(values), error)
    assert (got.low, got.high) == pytest.approx((low, high), rel=1e-9, abs=1e-12)
    assert got.half_width == pytest.approx((high - low) / 2, rel=1e-9)
    assert (got.method, got.level) == ("t", level)


def test_t_interval_by_hand() -> None:
    # mean 2, sd 1, t(2) = 4.302653 at 95 %: 4.302653 / sqrt(3) = 2.484138.
    got = t_interval([1.0, 2.0, 3.0])
    assert isinstance(got, Interval)
    assert got.half_width == pytest.approx(2.484138, abs=1e-6)


def test_bootstrap_agrees_with_every_resample_of_three() -> None:
    values = [0.0, 1.0, 5.0]
    means = [np.mean(picks) for picks in itertools.product(values, repeat=3)]
    low, high = np.quantile(means, [0.1, 0.9])
    got = cluster_bootstrap(values, level=0.8, draws=20_000)
    assert isinstance(got, Interval)
    assert (got.low, got.high) == pytest.approx((low, high), abs=1e-9)


def test_bootstrap_is_scipys_within_chance() -> None:
    values = np.random.default_rng(3).exponential(size=40)
    reference = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=10_000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    got = cluster_bootstrap(list(values))
    assert isinstance(got, Interval)
    assert (got.low, got.high) == pytest.approx((reference.low, reference.high), abs=0.02)


def test_bootstrap_is_a_function_of_values_and_seed() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    assert cluster_bootstrap(values, seed=5) == cluster_bootstrap(values, seed=5)
    # Drawn in several pieces, the number of draws is still the one asked for.
    many = list(np.random.default_rng(0).normal(size=3000))
    got = cluster_bootstrap(many, draws=700)
    assert isinstance(got, Interval)
    assert got.low < np.mean(many) < got.high


@settings(max_examples=30, deadline=None)
@given(st.lists(numbers, min_size=2, max_size=12))
def test_paired_interval_is_the_wider_and_keeps_its_place(values: list[float]) -> None:
    got, by_t, by_draw = paired_interval(values), t_interval(values), cluster_bootstrap(values)
    assert isinstance(got, Interval)
    assert isinstance(by_t, Interval)
    assert isinstance(by_draw, Interval)
    assert got in (by_t, by_draw)
    assert got.half_width == max(by_t.half_width, by_draw.half_width)
    moved = paired_interval([v + 1 for v in values])
    assert isinstance(moved, Interval)
    assert (moved.low, moved.high) == pytest.approx((got.low + 1, got.high + 1), abs=1e-9)


def test_wider_keeps_the_first_on_a_tie() -> None:
    first, second = Interval(0, 1, 0.5, "t", 0.95), Interval(1, 2, 0.5, "cluster-bootstrap", 0.95)
    assert wider(first, second) is first
    assert wider(second, Interval(0, 3, 1.5, "t", 0.95)).method == "t"


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")], [float("inf"), 1.0, 2.0]])
def test_what_does_not_exist_is_undefined_with_a_reason(values: list[float]) -> None:
    for function in (t_interval, cluster_bootstrap, paired_interval, sd):
        got = function(values)
        assert isinstance(got, Undefined)
        assert got.reason
    assert isinstance(mean(values), float) == (values == [1.0])


def test_equal_values_have_no_spread_at_all() -> None:
    assert sd([0.1] * 7) == 0.0
    assert sd([1.0, 3.0]) == pytest.approx(2**0.5)


@pytest.mark.parametrize("n", [8, 30])
def test_coverage_on_normal_groups(n: int) -> None:
    generator = np.random.default_rng(n)
    runs, hits = 1500, 0
    for _ in range(runs):
        got = paired_interval(list(generator.normal(0.3, 1.0, size=n)), draws=1000)
        assert isinstance(got, Interval)
        hits += got.low <= 0.3 <= got.high
    assert 0.93 <= hits / runs <= 0.98
