"""The evaluate stage: base and tuned on the same held-out bytes, in one process, under guard."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from assay.config.schema import Experiment
from assay.core.console import Console
from assay.core.files import (
    read_json,
    read_lines,
    sha256_file,
    write_atomic,
    write_json,
    write_lines,
)
from assay.core.guard import limits
from assay.core.rundir import RunDir
from assay.core.store import Store
from assay.data.items import Item, read_items
from assay.data.looks import note_look
from assay.data.manifest import read_manifest
from assay.guards import behaviour, comparison, scoring, training
from assay.model import adapters
from assay.model.attention import NAME as ATTENTION
from assay.model.generate import room
from assay.model.load import load_base
from assay.model.registry import BaseRef
from assay.model.score import Nats
from assay.stages.evaluate import forgetting, generations, harness, measure, memorisation, style
from assay.stages.evaluate.base_scores import BOS_RULE
from assay.stages.evaluate.models import Measured, Setting, of_base, of_tuned, probe_base, shared_of
from assay.stages.evaluate.protocol import Protocol, protocol
from assay.stages.evaluate.sample import Sample, take
from assay.stats.verdict import group_scores, summarise
from assay.stats.verdict import verdict as conclude
from assay.text.tokens import Encoder, Tokens, chat_template

Splits = dict[str, list[dict[str, Any]]]
Rows = list[tuple[str, int, int, float, float]]


def evaluate(
    run: RunDir, experiment: Experiment, base: BaseRef, cache: Path, store: Store, looks: Path, console: Console
) -> list[Path]:
    """Measure, judge and write evaluate/; returns the files written.

    Args:
        looks: the file that every look at a test split is written to.

    Raises:
        GuardError: a validity guard failed; no verdict is written.
    """
    started = time.perf_counter()
    names = experiment.evaluate.harness
    tasks = harness.load(names) if names else None
    at = Setting(run, protocol(experiment), base, read_json(run.plan), cache, store, console, tasks)
    frozen = read_manifest(run.manifest_rows)
    torch.set_num_threads(at.decisions["threads"])
    items = _held_out(run, frozen)
    _weights_are_the_trained_ones(run)
    seen = _look(at, frozen, looks)
    model, tokenizer = load_base(
        base, cache, dtype=at.dtype, device=at.decisions["device"], console=console, four_bit=at.protocol.four_bit
    )
    encoder = Encoder(tokenizer, chat_template(tokenizer, at.protocol.chat_template), "completion")
    sample = take(run, items, at.protocol, encoder, cache, room=room(model, at.protocol.decoding))
    shared = shared_of(at, tokenizer)
    probes = probe_base(at, model, sample, shared)
    before, stored_noise = of_base(at, model, sample, shared)
    _count_units(run, encoder, sample, before, probes, "4-bit" if at.protocol.four_bit else at.dtype)
    tuned_model = _tuned(run, at.protocol, model, at.decisions)
    del model
    gc.collect()
    after = of_tuned(at, tuned_model, sample, probes)
    rows = _write_texts(run, sample, before.scores, after.scores)
    noise = max(probes.noise_bpb(sample.probes), stored_noise or 0.0)
    _conclude(at, sample, before, after, rows, noise, seen, started)
    return [run.texts, run.generations, run.summary]


def _held_out(run: RunDir, frozen: Splits) -> list[Item]:
    items = read_items(run.split("test"))
    scored = [(item.id, item.sha256) for item in items]
    run.guards.check(scoring.right_split(scored, frozen))
    return items


def _look(at: Setting, frozen: Splits, looks: Path) -> int:
    """Write this look at the test texts down, and judge the choices before it; how many weights were looked at."""
    weights = read_json(at.run.training)["weights"]["sha256"]
    seen = note_look(looks, frozen["test"], run=at.run.path.name, weights=weights, what="evaluate")
    dev = {row["sha256"] for row in frozen["dev"]}
    shared = sum(row["sha256"] in dev for row in frozen["test"])
    chosen = [*at.protocol.chosen_on_dev, *_chosen_by_a_sweep(at.run)]
    at.run.guards.check(comparison.selection_hygiene(seen, chosen=chosen, shared=shared))
    return seen


def _chosen_by_a_sweep(run: RunDir) -> list[str]:
    """What a search has chosen by the dev texts, as it wrote into the run's events, the newest."""
    said = [event["varied"]["chosen"] for event in read_lines(run.events) if "chosen" in (event.get("varied") or {})]
    return said[-1:]


