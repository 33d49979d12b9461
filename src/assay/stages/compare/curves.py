"""How the entries' trainings went: loss and development texts against step, tokens and time, over their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import accumulate
from typing import Any

from assay.core.files import read_json, read_lines
from assay.stages.compare.measured import Measured

Json = dict[str, Any]

MOST_POINTS = 30  # of a line: a longer one is drawn from means over equal stretches of steps


@dataclass(frozen=True)
class Point:
    """One point of an entry's line: after `step` steps, `tokens` tokens and `seconds` s of training steps.

    `value` is the mean over the entry's seeds, `low` and `high` are the least and the greatest of them.
    """

    step: float
    tokens: float
    seconds: float
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Curves:
    """A line per entry: bits per byte of the development texts, and training loss in nats per token.

    `no_dev` and `no_loss` say why the lines of different entries may not be held against each other; such lines are
    not there.
    """

    dev: tuple[tuple[Point, ...], ...]
    loss: tuple[tuple[Point, ...], ...]
    no_dev: str | None
    no_loss: str | None

    def as_json(self) -> Json:
        """All points, as plain JSON values."""
        return asdict(self)


def curves(sides: Sequence[Sequence[Measured]]) -> Curves:
    """The lines of all entries."""
    empty: tuple[tuple[Point, ...], ...] = ((),) * len(sides)
    no_dev, no_loss = _other_dev_texts(sides), None
    if len({run.settings["tokenizer_sha256"] for side in sides for run in side}) > 1:
        no_loss = "the loss is per token, and the tokenizers differ"
    elif _other_texts("train", sides):
        no_loss = "the training texts are not the same"
    read = [[_lines(run) for run in side] for side in sides]
    return Curves(
        empty if no_dev else tuple(_over_seeds([run["dev"] for run in side]) for side in read),
        empty if no_loss else tuple(_thinned(_over_seeds([run["loss"] for run in side])) for side in read),
        no_dev,
        no_loss,
    )


def _other_dev_texts(sides: Sequence[Sequence[Measured]]) -> str | None:
    """Why the development texts' numbers may not stand beside each other."""
    if _other_texts("dev", sides):
        return "the development texts are not the same"
    if len({side[0].settings["window"] for side in sides}) > 1:
        return "the development texts were read in other windows"
    return None


def _other_texts(split: str, sides: Sequence[Sequence[Measured]]) -> bool:
    """Whether the entries have other texts in a split."""
    manifests = [side[0].run.manifest for side in sides]
    splits = [(read_json(path) if path.is_file() else {}).get("splits", {}) for path in manifests]
    return len({part.get(split, {}).get("sha256") for part in splits}) > 1


def _lines(run: Measured) -> dict[str, dict[float, tuple[float, float, float]]]:
    """The run's lines: step → (tokens, seconds, value) of `loss` and of `dev`."""
    rows = [line for line in read_lines(run.run.metrics) if isinstance(line, dict)]
    steps = [row for row in rows if "loss" in row]
    tokens = dict(zip((row["step"] for row in steps), accumulate(row["tokens"] for row in steps), strict=True))
    seconds = dict(zip((row["step"] for row in steps), accumulate(row["seconds"] for row in steps), strict=True))
    tokens[0] = seconds[0] = 0

    def line(key: str) -> dict[float, tuple[float, float, float]]:
        return {
            row["step"]: (tokens[row["step"]], seconds[row["step"]], row[key])
            for row in rows
            if isinstance(row.get(key), int | float) and math.isfinite(row[key]) and row["step"] in tokens
        }

    return {"loss": line("loss"), "dev": line("dev_bpb")}


def _over_seeds(runs: Sequence[dict[float, tuple[float, float, float]]]) -> tuple[Point, ...]:
    """The means over seeds at the steps that all of them came to."""
    steps = sorted(set.intersection(*(set(run) for run in runs)))
    points = []
    for step in steps:
        tokens, seconds, values = zip(*(run[step] for run in runs), strict=True)
        points.append(Point(step, _mean(tokens), _mean(seconds), _mean(values), min(values), max(values)))
    return tuple(points)


def _thinned(points: Sequence[Point]) -> tuple[Point, ...]:
    """At most `MOST_POINTS` points, each the mean of as many consecutive ones."""
    k = math.ceil(len(points) / MOST_POINTS)
    if k <= 1:
        return tuple(points)
    groups = [points[i : i + k] for i in range(0, len(points), k)]
    columns = [zip(*(astuple(point) for point in group), strict=True) for group in groups]
    return tuple(Point(*map(_mean, column)) for column in columns)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
