"""A run as one JSON value, read from its files: what `assay show` and `assay guards` give."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from assay.core.files import read_json
from assay.core.guard import GUARDS
from assay.core.ledger import read_run
from assay.core.rundir import RunDir

# key: value  # origin; the value may hold a # of its own, the origin none
_SETTING = re.compile(r"( *)(\w+):(?: (.*?))?(?: {2,}# ([^#]+))?")


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


def settings(run: RunDir) -> list[dict[str, str]]:
    """The values of resolved.yaml: dotted key, value as written there, origin."""
    parents: list[str] = []
    found = []
    for line in run.resolved.read_text(encoding="utf-8").splitlines() if run.resolved.is_file() else []:
        match = _SETTING.fullmatch(line)
        if match is None:
            continue
        indent, key, value, origin = match.groups()
        parents[len(indent) // 2 :] = [key]
        if value:
            found.append({"key": ".".join(parents), "value": value, "origin": origin or ""})
    return found


def _read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = read_json(path) if path.is_file() else {}
    return value
