"""One run's row in the ledger, read from the run's files: what the columns are, and where each comes from."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from assay.core.errors import InputError
from assay.core.files import at, read_json, read_lines, sha256_text
from assay.core.find import is_locked
from assay.core.others import alone
from assay.core.receipt import training_peak
from assay.core.resolved import values
from assay.core.rundir import STAGES, RunDir
from assay.core.scales import dev_scale, drawn
from assay.core.words import OUTCOMES

Kind = Literal["text", "choice", "time", "number", "bytes", "seconds", "flag"]
STATUSES = ("running", "unfinished", "finished", "failed")


@dataclass(frozen=True)
class Column:
    """A column: what kind of value it holds, what it means, and, of a choice, the values there are."""

    kind: Kind
    meaning: str
    choices: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """The SQLite type; numbers have none, so that whole ones stay whole and others do not become so."""
        return "TEXT" if self.kind in ("text", "choice", "time") else ""


# In the order in which `assay runs --csv` writes them. What is not measured, or not yet, is NULL.
COLUMNS: dict[str, Column] = {
    "path": Column("text", "the run's directory, below the runs directory"),
    "id": Column("text", "the short hash of what makes this run this run"),
    "experiment": Column("text", "the experiment's name"),
    "created": Column("time", "when the run was made, UTC"),
    "finished": Column("time", "when its last stage ended, UTC"),
    "status": Column("choice", "running, unfinished (interrupted or killed), finished or failed", STATUSES),
    "stage": Column("choice", "the last stage that is done", STAGES),
    "guard": Column("text", "the first validity guard that failed"),
    "why": Column("text", "why it failed, in words"),
    "damaged": Column("text", "its files that are missing or cannot be read"),
    "base": Column("text", "the base model"),
    "adapter": Column("text", "full, lora, qlora or dora"),
    "rank": Column("number", "the adapter's rank"),
    "seed": Column("number", "the training seed"),
    "outcome": Column(
        "choice", "the verdict; none before the report's checks and after a failed guard", tuple(OUTCOMES)
    ),
    "sentence": Column("text", "the verdict's sentence"),
    "base_bpb": Column("number", "bits per byte of the base on the test texts, pooled"),
    "tuned_bpb": Column("number", "bits per byte of the tuned model on the test texts, pooled"),
    "difference": Column("number", "base − tuned, bits per byte, mean over test groups: above 0 is better"),
    "low": Column("number", "lower end of the difference's interval"),
    "high": Column("number", "upper end of the difference's interval"),
    "base_mean": Column("number", "bits per byte of the base, mean over test groups"),
    "p": Column("number", "p of the difference (sign-flip test), before it is corrected for looks"),
    "groups": Column("number", "independent test groups"),
    "dev_bpb": Column("number", "bits per byte of the trained weights on the dev texts"),
    "dev_scale": Column(
        "text", "runs with the same value have a `dev_bpb` of the same dev texts, read in the same way"
    ),
    "scale": Column("text", "runs with the same value were measured on the same test texts in the same way"),
    "data": Column("text", "short hash of the data's content"),
    "train_items": Column("number", "training texts"),
    "train_bytes": Column("bytes", "bytes of the training texts"),
    "seconds": Column("seconds", "the stages that are done, with attempts at them that broke off"),
    "prepare_seconds": Column("seconds", "the stage prepare"),
    "plan_seconds": Column("seconds", "the stage plan"),
    "train_stage_seconds": Column("seconds", "the stage train, with loading and saving, and attempts that broke off"),
    "train_seconds": Column("seconds", "training steps alone"),
    "evaluate_seconds": Column("seconds", "the stage evaluate, with attempts that broke off"),
    "report_seconds": Column("seconds", "the stage report"),
    "train_tokens": Column("number", "tokens trained on"),
    "train_tokens_per_s": Column("number", "tokens trained on per second"),
    "peak_memory": Column("bytes", "the most that training held: of the GPU, where it trained on one"),
    "weights_bytes": Column("bytes", "the trained weights on the disk: the adapter, or the whole model"),
    "generation_tokens_per_s": Column("number", "new tokens per second of the tuned model, texts in batches"),
    "generation_tokens_per_s_alone": Column("number", "the same, one text at a time"),
    "first_token_seconds": Column("seconds", "from the prompt to the first new token, one text at a time"),
    "train_others": Column("number", "cores that other processes kept busy during training, on average"),
    "evaluate_others": Column("number", "cores that other processes kept busy during the evaluation, on average"),
    "comparable": Column("flag", "whether both had the machine to themselves; if not, the times are not comparable"),
    "sweep": Column("text", "the sweep that it was made for, or joined last"),
    "variant": Column("text", "its variant's name in that sweep"),
    "factors": Column("text", "its factors in that sweep, as JSON"),
}


_NOTES = ("joined", "settings changed")  # events that say nothing of how a run goes


def _names() -> tuple[str, ...]:
    run = RunDir(Path())
    files = (run.events, run.stages, run.guards.path, run.resolved, run.summary, run.training)
    return tuple(str(file) for file in files)


_LOOKED_AT = _names()


@dataclass(frozen=True)
class Membership:
    """A run's place in one sweep."""

    sweep: str
    variant: str | None
    factors: dict[str, Any]


