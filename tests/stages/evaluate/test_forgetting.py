"""What is asked of both models, and what their answers come to: beside scipy, and counted by hand."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from assay.core.errors import InputError
from assay.model.score import Nats, Reading
from assay.stages.evaluate.forgetting import Remembered, compare, in_words, load
from assay.text.suites import generic_texts
from assay.text.tokenizer import byte_tokenizer
from assay.text.tokens import Encoder

ENCODER = Encoder(byte_tokenizer(), None)
ASKED = [
    {"question": "What is the sea?", "choices": ["salt", "a mountain", "Thursday"], "answer": 0},
    {"question": "Who is it?", "choices": ["me", "a very long answer indeed"], "answer": 1},
    {"question": "How?", "choices": ["so", "thus", "ill", "well"], "answer": 3},
]


@pytest.fixture
def suite(tmp_path: Path) -> str:
    path = tmp_path / "own.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ASKED))
    return str(path)


def read(tmp_path: Path, retain: Sequence[str] = (), suites: Sequence[str] = ()) -> Remembered:
    return load(retain, suites, ENCODER, seed=0, cache=tmp_path)


# what is asked


@pytest.mark.parametrize(
    ("retain", "expected"),
    [
        ([], [("en", False)]),
        (["en"], [("en", True)]),
        (["sv", "de"], [("sv", True), ("de", True), ("en", False)]),
    ],
)
def test_english_is_measured_whether_named_or_not(
    tmp_path: Path, retain: list[str], expected: list[tuple[str, bool]]
) -> None:
    found = read(tmp_path, retain)
    assert [(one.name, one.named) for one in found.generic] == expected
    texts = [text for name, _ in expected for _, text in generic_texts(name)]
    assert [reading.size for reading in found.readings] == [len(text.encode()) for text in texts]
    assert [bytes_of(reading) for reading in found.readings] == texts
    # each text is a group of its own
    assert all(len({item.group for item in one.items}) == len(one.items) == 12 for one in found.generic)


def bytes_of(reading: Reading, *, counted: bool = False) -> str:
    ids = np.array(list(reading.ids))
    kept = ids[reading.counts] if counted and reading.counts is not None else ids
    return ENCODER.tokenizer.decode(kept.tolist())


def test_texts_of_ones_own_are_kept_by_the_name_they_are_given_by(tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    lines = [f"Line {n} of what must not be forgotten, {n * 37 % 11}." for n in range(9)]
    file.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    own, english = read(tmp_path, [str(file)]).generic
    assert (own.name, own.named, english.name) == (str(file), True, "en")
    assert {item.text for item in own.items} == set(lines)


def test_choices_are_scored_behind_the_question_as_the_harness_asks(tmp_path: Path, suite: str) -> None:
    found = read(tmp_path, [], [suite])
    answers = found.readings[12:]
    choices = [(row["question"], choice) for row in ASKED for choice in row["choices"]]
    assert len(answers) == len(choices) == 9
    for reading, (question, choice) in zip(answers, choices, strict=True):
        assert bytes_of(reading, counted=True) == f" {choice}"
        assert (
            ENCODER.tokenizer.decode([reading.context]) + bytes_of(reading) == f"Question: {question}\nAnswer: {choice}"
        )
        assert reading.size == len(f" {choice}".encode())


@pytest.mark.parametrize(("retain", "suites"), [(["xx"], []), (["gone.txt"], []), ([], ["gone.jsonl"]), ([], ["nix"])])
def test_what_is_missing_is_named(tmp_path: Path, retain: list[str], suites: list[str]) -> None:
    with pytest.raises(InputError, match=(retain + suites)[0].partition(".")[0]) as caught:
        read(tmp_path, retain, suites)
    assert (retain + suites)[0] in str(caught.value)


# texts


def scored(found: Remembered, changes: Sequence[float]) -> tuple[list[Nats], list[Nats]]:
    """Nats of base and tuned: of each text 2 bits a byte under the base, and so many fewer under the tuned."""
    draw = random.Random(3)
    base, tuned = [], []
    for reading, change in zip(found.readings, changes, strict=True):
        parts = np.array([draw.random() for _ in range(5)])
        for side, bits in ((base, 2.0), (tuned, 2.0 - change)):
            side.append(parts / parts.sum() * bits * math.log(2) * reading.size)
    return base, tuned


@pytest.mark.parametrize(
    ("mean", "sd", "outcome"),
    [(0.0, 0.02, "equivalent"), (0.3, 0.05, "not-worse"), (-0.04, 0.06, "not-shown"), (-0.2, 0.05, "beyond")],
)
def test_each_language_is_scipys_pair_of_one_sided_tests(tmp_path: Path, mean: float, sd: float, outcome: str) -> None:
    draw = random.Random(1)
    changes = [draw.gauss(mean, sd) for _ in range(12)]
    found = read(tmp_path)
    told = compare(found, *scored(found, changes), margin=0.02, alpha=0.05)
    (text,) = told["texts"]
    ends = stats.ttest_1samp(changes, 0).confidence_interval(0.90)
    margin = 0.02 * 2.0  # of the base's bits
    assert (text["low"], text["high"]) == pytest.approx((ends.low, ends.high))
    assert text["margin"] == pytest.approx(margin)
    assert text["p_worse"] == pytest.approx(stats.ttest_1samp(changes, -margin, alternative="greater").pvalue)
    assert text["p_better"] == pytest.approx(stats.ttest_1samp(changes, margin, alternative="less").pvalue)
    assert text["base_bpb"] == pytest.approx(2.0)
    assert text["tuned_bpb"] == pytest.approx(2.0 - sum(changes) / 12)
    assert (text["groups"], text["outcome"], told["suites"]) == (12, outcome, [])
    json.dumps(told, allow_nan=False)


def test_languages_and_suites_are_told_apart(tmp_path: Path, suite: str) -> None:
    found = read(tmp_path, ["sv"], [suite, "general"])
    questions = len(found.readings) - 24
    told = compare(found, *scored(found, [0.1] * 12 + [-0.1] * 12 + [0.0] * questions), margin=0.02, alpha=0.05)
    assert [(text["name"], round(text["mean"], 9)) for text in told["texts"]] == [("sv", 0.1), ("en", -0.1)]
    assert [(one["name"], one["questions"]) for one in told["suites"]] == [(suite, 3), ("general", 80)]


@pytest.mark.parametrize("side", ["base", "tuned"])
def test_a_text_without_a_finite_score_leaves_nothing_to_say(tmp_path: Path, side: str) -> None:
    found = read(tmp_path)
    base, tuned = scored(found, [0.0] * 12)
    {"base": base, "tuned": tuned}[side][7] = np.array([math.inf])
    told = compare(found, base, tuned, margin=0.02, alpha=0.05)
    (text,) = told["texts"]
    assert (text["outcome"], text["reason"]) == (None, "a text has no finite score")
    json.dumps(told, allow_nan=False)
    assert in_words(told) == "forgetting: not measured"


# questions


def test_the_answer_is_the_choice_with_the_fewest_bits_a_byte(tmp_path: Path, suite: str) -> None:
    """Forty times with costs drawn anew: the number of right answers is counted here by itself."""
    found = read(tmp_path, [], [suite])
    texts = [np.array([1.0])] * 12
    for trial in range(40):
        draw = random.Random(trial)
        sides, right = [], []
        for _ in range(2):
            nats, ok = [], []
            for row in ASKED:
                bits = [draw.uniform(1, 3) for _ in row["choices"]]  # of a byte
                nats += [np.array([b]) * len(f" {c}") for b, c in zip(bits, row["choices"], strict=True)]
                ok.append(min(range(len(bits)), key=bits.__getitem__) == row["answer"])
            sides.append(texts + nats)
            right.append(ok)
        (told,) = compare(found, sides[0], sides[1], margin=0.02, alpha=0.05)["suites"]
        assert (told["base"], told["tuned"]) == (sum(right[0]) / 3, sum(right[1]) / 3)
        pairs = list(zip(*right, strict=True))
        lost, won = pairs.count((True, False)), pairs.count((False, True))
        assert (told["only_first"], told["only_second"]) == (lost, won)
        assert told["p"] == pytest.approx(stats.binomtest(lost, lost + won).pvalue if lost + won else 1.0)


def test_a_long_choice_is_not_at_a_disadvantage(tmp_path: Path, suite: str) -> None:
    found = read(tmp_path, [], [suite])
    # of the second question the long, right choice costs more in all, and less by the byte
    nats = [np.array([1.0 * reading.size]) for reading in found.readings]
    nats[12 + 4] = nats[12 + 4] * 0.9
    assert float(nats[12 + 4].sum()) > float(nats[12 + 3].sum())
    (told,) = compare(found, nats, nats, margin=0.02, alpha=0.05)["suites"]
    # the others are ties, of which the first choice is taken: right in the first question, wrong in the third
    assert told["base"] == pytest.approx(2 / 3)


def test_a_choice_without_a_finite_score_is_no_wrong_answer(tmp_path: Path, suite: str) -> None:
    found = read(tmp_path, [], [suite])
    fine = [np.array([1.0 * reading.size]) for reading in found.readings]
    broken = [*fine[:12], np.array([math.nan]), *fine[13:]]
    (told,) = compare(found, fine, broken, margin=0.02, alpha=0.05)["suites"]
    assert (told["unscored_first"], told["unscored_second"]) == (0, 1)
    assert (told["base"], told["tuned"]) == (1 / 3, 0.0)
    nothing = [*fine[:12], *[np.array([math.inf])] * 9]
    (told,) = compare(found, fine, nothing, margin=0.02, alpha=0.05)["suites"]
    assert (told["tuned"], told["p"]) == (None, None)
    assert told["reason"]


# in words


@pytest.mark.parametrize(
    ("outcomes", "said"),
    [
        ({"sv": "beyond", "en": "not-shown", "de": "equivalent"}, "beyond 2.5 % on Swedish"),
        ({"sv": "not-worse", "en": "not-shown", "de": "not-shown"}, "not ruled out beyond 2.5 % on English, German"),
        ({"sv": "not-worse", "en": "equivalent", "de": None}, "none beyond 2.5 % on English, Swedish"),
        ({"sv": "beyond", "en": "beyond"}, "beyond 2.5 % on Swedish, English"),
        ({"en": None}, "not measured"),
        ({}, "not measured"),
    ],
)
def test_the_worst_is_what_is_said(outcomes: dict[str, Any], said: str) -> None:
    texts = [{"name": name, "outcome": outcome} for name, outcome in outcomes.items()]
    assert in_words({"margin": 0.025, "texts": texts}) == f"forgetting: {said}"
