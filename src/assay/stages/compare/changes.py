"""In what the compared entries differ: resolved values, decisions of the plan, training texts, work done."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from assay.core.console import size
from assay.core.describe import settings
from assay.core.files import read_json
from assay.core.rundir import RunDir
from assay.stages.compare.measured import Measured

Json = dict[str, Any]
Kind = Literal["setting", "decided", "data", "done"]

# What a run is called and its seed are no differences of the entries: these stand beside their names.
_NOT_SHOWN = ("name", "seed")


@dataclass(frozen=True)
class Change:
    """One row of the table: what it is, and its value in words for each entry; None where an entry has none.

    A `setting` is a key of the experiment; the plan `decided` what the experiment left open; `data` are facts of the
    training texts, `done` the work of the training.
    """

    key: str
    values: tuple[str | None, ...]
    kind: Kind

    @property
    def differs(self) -> bool:
        """Whether the entries have different values."""
        return len(set(self.values)) > 1


@dataclass(frozen=True)
class Changes:
    """Settings and decisions that differ between entries; training texts and work in any case."""

    rows: tuple[Change, ...]

    def as_json(self) -> list[Json]:
        """The rows, as plain JSON values."""
        return [{**asdict(row), "differs": row.differs} for row in self.rows]


def changes(sides: Sequence[Sequence[Measured]]) -> Changes:
    """The differences of entries, each told by its first run: the others have the same values but for the seed."""
    runs = [side[0] for side in sides]
    resolved = [{one["key"]: one["value"] for one in settings(run.run)} for run in runs]
    rows = [
        Change(key, tuple(_plain(own.get(key)) for own in resolved), "setting")
        for key in dict.fromkeys(key for own in resolved for key in own)
        if key not in _NOT_SHOWN
    ]
    if len({run.identity["base"]["hash"] for run in runs}) > 1:
        rows.append(Change("weights of the base", tuple(run.identity["base"]["hash"][:12] for run in runs), "setting"))
    plans = [_decisions(run.run) for run in runs]
    rows += [Change(key, tuple(own.get(key) for own in plans), "decided") for key in plans[0]]
    found = [row for row in rows if row.differs]
    return Changes((*found, *_training_texts(runs), *_work(runs)))


def _plain(value: str | None) -> str | None:
    """A YAML scalar as a reader wants it: without the quotes of a text."""
    if value and len(value) > 1 and value[0] == value[-1] == '"':
        return value[1:-1]
    return value


def _decisions(run: RunDir) -> dict[str, str]:
    plan = read_json(run.plan) if run.plan.is_file() else {}
    decided = plan.get("decisions", {})
    found = {key: decided.get(key) for key in ("precision", "micro_batch_tokens", "checkpointing", "device", "threads")}
    return {
        f"{key.replace('_', ' ')} (decided)": str(value.get("value") if isinstance(value, dict) else value)
        for key, value in found.items()
    }


def _training_texts(runs: Sequence[Measured]) -> list[Change]:
    parts = [(read_json(run.run.manifest) if run.run.manifest.is_file() else {}).get("splits", {}) for run in runs]
    told: dict[str, Callable[[Json], str]] = {
        "rows of training": lambda part: f"{part['items']:,}",
        "groups of training": lambda part: f"{part['groups']:,}",
        "size of training": lambda part: size(part["bytes"]),
        "content of training": lambda part: str(part["sha256"])[:12],
    }
    return [
        Change(key, tuple(tell(part["train"]) if "train" in part else None for part in parts), "data")
        for key, tell in told.items()
    ]


def _work(runs: Sequence[Measured]) -> list[Change]:
    def epochs(run: Measured) -> str | None:
        tokens, whole = run.training.get("tokens"), run.training.get("corpus", {}).get("tokens_per_epoch")
        return f"{tokens / whole:.3g}" if tokens and whole else None

    def tokens(run: Measured) -> str | None:
        return f"{run.training['tokens']:,}" if run.training.get("tokens") else None

    return [
        Change("optimizer steps", tuple(f"{run.training['steps']:,}" for run in runs), "done"),
        Change("tokens trained on", tuple(tokens(run) for run in runs), "done"),
        Change("epochs", tuple(epochs(run) for run in runs), "done"),
    ]
