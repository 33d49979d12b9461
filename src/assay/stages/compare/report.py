"""report.html: one file that holds the run's whole story and opens without a network."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from assay.core.console import duration, size
from assay.core.files import write_text
from assay.core.rundir import RunDir
from assay.stages.compare import headline, page, provenance
from assay.stages.compare.evidence import Evidence, gather
from assay.stages.compare.words import defined


def render(run: RunDir) -> str:
    """The report of a run, finished or not, as HTML. The same files give the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.html.j2").render(page.context(gather(run)))


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


def summary_lines(run: RunDir) -> list[str]:
    """The terminal's closing lines: the verdict, the guards, memory and time, and the report's path."""
    evidence = gather(run)
    lines = [headline.sentence(evidence)]
    for failed in evidence.failed_validity:
        lines.append(f"  {failed.guard}: {failed.why}")
        if failed.fix:
            lines.append(f"  fix: {failed.fix}")
    reason = headline.unmeasured(evidence)
    if reason:
        lines.append(reason)
    lines.append(f"Guards: {headline.guard_line(evidence)}")
    lines.append(f"{_memory(evidence)}; {_time(evidence)}")
    lines.append(f"Report: {run.report}" if run.report.exists() else "Report: not written yet")
    return lines


def _memory(evidence: Evidence) -> str:
    peak = defined((evidence.receipt or {}).get("peak_memory"))
    if peak is None:
        peak = defined((evidence.training or {}).get("peak_memory"))
    if peak is None:
        return "Peak memory not measured"
    predicted = provenance.planned_memory(evidence)
    return f"Peak memory {size(peak)}" + (f" (planned {size(predicted)})" if predicted is not None else "")


def _time(evidence: Evidence) -> str:
    by_stage = (evidence.receipt or {}).get("wall_seconds") or {
        stage: record.get("seconds") for stage, record in evidence.stages.items()
    }
    known = {stage: seconds for stage, value in by_stage.items() if (seconds := defined(value)) is not None}
    if not known:
        return "time not measured"
    longest = max(known, key=lambda stage: known[stage])
    return f"time {duration(sum(known.values()))} ({longest} {duration(known[longest])})"