def _weights_are_the_trained_ones(run: RunDir) -> None:
    weights = read_json(run.training)["weights"]
    file = run.path / weights["file"]
    tensors = adapters.saved_tensors(file) if file.is_file() else {}
    run.guards.check(
        training.adapter_integrity(
            weights["keys"],
            list(tensors),
            zero_b=adapters.zero_b(tensors),
            nonfinite=[n for n, t in tensors.items() if not bool(t.isfinite().all())],
            hash_ok=file.is_file() and sha256_file(file) == weights["sha256"],
        )
    )


def _count_units(
    run: RunDir, encoder: Encoder, sample: Sample, before: Measured, probes: measure.Probes, dtype: str
) -> None:
    run.guards.check(
        scoring.unit_counting(
            tokens=(sum(r.scored for r in before.readings), sum(len(n) for n in before.scores)),
            size=(
                sum(reading.size for reading in before.readings),
                measure.covered_bytes(encoder, sample.test),
            ),
            single=[float(n.sum()) for n in probes.single],
            batched=[float(n.sum()) for n in probes.batched],
            reversed_order=[float(n.sum()) for n in probes.reverse],
            dtype=dtype,
        )
    )


def _tuned(
    run: RunDir, protocol: Protocol, model: PreTrainedModel, decisions: dict[str, Any]
) -> PreTrainedModel | PeftModel:
    if protocol.kind == "full":
        return adapters.load_tuned(run.model, dtype=decisions["precision"]["value"], device=decisions["device"])
    return adapters.load_adapter(model, run.adapter)


def _write_texts(
    run: RunDir, sample: Sample, base: Sequence[Nats], tuned: Sequence[Nats]
) -> list[tuple[str, int, int, float, float]]:
    rows = [
        (item.group, len(t), reading.size, float(b.sum()), float(t.sum()))
        for item, reading, b, t in zip(sample.test, sample.readings, base, tuned, strict=True)
    ]
    columns = dict(zip(("group", "tokens", "bytes", "nll_base", "nll_tuned"), zip(*rows, strict=True), strict=True))
    frame = pl.DataFrame({"id": [item.id for item in sample.test], **columns})
    write_atomic(run.texts, frame.write_parquet)
    return rows


def _settings(at: Setting, sample: Sample) -> dict[str, Any]:
    p, tokenizer, template = at.protocol, sample.asking.encoder.tokenizer, sample.asking.encoder.template
    return {
        "window": p.window,
        "stride": p.stride,
        "bos_rule": BOS_RULE,
        "max_bytes_per_group": p.max_bytes_per_group,
        "dtype": at.dtype,
        "four_bit": p.four_bit,
        "device": at.decisions["device"],
        "attention": ATTENTION,
        "tokenizer_sha256": tokenizer.sha256,
        "template_sha256": template.sha256 if template and sample.asking.chat else None,
        "decoding": p.decoding.given(),
        "claim": p.claim,
        "lossy_share": measure.lossy_share(tokenizer, [item.text for item in sample.test]),
    }


def _systems(p: Protocol, sample: Sample) -> set[str]:
    """The system prompts that the models may have been shown: the experiment's, and the chats' own."""
    own = {turn.text for item in (*sample.test, *sample.train) for turn in item.turns if turn.role == "system"}
    return own | ({p.system} if p.system else set())


