"""The Python API: what the command line does, as functions. Import the names from `assay` itself.

A run is named as on the command line: by its path, its short hash, or its experiment's name (the newest run).
Errors are those of `assay.core.errors`; they carry what, where and the fix.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, overload

from assay import byhand, pipeline
from assay.config.load import Loaded
from assay.config.load import load_experiment as load_experiment
from assay.core.cache import cache_dir
from assay.core.console import Console
from assay.core.describe import describe, guard_rows
from assay.core.ledger import Ledger, resolve_run
from assay.core.optional import require_training
from assay.core.recipes import find_recipes, recipes_dir
from assay.core.rundir import RunDir
from assay.data.objects import rows_file
from assay.model.registry import locate, model_rows
from assay.pipeline import Outcome
from assay.sweeps.sweep import Swept
from assay.sweeps.sweep import sweep as do_all

__all__ = [
    "Loaded", "Outcome", "RunDir", "compare", "decode", "evaluate", "generate", "guards", "load_experiment", "models",
    "plan", "prepare", "recipes", "report", "run", "runs", "score", "show", "sweep", "train",
]  # fmt: skip

Named = str | Path | RunDir
RUNS = Path("runs")


def run(
    target: Named,
    *,
    rows: Any = None,
    overrides: Sequence[str] = (),
    runs_dir: Path | str = RUNS,
    new: bool = False,
    quiet: bool = True,
) -> Outcome:
    """Do all stages of an experiment, or what is left of an existing run.

    Args:
        target: an experiment file, or a run.
        rows: data of this program in place of the experiment's `data.source`: an iterable of dicts or of texts, a
            pandas or polars frame, or a `datasets.Dataset`. It is written to the cache once: the run can go on later.
        overrides: ``section.key=value``, as with ``--set``.
        runs_dir: the folder that holds all runs.
        new: make another run even if this experiment has one.
        quiet: no notes and no progress on standard error.

    Raises:
        AssayError: `InputError`, `GuardError`, `MachineError` or `Interrupted`.
    """
    return _until("report", target, [*overrides, *_source(rows)], runs_dir, new, quiet)


def prepare(
    target: Named,
    *,
    rows: Any = None,
    overrides: Sequence[str] = (),
    runs_dir: Path | str = RUNS,
    new: bool = False,
    quiet: bool = True,
) -> Outcome:
    """Read, clean and split the texts; arguments as of `run`. Needs no torch."""
    return _until("prepare", target, [*overrides, *_source(rows)], runs_dir, new, quiet)


@overload
def plan(
    target: Named,
    *,
    device: None = None,
    overrides: Sequence[str] = (),
    runs_dir: Path | str = RUNS,
    new: bool = False,
    quiet: bool = True,
) -> Outcome: ...
@overload
def plan(
    target: Named, *, device: str, overrides: Sequence[str] = (), runs_dir: Path | str = RUNS
) -> dict[str, Any]: ...
def plan(
    target: Named,
    *,
    device: str | None = None,
    overrides: Sequence[str] = (),
    runs_dir: Path | str = RUNS,
    new: bool = False,
    quiet: bool = True,
) -> Outcome | dict[str, Any]:
    """Predict memory and time; arguments as of `run`. Needs no torch.

    Args:
        device: one of the table (t4, rtx4060, rtx4090, a100-80, h100, m2-16gb): the plan for it is returned, nothing is
            measured and no run is made. Without it: this machine, and a run.
    """
    if device is None:
        return _until("plan", target, overrides, runs_dir, new, quiet)
    return byhand.forecast(_name(target), device, runs_dir=Path(runs_dir), overrides=overrides)


def train(
    target: Named, *, overrides: Sequence[str] = (), runs_dir: Path | str = RUNS, new: bool = False, quiet: bool = True
) -> Outcome:
    """Train, or go on with an interrupted training; arguments as of `run`."""
    return _until("train", target, overrides, runs_dir, new, quiet)


def evaluate(
    target: Named, *, overrides: Sequence[str] = (), runs_dir: Path | str = RUNS, new: bool = False, quiet: bool = True
) -> Outcome:
    """Score base and tuned on the held-out texts; arguments as of `run`."""
    return _until("evaluate", target, overrides, runs_dir, new, quiet)


def report(
    target: Named, *, overrides: Sequence[str] = (), runs_dir: Path | str = RUNS, new: bool = False, quiet: bool = True
) -> Outcome:
    """Write the verdict and the report, and do what is left before them; arguments as of `run`."""
    return _until("report", target, overrides, runs_dir, new, quiet)


def _until(
    stage: str, target: Named, overrides: Sequence[str], runs_dir: Path | str, new: bool, quiet: bool
) -> Outcome:
    return pipeline.run(
        _name(target), runs_dir=Path(runs_dir), until=stage, overrides=overrides, new=new, console=Console(quiet=quiet)
    )


def _source(rows: Any) -> list[str]:
    return [] if rows is None else [f"data.source={json.dumps(str(rows_file(rows, cache_dir())))}"]


def _name(target: Named) -> str:
    return str(target.path if isinstance(target, RunDir) else target)


def sweep(
    target: str | Path,
    *,
    overrides: Sequence[str] = (),
    runs_dir: Path | str = RUNS,
    only_plan: bool = False,
    quiet: bool = True,
) -> Swept:
    """Do all runs of an experiment's matrix that are not done, each in a process of its own, and compare them.

    Args:
        target: an experiment file with `ablations`, `seeds` or `sweep.search`.
        only_plan: prepare the data and plan each run, and train nothing.

    Returns:
        The record, with a row for each run: its state, its folder, its failure if it has one; and the comparison.

    Raises:
        AssayError: the matrix does not stand, another command is at work on it, or it was interrupted.
    """  # fmt: skip
    return do_all(
        str(target), runs_dir=Path(runs_dir), overrides=overrides, only_plan=only_plan, console=Console(quiet=quiet)
    )


def runs(*, runs_dir: Path | str = RUNS) -> list[dict[str, Any]]:
    """The ledger's rows, newest first: one per run, failed ones too."""
    return Ledger(Path(runs_dir)).rows()


