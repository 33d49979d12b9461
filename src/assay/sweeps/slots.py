"""The places where runs work at the same time: cores and GPUs, none of them given out twice.

The rule, for `sweep.workers`:

- On GPUs a run has one GPU to itself: as many workers as GPUs that may be used, or fewer if fewer are asked for.
- On processors `auto` is one run at a time on all cores. Runs side by side take each other's memory bandwidth, so that
  their timings cannot be compared; whoever wants all results sooner asks for more workers.
- A number is taken as asked, but never more workers than cores, nor than there are runs, nor more than fit: what
  the runs are predicted to need at once must be within the share of the free memory that one plan may fill.
"""

from __future__ import annotations

import heapq
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from assay.core.errors import MachineError
from assay.core.words import count

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS")
LISTING_SECONDS = 60.0  # that the driver has to list its GPUs


@dataclass(frozen=True)
class Slot:
    """A worker's own cores, by number, and its GPU, as CUDA_VISIBLE_DEVICES names it; None without one.

    `bound`: to these cores; without it to none, and it has as many threads.
    """

    cores: tuple[int, ...]
    gpu: str | None = None
    bound: bool = True

    def environment(self, given: Mapping[str, str]) -> dict[str, str]:
        """The variables of a process that works here: no library starts more threads than there are cores."""
        own = dict(given)
        for name in THREADS:
            asked = own.get(name, "")
            own[name] = str(min(int(asked), len(self.cores)) if asked.isdigit() and int(asked) else len(self.cores))
        if self.gpu is not None:
            own["CUDA_VISIBLE_DEVICES"] = self.gpu
        return own

    @property
    def threads(self) -> int:
        """How many threads a process that works here has; a plan made here is for so many."""
        return int(self.environment(os.environ)["OMP_NUM_THREADS"])

    def __str__(self) -> str:
        first, last = self.cores[0], self.cores[-1]
        cores = f"core {first}" if len(self.cores) == 1 else f"cores {first}-{last}"
        if not self.bound:
            cores = count(len(self.cores), "core")
        elif last - first >= len(self.cores):
            cores = "cores " + ",".join(map(str, self.cores))
        return cores if self.gpu is None else f"GPU {self.gpu}, {cores}"


def gpus_here() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them; without torch.

    Raises:
        MachineError: the driver does not answer.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        named = [name.strip() for name in visible.split(",")]
        return named[: named.index("-1")] if "-1" in named else [name for name in named if name]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        said = subprocess.run([tool, "-L"], capture_output=True, text=True, check=False, timeout=LISTING_SECONDS)
    except subprocess.TimeoutExpired:
        raise MachineError(
            f"nvidia-smi -L has not answered within {LISTING_SECONDS:.0f} s, so the GPUs are not known",
            where=tool,
            fix="see to the driver, or set CUDA_VISIBLE_DEVICES= (to nothing) to leave GPUs out",
        ) from None
    return gpus_in(said.stdout) if said.returncode == 0 else []


def gpus_in(listing: str) -> list[str]:
    """The devices in what `nvidia-smi -L` prints: whole GPUs, or the MIG parts of those that are divided."""
    found: list[str] = []
    parts: list[str] = []
    for kind, name in re.findall(r"^\s*(GPU|MIG) .*\(UUID: ([\w-]+)\)\s*$", listing, re.MULTILINE):
        (parts if kind == "MIG" else found).append(name)
    return parts or found


def share_out(
    wish: int | Literal["auto"], *, runs: int, cores: Sequence[int], gpus: Sequence[str] = (), bound: bool = True
) -> list[Slot]:
    """Places for `runs` runs, by the rule above; memory is looked at once there are plans (`fitting`).

    Args:
        wish: `sweep.workers`.
        gpus: those that the runs are to train on; empty for runs on processors.
        bound: whether the runs are bound to their cores.
    """
    asked = (len(gpus) or 1) if wish == "auto" else wish
    workers = max(1, min(asked, runs, len(cores), len(gpus) or asked))
    each, more = divmod(len(cores), workers)
    slots, start = [], 0
    for number in range(workers):
        end = start + each + (number < more)
        slots.append(Slot(tuple(cores[start:end]), gpus[number] if gpus else None, bound))
        start = end
    return slots


def fitting(needs: Iterable[int], budget: int) -> int:
    """How many runs fit into `budget` bytes at once, whichever they are; at least one: its own plan says if it fits."""
    total, count = 0, 0
    for need in sorted(needs, reverse=True):
        total += need
        if total > budget:
            break
        count += 1
    return max(1, count)


def makespan(seconds: Iterable[float], workers: int) -> float:
    """When the last of these runs ends, in seconds, each begun in this order by the worker that is first free."""
    free = [0.0] * workers
    for one in seconds:
        heapq.heapreplace(free, free[0] + one)
    return max(free)
