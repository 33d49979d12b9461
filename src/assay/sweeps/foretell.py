"""What the runs of a sweep will take: each is brought to its plan, which is the plan that it is then trained by.

A plan's memory and time are real once the texts are prepared and counted. They are prepared for good, and shared:
what comes before a plan costs the sweep nothing that it would not cost anyway.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.files import read_json
from assay.core.rundir import RunDir
from assay.sweeps import child
from assay.sweeps.carry_out import Command, Crew
from assay.sweeps.roster import Record, Row
from assay.sweeps.slots import Slot


@dataclass(frozen=True)
class Foretold:
    """What is left of one run.

    Args:
        train_seconds: of the training, with its interval, 0 once it is done; None where the speed is not known (`how`).
        whole_seconds: of the whole training, done or not.
        rest_seconds: of all else, as earlier runs of this experiment on this base took here; None where there are none.
        memory: bytes at the peak: of the GPU where it trains on one.
    """

    base: str
    device: str
    threads: int | None
    memory: int
    train_seconds: float | None
    low_seconds: float | None
    high_seconds: float | None
    whole_seconds: float | None
    rest_seconds: float | None
    how: str

    @property
    def seconds(self) -> float | None:
        """Of all that is left, as far as it is known."""
        return None if self.train_seconds is None else self.train_seconds + (self.rest_seconds or 0.0)


def foretold(row: Row) -> Foretold | None:
    """What the record holds of a run's prediction."""
    return Foretold(**row.predicted) if row.predicted else None


def foretell(record: Record, slot: Slot, console: Console, *, command: Command = child.command) -> list[Row]:
    """Plan every run that is not done as the worker of this slot will carry it out, and read what the plans say.

    Runs that have no plan yet get one in one process together; a plan for another number of cores is made anew
    where the training has not begun.

    Returns:
        The runs that came to no plan. They have failed, with the reason, and need not be begun. Those of which nothing
        is known, as the process ended early, have a reason too; begun by itself each shows what is wrong with it.
    """
    lost, silent, why = list[Row](), list[Row](), None
    rows = [row for row in record.rows if row.state != "done"]
    bare = [row for row in rows if _unplanned(row.directory(record.runs_dir), slot.threads)]
    if bare:
        with Crew(record, command) as crew:
            crew.start(bare, slot, until="plan", name="plan")
            done = crew.wait()
        lost, silent, why = done.failed, done.silent, done.why
        if silent:
            console.note(f"sweep: planning ended early, and not every run has a plan; see {record.log('plan')}")
    for row in rows:
        run = row.directory(record.runs_dir)
        row.predicted = asdict(_read(run)) if run and run.finished("plan") else None
        if row.predicted is None and any(row is one for one in silent):
            row.failure = why
        elif row.state != "failed":  # what an earlier attempt at a plan left
            row.failure = None
    record.save()
    return lost


def _unplanned(run: RunDir | None, threads: int) -> bool:
    """Whether a run has no plan for so many threads; another is forgotten where nothing has been trained by it."""
    if run is None or run.finished("plan") is None:
        return True
    if _kept(run, threads):
        return False
    try:
        with run.lock():
            if _kept(run, threads):  # another process has planned or begun to train it just now
                return False
            run.begin("plan")
    except InputError:  # another process is at work on it, and by this plan
        return False
    return True


def _kept(run: RunDir, threads: int) -> bool:
    """Whether a run's plan stays: something was trained by it, or it is for so many threads."""
    if run.finished("train") or any(run.checkpoints.glob("[!.]*")):
        return True
    return run.finished("plan") is not None and read_json(run.plan)["decisions"]["threads"] in (threads, None)


def _read(run: RunDir) -> Foretold:
    plan = read_json(run.plan)
    base: str = read_json(run.identity)["base"]["spec"]
    time, trained = plan["time"], run.finished("train") is not None
    seconds = {
        name: 0.0 if trained else time[key]
        for name, key in (
            ("train_seconds", "predicted_train_seconds"), ("low_seconds", "low_seconds"),
            ("high_seconds", "high_seconds"),
        )
    }  # fmt: skip
    return Foretold(
        base=base, device=plan["decisions"]["device"], threads=plan["decisions"]["threads"],
        memory=plan["memory"]["predicted"]["total"], whole_seconds=time["predicted_train_seconds"],
        rest_seconds=_rest(run.path.parent, base, plan["machine"]),
        how=time["how"], **seconds,
    )  # fmt: skip


def _rest(folder: Path, base: str, machine: dict[str, Any]) -> float | None:
    """The median of what finished runs of the experiment on this base and machine took beside their steps."""
    found = []
    for path in folder.glob("[!.]*/receipt.json"):
        try:
            receipt = read_json(path)
            same = (receipt["base"]["spec"], receipt["hardware"]["cpu"], receipt["hardware"]["gpu"])
            trained, wall = receipt["measured"]["train_seconds"], sum(receipt["wall_seconds"].values())
        except (InputError, KeyError, TypeError):  # another run's damage is for its own commands to tell
            continue
        # a stage that was begun again has loaded twice, and of what was killed not all the time is known
        whole = all(times == 1 for times in receipt.get("attempts", {}).values())
        if same == (base, machine["processor"], machine["gpu"]) and trained and whole:
            found.append(wall - trained)
    return statistics.median(found) if found else None
