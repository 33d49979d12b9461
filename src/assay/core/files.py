"""Atomic writes and content hashes: a file in a run directory is either whole or absent."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assay.core.errors import AssayError, InputError, MachineError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# safetensors, polars, tokenizers and SQLite say it in words: their exceptions are no OSError
_FULL_WORDS = re.compile(
    r"no space left|quota exceeded|file too large|disk is full|os error (?:28|122|27)\b", re.IGNORECASE
)
_NO_FOLDER = (errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENAMETOOLONG)


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn a full or read-only disk into a message with a fix (exit 4)."""
    try:
        yield
    except AssayError:
        raise
    except Exception as error:
        if _disk_full(error):
            raise MachineError(
                f"no space left on the disk, or a limit on the size of files, while writing {path}",
                where=str(path),
                fix="free some space (`assay runs du` shows what the runs take, `assay runs rm` deletes) "
                "or raise the limit (`ulimit -f`), then give the same command again: the run resumes",
            ) from error
        if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise MachineError(
                f"cannot write {path}: {error.strerror}",
                where=str(path),
                fix="choose a folder that you may write to, with --runs-dir",
            ) from error
        raise


def _disk_full(error: Exception) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in _FULL
    return bool(_FULL_WORDS.search(str(error)))


def make_folder(path: Path) -> None:
    """Make a folder with its parents, unless it is there.

    Raises:
        InputError: a file stands in the way, or no folder can be made in this place.
        MachineError: no right to, or no room.
    """
    with disk_errors(path):
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in _NO_FOLDER:
                raise
            raise InputError(
                f"this folder cannot be made: {_in_the_way(path) or error.strerror}",
                where=str(path),
                fix="name another folder: with --runs-dir for the runs, in ASSAY_CACHE for the cache",
            ) from error


def _in_the_way(path: Path) -> str | None:
    try:
        file = next((p for p in (path, *path.parents) if p.exists() and not p.is_dir()), None)
    except OSError:  # a name too long to be asked for
        return None
    return f"{file} is a file" if file else None


def _sync_dir(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, sync it, and rename it into place."""
    with disk_errors(path):
        make_folder(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            with temporary.open("rb") as stream:
                os.fsync(stream.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
            _sync_dir(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    write_atomic(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def at(value: Any, *keys: str, default: Any = None) -> Any:
    """What stands below these keys of a JSON value; `default` where something on the way is missing, or has no keys."""
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            return default
        value = value[key]
    return value


def no_items(path: Path, error: Exception) -> InputError:
    """That a run's list of prepared items cannot be read."""
    return InputError(
        f"is no list of prepared items: {str(error).splitlines()[0]}",
        where=str(path),
        fix="restore the file, or start over with --new",
    )


def write_json(path: Path, value: Any) -> None:
    """Write strict JSON (no NaN), atomically."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        InputError: it is missing or damaged; it is named.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            "this file is missing", where=str(path), fix="restore the file, or start over with --new"
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(
            f"is not valid JSON: {error}", where=str(path), fix="restore the file, or start over with --new"
        ) from error


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write JSON Lines (no NaN), atomically."""
    write_text(path, "".join(json.dumps(v, ensure_ascii=False, allow_nan=False) + "\n" for v in values))


def append_line(path: Path, value: Any) -> None:
    """Append one JSON line in a single write. A reader must skip a torn last line (`read_lines`)."""
    with disk_errors(path):
        make_folder(path.parent)
        line = json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n"
        with path.open("ab") as stream:
            if stream.tell() and not _ends_with_newline(path):
                line = "\n" + line
            stream.write(line.encode())


def _ends_with_newline(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"


def read_lines(path: Path) -> list[Any]:
    """The JSON lines of a file; lines torn by a kill are passed over."""
    return list(each_line(path))


def each_line(path: Path) -> Iterator[Any]:
    """The same one by one: whoever has found what he looks for need not read on."""
    if not path.exists():
        return
    # a JSON text may hold the other characters that a line can end at
    with path.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for line in stream:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                continue


@contextmanager
def directory_atomic(path: Path, *, replace: bool = True) -> Iterator[Path]:
    """Yield a temporary directory that becomes `path` as a whole when the block ends without an error.

    Args:
        replace: put it in the place of an existing directory; without, an existing one is left as it is.

    Raises:
        InputError: `path` exists, and `replace` is False.
    """
    with disk_errors(path):
        make_folder(path.parent)
        if not replace and os.path.lexists(path):
            raise _already_there(path)
        temporary = _temporary_folder(path)
        try:
            yield temporary
            for file in sorted(temporary.rglob("*")):
                if file.is_file():
                    with file.open("rb") as stream:
                        os.fsync(stream.fileno())
            _sync_dir(temporary)
            temporary.chmod(0o755)
            if replace:
                _swap(temporary, path)
            else:
                _put(temporary, path)
            _sync_dir(path.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _temporary_folder(path: Path) -> Path:
    return Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp"))


def _swap(temporary: Path, path: Path) -> None:
    """Put `temporary` in the place of `path`; the old directory is deleted only once the new one stands there."""
    if not path.exists():
        temporary.rename(path)
        return
    aside = _temporary_folder(path)
    try:
        path.rename(aside)
        try:
            temporary.rename(path)
        except BaseException:
            aside.rename(path)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put(temporary: Path, path: Path) -> None:
    if os.path.lexists(path):
        raise _already_there(path)
    try:
        temporary.rename(path)
    except OSError as error:  # another process was quicker
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR):
            raise _already_there(path) from error
        raise


def _already_there(path: Path) -> InputError:
    return InputError("already exists, and is not replaced", where=str(path), fix="give the same command again")


def remove_leftovers(root: Path) -> None:
    """Delete temporary files and directories that a killed process left under `root`."""
    for leftover in list(root.rglob(".*.tmp")):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """SHA-256 of a text's UTF-8 bytes, as hex."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def sha256_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON (sorted keys, no spaces), as hex."""
    return sha256_text(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False))
