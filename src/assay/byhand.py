"""What is looked at or tried by hand: a run's rows as the loss sees them, its model in memory, a plan for elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.config.load import Loaded, load_experiment
from assay.core.cache import cache_dir
from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.files import read_json
from assay.core.ledger import existing_run, resolve_run
from assay.core.optional import require_training
from assay.core.records import Decoding, Setting
from assay.core.rundir import LOOKS, RunDir
from assay.model.registry import BaseRef, locate, tokenizer_at_hand, trainable_as

if TYPE_CHECKING:
    from assay.model.session import Session


def shown_rows(run: RunDir, count: int, *, colour: bool) -> str:
    """The first training rows of a prepared run as the loss sees them.

    Raises:
        InputError: the base's tokenizer is not here yet.
    """
    from assay.stages.tokenize import show

    experiment = load_experiment(run.resolved).experiment
    tokenizer = tokenizer_at_hand(locate(experiment.base, cache_dir()))
    if tokenizer is None:
        raise InputError(
            "the base is not here yet, and without its tokenizer there is nothing to show",
            where=f"base: {experiment.base}",
            fix="fetch it first: `assay train` does, or `python -m assay.fetch` for the embedded one",
        )
    return show(run, experiment, tokenizer, count, colour=colour)


def session(target: str, *, runs_dir: Path, which: str = "tuned", console: Console | None = None) -> Session:
    """A run's model in memory, to be tried by hand.

    Raises:
        InputError: the run has not been trained.
    """
    run, loaded, base = _trained(target, runs_dir)
    from assay.model.session import open_session

    e = loaded.experiment
    return open_session(
        run, base, cache_dir(), kind=e.adapter.kind, chat_template=e.data.chat_template, system=e.data.system_prompt,
        which=which, console=console or Console(),
    )  # fmt: skip


def _trained(target: str, runs_dir: Path, overrides: Sequence[str] = ()) -> tuple[RunDir, Loaded, BaseRef]:
    """A trained run, its experiment, and the base that it was trained on."""
    run = resolve_run(target, runs_dir)
    if run.finished("train") is None:
        raise InputError("has not been trained yet", where=str(run.path), fix=f"assay run {target}")
    require_training()
    loaded = load_experiment(run.resolved, overrides)
    base = locate(loaded.experiment.base, cache_dir())
    if base.hash != read_json(run.identity)["base"]["hash"]:
        raise InputError(
            "the base is no longer the one that this run was trained on",
            where=f"base: {base.spec}",
            fix="restore it, or train again with --new",
        )
    return run, loaded, base


@dataclass(frozen=True)
class Manner:
    """How a run's model is asked by hand: decoding, the words around a prompt, the seed, and where this comes from."""

    setting: Setting
    seed: int
    note: str | None = None


def manner(target: str, *, runs_dir: Path, overrides: Sequence[str] = ()) -> Manner:
    """How to generate with a run: its preset, which `assay decode` chose, else `evaluate.decoding`.

    An override of a key of `evaluate.decoding` leaves the preset aside; so does one that was chosen for other weights.

    Raises:
        InputError: there is no such run, or an override does not stand.
    """
    run = resolve_run(target, runs_dir)
    experiment = load_experiment(run.resolved, overrides).experiment
    own = Setting("evaluate.decoding", experiment.evaluate.decoding.decoding())
    if not run.preset.is_file():
        return Manner(own, experiment.seed)
    preset = read_json(run.preset)
    name = f"the preset {preset['name']}, which assay decode chose"
    if any(override.strip().startswith("evaluate.decoding.") for override in overrides):
        return Manner(own, experiment.seed, f"by --set: evaluate.decoding ({own.decoding}) instead of {name}")
    weights = read_json(run.training)["weights"]["sha256"] if run.training.is_file() else None
    if preset["weights"] != weights:
        return Manner(own, experiment.seed, f"evaluate.decoding ({own.decoding}): {name}, was for other weights")
    setting = Setting(preset["name"], Decoding(**preset["decoding"]), preset["template"], preset["frame"])
    told = {True: "confirmed on other prompts", False: "not confirmed on other prompts", None: "not confirmed"}
    words = "" if str(setting.decoding) == setting.name else f" ({setting.decoding})"
    return Manner(setting, experiment.seed, f"with {name}{words}: {told[preset['confirmed']]}")


