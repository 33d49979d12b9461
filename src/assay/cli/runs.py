"""`assay runs` and its commands: what each is called and takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from assay.cli.groups import ListByDefault
from assay.cli.options import RUNS_DIR, Json, Quiet, Runs, RunsDir
from assay.core.console import Console

runs_app = typer.Typer(rich_markup_mode=None, cls=ListByDefault)


@runs_app.callback()
def runs(runs_dir: RunsDir = RUNS_DIR, json: Json = False) -> None:
    """List the runs, the newest first (`runs list --help`: filters, sorting, CSV); delete and weigh them."""


# An option given before `rm` or `du` counts as well as one given behind it.
_RunsDirAgain = Annotated[
    Path | None, typer.Option("--runs-dir", metavar="DIR", help="Where the runs lie.", show_default=str(RUNS_DIR))
]


def _outer(context: typer.Context, name: str) -> Any:
    return context.parent.params[name] if context.parent else None


@runs_app.command("list")
def runs_list(
    context: typer.Context,
    filters: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FILTER]...",
            help="Conditions that must all hold, each in quotes: 'status=failed', 'adapter.rank>=8', "
            "'difference>0.05', 'created>=2026-11-01', 'base~smollm' (a piece of it), 'rank=none' (undefined).",
        ),
    ] = None,
    runs_dir: _RunsDirAgain = None,
    sort: Annotated[
        str | None,
        typer.Option(
            "--sort", metavar="KEY", help="By a column or a setting, smallest first.", show_default="newest first"
        ),
    ] = None,
    reverse: Annotated[bool, typer.Option("--reverse", help="The other way round.")] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", metavar="N", min=1, help="At most so many.", show_default="50; all as JSON or CSV"),
    ] = None,
    columns: Annotated[
        str | None, typer.Option("--columns", metavar="KEY,KEY", help="Show these columns and settings.")
    ] = None,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write all columns and settings, for a spreadsheet.")
    ] = None,
    json: Json = False,
) -> None:
    """List the runs that all filters hold for; the word `list` may be left out."""
    from assay.cli import listing
    from assay.core.ledger_query import Query

    shown = [key.strip() for key in (columns or "").split(",") if key.strip()]
    query = Query(filters or (), sort, reverse, limit, shown)
    where = runs_dir or _outer(context, "runs_dir")
    listing.runs(query, where, csv, json or bool(_outer(context, "json")), Console())


@runs_app.command("reindex")
def runs_reindex(context: typer.Context, runs_dir: _RunsDirAgain = None, quiet: Quiet = False) -> None:
    """Read every run again, as after copying runs here from another machine; say what could not be read."""
    from assay.cli import listing

    listing.reindex(runs_dir or _outer(context, "runs_dir"), Console(quiet=quiet))


@runs_app.command("rm")
def runs_rm(context: typer.Context, runs: Runs, runs_dir: _RunsDirAgain = None) -> None:
    """Delete runs. What was looked at on which test texts stays on record."""
    from assay.cli import reading

    reading.remove(runs, runs_dir or _outer(context, "runs_dir"), Console())


@runs_app.command("du")
def runs_du(context: typer.Context, runs_dir: _RunsDirAgain = None, json: Json = False) -> None:
    """Show what runs and store take on the disk; shared files are counted once."""
    from assay.cli import reading

    reading.usage(runs_dir or _outer(context, "runs_dir"), json or bool(_outer(context, "json")), Console())
