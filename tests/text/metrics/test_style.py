from __future__ import annotations

import math

import pytest

from assay.text.metrics.style import (
    PRIOR_WORDS,
    Use,
    grade_level,
    known_words,
    over_used,
    punctuation,
    reading_ease,
    sentence_length,
)
from assay.text.metrics.words import Text

PROSE = "The happy children were running. A better summer began in the garden."


def test_sentences_and_marks() -> None:
    assert sentence_length(Text("One two. Three four five six!")) == 3.0
    assert sentence_length(Text("...")) is None
    found = punctuation('"Well... yes," he said. No! Why?? — “So”, then…\u3002'.ljust(100))
    assert found == {
        "commas": 20.0, "full stops": 20.0, "question marks": 20.0, "exclamation marks": 10.0, "quotation marks": 40.0,
        "dashes": 10.0, "ellipses": 20.0,
    }  # fmt: skip
    assert punctuation("") is None


def test_readability_by_hand() -> None:
    pytest.importorskip("pyphen")
    # 12 words in 2 sentences; hap-py chil-dren run-ning bet-ter sum-mer gar-den, be-gan and 5 of one: 19 syllables
    text = Text(PROSE, "en")
    assert reading_ease(text) == pytest.approx(206.835 - 1.015 * 6 - 84.6 * 19 / 12)
    assert grade_level(text) == pytest.approx(0.39 * 6 + 11.8 * 19 / 12 - 15.59)


@pytest.mark.parametrize("text", [Text(PROSE), Text(PROSE, "sv"), Text("—", "en")])
def test_readability_is_for_english_words_only(text: Text) -> None:
    assert reading_ease(text) is None
    assert grade_level(text) is None


def test_known_words() -> None:
    assert known_words(Text("A cat, a dog", vocabulary=frozenset({"a", "dog"}))) == 0.75
    assert known_words(Text("A cat")) is None
    assert known_words(Text("", vocabulary=frozenset())) is None


def test_over_used_words_by_hand() -> None:
    # 4 words of 6 against 1 of 4: together 5 of 10, so that "a" has half of the prior's weight
    over, under = over_used([Text("a a a"), Text("a b b")], [Text("a b c c")])
    prior = PRIOR_WORDS / 2
    odds = math.log((4 + prior) / (2 + prior)) - math.log((1 + prior) / (3 + prior))
    assert over[0].word == "a"
    assert over[0] == Use(
        "a", pytest.approx(odds), pytest.approx(odds / (1 / (4 + prior) + 1 / (1 + prior)) ** 0.5), 4, 1
    )
    assert [use.word for use in under] == ["c"]
    assert under[0].z < 0
    assert (under[0].count, under[0].reference_count) == (0, 2)


def test_a_rare_word_is_not_the_most_over_used() -> None:
    over, under = over_used([Text("moon " * 60 + "the " * 500 + "once")], [Text("moon " * 5 + "the " * 555)])
    assert over[0].word == "moon"
    assert under[0].word == "the"
    assert len(over_used([Text(" ".join(map(str, range(50))))], [Text("x y z")], most=7)[0]) == 7


def test_where_there_is_nothing_to_compare() -> None:
    assert over_used([], [Text("a")]) == ([], [])
    assert over_used([Text("a")], [Text("—")]) == ([], [])
    assert over_used([Text("a a")], [Text("a")]) == ([], [])
