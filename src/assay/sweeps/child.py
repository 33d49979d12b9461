"""A process of a sweep: it brings runs to a stage, one after another, and writes down how each of them ended.

`python -P -m assay.sweeps.child PARENT` with a task as JSON on standard input: an argument may hold 128 KiB, and the
task of planning names every run. It takes its cores before anything is imported that counts them, and ends when the
sweep that started it, the process PARENT, ends, however that ends.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.core.errors import AssayError, Interrupted
from assay.core.signals import end_with, sigterm_interrupts

BUG = 1  # the exit code of an error that is ours
CHANGED = "the experiment file changed while its sweep was under way"


@dataclass(frozen=True)
class Task:
    """What a process is to do.

    Args:
        experiment: the experiment file, and `text_sha256` the hash of the text that the sweep began with.
        runs: of each its key, overrides, and what it is of the sweep (`varied` of `pipeline.run`).
        until: the stage to bring them to.
        cores: those that this process is bound to; empty: it is bound to none.
        outcomes: the file that gets a line for each run that has ended.
    """

    experiment: str
    text_sha256: str
    runs_dir: str
    until: str
    runs: list[dict[str, Any]]
    cores: list[int]
    outcomes: str


def command() -> list[str]:
    """What starts such a process. `-P`: a user's file beside the experiment may be called as a library's module is."""
    return [sys.executable, "-P", "-m", "assay.sweeps.child", str(os.getpid())]


def main(argv: list[str]) -> int:
    """Do the task; the exit code of its last run, 130 if interrupted."""
    end_with(int(argv[0]))
    task = Task(**json.load(sys.stdin))
    if task.cores and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, task.cores)
    from assay.core.files import append_line

    code = 0
    try:
        with sigterm_interrupts():
            for one in task.runs:
                ended = _bring(task, one)
                append_line(Path(task.outcomes), {"key": one["key"], **ended})
                code = ended["code"]
    except (Interrupted, KeyboardInterrupt):
        return Interrupted.exit_code
    return code


def _bring(task: Task, one: dict[str, Any]) -> dict[str, Any]:
    """How one run ended: its exit code, the run if it has come to be, and what went wrong."""
    from assay.core.console import Console
    from assay.core.machine import told
    from assay.pipeline import run

    console, started = Console(), time.perf_counter()
    try:
        _same_text(task)
        done = run(
            task.experiment, runs_dir=Path(task.runs_dir), until=task.until, overrides=one["overrides"],
            console=console, varied=one["varied"],
        )  # fmt: skip
        ended = {"code": 0, "run": str(done.run.path)}
    except Interrupted:
        raise
    except Exception as error:
        known = error if isinstance(error, AssayError) else told(error)
        console.error(traceback.format_exc() if known is None else f"error: {known}")
        ended = {"run": _where(task, one), **(_said(known) if known else _bug(error))}
    return ended | {"seconds": time.perf_counter() - started}


def _said(error: AssayError) -> dict[str, Any]:
    return {"code": error.exit_code, "what": error.what, "where": error.where, "fix": error.fix}


def _bug(error: Exception) -> dict[str, Any]:
    last = traceback.format_exception_only(error)[-1].strip()
    fix = "this is a bug in assay: please report it with the lines of the log"
    return {"code": BUG, "what": last, "where": None, "fix": fix}


def _where(task: Task, one: dict[str, Any]) -> str | None:
    """The directory of a run that has failed; None where it did not come to have one."""
    from assay.config.load import load_experiment
    from assay.pipeline import standing

    try:
        found = standing(load_experiment(task.experiment, one["overrides"]), runs_dir=Path(task.runs_dir)).run
    except AssayError:
        return None
    return None if found is None else str(found.path)


def _same_text(task: Task) -> None:
    from assay.core.errors import InputError

    if changed(task.experiment, task.text_sha256):
        raise InputError(
            CHANGED, where=task.experiment, fix="give the command again: it goes by the file as it is then"
        )


def changed(experiment: str, text_sha256: str) -> bool:
    """Whether the experiment file has another text than the sweep began with, or is gone."""
    from assay.core.files import sha256_file

    try:
        return sha256_file(Path(experiment)) != text_sha256
    except OSError:
        return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
