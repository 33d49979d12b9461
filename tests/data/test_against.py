"""Contaminated training items against a reference that takes the definition word by word."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.core.records import Item
from assay.data.against import Benchmarks, Match, read_benchmarks
from assay.data.words import words

Row = tuple[str, Sequence[str]]


def scan(rows: Sequence[Row], texts: Sequence[str]) -> list[Match]:
    return Benchmarks(rows).scan([Item(f"t{n}", "g", text) for n, text in enumerate(texts)])


def grams(found: list[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(found[i : i + n]) for i in range(len(found) - n + 1)]


def longest(a: list[str], b: list[str]) -> int:
    return max((n for n in range(1, len(a) + 1) if set(grams(a, n)) & set(grams(b, n))), default=0)


def reference(row: Row, text: str) -> tuple[int, float, int] | None:
    """13-grams, share of 8-grams and longest run, if the row contaminates the text; without templates."""
    item = words(text)
    parts = [found for found in map(words, row[1]) if len(found) >= 8] or [words("\n".join(row[1]))]
    runs = []
    for own in parts:
        run = longest(own, item)
        needed = min(13, max(8, math.ceil(0.7 * len(own) - 1e-9)))
        if run >= (13 if len(own) >= 13 else len(own) if len(own) < 8 else needed) and len(own) >= 4:
            runs.append(run)
    if not runs:
        return None
    counts = {n: sum(gram in set(grams(item, n)) for own in parts for gram in grams(own, n)) for n in (8, 13)}
    every = sum(len(grams(own, 8)) for own in parts)
    return counts[13], counts[8] / every if every else 1.0, max(runs)


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Row], list[str]]:
    """Rows of one to three texts, and items spliced out of them and other words. Under 10 rows, so no template."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    vocabulary = [f"w{n}" for n in range(draw(st.sampled_from([4, 300])))]

    def some(most: int) -> list[str]:
        return rng.choices(vocabulary, k=rng.randrange(most))

    rows = [(f"row {n}", [" ".join(some(18)) for _ in range(rng.randrange(1, 4))]) for n in range(rng.randrange(1, 8))]
    items = []
    for _ in range(6):
        own = words(" ".join(rng.choice(rows)[1]))
        start = rng.randrange(len(own) + 1)
        items.append(" ".join(some(9) + own[start : start + rng.randrange(30)] + some(9)))
    return rows, items


@settings(max_examples=100)
@given(corpora())
def test_matches_are_exactly_those_of_the_reference(corpus: tuple[list[Row], list[str]]) -> None:
    rows, texts = corpus
    expected = []
    for n, text in enumerate(texts):
        found = [(row, match) for row in rows if (match := reference(row, text))]
        if found:
            row, match = min(found, key=lambda pair: -pair[1][2])
            expected.append((f"t{n}", row[0], *match))
    matches = scan(rows, texts)
    assert [(m.train_id, m.benchmark, m.grams13, m.grams8_share, m.longest) for m in matches] == expected
    for match in matches:
        passage = words(match.passage)
        assert len(match.passage) == 200 or len(passage) == match.longest
        assert " ".join(passage[:-1]) in " ".join(words(texts[int(match.train_id[1:])]))


QUESTION = "Which piece of safety equipment is used to keep mold spores from entering the respiratory system?"


def test_a_planted_question_is_found_and_shown_as_the_item_has_it() -> None:
    rows = [("arc.jsonl (row 1)", [QUESTION, "safety goggles", "breathing mask", "rubber gloves"])]
    (match,) = scan(rows, ["Nothing.", f"Well: {QUESTION.upper()} A mask."])
    assert match == Match("t1", "arc.jsonl (row 1)", 4, 1.0, 16, QUESTION.upper()[:-1])
    assert scan(rows, [QUESTION.replace("mold", "all")]) == []  # 9 words at most in a row, of 16


def test_short_questions_and_short_rows() -> None:
    rows = [
        ("question", ["At what temperature does the water begin to boil?", "100 degrees", "0 degrees"]),
        ("row", ["Who wrote Hamlet, Shakespeare?"]),
        ("too short", ["Paris, France"]),
    ]
    found = scan(
        rows,
        [
            "I ask at what temperature does the water begin to boil over",
            "so at what temperature does the water begin to cool",
            "They know who wrote Hamlet: Shakespeare did.",
            "who wrote Hamlet? Marlowe",
            "Paris, France",
        ],
    )
    assert [(m.train_id, m.benchmark, m.longest, m.grams13, m.grams8_share) for m in found] == [
        ("t0", "question", 9, 0, 1.0),
        ("t1", "question", 8, 0, 0.5),
        ("t2", "row", 4, 0, 1.0),
    ]


def test_the_form_of_a_benchmark_is_no_content() -> None:
    rng = random.Random(0)
    form = "Read the following passage and then choose the one best answer out of the four given below"

    def own() -> str:
        return " ".join(f"w{n}" for n in rng.choices(range(999), k=15))

    rows = [(f"row {n}", [f"{form} {own()}"]) for n in range(20)]
    assert scan(rows, [form, f"{form} {own()}"]) == []
    copied = rows[7][1][0].removeprefix(form)
    (match,) = scan(rows, [f"{form} {copied}"])
    assert (match.benchmark, match.longest, match.passage) == ("row 7", 15, copied.strip())


def test_files_are_read_by_row_and_summed_up(tmp_path: Path) -> None:
    file = tmp_path / "bench.jsonl"
    rows = [
        {"query": "unrelated words that nobody else has ever put in a row", "choices": ["a"], "gold": 1},
        {"query": {"question": QUESTION}, "choices": ["safety goggles", "a mask"], "gold": 0},
        {"gold": 2},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    benchmarks = read_benchmarks([str(file)], cache=tmp_path)
    matches = [match for text in ("x y z", QUESTION) for match in benchmarks.scan([Item(text[:2], "g", text)])]
    summary = benchmarks.summary(matches)
    assert summary is not None
    shown = summary.pop("matches")
    assert [(match["train_id"], match["benchmark"]) for match in shown] == [("Wh", "bench.jsonl (row 2)")]
    assert summary == {
        "files": ["bench.jsonl"], "rows": 2, "touched": 1, "rows_in_training": 1, "rows_with_a_common_8_gram": 1,
    }  # fmt: skip


def test_no_benchmarks(tmp_path: Path) -> None:
    none = read_benchmarks([], cache=tmp_path)
    assert none.scan([Item("a", "g", QUESTION)]) == []
    assert none.summary([]) is None


def test_a_file_without_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "numbers.jsonl"
    file.write_text('{"gold": 1}\n')
    with pytest.raises(InputError) as caught:
        read_benchmarks([str(file)], cache=tmp_path)
    assert str(file) in str(caught.value)
