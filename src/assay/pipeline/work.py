"""What a command works on: an experiment's values and inputs, and the run that stands for them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from assay.config.load import Loaded, load_experiment, resolved_yaml
from assay.config.schema import Experiment
from assay.core.cache import cache_dir
from assay.core.console import Console
from assay.core.describe import settings
from assay.core.errors import InputError
from assay.core.files import directory_atomic, make_folder, read_json, read_lines, sha256_file, write_json, write_text
from assay.core.identity import Identity, find_run, make_identity, new_run
from assay.core.receipt import version
from assay.core.rundir import RunDir
from assay.core.store import Store
from assay.model.registry import BaseRef, locate, trainable_as


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


def resolve(loaded: Loaded, runs_dir: Path, console: Console) -> Work:
    """Find the base and the data, and say what run this is."""
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


def same_identity(run: RunDir, identity: Identity, overrides: Sequence[str]) -> None:
    """Refuse an existing run that would be another one with these values.

    Raises:
        InputError: it would.
    """
    if read_json(run.identity).get("id") != identity.id:
        raise InputError(
            "with these values it would be another run"
            if overrides
            else "its base or its data changed since it was made",
            where=str(run.path),
            fix="give the experiment file instead of the run: `assay run EXPERIMENT`",
        )


def find(work: Work) -> RunDir | None:
    """The run with this identity, if there is one.

    Raises:
        InputError: the files that it would be made from have changed while a run of them is under way.
    """
    data = work.loaded.experiment.data.model_dump(mode="json")
    named = {f"data.{key}": data[key] for key in ("source", "against")}
    named |= {f"data.split.{key}": data["split"][key] for key in ("dev", "test")}
    return find_run(work.runs_dir / work.loaded.experiment.name, work.identity, named)


def find_or_create(work: Work, new: bool, varied: Mapping[str, Any] | None = None) -> RunDir:
    """The run with this identity; made, whole, where there is none. One process at a time."""
    folder = work.runs_dir / work.loaded.experiment.name
    make_folder(folder)
    with FileLock(folder / ".lock"):
        found = None if new else find(work)
        if found is None:
            for leftover in folder.glob(".*.tmp"):
                shutil.rmtree(leftover, ignore_errors=True)
            found = new_run(folder, work.identity)
            with directory_atomic(found.path, replace=False) as temporary:
                _describe(RunDir(temporary), work, varied)
        return found


def with_origins(run: RunDir, loaded: Loaded) -> Loaded:
    """A run's own values, each with the origin that it had when the run was made."""
    before = {entry["key"]: entry["origin"] for entry in settings(run)}
    origins = {k: o if o == "--set" else before.get(k, o) for k, o in loaded.origins.items()}
    return replace(loaded, origins=origins)


def note_new_settings(run: RunDir, work: Work) -> None:
    """What may change without making another run (evaluation, device) is written down when it does."""
    if load_experiment(run.resolved).experiment != work.loaded.experiment:
        write_text(run.resolved, resolved_yaml(work.loaded))
        run.event("settings changed", sha256=sha256_file(run.resolved))


def note_varied(run: RunDir, varied: Mapping[str, Any] | None) -> None:
    """What a run is of a sweep is written down once: when it was made, or when the sweep found it there."""
    if varied is not None and all(event.get("varied") != varied for event in read_lines(run.events)):
        run.event("joined", varied=dict(varied))


def _describe(run: RunDir, work: Work, varied: Mapping[str, Any] | None) -> None:
    """What a run is, before anything is done: as written, resolved, and its identity."""
    base = {"spec": work.base.spec, "kind": work.base.kind, "revision": work.base.revision, "note": work.base.note}
    write_text(run.experiment, work.loaded.text)
    write_text(run.resolved, resolved_yaml(work.loaded))
    write_json(run.identity, work.identity.as_json(base=base))
    part = {} if varied is None else {"varied": dict(varied)}
    run.event("created", experiment=str(work.loaded.path), assay=version(), **part)
