"""`assay judge` and `assay rate`: who prefers which of a run's generated texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay import byhand
from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.files import read_json
from assay.core.rundir import RunDir


def judge(name: str, runs_dir: Path, overrides: Sequence[str], console: Console) -> None:
    """Ask the judge for what it has not answered yet, and print what it prefers.

    Raises:
        InputError: the experiment names no judge, or the judge refuses.
        MachineError: the judge cannot be reached.
    """
    run = byhand.judged(name, runs_dir=runs_dir, overrides=overrides, console=console)
    _say(run, run.judge, console)


def rate(
    name: str,
    write: Path | None,
    read: Sequence[Path],
    runs_dir: Path,
    console: Console,
    *,
    stars: bool = False,
    anchors: Path | None = None,
) -> None:
    """Write a sheet, or read filled-in ones and print what people prefer.

    Raises:
        InputError: neither or both are asked for, or a sheet is not as it should be.
    """
    if (write is None) == (not read):
        raise InputError(
            "say whether to write a sheet or to read some",
            fix="assay rate RUN --write sheet.csv, then --read sheet.csv",
        )
    if write is not None:
        rows = byhand.rating_sheet(name, write, runs_dir=runs_dir, stars=stars, anchors=anchors)
        console.result(
            f"{write}: {rows} pairs. Give each rater a copy, named after them; each fills in 1, 2 or tie. "
            f"Then: assay rate {name} --read {write}"
        )
        return
    run = byhand.rated(name, read, runs_dir=runs_dir)
    _say(run, run.ratings, console)


def _say(run: RunDir, file: Path, console: Console) -> None:
    found = read_json(file)
    lines = [_line(one) for one in found["comparisons"]]
    lines += [f"{r.guard}: {r.status}: {r.why}" for r in run.guards.records() if r.guard == "rating"]
    console.result("\n".join([*lines, f"written: {file}"]))


def _line(one: dict[str, Any]) -> str:
    rate = one["rate"]
    if rate["mean"] is None:
        return f"{one['arm']} against {one['against']}: {rate['reason']}"
    share = f"{100 * rate['mean']:.0f} %"
    if rate["low"] is not None:
        share += f" [{100 * rate['low']:.0f}, {100 * rate['high']:.0f}]"
    pairs = one["pairs"] + one["equal"]
    return f"{one['arm']} against {one['against']}: preferred in {share} of {pairs} pairs, ties as halves"
