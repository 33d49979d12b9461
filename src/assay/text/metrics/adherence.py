"""Is an output of the kind that was asked for? A small classifier's opinion, with the evidence of how good it is.

Words and characters weighed by TF-IDF, and a logistic regression, learn the labels from training texts: the value of a
genre column, or "reference author" against "base model". Development texts calibrate it and decide whether it is used.
It lives in memory only, and the same texts give the same numbers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.core.errors import InputError
from assay.core.optional import require

EXTRA = "metrics"
BINS = 10  # of the calibration error
CHARACTERS = 4000  # of each text that are looked at
FEATURES = 100_000  # of words, and of characters, at most
Floats = NDArray[np.float64]
ShareInterval = Callable[[int, int], tuple[float, float]]  # of hits, and of how many


@dataclass(frozen=True)
class Quality:
    """How good a classifier is on development texts.

    Args:
        texts: how many there were.
        accuracy: the share whose label is its first choice.
        low: the lower end of the accuracy's 95 % interval (Clopper and Pearson 1934), which takes the texts as
            independent.
        high: its upper end.
        chance: the share of the most frequent label among them: what always saying that one would reach.
        temperature: what its scores are divided by (Guo et al. 2017, arXiv 1706.04599), fitted on all of them.
        ece: expected calibration error over 10 bins: the mean gap between its confidence and its accuracy; each half
            of the texts (every second one) at the temperature that the other half gave.
    """

    texts: int
    accuracy: float
    low: float
    high: float
    chance: float
    temperature: float
    ece: float


@dataclass(frozen=True)
class Refusal:
    """No classifier, and why; its quality, if there was one to measure."""

    reason: str
    quality: Quality | None = None


class Adherence:
    """A classifier that development texts have shown to be better than chance.

    Attributes:
        labels: what it tells apart, in order.
        quality: what the development texts said.
    """

    def __init__(self, pipeline: Any, labels: list[str], quality: Quality) -> None:
        self._pipeline, self.labels, self.quality = pipeline, labels, quality

    def probabilities(self, texts: Sequence[str], asked: Sequence[str]) -> list[float | None]:
        """For each text the probability of the label that was asked for; None for a text without a letter.

        Raises:
            InputError: a label is none that was learned.
        """
        unknown = sorted(set(asked) - set(self.labels))
        if unknown:
            raise InputError(
                f"the label {unknown[0]!r} does not stand in the training texts",
                fix=f"ask for {', '.join(self.labels)}",
            )
        if not texts:
            return []
        shares = _softmax(_scores(self._pipeline, texts) / self.quality.temperature)
        return [
            float(row[self.labels.index(label)]) if any(map(str.isalpha, text)) else None
            for text, label, row in zip(texts, asked, shares, strict=True)
        ]


def train(
    texts: Sequence[str],
    labels: Sequence[str],
    dev_texts: Sequence[str],
    dev_labels: Sequence[str],
    *,
    interval: ShareInterval,
) -> Adherence | Refusal:
    """Learn the labels of training texts, and calibrate on development texts.

    Refused where the lower end of the accuracy's interval on the development texts is not above chance. Where one
    kind of text is longer than the other, cut them to equal length first (`equal_length`): length is no style.

    Args:
        texts: training texts; neither generated from the prompts that are judged, nor of their groups.
        labels: one for each.
        dev_texts: development texts, of other groups; as independent of each other as can be had.
        dev_labels: one for each.
        interval: the estimator of a share's 95 % interval, as `assay.stats.intervals.share_interval`.

    Raises:
        MachineError: scikit-learn, of the extra `metrics`, is not installed.
    """
    known, wanted = sorted(set(labels)), Counter(dev_labels)
    if len(known) < 2:
        return Refusal(f"the training texts have {len(known)} of at least 2 labels")
    missing = sorted(wanted.keys() - set(known))
    if missing or not wanted:
        return Refusal(
            f"no training text has the label {missing[0]!r}" if missing else "there are no development texts"
        )
    pipeline = _pipeline()
    try:
        pipeline.fit([text[:CHARACTERS] for text in texts], list(labels))
    except ValueError as error:
        return Refusal(f"nothing can be learned from the training texts: {error}")
    answers = np.array([known.index(label) for label in dev_labels])
    quality = _quality(_scores(pipeline, dev_texts), answers, max(wanted.values()) / len(answers), interval)
    if quality.low <= quality.chance:
        return Refusal(
            f"{quality.accuracy:.0%} of {quality.texts} development texts are told right (95 % interval "
            f"{quality.low:.0%} to {quality.high:.0%}): not above the {quality.chance:.0%} of always saying the same",
            quality,
        )
    return Adherence(pipeline, known, quality)


def _pipeline() -> Any:
    text, linear, pipeline = (
        require(f"sklearn.{module}", extra=EXTRA) for module in ("feature_extraction.text", "linear_model", "pipeline")
    )
    kinds = {"words": ("word", (1, 2)), "characters": ("char_wb", (2, 5))}
    features = [
        (name, text.TfidfVectorizer(analyzer=unit, ngram_range=sizes, sublinear_tf=True, max_features=FEATURES))
        for name, (unit, sizes) in kinds.items()
    ]
    regression = linear.LogisticRegression(C=10.0, max_iter=1000)
    return pipeline.Pipeline([("features", pipeline.FeatureUnion(features)), ("regression", regression)])


def _scores(pipeline: Any, texts: Sequence[str]) -> Floats:
    """Log-probabilities up to a constant, texts × labels."""
    scores = np.asarray(pipeline.decision_function([text[:CHARACTERS] for text in texts]), np.float64)
    return scores if scores.ndim == 2 else np.stack([np.zeros_like(scores), scores], axis=1)


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float64)


def _quality(scores: Floats, answers: NDArray[np.int64], chance: float, interval: ShareInterval) -> Quality:
    right, count = int((scores.argmax(axis=1) == answers).sum()), len(answers)
    low, high = interval(right, count)
    halves = np.arange(count) % 2 == 0
    cooled = scores.copy()
    for half in (halves, ~halves):
        cooled[half] /= _temperature(scores[~half], answers[~half])
    ece = calibration_error(_softmax(cooled), answers)
    return Quality(count, right / count, low, high, chance, _temperature(scores, answers), ece)


def _temperature(scores: Floats, answers: NDArray[np.int64]) -> float:
    """What the scores are divided by, between 1/20 and 20, so that the answers are likeliest.

    Each answer counts as right but for 1 ÷ (texts + 2), as in Platt 1999 (Probabilistic outputs for support vector
    machines): where all are told right, that alone would make the classifier as sure as can be.
    """
    from scipy.optimize import minimize_scalar

    doubt = 1 / (len(answers) + 2)
    targets = np.full(scores.shape, doubt / (scores.shape[1] - 1))
    targets[np.arange(len(answers)), answers] = 1 - doubt

    def loss(log_temperature: float) -> float:
        cooled = scores / np.exp(log_temperature)
        cooled -= cooled.max(axis=1, keepdims=True)
        logs = cooled - np.log(np.exp(cooled).sum(axis=1, keepdims=True))
        return -float((targets * logs).sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-np.log(20), np.log(20)), method="bounded").x))


def calibration_error(shares: Floats, answers: NDArray[np.int64]) -> float:
    """Expected calibration error: Σ over bins of (texts in it ÷ texts) · |accuracy - mean confidence|.

    Args:
        shares: probabilities, texts × labels.
        answers: the number of each text's label.
    """
    confidence, right = shares.max(axis=1), shares.argmax(axis=1) == answers
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(answers))
