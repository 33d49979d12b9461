"""What of an item is asked and continued, and how some items are chosen of many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from assay.core.records import Item, Turn
from assay.data.passages import PASSAGE, WORDS, asked, continued, passages, spread, system_of, written

PAIR = Item("a", "g", "ask answer", (Turn("prompt", "ask "), Turn("completion", "answer")))
CHAT = Item("b", "g", "", (Turn("user", " u1"), Turn("assistant", "a1"), Turn("user", "u2"), Turn("assistant", "a2")))


def test_what_is_asked_and_what_follows() -> None:
    assert (asked(PAIR), continued(PAIR), written(PAIR)) == ("ask", "answer", "answer")
    assert (asked(CHAT), continued(CHAT)) == ("u1", "a1\na2")
    told = Item("c", "g", "", (Turn("system", "Be kind."), *CHAT.turns))
    assert (system_of(CHAT), system_of(told), asked(told)) == (None, "Be kind.", "u1")


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=3 * WORDS))
def test_a_plain_text_is_asked_by_its_first_words_and_continued_by_the_others(words: list[str]) -> None:
    item = Item("a", "g", " ".join(words))
    assert asked(item).split() + continued(item).split() == words
    assert written(item) == item.text


def test_items_are_taken_from_each_group_in_turn() -> None:
    items = [Item(f"{group}{n}", group, "x") for group, size in (("a", 3), ("b", 1), ("c", 2)) for n in range(size)]
    assert [item.id for item in spread(items, 5)] == ["a0", "b0", "c0", "a1", "c1"]
    assert len(spread(items, 99)) == 6


@given(st.lists(st.sampled_from(["word", "another", "x" * 900]), max_size=400), st.sampled_from([" ", "\n"]))
def test_passages_are_the_text_cut_at_blanks(words: list[str], blank: str) -> None:
    text = blank.join(words)
    found = passages([Item("text", "g", text), PAIR])
    assert found[-1] == PAIR
    assert "".join(item.text for item in found[:-1]) == text
    assert all(len(item.text) <= PASSAGE for item in found)
    assert len({item.id for item in found}) == len(found)
    if "x" * 900 not in words:
        assert all(item.text[0] == blank for item in found[1:-1])
