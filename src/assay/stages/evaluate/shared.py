"""What is measured of the base, shared by runs that would measure the same: stored once, checked before each use.

A part's key holds everything that decides it: the base, its tokenizer and template, the machine and its decisions,
the libraries' versions, and what was asked. A run that makes a part reads it back from the store, so that it uses just
what the next one will.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import polars as pl

from assay.core.console import Console
from assay.core.errors import GuardError
from assay.core.files import read_json, sha256_json, write_json
from assay.core.rundir import now
from assay.core.store import Store
from assay.model.generate import Generation
from assay.model.score import Nats
from assay.stages.evaluate.generations import Arm
from assay.stages.evaluate.harness import Metric

T = TypeVar("T")
ABOUT = "about.json"


@dataclass(frozen=True)
class Kind(Generic[T]):
    """One kind of results, and its form in the store.

    Args:
        name: its folder there.
        words: what it is, for people.
        version: raised when the same model, asked the same, would give other results.
        write: puts it into a folder.
        read: the reverse.
    """

    name: str
    words: str
    version: int
    write: Callable[[T, Path], object]
    read: Callable[[Path], T]


@dataclass(frozen=True)
class Part(Generic[T]):
    """One part of the base's results; `earlier` says which run made it and when, None where this one did."""

    value: T
    earlier: dict[str, Any] | None


@dataclass(frozen=True)
class Shared:
    """The store, as one run sees it that measures one base in one setting.

    Args:
        store: what runs share.
        run: this run's name.
        setting: what decides all results of the base alike.
        console: is told what is waited for.
        taken: each part that came from an earlier run: what it is, that run, and when it was measured.
    """

    store: Store
    run: str
    setting: dict[str, Any]
    console: Console
    taken: list[dict[str, Any]] = field(default_factory=list)

    def once(self, kind: Kind[T], asked: Any, make: Callable[[], T], *, label: str | None = None) -> Part[T]:
        """A part from the store, made where it is not there.

        Args:
            kind: of results.
            asked: what was asked, as a JSON value or its hash.
            make: measures it.
            label: which of its kind it is, for people.

        Raises:
            GuardError: `a-a-control`: what is stored is not what was stored.
        """
        words = kind.words if label is None else f"{kind.words} ({label})"

        def fill(folder: Path) -> None:
            kind.write(make(), folder)
            write_json(folder / ABOUT, {"run": self.run, "measured": now()})

        key = sha256_json([kind.name, kind.version, self.setting, asked])
        waiting = partial(self.console.note, f"another run is measuring the base's {words}: waiting for it")
        entry = self.store.once(kind.name, key, fill, waiting=waiting)
        if entry.damaged:
            raise GuardError(
                "a-a-control",
                f"the base's stored {words} are not what was stored",
                where=str(entry.path),
                fix="delete this folder: the base is then measured again",
            )
        earlier = None if entry.made else {"what": words, **read_json(entry.path / ABOUT)}
        if earlier:
            self.taken.append(earlier)
        return Part(kind.read(entry.path), earlier)


def _write_scores(scores: Sequence[Nats], folder: Path) -> None:
    frame = pl.DataFrame({"nats": [n.tolist() for n in scores]}, schema={"nats": pl.List(pl.Float64)})
    frame.write_parquet(folder / "scores.parquet")


def _read_scores(folder: Path) -> list[Nats]:
    return [row.to_numpy() for row in pl.read_parquet(folder / "scores.parquet")["nats"]]


_GENERATION: dict[str, Any] = {"text": pl.String, "raw": pl.String, "ids": pl.List(pl.Int64), "stopped": pl.Boolean}


def _write_arm(arm: Arm, folder: Path) -> None:
    rows = [{**asdict(one), "ids": list(one.ids)} for one in arm.generations]
    pl.DataFrame(rows, schema=_GENERATION).write_parquet(folder / "generations.parquet")
    write_json(folder / "cost.json", arm.cost)


def _read_arm(folder: Path) -> Arm:
    rows = pl.read_parquet(folder / "generations.parquet").rows(named=True)
    return Arm([Generation(**row | {"ids": tuple(row["ids"])}) for row in rows], read_json(folder / "cost.json"))


def _write_recital(hits: list[bool], folder: Path) -> None:
    write_json(folder / "recital.json", hits)


def _read_recital(folder: Path) -> list[bool]:
    return [bool(hit) for hit in read_json(folder / "recital.json")]


def _write_tasks(metrics: Sequence[Metric], folder: Path) -> None:
    write_json(folder / "metrics.json", [metric.as_json() for metric in metrics])


def _read_tasks(folder: Path) -> list[Metric]:
    return [Metric.from_json(row) for row in read_json(folder / "metrics.json")]


SCORES: Kind[list[Nats]] = Kind("base-scores", "scores", 3, _write_scores, _read_scores)
PROBES: Kind[list[Nats]] = Kind("base-probes", "scores of probe texts", 1, _write_scores, _read_scores)
CONTINUATIONS: Kind[Arm] = Kind("base-continuations", "continuations", 1, _write_arm, _read_arm)
RECITAL: Kind[list[bool]] = Kind("base-recital", "recital", 1, _write_recital, _read_recital)
TASKS: Kind[list[Metric]] = Kind("base-tasks", "answers to tasks", 1, _write_tasks, _read_tasks)