def _behaviour(at: Setting, sample: Sample, before: Measured, after: Measured) -> dict[str, Any]:
    """What the models say and have kept, judged; the parts of the summary that tell of it."""
    p, run, tokenizer = at.protocol, at.run, sample.asking.encoder.tokenizer
    arms = before.arms | after.arms
    said = after.arms["tuned"].generations if "tuned" in after.arms else []
    texts = [one.text for one in said]
    write_lines(run.generations, generations.rows(sample.prompts, arms, seed=p.split_seed))
    kept = forgetting.compare(
        sample.remembered,
        before.remembered,
        after.remembered,
        margin=p.retain_margin,
        alpha=limits("forgetting.p").passes,
    )
    recited = memorisation.summary(
        sample.train_stretches, sample.held_stretches, base=before.recited, tuned=after.recited
    )
    recited |= {
        "longest_span": memorisation.longest_span([one.ids for one in said], Tokens.open(run.tokens)),
        "longest_text": max((one.tokens for one in said), default=None),
    }
    manner = style.compare(sample, arms, before.ear)
    run.guards.check(
        behaviour.output_hygiene(
            [one.raw for one in said], tokenizer.special_tokens, systems=_systems(p, sample),
            stopped=[one.stopped for one in said] if sample.asking.chat else None,
        ),
        behaviour.fair_baseline(
            prompts=len(sample.prompts), examples=len(sample.shown), base_template=before.template, decoding_same=True
        ),
        behaviour.forgetting(kept),
        behaviour.memorisation(recited),
        behaviour.style_fairness(**style.repetition(sample, texts)),
    )  # fmt: skip
    return {
        "forgetting": kept,
        "harness": harness.compare(at.tasks, before.tasks, after.tasks) if at.tasks else None,
        "memorisation": recited,
        "generation": {
            "cost": {name: arm.cost for name, arm in arms.items()},
            "manner": manner,
            "adherence": before.ear.as_json() if before.ear else None,
            "vocabulary": style.vocabulary_use(sample, texts),
        },
    }


def _conclude(
    at: Setting,
    sample: Sample,
    before: Measured,
    after: Measured,
    rows: Rows,
    noise_bpb: float,
    looks: int,
    started: float,
) -> None:
    run, p, alpha = at.run, at.protocol, limits("paired-verdict.p").passes
    groups = group_scores(rows)
    difference = summarise(groups, alpha=alpha / looks)
    run.guards.check(scoring.a_a_control(noise_bpb, difference.half_width))
    parts = _behaviour(at, sample, before, after)
    said = conclude(
        difference, smallest_effect=p.smallest_effect, claim=p.claim, alpha=alpha, looks=looks,
        forgetting=forgetting.in_words(parts["forgetting"]),
    )  # fmt: skip
    write_json(
        run.summary,
        {
            "schema": 2,
            "base": _overall(before.scores, sample) | {"spec": at.base.spec, "note": at.base.note},
            "tuned": _overall(after.scores, sample),
            "groups": [g.as_json() for g in groups],
            "difference": difference.as_json(),
            "verdict": said.as_json(),
            **parts,
            "settings": _settings(at, sample),
            "from_earlier_runs": before.earlier,
            "train_sample": {
                "tuned_bpb": after.train_bpb, "bytes": sum(reading.size for reading in sample.train_readings),
            },
            "public_source": bool(read_json(run.manifest)["source"]["public"]),
            "seconds": round(time.perf_counter() - started, 3),
        },
    )  # fmt: skip


def _overall(scores: Sequence[Nats], sample: Sample) -> dict[str, Any]:
    nats = sum(float(n.sum()) for n in scores)
    size = sum(reading.size for reading in sample.readings)
    return {
        "bpb": nats / math.log(2) / size,
        "perplexity": measure.perplexity(scores),
        "perplexity_reason": "It is per token of this base's own tokenizer: not comparable with another's.",
        "tokens": sum(len(n) for n in scores),
        "bytes": size,
    }
