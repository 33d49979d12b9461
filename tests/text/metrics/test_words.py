from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.text.metrics.words import Text, cut, sentences, vocabulary, words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop — he’s well-known!", ["don't", "stop", "he's", "well", "known"]),
        ("x_1 = 3.14", ["x_1", "3", "14"]),
        ("'quoted' rock 'n' roll", ["quoted", "rock", "n", "roll"]),
        ("Cafe\u0301 \ufb01sh", ["café", "fish"]),
        ("\u0928\u093f\u091c", ["\u0928\u093f\u091c"]),  # a vowel sign of Hindi is inside the word
        ("\u65e5\u672c\u306e文", ["\u65e5", "\u672c", "\u306e", "文"]),
        ("Жук и ёж", ["жук", "и", "ёж"]),
        ("*** — !", []),
        ("", []),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


@given(st.text(), st.integers(1, 8))
def test_a_cut_text_has_so_many_words_and_begins_the_text(text: str, count: int) -> None:
    short = cut(text, count)
    assert text.startswith(short)
    assert words(short) == words(text)[:count]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four… Five", ["One.", "Two!", "Three?", "Four…", "Five"]),
        ("Mr. Smith met Dr. J. R. Brown. They left.", ["Mr. Smith met Dr. J. R. Brown.", "They left."]),
        ("Pens, ink, etc. are here. Pens, etc. The end.", ["Pens, ink, etc. are here.", "Pens, etc.", "The end."]),
        ("It is I. Nobody else.", ["It is I.", "Nobody else."]),
        ("See e.g. Smith. It costs 3.50 today.", ["See e.g. Smith.", "It costs 3.50 today."]),
        ('"Stop!" he cried. "Why?" She ran.', ['"Stop!" he cried.', '"Why?"', "She ran."]),
        ("Well... maybe. Well... Maybe.", ["Well... maybe.", "Well...", "Maybe."]),
        ("i went home. then i slept.", ["i went home.", "then i slept."]),
        (">be me\n>be home\nstill me", [">be me", ">be home\nstill me"]),
        ("A title\n\nSome text\nthat goes on.", ["A title", "Some text\nthat goes on."]),
        ("1. First\n2. Second\n- third", ["1. First", "2. Second", "- third"]),
        ("\u6211\u6765\u3002\u4f60\u53bb\u3002", ["\u6211\u6765\u3002", "\u4f60\u53bb\u3002"]),
        ("Done.\n\n***\n\n", ["Done."]),
        ("", []),
    ],
)
def test_sentences(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


@given(st.text(alphabet="aB .!?\n\"'…", max_size=60))
def test_no_word_is_lost_between_sentences(text: str) -> None:
    assert [word for sentence in sentences(text) for word in words(sentence)] == words(text)


def test_a_text_knows_its_parts() -> None:
    text = Text("Go on. Stop there!", "en")
    assert text.words == ["go", "on", "stop", "there"]
    assert text.sentences == [["go", "on"], ["stop", "there"]]
    assert vocabulary(["A cat", "a DOG"]) == {"a", "cat", "dog"}
