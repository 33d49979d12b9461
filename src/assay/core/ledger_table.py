"""The ledger's SQLite file: its tables, how it is opened by many processes at once, and how rows are written."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock

from assay.core.errors import MachineError
from assay.core.files import disk_errors, make_folder
from assay.core.ledger_query import leaf, section_of
from assay.core.ledger_rows import COLUMNS, Reading

VERSION = 3  # of the tables; those of another version are built anew
BUSY_SECONDS = 30.0

_COLUMNS = ", ".join(f'"{name}" {column.type}'.rstrip() for name, column in COLUMNS.items())
_TABLES = {
    "runs": f"run INTEGER PRIMARY KEY, {_COLUMNS}, stamp TEXT",
    # a run's configuration, by sections; each is kept once, whole as JSON, {"adapter.rank": 8, ...}, and by its values
    "settings": "run INTEGER NOT NULL, name TEXT NOT NULL, section INTEGER NOT NULL, PRIMARY KEY (run, name)",
    "sections": "id INTEGER PRIMARY KEY, json TEXT NOT NULL UNIQUE",
    "leaves": "key INTEGER NOT NULL, section INTEGER NOT NULL, value, PRIMARY KEY (key, section)",
    "keys": "id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE",
    "members": "run INTEGER NOT NULL, sweep TEXT NOT NULL, variant TEXT, factors TEXT",
    "folders": "name TEXT PRIMARY KEY, mtime INTEGER NOT NULL",  # as it was when all its runs were known
}
_WITHOUT_ROWID = ("settings", "leaves")
_INDEXES = (
    "UNIQUE INDEX runs_path ON runs (path)",
    "INDEX runs_created ON runs (created, path)",
    "INDEX runs_experiment ON runs (experiment)",
    "INDEX runs_going ON runs (status) WHERE status <> 'finished'",
    "INDEX settings_section ON settings (section, run)",
    "INDEX members_run ON members (run)",
    "INDEX members_sweep ON members (sweep)",
)

_T = TypeVar("_T")


class Table:
    """The file `path`, with tables of this version in it whenever work is done with it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def do(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do some work with the tables. Damaged ones are replaced by empty ones, and the work is done again.

        Raises:
            MachineError: the file cannot be made, read or written.
        """
        with disk_errors(self.path), _database_errors(self.path):
            make_folder(self.path.parent)
            try:
                return self._once(work)
            except sqlite3.DatabaseError as error:
                if not _is_damage(error):
                    raise
            with self._alone():
                if not self._whole():  # another process may have replaced it meanwhile
                    for suffix in ("", "-wal", "-shm"):
                        self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            return self._once(work)

    def _once(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        connection = _connect(self.path)
        try:
            # with WAL a crash loses at most the last rows, never the table; they are read again from their directories
            connection.execute("PRAGMA synchronous = NORMAL")
            if not _ready(connection):
                with self._alone():  # the switch to WAL does not wait for others
                    if not _ready(connection):
                        connection.execute("PRAGMA journal_mode = WAL")
                        with transaction(connection):
                            create(connection)
            return work(connection)
        finally:
            connection.close()

    def _alone(self) -> FileLock:
        return FileLock(self.path.with_name(".ledger.lock"))

    def _whole(self) -> bool:
        connection = _connect(self.path)
        try:
            return bool(connection.execute("PRAGMA quick_check").fetchone() == ("ok",))
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return False
        finally:
            connection.close()


@contextmanager
def in_memory() -> Iterator[sqlite3.Connection]:
    """Empty tables that are gone afterwards, for a runs directory that may only be read."""
    connection = _connect(":memory:")
    try:
        create(connection)
        yield connection
    finally:
        connection.close()


def _connect(path: Path | str) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Changes that others see all at once, or not at all. Others' writes wait."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()


@contextmanager
def _database_errors(path: Path) -> Iterator[None]:
    """Turn what SQLite cannot do on this disk into a message with a fix (exit 4)."""
    try:
        yield
    except sqlite3.OperationalError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            fix = "free some space (`assay runs du` shows what the runs take), then give the same command again"
        elif code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            fix = "choose a folder that you may write to, with --runs-dir"
        elif code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            fix = "wait for the other assay commands to end, then give the same command again"
        else:
            raise
        raise MachineError(f"the ledger of the runs cannot be written: {error}", where=str(path), fix=fix) from error


def _is_damage(error: sqlite3.DatabaseError) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)


def _ready(connection: sqlite3.Connection) -> bool:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version == VERSION


def create(connection: sqlite3.Connection) -> None:
    """Empty tables, in place of any that there are."""
    for name, columns in _TABLES.items():
        connection.execute(f"DROP TABLE IF EXISTS {name}")
        connection.execute(f"CREATE TABLE {name} ({columns}){' WITHOUT ROWID' if name in _WITHOUT_ROWID else ''}")
    for index in _INDEXES:
        connection.execute(f"CREATE {index}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def write(connection: sqlite3.Connection, reading: Reading) -> None:
    """Write a run's row, settings and sweeps, in place of what there was."""
    row = {**reading.row, "stamp": reading.stamp}
    names = ", ".join(f'"{name}"' for name in row)
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in row if name != "path")
    connection.execute(
        f"INSERT INTO runs ({names}) VALUES ({', '.join('?' * len(row))}) ON CONFLICT (path) DO UPDATE SET {changes}",
        tuple(row.values()),
    )
    (run,) = connection.execute("SELECT run FROM runs WHERE path = ?", (row["path"],)).fetchone()
    connection.execute("DELETE FROM settings WHERE run = ?", (run,))
    connection.execute("DELETE FROM members WHERE run = ?", (run,))
    for name, section in _in_sections(reading.settings).items():
        connection.execute("INSERT INTO settings VALUES (?, ?, ?)", (run, name, _section(connection, section)))
    for one in reading.sweeps:
        factors = json.dumps(one.factors, ensure_ascii=False, sort_keys=True)
        connection.execute("INSERT INTO members VALUES (?, ?, ?, ?)", (run, one.sweep, one.variant, factors))
    # its folder's time is not known yet: the next listing looks into it
    connection.execute("INSERT OR IGNORE INTO folders VALUES (?, 0)", (row["experiment"],))


