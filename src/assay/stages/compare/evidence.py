"""What a run directory holds when the report is written: each file read once, and what is missing, with the reason."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from scipy.special import stdtrit

from assay.core import words
from assay.core.files import read_json, read_lines, sha256_file
from assay.core.guard import GuardRecord
from assay.core.rundir import STAGES, RunDir

Json = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """Differences inside one group: its number of excerpts, and the t interval over them (None below three)."""

    items: int
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Evidence:
    """Everything the report shows. A file that does not exist is None or empty, never a default."""

    run: RunDir
    identity: Json | None
    manifest: Json | None
    profile: Json | None
    tokens: Json | None
    plan: Json | None
    training: Json | None
    summary: Json | None
    receipt: Json | None
    stages: Json
    metrics: list[Json]
    generations: list[Json]
    generations_sha256: str | None
    judge: Json | None
    ratings: Json | None
    guards: list[GuardRecord]
    spreads: dict[str, Spread]
    resolved: str | None
    last_event: Json | None

    @property
    def failed_validity(self) -> list[GuardRecord]:
        """The validity guards that failed: with any of them there is no verdict."""
        return words.failed_validity(self.guards)

    @property
    def verdict(self) -> Json | None:
        """The verdict, unless a validity guard failed or nothing was measured."""
        found: Json | None = (self.summary or {}).get("verdict")
        return None if self.failed_validity else found

    @property
    def only_prepared(self) -> bool:
        """Whether the data is there, nothing has been trained, and no validity guard stands in the way."""
        started = self.metrics or self.training is not None or self.summary is not None
        return self.manifest is not None and not started and not self.failed_validity

    @property
    def unrecorded(self) -> list[str]:
        """Guards of the registry that left no record in this run."""
        return words.unrecorded(self.guards)

    def by_guard(self) -> dict[str, list[GuardRecord]]:
        """The records of each guard, the worst first: several stages may have checked it."""
        return words.by_guard(self.guards)

    def with_status(self, status: str) -> list[str]:
        """The guards whose worst record has this status; `none`: those of the registry that left no record."""
        if status == "none":
            return self.unrecorded
        return words.with_status(self.guards, status)

    def part(self, key: str) -> tuple[Json | None, str]:
        """A part of the evaluation's summary; or None, and why it is not there."""
        if self.summary is None:
            return None, self.why_missing("evaluate")
        found: Json | None = self.summary.get(key)
        return found, "" if found else "the run was evaluated by a version that did not measure this; evaluate it again"

    def why_missing(self, stage: str) -> str:
        """Why the results of `stage` are not there, from what the run recorded."""
        until = STAGES[: STAGES.index(stage) + 1]
        stopped = [r for r in self.failed_validity if r.stage in until]
        if stopped:
            return f"the guard {stopped[0].guard} failed at the stage {stopped[0].stage}"
        waiting = next((s for s in until if s not in self.stages), None)
        if waiting is None:
            return f"the stage {stage} finished without writing this"
        reason = f"the stage {waiting} has not finished"
        if self.last_event:
            time = str(self.last_event.get("time")).replace("T", " ").removesuffix("+00:00")
            reason += f" (last recorded: “{self.last_event.get('event')}”, {time} UTC)"
        return reason


def within_group(path: Path) -> dict[str, Spread]:
    """Each group's t interval of base − tuned (bits per byte) over its own excerpts.

    The estimate is a ratio of sums, Σd ÷ Σb with d the difference in bits and b the bytes of an excerpt, so the
    standard error is the linearised one of a ratio: sqrt(n ÷ (n − 1) · Σ(d − R·b)²) ÷ Σb (Cochran, Sampling
    Techniques, 1977, section 6.3), with Student's t at n − 1 degrees of freedom. Fewer than three excerpts: none.
    """
    if not path.exists():
        return {}
    table = pl.read_parquet(path, columns=["group", "bytes", "nll_base", "nll_tuned"])
    found: dict[str, Spread] = {}
    for (group,), rows in table.group_by(["group"], maintain_order=True):
        sizes = rows["bytes"].to_numpy().astype(float)
        bits = (rows["nll_base"].to_numpy() - rows["nll_tuned"].to_numpy()) / math.log(2)
        items, total = len(sizes), float(sizes.sum())
        if items < 3 or total <= 0:
            found[str(group)] = Spread(items, None, None)
            continue
        ratio = float(bits.sum()) / total
        residual = float(((bits - ratio * sizes) ** 2).sum())
        half = float(stdtrit(items - 1, 0.975)) * math.sqrt(items / (items - 1) * residual) / total
        found[str(group)] = Spread(items, ratio - half, ratio + half)
    return found


def gather(run: RunDir) -> Evidence:
    """Read a run directory, finished or not.

    Raises:
        InputError: a file of the run is damaged; it is named.
    """

    def maybe(path: Path) -> Json | None:
        return read_json(path) if path.exists() else None

    events = read_lines(run.events)
    return Evidence(
        run=run,
        identity=maybe(run.identity),
        manifest=maybe(run.manifest),
        profile=maybe(run.profile),
        tokens=maybe(run.tokens_profile),
        plan=maybe(run.plan),
        training=maybe(run.training),
        summary=maybe(run.summary),
        receipt=maybe(run.receipt),
        stages=maybe(run.stages) or {},
        metrics=read_lines(run.metrics),
        generations=read_lines(run.generations),
        generations_sha256=sha256_file(run.generations) if run.generations.exists() else None,
        judge=maybe(run.judge),
        ratings=maybe(run.ratings),
        guards=run.guards.records(),
        spreads=within_group(run.texts),
        resolved=run.resolved.read_text(encoding="utf-8") if run.resolved.exists() else None,
        last_event=events[-1] if events else None,
    )