@dataclass(frozen=True)
class Reading:
    """What a run's files say: its row, its settings by dotted key, its sweeps, and the state of the files then."""

    row: dict[str, Any]
    settings: dict[str, Any]
    sweeps: list[Membership]
    stamp: str


@dataclass
class _Files:
    """The run's files; what is torn or missing is empty, and is noted."""

    run: RunDir
    damaged: list[str] = field(default_factory=list)

    def json(self, path: Path, *, needed: bool) -> dict[str, Any]:
        if not needed and not path.exists():
            return {}
        try:
            value = read_json(path)
        except (InputError, OSError) as error:
            self.note(path, error.what if isinstance(error, InputError) else str(error))
            return {}
        if not isinstance(value, dict):
            self.note(path, "holds no keys")
            return {}
        return value

    def lines(self, path: Path) -> list[dict[str, Any]]:
        try:
            return [line for line in read_lines(path) if isinstance(line, dict)]
        except OSError as error:
            self.note(path, str(error))
            return []

    def guard(self) -> tuple[str | None, str | None]:
        """The first validity guard that failed, and why."""
        try:
            failed = self.run.guards.failed_validity()
        except (InputError, OSError, TypeError, AttributeError):  # torn, or not a list of records
            self.note(self.run.guards.path, "cannot be read")
            return None, None
        return (failed[0].guard, failed[0].why) if failed else (None, None)

    def note(self, path: Path, what: str) -> None:
        self.damaged.append(f"{path.relative_to(self.run.path)}: {what}")


def read_run(run: RunDir) -> dict[str, Any]:
    """One row of the ledger, read from the run's files; what is missing or torn is None."""
    return read(run).row


def path_of(run: RunDir) -> str:
    """The run's key in the ledger."""
    return f"{run.path.parent.name}/{run.path.name}"


