"""Whether a timing was taken alone: how many cores other processes kept busy meanwhile.

Times of runs that shared the machine are true and say little: beside each other they would compare neighbours.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import psutil

from assay.core.guard import limits
from assay.core.rundir import attempts

SHORTEST = 0.5  # seconds: in less the system's ticks (10 ms for each core) count too coarsely
_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")  # of psutil.cpu_times; guests are within user


@dataclass(frozen=True)
class _Moment:
    """Seconds: of the clock, that all cores were busy, and that this process and its children used of them."""

    wall: float
    busy: float
    own: float


class Others:
    """Counts from the moment that it is made."""

    def __init__(self) -> None:
        self._since = _now()

    def cores(self) -> float | None:
        """The mean number of cores that other processes kept busy since then.

        None where the system does not say, or too little time has gone by. Where it counts less than we used
        ourselves, as in a sandbox with counters of its own, it does not say.
        """
        then, now = self._since, _now()
        wall = now.wall - then.wall
        if wall < SHORTEST:
            return None
        others = ((now.busy - then.busy) - (now.own - then.own)) / wall
        return round(max(0.0, others), 3) if others > -limits("timing.others").passes else None

    def record(self) -> dict[str, Any]:
        """What is written beside a timing: `others`, and of how many cores of the machine."""
        return {"others": self.cores(), "cores": psutil.cpu_count()}


def _now() -> _Moment:
    times = psutil.cpu_times()
    busy = sum(getattr(times, name, 0.0) for name in _BUSY)
    own = sum(os.times()[:4])  # with the children that have ended
    for child in psutil.Process().children(recursive=True):
        try:
            own += sum(child.cpu_times()[:4])
        except psutil.Error:  # it ended just now
            continue
    return _Moment(time.perf_counter(), busy, own)


def alone(record: Mapping[str, Any]) -> bool | None:
    """Whether a timing may be held against another: other work kept next to nothing busy meanwhile.

    Args:
        record: what holds the timing, with `others` beside it: a stage's record, an arm's cost.

    Returns:
        None where that is not known.
    """
    others = record.get("others")
    return None if others is None else limits("timing.others").status(others) == "pass"


def shared(record: Mapping[str, Any]) -> str | None:
    """That a timing is not comparable, in words; None unless it is known that it is not."""
    if alone(record) is not False:
        return None
    of = f" of {record['cores']} cores" if record.get("cores") else " cores"
    return f"not comparable: it shared the machine, other work kept {record['others']:.1f}{of} busy"


def how(stage: Mapping[str, Any]) -> str:
    """What to bear in mind of a finished stage's time, in words: several attempts, a shared machine; or nothing."""
    again = f"in {attempts(stage)} attempts" if attempts(stage) > 1 else None
    return "; ".join(filter(None, (again, shared(stage))))
