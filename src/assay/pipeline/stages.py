"""What each stage does, given the run and the work."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from assay.core.files import read_json
from assay.core.guard import GuardBook
from assay.core.machine import cores
from assay.core.optional import require_training
from assay.core.rundir import LOOKS, RunDir
from assay.core.store import link_all
from assay.core.usage import give_back
from assay.core.words import count
from assay.model.registry import tokenizer_at_hand
from assay.pipeline.keys import stage_key
from assay.pipeline.work import Work

if TYPE_CHECKING:
    from assay.text.tokenizer import TextTokenizer


def _prepare(run: RunDir, work: Work) -> list[Path]:
    """The splits and, where the base's tokenizer is here already, the training items as tokens."""
    _prepare_data(run, work)
    tokenizer = tokenizer_at_hand(work.base)
    if tokenizer is None:
        work.console.note(f"{work.base.spec} is not here yet: what its tokenizer makes of this comes with training")
        return _files(run.data)
    return [*_files(run.data), *_tokenize(run, work, tokenizer)]


def _prepare_data(run: RunDir, work: Work) -> None:
    """Take prepared data from the store, or prepare it and put it there, with the guards' records beside it."""
    from assay.stages.prepare import prepare

    def fill(folder: Path) -> None:
        prepare(work.loaded.experiment.data, run, work.cache, work.console)
        give_back()
        GuardBook(run.data / "guards.json").add(*(r for r in run.guards.records() if r.stage == "prepare"))
        link_all(run.data, folder)

    key, console = stage_key(run, work, "prepare"), work.console
    waiting = partial(console.note, "another run is preparing the same data: waiting for it")
    if not work.store.once("prepare", key, fill, mend=True, waiting=waiting).made:
        work.store.give("prepare", key, run.data)
        run.guards.add(*GuardBook(run.data / "guards.json").records())
        console.note("prepared data: from an earlier run with the same data")


def _tokenize(run: RunDir, work: Work, tokenizer: TextTokenizer) -> list[Path]:
    from assay.stages.tokenize import tokenize

    return tokenize(run, work.loaded.experiment, tokenizer, work.store)


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())


def _plan(run: RunDir, work: Work) -> list[Path]:
    from assay.stages.plan import plan

    plan(run, work.loaded.experiment, work.base, work.console)
    return [run.plan]


def _train(run: RunDir, work: Work) -> list[Path]:
    require_training()
    _say_where_threads_are_many(run, work)
    from assay.model.load import load_tokenizer
    from assay.stages.train.stage import train

    if work.loaded.experiment.evaluate.harness:
        from assay.stages.evaluate.harness import load

        load(work.loaded.experiment.evaluate.harness)  # what is missing is missed before anything is trained
    # from the store, where they are intact; made anew where they came before the base did, or changed since
    tokens = _tokenize(run, work, load_tokenizer(work.base, work.cache, work.console))
    return [*tokens, *train(run, work.loaded.experiment, work.base, work.cache, work.console)]


def _evaluate(run: RunDir, work: Work) -> list[Path]:
    require_training()
    _say_where_threads_are_many(run, work)
    from assay.stages.evaluate.stage import evaluate

    looks = work.runs_dir / LOOKS
    return evaluate(run, work.loaded.experiment, work.base, work.cache, work.store, looks, work.console)


def _say_where_threads_are_many(run: RunDir, work: Work) -> None:
    """A run keeps the number of threads of its plan, as its bits depend on it: where they share cores it is slow."""
    planned, here = read_json(run.plan)["decisions"]["threads"], cores()
    if planned > here:
        work.console.note(
            f"planned for {planned} threads, and {count(here, 'core')} may be used now: slower, the same bit for bit"
        )


def _report(run: RunDir, work: Work) -> list[Path]:
    from assay.stages.compare.audit import audit

    audit(run)
    return [write_page(run), run.receipt]


def write_page(run: RunDir) -> Path:
    """The page of what there is: after a failed validity guard the numbers, under its name and without a verdict."""
    from assay.stages.compare.report import write_report

    return write_report(run)


def show_data(run: RunDir) -> None:
    """What the preparation made, as a page and as plots; the page is written anew once there is a verdict."""
    from assay.stages.compare.plots_data import write_plots

    write_page(run)
    tokens = read_json(run.tokens_profile) if run.tokens_profile.exists() else None
    write_plots(run.plots, read_json(run.profile), tokens)


PERFORM: dict[str, Callable[[RunDir, Work], list[Path]]] = {
    "prepare": _prepare,
    "plan": _plan,
    "train": _train,
    "evaluate": _evaluate,
    "report": _report,
}
