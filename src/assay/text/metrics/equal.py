"""The equal-length rule: what depends on the length of a text is compared at equal length only (arXiv 2403.00553)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from assay.text.metrics.words import cut, words

FEWEST = 10  # words: a shorter text repeats nothing, whatever wrote it
KEPT = 0.8  # the share of texts that are to be long enough


@dataclass(frozen=True)
class EqualLength:
    """Texts of one length.

    Args:
        words: that length.
        arms: of each arm the cut outputs, in order; as many in each, and the n-th of all come from one prompt and seed.
        kept: which outputs these are.
        too_short: how many were left out, since one of the arms has fewer words there.
        reference: the cut reference texts.
        reference_kept: which reference texts these are.
        reference_too_short: how many of those were left out.
    """

    words: int
    arms: dict[str, list[str]]
    kept: list[int]
    too_short: int
    reference: list[str]
    reference_kept: list[int]
    reference_too_short: int


def equal_length(arms: Mapping[str, Sequence[str]], reference: Sequence[str] = ()) -> EqualLength:
    """Cut outputs and reference texts to one number of words; where an output is too short, its whole prompt goes.

    The length is the largest, and at least 10, that four of five prompts reach in every arm and four of five reference
    texts reach.

    Args:
        arms: the outputs of each arm for the same prompts and seeds, in the same order.
        reference: texts of the kind that is wanted; each is cut on its own.

    Raises:
        ValueError: the arms have different numbers of outputs.
    """
    sizes = [min(map(_size, row)) for row in zip(*arms.values(), strict=True)]
    own = [_size(text) for text in reference]
    length = max(FEWEST, min((_reached(some) for some in (sizes, own) if some), default=FEWEST))
    kept = [number for number, size in enumerate(sizes) if size >= length]
    enough = [number for number, size in enumerate(own) if size >= length]
    return EqualLength(
        length,
        {arm: [cut(outputs[number], length) for number in kept] for arm, outputs in arms.items()},
        kept,
        len(sizes) - len(kept),
        [cut(reference[number], length) for number in enough],
        enough,
        len(own) - len(enough),
    )


def _size(text: str) -> int:
    return len(words(text))


def _reached(sizes: Sequence[int]) -> int:
    """The largest number that at least the share of the sizes reach."""
    return sorted(sizes)[int((1 - KEPT) * len(sizes) + 1e-9)]
