"""What the benchmarks compute from their measurements; the measuring itself needs peers and minutes."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.model.devices import DEVICES

FOLDER = Path(__file__).parents[1] / "benchmarks"
NAMES = ("measuring", "our_train_side", "train_vs_trl", "trl_train_side")


@pytest.fixture(scope="module")
def modules() -> Iterator[dict[str, ModuleType]]:
    """The scripts as modules, as they import each other: from their own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.syspath_prepend(str(FOLDER))
        yield {name: __import__(name) for name in NAMES}
        for name in NAMES:
            sys.modules.pop(name)


@pytest.fixture(scope="module")
def bench(modules: dict[str, ModuleType]) -> ModuleType:
    return modules["train_vs_trl"]


@given(rows=st.lists(st.integers(), min_size=1, max_size=30, unique=True), data=st.data())
def test_a_steps_rows_in_parts(modules: dict[str, ModuleType], rows: list[int], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(rows)))
    parts = modules["trl_train_side"].parts_of(rows, count)
    assert [row for part in parts for row in part] == rows
    assert len(parts) == count
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1
    assert 0 not in sizes


def test_the_first_step_is_projected_once(bench: ModuleType) -> None:
    assert bench.projected([10.0, 2.0, 4.0], steps=8) == 10 + 7 * 3
    assert bench.projected([10.0, 2.0], steps=2) == 12


def test_interval_is_students(modules: dict[str, ModuleType]) -> None:
    # t(0.975, 3) = 3.182446; the standard deviation of 1, 2, 3, 4 is sqrt(5 / 3)
    mean, low, high = modules["measuring"].interval([1.0, 2.0, 3.0, 4.0])
    half = 3.182446 * math.sqrt(5 / 3) / 2
    assert (mean, low, high) == pytest.approx((2.5, 2.5 - half, 2.5 + half), rel=1e-6)


def test_speed_counts_real_tokens(bench: ModuleType) -> None:
    assert bench.speed({"step_tokens": [100, 50], "step_seconds": [2.0, 1.0]}) == 50


def test_bits_per_byte_and_their_differences(bench: ModuleType) -> None:
    first, second = bench.bits({"a": [math.log(2) * 8, 4], "b": [0.0, 9]}), {"a": 1.0, "b": 2.0}
    assert first == pytest.approx({"a": 2.0, "b": 0.0})
    assert bench.differences([first, second], [second, second]) == pytest.approx([0.5, -1.0])
    assert bench.mean_size([0.5, -1.0]) == 0.75


def _pairs(worse: float) -> list[dict[str, Any]]:
    """Four pairs in which ours needs `worse` bits per byte more, give or take a tenth, in each of six chapters."""
    theirs = {f"Chapter {n}": 1.0 + n / 10 for n in range(6)}
    ours = {name: bits + worse * (1.1 if n % 2 else 0.9) for n, (name, bits) in enumerate(theirs.items())}
    scored = {"ours": ours, "theirs": theirs}
    return [{"ratios": {"speed": 4.0 + n / 10, "memory": 2.0}, "bits": scored} for n in range(4)]


