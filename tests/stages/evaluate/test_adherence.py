"""A classifier that the base teaches: what it learns from, and what it makes of texts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from assay.core.records import Item
from assay.stages.evaluate.adherence import NAME, Ear, learn
from assay.text.metrics.adherence import Adherence, Refusal

pytest.importorskip("sklearn")
PLAIN = ["the", "a", "and", "of", "in", "it", "was", "then", "she", "he"]
GOTHIC = ["castle", "shadow", "candle", "ghost", "crypt", "raven"]
SPACE = ["rocket", "orbit", "planet", "laser", "engine", "comet"]


def prose(seed: int, own: Sequence[str], count: int = 40) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(own if draw.random() < 0.3 else PLAIN) for _ in range(count))


def items(count: int, first: int, own: Sequence[str] = GOTHIC) -> list[Item]:
    return [Item(str(n), f"group {n}", prose(n, own, 48)) for n in range(first, first + count)]


@pytest.fixture
def taught() -> Any:
    """A function that teaches with a base that writes of these things."""

    def teach(own: Sequence[str], dev: int = 30) -> Ear:
        return learn([prose(10_000 + n, own) for n in range(60 + dev)], items(60, 0), items(dev, 100))

    return teach


def test_texts_like_the_data_are_told_from_those_like_the_base(taught: Any) -> None:
    ear = taught(SPACE)
    assert isinstance(ear.found, Adherence)
    assert ear.words == 40  # of 48, eight of which are shown
    assert ear.found.quality.texts == 60
    ghostly, spacious, short = ear.of([prose(500, GOTHIC), prose(501, SPACE), "a ghost"])
    assert ghostly > 0.9 > 0.1 > spacious
    assert short is None
    row = ear.measured({"tuned": [prose(502, GOTHIC)]})[NAME]
    assert (row.better, row.missing) == ("higher", "fewer than 40 words")
    assert ear.as_json()["quality"]["accuracy"] > 0.9


def test_a_base_that_writes_like_the_data_teaches_nothing(taught: Any) -> None:
    ear = taught(GOTHIC)
    assert isinstance(ear.found, Refusal)
    assert ear.of(["a"]) == [None]
    row = ear.measured({"tuned": ["a"]})[NAME]
    assert row.values == {"tuned": [None]}
    assert "not above the" in row.missing
    assert ear.as_json()["reason"] == row.missing


def test_without_dev_passages_there_is_no_classifier(taught: Any) -> None:
    assert taught(SPACE, dev=0).found == Refusal("there are no development texts")


def test_a_classifier_is_known_by_what_it_learned_from(taught: Any) -> None:
    once, again, other = (taught(own).as_json()["learned_sha256"] for own in (SPACE, SPACE, GOTHIC))
    assert once == again != other
