from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.text.metrics.equal import FEWEST, equal_length
from assay.text.metrics.words import words


def text(size: int) -> str:
    return " ".join(f"w{k}," for k in range(size))


sizes = st.lists(st.integers(0, 60), max_size=12)


def test_outputs_are_cut_to_what_four_of_five_reach() -> None:
    base = [text(size) for size in (100, 90, 80, 70, 15)]
    tuned = [text(size) for size in (40, 50, 60, 200, 200)]
    found = equal_length({"base": base, "tuned": tuned}, [text(45), text(3)] + [text(70)] * 4)
    assert found.words == 40  # the pairs have 40, 50, 60, 70, 15 words, the reference 45, 3 and four times 70
    assert (found.kept, found.too_short, found.reference_too_short) == ([0, 1, 2, 3], 1, 1)
    assert {len(words(cut)) for some in (*found.arms.values(), found.reference) for cut in some} == {40}
    assert found.arms["tuned"][0] == text(40)[:-1]
    assert len(found.reference) == 5
    assert found.reference_kept == [0, 2, 3, 4, 5]


def test_short_texts_repeat_nothing_and_are_left_out() -> None:
    found = equal_length({"base": [text(9), text(4)], "tuned": [text(80), text(80)]})
    assert (found.words, found.kept, found.too_short) == (FEWEST, [], 2)
    assert found.arms == {"base": [], "tuned": []}


def test_nothing_at_all() -> None:
    found = equal_length({"base": []}, [])
    assert (found.kept, found.too_short, found.reference, found.reference_too_short) == ([], 0, [], 0)


def test_arms_are_of_the_same_prompts() -> None:
    with pytest.raises(ValueError, match="shorter"):
        equal_length({"base": ["a", "b"], "tuned": ["a"]})


@given(sizes, sizes)
def test_whatever_the_lengths(base: list[int], reference: list[int]) -> None:
    tuned = [base[-1 - k] + k for k in range(len(base))]
    arms = {"base": [text(size) for size in base], "tuned": [text(size) for size in tuned]}
    found = equal_length(arms, [text(size) for size in reference])
    assert len(found.kept) + found.too_short == len(base)
    assert len(found.reference) + found.reference_too_short == len(reference)
    assert all(len(words(cut)) == found.words for some in found.arms.values() for cut in some)
    assert all(len(some) == len(found.kept) for some in found.arms.values())
    if found.words > FEWEST:
        assert found.too_short <= len(base) / 5
        assert found.reference_too_short <= len(reference) / 5
