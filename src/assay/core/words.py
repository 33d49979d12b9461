"""The words that the terminal and the report share: the outcomes of a verdict, and how many guards ended how."""

from __future__ import annotations

from collections.abc import Sequence

from assay.core.guard import OF_A_RUN, GuardRecord, Status

OUTCOMES = {
    "better": "better",
    "better-but-small": "better, but small",
    "not-shown": "not shown",
    "worse": "worse",
    "cannot-conclude": "cannot conclude",
}

_WORST_FIRST: tuple[Status, ...] = ("fail", "warn", "pass", "skip")
_ENDED: dict[Status, str] = {"pass": "passed", "warn": "warned", "fail": "failed", "skip": "skipped"}


def by_guard(records: Sequence[GuardRecord]) -> dict[str, list[GuardRecord]]:
    """The records of each guard, the worst first: several stages may have checked it."""
    found: dict[str, list[GuardRecord]] = {}
    for record in records:
        found.setdefault(record.guard, []).append(record)
    return {guard: sorted(rows, key=lambda r: _WORST_FIRST.index(r.status)) for guard, rows in found.items()}


def with_status(records: Sequence[GuardRecord], status: str) -> list[str]:
    """The guards whose worst record has this status."""
    return [guard for guard, rows in by_guard(records).items() if rows[0].status == status]


def unrecorded(records: Sequence[GuardRecord]) -> list[str]:
    """The guards that a run is to have a record of, and has none so far."""
    seen = {record.guard for record in records}
    return [guard for guard in OF_A_RUN if guard not in seen]


def failed_validity(records: Sequence[GuardRecord]) -> list[GuardRecord]:
    """The validity guards that failed: with any of them there is no verdict."""
    return [record for record in records if record.cls == "V" and record.status == "fail"]


def guard_line(records: Sequence[GuardRecord], *, names: bool = True) -> str:
    """``15 passed, 1 warned (power), 0 failed, 1 skipped (seeds), 2 not run``: each guard once, by its worst record."""
    said: list[str] = []
    for status, word in _ENDED.items():
        found = with_status(records, status)
        listed = f" ({', '.join(found)})" if names and found and status != "pass" else ""
        said.append(f"{len(found)} {word}{listed}")
    missing = unrecorded(records)
    if missing:
        said.append(f"{len(missing)} not run")
    return ", ".join(said)


def no_verdict(failed: Sequence[GuardRecord]) -> str:
    """``no verdict: the validity guard split-leak failed``, with every guard among the records named once."""
    names = list(dict.fromkeys(record.guard for record in failed))
    return f"no verdict: the validity {'guard' if len(names) == 1 else 'guards'} {' and '.join(names)} failed"


def count(amount: int, noun: str, nouns: str | None = None) -> str:
    """``1 text``, ``2 texts``; `nouns` is a plural that is not the noun and an s."""
    return f"{amount:,} {noun if amount == 1 else nouns or f'{noun}s'}"


def listed(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
