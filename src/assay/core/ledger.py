"""The ledger: one SQLite table of all runs, failed ones too, and how a run is found by name.

The table is an index. The run directories are the truth: a row is read again when its directory's
files have changed, a directory that is gone loses its row, and a damaged table is built anew.
"""

from __future__ import annotations

import difflib
import math
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from assay.core.errors import AssayError, InputError, MachineError
from assay.core.files import disk_errors, make_folder, read_json, read_lines
from assay.core.rundir import STAGES, RunDir

VERSION = 1  # of the table; a table of another version is built anew
BUSY_SECONDS = 30.0

# Columns and their SQLite types. `stamp` tells whether the directory has changed since it was read.
COLUMNS: dict[str, str] = {
    "path": "TEXT PRIMARY KEY",  # relative to the runs directory
    "id": "TEXT",  # the identity's short hash
    "experiment": "TEXT",
    "created": "TEXT",  # UTC, ISO 8601
    "status": "TEXT",  # running | unfinished | finished | failed
    "stage": "TEXT",  # the last finished one
    "guard": "TEXT",  # the first validity guard that failed
    "base": "TEXT",
    "adapter": "TEXT",
    "rank": "INTEGER",
    "outcome": "TEXT",  # of the verdict; none before the report's checks, and where a validity guard failed
    "difference": "REAL",  # base − tuned, bits per byte, mean over held-out groups
    "low": "REAL",
    "high": "REAL",
    "train_seconds": "REAL",
    "peak_memory": "INTEGER",  # bytes
    "stamp": "TEXT",
}


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory: one with an identity."""
    return (path / "identity.json").is_file()


def is_locked(run: RunDir) -> bool:
    """Whether a process is writing to the run right now."""
    file = run.path / ".lock"
    if not file.exists():
        return False
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:  # a directory that we may only read: nobody's lock can be seen
        return False
    lock.release()
    return False


def run_dirs(runs_dir: Path) -> list[RunDir]:
    """Every run under `runs_dir`, the oldest first; those killed before they had an identity too."""
    found = [
        path
        for path in runs_dir.glob("[!.]*/[!.]*")
        if path.is_dir() and (is_run(path) or (path / "experiment.yaml").is_file())
    ]
    return [RunDir(path) for path in sorted(found, key=lambda path: (path.name, path.parent.name))]


def read_run(run: RunDir) -> dict[str, Any]:
    """One row of the ledger, read from the run's files; what is missing or torn is None."""
    identity, stages, summary = _json(run.identity), _json(run.stages), _json(run.summary)
    training, events = _json(run.training), _events(run)
    done = [stage for stage in STAGES if isinstance(stages.get(stage), dict)]
    guard = _failed_guard(run)
    if is_locked(run):
        status = "running"
    elif guard or (events and events[-1].get("event") == "stopped"):
        status = "failed"
    else:
        status = "finished" if STAGES[-1] in done else "unfinished"
    verdict = None if guard or STAGES[-1] not in done else _text(_at(summary, "verdict", "outcome"))
    return {
        "path": f"{run.path.parent.name}/{run.path.name}",
        "id": _text(identity.get("short")) or run.path.name.rpartition("-")[2],
        "experiment": run.path.parent.name,
        "created": (_text(events[0].get("time")) if events else None) or _birth(run),
        "status": status,
        "stage": done[-1] if done else None,
        "guard": guard,
        "base": _text(_at(identity, "base", "spec")),
        "adapter": _text(_at(identity, "adapter", "kind")),
        "rank": _whole(_at(identity, "adapter", "rank")),
        "outcome": verdict,
        "difference": _number(_at(summary, "difference", "mean")),
        "low": _number(_at(summary, "difference", "low")),
        "high": _number(_at(summary, "difference", "high")),
        "train_seconds": _number(training.get("seconds")),
        "peak_memory": _whole(training.get("peak_memory")),
    }


