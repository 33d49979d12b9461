"""Results shared by runs: `<runs>/.store/<stage>/<key>/`, written whole, checked before use."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from assay.core.files import directory_atomic, read_json, sha256_file, write_json

HASHES = "hashes.json"


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

    def put(self, stage: str, key: str, fill: Callable[[Path], None]) -> Path:
        """Make an entry: `fill` writes its files into the folder it is given."""
        with directory_atomic(self.path(stage, key)) as folder:
            fill(folder)
            write_json(folder / HASHES, {p.name: sha256_file(p) for p in sorted(folder.iterdir()) if p.is_file()})
        return self.path(stage, key)

    def keep(self, stage: str, key: str, source: Path) -> None:
        """Put the files of a folder into the store as hard links (copies where links cannot be made)."""

        def fill(folder: Path) -> None:
            for file in sorted(source.iterdir()):
                if file.is_file():
                    _link(file, folder / file.name)

        self.put(stage, key, fill)

    def give(self, stage: str, key: str, target: Path) -> None:
        """Put an entry's files into a run, as hard links."""
        with directory_atomic(target) as folder:
            for name in read_json(self.path(stage, key) / HASHES):
                _link(self.path(stage, key) / name, folder / name)

    def drop(self, stage: str, key: str) -> None:
        """Delete an entry."""
        shutil.rmtree(self.path(stage, key), ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
