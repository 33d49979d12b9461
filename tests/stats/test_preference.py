"""Preferences: against hand calculations, scipy's exact intervals, and Bradley-Terry fitted by a general optimiser."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import binomtest

from assay.stats.intervals import Undefined, paired_interval
from assay.stats.preference import (
    TIE,
    Choice,
    Judgement,
    Outcome,
    Stars,
    agreement,
    anchor_shifts,
    bradley_terry,
    cohen_kappa,
    consistency,
    corrected,
    estimate,
    first_share,
    krippendorff_alpha,
    length_gap,
    outcomes,
    star_difference,
    star_means,
    win_rate,
)


def both_orders(
    pair: str, one: Choice | None, other: Choice | None, *, group: str = "", rater: str = "j"
) -> list[Judgement]:
    """tuned first and answered `one`; base first and answered `other`."""
    group = group or pair
    return [
        Judgement(rater, pair, group, "tuned", "base", one),
        Judgement(rater, pair, group, "base", "tuned", other),
    ]


def outcome(
    group: str, winner: str, arms: tuple[str, str] = ("tuned", "base"), *, pair: str = "", answers: int = 2
) -> Outcome:
    return Outcome("j", pair or f"{group}-{arms}", group, frozenset(arms), winner, answers, True)


# outcomes and win rate


@pytest.mark.parametrize(
    ("one", "other", "winner", "agree"),
    [
        ("first", "second", "tuned", True),
        ("second", "first", "base", True),
        ("tie", "tie", TIE, True),
        ("first", "first", TIE, False),  # whatever stands first
        ("second", "second", TIE, False),
        ("first", "tie", TIE, False),
    ],
)
def test_both_orders_must_name_the_winner(one: Choice, other: Choice, winner: str, agree: bool) -> None:
    (found,) = outcomes(both_orders("p", one, other))
    assert (found.winner, found.agree, found.answers) == (winner, agree, 2)


@pytest.mark.parametrize(("one", "other"), [(None, "first"), ("tie", None), (None, None)])
def test_a_pair_with_an_unreadable_answer_is_no_tie_but_left_out(one: Choice | None, other: Choice | None) -> None:
    assert outcomes(both_orders("p", one, other)) == []


def test_win_rate_by_hand() -> None:
    results = [outcome(f"g{i}", w) for i, w in enumerate(["tuned"] * 5 + [TIE] * 3 + ["base"] * 2)]
    found = win_rate(results, "tuned", "base")
    assert (found.wins, found.ties, found.losses) == (5, 3, 2)
    assert found.rate.mean == pytest.approx(6.5 / 10)
    expected = paired_interval([1.0] * 5 + [0.5] * 3 + [0.0] * 2)
    assert not isinstance(expected, Undefined)
    assert (found.rate.low, found.rate.high) == (pytest.approx(expected.low), pytest.approx(min(1, expected.high)))
    # signs of five +.5 and two -.5: |sum| of 1.5 or more in 58 of 128 patterns
    assert found.p == pytest.approx(58 / 128)
    mirrored = win_rate(results, "base", "tuned")
    assert mirrored.rate.mean == pytest.approx(1 - 6.5 / 10)
    json.dumps(found.as_json(), allow_nan=False)


def test_the_prompt_is_the_unit_however_many_texts_it_has() -> None:
    many = [outcome("g0", "tuned", pair=f"p{i}") for i in range(100)]
    found = win_rate([*many, outcome("g1", "base"), outcome("g2", "base")], "tuned", "base")
    assert found.rate.mean == pytest.approx(1 / 3)
    assert found.rate.groups == 3


def test_nothing_is_undefined_with_a_reason() -> None:
    found = win_rate([], "tuned", "base")
    assert (found.rate.mean, found.p, found.wins) == (None, None, 0)
    assert found.rate.reason
    one = estimate([("g", 1.0)], bounds=(0.0, 1.0))
    assert (one.mean, one.low, one.high) == (1.0, None, None)
    assert one.reason


@pytest.mark.parametrize("n", [2, 6, 50])
def test_when_all_win_the_interval_is_the_exact_one(n: int) -> None:
    found = estimate([(str(i), 1.0) for i in range(n)], bounds=(0.0, 1.0))
    exact = binomtest(n, n).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == (pytest.approx(exact.low), 1.0)
    lost = estimate([(str(i), 0.0) for i in range(n)], bounds=(0.0, 1.0))
    assert (lost.low, lost.high) == (0.0, pytest.approx(1 - exact.low))
    tied = estimate([(str(i), 0.5) for i in range(n)], bounds=(0.0, 1.0))
    assert tied.low is not None
    assert tied.high is not None
    assert 0 < tied.low < 0.5 < tied.high < 1
    assert estimate([(str(i), 3.0) for i in range(n)]).low is None


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from([0.0, 0.5, 1.0])), min_size=1))
def test_an_interval_holds_its_mean_and_stays_in_bounds(values: list[tuple[str, float]]) -> None:
    found = estimate(values, bounds=(0.0, 1.0))
    assert found.mean is not None
    if found.groups < 2:
        assert found.low is None
        return
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low <= found.mean + 1e-12
    assert found.mean <= found.high + 1e-12
    assert found.high <= 1


# consistency, position, length


def test_consistency_counts_pairs_answered_twice() -> None:
    answers = [
        *both_orders("p1", "first", "second"),
        *both_orders("p2", "first", "first"),
        *both_orders("p3", "tie", "tie"),
        *both_orders("p4", None, "first"),
        Judgement("j", "p5", "p5", "tuned", "base", "first"),
    ]
    found = consistency(outcomes(answers))
    assert found.mean == pytest.approx(2 / 3)
    assert found.groups == 3


def test_a_judge_that_takes_the_first_is_found_out() -> None:
    answers = [j for i in range(20) for j in both_orders(f"p{i}", "first", "first")]
    results = outcomes(answers)
    assert consistency(results).mean == 0
    assert first_share(answers).mean == 1
    assert win_rate(results, "tuned", "base").rate.mean == 0.5


def test_a_consistent_judge_has_no_position_bias() -> None:
    answers = [j for i in range(20) for j in both_orders(f"p{i}", "first", "second")]
    assert first_share(answers).mean == 0.5
    ties = [j for i in range(3) for j in both_orders(f"p{i}", "tie", None)]
    assert first_share(ties).mean is None


def test_length_gap_by_hand() -> None:
    results = [outcome("g1", "tuned", pair="p1"), outcome("g2", "base", pair="p2"), outcome("g3", TIE, pair="p3"),
               outcome("g4", "tuned", pair="p4")]  # fmt: skip
    words = {("p1", "tuned"): 30, ("p1", "base"): 10, ("p2", "tuned"): 12, ("p2", "base"): 8,
             ("p3", "tuned"): 5, ("p3", "base"): 9, ("p4", "tuned"): 7, ("p4", "base"): 7}  # fmt: skip
    gap, longer = length_gap(results, words)
    assert gap.mean == pytest.approx((20 - 4 + 0) / 3)
    assert longer.mean == pytest.approx((1 + 0 + 0.5) / 3)
    assert (gap.groups, longer.groups) == (3, 3)


# agreement


def test_kappa_by_hand() -> None:
    # Cohen's table of 50: 20 both yes, 5 yes-no, 10 no-yes, 15 both no; observed .7, expected .5
    first = ["yes"] * 25 + ["no"] * 25
    second = ["yes"] * 20 + ["no"] * 5 + ["yes"] * 10 + ["no"] * 15
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa(first, first) == 1.0
    three = cohen_kappa(["a", "b", "c", "a"], ["a", "c", "c", "b"])
    # observed 1/2; expected (2·1 + 1·1 + 1·2) / 16 = 5/16
    assert three == pytest.approx((1 / 2 - 5 / 16) / (1 - 5 / 16))


@pytest.mark.parametrize(("first", "second"), [([], []), (["a", "a"], ["a", "a"])])
def test_kappa_without_variety_is_undefined(first: list[str], second: list[str]) -> None:
    assert isinstance(cohen_kappa(first, second), Undefined)


def test_agreement_matches_pairs_and_leaves_out_what_nobody_was_asked() -> None:
    mine = [
        outcome("g1", "tuned", pair="p1"),
        outcome("g2", "base", pair="p2"),
        outcome("g3", TIE, pair="p3", answers=0),
    ]
    theirs = [
        outcome("g1", "tuned", pair="p1"),
        outcome("g2", "tuned", pair="p2"),
        outcome("g3", TIE, pair="p3", answers=0),
    ]
    found = agreement(mine, theirs)
    assert (found.share.mean, found.pairs) == (0.5, 2)
    assert found.kappa == pytest.approx(0.0)
    nothing = agreement(mine, [outcome("g9", "tuned", pair="p9")])
    assert (nothing.share.mean, nothing.kappa, nothing.pairs) == (None, None, 0)
    assert nothing.reason


# Bradley-Terry

ARMS = ("base", "prompt_only", "tuned")


def comparisons(seed: int = 0, prompts: int = 40) -> list[Outcome]:
    generator = np.random.default_rng(seed)
    strength = dict(zip(ARMS, (1.0, 1.5, 3.0), strict=True))
    found = []
    for i in range(prompts):
        for one, other in (("tuned", "base"), ("tuned", "prompt_only"), ("prompt_only", "base")):
            draw = generator.random()
            chance = strength[one] / (strength[one] + strength[other])
            winner = TIE if draw > 0.9 else one if draw / 0.9 < chance else other
            found.append(outcome(f"g{i}", winner, (one, other)))
    return found


def fitted(results: Sequence[Outcome]) -> dict[str, float]:
    """Maximum likelihood by a general optimiser: strengths in nats against base, then chances."""

    def loss(free: np.ndarray) -> float:
        nats = dict(zip(ARMS, (0.0, *free), strict=True))
        total = 0.0
        for result in results:
            one, other = sorted(result.arms)
            score = {one: 1.0, TIE: 0.5, other: 0.0}[result.winner]
            gap = nats[one] - nats[other]
            total += score * math.log1p(math.exp(-gap)) + (1 - score) * math.log1p(math.exp(gap))
        return total

    best = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-8}).x
    return {arm: 1 / (1 + math.exp(-nats)) for arm, nats in zip(ARMS[1:], best, strict=True)}


def test_strengths_equal_a_general_fit() -> None:
    results = comparisons()
    found = bradley_terry(results, "base", draws=200)
    for arm, chance in fitted(results).items():
        assert found[arm].mean == pytest.approx(chance, abs=1e-5)
        low, high = found[arm].low, found[arm].high
        assert low is not None
        assert high is not None
        assert low < chance < high
    assert set(found) == {"prompt_only", "tuned"}
    assert bradley_terry(results, "base", draws=200) == found


def test_of_two_arms_the_chance_is_the_win_rate() -> None:
    results = [outcome(f"g{i}", w) for i, w in enumerate(["tuned"] * 7 + [TIE] * 2 + ["base"] * 3)]
    found = bradley_terry(results, "base", draws=50)["tuned"]
    assert found.mean == pytest.approx(8 / 12, abs=1e-6)


def test_an_arm_that_never_lost_has_no_strength_but_an_open_interval() -> None:
    found = bradley_terry([outcome(f"g{i}", "tuned") for i in range(8)], "base", draws=50)["tuned"]
    assert (found.mean, found.low, found.high) == (None, 0.0, 1.0)
    assert found.reason


# several raters, and stars


def test_krippendorffs_own_example() -> None:
    # Computing Krippendorff's Alpha-Reliability (2011), section D: four observers, twelve units, values missing.
    table = {"A": "123321412...", "B": "1233224125.3", "C": ".3332342251.", "D": "12332441251."}
    ratings = [(str(i), who, float(v)) for who, row in table.items() for i, v in enumerate(row) if v != "."]
    assert krippendorff_alpha(ratings, distance="nominal") == pytest.approx(0.743, abs=5e-4)
    assert krippendorff_alpha(ratings, distance="ordinal") == pytest.approx(0.815, abs=5e-4)
    assert krippendorff_alpha(ratings, distance="interval") == pytest.approx(0.849, abs=5e-4)
    again = [*ratings, ("0", "A", 5.0)]
    assert krippendorff_alpha(again, distance="nominal") == krippendorff_alpha(ratings, distance="nominal")


def test_alpha_without_overlap_or_variety_is_undefined() -> None:
    assert isinstance(krippendorff_alpha([("u", "a", 1.0), ("v", "b", 2.0)], distance="nominal"), Undefined)
    assert isinstance(krippendorff_alpha([("u", "a", 1.0), ("u", "b", 1.0)], distance="nominal"), Undefined)


def stars(rater: str, group: str, arm: str, given: float) -> Stars:
    return Stars(rater, f"{group}-{arm}", group, arm, given)


def test_a_strict_and_a_mild_rater_are_brought_to_one_scale() -> None:
    true = {("g1", "tuned"): 4.0, ("g1", "base"): 2.0, ("g2", "tuned"): 3.0, ("g2", "base"): 3.0}
    ratings = [stars("mild", g, a, s + 1) for (g, a), s in true.items()]
    ratings += [stars("strict", g, a, s - 1) for (g, a), s in true.items() if g == "g1"]
    shifts = anchor_shifts([("mild", 5, 4), ("mild", 3, 2), ("strict", 1, 2), ("strict", 3, 4)])
    assert shifts == {"mild": 1.0, "strict": -1.0}
    level = star_means(corrected(ratings, shifts), bounds=None)
    assert {arm: found.mean for arm, found in level.items()} == {"base": 2.5, "tuned": 3.5}
    raw = star_means(ratings)
    assert raw["tuned"].mean == pytest.approx((4 + 4) / 2)
    beyond = star_difference(ratings, "tuned", "base")
    assert beyond.mean == star_difference(corrected(ratings, shifts), "tuned", "base").mean == 1.0
    assert beyond.groups == 2


def test_all_the_same_stars_leave_room_for_doubt() -> None:
    found = star_means([stars("a", f"g{i}", "tuned", 5.0) for i in range(4)])["tuned"]
    share = 0.025 ** (1 / 4)
    assert (found.mean, found.high) == (5.0, 5.0)
    assert found.low == pytest.approx(5 * share + 1 * (1 - share))
