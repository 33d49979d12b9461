"""report.html: one file that holds the run's whole story and opens without a network."""

from __future__ import annotations

from pathlib import Path

from assay.core.files import write_text
from assay.core.rundir import RunDir
from assay.stages.compare import page
from assay.stages.compare.evidence import gather
from assay.stages.compare.markup import template


def render(run: RunDir) -> str:
    """The report of a run, finished or not, as HTML. The same files give the same bytes."""
    return template("report.html.j2").render(page.context(gather(run)))


def write_report(run: RunDir) -> Path:
    """Write report.html from the run's files, atomically, and return its path.

    A run that stopped early, or whose validity guards failed, gets a report too: it says what was not
    measured and why, and gives no verdict.

    Raises:
        InputError: a file of the run is damaged.
        MachineError: the disk is full or not writable.
    """
    write_text(run.report, render(run))
    return run.report
