"""The ledger: an SQLite table of all runs, failed ones too, for listing, filtering and sorting them.

The table is an index. The run directories are the truth: it holds nothing that is not in them, a damaged table or one
of another version is dropped, and what is missing is read again from the directories.

**How fresh it is.** A run writes its own row when a stage ends and when it stops, so the table mostly keeps itself.
Whoever lists runs looks after the rest, and how closely depends on how many runs there are:

- always: a run that appeared or vanished is seen by its experiment folder's modification time, one look for each
  experiment; a row that says `running` is read again, for its process may have been killed;
- up to `CLOSELY` runs: the files of every run are looked at (six each), and a row whose files changed is read again;
- beyond that, those looks would take longer than a listing may: only runs that are not finished are looked at (their
  events file), and the rows that are about to be shown.

So in a large ledger one thing can be missed: a *finished* run whose files were changed by something other than assay (a
file edited or restored by hand) may be found, or left out, by what it was before, and is *shown* so in a list of more
than `CLOSELY` rows. `assay runs reindex` reads everything again. A file that is rewritten with the same size within the
file system's clock tick is not noticed at any size.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.core.errors import AssayError, MachineError
from assay.core.find import existing_run, folders, is_begun, is_locked, is_run, resolve_run, run_dirs, run_folders
from assay.core.ledger_query import Query, check_key, order, where
from assay.core.ledger_rows import COLUMNS, events_stamp, path_of, read, read_run, stamp_of
from assay.core.ledger_table import Table, create, forget, in_memory, settings_of, transaction, write
from assay.core.rundir import RunDir

__all__ = [
    "CLOSELY", "COLUMNS", "Ledger", "Listing", "Query", "existing_run", "is_locked", "is_run", "read_run",
    "resolve_run", "run_dirs",
]  # fmt: skip

CLOSELY = 2000
BATCH = 100  # runs read in one transaction: others may write in between
SETTLED_SECONDS = 2.0  # a folder changed this recently may change again without a newer time


@dataclass(frozen=True)
class Listing:
    """The runs that a query found, as rows, and how many there would be without its limit."""

    rows: list[dict[str, Any]]
    total: int


class Ledger:
    """The table of the runs under one runs directory. Any number of processes may write to it at once.

    `unwritable` says why the table could not be used, where a listing was read from the directories instead.

    Args:
        runs_dir: the runs directory.
        closely: up to so many runs, the files of each are looked at before a listing.
    """

    def __init__(self, runs_dir: Path, *, closely: int = CLOSELY) -> None:
        self.runs_dir, self.closely = runs_dir, closely
        self.path = runs_dir / "ledger.sqlite"
        self.unwritable: str | None = None
        self._table = Table(self.path)

    def upsert(self, run: RunDir) -> None:
        """Read the run's files and write its row.

        Raises:
            MachineError: the table cannot be written.
        """
        self._table.do(lambda connection: self._take_in(connection, [run]))

    def remove(self, run: RunDir) -> None:
        """Forget one run; its directory is not touched."""

        def drop(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                forget(connection, path_of(run))

        self._table.do(drop)

    def rebuild(self, tell: Callable[[int, int], object] = lambda done, total: None) -> None:
        """Forget the table and read every run directory again; `tell` hears how many of how many are read."""

        def anew(connection: sqlite3.Connection) -> None:
            with transaction(connection):
                create(connection)
            self._refresh(connection, tell)

        self._table.do(anew)

    def rows(self) -> list[dict[str, Any]]:
        """All runs, the newest first: one row each, by `COLUMNS`."""
        return self.select().rows

    def select(self, query: Query | None = None, *, settings: bool = False) -> Listing:
        """The runs that a query finds; see the module for how fresh the rows are.

        A table that cannot be written (a runs directory that we may only read) is replaced by one in memory.

        Args:
            query: without one, all runs, the newest first.
            settings: whether each row also has its settings by dotted key, under "settings"; they are there as well
                where the query's columns name one.

        Raises:
            InputError: a filter or the sorting key is wrong; it is said how.
        """
        asked = query or Query()

        def answer(connection: sqlite3.Connection) -> Listing:
            self._refresh(connection)
            return self._select(connection, asked, settings)

        if self.runs_dir.is_dir():
            try:
                return self._table.do(answer)
            except (MachineError, sqlite3.OperationalError) as error:
                self.unwritable = error.what if isinstance(error, AssayError) else str(error)
        with in_memory() as connection:
            return answer(connection)

    # --- reading ---

    def _select(self, connection: sqlite3.Connection, query: Query, settings: bool) -> Listing:
        def keys() -> list[str]:
            return [key for (key,) in connection.execute("SELECT key FROM keys ORDER BY key")]

        condition, sorting = where(query, keys), order(query, keys)
        for key in query.columns:
            check_key(key, keys, where=f"--columns {key}")
        limit = -1 if query.limit is None else query.limit
        names = ", ".join(f'runs."{name}"' for name in COLUMNS)
        sql = f"SELECT runs.run, runs.stamp, {names} FROM runs WHERE {condition.sql} ORDER BY {sorting.sql} LIMIT ?"
        values = (*condition.values, *sorting.values, limit)
        found = connection.execute(sql, values).fetchall()
        if self._count(connection) > self.closely and len(found) <= CLOSELY:
            changed = [self._run(path) for _, stamp, path, *_ in found if stamp_of(f"{self.runs_dir}/{path}") != stamp]
            if changed:
                self._take_in(connection, changed)
                found = connection.execute(sql, values).fetchall()
        rows = [dict(zip(COLUMNS, row[2:], strict=True)) for row in found]
        if settings or any(key not in COLUMNS for key in query.columns):
            kept: dict[int, dict[str, Any]] = {}
            for row, (run, *_) in zip(rows, found, strict=True):
                row["settings"] = settings_of(connection, run, kept)
        total = len(rows)
        if query.limit is not None and total >= query.limit:
            count = f"SELECT COUNT(*) FROM runs WHERE {condition.sql}"
            total = connection.execute(count, condition.values).fetchone()[0]
        return Listing(rows, total)

    def _count(self, connection: sqlite3.Connection) -> int:
        total: int = connection.execute("SELECT COUNT(*) FROM runs").fetchone()[0]
        return total

    def _run(self, path: str) -> RunDir:
        return RunDir(self.runs_dir / path)

    # --- following the directories ---

    def _refresh(
        self, connection: sqlite3.Connection, tell: Callable[[int, int], object] = lambda done, total: None
    ) -> None:
        """Bring the table up to what the directories hold, as closely as the module says."""
        present = {entry.name: entry.stat().st_mtime_ns for entry in folders(self.runs_dir)}
        known = dict(connection.execute("SELECT name, mtime FROM folders"))
        fresh: list[RunDir] = []
        gone: list[str] = []
        settled: dict[str, int] = {}
        for name in present.keys() | known.keys():
            if known.get(name) == present.get(name):
                continue
            rows = {path for (path,) in connection.execute("SELECT path FROM runs WHERE experiment = ?", (name,))}
            runs, quiet = self._runs_in(name, rows)
            fresh += [self._run(path) for path in sorted(runs - rows)]
            gone += rows - runs
            settled[name] = present.get(name, 0) if quiet else 0
        fresh += self._changed(connection, set(gone))
        self._take_in(connection, fresh, tell)
        if gone or any(known.get(name) != mtime for name, mtime in settled.items()):
            with transaction(connection):
                for path in gone:
                    forget(connection, path)
                marks = [(name, mtime) for name, mtime in settled.items() if name in present]
                connection.executemany("INSERT OR REPLACE INTO folders VALUES (?, ?)", marks)
                connection.executemany("DELETE FROM folders WHERE name = ?", [(n,) for n in known if n not in present])

    def _runs_in(self, experiment: str, rows: set[str]) -> tuple[set[str], bool]:
        """The runs in an experiment's folder, and whether no more of them can appear without its time changing.

        Those that have a row are known to be runs.
        """
        folder = self.runs_dir / experiment
        paths = {f"{experiment}/{entry.name}" for entry in run_folders(folder)}
        runs = {path for path in paths if path in rows or is_begun(self.runs_dir / path)}
        try:
            old = time.time() - os.stat(folder).st_mtime > SETTLED_SECONDS
        except OSError:  # deleted meanwhile
            return runs, False
        # a folder that is no run may become one: somebody is copying it here
        return runs, old and runs == paths

    def _changed(self, connection: sqlite3.Connection, gone: set[str]) -> list[RunDir]:
        """The runs whose files are no longer as they were when their rows were read."""
        closely = self._count(connection) <= self.closely
        which = "" if closely else "WHERE status <> 'finished'"
        changed = []
        for path, status, stamp in connection.execute(f"SELECT path, status, stamp FROM runs {which}").fetchall():
            place = f"{self.runs_dir}/{path}"
            now, then = (stamp_of(place), stamp) if closely else (events_stamp(place), stamp.partition(" ")[0])
            if path not in gone and (status == "running" or now != then):
                changed.append(self._run(path))
        return changed

    def _take_in(
        self,
        connection: sqlite3.Connection,
        runs: Sequence[RunDir],
        tell: Callable[[int, int], object] = lambda done, total: None,
    ) -> None:
        """Read runs and write their rows. Reading within the transaction keeps an older reading from coming last."""
        for start in range(0, len(runs), BATCH):
            with transaction(connection):
                for run in runs[start : start + BATCH]:
                    if run.path.is_dir():
                        write(connection, read(run))
                    else:
                        forget(connection, path_of(run))
            tell(min(start + BATCH, len(runs)), len(runs))
