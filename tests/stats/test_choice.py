"""Choosing by weighted criteria: scores and shares worked out by hand, and what holds whatever the numbers."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.stats.choice import Choice, Column, choose, scaled
from assay.stats.intervals import t_interval

NAMES = ("a", "b", "c")


def column(name: str, *values: float, higher: bool = True, **more: object) -> Column:
    return Column(name, higher, tuple(map(float, values)), **more)  # type: ignore[arg-type]


def equal(*columns: Column, names: tuple[str, ...] = NAMES, **weights: float) -> Choice:
    found = choose(names, columns, {one.name: weights.get(one.name, 1.0 if not weights else 0.0) for one in columns})
    json.dumps(found.as_json(), allow_nan=False)
    return found


# by hand: quality 10, 8, 0 → 1, .8, 0; memory (less is better) 4, 2, 1 → 0, 2/3, 1
QUALITY, MEMORY = column("quality", 10, 8, 0), column("memory", 4, 2, 1, higher=False)


def test_scores_and_the_overall_score() -> None:
    found = equal(QUALITY, MEMORY)
    assert np.array(found.scores) == pytest.approx(np.array([[1, 0], [0.8, 2 / 3], [0, 1]]))
    assert found.overall == pytest.approx([0.5, 11 / 15, 0.5])
    assert (found.chosen, found.best) == ("b", ("b",))
    assert found.weights == (0.5, 0.5)


def test_the_share_of_all_weightings_of_two_criteria_is_exact() -> None:
    # with w on quality: a = w, b = 2/3 + w · 2/15, c = 1 - w; b beats a until w = 10/13, and c from w = 5/17 on
    found = equal(QUALITY, MEMORY)
    assert found.exact
    assert found.in_weightings == pytest.approx([1 - 10 / 13, 10 / 13 - 5 / 17, 5 / 17])
    (quality, memory) = found.flips
    assert (quality.criterion, quality.weight) == ("quality", 0.5)
    assert (quality.under, quality.over) == pytest.approx((5 / 17, 10 / 13))
    assert (quality.instead_under, quality.instead_over) == (("c",), ("a",))
    assert (memory.under, memory.over) == pytest.approx((3 / 13, 12 / 17))


def test_weights_are_relative() -> None:
    assert equal(QUALITY, MEMORY, quality=9, memory=1).chosen == "a"
    assert (
        equal(QUALITY, MEMORY, quality=0.9, memory=0.1).overall == equal(QUALITY, MEMORY, quality=9, memory=1).overall
    )
    assert equal(QUALITY, MEMORY, memory=2).chosen == "c"


def test_a_tie_is_told_and_not_broken() -> None:
    found = equal(column("x", 1, 0, 0.2), column("y", 0, 1, 0.2))
    assert (found.chosen, found.best, found.flips) == (None, ("a", "b"), ())
    assert found.in_weightings == pytest.approx([0.5, 0.5, 0])
    assert found.in_draws == pytest.approx([0.5, 0.5, 0])


def test_models_that_are_never_chosen() -> None:
    # c is dominated by none, and lies below the line from a to b: no weights choose it; d is dominated by c
    found = equal(column("x", 1, 0, 0.4, 0.3), column("y", 0, 1, 0.4, 0.4), names=("a", "b", "c", "d"), x=3, y=1)
    assert found.dominated == {"d": ("c",)}
    assert found.never == ("c", "d")
    assert found.chosen == "a"


def test_a_third_criterion_is_drawn() -> None:
    # each is the best in one criterion and nothing in the others: of all weightings a third each
    found = equal(column("x", 1, 0, 0), column("y", 0, 1, 0), column("z", 0, 0, 1), x=2, y=1, z=1)
    assert not found.exact
    assert found.in_weightings == pytest.approx([1 / 3] * 3, abs=0.015)
    # of weights w, (1 - w)/2, (1 - w)/2 the first is the largest from 1/3 on
    assert found.flips[0].under == pytest.approx(1 / 3)
    assert found.flips[0].instead_under == ("b", "c")
    # y alone raised: w against 2/3 · (1 - w)
    assert found.flips[1].over == pytest.approx(2 / 5)


def test_one_criterion_and_one_model() -> None:
    alone = equal(QUALITY)
    assert (alone.chosen, alone.in_weightings, alone.flips) == ("a", (1, 0, 0), ())
    single = equal(column("quality", 3), names=("a",))
    assert (single.chosen, single.never, single.in_draws) == ("a", (), (1,))


@pytest.mark.parametrize("weights", [{"quality": 0.0}, {"quality": -1.0}, {"quality": math.nan}])
def test_weights_that_cannot_be_weighed_by(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a weight above 0"):
        choose(NAMES, [QUALITY], weights)


# enough is enough


def test_beyond_enough_better_is_no_better() -> None:
    assert equal(column("diversity", 0.9, 0.5, 0.99, enough=0.8)).best == ("a", "c")
    assert equal(column("repetition", 0.1, 0.0, 0.3, higher=False, enough=0.2)).best == ("a", "b")


# scalings


def test_other_scalings() -> None:
    values = np.array([[4.0, -8.0], [2.0, -2.0], [1.0, -2.0]])
    assert scaled(values, "rank") == pytest.approx(np.array([[1, 0], [0.5, 0.75], [0, 0.75]]))
    assert scaled(values, "ratio") == pytest.approx(np.array([[0, 0], [-1, 2], [-2, 2]]))
    with pytest.raises(ValueError, match="both signs"):
        scaled(np.array([[1.0], [0.0]]), "ratio")


def test_the_choice_may_hang_on_the_scaling() -> None:
    # a hundredth better in quality and twice as large: all of the one scale, and all of the other
    found = equal(
        column("quality", 1.00, 1.01), column("size", 2, 4, higher=False), names=("a", "b"), quality=3, size=2
    )
    assert found.by_scaling == {"min-max": "b", "rank": "b", "ratio": "a"}
    assert equal(column("change", -1, 1), names=("a", "b")).by_scaling["ratio"] is None


# what was measured, redrawn


def test_without_a_known_spread_nothing_moves() -> None:
    assert equal(QUALITY, MEMORY).in_draws == (0, 1, 0)


def test_an_interval_is_carried_through() -> None:
    # a - b is normal with mean 1 and standard deviation √2: it is above 0 in Φ(1 ÷ √2) = .760 of the cases
    half = 1.959964
    ends = ((10 - half, 10 + half), (9 - half, 9 + half))
    found = equal(column("quality", 10, 9, intervals=ends), names=("a", "b"))
    assert found.in_draws[0] == pytest.approx(0.760, abs=0.02)
    one_sided = equal(column("quality", 10, 9, intervals=(None, (9.0, 9.0 + half))), names=("a", "b"))
    assert one_sided.in_draws[1] == pytest.approx(0.159, abs=0.02)  # above 1 standard deviation


def test_units_are_redrawn_as_pairs() -> None:
    # prompts differ far more than the models do, and the same way for both: as pairs a is always the better
    easy = tuple(float(10 * k) for k in range(8))
    paired = (tuple(v + 1 + 0.01 * (k % 3) for k, v in enumerate(easy)), easy)
    values = [sum(own) / 8 for own in paired]
    assert equal(column("q", *values, units=paired), names=("a", "b")).in_draws[0] == 1
    loose = (paired[0], easy[::-1])
    assert 0.4 < equal(column("q", *values, units=loose), names=("a", "b")).in_draws[0] < 0.65


def test_redrawn_means_have_the_t_interval_of_their_units() -> None:
    own = (1.0, 2.0, 4.0, 8.0, 3.0)
    interval = t_interval(own)
    drawn = column("q", 3.6, units=(own,)).drawn(np.random.default_rng(0), 40_000)[:, 0]
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([interval.low, interval.high], abs=0.15)  # type: ignore[union-attr]


def test_seeds_add_their_own_spread() -> None:
    seeds = (9.0, 10.0, 11.0)
    interval = t_interval(seeds)
    drawn = column("q", 10, seeds=(seeds,)).drawn(np.random.default_rng(0), 40_000)[:, 0]
    assert np.quantile(drawn, [0.025, 0.975]) == pytest.approx([interval.low, interval.high], abs=0.15)  # type: ignore[union-attr]
    assert column("q", 10, seeds=((10.0,),)).drawn(np.random.default_rng(0), 5).std() == 0


def test_what_is_within_the_resolution_is_equal_and_a_single_seed_moves_by_it() -> None:
    near = column("memory", 98, 100, 99, higher=False, resolution=0.02)
    assert equal(near).scores == ((1.0,), (1.0,), (1.0,))
    # a third that is far off spreads the scale, and the others keep their places on it
    assert equal(column("memory", 98, 100, 50, higher=False, resolution=0.02)).scores[0] == pytest.approx([0.04])
    drawn = column("q", 50, 50, seeds=((50.0,), (40.0, 60.0)), resolution=0.1).drawn(np.random.default_rng(0), 40_000)
    assert np.quantile(drawn[:, 0], [0.025, 0.975]) == pytest.approx([45, 55], abs=0.2)
    assert drawn[:, 1].std() > 20  # its two seeds say more of it


NUMBERS = st.lists(st.lists(st.integers(0, 5).map(float), min_size=3, max_size=3), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(NUMBERS, st.lists(st.integers(1, 9), min_size=4, max_size=4))
def test_what_holds_whatever_the_numbers(rows: list[list[float]], weights: list[int]) -> None:
    columns = [column(f"k{n}", *row, higher=n % 2 == 0) for n, row in enumerate(rows)]
    found = choose(NAMES, columns, {f"k{n}": float(weights[n]) for n in range(len(rows))}, draws=50, weightings=500)
    assert sum(found.in_draws) == pytest.approx(1)
    assert sum(found.in_weightings) == pytest.approx(1)
    assert found.overall[NAMES.index(found.best[0])] == max(found.overall)
    assert not set(found.dominated) & ({found.chosen} if found.chosen else set())
    assert all(found.in_weightings[NAMES.index(name)] < 0.51 for name in found.never)
    assert set(found.dominated) <= set(found.never)
    for flip in found.flips:
        # just beyond the turning point another one is the best
        for edge, instead, side in ((flip.under, flip.instead_under, -1), (flip.over, flip.instead_over, 1)):
            if edge is None:
                continue
            others = {one: w for one, w in zip(found.criteria, found.weights, strict=True) if one != flip.criterion}
            at = edge + side * 1e-5
            moved = {one: w / (1 - flip.weight) * (1 - at) for one, w in others.items()} | {flip.criterion: at}
            assert set(choose(NAMES, columns, moved, draws=1, weightings=1).best) & set(instead)
