"""Looks at the development texts while training: bits per byte with an interval. The test texts are never looked at."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel

from assay.core.files import sha256_text
from assay.data.excerpts import excerpts
from assay.data.items import Item
from assay.model.score import Scorer, item_readings
from assay.stats.intervals import Undefined, mean, t_interval
from assay.text.tokens import Encoder

DEV_BYTES, DEV_GROUPS = 8000, 8  # of dev text are scored at each look, of so many groups at least

Look = Callable[[], dict[str, Any]]


def dev_items(items: list[Item], limit: int | None) -> list[Item]:
    """A little of each group, in a fixed order of groups, until there is enough text and are enough groups."""
    groups = sorted({item.group for item in items}, key=lambda group: sha256_text(group))
    per_group = max(200, DEV_BYTES // len(groups))
    chosen: list[Item] = []
    for number, group in enumerate(groups):
        if number >= DEV_GROUPS and sum(item.size for item in chosen) >= DEV_BYTES:
            break
        own = [item for item in items if item.group == group]
        chosen += excerpts(own, min(per_group, limit) if limit else per_group, seed=0)
    return chosen


def looker(
    model: PreTrainedModel | PeftModel, encoder: Encoder, items: list[Item], *, window: int, row_tokens: int
) -> Look:
    """A function that scores `items` with the model as it is then, and gives what `scored` makes of it."""
    scorer = Scorer(model, encoder.tokenizer, window=window, stride=window, row_tokens=row_tokens)
    readings = item_readings(items, encoder)
    bytes_of: dict[str, int] = {}
    for item, reading in zip(items, readings, strict=True):
        bytes_of[item.group] = bytes_of.get(item.group, 0) + reading.size

    def look() -> dict[str, Any]:
        nats = dict.fromkeys(bytes_of, 0.0)
        for item, found in zip(items, scorer.score_readings(readings), strict=True):
            nats[item.group] += float(found.sum())
        return scored(nats, bytes_of)

    return look


def scored(nats: dict[str, float], sizes: dict[str, int]) -> dict[str, Any]:
    """The mean over groups of their bits per byte, and its 95 % t interval.

    Args:
        nats: −log p, summed over each group's tokens.
        sizes: bytes of each group; one without any is left out.

    Returns:
        ``dev_bpb`` (None where it is not finite), ``dev_low``, ``dev_high`` (None with ``dev_why`` where there is no
        interval, as under two groups), ``dev_groups``, ``dev_bytes``.
    """
    values = [nats[group] / math.log(2) / size for group, size in sizes.items() if size]
    centre, interval = mean(values), t_interval(values)
    found: dict[str, Any] = {
        "dev_bpb": None if isinstance(centre, Undefined) else centre, "dev_low": None, "dev_high": None,
        "dev_groups": len(values), "dev_bytes": sum(sizes.values()),
    }  # fmt: skip
    if isinstance(interval, Undefined):
        return {**found, "dev_why": f"no interval: {interval.reason}"}
    return {**found, "dev_low": interval.low, "dev_high": interval.high}
