"""What earlier attempts at a stage took that did not finish it: they are part of what a run cost.

An attempt that ends with an error or an interrupt writes down its seconds. One that is killed writes nothing: of it
counts what it left on record, which of a training is the time until its steps began, and its steps. Of another stage
that is nothing, so the time of killed attempts is at least what is told.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from assay.core.files import read_lines
from assay.core.rundir import RunDir


@dataclass(frozen=True)
class Earlier:
    """How many attempts at a stage there were since it was last finished, and their seconds of the wall clock."""

    attempts: int = 0
    seconds: float = 0.0


def earlier(run: RunDir, stage: str) -> Earlier:
    """The attempts before the one that is about to begin; call it before this one touches any file."""
    events = read_lines(run.events)
    own = [at for at, event in enumerate(events) if event.get("stage") == stage]
    began = next((at for at in reversed(own) if events[at]["event"] in ("stage started", "stage finished")), None)
    if began is None or events[began]["event"] == "stage finished":
        return Earlier()
    before = Earlier(**events[began].get("earlier", {}))
    told = [events[at]["seconds"] for at in own if at > began and events[at]["event"] == "stage broken off"]
    seconds = told[-1] if told else _on_record(run, stage, events[began:])
    return Earlier(before.attempts + 1, round(before.seconds + seconds, 3))


def _on_record(run: RunDir, stage: str, events: list[dict[str, Any]]) -> float:
    """What a killed attempt is known to have taken at least; its events begin with its own beginning."""
    trained = [event for event in events if event["event"] in ("training started", "training resumed")]
    if stage != "train" or not trained:
        return 0.0
    loading = dt.datetime.fromisoformat(trained[-1]["time"]) - dt.datetime.fromisoformat(events[0]["time"])
    after = trained[-1]["step"] if trained[-1]["event"] == "training resumed" else -1
    steps: float = sum(line["seconds"] for line in read_lines(run.metrics) if line["step"] > after)
    return loading.total_seconds() + steps
