"""What a sweep came to: the comparison of the runs that finished, and the exit code."""

from __future__ import annotations

from assay.core.console import Console
from assay.sweeps.roster import Record


def conclude(record: Record, console: Console) -> None:
    """TODO"""


def exit_code(record: Record) -> int:
    """0 where every run is done, else that of the first failure."""
    return next((row.failure.code for row in record.rows if row.failure), 0)
