"""How many cores other processes kept busy while something was timed."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import namedtuple
from typing import Any

import pytest

from assay.core import others as module
from assay.core.others import Others, _now, alone, shared

Times = namedtuple("Times", "user nice system idle iowait irq softirq steal guest guest_nice")


class Machine:
    """Counters that a test moves by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.wall, self.own = 100.0, 5.0
        self.system = Times(*[0.0] * 10)
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.wall)
        monkeypatch.setattr(module.psutil, "cpu_times", lambda: self.system)
        monkeypatch.setattr(module.os, "times", lambda: os.times_result((self.own, 0.0, 0.0, 0.0, 0.0)))
        monkeypatch.setattr(module.psutil, "cpu_count", lambda: 4)

    def go_on(self, wall: float, own: float, **busy: float) -> None:
        self.wall, self.own = self.wall + wall, self.own + own
        self.system = self.system._replace(**{k: getattr(self.system, k) + v for k, v in busy.items()})


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_what_is_busy_and_not_ours_is_the_others(machine: Machine) -> None:
    seen = Others()
    machine.go_on(10, own=8, user=12, nice=1, system=2, irq=1, softirq=1, steal=1, idle=50, iowait=9, guest=5)
    assert seen.record() == {
        "others": 1.0,
        "cores": 4,
    }  # (18 - 8) / 10: idle and waiting are not busy, guests are users


@pytest.mark.parametrize(
    ("wall", "own", "busy", "expected"),
    [
        (10, 10, 10, 0.0),
        (10, 10.3, 10, 0.0),  # rounding
        (10, 10, 5, None),  # a sandbox that counts for itself
        (0.4, 0.0, 1, None),  # too short for the system's ticks
    ],
)
def test_where_it_cannot_be_told_it_is_not(
    machine: Machine, wall: float, own: float, busy: float, expected: float | None
) -> None:
    seen = Others()
    machine.go_on(wall, own, user=busy)
    assert seen.cores() == expected


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not tell of children that have ended")
def test_what_a_child_uses_is_ours_while_it_runs_and_once_it_has_ended() -> None:
    spin = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\ninput()"
    before = _now().own
    with subprocess.Popen([sys.executable, "-c", spin], stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        running = _now().own - before
        child.communicate("\n")
    ended = _now().own - before
    assert 0.45 <= running <= ended < running + 0.4


def test_the_system_counts_what_this_process_uses() -> None:
    before = _now()
    end = time.process_time() + 0.6
    while time.process_time() < end:
        pass
    after = _now()
    assert after.own - before.own == pytest.approx(0.6, abs=0.1)
    assert after.busy - before.busy > 0.5


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"others": 0.25}, True),
        ({"others": 0.26}, False),
        ({"others": 0.0}, True),
        ({"others": None}, None),
        ({}, None),
    ],
)
def test_a_timing_is_comparable_up_to_a_quarter_of_a_core(record: dict[str, Any], expected: bool | None) -> None:
    assert alone(record) is expected
    assert (shared(record) is not None) is (expected is False)


def test_it_says_so_in_words() -> None:
    told = "not comparable: it shared the machine, other work kept 0.9 of 2 cores busy"
    assert shared({"others": 0.9, "cores": 2}) == told
    assert shared({"others": 0.9}) == told.replace("of 2 cores", "cores")