def read(run: RunDir) -> Reading:
    """Read a run's files as they are now."""
    stamp = stamp_of(str(run.path))  # taken before the reading: a change in between is seen next time
    files = _Files(run)
    identity, stages = files.json(run.identity, needed=True), files.json(run.stages, needed=False)
    done = [stage for stage in STAGES if isinstance(stages.get(stage), dict)]
    manifest = files.json(run.manifest, needed="prepare" in done)
    training = files.json(run.training, needed="train" in done)
    summary = files.json(run.summary, needed="evaluate" in done)
    events, (guard, guard_why) = files.lines(run.events), files.guard()
    sweeps = _sweeps(events)
    settings = _settings(run, files)
    status, why = _status(run, done, events, guard)
    row = {
        "path": path_of(run),
        "id": _text(identity.get("short")) or run.path.name.rpartition("-")[2],
        "experiment": run.path.parent.name,
        "created": (_text(events[0].get("time")) if events else None) or _birth(run),
        "finished": _text(at(stages, done[-1], "finished")) if done else None,
        "status": status,
        "stage": done[-1] if done else None,
        "guard": guard,
        "why": guard_why or why,
        "base": _text(at(identity, "base", "spec")),
        "adapter": _text(at(identity, "adapter", "kind")),
        "rank": _whole(at(identity, "adapter", "rank")),
        "seed": _whole(identity.get("seed")),
        "data": _short_hash(at(identity, "data", "content")),
        "train_items": _whole(at(manifest, "splits", "train", "items")),
        "train_bytes": _whole(at(manifest, "splits", "train", "bytes")),
        **_metrics(summary, judged=guard is None and STAGES[-1] in done),
        "scale": _scale(files, summary, manifest, identity),
        "dev_bpb": _dev(training, files, run),
        "dev_scale": _dev_scale(files, manifest, identity),
        **_costs(stages, training, summary),
        "weights_bytes": _weights(run, done),
        "sweep": sweeps[-1].sweep if sweeps else None,
        "variant": sweeps[-1].variant if sweeps else None,
        "factors": json.dumps(sweeps[-1].factors, ensure_ascii=False, sort_keys=True) if sweeps else None,
        "damaged": "; ".join(files.damaged) or None,
    }
    return Reading({name: row[name] for name in COLUMNS}, settings, sweeps, stamp)


def stamp_of(run: str) -> str:
    """The state of the files, in the directory `run`, that a row depends on.

    The events come first: whatever assay does appends to them.
    """
    return " ".join([_state(f"{run}/{name}") for name in _LOOKED_AT])


def events_stamp(run: str) -> str:
    """The beginning of `stamp_of`: the state of events.jsonl alone."""
    return _state(f"{run}/{_LOOKED_AT[0]}")


def _state(file: str) -> str:  # tens of thousands of these before a listing: paths as plain text
    try:
        state = os.stat(file)
    except OSError:
        return "-"
    return f"{state.st_mtime_ns}:{state.st_size}:{state.st_ino}"


def _status(run: RunDir, done: list[str], events: list[dict[str, Any]], guard: str | None) -> tuple[str, str | None]:
    last: dict[str, Any] = next((event for event in reversed(events) if event.get("event") not in _NOTES), {})
    stopped = last if last.get("event") == "stopped" else None
    if is_locked(run):
        return "running", None
    if guard or stopped:
        return "failed", _text(stopped.get("why")) if stopped else None
    return ("finished" if STAGES[-1] in done else "unfinished"), None


def _metrics(summary: dict[str, Any], *, judged: bool) -> dict[str, Any]:
    found = at(summary, "difference")
    return {
        "outcome": _text(at(summary, "verdict", "outcome")) if judged else None,
        "sentence": _text(at(summary, "verdict", "sentence")) if judged else None,
        "base_bpb": _number(at(summary, "base", "bpb")),
        "tuned_bpb": _number(at(summary, "tuned", "bpb")),
        "difference": _number(at(found, "mean")),
        "low": _number(at(found, "low")),
        "high": _number(at(found, "high")),
        "base_mean": _number(at(found, "base_mean")),
        "p": _number(at(found, "p")),
        "groups": _whole(at(found, "n_groups")),
    }


def _scale(files: _Files, summary: dict[str, Any], manifest: dict[str, Any], identity: dict[str, Any]) -> str | None:
    """What the test texts were, and how they were scored; None where that is not on record."""
    settings, texts = at(summary, "settings"), _text(at(manifest, "splits", "test", "sha256"))
    if not texts or not identity or not isinstance(settings, dict):
        return None
    limit, seed = _whole(settings.get("max_bytes_per_group")), at(identity, "data", "split", "seed")
    try:
        excerpts = drawn(limit, seed, files.run.manifest_rows)
    except InputError as error:
        files.note(files.run.manifest_rows, error.what)
        return None
    return _short_hash([texts, excerpts, *(settings.get(key) for key in ("window", "stride", "bos_rule"))])


