"""The base's scores: shared by runs that measure the same base on the same texts, and checked before each use."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import partial

import numpy as np

from assay.core.files import sha256_json
from assay.model.score import Nats, Reading, Scorer
from assay.stages.evaluate import measure
from assay.stages.evaluate.shared import SCORES, Shared

RESCORED = 16  # stored base scores that are scored anew as a check
BOS_RULE = "own prefix, else beginning-of-text token, else end-of-text token"


def base_scores(
    judge: Scorer, readings: Sequence[Reading], shared: Shared, *, label: str
) -> tuple[list[Nats], float | None]:
    """Each text's nats per token under the base, and how far stored ones are off now.

    Args:
        judge: the base's scorer.
        readings: what is scored.
        shared: what is stored of this base in this setting.
        label: what is scored, for people.

    Returns:
        The scores, and the mean change of the texts scored again in bits per byte; None where nothing was stored.

    Raises:
        GuardError: `a-a-control`: the stored scores are not what was stored.
    """
    asked = [hash_of(readings), judge.window, judge.stride, judge.row_tokens, BOS_RULE]
    measured = partial(measure.score_with_progress, judge, readings, "scoring the base", shared.console)
    part = shared.once(SCORES, asked, measured, label=label)
    if part.earlier is None:
        return part.value, None
    some = _to_rescore(readings)
    again = judge.score_readings([readings[i] for i in some])
    return part.value, measure.mean_change_bpb([part.value[i] for i in some], again, [readings[i].size for i in some])


def hash_of(readings: Sequence[Reading]) -> str:
    """Of all that is read, and of what counts there."""
    return sha256_json([_hash(reading) for reading in readings])


def _hash(reading: Reading) -> str:
    counts = b"" if reading.counts is None else reading.counts.tobytes()
    return hashlib.sha256(np.asarray([reading.context, *reading.ids], dtype=np.int64).tobytes() + counts).hexdigest()


def _to_rescore(readings: Sequence[Reading]) -> list[int]:
    """The shortest texts: at most `RESCORED` of them, and beyond the first at most a quarter of all bytes."""
    sizes = [reading.size for reading in readings]
    chosen: list[int] = []
    for i in sorted(range(len(sizes)), key=lambda i: (sizes[i], i))[:RESCORED]:
        if chosen and sum(sizes[j] for j in [*chosen, i]) > sum(sizes) / 4:
            break
        chosen.append(i)
    return chosen
