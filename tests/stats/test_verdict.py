from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.stats.verdict import (
    Difference,
    GroupScore,
    Verdict,
    amount_text,
    bits_per_byte,
    bpb_text,
    group_scores,
    p_text,
    summarise,
    verdict,
)

NATS = math.log(2)


def scores(differences: list[float], base: float = 2.0) -> list[GroupScore]:
    return group_scores(
        (f"g{i}", 250, 1000, base * 1000 * NATS, (base - d) * 1000 * NATS) for i, d in enumerate(differences)
    )


def judged(differences: list[float], smallest_effect: float = 0.005, **more: object) -> tuple[Verdict, Difference]:
    found = summarise(scores(differences))
    return verdict(found, smallest_effect=smallest_effect, **more), found  # type: ignore[arg-type]


def spread(centre: float, sd: float, n: int) -> list[float]:
    """n differences with exactly this mean and standard deviation."""
    raw = np.random.default_rng(n).normal(size=n)
    return list(centre + sd * (raw - raw.mean()) / raw.std(ddof=1))


def test_bits_per_byte_sums_first_and_divides_once() -> None:
    rows = [("a", 10, 30, 60 * NATS, 30 * NATS), ("b", 5, 10, 10 * NATS, 20 * NATS), ("a", 2, 10, 4 * NATS, 6 * NATS)]
    a, b = group_scores(rows)
    assert (a.group, a.tokens, a.bytes) == ("a", 12, 40)
    assert (a.base_bpb, a.tuned_bpb, a.difference) == pytest.approx((64 / 40, 36 / 40, 28 / 40))
    assert (b.base_bpb, b.tuned_bpb, b.difference) == pytest.approx((1.0, 2.0, -1.0))
    assert "reason" not in a.as_json()
    assert bits_per_byte(8 * NATS, 4) == pytest.approx(2.0)


@given(st.permutations([("a", 3, 9, 4.0, 3.0), ("b", 2, 5, 2.0, 2.5), ("a", 4, 11, 5.0, 4.5), ("c", 1, 2, 1.0, 0.5)]))
def test_order_of_the_texts_changes_no_score(rows: list[tuple[str, int, int, float, float]]) -> None:
    by_name = {s.group: s.difference for s in group_scores(rows)}
    assert by_name == {s.group: s.difference for s in group_scores(sorted(rows))}


def test_better() -> None:
    found, difference = judged(spread(0.097, 0.0144, 8))
    assert found.outcome == "better"
    assert found.sentence == (
        "better by 0.097 (0.085 to 0.111) bits per byte (8 held-out groups, p = .008); this checkpoint only (1 seed)"
    )
    assert "4.8 % fewer bits" in found.plain
    assert "bits per byte" not in found.plain
    assert difference.method == "t+bootstrap-t"
    assert difference.p == 2 / 2**8
    assert difference.mean == pytest.approx(0.097)
    assert difference.base_mean == pytest.approx(2.0)
    assert difference.reason is None


def test_better_but_less_than_named() -> None:
    found, _ = judged(spread(0.008, 0.004, 8), smallest_effect=0.005)
    assert found.outcome == "better-but-small"
    assert found.sentence.startswith("better, but less than the effect you named (0.005): by 0.0080 (0.0047 to 0.0119)")
    assert "worth having (0.005 bits per byte)" in found.plain


def test_lower_end_at_the_named_effect_is_better() -> None:
    _, difference = judged(spread(0.1, 0.01, 8))
    assert difference.low is not None
    assert verdict(difference, smallest_effect=difference.low).outcome == "better"
    assert verdict(difference, smallest_effect=difference.low + 1e-9).outcome == "better-but-small"


def test_not_shown_says_what_could_have_been_found() -> None:
    found, difference = judged(spread(0.001, 0.012, 8))
    assert found.outcome == "not-shown"
    assert difference.groups_for_half == 26
    assert found.sentence.startswith("not shown: the difference is 0.001 (-0.009 to 0.013) bits per byte")
    found_at_best = "the smallest difference this test could have found is 0.014, 18 more groups would find 0.0069"
    assert found_at_best in found.sentence
    assert "could have gone unseen" in found.plain


