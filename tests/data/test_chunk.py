"""Chunks give their text back, keep to their length, and are cut where a reader would cut."""

from __future__ import annotations

import re
import time
from itertools import accumulate, pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.chunk import Chunk, chunks

WAYS = ("paragraph", "heading", "length")
LOREM = "The rain fell in torrents. It was dark; nobody spoke! Did they sleep? "
ways = st.sampled_from(WAYS)
limits = st.integers(12, 60)
overlaps = st.integers(0, 8)
# Words of several scripts, marks, emoji made of several characters, flags, line ends, headings and long blanks.
_PIECES = [
    "a",
    "word ",
    "two words",
    "supercalifragilistic",
    ". ",
    "! ",
    '?"',
    " ",
    "  ",
    "\t",
    "\n",
    "\n\n",
    "\n\n\n",
    "\u2028",
]
_PIECES += [
    "# Title\n",
    "Chapter 1\n",
    "é",
    "e\u0301",
    "日本語。",
    "\U0001f469\u200d\U0001f52c",
    "\U0001f44d\U0001f3fd",
]
_PIECES += ["\U0001f1e9\U0001f1ea"]
made_of_pieces = st.lists(st.sampled_from(_PIECES), max_size=60).map("".join)
texts = made_of_pieces | st.text(max_size=60)
WIDEST = 4 + 2  # bytes of white space that `calm` leaves in a row


def cut(text: str, by: str, max_bytes: int = 100, overlap_bytes: int = 0, heading: str | None = None) -> list[Chunk]:
    return chunks(text, by=by, max_bytes=max_bytes, overlap_bytes=overlap_bytes, heading=heading)


def calm(text: str) -> str:
    """The text with at most two blanks in a row, as bytes at most six."""
    return re.sub(r"(\s\s)\s+", r"\1", text)


@given(texts, ways, limits, overlaps)
def test_chunks_give_the_text_back(text: str, by: str, limit: int, overlap: int) -> None:
    assume(text.strip())
    made = cut(text, by, limit, overlap)
    assert "".join(chunk.text[chunk.overlap :] for chunk in made) == text
    for before, after in pairwise(made):
        shared = after.text[: after.overlap]
        assert before.text.endswith(shared)
        assert len(shared.encode()) <= overlap
        assert not shared or not shared[0].isspace()
    for chunk in made:
        own = chunk.text[chunk.overlap :].strip()
        assert own
        assert len(own.encode()) <= limit


@given(texts.map(calm), ways, st.integers(20, 80), overlaps)
def test_no_chunk_is_too_long(text: str, by: str, limit: int, overlap: int) -> None:
    assert all(len(chunk.text.encode()) <= limit for chunk in cut(text, by, limit, overlap))


@given(made_of_pieces, ways, st.integers(30, 60), overlaps)
def test_words_and_characters_as_they_are_seen_stay_whole(text: str, by: str, limit: int, overlap: int) -> None:
    clusters = pytest.importorskip("regex").findall(r"\X", text)
    boundaries = set(accumulate(map(len, clusters)))
    place = 0
    for chunk in cut(text, by, limit, overlap)[:-1]:
        own = chunk.text[chunk.overlap :]
        place += len(own)
        assert place in boundaries
        of_one_word = len(own.split()) == 1
        assert own[-1].isspace() or text[place].isspace() or of_one_word or own[-1] == "。"


@given(texts, limits)
def test_words_fill_a_chunk_cut_by_length(text: str, limit: int) -> None:
    words = " ".join(text.split())
    assume(words and max(len(word.encode()) for word in words.split(" ")) < limit)
    expected, line = [], ""
    for word in re.findall(r"\S+ ?", words):
        if len((line + word).encode()) > limit and line:
            expected.append(line)
            line = ""
        line += word
    made = [chunk.text.strip() for chunk in cut(words, "length", limit)]
    assert len(made) <= len(expected) + 1
    assert " ".join(made) == words


