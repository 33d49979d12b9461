"""How much a text repeats itself: distinct n-grams, loops, compressibility, lexical diversity.

A unit is a word or a token id: anything that can be compared. All of these depend on the length of a text, so they
are compared at equal length only (`assay.text.metrics.equal`). None stands for a number that does not exist.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

LONGEST_UNIT = 50  # units in the cycle of a loop, at most
LOOP_COPIES = 3  # how often it must stand in a row
LOOP_LENGTH = 20  # units that a loop covers at least: three times "no" is none
MTLD_WORDS = 50  # below, MTLD depends on the length (Zenker and Kyle 2021, Assessing Writing 47)
MTLD_RATIO = 0.72  # the type-token ratio that ends a factor (McCarthy and Jarvis 2010)


def distinct(texts: Sequence[Sequence[Hashable]], n: int) -> float | None:
    """Distinct-n: different n-grams ÷ all n-grams, over all texts together; of one text alone as ``distinct([it], n)``.

    No n-gram crosses from one text to the next. None where no text has n units. Li et al. 2016 (arXiv 1510.03055)
    divide by the units instead; this is the common form, which reaches 1. Distinct-1 is the type-token ratio.
    """
    grams = [tuple(units[k : k + n]) for units in texts for k in range(len(units) - n + 1)]
    return len(set(grams)) / len(grams) if grams else None


def repeated(units: Sequence[Hashable], n: int = 4) -> float | None:
    """The share of n-grams that repeat an earlier one of the same text: seq-rep-n of arXiv 1908.04319; None below n."""
    share = distinct([units], n)
    return None if share is None else 1 - share


@dataclass(frozen=True)
class Loop:
    """A stretch of a text that says one thing over and over; all in units.

    Args:
        start: where it begins.
        length: how much of the text it is.
        period: how long the repeated thing is.
        at_end: whether it reaches the end of the text: generation did not get out of it.
    """

    start: int
    length: int
    period: int
    at_end: bool


def loop(units: Sequence[Hashable]) -> Loop | None:
    """The longest loop; None where there is none.

    A loop of period p (1 to 50) is a stretch in which each unit equals the one p before it, that holds at least three
    whole copies and at least 20 units; the last copy may be cut off. Of equally long ones the shortest period, and then
    the first, is told.
    """
    numbers: dict[Hashable, int] = {}
    ids = np.array([numbers.setdefault(unit, len(numbers)) for unit in units], np.int64)
    found: Loop | None = None
    for period in range(1, min(LONGEST_UNIT, len(ids) // LOOP_COPIES) + 1):
        same = np.concatenate([[False], ids[period:] == ids[:-period], [False]])
        edges = np.flatnonzero(same[1:] != same[:-1])
        starts, lengths = edges[::2], edges[1::2] - edges[::2] + period
        if not len(lengths):
            continue
        best = int(lengths.argmax())
        start, length = int(starts[best]), int(lengths[best])
        if length >= max(LOOP_COPIES * period, LOOP_LENGTH, found.length + 1 if found else 0):
            found = Loop(start, length, period, start + length == len(ids))
    return found


def compression_ratio(texts: Sequence[str]) -> float | None:
    """Bytes of the texts, joined by blanks, in UTF-8 ÷ their bytes after DEFLATE: higher is more redundant.

    arXiv 2403.00553, there with gzip, whose header is 12 bytes longer than zlib's. None where there is no text.
    """
    data = " ".join(texts).encode("utf-8", "replace")
    return len(data) / len(zlib.compress(data, 9)) if data else None


def mtld(units: Sequence[Hashable]) -> float | None:
    """Measure of textual lexical diversity: units that it takes, on average, to wear the type-token ratio down to 0.72.

    The mean of both directions, with the factor that the text breaks off counted in part: McCarthy and Jarvis 2010,
    Behavior Research Methods 42, 381-392. None below 50 units, and where no unit comes twice.
    """
    if len(units) < MTLD_WORDS or len(set(units)) == len(units):
        return None
    return (len(units) / _factors(units) + len(units) / _factors(units[::-1])) / 2


def _factors(units: Sequence[Hashable]) -> float:
    factors, count, ratio = 0.0, 0, 1.0
    seen: set[Hashable] = set()
    for unit in units:
        count += 1
        seen.add(unit)
        ratio = len(seen) / count
        if ratio <= MTLD_RATIO:
            factors, count, ratio = factors + 1, 0, 1.0
            seen.clear()
    return factors + (1 - ratio) / (1 - MTLD_RATIO)  # of the one that is broken off, the part that was reached
