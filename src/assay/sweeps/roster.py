"""The runs of a sweep, where each of them stands, and the record that says so: `sweep.json`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from assay.config.load import Loaded
from assay.config.matrix import Variant
from assay.config.sweep import SearchConfig
from assay.core.errors import AssayError, GuardError, InputError, MachineError
from assay.core.files import read_lines, sha256_json, write_json
from assay.core.rundir import RunDir, now
from assay.pipeline import standing

State = Literal["to do", "unfinished", "running", "done", "failed"]
FILE = "sweep.json"


@dataclass(frozen=True)
class Failure:
    """Why a run has no outcome: what, where and the fix as on the command line, and the exit code of its process."""

    what: str
    where: str | None
    fix: str | None
    code: int

    @classmethod
    def of(cls, error: AssayError) -> Failure:
        """The failure that an error of ours describes."""
        return cls(error.what, error.where, error.fix, error.exit_code)


@dataclass
class Row:
    """One run of a sweep.

    Args:
        key: names it within the sweep, and its log; safe as a file's name.
        name: of its variant.
        overrides: what `--set` would take for it, its seed among them.
        until: the last stage that is asked of it.
        run: its directory, relative to the runs directory; None before it has one.
        seconds: of the wall clock, of all attempts of this sweep together.
        predicted: what the plan says of it (`foretell.Foretold` as JSON); None before there is a plan.
        dev_bpb: of a search: bits per byte of the dev texts after the training.
        chosen: of the best of a search: what was chosen by them, in words.
    """

    key: str
    name: str
    seed: int
    factors: dict[str, str]
    overrides: list[str]
    until: str = "report"
    state: State = "to do"
    run: str | None = None
    attempts: int = 0
    started: str | None = None
    ended: str | None = None
    seconds: float = 0.0
    predicted: dict[str, Any] | None = None
    dev_bpb: float | None = None
    chosen: str | None = None
    failure: Failure | None = None

    def directory(self, runs_dir: Path) -> RunDir | None:
        """Its run directory, if it has one."""
        return None if self.run is None else RunDir(runs_dir / self.run)


@dataclass
class Record:
    """All of sweep.json, and where it lies. `save` after every change."""

    folder: Path
    runs_dir: Path
    id: str
    experiment: str
    text_sha256: str  # of the experiment file: its processes refuse another
    created: str
    rows: list[Row]
    declared: dict[str, list[str]] = field(default_factory=dict)  # factor → the keys that it changes
    workers: int = 1
    search: dict[str, Any] | None = None
    comparison: dict[str, Any] = field(default_factory=dict)
    earlier: dict[str, Any] = field(default_factory=dict)  # the rows as an earlier command left them, by key

    def save(self) -> None:
        """Write sweep.json, atomically."""
        values = {"schema": 1, **asdict(self), "updated": now()}
        for name in ("folder", "runs_dir", "earlier"):
            del values[name]
        write_json(self.folder / FILE, values)

    def log(self, name: str) -> Path:
        """Where a process writes what it says; those of runs go by their keys."""
        return self.folder / "logs" / f"{name}.log"

    def trainings_ahead(self) -> int:
        """Of a search, how many trainings the trials still take: one for each seed."""
        ahead = self.search["trials"] - self.search["tried"] if self.search else 0
        return max(0, ahead) * len({row.seed for row in self.rows})

    def counts(self) -> Counter[State]:
        """How many runs stand where."""
        return Counter(row.state for row in self.rows)


def sweep_id(variants: Sequence[Variant], search: SearchConfig) -> str:
    """Eight hex digits of what the sweep asks for: its variants' whole experiments, and what it searches.

    Not the number of trials: with more of them the same search goes on.
    """
    asked = [[v.name, v.loaded.experiment.model_dump(mode="json")] for v in variants]
    return sha256_json([asked, search.model_dump(mode="json", exclude={"trials"}) if search.space else None])[:8]


def rows_of(variants: Sequence[Variant]) -> list[Row]:
    """A row for each variant; where there are several seeds, keys tell them apart."""
    seeds = {v.seed for v in variants}
    return [
        Row(
            key=f"{v.slug}-seed{v.seed}" if len(seeds) > 1 else v.slug,
            name=v.name, seed=v.seed, factors=dict(v.factors), overrides=[*v.overrides, f"seed={v.seed}"],
        )
        for v in variants
    ]  # fmt: skip


def recall(row: Row, earlier: Mapping[str, Any]) -> None:
    """Take over what an earlier command of this sweep has recorded of a run (`Record.earlier`)."""
    if known := earlier.get(row.key):
        failure = known["failure"]
        row.failure = Failure(**failure) if failure else None
        row.run, row.attempts, row.seconds = known["run"], known["attempts"], known["seconds"]
        row.started, row.ended = known["started"], known["ended"]


def look(row: Row, loaded: Loaded, runs_dir: Path) -> None:
    """See from the run's own files where it stands: they are the truth, whatever the record says.

    Where they are of another run than the record's (the data have changed, say), what it says of that one goes.
    """
    before, row.run = row.run, None
    try:
        found = standing(loaded, runs_dir=runs_dir, until=row.until)
    except AssayError as error:
        row.state, row.failure = "failed", Failure.of(error)
        return
    row.run = None if found.run is None else found.run.path.relative_to(runs_dir).as_posix()
    if before is not None and row.run not in (None, before):
        row.failure, row.attempts, row.seconds, row.started, row.ended = None, 0, 0.0, None, None
    if not found.left:
        row.state, row.failure = "done", None
        return
    if row.failure is None and found.run is not None:
        row.failure = _stopped(found.run)
    row.state = "failed" if row.failure else "to do" if found.run is None else "unfinished"


def _stopped(run: RunDir) -> Failure | None:
    """Why a run that was not made by this sweep stopped, if it did."""
    events = [event for event in read_lines(run.events) if event["event"] not in ("joined", "settings changed")]
    if not events or events[-1]["event"] != "stopped":
        return None
    kinds = {kind.__name__: kind.exit_code for kind in (InputError, GuardError, MachineError)}
    return Failure(events[-1]["why"], str(run.path), None, kinds.get(events[-1]["kind"], AssayError.exit_code))


def in_order(rows: Iterable[Row]) -> list[Row]:
    """The runs that are not done: first those under way, then new ones, last those that failed before.

    Within these the bases take turns: what is measured of a base is measured once, and runs of one base that
    come to it side by side would wait for each other.
    """
    ranks: dict[State, int] = {"unfinished": 0, "running": 0, "to do": 1, "failed": 2}
    turns: Counter[tuple[int, str]] = Counter()
    placed = []
    for number, row in enumerate(rows):
        if row.state == "done":
            continue
        rank, base = ranks[row.state], row.predicted["base"] if row.predicted else ""
        placed.append((rank, turns[rank, base], number, row))
        turns[rank, base] += 1
    return [row for *_, row in sorted(placed, key=lambda one: one[:3])]
