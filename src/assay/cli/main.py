"""The command line: what each command is called and takes. Each imports its work only when it is called.

Exit codes: 0 done, whatever the outcome; 2 bad input; 3 a validity guard failed; 4 the machine could not do it;
130 interrupted; 1 a bug of ours.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from assay.cli.options import RUNS_DIR, Json, New, Overrides, Quiet, Run, Runs, RunsDir, Target
from assay.cli.runs import runs_app
from assay.core.console import Console
from assay.core.errors import AssayError, InputError, Interrupted, MachineError
from assay.core.machine import out_of_memory

if TYPE_CHECKING:
    from assay.core.rundir import RunDir
    from assay.pipeline import Outcome

# rich's help needs another tenth of a second and says the same
app = typer.Typer(
    name="assay",
    help="Fine-tune language models as honest experiments: every number with its evidence.",
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(runs_app, name="runs")

RESUMABLE = ("run", "prepare", "plan", "train", "evaluate", "report")


@app.command()
def new(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Your data: txt, md, csv, tsv, json, jsonl or parquet.")],
    target: Annotated[
        Path | None,
        typer.Argument(metavar="[TARGET]", help="The experiment file to write.", show_default="FILE.yaml, here"),
    ] = None,
) -> None:
    """Write a commented starter experiment for your own data."""
    from assay.cli import catalog

    catalog.new(file, target, Console())


def _done(
    until: str, target: str, runs_dir: Path, overrides: Sequence[str] | None, another: bool, console: Console
) -> Outcome:
    from assay.pipeline import run as run_stages

    return run_stages(target, runs_dir=runs_dir, until=until, overrides=overrides or (), new=another, console=console)


def _stages(
    until: str, target: str, runs_dir: Path, overrides: Sequence[str] | None, another: bool, quiet: bool
) -> RunDir:
    from assay.cli import outcome

    console = Console(quiet=quiet)
    done = _done(until, target, runs_dir, overrides, another, console)
    if done.already_finished:
        console.note("finished already: nothing was done again (--new makes another run)")
    console.result(outcome.outcome_text(done.run, until))
    return done.run


@app.command()
def run(
    target: Target, runs_dir: RunsDir = RUNS_DIR, overrides: Overrides = None, new: New = False, quiet: Quiet = False
) -> None:
    """Do all stages, from the text to the verdict and its report."""
    _stages("report", target, runs_dir, overrides, new, quiet)


@app.command()
def prepare(
    target: Target,
    runs_dir: RunsDir = RUNS_DIR,
    overrides: Overrides = None,
    new: New = False,
    quiet: Quiet = False,
    show: Annotated[
        int, typer.Option("--show", metavar="N", min=0, help="Print so many training rows as the loss sees them.")
    ] = 0,
) -> None:
    """Read, clean and cut the texts, split them by group, and look for leaks."""
    run = _stages("prepare", target, runs_dir, overrides, new, quiet)
    if show:
        from assay.cli import reading

        reading.rows(run, show, Console(quiet=quiet))


@app.command()
def plan(
    target: Target,
    runs_dir: RunsDir = RUNS_DIR,
    overrides: Overrides = None,
    new: New = False,
    quiet: Quiet = False,
    device: Annotated[
        str,
        typer.Option(
            "--device", metavar="NAME", help="t4, rtx4060, rtx4090, a100-80, h100 or m2-16gb: nothing is run."
        ),
    ] = "this",
    json: Json = False,
) -> None:
    """Predict memory and time, here or on a device that one may not have."""
    from assay.cli import reading

    console = Console(quiet=quiet)
    if device != "this":
        reading.forecast(target, runs_dir, overrides or (), device, json, console)
    elif json:
        reading.plan(_done("plan", target, runs_dir, overrides, new, console).run, console)
    else:
        _stages("plan", target, runs_dir, overrides, new, quiet)


@app.command()
def train(
    target: Target, runs_dir: RunsDir = RUNS_DIR, overrides: Overrides = None, new: New = False, quiet: Quiet = False
) -> None:
    """Train, or go on with a training that was interrupted."""
    _stages("train", target, runs_dir, overrides, new, quiet)


@app.command()
def evaluate(
    target: Target, runs_dir: RunsDir = RUNS_DIR, overrides: Overrides = None, new: New = False, quiet: Quiet = False
) -> None:
    """Score base and tuned on the held-out texts."""
    _stages("evaluate", target, runs_dir, overrides, new, quiet)


@app.command()
def report(
    target: Target,
    runs_dir: RunsDir = RUNS_DIR,
    overrides: Overrides = None,
    new: New = False,
    quiet: Quiet = False,
    history: Annotated[
        bool, typer.Option("--history", help="Write the story of all the experiment's runs instead; nothing is run.")
    ] = False,
) -> None:
    """Write the verdict and the report."""
    if history:
        from assay.cli import listing

        listing.history(target, runs_dir, [*(overrides or ()), *(["--new"] if new else [])], Console(quiet=quiet))
    else:
        _stages("report", target, runs_dir, overrides, new, quiet)


@app.command()
def generate(
    run: Run,
    prompts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PROMPT]...", help="Texts to go on from.", show_default="standard input, as one prompt"
        ),
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
    overrides: Overrides = None,
    quiet: Quiet = False,
) -> None:
    """Let the tuned model continue one or more texts."""
    from assay.cli import talk

    talk.generate(run, prompts or [], runs_dir, overrides or (), Console(quiet=quiet))


@app.command()
def chat(run: Run, runs_dir: RunsDir = RUNS_DIR, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Talk to the tuned model, or to the base (/base), by hand."""
    from assay.cli import talk

    talk.chat(run, runs_dir, overrides or (), Console(quiet=quiet))


