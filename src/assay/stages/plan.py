"""The plan: memory and time by arithmetic, then the decisions that are taken once and written down.

With the base install the plan is arithmetic alone. Where torch is there, the machine is measured too:
precision, threads and the micro-batch are decided here, once, and a resumed run reuses them, because
bit-equal resume depends on it.
"""

from __future__ import annotations

import os
import platform
from typing import Any

import psutil

from assay.config.schema import Experiment
from assay.core.console import Console, duration, size
from assay.core.errors import InputError, MachineError
from assay.core.files import read_json, write_json
from assay.core.machine import processor
from assay.core.optional import installed
from assay.core.rundir import RunDir
from assay.model import memory
from assay.model.registry import BaseRef

RUNTIME = 600_000_000  # bytes that Python, torch and the libraries hold before a model is loaded
SHARE = 0.8  # of the free memory, at most, is planned for
BEST_ROW = 1024  # tokens per packed row beyond which a CPU gains nothing (LOG.md)
BYTES_PER_TOKEN = 3.5  # of English, for the estimate before the tokenizer is at hand


def machine() -> dict[str, Any]:
    """What this machine is, without torch."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": cores,
        "memory": psutil.virtual_memory().total,
        "memory_free": psutil.virtual_memory().available,
    }


def plan(run: RunDir, experiment: Experiment, base: BaseRef, console: Console) -> dict[str, Any]:
    """Write plan.json and return it.

    Raises:
        MachineError: it cannot fit this machine's memory, or the device is not there.
    """
    a, t = experiment.adapter, experiment.train
    here = machine()
    s = memory.shape(base.config)
    longest = max(t.max_length, experiment.evaluate.window)
    if longest > s.positions:
        key = "train.max_length" if t.max_length == longest else "evaluate.window"
        raise InputError(
            f"{longest} tokens are more than the base can take, which is {s.positions}",
            where=f"{key} with base: {base.spec}",
            fix=f"--set {key}={s.positions}, or less",
        )
    trained = memory.trainable_parameters(s, kind=a.kind, rank=a.rank, targets=a.targets)
    decisions = _decide(t.precision, t.device)
    precision = decisions["precision"]["value"]
    budget = int(SHARE * here["memory_free"]) - RUNTIME
    row, terms = _micro_batch(s, a.kind, trained, precision, t.max_length, t.batch_tokens, budget)
    if decisions["device"] == "cpu" and terms["total"] > budget:
        raise MachineError(
            f"this training needs about {size(terms['total'] + RUNTIME)}, and {size(here['memory_free'])} are free",
            where=f"base: {base.spec}, adapter.kind: {a.kind}, train.max_length: {t.max_length}",
            fix="take a smaller base, adapter.kind: lora, or a smaller train.max_length",
        )
    tokens = _train_bytes(run) / BYTES_PER_TOKEN
    steps = t.steps or max(1, round((t.epochs or 1) * tokens / t.batch_tokens))
    speed, here["gpu"] = decisions.pop("gflops"), decisions.pop("gpu")
    seconds = None
    if speed:
        seconds = steps * min(t.batch_tokens, tokens) * memory.flops_per_token(s, kind=a.kind) / speed / 1e9
    result = {
        "schema": 1,
        "machine": here,
        "model": {**vars(s), "parameters": s.parameters, "trainable": trained},
        "memory": {"predicted": terms, "runtime": RUNTIME},
        "time": {"predicted_train_seconds": seconds, "how": "floating-point operations over the measured matrix speed"},
        "decisions": {**decisions, "micro_batch_tokens": row},
        "steps": steps,
        "epochs": t.epochs,
        "batch_tokens": t.batch_tokens,
        "tokens_per_epoch": round(tokens),
    }
    write_json(run.plan, result)
    console.note(
        f"plan: {steps} steps of {t.batch_tokens} tokens, {precision or 'precision to be measured'}, about "
        f"{size(terms['total'] + RUNTIME)} of memory" + (f", about {duration(seconds)} of training" if seconds else "")
    )
    return result


def _decide(precision: str, device: str) -> dict[str, Any]:
    """What only a measurement can tell; with the base install it stays open and says so."""
    if not installed("torch"):
        why = "torch is not installed: measured when the run starts (pip install 'assay[train]')"
        return {
            "precision": {"value": None if precision == "auto" else precision, "why": why, "measured": None},
            "device": "cpu" if device == "auto" else device,
            "threads": None,
            "attention": "packed",
            "gflops": None,
            "gpu": None,
        }
    from assay.model import probe

    chosen = probe.pick_device(device)
    if not probe.available(chosen):
        raise MachineError(
            f"torch sees no {chosen} device here",
            where=f"train.device: {device}",
            fix="set train.device to auto or cpu",
        )
    decided = probe.choose_precision(precision, chosen)
    measured = decided["measured"] or {}
    return {
        "precision": decided,
        "device": chosen,
        "threads": probe.threads(),
        "attention": "packed",
        "gflops": measured.get(f"{decided['value']}_gflops"),
        "gpu": probe.gpu_name(chosen),
    }


def _micro_batch(
    s: memory.Shape, kind: str, trained: int, precision: str | None, longest: int, batch: int, budget: int
) -> tuple[int, dict[str, int]]:
    """The longest packed row that pays and fits, and its memory."""
    row = max(longest, min(batch, BEST_ROW))
    while True:
        terms = memory.predict(s, kind=kind, trained=trained, precision=precision or "fp32", micro_tokens=row)
        if terms["total"] <= budget or row <= longest:
            return row, terms
        row = max(longest, row // 2)


def _train_bytes(run: RunDir) -> int:
    return int(read_json(run.manifest)["splits"]["train"]["bytes"])
