"""A run as one JSON value, read from its files: what `assay show` and `assay guards` give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from assay.core.files import read_json
from assay.core.guard import GUARDS
from assay.core.ledger import read_run
from assay.core.resolved import settings as settings
from assay.core.rundir import RunDir


def describe(run: RunDir) -> dict[str, Any]:
    """All that a run has come to; a stage that is not done is an empty dict.

    `verdict` is None before the report's checks, and where a validity guard failed (`run.guard` names it).

    Raises:
        InputError: one of the files is damaged.
    """
    row, evaluation = read_run(run), _read(run.summary)
    verdict = evaluation.pop("verdict", None)
    return {
        "run": {**row, "path": str(run.path)},
        "verdict": verdict if row["outcome"] else None,
        "settings": settings(run),
        "stages": _read(run.stages),
        "plan": _read(run.plan),
        "training": _read(run.training),
        "evaluation": evaluation,
        "receipt": _read(run.receipt),
        "preset": _read(run.preset),
        "guards": guard_rows(run),
    }


def guard_rows(run: RunDir) -> list[dict[str, Any]]:
    """The run's guard records as JSON values, each with its guard's meaning in plain words."""
    return [
        {**record.as_json(), "meaning": GUARDS[record.guard].meaning if record.guard in GUARDS else None}
        for record in run.guards.records()
    ]


def _read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = read_json(path) if path.is_file() else {}
    return value
