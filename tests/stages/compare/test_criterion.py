"""One criterion of several runs: means, intervals and what they are made of, by hand."""

from __future__ import annotations

import math

import pytest

from assay.stages.compare.criterion import Kind, from_cells, from_runs, from_units
from assay.stats.intervals import Interval, t_interval

KIND = Kind("quality", "Quality", "bits per byte", False)


def over(*values: float) -> Interval:
    found = t_interval(values)
    assert isinstance(found, Interval)
    return found


def test_units_that_every_run_has_are_averaged_over_the_runs() -> None:
    units = from_units(KIND, [{"a": 1.0, "b": 3.0, "only here": 9.0}, {"b": 5.0, "a": 3.0}])
    assert (units.value, units.n, dict(units.units), units.by_seed) == (3.0, 2, {"a": 2.0, "b": 4.0}, (2.0, 4.0))
    assert units.seed_sd == pytest.approx(math.sqrt(2))


def test_no_common_unit_is_no_value_and_one_has_no_interval() -> None:
    assert from_units(KIND, [{"a": 1.0}, {"b": 1.0}]).reason == "no unit was measured in every run"
    alone = from_units(KIND, [{"a": 1.0}])
    assert (alone.value, alone.low, alone.high) == (1.0, None, None)


def test_cells_have_the_spread_of_units_and_of_seeds() -> None:
    cells = [{"mean": 0.5, "low": 0.4, "high": 0.6}, {"mean": 0.7, "low": 0.5, "high": 0.8}]
    made, half = from_cells(KIND, cells), over(0.5, 0.7).half_width
    assert (made.value, made.inner) == (pytest.approx(0.6), pytest.approx((0.45, 0.7)))
    assert (made.low, made.high) == pytest.approx((0.6 - math.hypot(0.15, half), 0.6 + math.hypot(0.1, half)))
    assert (from_cells(KIND, cells, bounds=(0, 1)).low, from_cells(KIND, cells, bounds=(0, 1)).high) == (0, 1)
    assert from_cells(KIND, [cells[0], {"mean": 0.5, "low": None, "high": None}]).low is None
    single = from_cells(KIND, cells[:1])
    assert (single.low, single.high) == (single.inner) == pytest.approx((0.4, 0.6))


def test_one_number_of_each_run_has_the_spread_of_the_runs() -> None:
    runs = from_runs(KIND, [50.0, 60.0, 70.0])
    assert (runs.value, runs.low, runs.high) == (60.0, over(50, 60, 70).low, over(50, 60, 70).high)
    assert from_runs(KIND, [1.0, 5.0]).low == 0  # an amount is not below 0
    assert (from_runs(KIND, [1.0]).low, from_runs(KIND, [1.0]).seed_sd) == (None, None)
