"""Evaluated runs written by hand, with all files that a comparison reads."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from assay.core.files import read_json, sha256_text, write_atomic, write_json, write_lines, write_text
from assay.core.records import Item
from assay.core.rundir import RunDir
from assay.data.items import write_items
from assay.data.manifest import write_manifest

GROUPS, EACH, SIZE = 8, 2, 1000  # groups, texts of each, bytes of each
SETTINGS = {
    "window": 512, "stride": 512, "bos_rule": "none", "tokenizer_sha256": "t", "dtype": "fp32", "lossy_share": 0.0,
    "max_bytes_per_group": None,
}  # fmt: skip
IDENTITY: dict[str, Any] = {
    "short": "0a0a0a0a", "base": {"spec": "a", "hash": "0"}, "seed": 1, "adapter": {"kind": "lora", "rank": 4},
    "train": {"steps": 30, "schedule": {"kind": "linear"}},
    "data": {"content": "c", "clean": {"min_bytes": 10}, "split": {"seed": 0}},
}  # fmt: skip
TRAIN = [Item(f"t{n}", f"g{n}", f"text {n}") for n in range(6)]
MACHINE = {"processor": "a processor", "cores": 2, "memory": 8_000_000_000, "gpu": None}
FLAT = [2.0 + 0.01 * (g % 3) for g in range(GROUPS)]  # bits per byte of each group
COST = {
    "train_seconds": 60.0, "train_tokens_per_s": 500.0, "peak_memory": 1_000_000_000, "trainable": 10_000,
    "alone": 20.0, "batch": 80.0, "first": 0.05,
}  # fmt: skip


def write_run(
    folder: Path,
    bits: Sequence[float] = FLAT,
    *,
    changed: Mapping[str, Any] | None = None,
    train: Sequence[Item] = TRAIN,
    settings: Mapping[str, Any] | None = None,
    weights: str | None = None,
    ids: str = "",
    base: Sequence[float] | None = None,
    cost: Mapping[str, Any] | None = None,
    machine: Mapping[str, Any] | None = None,
    others: float | None = 0.0,
    curve: Sequence[tuple[float, float]] = ((3.0, 2.4), (2.5, 2.2), (2.2, 2.1)),
) -> RunDir:
    """Write an evaluated run.

    Args:
        folder: the run's own.
        bits: of each held-out group under the tuned model.
        changed: parts of the identity, which also make its resolved.yaml.
        train: its training texts.
        settings: of the measurement.
        weights: their hash; by default one that no other folder's run has.
        ids: in front of the ids of its test texts.
        base: bits per byte of each group under the base; by default 2.5.
        cost: see `COST`.
        machine: see `MACHINE`; `threads` is a decision of the plan.
        others: cores that other processes kept busy while it was timed; None: not recorded.
        curve: loss and the development texts' bits per byte after every tenth step.
    """
    run, identity, spent = RunDir(folder), IDENTITY | dict(changed or {}), COST | dict(cost or {})
    write_json(run.identity, identity)
    write_text(run.resolved, _resolved(identity))
    run.event("created")
    _write_data(run, train)
    own = MACHINE | dict(machine or {})
    decisions = {"precision": {"value": "bf16"}, "device": "cpu", "threads": own.pop("threads", 2)}
    write_json(run.plan, {"machine": own, "decisions": decisions})
    _write_training(run, identity, spent, weights or sha256_text(str(folder)), curve)
    _write_evaluation(run, bits, base, spent, SETTINGS | dict(settings or {}), ids)
    stages = {"train": [run.training], "evaluate": [run.texts, run.summary]}
    for stage, outputs in stages.items():
        run.finish(stage, key="k", outputs=outputs, seconds=90.0)
    set_others(run, others)
    return run


def set_others(run: RunDir, others: float | None) -> None:
    """Put on record how many cores other processes kept busy during each stage."""
    write_json(run.stages, {name: stage | {"others": others} for name, stage in read_json(run.stages).items()})


def _resolved(identity: Mapping[str, Any]) -> str:
    lines = [f'base: "{identity["base"]["spec"]}"  # file', f"seed: {identity['seed']}  # file"]

    def add(key: str, value: Any, depth: int) -> None:
        if isinstance(value, Mapping):
            lines.append(f"{'  ' * depth}{key}:")
            for inner, item in value.items():
                add(inner, item, depth + 1)
        else:
            lines.append(f"{'  ' * depth}{key}: {value}  # file")

    for section in ("data", "adapter", "train"):
        add(section, {key: value for key, value in identity[section].items() if key != "content"}, 0)
    return "\n".join(lines) + "\n"


def _write_data(run: RunDir, train: Sequence[Item]) -> None:
    sides = {"train": train, "dev": [Item("d", "dev", "a dev text")], "test": [Item("x", "test", "a test text")]}
    for side, items in sides.items():
        write_items(run.split(side), [items])
    splits = write_manifest(run.manifest_rows, {side: run.split(side) for side in sides})
    write_json(run.manifest, {"schema": 2, "split_seed": 0, "splits": splits})


def _write_training(
    run: RunDir,
    identity: Mapping[str, Any],
    spent: Mapping[str, Any],
    weights: str,
    curve: Sequence[tuple[float, float]],
) -> None:
    steps, file = identity["train"].get("steps") or 30, run.adapter / "adapter_model.safetensors"
    write_text(file, "w" * 1000)
    lines: list[dict[str, Any]] = [{"step": 0, "dev_bpb": 2.6, "seconds": 1.0}]
    for n, (loss, dev) in enumerate(curve, 1):
        step = 10 * n
        lines.append({"step": step, "loss": loss, "tokens": 1000, "seconds": spent["train_seconds"] / len(curve)})
        lines.append({"step": step, "dev_bpb": dev, "seconds": 1.0})
    write_lines(run.metrics, lines)
    write_json(
        run.training,
        {
            "steps": steps, "tokens": 100 * steps, "seconds": spent["train_seconds"],
            "tokens_per_s": spent["train_tokens_per_s"], "peak_memory": spent["peak_memory"],
            "trainable_parameters": spent["trainable"], "corpus": {"tokens_per_epoch": 1500},
            "weights": {"sha256": weights, "file": str(file.relative_to(run.path))},
        },
    )  # fmt: skip


def _write_evaluation(
    run: RunDir,
    bits: Sequence[float],
    base: Sequence[float] | None,
    spent: Mapping[str, Any],
    settings: Mapping[str, Any],
    ids: str,
) -> None:
    cost = {
        "tokens_per_s_alone": spent["alone"], "tokens_per_s": spent["batch"], "first_token_s": spent["first"],
    }  # fmt: skip
    write_json(
        run.summary,
        {
            "settings": dict(settings), "tuned": {"bpb": 2.0, "perplexity": 9.5},
            "generation": {"cost": {"tuned": cost}}, "seconds": 88.0,
        },
    )  # fmt: skip
    before = base or [2.5 + 0.02 * (g % 2) for g in range(len(bits))]
    rows = [
        # of a group's two texts one is so much better as the other is worse
        (f"{ids}{g}-{n}", f"group {g}", 250, SIZE, _nats(before[g]), _nats(bpb + (-1) ** n * 0.01))
        for g, bpb in enumerate(bits)
        for n in range(EACH)
    ]
    names = ["id", "group", "tokens", "bytes", "nll_base", "nll_tuned"]
    write_atomic(run.texts, pl.DataFrame(rows, schema=names, orient="row").write_parquet)


def _nats(bits: float) -> float:
    return bits * math.log(2) * SIZE
