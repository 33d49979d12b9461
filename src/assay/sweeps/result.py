"""What a sweep came to: the comparison of the runs that finished, and the exit code."""

from __future__ import annotations

from dataclasses import replace

from assay.core.errors import AssayError, GuardError, InputError
from assay.core.rundir import STAGES
from assay.core.words import failed_validity
from assay.stages.compare.compare_files import write_comparison
from assay.stages.compare.entries import Failed, sifted
from assay.stages.compare.one_change import Declared
from assay.stages.compare.runs import Comparison, comparison
from assay.sweeps.roster import Record, Row


def conclude(record: Record) -> Comparison | None:
    """Compare the runs that are done, beside those that are not, and write the files into the sweep's folder.

    All are held against the first that is asked for, the baseline; where that has no numbers, the comparison says so.
    None where there is nothing to compare, or the runs may not be compared; the record says why.
    """
    asked = [row for row in record.rows if row.until == STAGES[-1]]  # the trials of a search end before
    finished = [(row, run) for row in asked if row.state == "done" and (run := row.directory(record.runs_dir))]
    try:
        names = {run.path: row.name for row, run in finished}
        entries, refused = sifted([run for _, run in finished], names)
        lost = [_lost(row) for row in asked if row.state != "done"]
        declared = Declared(record.declared, {row.name: row.factors for row in asked})
        found = comparison(entries, [*lost, *refused], declared=declared) if entries else None
        if found and names[entries[0].runs[0].path] != asked[0].name:
            found = replace(found, absent=asked[0].name)
        files = write_comparison(found, record.folder) if found else []
    except AssayError as error:
        record.comparison = {"files": [], "why": str(error), "code": error.exit_code}
        record.save()
        return None
    guards = failed_validity(found.guards) if found else []
    record.comparison = {
        "files": [file.name for file in files], "why": None if found else "no run has finished",
        "code": GuardError.exit_code if guards else 0,
    }  # fmt: skip
    record.save()
    return found


def _lost(row: Row) -> Failed:
    return Failed(row.name, row.failure.what if row.failure else f"is {row.state}", row.run)


def unplanned(row: Row) -> bool:
    """Whether a run did not even come to a plan."""
    return row.state == "failed" and row.predicted is None


def plan_code(record: Record) -> int:
    """Of planning alone: that of the first run without a plan, else 0. What failed later is tried again."""
    bare = [row for row in record.rows if row.state != "done" and row.predicted is None]
    return next((row.failure.code if row.failure else AssayError.exit_code for row in bare), 0)


def exit_code(record: Record) -> int:
    """0 where every run is done and may be compared, else that of the first failure.

    Of a search some trials may fail by their values, as long as one has a number; those that came to no end for another
    reason are still to be tried.
    """
    search, counted = record.search or {}, record.rows
    if search.get("best") is not None:
        counted = [row for row in record.rows if row.until == STAGES[-1] or row.name in search["untold"]]
    otherwise: int = InputError.exit_code if search.get("changed") else record.comparison.get("code", 0)
    return next((row.failure.code for row in counted if row.failure), otherwise)
