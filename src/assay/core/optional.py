"""Optional packages, named with the extra that brings them."""

from __future__ import annotations

import importlib
import importlib.util
from types import ModuleType

from assay.core.errors import MachineError


def installed(package: str) -> bool:
    """Whether `package` can be imported, without importing it."""
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def require(package: str, *, extra: str) -> ModuleType:
    """Import `package`, or say which extra brings it (exit 4)."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise missing(package.partition(".")[0], extra=extra) from error


def missing(package: str, *, extra: str, where: str | None = None) -> MachineError:
    """The error that says that `package` is not installed, and which extra brings it."""
    return MachineError(
        f"this needs the package {package}, which is not installed",
        where=where,
        fix=f"pip install 'assay[{extra}]'",
    )


def require_training() -> None:
    """Have what models need, or say which extra brings it (exit 4)."""
    for package in ("torch", "transformers", "peft"):
        require(package, extra="train")
