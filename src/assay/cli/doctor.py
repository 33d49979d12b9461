"""`assay doctor`: what this machine has for assay, without a network."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from assay.cli.tables import table
from assay.core.cache import cache_dir
from assay.core.console import Console, size
from assay.core.machine import cores, processor
from assay.core.optional import installed
from assay.core.words import count

TRAIN = ("torch", "transformers", "peft", "gguf")
EXTRAS = {"bitsandbytes": "qlora", "liger_kernel": "cuda"}  # nothing is wrong where they are missing
FREE_DISK = 2e9  # bytes: the environment's caches and a few runs of a small model
FREE_MEMORY = 4e9  # bytes: what the embedded base needs to be tuned in


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `ok` is None where there is nothing to be right or wrong."""

    what: str
    found: str
    ok: bool | None = None
    fix: str | None = None


def doctor(runs_dir: Path, as_json: bool, console: Console) -> None:
    """Say what is there and what is missing."""
    findings = [*_machine(), *_disks(runs_dir), *_packages(), *_devices(), *_bases()]
    if as_json:
        console.json([asdict(finding) for finding in findings])
        return
    marks = {True: "ok", False: "!!", None: ""}
    console.result(table(("", "what", "found"), [(marks[f.ok], f.what, f.found) for f in findings]))
    problems = [finding for finding in findings if finding.ok is False]
    console.result("\n" + "\n".join(f"{f.what}: {f.fix}" for f in problems) if problems else "\nnothing is missing")


def _machine() -> list[Finding]:
    import psutil

    memory = psutil.virtual_memory()
    roomy = memory.available >= FREE_MEMORY
    return [
        Finding("assay", _version("assay") or "not installed, run from a checkout"),
        Finding("python", f"{platform.python_version()} ({platform.python_implementation()})"),
        Finding("platform", platform.platform()),
        Finding("processor", f"{processor()}, {count(cores(), 'usable core')}"),
        Finding(
            "memory",
            f"{size(memory.available)} free of {size(memory.total)}",
            roomy,
            None if roomy else f"tuning the embedded base takes about {size(FREE_MEMORY)}: close other programs",
        ),
    ]


def _disks(runs_dir: Path) -> list[Finding]:
    findings = []
    for what, path, variable in (("cache", cache_dir(), "ASSAY_CACHE"), ("runs", runs_dir, "ASSAY_RUNS_DIR")):
        there = path.absolute()
        while not there.exists():
            there = there.parent
        free = shutil.disk_usage(there).free
        if not os.access(there, os.W_OK):
            findings.append(Finding(what, f"{path}: not writable", False, f"name another folder in {variable}"))
            continue
        roomy = free >= FREE_DISK
        fix = None if roomy else f"free some space, or name a folder on another disk in {variable}"
        findings.append(Finding(what, f"{path}: {size(free)} free", roomy, fix))
    return findings


def _packages() -> list[Finding]:
    findings = []
    for name in TRAIN:
        version = _version(name) if installed(name) else None
        fix = None if version else "pip install 'assay[train]' (to train and evaluate; the rest works without it)"
        findings.append(Finding(name, version or "not installed", version is not None, fix))
    for name, extra in EXTRAS.items():
        version = _version(name.replace("_", "-")) if installed(name) else None
        findings.append(Finding(name, version or f"not installed (pip install 'assay[{extra}]')"))
    return findings


def _devices() -> list[Finding]:
    if not installed("torch"):
        return []
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return [Finding("device", f"torch cannot be loaded: {reason}", False, "install torch again")]
    if torch.cuda.is_available():
        memory = torch.cuda.get_device_properties(0).total_memory
        return [Finding("device", f"{torch.cuda.get_device_name(0)}, {size(memory)}")]
    if torch.backends.mps.is_available():
        return [Finding("device", "Apple GPU (mps)")]
    return [Finding("device", "the processor (no GPU that torch can use)")]


def _bases() -> list[Finding]:
    from assay.model.registry import model_rows

    embedded = [row for row in model_rows(cache_dir()) if row["kind"] == "embedded"]
    return [
        Finding(
            "base " + row["name"],
            "downloaded"
            if row["downloaded"]
            else f"not downloaded yet: its first use fetches {size(row['download_bytes'])}",
        )
        for row in embedded
    ]


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
