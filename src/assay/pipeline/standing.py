"""Where an experiment stands, without doing anything about it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from assay.config.load import Loaded, load_experiment
from assay.core.console import Console
from assay.core.rundir import STAGES, RunDir
from assay.pipeline.order import needed
from assay.pipeline.work import find, resolve


@dataclass(frozen=True)
class Standing:
    """An experiment's run, if it has one, and the stages that `pipeline.run` would do, in order."""

    run: RunDir | None
    left: tuple[str, ...]


def standing(loaded: Loaded, *, runs_dir: Path, until: str = "report") -> Standing:
    """Look for the run of an experiment, and at what is left of it up to and including the stage `until`.

    Nothing is written but downloads of the data into the cache, by whose content a run is found.

    Raises:
        AssayError: the base or the data cannot be found, or the data of an unfinished run have changed.
    """
    asked = STAGES[: STAGES.index(until) + 1]
    work = resolve(loaded, runs_dir, Console(quiet=True))
    run = find(work)
    if run is None:
        return Standing(None, asked)
    first = next((stage for stage in asked if needed(run, work, stage, asked=stage == until)), None)
    if first is None and until == STAGES[-1] and load_experiment(run.resolved).experiment != loaded.experiment:
        first = STAGES[-1]  # the report names what changed outside the identity
    # what comes after a stage that is done again is done again
    return Standing(run, () if first is None else asked[asked.index(first) :])
