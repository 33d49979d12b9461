"""How close a text is to the data's own: what a classifier says that learned them from the base's.

It learns from training texts and is calibrated on development texts; of each the model is given the beginning, so that
what it tells apart is how a text goes on and not what it is about. All are cut to one length: length is no style.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assay.core.files import sha256_json
from assay.core.records import Item
from assay.data.passages import asked, continued, system_of
from assay.stats.intervals import share_interval
from assay.text.asking import Asking
from assay.text.metrics.adherence import Adherence, Refusal, train
from assay.text.metrics.equal import equal_length
from assay.text.metrics.summary import Measured
from assay.text.metrics.words import cut, words

NAME = "like the data"
OWN, BASE = "data", "base"


@dataclass(frozen=True)
class Ear:
    """A classifier, or why there is none, and the words of a text that it looks at.

    `learned` is the hash of the passages and labels that it was made from: those of another one give other numbers.
    """

    found: Adherence | Refusal
    words: int
    learned: str | None = None

    def of(self, texts: Sequence[str]) -> list[float | None]:
        """The probability of each text to be of the data and not of the base; None for one that is too short."""
        if isinstance(self.found, Refusal):
            return [None] * len(texts)
        whole = [n for n, text in enumerate(texts) if len(words(text)) >= self.words]
        told = self.found.probabilities([cut(texts[n], self.words) for n in whole], [OWN] * len(whole))
        by = dict(zip(whole, told, strict=True))
        return [by.get(n) for n in range(len(texts))]

    def measured(self, texts: Mapping[str, Sequence[str]]) -> dict[str, Measured]:
        """The metric of each arm."""
        refused = isinstance(self.found, Refusal)
        why = self.found.reason if isinstance(self.found, Refusal) else f"fewer than {self.words} words"
        arms = {name: self.of(some) for name, some in texts.items()}
        return {NAME: Measured(arms, "share", "none" if refused else "higher", why)}

    def as_json(self) -> dict[str, Any]:
        """How good it is, or why there is none."""
        quality = self.found.quality
        return {
            "words": self.words,
            "learned_sha256": self.learned,
            "reason": self.found.reason if isinstance(self.found, Refusal) else None,
            "quality": asdict(quality) if quality else None,
        }


def beginnings(asking: Asking, items: Sequence[Item]) -> list[list[int]]:
    """What the base is given of each item, to go on from."""
    return [asking.ids(asked(item), system=system_of(item)) for item in items]


def learn(generated: Sequence[str], training: Sequence[Item], dev: Sequence[Item]) -> Ear:
    """Learn what tells the base's continuations from the texts' own.

    Args:
        generated: how the base goes on from the beginning of each item, those of training first.
        training: items to learn from.
        dev: items of other groups, to calibrate on.

    Raises:
        MachineError: scikit-learn, of the extra `metrics`, is not installed.
    """
    items = [*training, *dev]
    both = equal_length({BASE: list(generated), OWN: [continued(item) for item in items]})
    texts, labels, dev_texts, dev_labels = list[str](), list[str](), list[str](), list[str]()
    for label in (BASE, OWN):
        for number, text in zip(both.kept, both.arms[label], strict=True):
            (texts if number < len(training) else dev_texts).append(text)
            (labels if number < len(training) else dev_labels).append(label)
    found = train(texts, labels, dev_texts, dev_labels, interval=share_interval)
    return Ear(found, both.words, sha256_json([texts, labels, dev_texts, dev_labels]))
