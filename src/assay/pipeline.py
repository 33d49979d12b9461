"""Which stages a command needs, in order, and what is already done."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from assay.config.load import Loaded, load_experiment, resolved_yaml
from assay.config.schema import Experiment
from assay.core.cache import cache_dir
from assay.core.console import Console
from assay.core.describe import settings
from assay.core.errors import AssayError, GuardError, InputError, Interrupted
from assay.core.files import (
    directory_atomic,
    make_folder,
    read_json,
    remove_leftovers,
    sha256_file,
    sha256_json,
    write_json,
    write_text,
)
from assay.core.guard import GuardBook, record
from assay.core.identity import Identity, find_run, make_identity, new_run
from assay.core.ledger import Ledger, existing_run
from assay.core.optional import installed, require_training
from assay.core.receipt import version
from assay.core.rundir import STAGES, RunDir
from assay.core.store import Store
from assay.core.usage import forget_peak, give_back, peak_memory
from assay.model.registry import BaseRef, locate, tokenizer_at_hand, trainable_as

if TYPE_CHECKING:
    from assay.text.tokenizer import TextTokenizer

# raised when a stage's results for the same inputs change
VERSIONS = {"prepare": 2, "plan": 2, "train": 4, "evaluate": 5, "report": 2}


@dataclass(frozen=True)
class Outcome:
    """What a command did: the run, the stages done now, and whether there was nothing left to do."""

    run: RunDir
    done: list[str]
    already_finished: bool


@dataclass(frozen=True)
class Work:
    """One command's inputs, resolved."""

    loaded: Loaded
    base: BaseRef
    identity: Identity
    runs_dir: Path
    cache: Path
    console: Console
    evaluated_on: dict[str, Any]  # what the files that the evaluation names hold now

    @property
    def store(self) -> Store:
        """What runs share."""
        return Store(self.runs_dir)


def run(
    target: str,
    *,
    runs_dir: Path,
    until: str = "report",
    overrides: Sequence[str] = (),
    new: bool = False,
    console: Console | None = None,
) -> Outcome:
    """Bring an experiment, or an existing run, up to and including stage `until`.

    What is done and intact is not done again; an unfinished run goes on where it was.

    Args:
        target: an experiment file, or a run (its path, short hash, or experiment name).
        runs_dir: the folder that holds all runs.
        overrides: ``section.key=value``, over the file's values.
        new: make another run, even if one with this identity exists.

    Raises:
        AssayError: with what, where and the fix; see `core.errors` for the kinds.
    """
    console = console or Console()
    existing = existing_run(target, runs_dir)
    if existing is not None and new:
        raise InputError("--new makes a run from an experiment, and this is a run", where=target, fix="leave --new out")
    loaded = load_experiment(existing.resolved if existing else target, overrides)
    work = _resolve(loaded if existing is None else _with_origins(existing, loaded), runs_dir, console)
    if existing is None:
        there = _find_or_create(work, new)
    else:
        there = existing
        _same_identity(existing, work.identity, overrides)
    try:
        with there.lock():
            remove_leftovers(there.path)
            _note_new_settings(there, work)
            return _bring(there, work, until)
    finally:
        Ledger(runs_dir).upsert(there)


def _resolve(loaded: Loaded, runs_dir: Path, console: Console) -> Work:
    from assay.stages.inputs import evaluation_content
    from assay.stages.prepare import content, without_paths

    experiment, cache = loaded.experiment, cache_dir()
    data = experiment.data
    base = trainable_as(locate(experiment.base, cache), experiment.adapter.kind)
    identity = make_identity(
        schema=experiment.schema_version,
        base_hash=base.hash,
        data=without_paths(data),
        content=content(data, cache),
        adapter=_adapter(experiment),
        train=experiment.train.model_dump(mode="json"),
        seed=experiment.seed,
    )
    return Work(loaded, base, identity, runs_dir, cache, console, evaluation_content(experiment.evaluate, cache))


def _adapter(experiment: Experiment) -> dict[str, Any]:
    """What the adapter section means: of a full fine-tune, its kind alone."""
    values = experiment.adapter.model_dump(mode="json")
    return {"kind": "full"} if values["kind"] == "full" else values


def _same_identity(run: RunDir, identity: Identity, overrides: Sequence[str]) -> None:
    if read_json(run.identity).get("id") != identity.id:
        raise InputError(
            "with these values it would be another run"
            if overrides
            else "its base or its data changed since it was made",
            where=str(run.path),
            fix="give the experiment file instead of the run: `assay run EXPERIMENT`",
        )


