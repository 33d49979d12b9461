"""What runs take on the disk, and how they are deleted. `runs/test-looks.jsonl` survives both."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assay.core.errors import InputError
from assay.core.files import disk_errors
from assay.core.ledger import Ledger, run_dirs
from assay.core.rundir import RunDir

STORE = ".store"


@dataclass(frozen=True)
class Usage:
    """Bytes on the disk. A file that a run shares with the store or with another run is counted once: in
    the store, else in the oldest run. `shared` is the part of a run that is counted elsewhere."""

    name: str
    bytes: int
    shared: int


def disk_usage(runs_dir: Path) -> list[Usage]:
    """The store's parts first, then the runs, the oldest first. The `bytes` add up to the total."""
    parts = sorted(path for path in (runs_dir / STORE).glob("*") if path.is_dir())
    seen: set[tuple[int, int]] = set()
    rows = []
    for path in [*parts, *(run.path for run in run_dirs(runs_dir))]:
        own = shared = 0
        for state in _files(path):
            key = (state.st_dev, state.st_ino)
            if key in seen:
                shared += state.st_size
            else:
                own += state.st_size
                seen.add(key)
        rows.append(Usage(path.relative_to(runs_dir).as_posix(), own, shared))
    return rows


def check_removable(run: RunDir, runs_dir: Path) -> None:
    """Nothing, if `remove_run` may delete the run.

    Raises:
        InputError: the run lies outside `runs_dir`, or a process is writing to it.
    """
    root = runs_dir.resolve()
    if run.path.resolve().parent.parent != root:
        raise InputError(
            "lies outside the runs directory, and is not deleted",
            where=str(run.path),
            fix=f"name its runs directory with --runs-dir, or delete the folder yourself (runs directory: {root})",
        )
    with run.lock():  # nobody else holds it
        pass


def remove_run(run: RunDir, runs_dir: Path) -> int:
    """Delete a run, its row in the ledger, and what the store keeps for it alone.

    Returns:
        The bytes that this frees.

    Raises:
        InputError: as `check_removable`.
    """
    check_removable(run, runs_dir)
    root, path = runs_dir.resolve(), run.path.resolve()
    doomed = path.with_name(f".{path.name}.tmp")  # the name of a leftover, should the deletion be cut off
    with disk_errors(path):
        with RunDir(path).lock():
            path.rename(doomed)
        inodes = {(state.st_dev, state.st_ino) for state in _files(doomed)}
        freed = sum(state.st_size for state in _files(doomed) if state.st_nlink == 1)
        shutil.rmtree(doomed)
        freed += _drop_orphans(root / STORE, inodes)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    Ledger(root).remove(run)
    return freed


def _drop_orphans(store: Path, inodes: set[tuple[int, int]]) -> int:
    """Delete the store's entries that held files of the deleted run and that no other run holds."""
    freed = 0
    for entry in store.glob("*/*"):
        states = list(_files(entry))
        was_linked = any((state.st_dev, state.st_ino) in inodes for state in states)
        if was_linked and all(state.st_nlink == 1 for state in states):
            shutil.rmtree(entry, ignore_errors=True)
            freed += sum(state.st_size for state in states)
    return freed


def _files(path: Path) -> Iterator[os.stat_result]:
    for folder, _, names in os.walk(path):
        for name in sorted(names):
            try:
                yield (Path(folder) / name).lstat()
            except OSError:  # deleted meanwhile, by a run in progress
                continue
