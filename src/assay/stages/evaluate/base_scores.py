"""The base's scores: shared by runs that measure the same base on the same texts, and checked before each use."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
import tokenizers
import torch
import transformers

from assay.core.console import Console
from assay.core.errors import GuardError
from assay.core.files import sha256_json
from assay.core.store import Store
from assay.model.attention import NAME as ATTENTION
from assay.model.score import Nats, Reading, Scorer
from assay.stages.evaluate import measure

STAGE = "base-scores"
SCORING = 2  # raised when the same model and texts would be scored otherwise
FILE = "scores.parquet"
RESCORED = 16  # stored base scores that are scored anew as a check
BOS_RULE = "own prefix, else beginning-of-text token, else end-of-text token"


def base_scores(
    judge: Scorer,
    readings: Sequence[Reading],
    *,
    base_hash: str,
    setting: dict[str, Any],
    store: Store,
    console: Console,
) -> tuple[list[Nats], float | None]:
    """Each text's nats per token under the base, and how far stored ones are off now.

    Args:
        judge: the base's scorer.
        readings: what is scored.
        base_hash: of its weights.
        setting: whatever else decides the scores: dtype, device, threads, processor.

    Returns:
        The scores, and the mean change of the texts scored again in bits per byte; None where nothing was stored.

    Raises:
        GuardError: `a-a-control`: the stored scores are not what was stored.
    """
    key = _key(judge, readings, base_hash, setting)
    if not store.has(STAGE, key):
        scores = measure.score_with_progress(judge, readings, "scoring the base", console)
        frame = pl.DataFrame({"nats": [n.tolist() for n in scores]}, schema={"nats": pl.List(pl.Float64)})
        store.put(STAGE, key, lambda target: frame.write_parquet(target / FILE))
        return scores, None
    folder = store.path(STAGE, key)
    if store.damaged(STAGE, key):
        raise GuardError(
            "a-a-control",
            "the stored base scores are not what was stored",
            where=str(folder),
            fix="delete this folder: the base is then scored again",
        )
    scores = [row.to_numpy() for row in pl.read_parquet(folder / FILE)["nats"]]
    some = _to_rescore(readings)
    console.note(f"base scores: from an earlier run; {len(some)} of {len(scores)} texts are scored again as a check")
    again = judge.score_readings([readings[i] for i in some])
    return scores, measure.mean_change_bpb([scores[i] for i in some], again, [readings[i].size for i in some])


def _key(judge: Scorer, readings: Sequence[Reading], base_hash: str, setting: dict[str, Any]) -> str:
    tokenizer = judge.tokenizer
    versions = [torch.__version__, transformers.__version__, tokenizers.__version__]
    return sha256_json(
        [
            SCORING, base_hash, tokenizer.sha256, tokenizer.template_sha256, [_hash(reading) for reading in readings],
            judge.window, judge.stride, judge.row_tokens, BOS_RULE, ATTENTION, setting, versions,
        ]
    )  # fmt: skip


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
