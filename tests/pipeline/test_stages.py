"""A run keeps the threads of its plan, and says so where they have to share cores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from assay.core.console import Console
from assay.core.files import read_json, write_json
from assay.core.machine import cores
from assay.core.rundir import RunDir
from assay.pipeline.stages import _say_where_threads_are_many


@dataclass
class Elsewhere:
    """Of a command's work only where it speaks."""

    console: Console


@pytest.mark.parametrize(("more", "said"), [(1, True), (0, False)])
def test_more_threads_than_cores_are_told(
    make_run: Callable[..., RunDir], capsys: pytest.CaptureFixture[str], more: int, said: bool
) -> None:
    run = make_run(until="plan")
    plan = read_json(run.plan)
    plan["decisions"]["threads"] = cores() + more
    write_json(run.plan, plan)
    work: Any = Elsewhere(Console())
    _say_where_threads_are_many(run, work)
    told = capsys.readouterr().err
    assert (f"planned for {cores() + 1} threads" in told) is said
    assert read_json(run.plan) == plan  # decided once
