"""The base's scores are shared by runs that would measure the same, checked before each use, and never trusted else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from assay.core.console import Console
from assay.core.errors import GuardError
from assay.core.store import Store
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.model.score import Nats, Reading, Scorer
from assay.stages.evaluate.base_scores import RESCORED, _to_rescore, base_scores
from assay.stages.evaluate.shared import SCORES, Shared
from assay.text.tokenizer import byte_tokenizer

TOKENIZER = byte_tokenizer()
SETTING = {"dtype": "fp32", "device": "cpu", "threads": 1}


class Counting(Scorer):
    """Notes how many texts it is asked for at a time."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.asked: list[int] = []

    def score_readings(self, readings: Sequence[Reading], **how: Any) -> list[Nats]:
        self.asked.append(len(readings))
        return super().score_readings(readings, **how)


def model(noise: float = 0.0) -> Any:
    made = _random(PRESETS["llama-tiny"]).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += noise * torch.randn(parameter.shape, generator=generator)
    return made


BASE = model()


def judge(of: Any = BASE, **changed: int) -> Counting:
    return Counting(of, TOKENIZER, **{"window": 64, "stride": 64, "row_tokens": 256} | changed)


def readings(*texts: str) -> list[Reading]:
    return [Reading(TOKENIZER.encode(text), 256, len(text.encode())) for text in texts]


TEXTS = readings("ten bytes.", "twenty bytes, no more", "three hundred bytes or so: " * 11)


@pytest.fixture
def ask(tmp_path: Path) -> Any:
    """A function that asks for the scores of `TEXTS`, with something changed."""

    def asked(by: Counting, texts: Sequence[Reading] = TEXTS, base_hash: str = "a", **changed: Any) -> Any:
        setting = {"base": base_hash, **SETTING, **changed}
        return base_scores(by, texts, Shared(Store(tmp_path), "a run", setting, Console(quiet=True)), label="texts")

    return asked


def test_they_are_scored_once_and_then_checked(ask: Any) -> None:
    first, second = judge(), judge()
    scores, off = ask(first)
    assert (first.asked, off) == ([3], None)
    again, off = ask(second)
    assert second.asked == [2]  # the two short ones: 31 bytes of 328 are less than a quarter
    assert off == pytest.approx(0.0, abs=1e-6)
    for one, other, expected in zip(scores, again, judge().score_readings(TEXTS), strict=True):
        np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(one, expected)


@pytest.mark.parametrize(
    "changed", [{"base_hash": "b"}, {"threads": 2}, {"dtype": "bf16"}, {"device": "cuda"}, {"four_bit": "0.49"}],
    ids=lambda changed: next(iter(changed)),
)  # fmt: skip
def test_another_base_or_machine_is_scored_anew(ask: Any, changed: dict[str, Any]) -> None:
    ask(judge())
    other = judge()
    assert ask(other, **changed)[1] is None
    assert other.asked == [3]


@pytest.mark.parametrize("changed", [{"window": 32, "stride": 32}, {"stride": 32}, {"row_tokens": 64}])
def test_other_windows_and_rows_are_scored_anew(ask: Any, changed: dict[str, int]) -> None:
    ask(judge())
    other = judge(**changed)
    assert ask(other)[1] is None
    assert other.asked == [3]


def test_other_texts_contexts_and_counts_are_scored_anew(ask: Any) -> None:
    ask(judge())
    one = TEXTS[0]
    counts = np.arange(len(one.ids)) > 3
    texts = [
        TEXTS[::-1],
        TEXTS[:2],
        [Reading(one.ids, 3, one.size), *TEXTS[1:]],
        [Reading(one.ids, one.context, one.size, counts), *TEXTS[1:]],
        [Reading(one.ids, one.context, one.size, ~counts), *TEXTS[1:]],
    ]
    for some in texts:
        other = judge()
        assert ask(other, some)[1] is None
        assert other.asked == [len(some)]


def test_a_base_that_scores_otherwise_under_the_same_name_is_told_by_how_much(ask: Any) -> None:
    before = ask(judge())[0]
    changed = judge(model(0.05))
    scores, off = ask(changed)
    now = changed.score_readings(TEXTS)
    by_hand = [(before[i].sum() - now[i].sum()) / math.log(2) / TEXTS[i].size for i in (0, 1)]
    # the mean, and of two the standard error, which is half of what they differ by
    assert off == pytest.approx(abs(sum(by_hand)) / 2 + abs(by_hand[0] - by_hand[1]) / 2)
    assert off > 1e-3
    np.testing.assert_array_equal(scores[2], before[2])  # the stored ones are given, and the caller judges


@pytest.mark.parametrize("harm", ["edited", "lost"])
def test_what_is_not_what_was_stored_is_refused(ask: Any, tmp_path: Path, harm: str) -> None:
    ask(judge())
    (file,) = tmp_path.rglob("scores.parquet")
    if harm == "lost":
        file.unlink()
    else:
        pl.read_parquet(file).reverse().write_parquet(file)
    with pytest.raises(GuardError, match="not what was stored") as caught:
        ask(judge())
    assert caught.value.guard == "a-a-control"
    assert caught.value.where == str(file.parent)
    assert file.parent.parent.name == SCORES.name


@given(st.lists(st.integers(0, 1000), max_size=60))
def test_what_is_scored_again_are_few_of_the_shortest(sizes: list[int]) -> None:
    chosen = _to_rescore([Reading([], 0, size) for size in sizes])
    assert len(chosen) == len(set(chosen)) <= RESCORED
    assert bool(chosen) == bool(sizes)
    left = [size for i, size in enumerate(sizes) if i not in chosen]
    assert max((sizes[i] for i in chosen), default=0) <= min(left, default=1000)
    if len(chosen) > 1:
        assert 4 * sum(sizes[i] for i in chosen) <= sum(sizes)
    if left and chosen and len(chosen) < RESCORED:  # one more would be too much
        assert 4 * (sum(sizes[i] for i in chosen) + min(left)) > sum(sizes)
