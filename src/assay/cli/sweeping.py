"""The command `sweep`: its plan before anything is trained, and what it came to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from assay.cli.comparing import text as comparison_text
from assay.cli.tables import number, table
from assay.core.console import Console, duration, size
from assay.core.words import count, listed
from assay.sweeps.child import CHANGED
from assay.sweeps.foretell import Foretold, foretold
from assay.sweeps.result import exit_code, plan_code, unplanned
from assay.sweeps.roster import FILE, Record, Row
from assay.sweeps.slots import makespan
from assay.sweeps.sweep import Swept
from assay.sweeps.sweep import sweep as do_all


def sweep(
    target: str, runs_dir: Path, overrides: Sequence[str], only_plan: bool, as_json: bool, console: Console
) -> int:
    """Show the plan of a sweep, carry it out, and say what came of it; the exit code.

    Raises:
        InputError: the matrix does not stand, or another command is at work on it.
        Interrupted: stopped by the user; the same command goes on.
    """

    def show(record: Record) -> None:
        if as_json:
            return
        text = "\n".join(plan_lines(record))
        console.result(text) if only_plan else console.note(text)

    done = do_all(target, runs_dir=runs_dir, overrides=overrides, only_plan=only_plan, show=show, console=console)
    if as_json:
        console.json(as_values(done.record))
    elif not only_plan:
        console.result("\n".join(result_lines(done)))
    return plan_code(done.record) if only_plan else exit_code(done.record)


def as_values(record: Record) -> dict[str, Any]:
    """The record as JSON, with where it lies and the time that it takes in all."""
    values = asdict(record)
    folder, runs_dir, _ = (values.pop(name) for name in ("folder", "runs_dir", "earlier"))
    return {"folder": str(folder), "runs_dir": str(runs_dir), **values, "in_all": in_all(record)}


def in_all(record: Record) -> dict[str, Any]:
    """What is left, together: seconds by so many workers, and the bytes that may be held at once.

    `unknown` counts the runs whose training's time is not known, `without_rest` those of which nothing but that is.
    """
    plans = [foretold(row) for row in _left(record)]
    first = foretold(record.rows[0])
    if record.search and first:  # each trial is trained as the experiment as it stands is
        plans += [replace(first, train_seconds=first.whole_seconds, rest_seconds=0.0)] * record.trainings_ahead()
    known = [plan for plan in plans if plan is not None]
    timed = [plan.seconds for plan in known if plan.seconds is not None]
    largest = sorted((plan.memory for plan in known), reverse=True)[: record.workers]
    return {
        "runs": len(plans),
        "workers": record.workers,
        "seconds": makespan(timed, record.workers) if timed else None,
        "unknown": len(plans) - len(timed),
        "without_rest": sum(plan.rest_seconds is None for plan in known),
        "memory": sum(largest) if largest else None,
    }


def _left(record: Record) -> list[Row]:
    """The runs that are begun, or gone on with: not those that did not even come to a plan."""
    return [row for row in record.rows if row.state != "done" and not unplanned(row)]


def plan_lines(record: Record) -> list[str]:
    """Each run with its state and what is foretold of it, and all together."""
    name = Path(record.experiment).name
    states = ", ".join(f"{amount} {state}" for state, amount in record.counts().items())
    rows = [(row.key, _state(row), *_foretold_cells(foretold(row))) for row in record.rows]
    lines = [f"sweep {record.id} of {name}: {count(len(record.rows), 'run')}: {states}"]
    lines.append(table(("run", "state", "training", "all else", "memory"), rows))
    if record.search:
        lines.append(
            f"search: {record.search['tried']} of {count(record.search['trials'], 'trial')} tried "
            f"({record.search['method']}), each trained as the experiment as it stands and looked at on dev alone; "
            "the best of all is then measured on the test texts"
        )
    lines += _in_all_lines(record)
    return lines + _failure_lines(record, again=True)


def _state(row: Row) -> str:
    return "failed before" if row.state == "failed" and not unplanned(row) else row.state


def _foretold_cells(plan: Foretold | None) -> tuple[str, str, str]:
    if plan is None:
        return "-", "-", "-"
    training = "-"
    if plan.train_seconds is not None and plan.low_seconds is not None and plan.high_seconds is not None:
        training = duration(plan.train_seconds)
        if plan.train_seconds:
            training += f" ({duration(plan.low_seconds)} to {duration(plan.high_seconds)})"
    return training, "-" if plan.rest_seconds is None else duration(plan.rest_seconds), size(plan.memory)


def _in_all_lines(record: Record) -> Iterator[str]:
    total = in_all(record)
    if not total["runs"]:
        yield "in all: nothing is left to do"
        return
    time = "time not foretold" if total["seconds"] is None else f"about {duration(total['seconds'])}"
    memory = "" if total["memory"] is None else f", up to {size(total['memory'])} of memory at once"
    yield f"in all: {count(total['runs'], 'run')} left, {time} by {count(total['workers'], 'worker')}{memory}"
    if total["unknown"]:
        why = next((plan.how for row in _left(record) if (plan := foretold(row)) and plan.seconds is None), None)
        why = why or "there is no plan of it"
        yield f"  without {count(total['unknown'], 'run')} whose time is not foretold: {why}"
    if total["without_rest"]:
        yield (
            f"  of {count(total['without_rest'], 'run')} the training alone: how long the evaluation takes is known "
            "once a run of this experiment on the same base has finished here"
        )


def _failure_lines(record: Record, *, again: bool) -> list[str]:
    """Every failure in full. `again`: runs that failed before are about to be tried again."""
    lines = []
    for row in record.rows:
        if row.failure is None:
            continue
        how = "FAILED"
        if again and not unplanned(row):
            how = "failed before, and is tried again" if row.state == "failed" else "has no plan"
        lines.append(f"{row.key}: {how} (exit {row.failure.code}): {row.failure.what}")
        lines += [f"  where: {row.failure.where}"] if row.failure.where else []
        lines += [f"  fix: {row.failure.fix}"] if row.failure.fix else []
        log = record.log(row.key)
        lines += [f"  log: {log}"] if log.is_file() else []
    return lines


def result_lines(done: Swept) -> list[str]:
    """Each run with how it ended, the comparison, and where all of it lies."""
    record = done.record
    states = ", ".join(f"{amount} {state}" for state, amount in record.counts().items())
    lines = [f"sweep {record.id}: {count(len(record.rows), 'run')}: {states}", _ended_table(record)]
    lines += [_search_line(record.search), *_open_lines(record.search)] if record.search else []
    lines += _failure_lines(record, again=False)
    why, files = record.comparison["why"], record.comparison["files"]
    lines += ["", comparison_text(done.comparison) if done.comparison else f"no comparison: {why}", ""]
    lines += [f"comparison: {record.folder / files[0]}"] if files else []
    return [*lines, f"record: {record.folder / FILE}"]


def _ended_table(record: Record) -> str:
    header = ["run", "state", "took", "folder"]
    rows = [[row.key, row.state, duration(row.seconds) if row.seconds else "-", row.run or "-"] for row in record.rows]
    if record.search:
        header.insert(3, "dev bits per byte")
        for cells, row in zip(rows, record.rows, strict=True):
            cells.insert(3, number(row.dev_bpb))
    return table(header, rows)


def _open_lines(search: dict[str, Any]) -> Iterator[str]:
    """What keeps a search from its end: the same command goes on with it."""
    if search["untold"]:
        yield (
            f"search: {listed(search['untold'])} came to no end for a reason that is not in the values, and so "
            f"{'is' if len(search['untold']) == 1 else 'are'} not counted as tried: the same command tries again"
        )
    if search["changed"]:
        yield f"search: no more trials were begun: {CHANGED}; the same command goes by the new text"


def _search_line(search: dict[str, Any]) -> str:
    failed = f" ({search['failed']} failed)" if search["failed"] else ""
    of_all = f"{search['tried']} of " if search["untold"] or search["changed"] else ""
    tried = f"search: {of_all}{count(search['trials'] if of_all else search['tried'], 'trial')}{failed}"
    if search["best"] is None:
        return f"{tried}: none has a number"
    return (
        f"{tried}; lowest on dev: {search['best']} with {number(search['dev_bpb'])} bits per byte "
        f"(the experiment as it stands: {number(search['dev_bpb_as_it_stands'])}). A best of many flatters: what it is "
        "worth, the test texts say, which it alone is measured on"
    )
