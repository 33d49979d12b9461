"""Where the runs lie under a runs directory, and how one is found by what people call it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from assay.core.errors import InputError
from assay.core.rundir import RunDir

SWEEPS, COMPARISONS = "sweeps", "comparisons"  # what assay itself keeps beside an experiment's runs: no runs


def is_run(path: Path) -> bool:
    """Whether `path` is a run directory: one with an identity."""
    return (path / "identity.json").is_file()


def is_begun(path: Path) -> bool:
    """Whether `path` is a run, or was to become one and was killed before it had an identity."""
    return is_run(path) or (path / "experiment.yaml").is_file()


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


def folders(path: Path) -> Iterator[os.DirEntry[str]]:
    """The folders in a folder, but the hidden ones; none where there is no folder."""
    try:
        with os.scandir(path) as entries:
            yield from (entry for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return


def run_folders(experiment: Path) -> Iterator[os.DirEntry[str]]:
    """The folders in an experiment's that may be runs: all but assay's own."""
    return (entry for entry in folders(experiment) if entry.name not in (SWEEPS, COMPARISONS))


def run_dirs(runs_dir: Path) -> list[RunDir]:
    """Every run under `runs_dir`, the oldest first; those killed before they had an identity too."""
    paths = (runs_dir / experiment / name for name, experiment in sorted(_names(runs_dir)))
    return [RunDir(path) for path in paths if is_begun(path)]


def resolve_run(text: str, runs_dir: Path) -> RunDir:
    """Find a run by its directory, the beginning of its short hash, or its experiment's name (its newest run).

    Raises:
        InputError: there is no such run, or the beginning of the hash fits several.
    """
    for path in (Path(text).expanduser(), runs_dir / text):
        if is_run(path):
            return RunDir(path.resolve())
    # there may be very many: only those that are named so are looked at
    newest_first = sorted(_names(runs_dir), reverse=True)
    named = (runs_dir / experiment / name for name, experiment in newest_first if experiment == text)
    newest = next(filter(is_run, named), None)
    if newest is not None:
        return RunDir(newest.resolve())
    fitting: dict[str, Path] = {}  # runs of one identity: the newest
    for name, experiment in newest_first if text else []:
        short = _short(name)
        if short.startswith(text.lower()) and short not in fitting and is_run(runs_dir / experiment / name):
            fitting[short] = runs_dir / experiment / name
    if len(fitting) == 1:
        return RunDir(next(iter(fitting.values())).resolve())
    if fitting:
        raise InputError(
            f"{text!r} is the beginning of {len(fitting)} runs' hashes: {', '.join(reversed(fitting))}",
            where=str(runs_dir),
            fix="give more of the hash",
        )
    raise _not_there(text, runs_dir, [pair for pair in newest_first if is_run(runs_dir / pair[1] / pair[0])])


def existing_run(target: str, runs_dir: Path) -> RunDir | None:
    """The run that a command's target names; None where it is an experiment file."""
    path = Path(target).expanduser()
    if path.is_file() or (path.suffix in (".yaml", ".yml") and not is_run(path)):
        return None
    return resolve_run(target, runs_dir)


def _names(runs_dir: Path) -> Iterator[tuple[str, str]]:
    """What may be runs: the name, which begins with the time, and the experiment's."""
    for experiment in folders(runs_dir):
        yield from ((entry.name, experiment.name) for entry in run_folders(Path(experiment.path)))


def _short(name: str) -> str:
    return name.rpartition("-")[2]


def _not_there(text: str, runs_dir: Path, runs: list[tuple[str, str]]) -> InputError:
    if not runs:
        return InputError(
            f"there is no run {text!r}: the runs directory holds none",
            where=str(runs_dir),
            fix="make one with `assay run EXPERIMENT`, or name the runs directory with --runs-dir",
        )
    names = list(dict.fromkeys(experiment for _, experiment in runs))
    known = [*names, *(_short(name) for name, _ in runs)]
    near = difflib.get_close_matches(text, known, n=3, cutoff=0.4) or names[:3]
    return InputError(
        f"there is no run {text!r}",
        where=str(runs_dir),
        fix=f"nearest: {', '.join(near)}; `assay runs` lists all",
    )
