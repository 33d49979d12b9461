"""A stage's key: everything that decides its results. A finished stage with the same key is not done again."""

from __future__ import annotations

from typing import Any

from assay.core.files import sha256_file, sha256_json
from assay.core.receipt import version
from assay.core.rundir import STAGES, RunDir
from assay.pipeline.work import Work

# raised when a stage's results for the same inputs change
VERSIONS = {"prepare": 2, "plan": 2, "train": 4, "evaluate": 6, "report": 2}


def stage_key(run: RunDir, work: Work, stage: str) -> str:
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
