"""The arguments and options that commands share: every one of them has its name and help here and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Target = Annotated[str, typer.Argument(metavar="EXPERIMENT|RUN", help="An experiment file, or a run to go on with.")]
Run = Annotated[
    str,
    typer.Argument(metavar="RUN", help="A run: its directory, its short hash, or its experiment's name (the newest)."),
]
Runs = Annotated[
    list[str], typer.Argument(metavar="RUN...", help="Runs: directories, short hashes or experiment names.")
]
RunsDir = Annotated[
    Path, typer.Option("--runs-dir", metavar="DIR", envvar="ASSAY_RUNS_DIR", help="Where the runs lie.")
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a key of the experiment, as in train.steps=10; repeatable."
    ),
]
New = Annotated[bool, typer.Option("--new", help="Make another run instead of going on with an unfinished one.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No notes and no progress; the result and errors only.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

RUNS_DIR = Path("runs")
