"""What this machine does well, found by measuring: precision, threads, memory in use."""

from __future__ import annotations

import os
import time
from typing import Any

import psutil
import torch

FASTER = 1.2  # bf16 must beat fp32 by this much to be chosen: it costs accuracy


def threads() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def pick_device(wish: str) -> str:
    """`cuda`, `mps` or `cpu`: the wish, or with `auto` the best that is there."""
    if wish != "auto":
        return wish
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def gpu_name(device: str) -> str | None:
    """What the accelerator calls itself; None on a CPU."""
    if device == "cuda":
        return str(torch.cuda.get_device_name())
    return "Apple GPU" if device == "mps" else None


def available(device: str) -> bool:
    """Whether torch sees such a device."""
    if device == "cuda":
        return bool(torch.cuda.is_available())
    return device == "cpu" or bool(torch.backends.mps.is_available())


def matmul_speed(dtype: torch.dtype, device: str) -> float:
    """GFLOP/s of a matrix product of a small model's shape, the best of a few, in about a tenth of a second."""
    a = torch.ones(256, 576, dtype=dtype, device=device)
    b = torch.ones(576, 1536, dtype=dtype, device=device)
    best = float("inf")
    until = time.perf_counter() + 0.15
    for _ in range(50):
        start = time.perf_counter()
        (a @ b).sum().item()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() > until:
            break
    return 2 * 256 * 576 * 1536 / best / 1e9


def choose_precision(wish: str, device: str) -> dict[str, Any]:
    """fp32 or bf16, with the reason: as asked, or bf16 where this processor is measurably faster in it."""
    if wish != "auto":
        return {"value": wish, "why": "as the experiment says", "measured": None}
    speed = {name: matmul_speed(dtype, device) for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16))}
    ratio = speed["bf16"] / speed["fp32"]
    value = "bf16" if ratio >= FASTER else "fp32"
    why = f"bf16 matrix products run at {ratio:.2f} times the speed of fp32 here; bf16 is taken from {FASTER} times on"
    return {"value": value, "why": why, "measured": {f"{k}_gflops": round(v, 1) for k, v in speed.items()}}


def memory_now() -> int:
    """Bytes of main memory that this process holds."""
    held: int = psutil.Process().memory_info().rss
    return held