def test_a_bench_is_judged_by_its_lower_bound_and_its_held_out_texts(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    found = bench.judged("lora", _pairs(1e-5), noise=1e-5)
    # t(0.975, 3) = 3.182446; the standard deviation of 4.0, 4.1, 4.2, 4.3 is sqrt(1 / 60)
    assert found["speed"]["low"] == pytest.approx(4.15 - 3.182446 * math.sqrt(1 / 60) / 2, rel=1e-6)
    assert found["memory"]["low"] == 2.0
    assert found["held_out"]["mean"] == pytest.approx(1e-5)
    assert found["held_out"]["not_worse"]
    assert found["held_out"]["like"]
    assert "not worse" in capsys.readouterr().out


def test_a_bench_whose_held_out_texts_are_worse_or_unlike(
    bench: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    worse = bench.judged("lora", _pairs(0.01), noise=0.01)["held_out"]
    assert not worse["not_worse"]
    assert worse["like"]
    unlike = bench.judged("lora", _pairs(-0.01), noise=0.001)["held_out"]
    assert unlike["not_worse"]
    assert not unlike["like"]
    assert "UNLIKE" in capsys.readouterr().out


def test_noise_below_what_scores_resolve_counts_as_that(bench: ModuleType) -> None:
    assert bench.judged("full", _pairs(1e-8), noise=1e-9)["held_out"]["like"]


def test_every_setting_of_the_grid_is_tried_and_the_fastest_changed(bench: ModuleType) -> None:
    grid, changes = bench.GRID["cpu", "lora"], bench.CHANGES["cpu"]
    best = next(s for s in grid if (s.precision, s.layout, s.parts) == ("bf16", "packed", 4))

    def attempt(setting: Any) -> dict[str, Any]:
        return {"seconds": 1.0 if setting == best else 0.5 if setting.compiled else 2.0}

    chosen, records = bench.search(grid, changes, attempt)
    assert len(records) == len(grid) + len(changes)
    assert [r["setting"] for r in records[: len(grid)]] == [asdict(setting) for setting in grid]
    assert asdict(chosen) == asdict(best) | {"compiled": True}


def test_a_precision_that_is_far_too_slow_is_tried_once(bench: ModuleType) -> None:
    tried = []

    def attempt(setting: Any) -> dict[str, Any]:
        tried.append(setting.precision)
        if setting.precision != "fp32" or setting.parts == 8:
            raise bench.Stopped("stopped after 9 s")
        return {"seconds": float(setting.parts)}

    chosen, records = bench.search(bench.GRID["cpu", "lora"], [], attempt)
    assert (chosen.precision, chosen.parts) == ("fp32", 1)
    assert [tried.count(name) for name in ("fp32", "bf16", "bf16-weights")] == [8, 1, 1]
    assert sum("far slower" in record.get("failed", "") for record in records) == 14


def test_no_setting_works(bench: ModuleType) -> None:
    def attempt(setting: Any) -> dict[str, Any]:
        raise bench.Failed("ended with 1: no such thing")

    with pytest.raises(bench.Failed, match="no such thing"):
        bench.search(bench.GRID["cpu", "full"], bench.CHANGES["cpu"], attempt)


def test_a_full_fine_tune_is_never_tried_in_weights_that_lose_its_updates(bench: ModuleType) -> None:
    used = {setting.precision for (_, kind), grid in bench.GRID.items() if kind == "full" for setting in grid}
    assert used == {"fp32", "bf16"}


@pytest.mark.parametrize(
    ("name", "key"),
    [("NVIDIA H100 80GB HBM3", "h100"), ("NVIDIA A100-SXM4-80GB", "a100-80"), ("NVIDIA GeForce RTX 4090", "rtx4090")],
)
def test_peak_of_a_gpu(bench: ModuleType, name: str, key: str) -> None:
    assert bench.peak_of(name) == DEVICES[key].speeds["bf16"]


def test_peak_of_a_gpu_that_is_not_known_or_has_no_bf16(bench: ModuleType) -> None:
    assert bench.peak_of("GeForce 256") is None
    assert bench.peak_of("Tesla T4") is None


def test_measured_reads_the_last_line_and_sees_memory(modules: dict[str, ModuleType]) -> None:
    code = "import time; held = bytearray(b'x' * 60_000_000); time.sleep(0.4); print('loading'); print('{\"a\": 1}')"
    found = modules["measuring"].measured([sys.executable, "-c", code])
    assert found["a"] == 1
    assert found["memory"] > 60_000_000
    assert found["wall"] > 0.4


def test_measured_says_why_a_process_failed_and_stops_a_slow_one(modules: dict[str, ModuleType]) -> None:
    measuring = modules["measuring"]
    with pytest.raises(measuring.Failed, match="ended with 3: out of luck"):
        measuring.measured([sys.executable, "-c", "import sys; print('out of luck', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(measuring.Stopped, match="stopped after 0 s"):
        measuring.measured([sys.executable, "-c", "import time; time.sleep(60)"], limit=0.1)


def test_the_experiment_is_one(bench: ModuleType, tmp_path: Path) -> None:
    from assay.config.load import load_experiment

    file = tmp_path / "experiment.yaml"
    for kind in bench.ADAPTER:
        text = bench.EXPERIMENT.format(
            kind=kind, base=json.dumps("scratch:llama-tiny"), text=json.dumps("book.txt"), adapter=bench.ADAPTER[kind],
            rate=bench.RATE[kind], steps=8, batch_tokens=2048, device="cpu", held_out=4000,
        )  # fmt: skip
        file.write_text(text, encoding="utf-8")
        loaded = load_experiment(file).experiment
        assert loaded.adapter.kind == kind
        assert loaded.train.schedule == "constant"
        assert loaded.train.warmup == 0
        assert loaded.data.group is not None
