"""Memorisation: does greedy decoding go on from 50 tokens of a training text with the text's own next 50 tokens?

Whether it does is read off one forward pass: decoding greedily from a prompt gives exactly these tokens if and only if
each of them is the likeliest one behind the true text before it. (Carlini et al., arXiv 2202.07646, section 3.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.model.score import Counts, Reading, Scorer
from assay.text.copied import copied_spans
from assay.text.tokens import Tokens

PROMPT, CONTINUED = 50, 50  # tokens
LONGEST = PROMPT + CONTINUED

Ints = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Probes:
    """Stretches of 100 tokens from some rows, and how many rows were too short for one."""

    readings: list[Reading]
    too_short: int


def whole(starts: Ints) -> Ints:
    """All rows as pieces, from where each begins and the end of the last."""
    return np.column_stack([np.arange(len(starts) - 1), starts[:-1], starts[1:]])


def probes(pieces: Ints, ids: Ints, count: int, *, seed: int) -> Probes:
    """A stretch from each of at most `count` rows, rows and places chosen by the seed.

    Args:
        pieces: (n, 3), in order: a row, and where a piece of it begins and ends in `ids`. Only there is looked.
        ids: of all rows behind each other.
        count: the most rows that are looked at.
        seed: of the choice.
    """
    long = pieces[pieces[:, 2] - pieces[:, 1] >= LONGEST]
    rows = np.unique(long[:, 0])
    generator = np.random.default_rng(seed)
    counts = np.arange(LONGEST - 1) >= PROMPT - 1
    readings = []
    for row in generator.permutation(rows)[:count]:
        begin, end = long[long[:, 0] == row, 1:].T
        room = end - begin - LONGEST + 1  # places where a stretch may begin, of each piece
        behind = np.cumsum(room)
        place = int(generator.integers(0, behind[-1]))
        piece = int(np.searchsorted(behind, place, "right"))
        start = int(begin[piece] + place - (behind[piece] - room[piece]))
        stretch = ids[start : start + LONGEST].tolist()
        readings.append(Reading(stretch[1:], stretch[0], 0, counts))
    return Probes(readings, len(np.unique(pieces[:, 0])) - len(rows))


def continued(scorer: Scorer, wanted: Probes) -> list[bool]:
    """Of each stretch, whether the model goes on with it word for word."""
    hits: list[Counts] = scorer.greedy(wanted.readings)
    return [bool(hit.all()) for hit in hits]


def summary(
    train: Probes,
    held: Probes,
    *,
    base: tuple[Sequence[bool], Sequence[bool]],
    tuned: tuple[Sequence[bool], Sequence[bool]],
) -> dict[str, Any]:
    """Rates, and the difference in differences: what the tuned model recites of its training beyond what is usual.

    Args:
        train: stretches of training rows.
        held: stretches of held-out rows.
        base: whether the base goes on with each of `train`, and of `held`.
        tuned: likewise.
    """
    rates = {
        side: {"base": _rate(before), "tuned": _rate(after)}
        for side, before, after in zip(("train", "held_out"), base, tuned, strict=True)
    }
    changes = [None if None in pair.values() else pair["tuned"] - pair["base"] for pair in rates.values()]  # type: ignore[operator]
    return {
        "prompt_tokens": PROMPT, "continued_tokens": CONTINUED,
        "rows": {"train": len(train.readings), "held_out": len(held.readings)},
        "too_short": {"train": train.too_short, "held_out": held.too_short},
        "rates": rates,
        "excess": None if changes[0] is None or changes[1] is None else changes[0] - changes[1],
    }  # fmt: skip


def _rate(hits: Sequence[bool]) -> float | None:
    return sum(hits) / len(hits) if hits else None


def longest_span(generated: Sequence[Sequence[int]], tokens: Tokens) -> int | None:
    """Tokens of the longest stretch that a generated text shares with a training row; None where none was generated."""
    if not generated:
        return None
    rows = (tokens.ids[start:end] for start, end in pairwise(tokens.starts.tolist()))
    return max(found.longest.length if found.longest else 0 for found in copied_spans(generated, rows))
