"""Healthy runs fail no guard, and where there is nothing to find nothing is found: the two benchmarks, in small."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import polars as pl
import pytest
from scipy.stats import binom

from assay.core.guard import OF_A_RUN

pytestmark = pytest.mark.long
FOLDER = Path(__file__).parents[2] / "benchmarks"
SIX = ("text-lora", "table-full", "pairs-lora", "alpaca-lora", "sharegpt-full", "template-lora")
SMALL = {"max_bytes_per_group": 400, "decoding": {"max_new_tokens": 24}, "questions": [], "continuations": 8}
DRAWS = 200


@pytest.fixture(scope="module")
def benchmarks() -> Iterator[dict[str, ModuleType]]:
    """The scripts as modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        names = ("healthy_runs", "true_null")
        yield {name: __import__(name) for name in names}
        for name in names:
            sys.modules.pop(name)


@pytest.mark.parametrize("name", SIX)
def test_a_healthy_run_fails_no_guard(benchmarks, plays, tmp_path, name):
    healthy = benchmarks["healthy_runs"]
    one = next(one for one in healthy.ALL if one.name == name)
    run, _ = healthy.run(one, "scratch:llama-tiny", dict(list(plays.items())[:20]), tmp_path, **SMALL)
    assert {r.guard for r in run.guards.records()} == set(OF_A_RUN)
    assert healthy.by_status(run, "fail") == {}
    # raw random weights learn the letters first: that alone is a gain too good for prose, and no answer ends by itself
    assert set(healthy.by_status(run, "warn")) <= {"power", "seeds", "plausibility", "output-hygiene"}


def test_a_true_null_is_no_better_than_chance(benchmarks, finished, tmp_path):
    null = benchmarks["true_null"]
    found = null.null_outcomes(finished.run, tmp_path, draws=DRAWS, seed=0)
    assert found.total() == DRAWS
    for outcome in ("better", "worse"):
        assert found[outcome] <= binom.ppf(null.SURE, DRAWS, null.ONE_SIDED)
    # seven groups: of the 128 patterns of signs at most three give p < .05 on either side
    assert found["better"] <= binom.ppf(null.SURE, DRAWS, 3 / 128)


def test_flipped_signs_change_nothing_but_the_sign(benchmarks, finished):
    texts = pl.read_parquet(finished.run.texts)
    before = (texts["nll_base"] - texts["nll_tuned"]).to_numpy()
    for flipped in benchmarks["true_null"].nulls(texts, 5, seed=1):
        after = (flipped["nll_base"] - flipped["nll_tuned"]).to_numpy()
        assert abs(after) == pytest.approx(abs(before))
        signs = flipped.with_columns((pl.Series(after * before) > 0).alias("same")).group_by("group").agg("same")
        assert all(len(set(own)) == 1 for own in signs["same"].to_list())


def test_the_base_is_not_better_than_itself(benchmarks, finished, tmp_path):
    found = benchmarks["true_null"].a_a(finished.run, tmp_path)
    assert len(found) == 2 * (1 + len(benchmarks["true_null"].ROWS))
    assert "better" not in {one["outcome"] for one in found}
