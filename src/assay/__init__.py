"""Assay: fine-tune language models as honest experiments.

The public API, the same as the command line::

    import assay

    outcome = assay.run("experiment.yaml")
    print(assay.show(outcome.run)["verdict"]["sentence"])

Importing `assay` loads nothing heavy; each name brings what it needs when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assay.api import (
        compare,
        decode,
        evaluate,
        generate,
        guards,
        load_experiment,
        models,
        plan,
        prepare,
        recipes,
        report,
        run,
        runs,
        score,
        show,
        sweep,
        train,
    )  # fmt: skip
    from assay.core.errors import AssayError, GuardError, InputError, Interrupted, MachineError

_API = (
    "compare", "decode", "evaluate", "generate", "guards", "load_experiment", "models", "plan", "prepare", "recipes",
    "report", "run", "runs", "score", "show", "sweep", "train",
)  # fmt: skip
_ERRORS = ("AssayError", "GuardError", "InputError", "Interrupted", "MachineError")

__all__ = [
    "AssayError", "GuardError", "InputError", "Interrupted", "MachineError",
    "compare", "decode", "evaluate", "generate", "guards", "load_experiment", "models", "plan", "prepare", "recipes",
    "report", "run", "runs", "score", "show", "sweep", "train",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _API:
        return getattr(import_module("assay.api"), name)
    if name in _ERRORS:
        return getattr(import_module("assay.core.errors"), name)
    raise AttributeError(f"module 'assay' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
