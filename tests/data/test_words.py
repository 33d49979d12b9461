"""Words against the regular expression that defines them."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from assay.data.words import excerpt, folded, word_spans, words


def test_words_are_folded() -> None:
    assert words("Don’t STOP, \uff28\uff49 ﬁne_2!") == ["don", "t", "stop", "hi", "fine_2"]
    assert words("!? 🙂") == []


@given(st.text())
def test_spans_point_at_the_words(text: str) -> None:
    assert [folded(text)[start:end] for start, end in word_spans(text)] == words(text)
    assert words(text) == re.findall(r"\w+", folded(text))


def test_an_excerpt_shows_the_text_as_it_stands_unless_folding_changes_its_length() -> None:
    text = "One, TWO three; Four."
    assert excerpt(text, 1, 3, 100) == "TWO three; Four"
    assert excerpt(text, 1, 3, 5) == "TWO t"
    assert excerpt("ﬁrst SECOND third", 1, 2, 100) == "second third"
