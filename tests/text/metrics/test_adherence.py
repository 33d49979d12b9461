from __future__ import annotations

import random

import numpy as np
import pytest

from assay.core.errors import InputError
from assay.stats.intervals import share_interval
from assay.text.metrics.adherence import Adherence, Refusal, calibration_error, train

GOTHIC = [
    "castle", "shadow", "candle", "ghost", "crypt", "moon", "raven", "gloom", "tomb", "whisper", "storm", "blood",
]  # fmt: skip
SPACE = [
    "rocket", "orbit", "planet", "laser", "engine", "star", "robot", "signal", "hull", "comet", "crew", "launch",
]  # fmt: skip
BOTH = [
    "the", "a", "and", "of", "in", "it", "was", "then", "she", "he", "they", "went", "saw",
]  # fmt: skip


def texts(count: int, seed: int, kinds: tuple[list[str], list[str]] = (GOTHIC, SPACE)) -> tuple[list[str], list[str]]:
    draw = random.Random(seed)
    labels = [("gothic", "space")[k % 2] for k in range(count)]
    words = [[draw.choice(kinds[k % 2] if draw.random() < 0.2 else BOTH) for _ in range(30)] for k in range(count)]
    return [" ".join(some) for some in words], labels


@pytest.fixture(scope="module")
def trained() -> Adherence:
    pytest.importorskip("sklearn")
    found = train(*texts(120, 1), *texts(60, 2), interval=share_interval)
    assert isinstance(found, Adherence)
    return found


def test_a_genre_is_told_and_how_well(trained: Adherence) -> None:
    quality = trained.quality
    assert trained.labels == ["gothic", "space"]
    assert quality.texts == 60
    assert quality.accuracy > 0.9
    assert quality.low < quality.accuracy <= quality.high
    assert quality.chance == 0.5
    assert 0 <= quality.ece < 0.15
    ghost, comet = "the ghost and the raven in the crypt", "the comet and the robot in the orbit"
    right, wrong, nothing = trained.probabilities([ghost, comet, "—"], ["gothic", "gothic", "space"])
    assert right is not None
    assert wrong is not None
    assert nothing is None
    assert right > 0.8 > 0.2 > wrong
    (other,) = trained.probabilities([ghost], ["space"])
    assert other == pytest.approx(1 - right)
    assert trained.probabilities([], []) == []


def test_the_same_texts_give_the_same_numbers(trained: Adherence) -> None:
    again = train(*texts(120, 1), *texts(60, 2), interval=share_interval)
    assert isinstance(again, Adherence)
    assert again.quality == trained.quality
    asked = texts(20, 5)
    assert again.probabilities(*asked) == trained.probabilities(*asked)


def test_probabilities_are_calibrated(trained: Adherence) -> None:
    # of many fresh texts, those given a probability of p have the label that was asked for in a share of about p
    fresh, labels = texts(2000, 9)
    shares = np.array(trained.probabilities(fresh, ["gothic"] * 2000), float)
    right = np.array(labels) == "gothic"
    assert abs(shares.mean() - right.mean()) < 0.02
    assert calibration_error(np.stack([shares, 1 - shares], axis=1), (~right).astype(int)) < 0.05


def test_texts_that_are_all_told_right_do_not_make_it_sure() -> None:
    pytest.importorskip("sklearn")
    apart = (GOTHIC, SPACE)
    plain = [" ".join(apart[k % 2]) for k in range(40)]
    labels = ["gothic", "space"] * 20
    found = train(plain, labels, plain, labels, interval=share_interval)
    assert isinstance(found, Adherence)
    assert found.quality.accuracy == 1.0
    (share,) = found.probabilities([plain[0]], ["gothic"])
    assert share == pytest.approx(41 / 42, abs=1e-3)  # 40 of 40 are right: (40 + 1) ÷ (40 + 2)


def test_three_labels() -> None:
    pytest.importorskip("sklearn")
    some = [f"{word} {other}" for word in ("ghost", "comet", "clue") for other in BOTH]
    labels = [label for label in ("gothic", "space", "crime") for _ in BOTH]
    found = train(some, labels, some, labels, interval=share_interval)
    assert isinstance(found, Adherence)
    assert found.labels == ["crime", "gothic", "space"]
    (share,) = found.probabilities(["ghost"], ["gothic"])
    assert share is not None
    assert share > 0.5


def test_an_asked_label_that_was_not_learned(trained: Adherence) -> None:
    with pytest.raises(
        InputError, match=r"label 'crime' does not stand in the training texts\n  fix: ask for gothic, space"
    ):
        trained.probabilities(["a"], ["crime"])


def test_no_better_than_chance_is_refused() -> None:
    pytest.importorskip("sklearn")
    found = train(*texts(120, 1, (BOTH, BOTH)), *texts(60, 2, (BOTH, BOTH)), interval=share_interval)
    assert isinstance(found, Refusal)
    assert found.quality is not None
    assert found.quality.low <= found.quality.chance
    assert "of 60 development texts are told right" in found.reason
    assert "not above the 50% of always saying the same" in found.reason


def test_mostly_one_label_is_no_evidence() -> None:
    pytest.importorskip("sklearn")
    dev, labels = texts(60, 2)
    kept = [k for k in range(60) if labels[k] == "gothic" or k < 4]
    found = train(*texts(120, 1), [dev[k] for k in kept], [labels[k] for k in kept], interval=share_interval)
    assert isinstance(found, Refusal)
    assert found.quality is not None
    assert found.quality.accuracy > 0.9
    assert found.quality.chance == pytest.approx(30 / 32)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ((["a"], ["x"], ["a"], ["x"]), "1 of at least 2 labels"),
        ((["a b", "c d"], ["x", "y"], ["a"], ["z"]), "no training text has the label 'z'"),
        ((["a b", "c d"], ["x", "y"], [], []), "there are no development texts"),
        ((["", "—"], ["x", "y"], ["a"], ["x"]), "nothing can be learned from the training texts"),
    ],
)
def test_what_cannot_be_learned_is_refused(given: tuple[list[str], ...], reason: str) -> None:
    pytest.importorskip("sklearn")
    found = train(*given, interval=share_interval)
    assert isinstance(found, Refusal)
    assert reason in found.reason


def test_calibration_error_by_hand() -> None:
    shares = np.array([[0.95, 0.05], [0.95, 0.05], [0.3, 0.7], [0.35, 0.65]])
    # two in the bin from .9 at .95, one right: gap .45; one at .7 right: .3; one at .65, wrong: .65
    assert calibration_error(shares, np.array([0, 1, 1, 0])) == pytest.approx((2 * 0.45 + 0.3 + 0.65) / 4)
    assert calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0.0