class Ledger:
    """The table of the runs under one runs directory. Any number of processes may write to it at once."""

    def __init__(self, runs_dir: Path) -> None:
        self.runs_dir = runs_dir
        self.path = runs_dir / "ledger.sqlite"

    def upsert(self, run: RunDir) -> None:
        """Read the run's files and write its row."""
        row = _stamped(run)
        with self._connection() as connection:
            _write(connection, row)

    def remove(self, run: RunDir) -> None:
        """Forget one run; its directory is not touched."""
        with self._connection() as connection:
            connection.execute("DELETE FROM runs WHERE path = ?", (f"{run.path.parent.name}/{run.path.name}",))

    def rebuild(self) -> None:
        """Forget the table and read every run directory again."""
        with self._connection() as connection:
            connection.execute("DELETE FROM runs")
            for run in run_dirs(self.runs_dir):
                _write(connection, _stamped(run))

    def rows(self) -> list[dict[str, Any]]:
        """All runs, the newest first, as their directories say at this moment."""
        if not self.runs_dir.is_dir():
            return []
        try:
            self._refresh()
            with self._connection() as connection:
                connection.row_factory = sqlite3.Row
                rows = [dict(row) for row in connection.execute("SELECT * FROM runs")]
        except (AssayError, sqlite3.OperationalError):  # a runs directory that we may only read
            rows = [_stamped(run) for run in run_dirs(self.runs_dir)]
        for row in rows:
            row.pop("stamp")
        return sorted(rows, key=lambda row: (row["created"] or "", row["path"]), reverse=True)

    def _refresh(self) -> None:
        with self._connection() as connection:
            known = {
                path: (stamp, status)
                for path, stamp, status in connection.execute("SELECT path, stamp, status FROM runs")
            }
            for run in run_dirs(self.runs_dir):
                stamp, status = known.pop(f"{run.path.parent.name}/{run.path.name}", (None, None))
                # who is running can be seen from the lock alone, and not from the files
                if status != "finished" or stamp != _stamp(run):
                    _write(connection, _stamped(run))
            connection.executemany("DELETE FROM runs WHERE path = ?", [(path,) for path in known])

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """A connection whose changes are committed when the block ends without an error."""
        with disk_errors(self.path), _database_errors(self.path):
            make_folder(self.runs_dir)
            connection = self._open()
            try:
                with connection:
                    yield connection
            finally:
                connection.close()

    def _open(self) -> sqlite3.Connection:
        connection = self._connect()
        try:
            if _ready(connection):
                return connection
        except sqlite3.DatabaseError as error:
            connection.close()
            if error.sqlite_errorcode not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise
        else:
            connection.close()
        # Created, converted or replaced by one process at a time: the switch to WAL does not wait for others.
        with FileLock(self.runs_dir / ".ledger.lock"):
            connection = self._connect()
            try:
                if _ready(connection):
                    return connection
                _create(connection)
            except sqlite3.DatabaseError as error:
                connection.close()
                if error.sqlite_errorcode not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                    raise
                for suffix in ("", "-wal", "-shm"):
                    self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
                connection = self._connect()
                _create(connection)
            with connection:
                for run in run_dirs(self.runs_dir):
                    _write(connection, _stamped(run))
        return connection

    def _connect(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=BUSY_SECONDS)


def resolve_run(text: str, runs_dir: Path) -> RunDir:
    """Find a run by its directory, the beginning of its short hash, or its experiment's name (its newest run).

    Raises:
        InputError: there is no such run, or the beginning of the hash fits several.
    """
    for path in (Path(text).expanduser(), runs_dir / text):
        if is_run(path):
            return RunDir(path.resolve())
    runs = [run for run in run_dirs(runs_dir) if is_run(run.path)]
    named = [run for run in runs if run.path.parent.name == text]
    if named:
        return RunDir(named[-1].path.resolve())
    by_id = {run.path.name.rpartition("-")[2]: run for run in runs}  # runs of one identity: the newest
    fitting = [short for short in by_id if text and short.startswith(text.lower())]
    if len(fitting) == 1:
        return RunDir(by_id[fitting[0]].path.resolve())
    if fitting:
        raise InputError(
            f"{text!r} is the beginning of {len(fitting)} runs' hashes: {', '.join(fitting)}",
            where=str(runs_dir),
            fix="give more of the hash",
        )
    if not runs:
        raise InputError(
            f"there is no run {text!r}: the runs directory holds none",
            where=str(runs_dir),
            fix="make one with `assay run EXPERIMENT`, or name the runs directory with --runs-dir",
        )
    names = list(dict.fromkeys(run.path.parent.name for run in reversed(runs)))
    near = difflib.get_close_matches(text, [*names, *by_id], n=3, cutoff=0.4) or names[:3]
    raise InputError(
        f"there is no run {text!r}",
        where=str(runs_dir),
        fix=f"nearest: {', '.join(near)}; `assay runs` lists all",
    )


def existing_run(target: str, runs_dir: Path) -> RunDir | None:
    """The run that a command's target names; None where it is an experiment file."""
    path = Path(target).expanduser()
    if path.is_file() or (path.suffix in (".yaml", ".yml") and not is_run(path)):
        return None
    return resolve_run(target, runs_dir)


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


def _ready(connection: sqlite3.Connection) -> bool:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version == VERSION


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    with connection:
        connection.execute("DROP TABLE IF EXISTS runs")
        connection.execute(f"CREATE TABLE runs ({', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _write(connection: sqlite3.Connection, row: dict[str, Any]) -> None:
    values = ", ".join(f":{name}" for name in COLUMNS)
    connection.execute(f"INSERT OR REPLACE INTO runs ({', '.join(COLUMNS)}) VALUES ({values})", row)


def _stamped(run: RunDir) -> dict[str, Any]:
    # the stamp is taken before the reading: a change in between is seen next time
    stamp = _stamp(run)
    return {**read_run(run), "stamp": stamp}


def _stamp(run: RunDir) -> str:
    files = (run.identity, run.stages, run.summary, run.training, run.guards.path, run.events)
    states = []
    for file in files:
        try:
            state = file.stat()
        except OSError:
            states.append("-")
        else:
            states.append(f"{state.st_mtime_ns}:{state.st_size}")
    return " ".join(states)


def _json(path: Path) -> dict[str, Any]:
    try:
        value = read_json(path)
    except (InputError, OSError):
        return {}
    return value if isinstance(value, dict) else {}


def _events(run: RunDir) -> list[dict[str, Any]]:
    return [event for event in read_lines(run.events) if isinstance(event, dict)]


def _failed_guard(run: RunDir) -> str | None:
    try:
        records = run.guards.records()
    except (InputError, TypeError, AttributeError):  # torn, or not a list of records
        return None
    return next((r.guard for r in records if r.cls == "V" and r.status == "fail"), None)


def _birth(run: RunDir) -> str | None:
    try:
        return datetime.fromtimestamp(run.path.stat().st_mtime, UTC).isoformat(timespec="seconds")
    except OSError:
        return None


def _at(value: Any, *keys: str) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _number(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _whole(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)