def test_worse() -> None:
    found, _ = judged(spread(-0.2, 0.02, 10))
    assert found.outcome == "worse"
    assert found.sentence.startswith("worse by 0.200 ± 0.015 bits per byte (10 held-out groups, p = .002)")
    assert "10 % more bits" in found.plain


@pytest.mark.parametrize("n", range(6))
def test_too_few_groups_never_conclude(n: int) -> None:
    found, difference = judged([0.5 + 0.001 * i for i in range(n)])
    assert found.outcome == "cannot-conclude"
    assert "6 could conclude" in found.sentence
    assert "at least 6 are needed" in found.plain
    assert (difference.low is None) == (n < 2)
    assert (difference.reason is None) == (n >= 2)
    json.dumps([found.as_json(), difference.as_json()], allow_nan=False)


def test_six_groups_can() -> None:
    assert judged(spread(0.1, 0.01, 6))[0].outcome == "better"


def test_interval_and_sign_flip_must_agree() -> None:
    # Five gains and one small loss: the interval lies above 0, and 4 of 64 patterns reach the mean.
    values = [-0.001, 0.05, 0.10, 0.10, 0.15, 0.20]
    found, difference = judged(values)
    assert difference.low is not None
    assert difference.p is not None
    assert difference.low > 0
    assert difference.p > 0.05
    assert found.outcome == "not-shown"
    assert "the sign-flip test does not agree" in found.sentence


def test_one_huge_gain_is_not_shown_though_all_signs_agree() -> None:
    found, difference = judged([0.001, 0.001, 0.002, 0.001, 0.002, 1.9])
    assert difference.p == 2 / 2**6
    assert found.outcome == "not-shown"
    assert "the interval reaches 0" in found.sentence


def test_identical_columns_are_not_shown() -> None:
    found, difference = judged([0.0] * 8)
    assert found.outcome == "not-shown"
    assert (difference.mde, difference.groups_for_half) == (None, None)
    assert difference.reason is not None
    assert "no spread" in difference.reason
    assert "MDE" not in found.sentence


@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_group_that_broke_is_not_left_out(broken: float) -> None:
    rows = [(f"g{i}", 10, 100, 70.0, 60.0 + i / 10) for i in range(8)] + [("odd", 10, 100, 70.0, broken)]
    found = group_scores(rows)
    assert found[-1].difference is None
    assert found[-1].base_bpb is not None
    assert found[-1].as_json()["reason"] == "tuned: the negative log-likelihood is not finite"
    difference = summarise(found)
    assert (difference.mean, difference.low, difference.p) == (None, None, None)
    said = verdict(difference, smallest_effect=0.005)
    assert said.outcome == "cannot-conclude"
    assert "'odd'" in said.sentence
    assert "'odd'" in said.plain
    json.dumps([difference.as_json(), *(s.as_json() for s in found)], allow_nan=False)


def test_a_group_without_bytes_is_left_out_and_told() -> None:
    rows = [(f"g{i}", 10, 100, 70.0, 60.0 + i / 10) for i in range(8)]
    with_empty = group_scores([*rows, ("empty", 0, 0, 0.0, 0.0)])
    assert with_empty[-1].as_json()["reason"] == "base: no bytes were scored; tuned: no bytes were scored"
    assert summarise(with_empty) == summarise(group_scores(rows))


