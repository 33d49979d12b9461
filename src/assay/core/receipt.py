"""The receipt: everything that is needed to repeat a run, and what it cost."""

from __future__ import annotations

import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from assay.core.errors import InputError
from assay.core.files import at, read_json, read_lines, sha256_file, write_json
from assay.core.others import alone
from assay.core.rundir import RunDir, attempts, now, spent

PACKAGES = ("torch", "transformers", "peft", "tokenizers", "safetensors", "huggingface_hub", "numpy", "scipy", "polars")


def version() -> str:
    """This package's version."""
    return metadata.version("assay")


def write_receipt(run: RunDir) -> dict[str, Any]:
    """Gather receipt.json from the run's files; what is not there is null and shows in the guard."""
    identity, plan, training, summary, manifest = (
        _read(path) for path in (run.identity, run.plan, run.training, run.summary, run.manifest)
    )
    decisions, machine = plan.get("decisions", {}), plan.get("machine", {})
    settings = summary.get("settings", {})
    stages = _read(run.stages)
    receipt = {
        "schema": 1,
        "created": now(),
        "assay": {"version": version(), "commit": _commit()},
        "command": f"assay run experiment.yaml  # with resolved.yaml's values, seed {identity.get('seed')}",
        "seeds": {"run": identity.get("seed"), "split": manifest.get("split_seed")},
        "data": {
            "source": manifest.get("source", {}).get("spec"),
            "sha256": {f["name"]: f["sha256"] for f in manifest.get("source", {}).get("files", [])},
            **{f"{name}_sha256": _hash(run.split(name)) for name in ("train", "dev", "test")},
        },
        "split_sha256": _hash(run.manifest),
        "tokenizer_sha256": settings.get("tokenizer_sha256"),
        "template_sha256": settings.get("template_sha256"),
        "base": {key: identity.get("base", {}).get(key) for key in ("spec", "kind", "revision", "hash", "note")},
        "adapter": identity.get("adapter", {}) | {"sha256": training.get("weights", {}).get("sha256")},
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES},
        "hardware": {
            "cpu": machine.get("processor"),
            "cores": machine.get("cores"),
            "memory": machine.get("memory"),
            "gpu": machine.get("gpu"),
        },
        "dtype": decisions.get("precision", {}).get("value"),
        "attention": decisions.get("attention"),
        "tokens": training.get("tokens"),
        "steps": training.get("steps"),
        "wall_seconds": {name: round(spent(entry), 3) for name, entry in stages.items()},  # of all attempts
        "attempts": {name: attempts(entry) for name, entry in stages.items()},
        "others": {name: entry.get("others") for name, entry in stages.items()},
        "peak_memory": max(
            (e["peak_memory"] for e in [*read_lines(run.events), training] if e.get("peak_memory")), default=None
        ),
        **_foretold(plan, training, stages.get("train", {})),
    }
    write_json(run.receipt, receipt)
    return receipt


def _foretold(plan: dict[str, Any], training: dict[str, Any], stage: dict[str, Any]) -> dict[str, Any]:
    """What the plan predicted of the training, beside what was measured: bytes at the peak, seconds of its steps.

    The uncorrected seconds, from which later plans learn, are those of the tokens that were trained on: a training may
    have ended early, and before the texts are counted their tokens are an estimate.
    """
    memory, time = plan.get("memory", {}), plan.get("time", {})
    alone, tokens = time.get("uncorrected_tokens_per_s"), training.get("tokens")
    return {
        "predicted": {
            "memory": memory.get("predicted", {}).get("total"),
            "uncorrected_memory": memory.get("uncorrected"),
            "memory_low": memory.get("low"),
            "memory_high": memory.get("high"),
            "train_seconds": time.get("predicted_train_seconds"),
            "uncorrected_train_seconds": tokens / alone if tokens and alone else None,
        },
        "measured": {
            "memory": training_peak(training),
            "train_seconds": training.get("seconds"),
            "others": stage.get("others"),
        },
    }


def training_peak(training: dict[str, Any]) -> int | None:
    """The most memory that a training held, in bytes, by its summary: of the GPU where it trained on one."""
    peak: int | None = training.get("peak_gpu_memory") or training.get("peak_memory")
    return peak


@dataclass(frozen=True)
class Learned:
    """What earlier runs took, as a multiple of what arithmetic alone had foretold: the median, and of how many runs."""

    ratio: float
    runs: int


def receipts_with(runs_dir: Path, wanted: dict[str, Any]) -> list[dict[str, Any]]:
    """The receipts under `runs_dir` that have these values, by path, as in `{"adapter.kind": "lora"}`."""
    found = []
    for path in sorted(runs_dir.glob("[!.]*/[!.]*/receipt.json")):
        try:
            receipt = read_json(path)
        except InputError:  # another run's damage is for its own commands to tell
            continue
        if all(at(receipt, *key.split(".")) == value for key, value in wanted.items()):
            found.append(receipt)
    return found


def learned(receipts: Sequence[dict[str, Any]], what: str) -> Learned | None:
    """What these receipts say of `train_seconds` or `memory`; None where none says anything.

    Seconds of a training that shared the machine say nothing.
    """
    if what == "train_seconds":
        receipts = [receipt for receipt in receipts if alone(receipt.get("measured") or {}) is not False]
    pairs = [(at(receipt, "measured", what), at(receipt, "predicted", f"uncorrected_{what}")) for receipt in receipts]
    ratios = [taken / foretold for taken, foretold in pairs if taken and foretold]
    return Learned(statistics.median(ratios), len(ratios)) if ratios else None


def _read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = read_json(path) if path.is_file() else {}
    return value


def _hash(path: Path) -> str | None:
    return sha256_file(path) if path.is_file() else None


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """The commit of the checkout that this code runs from; None for an installed package."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
