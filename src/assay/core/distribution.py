"""How numbers are spread, as the profiles of texts and of tokens tell it: bins, counts and quantiles as JSON values."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_BINS = 20
_WIDE = 20  # greatest ÷ least above which the bins are spaced by ratio


def quantiles(values: Ints) -> dict[str, float] | None:
    """The quantiles by their share, to two decimals; None of no values."""
    if not len(values):
        return None
    return {str(q): round(v, 2) for q, v in zip(QUANTILES, np.quantile(values, QUANTILES).tolist(), strict=True)}


def bin_edges(values: Ints) -> list[int]:
    """At most 20 bins of whole numbers, from the least to the greatest: of equal width, or spaced by ratio where the
    values lie far apart. No bins of no values."""
    if not len(values):
        return []
    low, high = int(values.min()), int(values.max())
    if high > _WIDE * max(1, low) and high - low >= _BINS:
        inner = np.round(np.geomspace(max(1, low), high, _BINS)).astype(np.int64)
        return sorted({low, high, *inner.tolist()})
    step = -(-(high - low + 1) // _BINS)
    return list(range(low, high + step + 1, step))


def histogram(values: Ints, edges: list[int] | None = None) -> dict[str, list[int]]:
    """``{"edges", "counts"}``, over these edges or `bin_edges` of the values."""
    edges = bin_edges(values) if edges is None else edges
    return {"edges": edges, "counts": np.histogram(values, edges)[0].tolist() if edges else []}