@pytest.mark.parametrize(
    ("claim", "seeds", "scope", "tail"),
    [
        ("checkpoint", 1, "checkpoint", "this checkpoint only (1 seed)"),
        ("checkpoint", 3, "checkpoint", "this checkpoint only (3 seeds)"),
        ("recipe", 2, "checkpoint", "this checkpoint only (2 seeds)"),
        ("recipe", 3, "recipe", "the recipe (3 seeds)"),
    ],
)
def test_scope(claim: str, seeds: int, scope: str, tail: str) -> None:
    found, _ = judged(spread(0.1, 0.01, 8), claim=claim, seeds=seeds)
    assert (found.scope, found.seeds) == (scope, seeds)
    assert found.sentence.endswith(tail)


@pytest.mark.parametrize(
    ("p", "text"),
    [
        (None, "p unknown"), (1.0, "p = 1"), (0.9996, "p > .99"), (0.344, "p = .34"), (0.0999, "p = .10"),
        (0.0312, "p = .031"), (2 / 2**8, "p = .008"), (0.0498, "p = .0498"), (0.05, "p = .050"), (0.0009, "p < .001"),
    ],
)  # fmt: skip
def test_p_text(p: float | None, text: str) -> None:
    assert p_text(p) == text


@given(st.floats(0.001, 0.2))
def test_p_is_never_rounded_across_five_percent(p: float) -> None:
    assert (float(p_text(p).removeprefix("p = ")) < 0.05) == (p < 0.05)


def test_numbers_have_the_decimals_their_uncertainty_bears() -> None:
    assert bpb_text(0.0971, 0.0123) == "0.097"
    assert bpb_text(0.0971, 0.00123) == "0.0971"
    assert bpb_text(1.5, 0.5) == "1.50"
    assert bpb_text(-0.00001, 0.01) == "0.000"
    assert bpb_text(0.0) == "0.000"


def test_an_uneven_interval_is_written_out() -> None:
    shape = Difference(0.05, 0.02, 0.1, 0.04, "t+bootstrap-t", 0.95, 0.01, 40, 0.1, 0.05, 150, 2.0, None)
    assert amount_text(shape) == "0.050 (0.020 to 0.100) bits per byte"
    assert amount_text(shape, sign=-1) == "-0.050 (-0.100 to -0.020) bits per byte"


def test_recovers_a_planted_gain() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(60):
        found = summarise(scores(list(generator.normal(0.05, 0.02, size=10))))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= 0.05 <= found.high
    assert covered >= 52


def test_an_even_interval_is_written_with_plus_minus() -> None:
    even = Difference(0.1, 0.08, 0.12, 0.02, "t", 0.95, 0.01, 40, 0.1, 0.05, 150, 2.0, None)
    assert verdict(even, smallest_effect=0.005).sentence.startswith("better by 0.100 ± 0.020 bits per byte")


def test_every_look_at_the_test_texts_counts() -> None:
    _, difference = judged(spread(0.097, 0.0144, 8))
    assert verdict(difference, smallest_effect=0.005, looks=6).outcome == "better"
    seventh = verdict(difference, smallest_effect=0.005, looks=7)  # 7 · 2 ÷ 2^8 = .0547
    assert seventh.outcome == "cannot-conclude"
    assert "8 held-out groups can reach p = 0.055 over 7 looks at best, 9 could conclude" in seventh.sentence
    assert "at least 9 are needed" in seventh.plain


def test_where_the_looks_alone_stand_in_the_way_it_says_so() -> None:
    _, difference = judged([0.05, 0.09, 0.06, 0.11, 0.04, 0.1, 0.07, -0.005, 0.06, 0.08])
    assert verdict(difference, smallest_effect=0.005).outcome == "better"
    many = verdict(difference, smallest_effect=0.005, looks=20)
    assert many.outcome == "not-shown"
    assert "the interval lies above 0, the sign-flip test agrees, but not over so many looks" in many.sentence


def test_forgetting_ends_the_sentence() -> None:
    _, difference = judged(spread(0.097, 0.0144, 8))
    found = verdict(difference, smallest_effect=0.005, forgetting="forgetting: none beyond 2 % on en")
    assert found.sentence.endswith("this checkpoint only (1 seed); forgetting: none beyond 2 % on en")
