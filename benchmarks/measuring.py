"""What the benchmarks share: the time and the peak of memory of a process, and an interval of ratios."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import Any


class Failed(Exception):
    """A measured process ended with an error."""


class Stopped(Failed):
    """It took too long and was stopped."""


def measured(command: Sequence[str], *, every: float = 0.05, limit: float | None = None) -> dict[str, Any]:
    """Run a command: the JSON object on its last line of output, with `wall` (seconds) and `memory` (bytes).

    `memory` is the peak, over samples taken `every` so many seconds, of the proportional set size of the process and
    its children. (A page that several processes share counts once; the sum of resident sizes would count it for each.)

    Raises:
        Failed: it ended with an error.
        Stopped: it took longer than `limit` seconds.
    """
    import psutil

    start, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out, tempfile.TemporaryFile("w+", encoding="utf-8") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err)
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, _memory(watched))
            if limit is not None and time.perf_counter() - start > limit:
                _stop(watched)
                process.wait()
                raise Stopped(f"stopped after {limit:.0f} s")
            time.sleep(every)
        wall = time.perf_counter() - start
        out.seek(0)
        err.seek(0)
        said = out.read().splitlines()
        if process.returncode or not said:
            last = [line for line in [*said, *err.read().splitlines()] if line.strip()][-1:]
            raise Failed(f"ended with {process.returncode}: {''.join(last)} ({' '.join(command)})")
    return {**json.loads(said[-1]), "wall": wall, "memory": peak}


def _memory(process: Any) -> int:
    import psutil

    total = 0
    try:
        for each in (process, *process.children(recursive=True)):
            try:
                total += each.memory_full_info().pss
            except psutil.Error:  # it has ended meanwhile
                continue
    except psutil.Error:
        return 0
    return total


def _stop(process: Any) -> None:
    import psutil

    for each in (*process.children(recursive=True), process):
        try:
            each.kill()
        except psutil.Error:  # it has ended meanwhile
            continue


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % t interval (NaN, where there is one value)."""
    import numpy as np
    from scipy.stats import t

    mean, count = float(np.mean(values)), len(values)
    half = float(t.ppf(0.975, count - 1) * np.std(values, ddof=1) / count**0.5) if count > 1 else float("nan")
    return mean, mean - half, mean + half
