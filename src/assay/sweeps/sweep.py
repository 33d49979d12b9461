"""A sweep: all runs of an experiment's matrix, from the plan of all to the comparison of what they came to."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil
from filelock import FileLock, Timeout

from assay.config.matrix import Variant, variants
from assay.core.console import Console
from assay.core.errors import InputError, Interrupted
from assay.core.files import make_folder, read_json
from assay.core.find import SWEEPS, is_run
from assay.core.machine import cores_given, limited
from assay.core.rundir import now
from assay.stages.compare.runs import Comparison
from assay.stages.plan import SHARE
from assay.sweeps import child
from assay.sweeps.carry_out import Command, carry_out
from assay.sweeps.foretell import foretell, foretold
from assay.sweeps.result import conclude
from assay.sweeps.roster import FILE, Record, Row, in_order, look, recall, rows_of, sweep_id
from assay.sweeps.searching import Searching, tried
from assay.sweeps.slots import Slot, fitting, gpus_here, share_out

Workers = int | Literal["auto"]


@dataclass(frozen=True)
class Swept:
    """What a sweep came to: its record, as in sweep.json, and the comparison where there is one."""

    record: Record
    comparison: Comparison | None = None


def sweep(
    target: str,
    *,
    runs_dir: Path,
    overrides: Sequence[str] = (),
    only_plan: bool = False,
    show: Callable[[Record], None] = lambda record: None,
    console: Console | None = None,
    command: Command = child.command,
) -> Swept:
    """Do all runs of an experiment's matrix that are not done, and compare what they came to.

    Args:
        target: an experiment file.
        overrides: ``section.key=value``, over the file's values, for every run.
        only_plan: prepare the data and plan each run, and train nothing.
        show: called with the plan, before anything is trained.
        command: what starts a process that reads its task from standard input.

    Raises:
        InputError: the matrix does not stand, two of its variants are one run or have other test texts, or another
            command is at work on a sweep of this experiment.
        MachineError: the GPUs cannot be listed.
        Interrupted: stopped by the user; the same command goes on.
    """
    console = console or Console()
    path = Path(target).expanduser()
    if is_run(path):
        raise InputError(
            "is a run, and a sweep has an experiment file", where=target, fix="assay sweep EXPERIMENT.yaml"
        )
    asked = variants(path, overrides)
    with _alone(runs_dir / asked[0].loaded.experiment.name / SWEEPS):
        record = _record(asked, runs_dir)
        try:
            ready, slots = _planned(record, asked, console, command)
            show(record)
            if only_plan:
                return Swept(record)
            if record.search:
                config = asked[0].loaded.matrix.sweep.search
                search = Searching(record, asked, config, overrides, waiting=ready)
                carry_out(record, slots, search.take, ended=search.ended, console=console, command=command)
                ready = search.choose()
            _carry_out(record, ready, slots, console, command)
        except KeyboardInterrupt:
            raise Interrupted("interrupted; what is done is kept", fix="the same command goes on from here") from None
        return Swept(record, conclude(record))


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold an experiment's sweeps against other commands.

    Raises:
        InputError: another process holds them.
    """
    make_folder(folder)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=0.5)
    except Timeout:
        raise InputError(
            "another process is at work on a sweep of this experiment",
            where=str(folder),
            fix="wait for it to end, or give this experiment another name",
        ) from None
    try:
        yield
    finally:
        lock.release()


def _record(asked: Sequence[Variant], runs_dir: Path) -> Record:
    """The sweep as it stands: what its earlier commands recorded, and what the runs' own files say."""
    loaded = asked[0].loaded
    config = loaded.matrix.sweep.search
    own = sweep_id(asked, config)
    folder = runs_dir / loaded.experiment.name / SWEEPS / own
    before: dict[str, Any] = read_json(folder / FILE) if (folder / FILE).is_file() else {}
    earlier = {row["key"]: row for row in before.get("rows", [])}
    rows = rows_of(asked)
    for row, variant in zip(rows, asked, strict=True):
        row.until = "train" if config.space else row.until
        recall(row, earlier)
        look(row, variant.loaded, runs_dir)
    text = hashlib.sha256(loaded.path.read_bytes()).hexdigest()
    record = Record(folder, runs_dir, own, str(loaded.path), text, before.get("created", now()), rows, earlier=earlier)
    record.declared = {factor: list(keys) for factor, keys in loaded.matrix.ablations.items()}
    record.search = {"method": config.method, "trials": config.trials, "tried": tried(folder)} if config.space else None
    record.save()
    return record


