"""The guards: their records, and what a failure means. (`guard_table` says what each is, and its thresholds.)

A guard is one automatic check with a fixed name and an exact definition. The stage that has the
evidence measures it and records the outcome here. Class V (validity): a failure means the number
cannot be trusted, and the command ends with exit 3. Class O (outcome): a failure is an unwelcome
but honest result, and stands in the verdict. Class R (report): shown, never decides.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from assay.core.errors import GuardError
from assay.core.files import read_json, write_json
from assay.core.guard_table import GUARDS, OF_A_RUN, THRESHOLDS, Class, Guard, Limits, Status

__all__ = [
    "GUARDS", "OF_A_RUN", "THRESHOLDS", "Class", "Guard", "GuardBook", "GuardRecord", "Limits", "Status", "limits",
    "record", "worst",
]  # fmt: skip


@dataclass(frozen=True)
class GuardRecord:
    """One recorded outcome. `measured` and `threshold` are plain JSON values."""

    guard: str
    cls: Class
    stage: str
    status: Status
    measured: Any
    threshold: Any
    why: str
    fix: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The record as it stands in guards.json (`cls` is written as `class`)."""
        record = asdict(self)
        return {("class" if key == "cls" else key): value for key, value in record.items()}


def record(
    guard: str, status: Status, why: str, *, measured: Any = None, threshold: Any = None,
    fix: str | None = None, stage: str | None = None,
) -> GuardRecord:  # fmt: skip
    """A record of `guard`, with its class, stage and default fix filled in from the registry."""
    entry = GUARDS[guard]
    return GuardRecord(
        guard, entry.cls, stage or entry.stage, status, measured, threshold, why,
        fix or (entry.fix if status in ("warn", "fail") else None),
    )  # fmt: skip


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of several statuses; `skip` only when there is nothing else."""
    order: list[Status] = ["skip", "pass", "warn", "fail"]
    return max(statuses, key=order.index, default="skip")


def limits(name: str) -> Limits:
    """One row of the table of thresholds."""
    return THRESHOLDS[name]


class GuardBook:
    """guards.json of one run: at most one record per guard and stage, the newest counts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self) -> list[GuardRecord]:
        """All records, in the registry's order."""
        if not self.path.exists():
            return []
        rows = [{("cls" if k == "class" else k): v for k, v in row.items()} for row in read_json(self.path)]
        found = [GuardRecord(**row) for row in rows]
        order = list(GUARDS)
        return sorted(found, key=lambda r: order.index(r.guard) if r.guard in order else len(order))

    def add(self, *records: GuardRecord) -> None:
        """Write the records, replacing older ones of the same guard and stage."""
        fresh = {(r.guard, r.stage) for r in records}
        kept = [r for r in self.records() if (r.guard, r.stage) not in fresh]
        write_json(self.path, [r.as_json() for r in [*kept, *records]])

    def failed_validity(self) -> list[GuardRecord]:
        """The class V records that have failed: with any of them there is no verdict."""
        return [r for r in self.records() if r.cls == "V" and r.status == "fail"]

    def drop_stages(self, *stages: str) -> None:
        """Forget the records of stages that are about to be done again."""
        if self.path.exists():
            write_json(self.path, [r.as_json() for r in self.records() if r.stage not in stages])

    def check(self, *records: GuardRecord) -> None:
        """Write the records, then stop at the first validity failure among them.

        Raises:
            GuardError: a class V record has failed (exit 3).
        """
        self.add(*records)
        for r in records:
            if r.cls == "V" and r.status == "fail":
                raise GuardError(r.guard, r.why, where=str(self.path), fix=r.fix)