def _find_or_create(work: Work, new: bool) -> RunDir:
    """The run with this identity; made, whole, where there is none. One process at a time."""
    folder = work.runs_dir / work.loaded.experiment.name
    make_folder(folder)
    with FileLock(folder / ".lock"):
        found = None if new else find_run(folder, work.identity)
        if found is None:
            for leftover in folder.glob(".*.tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
            found = new_run(folder, work.identity)
            with directory_atomic(found.path, replace=False) as temporary:
                _describe(RunDir(temporary), work)
        return found


def _with_origins(run: RunDir, loaded: Loaded) -> Loaded:
    """A run's own values, each with the origin that it had when the run was made."""
    before = {entry["key"]: entry["origin"] for entry in settings(run)}
    origins = {k: o if o == "--set" else before.get(k, o) for k, o in loaded.origins.items()}
    return replace(loaded, origins=origins)


def _note_new_settings(run: RunDir, work: Work) -> None:
    """What may change without making another run (evaluation, device) is written down when it does."""
    if load_experiment(run.resolved).experiment != work.loaded.experiment:
        write_text(run.resolved, resolved_yaml(work.loaded))
        run.event("settings changed", sha256=sha256_file(run.resolved))


def _describe(run: RunDir, work: Work) -> None:
    """What a run is, before anything is done: as written, resolved, and its identity."""
    base = {"spec": work.base.spec, "kind": work.base.kind, "revision": work.base.revision, "note": work.base.note}
    write_text(run.experiment, work.loaded.text)
    write_text(run.resolved, resolved_yaml(work.loaded))
    write_json(run.identity, work.identity.as_json(base=base))
    run.event("created", experiment=str(work.loaded.path), assay=version())


def _bring(run: RunDir, work: Work, until: str) -> Outcome:
    done: list[str] = []
    try:
        for stage in STAGES[: STAGES.index(until) + 1]:
            if _needed(run, work, stage, asked=stage == until):
                _refuse_changed_inputs(run, stage)
                _perform(run, work, stage)
                done.append(stage)
        if until == "prepare" and done:
            _show_data(run)
        _no_failure_left(run, until)
    except (Interrupted, KeyboardInterrupt) as error:
        run.event("interrupted")
        if isinstance(error, Interrupted):
            raise
        raise Interrupted("interrupted; what is done is kept", fix="the same command goes on from here") from None
    except AssayError as error:
        run.event("stopped", kind=type(error).__name__, why=error.what)
        if isinstance(error, GuardError):
            if error.guard not in {r.guard for r in run.guards.failed_validity()}:
                run.guards.add(record(error.guard, "fail", error.why, fix=error.fix))
            _write_page(run)
        raise
    return Outcome(run, done, not done)


def _no_failure_left(run: RunDir, until: str) -> None:
    """A run whose records hold a failed validity guard has no verdict, however it came to be there."""
    for r in run.guards.failed_validity():
        if STAGES.index(r.stage) <= STAGES.index(until):
            raise GuardError(r.guard, r.why, where=str(run.guards.path), fix=r.fix)


def _key(run: RunDir, work: Work, stage: str) -> str:
    """Stage version, its slice of the configuration, and the hashes of what it reads, as they are now."""
    e = work.loaded.experiment
    before = STAGES[: STAGES.index(stage)]
    inputs = {name: _current_outputs(run, name) for name in before if name != "plan"}
    part: dict[str, Any] = {
        "prepare": [{k: v for k, v in work.identity.data.items() if k != "chat_template"}, work.identity.content],
        "plan": [work.identity.id],
        "train": [work.identity.id],
        "evaluate": [work.identity.id, e.evaluate.model_dump(mode="json"), work.evaluated_on],
        "report": [version(), sha256_file(run.identity), sha256_file(run.resolved)],
    }
    return sha256_json([stage, VERSIONS[stage], part[stage], inputs])


def _current_outputs(run: RunDir, stage: str) -> dict[str, str | None]:
    names = (run.finished(stage) or {"outputs": {}})["outputs"]
    return {name: sha256_file(run.path / name) if (run.path / name).is_file() else None for name in names}


def _needed(run: RunDir, work: Work, stage: str, *, asked: bool) -> bool:
    """Whether a stage is to be done. `asked`: it is the one that the command names."""
    finished = run.finished(stage)
    if finished is None:
        return True
    if stage == "plan":
        return run.finished("train") is None and _undecided(run)
    if stage not in ("evaluate", "report"):
        # what was prepared or trained is never silently made again; its changed outputs are refused or judged later
        return False
    if finished["key"] != _key(run, work, stage):
        return True
    if any(STAGES.index(r.stage) <= STAGES.index(stage) for r in run.guards.failed_validity()):
        return True
    changed = run.changed_outputs(stage)
    return bool(changed) and (stage == "report" or asked or any(not (run.path / name).exists() for name in changed))


def _undecided(run: RunDir) -> bool:
    """The plan was made without torch, which is there now."""
    return installed("torch") and read_json(run.plan)["decisions"]["threads"] is None


def _refuse_changed_inputs(run: RunDir, stage: str) -> None:
    """A finished stage's output that no longer has its recorded hash stops what would use it.

    The evaluation finds out itself what is wrong with test texts and weights, and says it better.
    """
    judged_later = {"data/test.parquet"} if stage in ("evaluate", "report") else set()
    changed = [name for name in run.changed_outputs("prepare") if name not in judged_later]
    if changed and stage != "prepare":
        why = f"{', '.join(changed)} changed after it was prepared"
        run.guards.check(record("right-split", "fail", why, measured={"changed": changed}, threshold={"changed": 0}))
    if stage in ("train", "evaluate") and run.changed_outputs("plan"):
        raise InputError(
            "was changed after the plan was made", where=str(run.plan), fix="restore it, or make another run with --new"
        )
    if stage == "evaluate":
        changed = [n for n in run.changed_outputs("train") if not n.startswith(("adapter/", "model/"))]
        if changed:
            why = f"{', '.join(changed)} changed after training wrote it"
            run.guards.check(record("adapter-integrity", "fail", why, measured={"changed": changed}))


def _perform(run: RunDir, work: Work, stage: str) -> None:
    started = time.perf_counter()
    run.event("stage started", stage=stage)
    run.begin(stage)
    give_back()
    forget_peak()  # of the stage before
    run.guards.drop_stages(*STAGES[STAGES.index(stage) :])
    if stage != "report":
        run.guards.drop_stages("rate")  # of texts that are made anew
    if stage == "evaluate":
        shutil.rmtree(run.evaluate, ignore_errors=True)  # numbers of an earlier evaluation must not pass for these
    outputs = _STAGES[stage](run, work)
    seconds = time.perf_counter() - started
    run.finish(stage, key=_key(run, work, stage), outputs=outputs, seconds=seconds)
    run.event("stage finished", stage=stage, seconds=round(seconds, 3), peak_memory=peak_memory())


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

    key, store = _key(run, work, "prepare"), work.store
    if store.has("prepare", key) and store.damaged("prepare", key):
        work.console.note("the stored prepared data was changed since: preparing it anew")
        store.drop("prepare", key)
    if store.has("prepare", key):
        store.give("prepare", key, run.data)
        run.guards.add(*GuardBook(run.data / "guards.json").records())
        work.console.note("prepared data: from an earlier run with the same data")
        return
    prepare(work.loaded.experiment.data, run, work.cache, work.console)
    give_back()
    GuardBook(run.data / "guards.json").add(*(r for r in run.guards.records() if r.stage == "prepare"))
    store.keep("prepare", key, run.data)


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
    from assay.stages.evaluate.stage import evaluate

    looks = work.runs_dir / "test-looks.jsonl"
    return evaluate(run, work.loaded.experiment, work.base, work.cache, work.store, looks, work.console)


def _report(run: RunDir, work: Work) -> list[Path]:
    from assay.stages.compare.audit import audit

    audit(run)
    return [_write_page(run), run.receipt]


def _write_page(run: RunDir) -> Path:
    """The page of what there is: after a failed validity guard the numbers, under its name and without a verdict."""
    from assay.stages.compare.report import write_report

    return write_report(run)


def _show_data(run: RunDir) -> None:
    """What the preparation made, as a page and as plots; the page is written anew once there is a verdict."""
    from assay.stages.compare.plots_data import write_plots

    _write_page(run)
    tokens = read_json(run.tokens_profile) if run.tokens_profile.exists() else None
    write_plots(run.plots, read_json(run.profile), tokens)


_STAGES: dict[str, Callable[[RunDir, Work], list[Path]]] = {
    "prepare": _prepare,
    "plan": _plan,
    "train": _train,
    "evaluate": _evaluate,
    "report": _report,
}
