"""Results shared by runs: `<runs>/.store/<stage>/<key>/`, written whole, made once, checked before use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from assay.core.files import directory_atomic, disk_errors, make_folder, read_json, sha256_file, write_json

HASHES = "hashes.json"


@dataclass(frozen=True)
class Entry:
    """What `Store.once` found or made.

    Args:
        path: the entry's folder.
        made: by this call; else it was there.
        damaged: its files that are missing or changed since.
    """

    path: Path
    made: bool
    damaged: tuple[str, ...] = ()


class Store:
    """Content-addressed folders. A key names everything that decides the content."""

    def __init__(self, runs_dir: Path) -> None:
        self.root = runs_dir / ".store"

    def path(self, stage: str, key: str) -> Path:
        """Where an entry lies, whether it is there or not."""
        return self.root / stage / key

    def has(self, stage: str, key: str) -> bool:
        """Whether there is such an entry."""
        return (self.path(stage, key) / HASHES).is_file()

    def damaged(self, stage: str, key: str) -> list[str]:
        """The files of an entry that are missing or no longer have their recorded hash."""
        folder = self.path(stage, key)
        hashes: dict[str, str] = read_json(folder / HASHES)
        return [n for n, digest in hashes.items() if not (folder / n).is_file() or sha256_file(folder / n) != digest]

    def once(
        self,
        stage: str,
        key: str,
        fill: Callable[[Path], None],
        *,
        mend: bool = False,
        waiting: Callable[[], object] | None = None,
    ) -> Entry:
        """The entry, made where there is none: by one process at a time, while others that need it wait for it.

        A process that dies while it makes an entry leaves none, and the next one makes it.

        Args:
            fill: writes the entry's files into the folder that it is given.
            mend: make a damaged entry anew; else its damage is told.
            waiting: called before another process is waited for.
        """
        lock = FileLock(self.root / f".{stage}-{key}.lock")
        with disk_errors(self.root):
            make_folder(self.root)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                if waiting:
                    waiting()
                lock.acquire()
        try:
            if self.has(stage, key):
                damaged = tuple(self.damaged(stage, key))
                if not (damaged and mend):
                    return Entry(self.path(stage, key), made=False, damaged=damaged)
            for leftover in self.path(stage, key).parent.glob(f".{key}.*.tmp"):  # of one that died at it
                shutil.rmtree(leftover, ignore_errors=True)
            return Entry(self._put(stage, key, fill), made=True)
        finally:
            lock.release()

    def give(self, stage: str, key: str, target: Path) -> None:
        """Put an entry's files into a run, as hard links."""
        with directory_atomic(target) as folder:
            for name in read_json(self.path(stage, key) / HASHES):
                _link(self.path(stage, key) / name, folder / name)

    def _put(self, stage: str, key: str, fill: Callable[[Path], None]) -> Path:
        with directory_atomic(self.path(stage, key)) as folder:
            fill(folder)
            write_json(folder / HASHES, {p.name: sha256_file(p) for p in sorted(folder.iterdir()) if p.is_file()})
        return self.path(stage, key)


def link_all(source: Path, target: Path) -> None:
    """Put the files of a folder into another one as hard links (copies where links cannot be made)."""
    for file in sorted(source.iterdir()):
        if file.is_file():
            _link(file, target / file.name)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
