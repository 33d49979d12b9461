"""The commands that read runs: `runs rm` and `runs du`, `show`, `guards` and `compare`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay.cli.outcome import guard_line, plan_text
from assay.cli.tables import difference, memory, number, table
from assay.core.console import Console, duration, size
from assay.core.describe import describe, guard_rows
from assay.core.explain import CLASSES, explain
from assay.core.files import read_json
from assay.core.guard import GUARDS, GuardRecord
from assay.core.housekeeping import check_removable, disk_usage, remove_run
from assay.core.ledger import resolve_run
from assay.core.others import how, shared
from assay.core.receipt import training_peak
from assay.core.records import Decoding
from assay.core.rundir import STAGES, RunDir, spent
from assay.core.words import by_guard, count, unrecorded

STATUSES = {"pass": "passed", "warn": "warning", "fail": "FAILED", "skip": "skipped"}


def remove(names: list[str], runs_dir: Path, console: Console) -> None:
    """Delete runs; none of them, should one be unknown, elsewhere or in use.

    Raises:
        InputError: there is no such run, it lies elsewhere, or it is being written to.
    """
    chosen = {run.path: run for run in (resolve_run(name, runs_dir) for name in names)}
    for run in chosen.values():
        check_removable(run, runs_dir)
    for run in chosen.values():
        freed = remove_run(run, runs_dir)
        console.result(f"deleted {run.path} ({size(freed)} freed)")


def usage(runs_dir: Path, as_json: bool, console: Console) -> None:
    """Show what the store's parts and the runs take."""
    rows = disk_usage(runs_dir)
    total = sum(row.bytes for row in rows)
    if as_json:
        console.json({"total": total, "parts": [asdict(row) for row in rows]})
        return
    lines = [(row.name, size(row.bytes), size(row.shared) if row.shared else "-") for row in rows]
    console.result(table(("part", "size", "shared, counted elsewhere"), [*lines, ("total", size(total), "")]))


def show(name: str, runs_dir: Path, as_json: bool, console: Console) -> None:
    """Show one run.

    Raises:
        InputError: there is no such run.
    """
    run = resolve_run(name, runs_dir)
    found = describe(run)
    row = found["run"]
    if as_json:
        console.json(found)
        return
    sections = [
        [f"{row['experiment']} {row['id']}: {row['status']}", f"run: {run.path}"],
        _verdict_lines(found),
        _settings_lines(found["settings"]),
        _stage_lines(found["stages"]),
        _cost_lines(found["plan"], found["training"], found["stages"]),
        _preset_lines(found["preset"]),
        [guard_line(run)] + ([f"report: {run.report}"] if run.report.is_file() else []),
    ]
    console.result("\n\n".join("\n".join(lines) for lines in sections if lines))


def _settings_lines(settings: list[dict[str, str]]) -> list[str]:
    rows = [(s["key"], s["value"], s["origin"]) for s in settings if s["origin"] != "default"]
    return (
        ["settings (the rest are defaults, see resolved.yaml):", table(("key", "value", "from"), rows)] if rows else []
    )


def _verdict_lines(found: dict[str, Any]) -> list[str]:
    verdict, guard = found["verdict"], found["run"]["guard"]
    if guard:
        head = [f"no verdict: the validity guard {guard} failed, so the numbers cannot be trusted"]
    elif verdict is None:
        head = ["no verdict yet"]
    else:
        head = [f"verdict: {verdict['plain']}", verdict["sentence"]]
    gain = found["evaluation"].get("difference")
    if gain is None:
        return head
    base, tuned = (number(found["evaluation"][model]["bpb"]) for model in ("base", "tuned"))
    return [
        *head,
        f"base {base}, tuned {tuned} bits per byte; gain {difference(gain['mean'], gain['low'], gain['high'])} "
        f"over {count(gain['n_groups'], 'held-out group')}",
    ]


def _preset_lines(preset: dict[str, Any]) -> list[str]:
    if not preset:
        return []
    words = str(Decoding(**preset["decoding"]))
    full = "" if words == preset["name"] else f" ({words})"
    return [f"preset for generating: {preset['name']}{full}; {preset['sentence']}"]


def _stage_lines(stages: dict[str, Any]) -> list[str]:
    rows = [
        (name, stages[name]["finished"], duration(spent(stages[name])), how(stages[name]))
        if name in stages
        else (name, "not done", "-", "")
        for name in STAGES
    ]
    return [table(("stage", "finished", "took", ""), rows)]


