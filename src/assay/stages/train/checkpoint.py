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
from assay.core.files import directory_atomic, read_json, sha256_file, write_json

KEEP = 2


@dataclass(frozen=True)
class Checkpoint:
    """Training after `step` optimizer steps: fp32 weights, optimizer state, and counters."""

    step: int
    weights: dict[str, Tensor]
    optimizer: dict[str, Tensor]
    counters: dict[str, Any]


def save(folder: Path, checkpoint: Checkpoint) -> None:
    """Write `folder/step-<n>`, then delete all but the newest `KEEP`."""
    with directory_atomic(folder / f"step-{checkpoint.step:06d}") as target:
        save_file({k: v.contiguous() for k, v in checkpoint.weights.items()}, target / "weights.safetensors")
        save_file({k: v.contiguous() for k, v in checkpoint.optimizer.items()}, target / "optimizer.safetensors")
        hashes = {name: sha256_file(target / name) for name in ("weights.safetensors", "optimizer.safetensors")}
        write_json(target / "state.json", {"step": checkpoint.step, "sha256": hashes, "counters": checkpoint.counters})
    for old in sorted(folder.glob("step-*"))[:-KEEP]:
        shutil.rmtree(old)


def newest(folder: Path, console: Console) -> Checkpoint | None:
    """The newest checkpoint whose checksums hold; a damaged one is named and passed over."""
    for path in sorted(folder.glob("step-*"), reverse=True):
        state = _intact(path)
        if state is not None:
            return Checkpoint(
                state["step"],
                load_file(path / "weights.safetensors"),
                load_file(path / "optimizer.safetensors"),
                state["counters"],
            )
        console.note(f"the checkpoint {path.name} is damaged and is not used")
    return None


def _intact(path: Path) -> dict[str, Any] | None:
    """A checkpoint's state.json, where it can be read and the files beside it have their recorded hashes."""
    try:
        state: dict[str, Any] = read_json(path / "state.json")
    except InputError:
        return None
    whole = all((path / n).is_file() and sha256_file(path / n) == digest for n, digest in state["sha256"].items())
    return state if whole else None
