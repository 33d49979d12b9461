"""Which stages a command needs, in order, and what is already done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.config.load import load_experiment
from assay.core.console import Console
from assay.core.errors import AssayError, GuardError, InputError, Interrupted, MachineError
from assay.core.files import read_json, read_lines, remove_leftovers
from assay.core.guard import record
from assay.core.ledger import Ledger, existing_run
from assay.core.optional import installed
from assay.core.others import Others
from assay.core.rundir import STAGES, RunDir
from assay.core.usage import forget_peak, give_back, peak_memory
from assay.pipeline import stages
from assay.pipeline.attempts import earlier
from assay.pipeline.keys import stage_key
from assay.pipeline.work import (
    Work,
    find_or_create,
    note_new_settings,
    note_varied,
    resolve,
    same_identity,
    with_origins,
)


@dataclass(frozen=True)
class Outcome:
    """What a command did: the run, the stages done now, and whether there was nothing left to do."""

    run: RunDir
    done: list[str]
    already_finished: bool


def run(
    target: str,
    *,
    runs_dir: Path,
    until: str = "report",
    overrides: Sequence[str] = (),
    new: bool = False,
    console: Console | None = None,
    varied: Mapping[str, Any] | None = None,
) -> Outcome:
    """Bring an experiment, or an existing run, up to and including stage `until`.

    What is done and intact is not done again; an unfinished run goes on where it was.

    Args:
        target: an experiment file, or a run (its path, short hash, or experiment name).
        runs_dir: the folder that holds all runs.
        overrides: ``section.key=value``, over the file's values.
        new: make another run, even if one with this identity exists.
        varied: what this run is of a sweep, for the run's events: its variant, and the level of each factor.

    Raises:
        AssayError: with what, where and the fix; see `core.errors` for the kinds.
    """
    console = console or Console()
    existing = existing_run(target, runs_dir)
    if existing is not None and new:
        raise InputError("--new makes a run from an experiment, and this is a run", where=target, fix="leave --new out")
    loaded = load_experiment(existing.resolved if existing else target, overrides)
    work = resolve(loaded if existing is None else with_origins(existing, loaded), runs_dir, console)
    if existing is None:
        there = find_or_create(work, new, varied)
    else:
        there = existing
        same_identity(existing, work.identity, overrides)
    try:
        with there.lock():
            remove_leftovers(there.path)
            note_new_settings(there, work)
            note_varied(there, varied)
            return _bring(there, work, until)
    finally:
        _index(there, runs_dir, console)


def _index(run: RunDir, runs_dir: Path, console: Console) -> None:
    """Write the run's row. The ledger is an index: where it cannot be written the run itself is none the worse."""
    try:
        Ledger(runs_dir).upsert(run)
    except MachineError as error:
        console.note(f"{error.what} ({error.where}): the run goes on, and `assay runs` will read its files")


def _bring(run: RunDir, work: Work, until: str) -> Outcome:
    done: list[str] = []
    try:
        for stage in STAGES[: STAGES.index(until) + 1]:
            if needed(run, work, stage, asked=stage == until):
                _refuse_changed_inputs(run, stage)
                _perform(run, work, stage)
                # should this process be killed, the others know how far it came
                _index(run, work.runs_dir, work.console)
                done.append(stage)
        if until == "prepare" and done:
            stages.show_data(run)
        _no_failure_left(run, until)
    except (Interrupted, KeyboardInterrupt) as error:
        run.event("interrupted")
        if isinstance(error, Interrupted):
            raise
        raise Interrupted("interrupted; what is done is kept", fix="the same command goes on from here") from None
    except AssayError as error:
        run.event("stopped", kind=type(error).__name__, why=error.what)
        if isinstance(error, GuardError):
            if error.guard not in {r.guard for r in run.guards.failed_validity()}:
                run.guards.add(record(error.guard, "fail", error.why, fix=error.fix))
            stages.write_page(run)
        raise
    return Outcome(run, done, not done)


