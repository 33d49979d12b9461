"""Spread of numbers, against NumPy and counts by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.distribution import QUANTILES, bin_edges, histogram, quantiles

numbers = st.lists(st.integers(0, 10**7), min_size=1, max_size=60)


@given(numbers)
def test_every_number_is_in_one_bin(found: list[int]) -> None:
    values = np.array(found)
    edges, counts = histogram(values).values()
    assert sum(counts) == len(found)
    assert len(counts) == len(edges) - 1 <= 21
    assert edges == sorted(set(edges))
    assert edges[0] <= min(found)
    assert edges[-1] >= max(found)


@pytest.mark.parametrize(
    ("values", "edges"),
    [
        ([7], [7, 8]),
        ([2, 4, 9], list(range(2, 11))),
        (list(range(5, 46)), list(range(5, 48, 3))),
    ],
)
def test_few_whole_numbers_have_bins_of_one_width(values: list[int], edges: list[int]) -> None:
    assert bin_edges(np.array(values)) == edges


def test_lengths_far_apart_are_spaced_by_ratio() -> None:
    edges = bin_edges(np.array([10, 100_000]))
    ratios = np.diff(np.log(edges))
    assert (edges[0], edges[-1]) == (10, 100_000)
    assert ratios.std() < 0.05 * ratios.mean()


def test_counts_by_hand():
    assert histogram(np.array([3, 3, 4])) == {"edges": [3, 4, 5], "counts": [2, 1]}
    assert histogram(np.array([5, 15, 25]), [0, 10, 20]) == {"edges": [0, 10, 20], "counts": [1, 1]}


def test_no_numbers_have_neither_bins_nor_quantiles():
    empty = np.zeros(0, np.int64)
    assert quantiles(empty) is None
    assert histogram(empty) == {"edges": [], "counts": []}


def test_quantiles_are_interpolated():
    found = quantiles(np.arange(1, 101))
    assert found is not None
    assert list(found) == [str(share) for share in QUANTILES]
    assert found["0.05"] == pytest.approx(1 + 0.05 * 99)
    assert (found["0.0"], found["0.5"], found["1.0"]) == (1, 50.5, 100)
