"""What this machine does well, found by measuring: precision, threads, memory in use."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import psutil
import torch

from assay.core.machine import out_of_memory
from assay.core.usage import forget_peak, give_back, peak_memory
from assay.model.devices import FASTER
from assay.model.load import DTYPES
from assay.model.memory import RUNTIME

USABLE = 0.95  # of a GPU's free memory is planned for
SAMPLE_SECONDS = 0.002  # between two looks at this process's memory
# rows, inner width and columns of the product that is timed: a small model's on a CPU, one that fills a GPU elsewhere
PRODUCT = {"cpu": (256, 576, 1536), "mps": (2048, 2048, 2048), "cuda": (4096, 4096, 4096)}


def keep_to(threads: int) -> None:
    """Measure on so many threads, as the training will run: torch does not know of a container's share."""
    torch.set_num_threads(threads)


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
    """GFLOP/s of a matrix product of a usual shape: the best of many, in a fifth of a second or so.

    One at least after the first, which is slower than all others. Other work on the machine only ever makes one slower.
    """
    rows, inner, columns = PRODUCT[device]
    a = torch.ones(rows, inner, dtype=dtype, device=device)
    b = torch.ones(inner, columns, dtype=dtype, device=device)
    (a @ b).sum().item()
    best, until = float("inf"), time.perf_counter() + 0.2
    for _ in range(100):
        start = time.perf_counter()
        (a @ b).sum().item()
        best = min(best, time.perf_counter() - start)
        if time.perf_counter() > until:
            break
    return 2 * rows * inner * columns / best / 1e9


@contextmanager
def _one_thread() -> Iterator[None]:
    """On a CPU no thread waits for another: beside other work that would be nearly all that is measured."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@cache
def _short_against_fp32(device: str) -> tuple[str, float, float]:
    """The shorter format that this device has, and the GFLOP/s of fp32 and of it; measured once in a process.

    fp16, whose loss must be scaled, is tried only on a CUDA device whose tensor cores have no bf16.
    """
    short = "fp16" if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False) else "bf16"
    with _one_thread():
        return short, matmul_speed(DTYPES["fp32"], device), matmul_speed(DTYPES[short], device)


def choose_precision(wish: str, device: str) -> dict[str, Any]:
    """The number format, with the reason: as asked, or a shorter one where this machine is measurably faster in it."""
    if wish != "auto":
        return {"value": wish, "why": "as the experiment says", "measured": None}
    short, wide, narrow = _short_against_fp32(device)
    ratio = narrow / wide
    why = (
        f"{short} matrix products run at {ratio:.2f} times the speed of fp32 here; "
        f"{short} is taken from {FASTER} times on"
    )
    measured = {"fp32_gflops": round(wide, 1), f"{short}_gflops": round(narrow, 1)}
    return {"value": short if ratio >= FASTER else "fp32", "why": why, "measured": measured}


def speed(precision: dict[str, Any], device: str) -> float:
    """GFLOP/s of matrix products in the chosen precision, on all threads."""
    return matmul_speed(DTYPES[precision["value"]], device)


def free_memory(device: str) -> int:
    """Bytes of a GPU's memory that a training may fill; Apple's share of the main memory is the system's to say."""
    if device == "cuda":
        return int(USABLE * torch.cuda.mem_get_info()[0])
    return int(torch.mps.recommended_max_memory())


def memory_now() -> int:
    """Bytes of main memory that this process holds."""
    held: int = psutil.Process().memory_info().rss
    return held


def highest(device: str) -> int:
    """The most memory held so far, in bytes: of a GPU what torch has reserved there and its context, which is assumed;
    elsewhere what this process has held. 0 where the system does not say.
    """
    if device == "cuda":
        return RUNTIME["cuda"] + int(torch.cuda.max_memory_reserved())
    return peak_memory() or 0


@dataclass(frozen=True)
class Probed:
    """What a probe found: the micro-batch that fits, and each one that was tried with its peak.

    `tried` maps tokens of a micro-batch to bytes at its peak, None where memory ran out.
    """

    micro_tokens: int
    peak: int | None
    fits: bool
    tried: dict[int, int | None]


@contextmanager
def peak_of(device: str) -> Iterator[Callable[[], int]]:
    """Measure the most memory held inside the block, in bytes; ask within it or after it.

    Of a GPU it is `highest`, elsewhere what this process holds: exact where the system counts it anew, else sampled.
    """
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        yield partial(highest, device)
        return
    if forget_peak():
        yield partial(highest, device)
        return
    most, done = memory_now(), threading.Event()

    def look() -> None:
        nonlocal most
        while not done.wait(SAMPLE_SECONDS):
            most = max(most, memory_now())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield lambda: max(most, memory_now())
    finally:
        done.set()
        watcher.join()


def probe_step(work: Callable[[], object], forget: Callable[[], None], *, device: str) -> int | None:
    """The peak in bytes of one micro-batch's forward and backward pass; None where memory ran out.

    Weights and optimizer are untouched, as nothing is updated; all random states are put back.

    Args:
        work: the two passes over one micro-batch, which add to the gradients.
        forget: drops all gradients.
    """
    forked = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices=forked), peak_of(device) as peak:
        try:
            work()
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise
            found = None
        else:
            found = peak()
    forget()
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    else:
        give_back()
    return found


def settle(
    micro_tokens: int,
    longest: int,
    work: Callable[[int], object],
    forget: Callable[[], None],
    *,
    device: str,
    later: int,
    budget: int,
) -> Probed:
    """Halve the micro-batch until its fullest row fits; at a single sequence it stays, whatever it needs.

    Args:
        micro_tokens: the plan's.
        longest: tokens of the longest sequence: a micro-batch is not made smaller.
        work: forward and backward pass over the fullest row of micro-batches of so many tokens.
        forget: drops all gradients.
        later: bytes that training holds and the probe does not: the optimizer's state before its first step.
        budget: bytes that may be filled.
    """
    tried: dict[int, int | None] = {}
    while True:
        peak = probe_step(partial(work, micro_tokens), forget, device=device)
        tried[micro_tokens] = None if peak is None else peak + later
        fits = peak is not None and peak + later <= budget
        if fits or micro_tokens <= longest:
            return Probed(micro_tokens, tried[micro_tokens], fits, tried)
        micro_tokens = max(longest, micro_tokens // 2)
