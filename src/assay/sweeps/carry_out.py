"""Runs in processes of their own: started, watched, and written down as they end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType

from assay.core.console import Console, duration
from assay.core.errors import AssayError, Interrupted, MachineError
from assay.core.files import make_folder, read_lines
from assay.core.rundir import now
from assay.sweeps import child
from assay.sweeps.roster import Failure, Record, Row
from assay.sweeps.slots import Slot

LOOK_SECONDS = 0.05  # between two looks at whether a process has ended

Command = Callable[[], list[str]]


@dataclass
class Working:
    """A process at work on one or more runs: `failed` ended with an error, of `silent` it said nothing.

    `why`: what is known of its end, for those; None where the sweep itself ended it.
    """

    process: subprocess.Popen[bytes]
    rows: Sequence[Row]
    slot: Slot
    log: Path
    outcomes: Path
    began: float
    failed: list[Row] = field(default_factory=list)
    silent: list[Row] = field(default_factory=list)
    why: Failure | None = None


class Crew:
    """The processes of a sweep. None outlives the block `with Crew(...)`, and the record is saved at each change.

    Args:
        command: what starts a process that reads its task from standard input.
    """

    def __init__(self, record: Record, command: Command = child.command) -> None:
        self.record, self.command = record, command
        self.working: list[Working] = []

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Interrupt what is still at work, and wait until it has ended; a second interrupt kills."""
        try:
            self._end(signal.SIGTERM)
        except KeyboardInterrupt:
            self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        for one in self.working:
            one.process.send_signal(how)
        for one in self.working:
            one.process.wait()
        for one in self.working:
            self._settle(one, stopping=True)
        self.working.clear()

    def start(self, rows: Sequence[Row], slot: Slot, *, until: str, name: str) -> None:
        """Begin to bring runs to a stage, in a process of their own that writes to the log `name`."""
        record = self.record
        log, outcomes = record.log(name), record.folder / "logs" / f".{name}.outcomes"
        make_folder(log.parent)
        outcomes.unlink(missing_ok=True)
        task = child.Task(
            experiment=record.experiment, text_sha256=record.text_sha256, runs_dir=str(record.runs_dir), until=until,
            runs=[{"key": row.key, "overrides": row.overrides, "varied": _varied(record, row)} for row in rows],
            cores=list(slot.cores) if slot.bound else [], outcomes=str(outcomes),
        )  # fmt: skip
        with log.open("ab") as stream, tempfile.TemporaryFile("w+", encoding="utf-8", dir=log.parent) as told:
            json.dump(asdict(task), told)
            told.seek(0)
            stream.write(f"--- {now()}: {name} until {until}, on {slot}\n".encode())
            stream.flush()
            # a session of its own: Ctrl-C at a terminal reaches the sweep alone, which passes it on once
            process = subprocess.Popen(
                self.command(), stdin=told, stdout=stream, stderr=subprocess.STDOUT,
                env=slot.environment(os.environ), start_new_session=True,
            )  # fmt: skip
        self.working.append(Working(process, rows, slot, log, outcomes, time.monotonic()))

    def wait(self) -> Working:
        """The next process that ends, with its runs settled."""
        while True:
            for one in self.working:
                if one.process.poll() is not None:
                    self.working.remove(one)
                    self._settle(one, stopping=False)
                    return one
            time.sleep(LOOK_SECONDS)

    def _settle(self, one: Working, *, stopping: bool) -> None:
        """Take over how the runs of a process ended."""
        said = {line["key"]: line for line in read_lines(one.outcomes)}
        one.outcomes.unlink(missing_ok=True)
        one.why = None if stopping else _unsaid(one.process.returncode, one.log)
        for row in one.rows:
            line = said.get(row.key)
            if line is None:
                one.silent.append(row)
                seconds = time.monotonic() - one.began if row.state == "running" else 0.0
                failure = one.why
            else:
                seconds = line["seconds"]
                failure = Failure(line["what"], line["where"], line["fix"], line["code"]) if line["code"] else None
                row.run = _relative(line["run"], self.record.runs_dir) or row.run
            if row.state == "running":
                row.seconds = round(row.seconds + seconds, 3)
                row.ended = now()
                row.state = "failed" if failure else "done" if line else "unfinished"
                row.failure = failure
            elif line is not None and failure:  # it did not even come to a plan
                row.state, row.failure, row.attempts, row.ended = "failed", failure, row.attempts + 1, now()
            if row.state == "failed" and failure:
                one.failed.append(row)
        self.record.save()


def _varied(record: Record, row: Row) -> dict[str, object]:
    """What the run is of the sweep, for its own events."""
    chosen = {"chosen": row.chosen} if row.chosen else {}
    return {"sweep": record.id, "variant": row.name, "factors": row.factors, **chosen}


def _relative(run: str | None, runs_dir: Path) -> str | None:
    return None if run is None else Path(run).relative_to(runs_dir).as_posix()


def _unsaid(code: int, log: Path) -> Failure:
    """What is known of a run whose process ended without a word."""
    again = "the same command tries it again"
    if code == -signal.SIGKILL:
        what = "its process was killed (SIGKILL): most likely the system had run out of memory"
        fix = f"fewer sweep.workers, a smaller train.batch_tokens or train.max_length; {again}"
        return Failure(what, str(log), fix, MachineError.exit_code)
    if code < 0:
        name = signal.Signals(-code).name
        return Failure(f"its process was ended by {name}", str(log), again, AssayError.exit_code)
    if code == Interrupted.exit_code:
        return Failure("its process was interrupted from outside the sweep", str(log), again, code)
    what = f"its process ended with code {code} and without a reason"
    return Failure(what, str(log), again, code or AssayError.exit_code)


def carry_out(
    record: Record,
    slots: Sequence[Slot],
    take: Callable[[list[Row]], Row | None],
    *,
    ended: Callable[[Row], None] = lambda row: None,
    console: Console,
    command: Command = child.command,
) -> None:
    """Do runs on the slots, one process each, until there is none left; one that fails does not stop the others.

    Args:
        take: the next run, given those at work; None where nothing may begin before one of them has ended.
        ended: called with each run that has ended.

    Raises:
        KeyboardInterrupt: passed on, after all processes have ended.
    """
    free = list(slots)
    with Crew(record, command) as crew:
        while True:
            while free and (row := take([row for one in crew.working for row in one.rows])):
                slot = free.pop(0)
                row.state, row.started, row.ended, row.failure = "running", now(), None, None
                row.attempts += 1
                crew.start([row], slot, until=row.until, name=row.key)
                record.save()
                console.note(f"sweep: {row.key}: begun on {slot}")
            if not crew.working:
                return
            done = crew.wait()
            free.append(done.slot)
            for row in done.rows:
                console.note(f"sweep: {row.key}: {_how(row)}")
                ended(row)


def _how(row: Row) -> str:
    if row.failure:
        return f"FAILED: {row.failure.what}"
    return f"{row.state} in {duration(row.seconds)}"
