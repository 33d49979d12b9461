"""`assay runs`: the ledger as a table that fits the terminal, as JSON and as CSV; and reading it anew."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.cli.tables import difference, fitted, memory, number
from assay.config.load import load_experiment
from assay.core.console import Console, duration
from assay.core.errors import InputError
from assay.core.export import csv_text, is_ours
from assay.core.files import write_text
from assay.core.find import existing_run, folders, is_begun, run_folders
from assay.core.ledger import COLUMNS, Ledger, Listing, Query
from assay.core.words import OUTCOMES, count

SHOWN = 50  # rows of a table without --limit
WHY = 60  # letters of a reason in the table
HEADER = ("run", "experiment", "created", "status", "verdict", "gain in bits per byte", "training", "memory")
# what gives way first where the terminal is narrow: the longest texts are cut, then these columns are left out
LEAST = ("memory", "training", "created", "experiment")


def runs(query: Query, runs_dir: Path, csv: Path | None, as_json: bool, console: Console) -> None:
    """List runs; all of them as JSON or CSV, the first `SHOWN` as a table, unless the query has a limit.

    Raises:
        InputError: a filter, a key or the CSV's file is wrong.
    """
    ledger, in_full = Ledger(runs_dir), csv is not None or as_json
    if query.limit is None and not in_full:
        query = Query(query.filters, query.sort, query.reverse, SHOWN, query.columns)
    if csv is not None:
        _check_file(csv)
    found = ledger.select(query, settings=csv is not None)
    if ledger.unwritable:
        console.note(f"{ledger.unwritable}: the runs' own files were read instead")
    if csv is not None:
        write_text(csv, csv_text(found.rows, query.columns))
        said = f"wrote {count(len(found.rows), 'run')} to {csv}"
        console.note(said) if as_json else console.result(said)
    if as_json:
        console.json([_as_json(row, runs_dir, query.columns) for row in found.rows])
    elif csv is None:
        _show(found, query, runs_dir, console)


def reindex(runs_dir: Path, console: Console) -> None:
    """Read every run directory again, and say what was found and what could not be read."""
    if not runs_dir.is_dir():
        raise InputError("there is no such folder", where=str(runs_dir), fix="name the runs directory with --runs-dir")
    ledger, places = Ledger(runs_dir), _places(runs_dir)
    with console.progress("reading", len(places), "runs") as progress:
        ledger.rebuild(lambda done, _: progress.update(done))
    rows = ledger.rows()
    states = [row["status"] for row in rows]
    said = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    experiments = count(len({row["experiment"] for row in rows}), "experiment")
    lines = [f"{count(len(rows), 'run')} of {experiments} in {runs_dir}" + (f": {said}" if said else "")]
    damaged = [row for row in rows if row["damaged"]]
    if damaged:
        lines.append(f"{count(len(damaged), 'run')} could not be read in full:")
        lines += [f"  {row['path']}: {_plain(row['damaged'])}" for row in damaged]
    strange = [path for path in places if not is_begun(path)]
    if strange:
        lines.append(f"{count(len(strange), 'folder')} that {'is' if len(strange) == 1 else 'are'} no run:")
        lines += [f"  {path.relative_to(runs_dir)}" for path in sorted(strange)]
    console.result("\n".join(lines))


def _places(runs_dir: Path) -> list[Path]:
    """The folders that may be runs."""
    return [Path(one.path) for experiment in folders(runs_dir) for one in run_folders(Path(experiment.path))]


def history(target: str, runs_dir: Path, unused: Sequence[str], console: Console) -> None:
    """Write an experiment's history and say where it lies.

    Args:
        target: the experiment's name, its file, or one of its runs.
        unused: what was given that only a run can use: an error.
    """
    from assay.stages.compare.history import write_history

    if unused:
        raise InputError(
            f"--history runs nothing, and cannot use {unused[0]}",
            where=target,
            fix="leave it out, or leave --history out",
        )
    for file in write_history(runs_dir, _experiment(target, runs_dir)):
        console.result(f"history: {file}")


def _experiment(target: str, runs_dir: Path) -> str:
    if (runs_dir / target).is_dir() and not is_begun(runs_dir / target):
        return Path(target).name
    run = existing_run(target, runs_dir)
    return load_experiment(target).experiment.name if run is None else run.path.parent.name


def _check_file(csv: Path) -> None:
    """Only what this command wrote before is replaced."""
    if csv.is_dir():
        raise InputError("this is a folder", where=str(csv), fix="name a file, such as experiments_log.csv")
    if csv.exists() and not is_ours(csv):
        raise InputError(
            "this file was not written by `assay runs --csv`, and is not replaced",
            where=str(csv),
            fix="name another file, or delete this one first",
        )


def _as_json(row: dict[str, Any], runs_dir: Path, columns: Sequence[str]) -> dict[str, Any]:
    whole = {**row, "path": str(runs_dir / row["path"])}
    return {key: _value(whole, key) for key in columns} if columns else whole


def _value(row: dict[str, Any], key: str) -> Any:
    return row[key] if key in COLUMNS else row["settings"].get(key)


def _show(found: Listing, query: Query, runs_dir: Path, console: Console) -> None:
    if not found.rows:
        console.result(
            f"no run in {runs_dir} is like that"
            if query.filters
            else f"no runs in {runs_dir} yet: `assay run EXPERIMENT` makes one"
        )
        return
    width = shutil.get_terminal_size(fallback=(0, 0)).columns
    if query.columns:
        rows = [[_cell(key, _value(row, key)) for key in query.columns] for row in found.rows]
        text, left_out = fitted(query.columns, rows, width, ())
    else:
        text, left_out = fitted(HEADER, [_line(row) for row in found.rows], width, LEAST)
    console.result(text)
    if left_out:
        console.note(f"left out, as the terminal is {width} wide: {', '.join(left_out)}; --json shows everything")
    if found.total > len(found.rows):
        console.note(f"{len(found.rows):,} of {found.total:,} runs; --limit N shows more")


def _line(row: dict[str, Any]) -> list[str]:
    status = row["status"]
    if status == "failed":
        why = _plain(row["why"] or "")
        why = why if len(why) <= WHY else f"{why[: WHY - 1].rstrip()}…"
        status += f" ({row['guard']})" if row["guard"] else f": {why}" if why else ""
    elif status in ("unfinished", "running") and row["stage"]:
        status += f" after {row['stage']}"
    # a gain without a verdict is not shown here: `assay show` has it, with what is wrong
    gain = difference(row["difference"], row["low"], row["high"]) if row["outcome"] else "-"
    busy = ", shared the machine" if row["comparable"] == 0 else ""
    return [
        row["id"],
        row["experiment"],
        (row["created"] or "-").replace("T", " ").removesuffix("+00:00"),
        status,
        OUTCOMES.get(row["outcome"], row["outcome"] or "-"),
        gain,
        "-" if row["train_seconds"] is None else duration(row["train_seconds"]) + busy,
        memory(row["peak_memory"]),
    ]


def _cell(key: str, value: Any) -> str:
    """One value with its unit; a dash where there is none."""
    if value is None:
        return "-"
    kind = COLUMNS[key].kind if key in COLUMNS else "text"
    if kind == "bytes":
        return memory(value)
    if kind == "seconds":
        return duration(value) if value >= 10 else f"{value:.3g} s"
    if kind == "flag" or isinstance(value, bool):
        return "yes" if value else "no"
    if kind == "number":
        return number(value, digits=5)
    return _plain(str(value))


def _plain(text: str) -> str:
    """Text on one line, without characters that would steer the terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
