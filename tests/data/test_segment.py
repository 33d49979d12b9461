from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.segment import DEFAULT_HEADINGS, FRONT, blocks, detect_heading, paragraphs, sections

BODY = "It was a dark night, and the rain fell in torrents. " * 5
CHAPTER = DEFAULT_HEADINGS[0]


@pytest.mark.parametrize(
    "line",
    [
        "Chapter 1", "CHAPTER IV", "  CHAPTER IV.", "Chapter One", "Letter 3", "ACT I", "## ACT II", "BOOK THE FIRST",
        "Chapter 12: In which they meet", "CHAPTER I. Down the Rabbit-Hole", "Chapter 2 — The Storm", "STAVE ONE.",
    ],
)  # fmt: skip
def test_headings_that_are_found(line: str) -> None:
    assert sections(f"Title\n\n{line}\n\n{BODY}", CHAPTER)[0][0].text.startswith(line)


@pytest.mark.parametrize(
    "line",
    [
        "Chapter 5 was the one that he read to her that evening", "letter.  One or two stiff gales", "Part of the crew",
        "act one way or another", "Letter I wrote to my sister", "Chapters 1", "CHAPTER", "Act in haste",
        "See Chapter 5", "Chapter 1." + " x" * 60,
    ],
)  # fmt: skip
def test_prose_is_no_heading(line: str) -> None:
    assert sections(f"{line}\n{BODY}\n{line}\n{BODY}", CHAPTER)[0] == []


def test_a_table_of_contents_and_a_title_page_make_no_groups() -> None:
    book = "A Book\n\nChapter 1\nChapter 2\nChapter 3\n\n" + "".join(
        f"\n\nChapter {n}\n\n{BODY}{n}\n\n" for n in (1, 2, 3)
    )
    found, dropped = sections(book, CHAPTER)
    assert [section.title for section in found] == ["Chapter 1", "Chapter 2", "Chapter 3"]
    assert found[0].text == f"Chapter 1\n\n{BODY}1"
    assert dropped == {"before-first-heading": 1, "heading-without-body": 3}


def test_a_long_preface_is_a_section_of_its_own() -> None:
    found, dropped = sections(BODY * 10 + "\nChapter 1\n" + BODY, CHAPTER)
    assert [section.title for section in found] == [FRONT, "Chapter 1"]
    assert dropped == {}


def test_titles_that_come_again_are_made_unique() -> None:
    book = "".join(f"{title}\n{BODY}\n" for title in ("# I", "# II", "# I", "# I"))
    assert [section.title for section in sections(book, r"^#\s")[0]] == ["I", "II", "I (2)", "I (3)"]


def test_no_heading_at_all() -> None:
    assert sections("short", CHAPTER) == ([], {"before-first-heading": 1})
    assert detect_heading([BODY]) is None


def test_a_bad_expression_is_named() -> None:
    with pytest.raises(InputError, match=r"'\(' is not a regular expression"):
        sections("x", "(")


def test_detection_prefers_the_rule_with_enough_sections() -> None:
    parts = "".join(f"# Part\n{BODY}\n" + "".join(f"## Piece\n{BODY}\n" for _ in range(3)) for _ in range(3))
    assert detect_heading([parts]) == r"^##\s+\S"
    few = "".join(f"# Part\n{BODY}\n" for _ in range(3))
    assert detect_heading([few]) == r"^#\s+\S"
    acts = "# Hamlet\n" + "".join(f"## ACT {n}\n{BODY}\n" for n in ("I", "II", "III", "IV", "V"))
    assert detect_heading([acts]) == CHAPTER


def test_paragraphs_are_slices_of_the_text() -> None:
    text = "\n\none\nstill one\n \n\n  two\n\nthree\n"
    assert [text[start:end] for start, end in paragraphs(text)] == ["one\nstill one", "  two", "three"]
    lines = "one\ntwo\n\nthree"
    assert [lines[start:end] for start, end in paragraphs(lines)] == ["one", "two", "three"]


@given(st.lists(st.integers(1, 10_000), min_size=1, max_size=200), st.integers(1, 60))
def test_blocks_are_contiguous_and_none_is_empty(sizes: list[int], count: int) -> None:
    numbers = blocks(sizes, count)
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(min(count, len(sizes))))


@given(st.integers(1, 60), st.integers(1, 200))
def test_blocks_of_equal_units_differ_by_little(count: int, units: int) -> None:
    numbers = blocks([10] * units, count)
    each = [numbers.count(number) for number in set(numbers)]
    assert max(each) - min(each) <= 1