def decoded(
    target: str, *, runs_dir: Path, overrides: Sequence[str] = (), console: Console | None = None
) -> dict[str, Any]:
    """Try the settings of the experiment's section `decode` on a trained run; the table, also in its decode/table.json.

    Raises:
        InputError: the run has not been trained, or an override is not of the section `decode`.
        MachineError: the installed library cannot do one of the settings.
    """
    from assay.stages.compare.decoding import write_page
    from assay.stages.compare.report import write_report

    console = console or Console()
    run, loaded, base = _trained(target, runs_dir, overrides)
    keys = [override.partition("=")[0].strip() for override in overrides]
    foreign = next((key for key in keys if key.partition(".")[0] != "decode"), None)
    if foreign is not None:
        raise InputError(
            f"{foreign} does not change a run that is there",
            where="--set", fix="give keys of the section decode, such as --set decode.seeds=4",
        )  # fmt: skip
    from assay.stages.decode.stage import decode

    assistant = loaded.experiment.decode.assistant
    with run.lock():
        found = decode(
            run, loaded.experiment, base, cache_dir(), runs_dir / LOOKS, console,
            assistant=locate(assistant, cache_dir()) if assistant else None,
        )  # fmt: skip
        write_page(run)
        write_report(run)
    return found


def judged(target: str, *, runs_dir: Path, overrides: Sequence[str] = (), console: Console | None = None) -> RunDir:
    """Have a run's generated texts compared by the judge that its experiment names; answers so far are kept.

    Raises:
        InputError: the experiment names no judge, the run has no texts, or the judge refuses.
        MachineError: the judge cannot be reached.
    """
    from assay.stages.compare.report import write_report
    from assay.stages.evaluate.judge import Judge, judge_run
    from assay.stages.evaluate.pairs import answers_of_people, check_rating

    run = resolve_run(target, runs_dir)
    asked = load_experiment(run.resolved, overrides).experiment.evaluate.judge
    if asked.url is None or asked.model is None:
        raise InputError(
            "the experiment names no judge", where="evaluate.judge",
            fix="--set evaluate.judge.url=http://localhost:8080/v1 --set evaluate.judge.model=NAME",
        )  # fmt: skip
    with run.lock():
        people = answers_of_people(run)
        judge_run(run, Judge(**asked.model_dump()), console=console or Console(), people=people)
        check_rating(run)
        write_report(run)
    return run


def rating_sheet(target: str, sheet: Path, *, runs_dir: Path, stars: bool = False, anchors: Path | None = None) -> int:
    """Write a blind sheet of a run's generated texts for people to fill in; its number of rows.

    Raises:
        InputError: the run has no texts, the sheet is already there, or a line of `anchors` is no anchor.
    """
    from assay.stages.evaluate.anchors import read_anchors
    from assay.stages.evaluate.rating import write_rating_sheet

    run = resolve_run(target, runs_dir)
    with run.lock():
        return write_rating_sheet(run, sheet, stars=stars, anchors=read_anchors(anchors) if anchors else ())


def rated(target: str, sheets: Sequence[Path], *, runs_dir: Path) -> RunDir:
    """Read filled-in sheets, one per rater, into the run.

    Raises:
        InputError: a sheet is not one of this run's, or an answer cannot be read; the row is named.
    """
    from assay.stages.compare.report import write_report
    from assay.stages.evaluate.pairs import check_rating
    from assay.stages.evaluate.rating import read_ratings

    run = resolve_run(target, runs_dir)
    with run.lock():
        read_ratings(run, sheets)
        check_rating(run)
        write_report(run)
    return run


def forecast(target: str, device: str, *, runs_dir: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The plan for a device of the table, without torch, measurement or a run directory.

    Args:
        device: a key of `model.devices.DEVICES`.

    Raises:
        AssayError: there is no such device, the experiment does not stand, or its base cannot be found.
    """
    from assay.stages.plan import forecast as foretell

    existing = existing_run(target, runs_dir)
    experiment = load_experiment(existing.resolved if existing else target, overrides).experiment
    base = trainable_as(locate(experiment.base, cache_dir()), experiment.adapter.kind)
    return foretell(experiment, base, device)