def _planned(
    record: Record, asked: Sequence[Variant], console: Console, command: Command
) -> tuple[list[Row], list[Slot]]:
    """The runs to be done, in order, and their places; planned again for fewer places where not all fit at once."""
    wish: Workers = asked[0].loaded.matrix.sweep.workers
    left = _ahead(record)
    elsewhere = any(variant.loaded.experiment.train.device != "cpu" for variant in asked)
    gpus = gpus_here() if elsewhere else ()
    slots = share_out(wish, runs=left, cores=cores_given(), gpus=gpus, bound=not limited())
    while True:
        lost = foretell(record, slots[0], console, command=command)
        found = _refitted(record, wish, slots)
        if found == slots:
            break
        slots = found
    record.workers = len(slots)
    record.save()
    _no_run_twice(record)
    _same_test_texts(record)
    return [row for row in in_order(record.rows) if row not in lost], slots


def _no_run_twice(record: Record) -> None:
    """Variants whose values differ may name the same things: two folders with one base, two files with one text.

    Raises:
        InputError: two of them are one run, which cannot be held against itself.
    """
    owners: dict[str, Row] = {}
    for row in record.rows:
        if row.run is not None and (other := owners.setdefault(row.run, row)) is not row:
            raise InputError(
                f"{other.key} and {row.key} are one run ({row.run}): what their values name has the same content",
                where=record.experiment,
                fix="leave one of them out, or name the base or the data that was meant",
            )


def _same_test_texts(record: Record) -> None:
    """Held-out files are the same for all, but what is made of them may depend on the training texts beside them: leaks
    are dropped, and a text without groups is cut into blocks by the length of all.

    Raises:
        InputError: the runs could not be compared, which is said before they are trained.
    """
    first: tuple[Row, str] | None = None
    for row in record.rows:
        run = row.directory(record.runs_dir)
        if run is None or not run.manifest.is_file():
            continue
        texts: str = read_json(run.manifest)["splits"]["test"]["sha256"]
        first = first or (row, texts)
        if texts != first[1]:
            raise InputError(
                f"{first[0].key} and {row.key} have other test texts, and could not be compared",
                where=f"{first[0].run}/data and {row.run}/data",
                fix="give the texts groups of their own (data.group), and take out training texts that stand in the "
                "held-out files too",
            )


def _refitted(record: Record, wish: Workers, slots: list[Slot]) -> list[Slot]:
    """The same places, or others where the plans are for another device, or take more memory than there is."""
    plans = [found for row in record.rows if row.state != "done" and (found := foretold(row))]
    devices = {found.device for found in plans}
    if (slots[0].gpu is not None and devices == {"cuda"}) or not plans:
        return slots
    most = len(slots) if slots[0].gpu is None else 1 if wish == "auto" else wish
    if devices != {"cpu"}:
        most = 1  # an accelerator that all of them would share
    needs = [found.memory for found in plans]
    needs += [max(needs)] * (_ahead(record) - len(needs))  # trials that are not known yet
    most = min(most, fitting(needs, budget()))
    if most == len(slots) and slots[0].gpu is None:
        return slots
    return share_out(most, runs=len(needs), cores=cores_given(), bound=not limited())


def _ahead(record: Record) -> int:
    """How many runs are to be done, as far as that can be said; one at least, to be shown."""
    return max(1, sum(row.state != "done" for row in record.rows) + record.trainings_ahead())


def budget() -> int:
    """Bytes of main memory that the runs at work may fill together."""
    return int(SHARE * psutil.virtual_memory().available)


def _carry_out(record: Record, ready: Sequence[Row], slots: Sequence[Slot], console: Console, command: Command) -> None:
    waiting, room = list(ready), budget()

    def take(working: list[Row]) -> Row | None:
        """The first run that fits beside those at work."""
        held = sum(_need(row, room) for row in working)
        for row in waiting:
            if not working or slots[0].gpu is not None or held + _need(row, room) <= room:
                waiting.remove(row)
                return row
        return None

    carry_out(record, slots, take, console=console, command=command)


def _need(row: Row, unknown: int) -> int:
    """The memory that a run is predicted to take; one without a plan runs alone."""
    found = foretold(row)
    return found.memory if found else unknown
