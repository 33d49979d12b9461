"""How the entries' trainings went: loss and development texts against step, tokens and time, over their seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from itertools import accumulate
from typing import Any

from assay.core.files import read_json, read_lines
from assay.core.scales import dev_scale
from assay.core.words import listed
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
    runs = [run for side in sides for run in side]
    no_dev, no_loss = _no_dev(runs), _no_loss(runs)
    read = [[_lines(run) for run in side] for side in sides]
    return Curves(
        empty if no_dev else tuple(_over_seeds([run["dev"] for run in side]) for side in read),
        empty if no_loss else tuple(_thinned(_over_seeds([run["loss"] for run in side])) for side in read),
        no_dev,
        no_loss,
    )


def _no_dev(runs: Sequence[Measured]) -> str | None:
    """Why the development texts' numbers may not stand beside each other."""
    scales = [dev_scale(_texts("dev", run), _window(run), run.run.metrics) for run in runs]
    if len({scale.texts for scale in scales}) > 1:
        return "the development texts are not the same"
    if len({scale.window for scale in scales}) > 1:
        return f"the development texts were read in other windows ({_windows(runs)})"
    if len({scale.part for scale in scales if scale.part}) > 1:
        return "other parts of the development texts were read"
    return None


def _no_loss(runs: Sequence[Measured]) -> str | None:
    """Why the training losses may not stand beside each other."""
    if len({run.settings["tokenizer_sha256"] for run in runs}) > 1:
        return "the loss is per token, and the tokenizers differ"
    if len({_texts("train", run) for run in runs}) > 1:
        return "the training texts are not the same"
    if len({_window(run) for run in runs}) > 1:
        return f"the training texts were read in other windows ({_windows(runs)})"
    if len({run.identity["train"].get("loss_on") for run in runs}) > 1:
        return "the loss is not of the same tokens (train.loss_on)"
    return None


def _texts(split: str, run: Measured) -> str | None:
    """The hash of a split's texts."""
    path = run.run.manifest
    parts = (read_json(path) if path.is_file() else {}).get("splits", {})
    digest: str | None = parts.get(split, {}).get("sha256")
    return digest


def _window(run: Measured) -> int | None:
    """How many tokens the training reads at a time: the training texts and, at its looks, the development texts."""
    length: int | None = run.identity["train"].get("max_length")
    return length


def _windows(runs: Sequence[Measured]) -> str:
    return f"train.max_length is {listed(list(dict.fromkeys(str(_window(run)) for run in runs)))}"


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
