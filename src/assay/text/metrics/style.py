"""Style in numbers: sentences, punctuation, readability, vocabulary. None stands for a number that does not exist."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay.core.optional import require
from assay.text.metrics.words import Text

EXTRA = "metrics"
SYLLABLES = "pyphen"  # the package that counts them
PRIOR_WORDS = 500  # how many words the prior of `over_used` weighs as
MARKS = {
    "commas": ",\uff0c\u3001\u060c",
    "full stops": ".\u3002\u0964",
    "question marks": "?\uff1f\u061f",
    "exclamation marks": "!\uff01",
    "quotation marks": '"“”„«»「」『』',
    "dashes": "–—",
    "ellipses": "…",
}


def sentence_length(text: Text) -> float | None:
    """Words per sentence; None without a sentence."""
    return sum(map(len, text.sentences)) / len(text.sentences) if text.sentences else None


def punctuation(text: str) -> dict[str, float] | None:
    """How often each kind of `MARKS` stands in 1,000 characters; None for an empty text. Three dots are an ellipsis."""
    if not text:
        return None
    found = Counter(text.replace("...", "…"))
    return {kind: 1000 * sum(found[mark] for mark in marks) / len(text) for kind, marks in MARKS.items()}


def reading_ease(text: Text) -> float | None:
    """Flesch reading ease: 206.835 - 1.015 · words per sentence - 84.6 · syllables per word (Flesch 1948).

    About 100 reads easily, 0 hardly. For English: None in another language (the formula's weights are English ones) or
    an unknown one, and without a word. Syllables are hyphenation points plus one, which misses some (``area`` has 1):
    in a novel 1.37 a word, of 1.43 in a pronouncing dictionary, which makes it 6 points easier. A reference gains too.

    Raises:
        MachineError: pyphen, of the extra `metrics`, is not installed.
    """
    rates = _rates(text)
    return None if rates is None else 206.835 - 1.015 * rates[0] - 84.6 * rates[1]


def grade_level(text: Text) -> float | None:
    """Flesch-Kincaid grade: 0.39 · words per sentence + 11.8 · syllables per word - 15.59 (Kincaid et al. 1975).

    In years of American schooling; None and errors as of `reading_ease`.
    """
    rates = _rates(text)
    return None if rates is None else 0.39 * rates[0] + 11.8 * rates[1] - 15.59


def _rates(text: Text) -> tuple[float, float] | None:
    if text.language != "en" or not text.sentences:
        return None
    found = [word for sentence in text.sentences for word in sentence]
    return len(found) / len(text.sentences), sum(map(_syllables, found)) / len(found)


@functools.cache
def _hyphens() -> Any:
    return require(SYLLABLES, extra=EXTRA).Pyphen(lang="en_US")


def _syllables(word: str) -> int:
    return 1 + len(_hyphens().positions(word))


def known_words(text: Text) -> float | None:
    """The share of words that the vocabulary holds; None without a vocabulary or a word."""
    if text.vocabulary is None or not text.words:
        return None
    return sum(word in text.vocabulary for word in text.words) / len(text.words)


@dataclass(frozen=True)
class Use:
    """How one word's use differs.

    Args:
        word: in lower case.
        log_odds: difference of the log-odds of the word, above 0 where it is over-used.
        z: that ÷ its standard deviation; it ranks words, and is no test, since words of one text depend on each other.
        count: how often the word stands in the texts.
        reference_count: and in the reference.
    """

    word: str
    log_odds: float
    z: float
    count: int
    reference_count: int


def over_used(texts: Sequence[Text], reference: Sequence[Text], most: int = 20) -> tuple[list[Use], list[Use]]:
    """The words whose use differs most from the reference's: over-used ones first, then under-used ones.

    Log-odds ratios with an informative Dirichlet prior: Monroe, Colaresi and Quinn 2008, Political Analysis 16,
    372-403, equations 16, 20 and 22. The prior is the use in both together, at a weight of 500 words; it keeps rare
    words from the top.
    """
    here, there = (Counter(word for text in some for word in text.words) for some in (texts, reference))
    n, m = here.total(), there.total()
    if not n or not m:
        return [], []
    uses = []
    for word in here.keys() | there.keys():
        y, x = here[word], there[word]
        prior = PRIOR_WORDS * (y + x) / (n + m)
        if y + x == n + m:  # the only word there is: it has no odds
            continue
        odds = math.log((y + prior) / (n - y + PRIOR_WORDS - prior))
        odds -= math.log((x + prior) / (m - x + PRIOR_WORDS - prior))
        uses.append(Use(word, odds, odds / math.sqrt(1 / (y + prior) + 1 / (x + prior)), y, x))
    ranked = sorted(uses, key=lambda use: (-use.z, use.word))
    over = [use for use in ranked[:most] if use.z > 0]
    return over, [use for use in ranked[::-1][:most] if use.z < 0]