def _no_failure_left(run: RunDir, until: str) -> None:
    """A run whose records hold a failed validity guard has no verdict, however it came to be there."""
    for r in run.guards.failed_validity():
        if STAGES.index(r.stage) <= STAGES.index(until):
            raise GuardError(r.guard, r.why, where=str(run.guards.path), fix=r.fix)


def needed(run: RunDir, work: Work, stage: str, *, asked: bool) -> bool:
    """Whether a stage is to be done. `asked`: it is the one that the command names."""
    finished = run.finished(stage)
    if finished is None:
        return True
    if stage == "plan":
        return run.finished("train") is None and _undecided(run)
    if stage not in ("evaluate", "report"):
        # what was prepared or trained is never silently made again; its changed outputs are refused or judged later
        return False
    if finished["key"] != stage_key(run, work, stage):
        return True
    if any(STAGES.index(r.stage) <= STAGES.index(stage) for r in run.guards.failed_validity()):
        return True
    changed = run.changed_outputs(stage)
    return bool(changed) and (stage == "report" or asked or any(not (run.path / name).exists() for name in changed))


def _undecided(run: RunDir) -> bool:
    """The plan was made without torch, which is there now."""
    return installed("torch") and read_json(run.plan)["decisions"]["threads"] is None


def _refuse_changed_inputs(run: RunDir, stage: str) -> None:
    """A finished stage's output that no longer has its recorded hash stops what would use it.

    The evaluation finds out itself what is wrong with test texts and weights, and says it better.
    """
    judged_later = {"data/test.parquet"} if stage in ("evaluate", "report") else set()
    changed = [name for name in run.changed_outputs("prepare") if name not in judged_later]
    if changed and stage != "prepare":
        why = f"{', '.join(changed)} changed after it was prepared"
        run.guards.check(record("right-split", "fail", why, measured={"changed": changed}, threshold={"changed": 0}))
    if stage in ("train", "evaluate") and run.changed_outputs("plan"):
        raise InputError(
            "was changed after the plan was made", where=str(run.plan), fix="restore it, or make another run with --new"
        )
    if stage == "evaluate":
        changed = [n for n in run.changed_outputs("train") if not n.startswith(("adapter/", "model/"))]
        if changed:
            why = f"{', '.join(changed)} changed after training wrote it"
            run.guards.check(record("adapter-integrity", "fail", why, measured={"changed": changed}))


def _broken_off(run: RunDir, stage: str) -> bool:
    """Whether a training goes on where it was broken off: who shared the machine with its beginning is not known."""
    if stage != "train" or not any(run.checkpoints.glob("step-*")):
        return False
    told = [e["event"] for e in read_lines(run.events) if e.get("stage") == stage]
    return bool(told) and told[-1] != "stage finished"


def _perform(run: RunDir, work: Work, stage: str) -> None:
    whole, before = not _broken_off(run, stage), earlier(run, stage)
    started, others = time.perf_counter(), Others()
    run.event("stage started", stage=stage, **({"earlier": asdict(before)} if before.attempts else {}))
    run.begin(stage)
    give_back()
    forget_peak()  # of the stage before
    run.guards.drop_stages(*STAGES[STAGES.index(stage) :])
    if stage != "report":
        run.guards.drop_stages("rate")  # of texts that are made anew
    if stage == "evaluate":
        shutil.rmtree(run.evaluate, ignore_errors=True)  # numbers of an earlier evaluation must not pass for these
    try:
        outputs = stages.PERFORM[stage](run, work)
    except BaseException:  # an interrupt too: what was spent on it is the run's cost
        run.event("stage broken off", stage=stage, seconds=round(time.perf_counter() - started, 3))
        raise
    seconds = time.perf_counter() - started
    shared = others.record() if whole else None
    key = stage_key(run, work, stage)
    run.finish(stage, key=key, outputs=outputs, seconds=seconds, shared=shared, earlier=asdict(before))
    run.event("stage finished", stage=stage, seconds=round(seconds, 3), peak_memory=peak_memory())