@app.command()
def show(run: Run, runs_dir: RunsDir = RUNS_DIR, json: Json = False) -> None:
    """Show a run: verdict, settings, stages, costs, guards."""
    from assay.cli import reading

    reading.show(run, runs_dir, json, Console())


@app.command()
def guards(run: Run, runs_dir: RunsDir = RUNS_DIR, json: Json = False) -> None:
    """Show every check of a run in plain language."""
    from assay.cli import reading

    reading.guards(run, runs_dir, json, Console())


@app.command()
def compare(runs: Runs, runs_dir: RunsDir = RUNS_DIR, json: Json = False) -> None:
    """Hold runs against the first: by how much, how sure, and what the difference may be put down to."""
    from assay.cli import reading

    reading.compare(runs, runs_dir, json, Console())


@app.command()
def judge(run: Run, runs_dir: RunsDir = RUNS_DIR, overrides: Overrides = None, quiet: Quiet = False) -> None:
    """Have a language model compare a run's generated texts (evaluate.judge)."""
    from assay.cli import preferences

    preferences.judge(run, runs_dir, overrides or (), Console(quiet=quiet))


@app.command()
def rate(
    run: Run,
    write: Annotated[
        Path | None, typer.Option("--write", metavar="CSV", help="Write a blind sheet for people to fill in.")
    ] = None,
    read: Annotated[
        list[Path] | None,
        typer.Option("--read", metavar="CSV", help="Read a filled-in sheet; one per rater, repeatable."),
    ] = None,
    stars: Annotated[bool, typer.Option("--stars", help="With --write: also ask for 1 to 5 stars per text.")] = False,
    anchors: Annotated[
        Path | None,
        typer.Option(
            "--anchors",
            metavar="JSONL",
            help='With --write: texts whose stars are agreed on, rated first: {"text": ..., "stars": 3} on each line.',
        ),
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
) -> None:
    """Let people compare a run's generated texts without knowing which is whose."""
    from assay.cli import preferences

    preferences.rate(run, write, read or [], runs_dir, Console(), stars=stars, anchors=anchors)


@app.command()
def models(json: Json = False) -> None:
    """List the base models that have a name here."""
    from assay.cli import catalog

    catalog.models(json, Console())


@app.command()
def recipes(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="Print this recipe's path alone.")] = None,
    json: Json = False,
) -> None:
    """List the experiments that ship with assay."""
    from assay.cli import catalog

    catalog.recipes(name, json, Console())


@app.command()
def doctor(runs_dir: RunsDir = RUNS_DIR, json: Json = False) -> None:
    """Say what this machine has, and what is missing."""
    from assay.cli.doctor import doctor as examine

    examine(runs_dir, json, Console())


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code. Arguments default to the process's own."""
    args = sys.argv[1:] if argv is None else list(argv)
    console = Console()
    try:
        with _sigterm_interrupts():
            return _invoke(args)
    except AssayError as error:
        console.error(str(error) if isinstance(error, Interrupted) else f"error: {error}")
        return error.exit_code
    except typer.TyperException as error:
        return _usage(error, console)
    except KeyboardInterrupt:
        again = (
            "interrupted; the same command again goes on from here"
            if args[:1] and args[0] in RESUMABLE
            else "interrupted"
        )
        console.error(f"\n{again}")
        return Interrupted.exit_code
    except BrokenPipeError:
        # the reader (`| head`) has gone: nothing more to say, not even at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        told = _told(error)
        if told is None:
            return _bug(console)
        console.error(f"error: {told}")
        return told.exit_code


def _invoke(args: list[str]) -> int:
    command = typer.main.get_command(app)
    try:
        with command.make_context("assay", args) as context:
            command.invoke(context)
    except typer.Exit as error:
        return error.exit_code
    return 0


def _usage(error: typer.TyperException, console: Console) -> int:
    """One message for a mistake in the command line itself: the nearest command or option, and where help is."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "assay"
    if type(error).__name__ == "NoArgsIsHelpError":  # `assay` alone: the message is the help
        console.error(str(error))
    else:
        text = error.format_message() if hasattr(error, "format_message") else str(error)
        console.error(f"error: {text}\n  fix: `{path} --help` shows what it takes")
    return 2


def _told(error: Exception) -> AssayError | None:
    """What an error that no module has put into words means to the user; None for a bug of ours."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOMEM or out_of_memory(error):
        return MachineError(
            "not enough memory",
            fix="close other programs, or set smaller train.batch_tokens, train.max_length or a smaller base",
        )
    name = getattr(error, "filename", None)
    place = None if name is None else str(name)
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return MachineError(
            "no space left on the disk, or a limit on the size of files",
            where=place,
            fix="free some space, then give the same command again",
        )
    if code == errno.ENAMETOOLONG:
        return InputError("this name is too long for the disk", where=place, fix="give a shorter name")
    return None


def _bug(console: Console) -> int:
    console.error(traceback.format_exc() + "error: this is a bug in assay; please report it with the lines above")
    return 1


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that a stopped machine leaves a resumable run too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
