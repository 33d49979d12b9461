"""What each entry cost, from its runs' files, and which of these numbers may be held against each other.

A timing may be if it was taken on the first run's machine, in one go, of the same work, and alone (`core.others`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from assay.core.files import read_json, read_lines
from assay.core.others import alone
from assay.core.receipt import training_peak
from assay.core.rundir import RunDir
from assay.stages.compare.measured import Measured

Json = dict[str, Any]
Read = Callable[[Measured], Any]


@dataclass(frozen=True)
class Cost:
    """One cost of an entry, in `unit`: the mean over its seeds.

    `value` is None where it was not measured, and `reason` says why. `comparable` is whether it may be held against
    the other entries', None where the run does not say; `caution` says why not, or what is not known.
    """

    key: str
    label: str
    unit: str
    value: float | None
    by_seed: tuple[float | None, ...]
    reason: str | None
    comparable: bool | None
    caution: str | None


@dataclass(frozen=True)
class Costs:
    """What one entry cost, and the machine that it was measured on."""

    items: tuple[Cost, ...]
    hardware: Json

    def __getitem__(self, key: str) -> Cost:
        return next(item for item in self.items if item.key == key)

    def as_json(self) -> Json:
        """All costs by their key, and the machine, as plain JSON values."""
        return {"hardware": self.hardware, **{item.key: asdict(item) for item in self.items}}


@dataclass(frozen=True)
class _Kind:
    """How a cost is found. `timed` gives the record that tells whether a timing was disturbed; None: no timing."""

    key: str
    label: str
    unit: str
    read: Read
    absent: str
    timed: Callable[[Measured], Json] | None = None
    of_machine: bool = True  # another machine gives another value


def _arm(run: Measured) -> Json:
    """What the tuned model's generated texts cost."""
    found: Json = run.summary.get("generation", {}).get("cost", {}).get("tuned", {})
    return found


def _generated(key: str) -> Read:
    return lambda run: _arm(run).get(key)


def _training(run: Measured) -> Json:
    return run.run.finished("train") or {}


def _generation(run: Measured) -> Json:
    """Its own record where it has one, else the whole evaluation's."""
    return _arm(run) if "others" in _arm(run) else _evaluation(run)


def _evaluation(run: Measured) -> Json:
    return run.run.finished("evaluate") or {}


def _saved(run: Measured) -> int | None:
    """Bytes of the trained weights' file."""
    file = run.training["weights"].get("file")
    path = run.run.path / file if file else None
    return path.stat().st_size if path and path.is_file() else None


_NO_TEXTS = "no texts were generated (evaluate.prompts)"
_NO_RECORD = "the training left no record of it"
KINDS = (
    _Kind("train_seconds", "Training", "s", lambda r: r.training.get("seconds"), _NO_RECORD, _training),
    _Kind("train_tokens_per_s", "Training speed", "tokens/s", lambda r: r.training.get("tokens_per_s"), _NO_RECORD,
          _training),
    _Kind("peak_memory", "Peak memory of training", "bytes", lambda r: training_peak(r.training),
          "the system does not say"),
    _Kind("trainable_parameters", "Trained parameters", "count", lambda r: r.training.get("trainable_parameters"),
          _NO_RECORD, None, False),
    _Kind("saved_bytes", "Saved weights", "bytes", _saved, "the file of the weights is gone", None, False),
    _Kind("tokens_per_s", "Generation, one text", "tokens/s", _generated("tokens_per_s_alone"), _NO_TEXTS, _generation),
    _Kind("tokens_per_s_batch", "Generation, in batches", "tokens/s", _generated("tokens_per_s"), _NO_TEXTS,
          _generation),
    _Kind("first_token_s", "Wait for the first token", "s", _generated("first_token_s"), _NO_TEXTS, _generation),
    _Kind("evaluate_seconds", "Evaluation", "s", lambda r: _evaluation(r).get("seconds"),
          "the evaluation left no record of it", _evaluation),
)  # fmt: skip


def costs(sides: Sequence[Sequence[Measured]]) -> list[Costs]:
    """The costs of each entry; what hangs on the machine or on work shared is held against the first run's."""
    first = sides[0][0]
    return [Costs(tuple(_cost(kind, side, first) for kind in KINDS), _machine(side[0].run)) for side in sides]


def _cost(kind: _Kind, side: Sequence[Measured], first: Measured) -> Cost:
    by_seed = tuple(_number(kind.read(run)) for run in side)
    known = [value for value in by_seed if value is not None]
    if len(known) < len(by_seed):
        return Cost(kind.key, kind.label, kind.unit, None, by_seed, kind.absent, None, None)
    comparable, caution = _comparable(kind, side, first)
    return Cost(kind.key, kind.label, kind.unit, math.fsum(known) / len(known), by_seed, None, comparable, caution)


def _comparable(kind: _Kind, side: Sequence[Measured], first: Measured) -> tuple[bool | None, str | None]:
    """Whether a cost may be held against the first run's, and what speaks against it."""
    if kind.of_machine:
        machines = [_other_machine(_machine(first.run), _machine(run.run)) for run in side]
        if other := next(filter(None, machines), None):
            return False, f"another machine than the first entry's: {other}"
    if kind.timed is None:
        return True, None
    if kind.timed is _training and (again := [run for run in side if _resumed(run.run)]):
        return False, f"the training was interrupted and went on ({_of(again, side)})"
    if kind.timed is _evaluation and (less := [run for run in side if _taken(run) != _taken(first)]):
        return False, f"not as much of the base as in the first run came from an earlier run ({_of(less, side)})"
    records = [kind.timed(run) for run in side]
    if disturbed := [run for run, record in zip(side, records, strict=True) if alone(record) is False]:
        most = max(record["others"] for record in records if alone(record) is False)
        return False, f"the machine was shared: others kept {most:.2g} cores busy meanwhile ({_of(disturbed, side)})"
    if unknown := [run for run, record in zip(side, records, strict=True) if alone(record) is None]:
        return None, f"whether the machine was shared is not recorded ({_of(unknown, side)})"
    return True, None


def _taken(run: Measured) -> set[str]:
    """The parts of the base's results that the evaluation took from earlier runs."""
    return {part["what"] for part in run.summary.get("from_earlier_runs", [])}


def _of(some: Sequence[Measured], side: Sequence[Measured]) -> str:
    if len(some) == len(side):
        return "every seed" if len(side) > 1 else "its one run"
    return f"seed {', '.join(str(run.seed) for run in some)}"


def _resumed(run: RunDir) -> bool:
    return any(isinstance(line, dict) and line.get("event") == "training resumed" for line in read_lines(run.events))


def _machine(run: RunDir) -> Json:
    """The processor or GPU, what there was of it, and how many threads were used."""
    plan = read_json(run.plan) if run.plan.is_file() else {}
    receipt = read_json(run.receipt) if run.receipt.is_file() else {}
    machine, decisions = plan.get("machine", {}), plan.get("decisions", {})
    hardware = receipt.get("hardware") or {
        "cpu": machine.get("processor"), **{key: machine.get(key) for key in ("cores", "memory", "gpu")}
    }  # fmt: skip
    return hardware | {"device": decisions.get("device"), "threads": decisions.get("threads")}


def _other_machine(first: Json, own: Json) -> str | None:
    """What differs of two machines, in words; None where nothing does. Free memory is no part of it."""
    differing = [key for key in ("cpu", "gpu", "cores", "device", "threads") if first.get(key) != own.get(key)]
    return ", ".join(f"{key} {own.get(key)} and not {first.get(key)}" for key in differing) or None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)
