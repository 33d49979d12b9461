"""Checkpoints: whole or absent, checksummed, safetensors and JSON only."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.files import directory_atomic, read_json, sha256_file, sha256_json, write_json


@dataclass(frozen=True)
class Checkpoint:
    """Training after `step` optimizer steps: fp32 weights, optimizer state, and counters."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    counters: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint, *, keep: int, best: int | None = None) -> None:
    """Write `folder/step-<n>`, then delete all but the newest `keep` and that of step `best`.

    A whole one of the same step holds the same weights: it stays, and gets the new counters. Later ones are what a
    training that starts anew from an earlier step has passed over.
    """
    path = _path(folder, checkpoint.step)
    state = {"step": checkpoint.step, "counters": checkpoint.counters}
    there = _intact(path)
    if there is not None:
        write_json(path / "state.json", {**state, "sha256": there["sha256"], "state_sha256": sha256_json(state)})
    else:
        with directory_atomic(path) as target:
            save_file({k: v.contiguous() for k, v in checkpoint.weights.items()}, target / "weights.safetensors")
            save_file({k: v.contiguous() for k, v in checkpoint.optimizer.items()}, target / "optimizer.safetensors")
            hashes = {name: sha256_file(target / name) for name in ("weights.safetensors", "optimizer.safetensors")}
            write_json(target / "state.json", {**state, "sha256": hashes, "state_sha256": sha256_json(state)})
    standing = sorted(folder.glob("step-*"))
    later = [other for other in standing if other.name > path.name]
    for old in [*later, *standing[: len(standing) - len(later)][:-keep]]:
        if best is None or old != _path(folder, best):
            shutil.rmtree(old)


def newest(folder: Path, console: Console) -> Checkpoint | None:
    """The newest checkpoint whose checksums hold; a damaged one is named and passed over."""
    there = sorted(folder.glob("step-*"), reverse=True)
    for path in there:
        found = _read(path)
        if found is not None:
            return found
        console.note(f"the checkpoint {path.name} is damaged and is not used")
    if there:
        console.note("no checkpoint is whole: training starts anew")
    return None


def at(folder: Path, step: int) -> Checkpoint:
    """The checkpoint of one step.

    Raises:
        InputError: it is missing or damaged.
    """
    found = _read(_path(folder, step)) if _path(folder, step).is_dir() else None
    if found is None:
        raise InputError(
            f"the checkpoint of step {step}, the best one, is missing or damaged",
            where=str(_path(folder, step)),
            fix="restore it from a backup, or train again with --new",
        )
    return found


def _path(folder: Path, step: int) -> Path:
    return folder / f"step-{step:06d}"


def _read(path: Path) -> Checkpoint | None:
    state = _intact(path)
    if state is None:
        return None
    weights, optimizer = (load_file(path / f"{name}.safetensors") for name in ("weights", "optimizer"))
    return Checkpoint(state["step"], weights, optimizer, state["counters"])


def _intact(path: Path) -> dict[str, Any] | None:
    """A checkpoint's state.json, where it and the files beside it have their recorded hashes."""
    try:
        state: dict[str, Any] = read_json(path / "state.json")
        own = sha256_json({"step": state["step"], "counters": state["counters"]})
        whole = own == state["state_sha256"] and all(
            (path / name).is_file() and sha256_file(path / name) == digest for name, digest in state["sha256"].items()
        )
    except (InputError, KeyError, TypeError):
        return None
    return state if whole else None