def _cost_lines(plan: dict[str, Any], training: dict[str, Any], stages: dict[str, Any]) -> list[str]:
    lines = []
    if plan:
        lines.append(f"memory predicted: {size(plan['memory']['predicted']['total'])}")
    if training:
        speed = number(training["tokens_per_s"], "tokens/s", 3)
        lines += [
            f"memory measured: {memory(training_peak(training))} at the peak",
            f"training: {training['tokens']:,} tokens in {duration(training['seconds'])} ({speed})",
            *([f"  {told}"] if (told := shared(stages.get("train", {}))) else []),
        ]
    return lines


def guards(name: str, runs_dir: Path, as_json: bool, console: Console) -> None:
    """Explain a run's guards: what failed or warned in full, what passed or was skipped in two lines each.

    Raises:
        InputError: there is no such run.
    """
    run = resolve_run(name, runs_dir)
    if as_json:
        console.json(guard_rows(run))
        return
    records = run.guards.records()
    found, missing = by_guard(records), unrecorded(records)
    loud = [rows for status in ("fail", "warn") for rows in found.values() if rows[0].status == status]
    quiet = [rows for status in ("pass", "skip") for rows in found.values() if rows[0].status == status]
    parts = ["\n".join(_in_full(rows)) for rows in loud]
    if quiet:
        lines = [line for rows in quiet for line in _in_short(rows)]
        parts.append("\n".join([*lines, f"What this means: {_welcome([rows[0] for rows in quiet])}."]))
    if missing:
        parts.append(f"not recorded so far: {', '.join(missing)}")
    console.result("\n\n".join([*parts, guard_line(run)]))


def _in_full(rows: Sequence[GuardRecord]) -> list[str]:
    """One guard's records, the worst first: what was asked, what each stage measured, what it means, what to do."""
    first = rows[0]
    return [
        _head(first),
        *([f"  asked:    {GUARDS[first.guard].meaning}"] if first.guard in GUARDS else []),
        *(f"  measured: {_measured(row, first)} (at {row.stage})" for row in rows),
        f"  means:    {explain(first.cls, first.status)}",
        *(f"  to do:    {fix}" for fix in dict.fromkeys(row.fix for row in rows if row.fix)),
    ]


def _head(record: GuardRecord) -> str:
    return f"{STATUSES[record.status]}  {record.guard} ({CLASSES[record.cls]})"


def _measured(row: GuardRecord, first: GuardRecord) -> str:
    return row.why if row.status == first.status else f"{STATUSES[row.status]}: {row.why}"


def _in_short(rows: Sequence[GuardRecord]) -> list[str]:
    """One guard in two lines: what was asked, and what was measured last."""
    first, last = rows[0], rows[-1]
    meaning = f": {GUARDS[first.guard].meaning}" if first.guard in GUARDS else ""
    return [f"{_head(first)}{meaning}", f"  measured: {last.why}"]


def _welcome(records: Sequence[GuardRecord]) -> str:
    """What passed and skipped guards mean, once for each class among them."""
    said = {CLASSES[r.cls]: explain(r.cls, "pass") for r in records if r.status == "pass"}
    parts = [f"passed ({name}): {means}" for name, means in said.items()]
    skipped = next((r for r in records if r.status == "skip"), None)
    return "; ".join(parts + ([f"skipped: {explain(skipped.cls, 'skip')}"] if skipped else []))


def plan(run: RunDir, console: Console) -> None:
    """Print a run's plan as JSON."""
    console.json(read_json(run.plan))


def forecast(
    target: str, runs_dir: Path, overrides: Sequence[str], device: str, as_json: bool, console: Console
) -> None:
    """Show the plan for a device of the table; nothing is measured and nothing is written.

    Raises:
        InputError: there is no such device, or the experiment does not stand.
    """
    from assay.byhand import forecast as foretell

    found = foretell(target, device, runs_dir=runs_dir, overrides=overrides)
    if as_json:
        console.json(found)
    else:
        console.result("\n".join(plan_text(found)))


def rows(run: RunDir, number: int, console: Console) -> None:
    """Print the first training rows as the loss sees them: what is learned in green, or in double brackets."""
    from assay.byhand import shown_rows

    console.result(shown_rows(run, number, colour=sys.stdout.isatty() and "NO_COLOR" not in os.environ))
