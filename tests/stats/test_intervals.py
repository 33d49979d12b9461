from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.stats.intervals import (
    FURTHEST,
    Interval,
    Undefined,
    bootstrap_t,
    mean,
    paired_interval,
    sd,
    share_interval,
    t_interval,
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


def resampled(values: list[float], level: float, draws: int = 40_000) -> tuple[float, float]:
    """The bootstrap-t from its definition and numpy's own beta distribution."""
    generator, x = np.random.default_rng(99), np.asarray(values)
    weights = generator.beta(0.5, 1.5, size=(draws, x.size))
    weights /= weights.sum(axis=1, keepdims=True)
    centres = weights @ x
    spreads = np.sqrt((weights * (x - centres[:, None]) ** 2).sum(axis=1))
    low, high = np.quantile((centres - x.mean()) / spreads, [(1 - level) / 2, (1 + level) / 2])
    return x.mean() - high * x.std(), x.mean() - low * x.std()


@pytest.mark.parametrize("n", [6, 20])
def test_bootstrap_t_is_the_one_written_out(n: int) -> None:
    values = list(np.random.default_rng(n).exponential(size=n))
    got, by_t = bootstrap_t(values, level=0.9, draws=40_000), t_interval(values, level=0.9)
    assert isinstance(got, Interval)
    assert isinstance(by_t, Interval)
    assert (got.low, got.high) == pytest.approx(resampled(values, 0.9), abs=0.04 * by_t.half_width)
    assert (got.method, got.level) == ("bootstrap-t", 0.9)


def test_bootstrap_t_follows_the_skewness() -> None:
    values = list(np.random.default_rng(3).lognormal(size=200))
    got, by_t = bootstrap_t(values), t_interval(values)
    assert isinstance(got, Interval)
    assert isinstance(by_t, Interval)
    assert by_t.low < got.low < np.mean(values) < by_t.high < got.high


def test_bootstrap_t_is_a_function_of_values_and_seed() -> None:
    values = [0.1, 0.4, 0.2, 0.9]
    assert bootstrap_t(values, seed=5) == bootstrap_t(values, seed=5)
    assert bootstrap_t(values, seed=5) != bootstrap_t(values, seed=6)
    # Drawn in several pieces, the number of draws is still the one asked for.
    many = list(np.random.default_rng(0).normal(size=3000))
    got, by_t = bootstrap_t(many, draws=700), t_interval(many)
    assert isinstance(got, Interval)
    assert isinstance(by_t, Interval)
    assert got.half_width == pytest.approx(by_t.half_width, rel=0.15)


def both_ways(values: list[float]) -> tuple[Interval, Interval, Interval]:
    found = (paired_interval(values, draws=2000), t_interval(values), bootstrap_t(values, draws=2000))
    assert all(isinstance(interval, Interval) for interval in found)
    return found  # type: ignore[return-value]


@settings(max_examples=60, deadline=None)
@given(st.lists(numbers, min_size=2, max_size=12))
def test_paired_interval_is_the_outer_of_both_at_each_end(values: list[float]) -> None:
    got, by_t, by_draw = both_ways(values)
    assert got.low == min(by_t.low, by_draw.low)
    assert got.high == max(by_t.high, by_draw.high)
    assert got.half_width == pytest.approx((got.high - got.low) / 2)
    assert got.method == ("t" if got == by_t else "t+bootstrap-t")
    # Never narrower than Student's, and no end more than twice as far.
    centre = np.mean(values)
    assert got.low >= centre - FURTHEST * by_t.half_width - 1e-9
    assert got.high <= centre + FURTHEST * by_t.half_width + 1e-9


@settings(max_examples=30, deadline=None)
@given(st.lists(numbers, min_size=2, max_size=12), st.sampled_from([0.001, 3.0, 1e6]))
def test_paired_interval_keeps_its_place_and_scale(values: list[float], scale: float) -> None:
    got = both_ways(values)[0]
    width = max(abs(got.low), abs(got.high), 1.0)
    moved = both_ways([value + 1 for value in values])[0]
    assert (moved.low, moved.high) == pytest.approx((got.low + 1, got.high + 1), abs=1e-6 * width)
    scaled = both_ways([value * scale for value in values])[0]
    assert (scaled.low, scaled.high) == pytest.approx((got.low * scale, got.high * scale), abs=1e-6 * width * scale)
    mirrored = both_ways([-value for value in values])[0]
    assert (mirrored.low, mirrored.high) == pytest.approx((-got.high, -got.low), abs=1e-6 * width)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, float("nan")], [float("inf"), 1.0, 2.0]])
def test_what_does_not_exist_is_undefined_with_a_reason(values: list[float]) -> None:
    for function in (t_interval, bootstrap_t, paired_interval, sd):
        got = function(values)
        assert isinstance(got, Undefined)
        assert got.reason
    assert isinstance(mean(values), float) == (values == [1.0])


def test_equal_values_have_no_spread_at_all() -> None:
    assert sd([0.1] * 7) == 0.0
    assert sd([1.0, 3.0]) == pytest.approx(2**0.5)


def test_no_spread_no_width() -> None:
    for function in (t_interval, bootstrap_t, paired_interval):
        got = function([0.1] * 7)
        assert isinstance(got, Interval)
        assert (got.low, got.high) == pytest.approx((0.1, 0.1))
        assert got.half_width == 0


@given(st.integers(1, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_interval_of_a_share_is_clopper_and_pearsons(counts: tuple[int, int]) -> None:
    expected = scipy.stats.binomtest(*counts).proportion_ci(0.95, method="exact")
    assert share_interval(*counts) == pytest.approx((expected.low, expected.high), abs=1e-9)
