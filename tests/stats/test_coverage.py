"""The simulation of benchmarks/coverage.py in small, and that its quick methods are what they are called."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.stats

from assay.stats.intervals import Interval, t_interval
from assay.stats.tests import sign_flip_p

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "coverage.py"


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    spec = importlib.util.spec_from_file_location("coverage_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("groups", [6, 12])
@pytest.mark.parametrize("distribution", ["normal", "clustered"])
def test_the_verdicts_interval_covers(bench: ModuleType, distribution: str, groups: int) -> None:
    _, found, _ = bench.covered(distribution, groups, 500, 1, methods=("verdict", "t"))
    verdict, by_t = found["verdict"], found["t"]
    assert 0.93 - 3 * verdict["error"] <= verdict["share"] <= 0.98 + 3 * verdict["error"]
    assert by_t["share"] == pytest.approx(0.95, abs=3.5 * (0.95 * 0.05 / 500) ** 0.5)
    assert by_t["share"] <= verdict["share"]
    assert 1 <= verdict["length"] < 1.2


def test_skewed_differences_are_covered_better_than_by_t(bench: ModuleType) -> None:
    _, found, _ = bench.covered("exponential", 10, 500, 1, methods=("verdict", "t"))
    assert found["t"]["share"] + 0.015 < found["verdict"]["share"]


def test_chunks_are_no_groups(bench: ModuleType) -> None:
    found = bench.chunk_level(4000, 1)
    assert found["chunks"]["share"] == pytest.approx(0.28, abs=0.03)
    assert found["documents"]["share"] == pytest.approx(0.05, abs=0.015)


def test_the_quick_methods_are_the_known_ones(bench: ModuleType) -> None:
    generator = np.random.default_rng(4)
    x = generator.exponential(size=(3, 9))
    found = {name: bench.METHODS[name](x, generator) for name in bench.METHODS}
    for number, row in enumerate(x.tolist()):
        by_t = t_interval(row)
        assert isinstance(by_t, Interval)
        assert (found["t"][0][number], found["t"][1][number]) == pytest.approx((by_t.low, by_t.high))
        theirs = scipy.stats.bootstrap((row,), np.mean, n_resamples=20_000, method="percentile", rng=generator)
        ends = theirs.confidence_interval
        near = pytest.approx((ends.low, ends.high), abs=0.1 * by_t.half_width)
        assert (found["percentile"][0][number], found["percentile"][1][number]) == near
        # The sign-flip test rejects what lies outside its inversion, and nothing within.
        low, high = found["sign flips"][0][number], found["sign flips"][1][number]
        for mean, rejected in ((low - 1e-6, True), (low + 1e-6, False), (high - 1e-6, False), (high + 1e-6, True)):
            p = sign_flip_p([value - mean for value in row])
            assert isinstance(p, float)
            assert (p < 0.05) == rejected
    skewness = scipy.stats.skew(x, axis=1, bias=False)
    moved = found["Johnson"][0] - found["t"][0]
    assert moved == pytest.approx(skewness * x.std(axis=1, ddof=1) / (6 * 9))
    # Hall's transformation of the ends gives Student's quantiles back (Hall 1992, formula for the mean).
    error, t = x.std(axis=1, ddof=1) / 3, scipy.stats.t.ppf(0.975, 8)
    a = skewness / (6 * 3)
    for end, sign in zip(found["Hall"], (1, -1), strict=True):
        value = (x.mean(axis=1) - end) / error
        assert value + 2 * a * value**2 + 4 * a**2 * value**3 / 3 + a == pytest.approx(np.full(3, sign * t))


def test_the_page_has_the_results(bench: ModuleType) -> None:
    file = max((SCRIPT.parent / "results").glob("coverage-*.json"), key=lambda path: path.stem[-10:])
    cells = {(c["groups"], c["distribution"]): c["methods"] for c in json.loads(file.read_text())["coverage"]}
    page = (SCRIPT.parents[1] / "docs" / "statistics.md").read_text(encoding="utf-8")
    for groups in bench.GROUPS:
        found = [cells[groups, name] for name in bench.DISTRIBUTIONS]
        shown = [f"{100 * one['verdict']['share']:.1f} ({100 * one['t']['share']:.1f})" for one in found]
        assert f"| {groups} | {' | '.join(shown)} |" in page
