"""The processor has a name, and out of memory is told in all its forms."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from assay.core import machine
from assay.core.machine import cores, limited, out_of_memory, processor


def test_the_processor_has_a_name() -> None:
    assert processor()


@pytest.mark.parametrize(
    ("bound", "quota", "wished", "expected"),
    [
        (4, None, None, 4),
        (4, "max 100000", "", 4),
        (4, "250000 100000", None, 2),  # a thread too many would wait for its share
        (4, "50000 100000", None, 1),
        (4, None, "3", 3),
        (4, None, "2,1", 2),
        (2, "400000 100000", "8", 2),
        (4, "junk", "none", 4),
        (4, None, "0", 4),
    ],
)
def test_the_cores_are_those_that_every_limit_leaves(
    bound: int, quota: str | None, wished: str | None, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(bound)), raising=False)
    monkeypatch.setattr(machine, "_QUOTA", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if wished is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", wished)
    assert cores() == expected
    share = (quota or "").split()[0] if quota else ""
    assert limited() is (share.isdecimal() and int(share) // 100_000 < bound)


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


@pytest.mark.parametrize(
    ("error", "is_it"),
    [
        (MemoryError(), True),
        (OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), True),
        (RuntimeError("DefaultCPUAllocator: not enough memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 8.16 GB, other allocations: 9.70 GB)"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("Invalid buffer size: 18.00 GiB"), True),
        (RuntimeError("shapes do not match"), False),
        (ValueError("not enough memory"), False),
    ],
)
def test_out_of_memory(error: Exception, is_it: bool) -> None:
    assert out_of_memory(error) is is_it