def test_short_texts_are_one_chunk_and_blank_ones_none() -> None:
    for by in WAYS:
        assert cut("One.\n\nTwo.\n", by) == [Chunk("One.\n\nTwo.\n", 0)]
        assert cut(" \n ", by) == cut("", by) == []


def test_paragraphs_are_packed() -> None:
    paragraphs = [f"{letter * 30}\n\n" for letter in "abcdef"]
    made = [chunk.text for chunk in cut("".join(paragraphs), "paragraph", 100)]
    assert made == ["".join(paragraphs[:3]), "".join(paragraphs[3:])]
    assert [chunk.text for chunk in cut("".join(paragraphs), "paragraph", 95)] == [
        "".join(pair) for pair in (paragraphs[:2], paragraphs[2:4], paragraphs[4:])
    ]


def test_a_long_paragraph_is_cut_after_a_sentence_else_between_words() -> None:
    made = [chunk.text for chunk in cut("Short.\n\n" + LOREM * 3 + "\n\nEnd.", "paragraph", 60)]
    assert made[0] == "Short.\n\nThe rain fell in torrents. "
    assert all(text.rstrip()[-1] in ".!?" for text in made)
    words = "word " * 50
    assert [chunk.text for chunk in cut(words, "paragraph", 52)] == ["word " * 10] * 5
    assert [chunk.text for chunk in cut("x" * 25, "paragraph", 10)] == ["x" * 10, "x" * 10, "x" * 5]


def test_a_sentence_keeps_its_closing_quotes_and_chinese_ones_need_no_space() -> None:
    text = 'He said: "It is dark." She said nothing at all to him then'
    assert cut(text, "paragraph", 40)[0].text == 'He said: "It is dark." '
    assert [chunk.text for chunk in cut("国国国国。" * 4, "paragraph", 38)] == ["国国国国。国国国国。"] * 2


def test_headings_begin_chunks() -> None:
    chapters = [f"Chapter {n}\n\n{LOREM * 5}\n\n" for n in range(1, 5)]
    book = "A Book\n\n" + "".join(chapters)
    assert [chunk.text for chunk in cut(book, "heading", 1000)] == ["A Book\n\n", *chapters]
    long = [chunk.text for chunk in cut(book, "heading", 200)]
    assert [text.startswith("Chapter") for text in long] == [False] + [True, False] * 4
    assert "".join(long) == book
    named = [chunk.text for chunk in cut("I\nrain\nII\n\n\nIII\nsun", "heading", 1000, heading="^I+$")]
    assert named == ["I\nrain\n", "II\n\n\nIII\nsun"]  # a heading without a body stands with the next


def test_without_headings_paragraphs_are_cut() -> None:
    text = "\n\n".join([LOREM] * 5)
    assert cut(text, "heading", 150) == cut(text, "paragraph", 150)
    with pytest.raises(InputError, match="is not a regular expression"):
        cut(text, "heading", heading="(")


def test_an_overlap_is_of_whole_words_and_never_crosses_a_heading() -> None:
    first, second = cut("one two three four five six seven", "length", 22, 8)[:2]
    assert first == Chunk("one two three ", 0)
    assert second == Chunk("three four five six ", 6)
    book = "".join(f"# Part {n}\n{LOREM * 4}\n" for n in range(4))
    made = cut(book, "heading", 100, 30, heading="^#")
    assert all(chunk.overlap == 0 for chunk in made if chunk.text.startswith("#"))
    assert sum(chunk.overlap > 0 for chunk in made) == sum(not chunk.text.startswith("#") for chunk in made)
    with pytest.raises(InputError, match="leaves no room"):
        cut("x" * 200, "length", 100, 97)


@pytest.mark.parametrize("by", WAYS)
def test_five_megabytes_take_no_time(by: str) -> None:
    text = "\n\n".join([LOREM * 12] * 6000) + "\n" + "x" * 200_000 + LOREM * 1000
    start = time.process_time()
    made = cut(text, by, 2000, 200)
    assert time.process_time() - start < 2
    assert len(made) > 2500