def show(target: Named, *, runs_dir: Path | str = RUNS) -> dict[str, Any]:
    """All that a run has come to: verdict, settings, stages, costs, guards."""
    return describe(resolve_run(_name(target), Path(runs_dir)))


def guards(target: Named, *, runs_dir: Path | str = RUNS) -> list[dict[str, Any]]:
    """Each guard's record, with its meaning in plain words."""
    return guard_rows(resolve_run(_name(target), Path(runs_dir)))


def compare(
    targets: Sequence[Named],
    *,
    weights: Mapping[str, float] | None = None,
    out: Path | str | None = None,
    runs_dir: Path | str = RUNS,
) -> dict[str, Any]:
    """Runs held against the first: quality, paired differences with intervals, costs, what differs; as `compare.json`.

    Runs that differ in their training seed alone are one entry; `pairs` holds each entry but the first against it.

    Args:
        targets: two runs or more.
        weights: of the criteria by which a model is chosen.
        out: a folder for compare.html, .md, .json and .csv; without it nothing is written.
        runs_dir: the folder that holds all runs.

    Raises:
        InputError: fewer than two runs, or one of them is not there or not evaluated.
        GuardError: numbers that cannot be trusted, or that may not stand beside each other.
    """
    from assay.stages.compare.compare_files import write_comparison
    from assay.stages.compare.runs import compare as compared

    found = compared([resolve_run(_name(target), Path(runs_dir)) for target in targets], weights)
    if out is not None:
        write_comparison(found, Path(out))
    return found.as_json()


def models() -> list[dict[str, Any]]:
    """The base models that have a name here."""
    return model_rows(cache_dir())


def recipes() -> list[dict[str, Any]]:
    """The experiments that ship with assay: name, path, description."""
    return [asdict(recipe) for recipe in find_recipes(recipes_dir())]


def generate(
    target: Named,
    prompts: Sequence[str],
    *,
    which: str = "tuned",
    max_new_tokens: int | None = None,
    temperature: float | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    runs_dir: Path | str = RUNS,
    **others: float,
) -> list[str]:
    """The new text behind each prompt, from a run's `tuned` model or its `base`.

    Args:
        target: a trained run.
        prompts: texts to go on from.
        which: ``tuned`` or ``base``.
        max_new_tokens: this and the next two, and `others`, the remaining keys of `evaluate.decoding`: without any of
            them the run's preset (`decode`) decides, else `evaluate.decoding`; with any, that with these in place.
        temperature: 0 takes the likeliest token each time.
        top_p: the share of the likeliest tokens that is drawn from.
        seed: of the draws; None: the run's.
        runs_dir: the folder that holds all runs.
        others: ``repetition_penalty=1.2``, ``no_repeat_ngram=3``, ...
    """
    named = {"max_new_tokens": max_new_tokens, "temperature": temperature, "top_p": top_p, **others}
    given = [f"evaluate.decoding.{key}={json.dumps(value)}" for key, value in named.items() if value is not None]
    how = byhand.manner(_name(target), runs_dir=Path(runs_dir), overrides=given)
    talker = byhand.session(_name(target), runs_dir=Path(runs_dir), which=which, console=Console(quiet=True))
    seed = how.seed if seed is None else seed
    return talker.generate([how.setting.put(text) for text in prompts], how.setting.decoding, seed=seed)


def decode(
    target: Named, *, overrides: Sequence[str] = (), runs_dir: Path | str = RUNS, quiet: bool = True
) -> dict[str, Any]:
    """Try the settings of the section `decode` on a trained run, choose one and confirm it; the table of it all.

    Args:
        target: a trained run.
        overrides: ``decode.key=value``.
        runs_dir: the folder that holds all runs.
        quiet: no notes and no progress on standard error.

    Raises:
        InputError: the run has not been trained, or a setting or prompt does not stand.
        MachineError: the installed library cannot do one of the settings.
    """
    return byhand.decoded(_name(target), runs_dir=Path(runs_dir), overrides=overrides, console=Console(quiet=quiet))


def score(base: str, texts: Sequence[str], *, window: int = 512, stride: int | None = None) -> list[dict[str, Any]]:
    """The likelihood of texts under a base model, in fp32 on the CPU.

    Returns:
        Per text: tokens, UTF-8 bytes, nats (the sum of −ln p), and bits per byte (None for an empty text).

    Raises:
        MachineError: torch or transformers is not installed.
    """
    require_training()
    from assay.model.load import load_base
    from assay.model.score import Scorer
    from assay.stats.verdict import bits_per_byte

    model, tokenizer = load_base(
        locate(base, cache_dir()), cache_dir(), dtype="fp32", device="cpu", console=Console(quiet=True)
    )
    scorer = Scorer(model, tokenizer, window=window, stride=stride or window)
    rows = []
    for text, nats in zip(texts, scorer.score(texts), strict=True):
        size, total = len(text.encode()), float(nats.sum())
        bits = bits_per_byte(total, size)
        rows.append(
            {"tokens": len(nats), "bytes": size, "nats": total, "bpb": bits if isinstance(bits, float) else None}
        )
    return rows
