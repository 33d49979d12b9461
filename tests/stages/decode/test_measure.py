"""Numbers of generated texts, and their distance from human ones: by hand, and what the unit is."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.stages.decode.measure import (
    CLOSENESS,
    FEWEST_HUMAN,
    FEWEST_TOKENS,
    FLOORS,
    Human,
    Output,
    Reference,
    by_group,
    features,
    human_row,
    measured,
    similarity,
)  # fmt: skip
from assay.stages.decode.prompts import Case
from assay.text.tokenizer import byte_tokenizer

TOKENIZER = byte_tokenizer()
VARIED = "the quick brown fox jumps over a lazy dog while nobody looks at him"
LOOP = "no more. " * 12


def nats(text: str, each: float = 1.0) -> np.ndarray:
    return np.full(len(TOKENIZER.encode(text)), each)


def output(text: str, group: str = "g", prompt: str = "p", seed: int = 0, each: float = 1.0) -> Output:
    ids = TOKENIZER.encode(text)
    return Output(Case(prompt, group, "Once"), seed, text, tuple(ids), False, nats(text, each))


def human(text: str, group: str = "h", each: float = 1.0, answer: bool = False) -> Human:
    return Human(group, tuple(TOKENIZER.encode(text)), nats(text, each), answer)


def people(*texts: str, **more: object) -> Reference:
    return Reference([human(text, f"h{n}", **more) for n, text in enumerate(texts)], TOKENIZER)  # type: ignore[arg-type]


def test_a_loop_is_seen_and_a_varied_text_has_none() -> None:
    said = features(LOOP, TOKENIZER.encode(LOOP), nats(LOOP))
    assert (said["loop"], said["ends_in_loop"]) == (1.0, 1.0)
    assert said["repeated_4"] == pytest.approx(1 - 2 / 21)  # 24 words: 21 runs of four, of two kinds
    assert said["distinct_1"] == pytest.approx(2 / 24)
    plain = features(VARIED, TOKENIZER.encode(VARIED), nats(VARIED))
    assert (plain["loop"], plain["repeated_4"]) == (0.0, 0.0)


def test_bits_per_byte_are_nats_over_bytes() -> None:
    text = "über"
    assert features(text, TOKENIZER.encode(text), np.array([1.0, 2.0]))["bits_per_byte"] == pytest.approx(
        3 / math.log(2) / 5
    )


def test_an_empty_text_has_no_numbers_but_its_length() -> None:
    said = features("", [], np.zeros(0))
    assert {name for name, value in said.items() if value is not None} == {"loop", "ends_in_loop", "tokens"}


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        (["a b c", "a b c"], 1.0),
        (["a b c", "c b a"], 0.0),
        (["a b c", "a b d"], 0.5),
        (["a b c"], None),
        (["", ""], None),
        (["a b c", "a b c", "x y z"], 1 / 3),
    ],
)
def test_similarity_by_hand(texts: list[str], expected: float | None) -> None:
    assert similarity(texts) == (None if expected is None else pytest.approx(expected))


def test_a_groups_mean_is_over_prompts_and_a_prompts_over_seeds() -> None:
    def case(group: str, prompt: str) -> Case:
        return Case(prompt, group, "")

    values = [(case("a", "1"), 0.0), (case("a", "1"), 1.0), (case("a", "2"), 1.0), (case("b", "3"), None)]
    assert by_group(values) == {"a": 0.75}


@given(st.integers(1, 4))
def test_drawing_again_the_same_adds_no_group_and_moves_nothing(times: int) -> None:
    """More seeds are no more independent units: only groups are."""
    reference = people(*[f"{VARIED} {VARIED} {n}" for n in range(6)])
    once = [output(VARIED, "a", "1"), output(LOOP, "b", "2")]
    again = [replace(one, seed=seed) for one in once for seed in range(times)]
    left, right = measured(once, reference, 64), measured(again, reference, 64)
    for name in ("loop", "repeated_4", "distance", "bits_per_byte"):
        assert left[name] == pytest.approx(right[name])
        assert set(right[name]) == {"a", "b"}


def test_the_reference_is_human_texts_cut_to_the_same_length() -> None:
    texts = [f"{VARIED} {'x' * n}" for n in range(6)]
    reference = Reference([human(text, each=1.0 + n / 10) for n, text in enumerate(texts)], TOKENIZER)
    found = reference.at(40)
    assert found is not None
    bits = [(1.0 + n / 10) / math.log(2) for n in range(6)]  # one byte a token
    assert found["bits_per_byte"] == pytest.approx((np.mean(bits), np.std(bits, ddof=1)))
    assert found["repeated_4"] == (0.0, FLOORS["repeated_4"])
    assert reference.at(10_000) is None
    assert reference.at(FEWEST_TOKENS - 1) is None
    assert people(*texts[: FEWEST_HUMAN - 1]).at(40) is None


def test_the_distance_by_hand() -> None:
    texts = [VARIED] * 6
    reference = people(*texts)
    length = len(TOKENIZER.encode(VARIED))
    one = output(VARIED, each=2.0)
    found = measured([one], reference, length)
    # the same words, twice as surprising: only the first of the numbers is off, by as many spreads
    off = (2.0 - 1.0) / math.log(2) / FLOORS["bits_per_byte"]
    assert found["distance"]["g"] == pytest.approx(off / len(CLOSENESS))
    assert found["bits_per_byte_apart"]["g"] == pytest.approx(off)
    assert measured([output(VARIED)], reference, length)["distance"]["g"] == pytest.approx(0.0, abs=1e-9)


def test_of_answers_their_length_counts_too() -> None:
    reference = people(*[VARIED] * 6, answer=True)
    length = len(TOKENIZER.encode(VARIED))
    found = measured([output(VARIED[:40])], reference, 1000)
    assert found["tokens_apart"]["g"] == pytest.approx((40 - length) / FLOORS["tokens"])
    assert reference.length(30) == (30.0, FLOORS["tokens"])
    assert people(VARIED).length(1000) is None
    assert "tokens_apart" not in measured([output(VARIED)], people(*[VARIED] * 6), 1000)


def test_a_text_that_is_too_short_has_no_distance() -> None:
    found = measured([output("no"), output(VARIED, "other", "q")], people(*[VARIED] * 6), 64)
    assert set(found["distance"]) == {"other"}
    assert set(found["loop"]) == {"g", "other"}


def test_the_human_row_weighs_groups_alike() -> None:
    texts = [human(VARIED, "a", each=1.0) for _ in range(5)] + [human(VARIED, "b", each=3.0)]
    row = human_row(Reference(texts, TOKENIZER), 40)
    assert row["bits_per_byte"] == pytest.approx(2.0 / math.log(2))
    assert human_row(Reference(texts, TOKENIZER), 10_000) == {}
