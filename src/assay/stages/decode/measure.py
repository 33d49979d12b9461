"""What a generated text is like, and how far that lies from human texts of the same length.

All numbers are of one text; they are averaged over a prompt's seeds, then over a group's prompts, then over groups.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, pairwise

import numpy as np

from assay.model.score import Nats
from assay.stages.decode.prompts import Case
from assay.text.metrics.diversity import compression_ratio, distinct, loop, mtld, repeated
from assay.text.metrics.words import words
from assay.text.tokenizer import TextTokenizer

FEWEST_TOKENS = 16  # a shorter text is like any other
FEWEST_HUMAN = 5  # human texts that a length has, at least, to be held against them
# The least spread of human texts that a difference is divided by: where ours all agree, others would not.
FLOORS = {"bits_per_byte": 0.05, "repeated_4": 0.02, "distinct_1": 0.03, "tokens": 2.0}
CLOSENESS = ("bits_per_byte", "repeated_4", "distinct_1")  # what makes up the distance; of answers their length too


@dataclass(frozen=True)
class Output:
    """One generated text: of which prompt and seed, its ids, whether it ended by itself, and its nats by the base."""

    case: Case
    seed: int
    text: str
    ids: tuple[int, ...]
    stopped: bool
    nats: Nats


def features(text: str, ids: Sequence[int], nats: Nats) -> dict[str, float | None]:
    """The numbers of one text; None where it has none.

    bits_per_byte: by the base model, given the prompt. loop: whether some stretch says one thing at least three times
    in a row and has at least 20 tokens. repeated_4, distinct_1, distinct_2, MTLD: of words. compression: of bytes.
    """
    said, size, found = words(text), len(text.encode()), loop(ids)
    return {
        "loop": float(found is not None),
        "ends_in_loop": float(found is not None and found.at_end),
        "bits_per_byte": float(nats.sum()) / math.log(2) / size if size else None,
        "repeated_4": repeated(said),
        "distinct_1": distinct([said], 1),
        "distinct_2": distinct([said], 2),
        "mtld": mtld(said),
        "compression": compression_ratio([text]),
        "tokens": float(len(ids)),
    }


@dataclass(frozen=True)
class Human:
    """A human continuation: its ids and the nats of each by the base, given the prompt."""

    group: str
    ids: tuple[int, ...]
    nats: Nats
    answer: bool


@dataclass
class Reference:
    """Human texts, cut to the length of what is held against them.

    A generated text of n tokens is held against the first n tokens of every human text that has as many.
    """

    texts: Sequence[Human]
    tokenizer: TextTokenizer
    _known: dict[int, dict[str, tuple[float, float]] | None] = field(default_factory=dict)

    def at(self, tokens: int) -> dict[str, tuple[float, float]] | None:
        """Mean and spread of each of the numbers at this length; None where there are too few texts."""
        if tokens not in self._known:
            long = [one for one in self.texts if len(one.ids) >= tokens]
            enough = tokens >= FEWEST_TOKENS and len(long) >= FEWEST_HUMAN
            self._known[tokens] = self._spread(long, tokens) if enough else None
        return self._known[tokens]

    def _spread(self, texts: Sequence[Human], tokens: int) -> dict[str, tuple[float, float]]:
        rows = []
        for one in texts:
            ids = list(one.ids[:tokens])
            rows.append(features(self.tokenizer.decode(ids), ids, one.nats[:tokens]))
        found = {}
        for name in CLOSENESS:
            values = [value for row in rows if (value := row[name]) is not None]
            if len(values) >= FEWEST_HUMAN:
                found[name] = statistics.fmean(values), max(statistics.stdev(values), FLOORS[name])
        return found

    def length(self, most: int) -> tuple[float, float] | None:
        """Mean and spread of the tokens of human answers, none counted longer than `most`; None where texts go on."""
        lengths = [float(min(len(one.ids), most)) for one in self.texts if one.answer]
        if len(lengths) < FEWEST_HUMAN:
            return None
        return statistics.fmean(lengths), max(statistics.stdev(lengths), FLOORS["tokens"])

    def apart(self, values: Mapping[str, float | None], tokens: int, most: int) -> dict[str, float | None]:
        """How far a text of so many tokens lies from the human mean, in spreads of human texts; above 0: higher."""
        known = self.at(tokens) or {}
        found: dict[str, float | None] = {}
        for name in CLOSENESS:
            value = values[name]
            mean, spread = known.get(name, (math.nan, math.nan))
            found[name] = None if value is None or math.isnan(mean) else (value - mean) / spread
        length = self.length(most)
        if length is not None:
            found["tokens"] = (tokens - length[0]) / length[1]
        return found


def similarity(texts: Sequence[str]) -> float | None:
    """How much the texts of one prompt share: over pairs of them the mean of 2 · common word pairs ÷ all (Dice).

    1 where all are the same, 0 where no two neighbouring words stand together in another; None below two texts.
    """
    grams = [set(pairwise(said)) for said in map(words, texts)]
    pairs = [(a, b) for a, b in combinations(grams, 2) if a or b]
    return statistics.fmean(2 * len(a & b) / (len(a) + len(b)) for a, b in pairs) if pairs else None


def by_group(values: Iterable[tuple[Case, float | None]]) -> dict[str, float]:
    """The mean of each group: first over the texts of a prompt, then over its prompts; no value counts nothing."""
    prompts: dict[tuple[str, str], list[float]] = {}
    for case, value in values:
        if value is not None:
            prompts.setdefault((case.group, case.id), []).append(value)
    groups: dict[str, list[float]] = {}
    for (group, _), own in prompts.items():
        groups.setdefault(group, []).append(statistics.fmean(own))
    return {group: statistics.fmean(own) for group, own in groups.items()}


def measured(outputs: Sequence[Output], reference: Reference, most: int) -> dict[str, dict[str, float]]:
    """Each number of one setting's texts, by group; ``distance`` is how far they lie from human texts.

    A group's distance is the mean over the numbers of `CLOSENESS` (of answers also their length) of the absolute value
    of the group's mean deviation, in spreads of human texts.
    """
    rows = [(one.case, features(one.text, one.ids, one.nats)) for one in outputs]
    found = {name: by_group((case, row[name]) for case, row in rows) for name in rows[0][1]}
    found["stopped"] = by_group((one.case, float(one.stopped)) for one in outputs)
    texts: dict[str, list[str]] = {}
    for one in outputs:
        texts.setdefault(one.case.id, []).append(one.text)
    cases = {one.case.id: one.case for one in outputs}
    found["similarity"] = by_group((cases[id], similarity(own)) for id, own in texts.items())
    apart = [(one.case, reference.apart(row, len(one.ids), most)) for one, (_, row) in zip(outputs, rows, strict=True)]
    signed = {name: by_group((case, row.get(name)) for case, row in apart) for name in (*CLOSENESS, "tokens")}
    groups = [group for group in found["loop"] if all(group in signed[name] for name in CLOSENESS)]
    found["distance"] = {
        group: statistics.fmean(abs(own[group]) for own in signed.values() if group in own) for group in groups
    }
    return found | {f"{name}_apart": own for name, own in signed.items() if own}


def human_row(reference: Reference, tokens: int) -> dict[str, float]:
    """What human texts of this length are like, each group weighing the same; nothing where they are too few."""
    long = [one for one in reference.texts if len(one.ids) >= tokens]
    if len(long) < FEWEST_HUMAN:
        return {}
    found: dict[str, dict[str, list[float]]] = {}
    for one in long:
        ids = list(one.ids[:tokens])
        for name, value in features(reference.tokenizer.decode(ids), ids, one.nats[:tokens]).items():
            if value is not None:
                found.setdefault(name, {}).setdefault(one.group, []).append(value)
    return {name: float(np.mean([np.mean(own) for own in groups.values()])) for name, groups in found.items()}
