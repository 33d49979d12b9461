"""`assay compare`: runs against the first, on the terminal and as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from assay.cli.tables import table
from assay.core.console import Console
from assay.core.errors import GuardError, InputError, MachineError
from assay.core.ledger import resolve_run
from assay.core.words import failed_validity
from assay.stages.compare import compare_tables
from assay.stages.compare.compare_files import default_folder, write_comparison
from assay.stages.compare.runs import Comparison
from assay.stages.compare.runs import compare as compared
from assay.stages.compare.selection import parse_weights

STATUSES = {"warn": "warning", "fail": "FAILED"}


def compare(
    names: Sequence[str],
    runs_dir: Path,
    out: Path | None,
    weights: Sequence[str],
    as_json: bool,
    console: Console,
) -> None:
    """Print how each entry differs from the first, with the checks of that, and write the files.

    Raises:
        InputError: fewer than two runs, one of them is not there or not evaluated, or a weight is none.
        GuardError: numbers that cannot be trusted, or that may not stand beside each other.
        MachineError: the files cannot be written; what they would hold has been printed.
    """
    found = compared([resolve_run(name, runs_dir) for name in names], parse_weights(weights))
    if as_json:
        console.json(found.as_json())
    else:
        console.result(text(found))
    folder = default_folder(found) if out is None else out
    try:
        files = write_comparison(found, folder)
    except (InputError, MachineError) as error:
        fix = "name another folder, which can be written to, with --out"
        raise type(error)(error.what, where=error.where, fix=fix) from error
    console.note(f"written to {folder}: {', '.join(file.name for file in files)}")
    for failed in failed_validity(found.guards):
        raise GuardError(failed.guard, failed.why, where=" and ".join(names), fix=failed.fix)


def text(c: Comparison) -> str:
    """The comparison for the terminal: a compact table, a sentence for each pair, and the guards that spoke."""
    whole = compare_tables.overview(c)
    lines = [f"NOTE: {c.note}", ""] if c.note else []
    lines += [c.summary, "", table(whole.header, whole.rows), *whole.notes]
    for pair in c.pairs:
        lines += ["", f"{pair.name}: {pair.sentence}"]
        # what one-change found stands in the sentence
        spoke = [r for r in pair.guards if r.status in STATUSES and r.guard != "one-change"]
        lines += [f"  {r.guard}: {STATUSES[r.status]}: {r.why}" for r in spoke]
    for one in c.failed:
        lines += ["", f"{one.name}: failed: {one.why}"]
    if c.selection:
        lines += ["", "model selection:", *(f"  {sentence}" for sentence in c.selection.sentences)]
    if c.not_concluded:
        lines += ["", "what may not be concluded:", *(f"  {sentence}" for sentence in c.not_concluded)]
    return "\n".join(lines)