def _dev_scale(files: _Files, manifest: dict[str, Any], identity: dict[str, Any]) -> str | None:
    """What the dev texts were, and how they were read; None where that is not on record."""
    texts, window = _text(at(manifest, "splits", "dev", "sha256")), _whole(at(identity, "train", "max_length"))
    try:
        scale = dev_scale(texts, window, files.run.metrics)
    except OSError as error:
        files.note(files.run.metrics, str(error))
        return None
    return None if None in scale else _short_hash(scale)


def _spent(stages: dict[str, Any], stage: str) -> float | None:
    """Seconds of a stage with the attempts that did not finish it."""
    last = _number(at(stages, stage, "seconds"))
    return None if last is None else last + (_number(at(stages, stage, "earlier", "seconds")) or 0.0)


def _costs(stages: dict[str, Any], training: dict[str, Any], summary: dict[str, Any]) -> dict[str, Any]:
    took = {stage: _spent(stages, stage) for stage in STAGES}
    known = [seconds for seconds in took.values() if seconds is not None]
    others = {stage: _number(at(stages, stage, "others")) for stage in ("train", "evaluate")}
    quiet = [alone(stages[stage] if others[stage] is not None else {}) for stage in others]
    generation = at(summary, "generation", "cost", "tuned")
    return {
        "seconds": sum(known) if known else None,
        **{f"{stage}_seconds": took[stage] for stage in STAGES if stage != "train"},
        "train_stage_seconds": took["train"],
        "train_seconds": _number(training.get("seconds")),
        "train_tokens": _whole(training.get("tokens")),
        "train_tokens_per_s": _number(training.get("tokens_per_s")),
        "peak_memory": _whole(training_peak(training)),
        "generation_tokens_per_s": _number(at(generation, "tokens_per_s")),
        "generation_tokens_per_s_alone": _number(at(generation, "tokens_per_s_alone")),
        "first_token_seconds": _number(at(generation, "first_token_s")),
        "train_others": others["train"],
        "evaluate_others": others["evaluate"],
        "comparable": 0 if False in quiet else None if None in quiet else 1,
    }


def _dev(training: dict[str, Any], files: _Files, run: RunDir) -> float | None:
    """Bits per byte on the dev texts at the step whose weights are the result; None where there was no look then."""
    step, best = at(training, "result", "step"), at(training, "result", "best_step")
    if step is None:
        return None
    if step == best:
        return _number(at(training, "result", "best_dev_bpb"))
    looks = [line for line in files.lines(run.metrics) if line.get("step") == step and "dev_bpb" in line]
    return _number(looks[-1]["dev_bpb"]) if looks else None


def _weights(run: RunDir, done: list[str]) -> int | None:
    if "train" not in done:
        return None
    files = [*run.adapter.glob("*.safetensors"), *run.model.glob("*.safetensors")]
    return sum(file.stat().st_size for file in files) if files else None


def _settings(run: RunDir, files: _Files) -> dict[str, Any]:
    try:
        found = values(run)
    except (OSError, UnicodeDecodeError):
        found = {}
    if not found:
        files.damaged.append("resolved.yaml: is missing or cannot be read")
    return found


def _sweeps(events: list[dict[str, Any]]) -> list[Membership]:
    """The sweeps that the run was made for or joined, the last one last."""
    found: dict[str, Membership] = {}
    for event in events:
        varied = event.get("varied")
        name = _text(at(varied, "sweep"))
        if event.get("event") in ("created", "joined") and name:
            factors = at(varied, "factors")
            found.pop(name, None)
            found[name] = Membership(name, _text(at(varied, "variant")), factors if isinstance(factors, dict) else {})
    return list(found.values())


def _birth(run: RunDir) -> str | None:
    try:
        return datetime.fromtimestamp(run.path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except OSError:
        return None


def _short_hash(value: Any) -> str | None:
    return None if value is None else sha256_text(json.dumps(value, sort_keys=True))[:12]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None or abs(number) >= 2**63 else int(number)  # SQLite's integers have 64 bits
