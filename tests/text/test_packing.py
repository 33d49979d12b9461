from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.text.packing import pack


def best_fit_decreasing(lengths: list[int], size: int) -> int:
    """The number of sequences, one row after the other."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else size) - length)
    return len(rooms)


@given(st.integers(1, 40).flatmap(lambda size: st.tuples(st.just(size), st.lists(st.integers(1, size), max_size=60))))
def test_rows_are_packed_as_one_by_one(case: tuple[int, list[int]]) -> None:
    size, lengths = case
    sequences = pack(lengths, size)
    assert len(sequences) == best_fit_decreasing(lengths, size)
    assert sorted(row for rows in sequences for row in rows.tolist()) == list(range(len(lengths)))
    assert all(len(rows) and sum(lengths[row] for row in rows) <= size for rows in sequences)


def test_a_hand_calculation() -> None:
    assert [rows.tolist() for rows in pack([5, 2, 3, 1], 5)] == [[0], [2, 1], [3]]
    assert pack([], 5) == []


@pytest.mark.parametrize("lengths", [[0], [6], [3, -1]])
def test_a_length_out_of_bounds_is_our_own_fault(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="outside of 1 to 5"):
        pack(lengths, 5)


def test_a_hundred_thousand_rows_are_little_work() -> None:
    lengths = np.minimum(np.random.default_rng(0).lognormal(5.7, 0.6, 100_000).astype(int) + 1, 1024)
    sequences = pack(lengths, 1024)
    assert lengths.sum() / (1024 * len(sequences)) > 0.99
