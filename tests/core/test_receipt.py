"""What a receipt sets side by side, and what later plans learn from it."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.core.files import write_json
from assay.core.receipt import learned, receipts_with, write_receipt
from assay.core.rundir import RunDir


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    run = RunDir(tmp_path / "runs" / "e" / "r")
    write_json(run.identity, {"seed": 1, "base": {"spec": "b"}, "adapter": {"kind": "lora"}})
    plan = {
        "machine": {"processor": "p", "gpu": None},
        "decisions": {"precision": {"value": "fp32"}},
        "memory": {"predicted": {"total": 120}, "uncorrected": 100},
        "time": {"uncorrected_tokens_per_s": 10.0, "predicted_train_seconds": 1000.0},
    }
    write_json(run.plan, plan)
    write_json(run.stages, {})
    return run


LIKE = {"hardware.cpu": "p", "hardware.gpu": None, "dtype": "fp32", "base.spec": "b", "adapter.kind": "lora"}


def test_a_training_that_ended_early_teaches_its_own_pace(run: RunDir) -> None:
    write_json(run.training, {"tokens": 300, "seconds": 60.0, "peak_memory": 150})
    write_receipt(run)
    receipts = receipts_with(run.path.parents[1], LIKE)
    pace = learned(receipts, "train_seconds")
    assert pace is not None
    assert (pace.ratio, pace.runs) == (2.0, 1)  # 300 tokens at 10 a second take 30 s, and took 60
    memory = learned(receipts, "memory")
    assert memory is not None
    assert memory.ratio == 1.5


@pytest.mark.parametrize(("others", "learns"), [(0.1, True), (None, True), (0.9, False)])
def test_a_training_that_shared_the_machine_teaches_no_pace(run: RunDir, others: float | None, learns: bool) -> None:
    write_json(run.training, {"tokens": 300, "seconds": 60.0, "peak_memory": 150})
    write_json(run.stages, {"train": {"seconds": 61.0, "others": others, "cores": 2}})
    receipt = write_receipt(run)
    assert receipt["others"] == {"train": others}
    receipts = receipts_with(run.path.parents[1], LIKE)
    assert (learned(receipts, "train_seconds") is not None) is learns
    assert learned(receipts, "memory") is not None  # memory is each process's own


def test_a_gpus_memory_is_what_is_compared(run: RunDir) -> None:
    write_json(run.training, {"tokens": 300, "seconds": 60.0, "peak_memory": 150, "peak_gpu_memory": 90})
    receipt = write_receipt(run)
    assert receipt["measured"]["memory"] == 90
    assert receipt["peak_memory"] == 150


def test_nothing_is_learned_from_other_methods_or_machines(run: RunDir) -> None:
    write_json(run.training, {"tokens": 300, "seconds": 60.0, "peak_memory": 150})
    write_receipt(run)
    runs = run.path.parents[1]
    assert learned(receipts_with(runs, LIKE | {"adapter.kind": "full"}), "memory") is None
    assert learned(receipts_with(runs, LIKE | {"hardware.cpu": "another"}), "memory") is None
    assert learned(receipts_with(runs / "none", LIKE), "memory") is None
