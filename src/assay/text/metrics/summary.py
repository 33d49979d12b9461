"""The table of all text metrics: each arm beside the reference, with intervals over prompts and paired differences.

It is made of plain JSON values:

- ``metrics``: for each name ``unit``, ``better``, ``equal_length``, ``arms`` (a cell of each, and of ``reference``) and
  ``difference`` (the cell of tuned - base, paired by unit). A cell has ``mean``, ``low``, ``high``, the number of
  ``units`` behind it, how many were ``left_out`` since they have no value, and the ``reason`` for what is None.
- ``equal_length``: ``words``, and of texts ``kept``, ``too_short``, ``reference`` and ``reference_too_short``.
- ``corpus``: for each arm ``texts``, ``distinct-1`` to ``distinct-3`` and ``compression ratio`` of all its cut outputs
  together; of the reference as many texts, evenly drawn, none where it has fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any, Literal

from assay.core.optional import installed
from assay.text.metrics import diversity, style
from assay.text.metrics.equal import equal_length
from assay.text.metrics.words import Text

Direction = Literal["higher", "lower", "reference", "none"]
# Turns one value per unit into a dataclass with a `low` and a `high`, or with the `reason` why there is none.
Interval = Callable[[Sequence[float]], Any]
_Arms = dict[str, tuple[list[Text], Sequence[str]]]  # of each arm its texts, and the unit of each
REFERENCE = "reference"


@dataclass(frozen=True)
class Metric:
    """A number of one output.

    Args:
        of: the number; None where it does not exist.
        unit: of the number.
        better: whether more is better, less is better, the nearer to the reference texts the better, or neither.
        missing: why a text may have none.
        equal_length: it depends on the length of a text, so that it is compared at equal length only.
        needs: the package of the extra `metrics` that it needs.
    """

    of: Callable[[Text], float | None]
    unit: str
    better: Direction
    missing: str = "there is no word"
    equal_length: bool = False
    needs: str | None = None


def _distinct(n: int) -> Metric:
    return Metric(
        lambda text: diversity.distinct([text.words], n), f"different ÷ all {n}-grams of words", "reference",
        f"fewer than {n} words", equal_length=True,
    )  # fmt: skip


def _mark(kind: str) -> Metric:
    return Metric(
        lambda text: (style.punctuation(text.text) or {}).get(kind), "per 1,000 characters", "reference", "no character"
    )


_ENGLISH = "not known to be English, or without a word"
METRICS: dict[str, Metric] = {
    "words": Metric(lambda text: len(text.words), "words", "reference"),
    "characters": Metric(lambda text: len(text.text), "characters", "reference"),
    "sentences": Metric(lambda text: len(text.sentences), "sentences", "reference"),
    "sentence length": Metric(style.sentence_length, "words per sentence", "reference"),
    "distinct-1": _distinct(1),
    "distinct-2": _distinct(2),
    "distinct-3": _distinct(3),
    "repeated 4-grams": Metric(
        lambda text: diversity.repeated(text.words), "share of 4-grams of words", "lower", "fewer than 4 words",
        equal_length=True,
    ),
    "compression ratio": Metric(
        lambda text: diversity.compression_ratio([text.text]), "bytes ÷ compressed bytes", "reference", "no character",
        equal_length=True,
    ),
    "MTLD": Metric(
        lambda text: diversity.mtld(text.words), "words", "reference",
        f"fewer than {diversity.MTLD_WORDS} words, or none that comes twice", equal_length=True,
    ),
    "loops": Metric(lambda text: diversity.loop(text.words) is not None, "share of outputs", "lower"),
    "ends in a loop": Metric(
        lambda text: (found := diversity.loop(text.words)) is not None and found.at_end, "share of outputs", "lower"
    ),
    "known words": Metric(
        style.known_words, "share of words", "reference", "no vocabulary was given, or there is no word"
    ),
    "reading ease": Metric(
        style.reading_ease, "points (about 100 is easy, 0 hard)", "reference", _ENGLISH, needs=style.SYLLABLES
    ),
    "grade level": Metric(style.grade_level, "years of school", "reference", _ENGLISH, needs=style.SYLLABLES),
    **{kind: _mark(kind) for kind in style.MARKS},
}  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """A metric that is no function of one text, such as the stop rate or the share that followed an instruction.

    Args:
        values: for each arm one number per output, None where there is none.
        unit: of the number.
        better: see `Metric`.
        missing: why an output may have none.
    """

    values: Mapping[str, Sequence[float | None]]
    unit: str
    better: Direction
    missing: str


def table(
    outputs: Mapping[str, Sequence[str]],
    units: Sequence[str],
    reference: Sequence[str] = (),
    *,
    interval: Interval,
    base: str = "base",
    tuned: str = "tuned",
    reference_units: Sequence[str] | None = None,
    language: str | None = None,
    vocabulary: frozenset[str] | None = None,
    measured: Mapping[str, Measured] | None = None,
) -> dict[str, Any]:
    """Every metric of every arm.

    A mean is one over units (the prompts, or what groups them) of equal weight: first the outputs of one unit are
    averaged, then the units. What depends on length is measured on outputs cut to equal length, and on reference texts
    of that length.

    Args:
        outputs: for each arm its outputs, new text only, for the same prompts and seeds in the same order.
        units: the unit of each output: its prompt, or the document that this comes from.
        reference: held-out or training texts of the kind that is wanted.
        interval: the estimator of intervals, as `assay.stats.intervals.t_interval`.
        base: the arm that the difference is taken from.
        tuned: the arm whose difference is taken.
        reference_units: the unit of each reference text, such as its document; without it each is one.
        language: the code of the language that is wanted.
        vocabulary: of the reference author, for ``known words``; from other texts than `reference`.
        measured: further metrics.

    Returns:
        ``metrics``, ``equal_length`` and ``corpus``, as said above.

    Raises:
        ValueError: the arms or the units have different numbers of outputs, or an arm is called ``reference``.
    """
    if REFERENCE in outputs or any(len(texts) != len(units) for texts in outputs.values()):
        raise ValueError(f"each arm needs one output per unit, and none may be called {REFERENCE}")
    equal = equal_length(outputs, reference)
    own = list(map(str, range(len(reference)))) if reference_units is None else reference_units

    def read(texts: Mapping[str, Sequence[str]], units: Sequence[str], own: Sequence[str]) -> _Arms:
        return {
            arm: ([Text(text, language, vocabulary) for text in some], own if arm == REFERENCE else units)
            for arm, some in texts.items()
        }

    whole = read({**outputs, REFERENCE: reference}, units, own)
    kept, own_kept = ([names[k] for k in some] for names, some in ((units, equal.kept), (own, equal.reference_kept)))
    short = read({**equal.arms, REFERENCE: equal.reference}, kept, own_kept)
    pair = (base, tuned)
    rows = {
        name: _measured(metric, short if metric.equal_length else whole, interval, pair)
        for name, metric in METRICS.items()
    }
    for name, further in (measured or {}).items():
        values = {arm: _by_unit(some, units) for arm, some in further.values.items()}
        rows[name] = _row(further, False, further.missing, values, interval, pair)
    return {
        "metrics": rows,
        "equal_length": {
            "words": equal.words, "kept": len(kept), "too_short": equal.too_short,
            "reference": len(own_kept), "reference_too_short": equal.reference_too_short,
        },
        "corpus": {
            arm: _together(texts)
            for arm, texts in {**equal.arms, REFERENCE: _drawn(equal.reference, len(kept))}.items()
        },
    }  # fmt: skip


def _measured(metric: Metric, arms: _Arms, interval: Interval, pair: tuple[str, str]) -> dict[str, Any]:
    if metric.needs is None or installed(metric.needs):
        values = {arm: _by_unit([metric.of(text) for text in texts], names) for arm, (texts, names) in arms.items()}
        return _row(metric, metric.equal_length, metric.missing, values, interval, pair)
    nothing = {arm: _by_unit([None] * len(texts), names) for arm, (texts, names) in arms.items()}
    missing = f"this needs the package {metric.needs}: pip install 'assay[{style.EXTRA}]'"
    return _row(metric, metric.equal_length, missing, nothing, interval, pair)


def _by_unit(values: Sequence[float | None], units: Sequence[str]) -> dict[str, float | None]:
    """The mean of each unit's values, None where it has none."""
    found: dict[str, list[float]] = {unit: [] for unit in units}
    for value, unit in zip(values, units, strict=True):
        if value is not None:
            found[unit].append(float(value))
    return {unit: fmean(some) if some else None for unit, some in found.items()}