def _section(connection: sqlite3.Connection, section: dict[str, Any]) -> int:
    """The id of a section of a configuration, which is kept once."""
    text = json.dumps(section, separators=(",", ":"))
    found = connection.execute("SELECT id FROM sections WHERE json = ?", (text,)).fetchone()
    if found is not None:
        return int(found[0])
    number = connection.execute("INSERT INTO sections (json) VALUES (?)", (text,)).lastrowid
    connection.executemany("INSERT OR IGNORE INTO keys (key) VALUES (?)", [(key,) for key in section])
    connection.executemany(
        "INSERT INTO leaves SELECT id, ?, ? FROM keys WHERE key = ?",
        [(number, leaf(value), key) for key, value in section.items()],
    )
    assert number is not None  # of an INSERT
    return number


def _in_sections(settings: dict[str, Any]) -> dict[str, dict[str, Any]]:
    sections: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        sections.setdefault(section_of(key), {})[key] = value
    return sections


def settings_of(connection: sqlite3.Connection, run: int, kept: dict[int, dict[str, Any]]) -> dict[str, Any]:
    """A run's settings; sections that were read before are in `kept`."""
    found: dict[str, Any] = {}
    for (section,) in connection.execute("SELECT section FROM settings WHERE run = ? ORDER BY name", (run,)):
        if section not in kept:
            text = connection.execute("SELECT json FROM sections WHERE id = ?", (section,)).fetchone()[0]
            kept[section] = json.loads(text)
        found |= kept[section]
    return found


def forget(connection: sqlite3.Connection, path: str) -> None:
    """Drop a run."""
    for table in ("settings", "members"):
        connection.execute(f"DELETE FROM {table} WHERE run IN (SELECT run FROM runs WHERE path = ?)", (path,))
    connection.execute("DELETE FROM runs WHERE path = ?", (path,))
