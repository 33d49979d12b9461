"""Recitation, held against really going on; and the longest copied span, against looking at every one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from fixture_sample import lively
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.records import Decoding
from assay.model.generate import generate
from assay.model.score import Scorer
from assay.stages.evaluate.memorisation import LONGEST, PROMPT, Probes, continued, longest_span, probes, summary, whole
from assay.text.tokenizer import byte_tokenizer
from assay.text.tokens import Tokens


def starts_of(lengths: Sequence[int]) -> np.ndarray:
    return np.cumsum([0, *lengths])


# where is looked


@given(st.lists(st.integers(0, 250), max_size=12), st.integers(0, 8), st.integers(0, 99))
def test_a_stretch_lies_in_one_row_and_no_row_gives_two(lengths: list[int], count: int, seed: int) -> None:
    starts = starts_of(lengths)
    ids = np.arange(starts[-1])  # each id is its own place
    found = probes(whole(starts), ids, count, seed=seed)
    long = sum(length >= LONGEST for length in lengths)
    assert (len(found.readings), found.too_short) == (min(count, long), len(lengths) - long)
    rows = []
    for reading in found.readings:
        stretch = [reading.context, *reading.ids]
        assert stretch == list(range(stretch[0], stretch[0] + 100))
        rows.append(int(np.searchsorted(starts, stretch[0], "right")) - 1)
        assert stretch[-1] < starts[rows[-1] + 1]
        # of the 100 tokens the last 50 count
        assert reading.counts is not None
        assert np.array(reading.ids)[reading.counts].tolist() == stretch[50:]
    assert len(rows) == len(set(rows))
    again = probes(whole(starts), ids, count, seed=seed)
    assert [reading.context for reading in again.readings] == [reading.context for reading in found.readings]


def test_every_place_and_row_is_looked_at_by_some_seed() -> None:
    starts = starts_of([101, 50, 102])
    found = {
        reading.context
        for seed in range(40)
        for reading in probes(whole(starts), np.arange(253), 1, seed=seed).readings
    }
    assert found == {0, 1, 151, 152, 153}


def test_only_the_pieces_that_were_read_are_looked_at() -> None:
    """Row 0 was read from 10 to 111 and from 200 to 302, row 1 not at all, row 2 too little at a time."""
    pieces = np.array([[0, 10, 111], [0, 200, 302], [0, 305, 350], [2, 700, 790], [2, 800, 899]])
    found = [probes(pieces, np.arange(1000), 8, seed=seed) for seed in range(60)]
    assert {reading.context for each in found for reading in each.readings} == {10, 11, 200, 201, 202}
    assert {(len(each.readings), each.too_short) for each in found} == {(1, 1)}


# whether it goes on


@pytest.fixture(scope="module", params=["llama-tiny", "gpt2-tiny"])
def scorer(request: pytest.FixtureRequest) -> Scorer:
    return Scorer(lively(request.param), byte_tokenizer(), window=128, stride=128)


def greedy(scorer: Scorer, prompt: list[int], count: int) -> list[int]:
    """The prompt with what decoding really gives for it."""
    decoding = Decoding(count, 0.0, 1.0)
    (one,) = generate(scorer.model, scorer.tokenizer, [prompt], stops=(), decoding=decoding, seeds=[0])
    return [*prompt, *one.ids]


def test_it_agrees_with_greedy_decoding(scorer: Scorer) -> None:
    """What decoding gives is recited. With one token changed it is not, even if all behind that follow from it."""
    generator = torch.Generator().manual_seed(1)
    prompts = torch.randint(0, 256, (6, PROMPT), generator=generator).tolist()
    rows = [greedy(scorer, prompt, LONGEST - PROMPT) for prompt in prompts]
    assert all(len(set(row[PROMPT:])) > 5 for row in rows)
    for row, place in zip(rows, [PROMPT, PROMPT + 20, LONGEST - 2, LONGEST - 1], strict=False):
        row[place] = (row[place] + 1) % 256
        row[:] = greedy(scorer, row[: place + 1], LONGEST - 1 - place) if place < LONGEST - 1 else row
    rows[4][PROMPT - 1] = (rows[4][PROMPT - 1] + 1) % 256  # of the prompt, from which another text may follow
    expected = {row[0]: greedy(scorer, row[:PROMPT], LONGEST - PROMPT) == row for row in rows}
    assert [expected[row[0]] for row in rows] == [False, False, False, False, False, True]
    ids = np.array([token for row in rows for token in row], np.int32)
    wanted = probes(whole(starts_of([LONGEST] * 6)), ids, 6, seed=0)
    found = dict(zip([reading.context for reading in wanted.readings], continued(scorer, wanted), strict=True))
    assert found == expected


def test_without_stretches_there_is_nothing_to_go_on_with(scorer: Scorer) -> None:
    assert continued(scorer, Probes([], 3)) == []


# what it comes to


def some(count: int, too_short: int = 0) -> Probes:
    rows = probes(whole(starts_of([LONGEST] * count)), np.zeros(LONGEST * count, np.int32), count, seed=0)
    return Probes(rows.readings, too_short)


def test_rates_and_the_difference_in_differences_by_hand() -> None:
    train = [False, False, False, True], [True, True, True, True]
    held = [False, False], [True, False]
    found = summary(some(4, 3), some(2), base=(train[0], held[0]), tuned=(train[1], held[1]))
    assert found["rates"] == {"train": {"base": 0.25, "tuned": 1.0}, "held_out": {"base": 0.0, "tuned": 0.5}}
    assert found["excess"] == (1 - 0.25) - (0.5 - 0)
    assert found["rows"] == {"train": 4, "held_out": 2}
    assert found["too_short"] == {"train": 3, "held_out": 0}
    assert found["prompt_tokens"] == found["continued_tokens"] == 50


@pytest.mark.parametrize(("train", "held"), [(0, 2), (2, 0), (0, 0)])
def test_without_stretches_of_both_there_is_no_excess(train: int, held: int) -> None:
    hits = [True] * train, [True] * held
    found = summary(some(train), some(held), base=hits, tuned=hits)
    assert found["excess"] is None
    for side, count in (("train", train), ("held_out", held)):
        assert found["rates"][side] == dict.fromkeys(("base", "tuned"), 1.0 if count else None)


# the longest copied span

SMALL = st.lists(st.integers(0, 3), max_size=12)


@settings(max_examples=60)
@given(st.lists(SMALL, max_size=4), st.lists(SMALL, max_size=5))
def test_the_longest_span_is_that_of_comparing_them_all(generated: list[list[int]], rows: list[list[int]]) -> None:
    starts = starts_of([len(row) for row in rows])
    ids = np.array([token for row in rows for token in row], np.int32)
    tokens = Tokens(ids, np.ones(len(ids), np.bool_), starts)
    spans = {tuple(row[a:b]) for row in rows for a, b in pairs(len(row))}
    shared = [b - a for text in generated for a, b in pairs(len(text)) if tuple(text[a:b]) in spans]
    assert longest_span(generated, tokens) == (max(shared, default=0) if generated else None)


def pairs(length: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(length) for b in range(a + 1, length + 1)]


def test_a_span_does_not_cross_the_end_of_a_row() -> None:
    tokens = Tokens(np.array([1, 2, 3, 4], np.int32), np.ones(4, np.bool_), np.array([0, 2, 4]))
    assert longest_span([[1, 2, 3, 4]], tokens) == 2