def _row(
    metric: Metric | Measured, equal_length: bool, missing: str, values: Mapping[str, Mapping[str, float | None]],
    interval: Interval, pair: tuple[str, str],
) -> dict[str, Any]:  # fmt: skip
    base, tuned = (values.get(arm, {}) for arm in pair)
    paired = {unit: _minus(tuned[unit], before) for unit, before in base.items() if unit in tuned}
    return {
        "unit": metric.unit,
        "better": metric.better,
        "equal_length": equal_length,
        "arms": {arm: _cell(list(some.values()), missing, interval) for arm, some in values.items()},
        "difference": _cell(list(paired.values()), missing, interval),
    }


def _minus(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else after - before


def _cell(values: Sequence[float | None], missing: str, interval: Interval) -> dict[str, Any]:
    there = [value for value in values if value is not None]
    left_out = len(values) - len(there)
    ends = asdict(interval(there)) if there else {"reason": missing if left_out else "there are no texts to measure"}
    return {
        "mean": fmean(there) if there else None, "low": ends.get("low"), "high": ends.get("high"),
        "units": len(there), "left_out": left_out, "reason": ends.get("reason"),
    }  # fmt: skip


def _together(texts: Sequence[str]) -> dict[str, Any]:
    """How much the texts of an arm resemble each other: one number for all of them has no interval."""
    found = [Text(text).words for text in texts]
    return {
        "texts": len(texts),
        **{f"distinct-{n}": diversity.distinct(found, n) for n in (1, 2, 3)},
        "compression ratio": diversity.compression_ratio(texts),
    }


def _drawn(texts: Sequence[str], count: int) -> list[str]:
    """So many of the texts, evenly; none where there are fewer."""
    return [texts[k * len(texts) // count] for k in range(count)] if len(texts) >= count else []
