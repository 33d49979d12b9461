"""The run directory: its paths, its lock, its events, and the record of finished stages."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from assay.core.errors import InputError
from assay.core.files import append_line, read_json, sha256_file, write_json
from assay.core.guard import GuardBook

LOOKS = "test-looks.jsonl"  # beside the runs: every look at test texts
STAGES = ("prepare", "plan", "train", "evaluate", "report")


def now() -> str:
    """The time in UTC, ISO 8601, to the second."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def attempts(record: Mapping[str, Any]) -> int:
    """How many attempts a finished stage took, by its record."""
    return 1 + int(record.get("earlier", {}).get("attempts", 0))


def spent(record: Mapping[str, Any]) -> float:
    """Seconds that a finished stage took, by its record, with those of the attempts that did not finish it."""
    return float(record["seconds"]) + float(record.get("earlier", {}).get("seconds", 0.0))


@dataclass(frozen=True)
class RunDir:
    """One run's directory. Every path in it has its name here and nowhere else."""

    path: Path

    @property
    def experiment(self) -> Path:
        return self.path / "experiment.yaml"

    @property
    def resolved(self) -> Path:
        return self.path / "resolved.yaml"

    @property
    def identity(self) -> Path:
        return self.path / "identity.json"

    @property
    def receipt(self) -> Path:
        return self.path / "receipt.json"

    @property
    def stages(self) -> Path:
        return self.path / "stages.json"

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def manifest(self) -> Path:
        return self.data / "manifest.json"

    @property
    def manifest_rows(self) -> Path:
        return self.data / "manifest.parquet"

    @property
    def profile(self) -> Path:
        return self.data / "profile.json"

    @property
    def tokens(self) -> Path:
        return self.path / "tokens"

    @property
    def tokens_profile(self) -> Path:
        return self.tokens / "profile.json"

    @property
    def plots(self) -> Path:
        return self.path / "plots"

    @property
    def plan(self) -> Path:
        return self.path / "plan.json"

    @property
    def metrics(self) -> Path:
        return self.path / "train" / "metrics.jsonl"

    @property
    def probe(self) -> Path:
        return self.path / "train" / "probe.json"

    @property
    def training(self) -> Path:
        return self.path / "train" / "summary.json"

    @property
    def reference(self) -> Path:
        return self.path / "train" / "reference.json"

    @property
    def read(self) -> Path:
        return self.path / "train" / "read.parquet"

    @property
    def checkpoints(self) -> Path:
        return self.path / "train" / "checkpoints"

    @property
    def adapter(self) -> Path:
        return self.path / "adapter"

    @property
    def model(self) -> Path:
        return self.path / "model"

    @property
    def evaluate(self) -> Path:
        return self.path / "evaluate"

    @property
    def texts(self) -> Path:
        return self.evaluate / "texts.parquet"

    @property
    def generations(self) -> Path:
        return self.evaluate / "generations.jsonl"

    @property
    def summary(self) -> Path:
        return self.evaluate / "summary.json"

    @property
    def judged(self) -> Path:
        return self.path / "judged"  # apart from the evaluation: answers outlive its repetition

    @property
    def judgements(self) -> Path:
        return self.judged / "judgements.jsonl"

    @property
    def judge(self) -> Path:
        return self.judged / "judge.json"

    @property
    def rating_key(self) -> Path:
        return self.judged / "rating_key.json"

    @property
    def ratings(self) -> Path:
        return self.judged / "ratings.json"

    @property
    def decode(self) -> Path:
        return self.path / "decode"  # apart from the stages: it may be tried again at any time

    @property
    def undecoded(self) -> Path:
        """Texts of an `assay decode` that has not come to its end."""
        return self.path / ".decode"

    @property
    def decoded(self) -> Path:
        return self.decode / "table.json"

    @property
    def preset(self) -> Path:
        return self.decode / "preset.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def events(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def guards(self) -> GuardBook:
        return GuardBook(self.path / "guards.json")

    def split(self, name: str) -> Path:
        """The Parquet file of one split: train, dev or test."""
        return self.data / f"{name}.parquet"

    def event(self, what: str, **details: Any) -> None:
        """Append one line to events.jsonl."""
        append_line(self.events, {"time": now(), "event": what, **details})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the directory against other writers.

        Raises:
            InputError: another process holds it.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=0.5)
        except Timeout as error:
            raise InputError(
                "another process is writing to this run",
                where=str(self.path),
                fix="wait for it to end, or make another run with --new",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def finished(self, stage: str) -> dict[str, Any] | None:
        """The record of a finished stage: its key, outputs {relative path: sha256}, seconds, and cores others used."""
        if not self.stages.exists():
            return None
        record: dict[str, Any] | None = read_json(self.stages).get(stage)
        return record

    def begin(self, stage: str) -> None:
        """Forget that `stage` and the later ones were finished: what they made is about to be made anew."""
        if self.stages.exists():
            records = read_json(self.stages)
            write_json(self.stages, {name: records[name] for name in STAGES[: STAGES.index(stage)] if name in records})

    def finish(
        self,
        stage: str,
        *,
        key: str,
        outputs: Iterable[Path],
        seconds: float,
        shared: Mapping[str, Any] | None = None,
        earlier: Mapping[str, Any] | None = None,
    ) -> None:
        """Record a stage as finished, with the hashes of what it wrote; later stages are forgotten.

        Args:
            seconds: of the attempt that finished it.
            earlier: `attempts` before it that did not, and their `seconds`.
            shared: what other processes did meanwhile (`core.others`); without it that is not known.
        """
        records = read_json(self.stages) if self.stages.exists() else {}
        kept = {name: records[name] for name in STAGES[: STAGES.index(stage)] if name in records}
        kept[stage] = {
            "key": key,
            "finished": now(),
            "seconds": round(seconds, 3),
            "earlier": dict(earlier or {"attempts": 0, "seconds": 0.0}),
            **(shared or {"others": None}),
            "outputs": {str(p.relative_to(self.path)): sha256_file(p) for p in sorted(outputs)},
        }
        write_json(self.stages, kept)

    def changed_outputs(self, stage: str) -> list[str]:
        """Relative paths of a finished stage's outputs that are missing or no longer have their recorded hash."""
        record = self.finished(stage) or {"outputs": {}}
        return [
            name
            for name, digest in record["outputs"].items()
            if not (self.path / name).is_file() or sha256_file(self.path / name) != digest
        ]
