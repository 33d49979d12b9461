from __future__ import annotations

import gzip
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.text.metrics.diversity import Loop, compression_ratio, distinct, loop, mtld, repeated

# The example of the README of LexicalRichness 0.5.1, in its words; its MTLD there is 46.79226361031519.
README = (
    "measure of textual lexical diversity computed as the mean length of sequential words in a text that maintains a "
    "minimum threshold ttr score iterates over words until ttr scores falls below a threshold then increase factor "
    "counter by and start over mccarthy and jarvis pg recommends a factor threshold in the range of mccarthy mccarthy "
    "and jarvis"
)
RICHNESS = README.split()
few = st.lists(st.sampled_from("ab"), max_size=40)


def test_distinct_by_hand() -> None:
    units = list("ababac")
    assert distinct([units], 1) == 3 / 6
    assert distinct([units], 2) == 3 / 5  # ab, ba, ac
    assert distinct([units], 3) == 3 / 4  # aba, bab, bac
    assert distinct([["a", "b"], ["b", "a"]], 2) == 1.0  # nothing crosses from one text to the next
    assert distinct([["a", "b"], ["a", "b"]], 2) == 0.5
    assert distinct([["a"], []], 2) is None


def test_token_ids_do_as_well_as_words() -> None:
    assert distinct([[5, 6, 5, 6]], 2) == 2 / 3
    assert repeated([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)
    assert repeated([1, 2, 3]) is None


@given(few, st.integers(1, 4))
def test_repeated_counts_the_grams_that_came_before(units: list[str], n: int) -> None:
    grams = [tuple(units[k : k + n]) for k in range(len(units) - n + 1)]
    again = sum(gram in grams[:k] for k, gram in enumerate(grams))
    assert repeated(units, n) == (pytest.approx(again / len(grams)) if grams else None)


def test_loops_by_hand() -> None:
    story = [f"word{k}" for k in range(30)]
    line = ["and", "then", "they", "went", "to", "the", "hill"]
    assert loop(story) is None
    assert loop([*story, *line * 3, *line[:2]]) == Loop(30, 23, 7, at_end=True)
    assert loop([*story, *line * 3, *story]) == Loop(30, 21, 7, at_end=False)
    assert loop([*line * 2, *line[:6]]) is None  # not three whole copies
    assert loop(["no"] * 19) is None
    assert loop(["no"] * 20) == Loop(0, 20, 1, at_end=True)
    assert loop([]) is None
    long = [f"w{k}" for k in range(50)]
    assert loop(long * 3) == Loop(0, 150, 50, at_end=True)
    assert loop([*long, "other"] * 3) is None


@given(st.lists(st.sampled_from("abc"), max_size=70))
def test_a_loop_is_the_longest_stretch_that_repeats_itself(units: list[str]) -> None:
    stretches = [
        (size, -period, -start)
        for period, start in product(range(1, 51), range(len(units)))
        if (size := _stretch(units, start, period)) >= max(3 * period, 20)
    ]
    found = loop(units)
    if not stretches:
        assert found is None
    else:
        size, period, start = max(stretches)
        assert found == Loop(-start, size, -period, at_end=size - start == len(units))


def _stretch(units: list[str], start: int, period: int) -> int:
    end = start + period
    while end < len(units) and units[end] == units[end - period]:
        end += 1
    return min(end, len(units)) - start


@given(st.lists(st.text(alphabet="abcd é", min_size=1), min_size=1, max_size=10))
def test_compression_is_gzips_without_its_longer_header(texts: list[str]) -> None:
    data = " ".join(texts).encode()
    assert compression_ratio(texts) == len(data) / (len(gzip.compress(data, 9, mtime=0)) - 12)


def test_compression_of_nothing_and_of_a_loop() -> None:
    assert compression_ratio([]) is None
    assert compression_ratio([""]) is None
    loop, prose = compression_ratio(["again " * 100]), compression_ratio([README])
    assert loop is not None
    assert prose is not None
    assert loop > 10 > 3 > prose


def test_mtld_is_lexicalrichness() -> None:
    assert len(RICHNESS) == 57
    assert len(set(RICHNESS)) == 39
    assert mtld(RICHNESS) == pytest.approx(46.79226361031519, rel=1e-12)


def test_mtld_by_hand() -> None:
    # Forward: a b c a b is the first prefix at or below .72 (3 of 5: .6); so are all that follow: 12 factors of 5, and
    # what is left, c a b ..., has the same pattern. 60 words are 12 factors. Backward: the same by symmetry.
    assert mtld(["a", "b", "c", "a", "b"] * 12) == pytest.approx(5.0)
    # 60 different words and a repeated one: no whole factor; 60 of 61 are different, (1 / 61) ÷ .28 of a factor.
    assert mtld([*map(str, range(60)), "0"]) == pytest.approx(61 / ((1 / 61) / 0.28))


@pytest.mark.parametrize("units", [[], ["a", "b"] * 24, [str(k) for k in range(200)]])
def test_mtld_needs_fifty_words_and_a_repeated_one(units: list[str]) -> None:
    assert mtld(units) is None


@given(st.lists(st.sampled_from("abcdefghijklmnop"), min_size=50, max_size=90))
def test_mtld_is_the_same_backwards_and_grows_with_the_words(units: list[str]) -> None:
    found = mtld(units)
    assert found == mtld(units[::-1])
    assert found is not None
    assert 1 < found < 61 / ((1 / 61) / 0.28)
