"""What the prepared data looks like: counts, lengths, duplicates; as plain JSON values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.data.items import Item
from assay.data.words import words

_BINS = 20
_WIDE = 20  # longest ÷ shortest above which the bins are spaced by ratio
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def profile(splits: Mapping[str, Sequence[Item]]) -> dict[str, Any]:
    """Describe each split.

    Args:
        splits: name → items; empty ones have null where a number would be undefined.

    Returns:
        ``{"schema": 1, "splits": {name: {...}}}`` with, per split: ``rows``, ``groups``, ``bytes`` (UTF-8), ``words``
        (``\\w+``), ``histogram`` of row lengths ``{"edges": bytes, "counts": rows}`` (edges shared by all splits, a row
        as long as an edge stands in the bin above it, the last bin holds its upper edge too), ``quantiles`` of row
        lengths in bytes, ``longest`` ``{"id", "group", "bytes"}``, ``exact_duplicates`` (rows beyond the first of each
        equal text) and ``non_ascii_share`` (of characters).
    """
    lengths = {name: np.array([item.size for item in items], dtype=np.int64) for name, items in splits.items()}
    edges = _edges(np.concatenate(list(lengths.values())) if lengths else np.zeros(0, dtype=np.int64))
    return {"schema": 1, "splits": {name: _one(items, lengths[name], edges) for name, items in splits.items()}}


def _one(items: Sequence[Item], lengths: npt.NDArray[np.int64], edges: list[int]) -> dict[str, Any]:
    characters = sum(len(item.text) for item in items)
    ascii_characters = sum(len(item.text.encode("ascii", "ignore")) for item in items)
    longest = max(items, key=lambda item: (item.size, item.id), default=None)
    quantiles = np.quantile(lengths, _QUANTILES).tolist() if len(lengths) else []
    return {
        "rows": len(items),
        "groups": len({item.group for item in items}),
        "bytes": int(lengths.sum()),
        "words": sum(len(words(item.text)) for item in items),
        "histogram": {"edges": edges, "counts": np.histogram(lengths, edges)[0].tolist() if edges else []},
        "quantiles": {str(q): round(v, 2) for q, v in zip(_QUANTILES, quantiles, strict=True)} if quantiles else None,
        "longest": {"id": longest.id, "group": longest.group, "bytes": longest.size} if longest else None,
        "exact_duplicates": sum(count - 1 for count in Counter(item.text for item in items).values()),
        "non_ascii_share": round(1 - ascii_characters / characters, 6) if characters else None,
    }


def _edges(lengths: npt.NDArray[np.int64]) -> list[int]:
    """At most 20 bins of whole bytes from the shortest to the longest row, by ratio when the lengths are wide apart."""
    if not len(lengths):
        return []
    low, high = max(1, int(lengths.min())), max(2, int(lengths.max()))
    if low >= high:
        return [high - 1, high]
    spaced = np.geomspace if high / low > _WIDE else np.linspace
    inner = np.round(spaced(low, high, _BINS + 1)).astype(np.int64)
    return sorted({low, high, *inner.tolist()})
