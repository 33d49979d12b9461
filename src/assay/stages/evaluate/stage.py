"""The evaluate stage: base and tuned on the same held-out bytes, in one process, under guard."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import polars as pl
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from assay.config.schema import Experiment
from assay.core.console import Console
from assay.core.errors import GuardError
from assay.core.files import (
    append_line,
    read_json,
    sha256_file,
    sha256_json,
    sha256_text,
    write_atomic,
    write_json,
    write_lines,
)
from assay.core.guard import limits
from assay.core.records import Turn
from assay.core.rundir import RunDir, now
from assay.core.store import Store
from assay.data.excerpts import excerpts, pieces
from assay.data.items import Item, read_groups, read_items
from assay.data.manifest import read_manifest
from assay.guards import outcome, scoring, training
from assay.model import adapters
from assay.model.attention import NAME as ATTENTION
from assay.model.generate import Generation
from assay.model.load import load_base
from assay.model.registry import BaseRef
from assay.model.score import Nats, Reading, Scorer, item_readings
from assay.stages.evaluate import measure
from assay.stages.evaluate.base_scores import BOS_RULE, base_scores
from assay.stages.evaluate.reload import in_new_process
from assay.stats.verdict import Claim, group_scores, summarise
from assay.stats.verdict import verdict as conclude
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoder, chat_template

Splits = dict[str, list[dict[str, Any]]]
TRAIN_BYTES = 8000  # of training text are scored, to see how far train and test lie apart


@dataclass(frozen=True)
class Protocol:
    """How this run is measured, in plain values; `window` and `stride` are in tokens."""

    kind: str
    seed: int
    split_seed: int
    window: int
    stride: int
    max_bytes_per_group: int | None
    prompts: list[str]
    decoding: dict[str, Any]
    smallest_effect: float
    claim: Claim

    @property
    def four_bit(self) -> bool:
        """Whether base and tuned are both the base in 4 bit, as it was trained on."""
        return self.kind == "qlora"


def _protocol(experiment: Experiment) -> Protocol:
    e = experiment.evaluate
    return Protocol(
        kind=experiment.adapter.kind,
        seed=experiment.seed,
        split_seed=experiment.data.split.seed,
        window=e.window,
        stride=e.stride or e.window,
        max_bytes_per_group=e.max_bytes_per_group,
        prompts=list(e.prompts),
        decoding=e.decoding.model_dump(),
        smallest_effect=e.smallest_effect,
        claim=e.claim,
    )


@dataclass(frozen=True)
class Sample:
    """The texts of one evaluation: held-out excerpts, probe texts cut from them, and some training text."""

    test: list[Item]
    probes: list[str]
    train: list[Item]
    readings: list[Reading]  # of `test`
    train_readings: list[Reading]


@dataclass(frozen=True)
class Measured:
    """One model's results; the probe texts in several batchings of the base alone, the training text of the tuned."""

    scores: list[Nats]
    generations: list[Generation]
    train_bpb: float | None = None


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
    protocol = _protocol(experiment)
    frozen, plan = read_manifest(run.manifest_rows), read_json(run.plan)
    decisions = plan["decisions"]
    torch.set_num_threads(decisions["threads"])
    items = _held_out(run, frozen)
    _weights_are_the_trained_ones(run)
    append_line(looks, {"time": now(), "run": run.path.name, "test_split": _split_hash(frozen), "what": "evaluate"})
    model, tokenizer = load_base(
        base, cache, dtype=decisions["precision"]["value"], device=decisions["device"], console=console,
        four_bit=protocol.four_bit,
    )  # fmt: skip
    encoder = Encoder(tokenizer, chat_template(tokenizer, experiment.data.chat_template), "completion")
    sample = _sample(run, items, protocol, encoder)
    probes = measure.probe(model, tokenizer, protocol.window, sample.probes)
    scores, stored_noise = base_scores(
        Scorer(model, tokenizer, window=protocol.window, stride=protocol.stride), sample.readings,
        base_hash=base.hash, setting=_setting(plan, protocol.four_bit), store=store, console=console,
    )  # fmt: skip
    prompts = _prompts(protocol, sample, encoder, experiment.data.system_prompt)
    before = Measured(scores, _generate(protocol, model, encoder, prompts))
    weights = "4-bit" if protocol.four_bit else decisions["precision"]["value"]
    _count_units(run, encoder, sample, before, probes, weights)
    tuned_model = _tuned(run, protocol, model, decisions)
    del model
    gc.collect()
    after = _after(run, protocol, base, tuned_model, encoder, prompts, sample, probes, decisions, cache, console)
    rows = _write_texts(run, sample, before.scores, after.scores)
    _write_generations(run, protocol, before.generations, after.generations)
    settings = _settings(protocol, decisions, tokenizer)
    noise = max(probes.noise_bpb(sample.probes), stored_noise or 0.0)
    _conclude(run, protocol, base, sample, before, after, rows, settings, noise, tokenizer, started)
    return [run.texts, run.generations, run.summary]


def _held_out(run: RunDir, frozen: Splits) -> list[Item]:
    items = read_items(run.split("test"))
    scored = [(item.id, item.sha256) for item in items]
    run.guards.check(scoring.right_split(scored, frozen))
    return items


def _split_hash(frozen: Splits) -> str:
    return sha256_json([[row["id"], row["sha256"]] for row in frozen["test"]])


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


def _sample(run: RunDir, items: list[Item], protocol: Protocol, encoder: Encoder) -> Sample:
    seed = protocol.split_seed
    test = excerpts(items, protocol.max_bytes_per_group, seed=seed)
    names = pl.scan_parquet(run.split("train")).select("group").unique().collect()["group"].to_list()
    groups = sorted(names, key=lambda group: sha256_text(f"{seed}:{group}"))[:8]
    some = read_groups(run.split("train"), set(groups))
    per_group = TRAIN_BYTES // len(groups)
    seen = excerpts(some, per_group, seed=seed)
    return Sample(test, pieces(test), seen, item_readings(test, encoder), item_readings(seen, encoder))


def _setting(plan: dict[str, Any], four_bit: bool) -> dict[str, Any]:
    """What of the machine and its decisions may move a score: its last digits, or in 4 bit all of them."""
    d = plan["decisions"]
    return {
        "dtype": d["precision"]["value"], "device": d["device"], "threads": d["threads"],
        "processor": plan["machine"]["processor"], "gpu": plan["machine"]["gpu"],
        "four_bit": metadata.version("bitsandbytes") if four_bit else None,
    }  # fmt: skip


def _prompts(protocol: Protocol, sample: Sample, encoder: Encoder, system: str | None) -> list[list[int]]:
    """The prompts' ids, as training saw a prompt: of a chat a user's turn, else the beginning of a text."""
    chat = any(turn.role == "user" for item in sample.test for turn in item.turns)
    first = [Turn("system", system)] if chat and system else []
    return [encoder.prompt([*first, Turn("user" if chat else "prompt", prompt)]) for prompt in protocol.prompts]


def _generate(
    protocol: Protocol, model: PreTrainedModel | PeftModel, encoder: Encoder, prompts: list[list[int]]
) -> list[Generation]:
    return measure.generate_all(
        model, encoder.tokenizer, prompts, stops=encoder.stops, seed=protocol.seed, **protocol.decoding
    )


def _count_units(
    run: RunDir, encoder: Encoder, sample: Sample, before: Measured, probes: measure.Probes, dtype: str
) -> None:
    run.guards.check(
        scoring.unit_counting(
            tokens=(sum(r.scored for r in sample.readings), sum(len(n) for n in before.scores)),
            size=(
                sum(reading.size for reading in sample.readings),
                measure.covered_bytes(encoder, sample.test),
            ),
            single=[float(n.sum()) for n in probes.single],
            batched=[float(n.sum()) for n in probes.packed],
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


def _after(
    run: RunDir,
    protocol: Protocol,
    base: BaseRef,
    model: PreTrainedModel | PeftModel,
    encoder: Encoder,
    prompts: list[list[int]],
    sample: Sample,
    base_probes: measure.Probes,
    decisions: dict[str, Any],
    cache: Path,
    console: Console,
) -> Measured:
    """The tuned model's results, once it is proven to be the trained one and to differ from the base."""
    tokenizer = encoder.tokenizer
    probes = Scorer(model, tokenizer, window=protocol.window, stride=protocol.window).score(sample.probes)
    change = measure.median_change(probes, base_probes.packed)
    _reloads_fresh(run, protocol, base, decisions, cache)
    run.guards.check(scoring.adapter_effect(change, base_probes.noise_nats(), texts=len(sample.probes)))
    judge = Scorer(model, tokenizer, window=protocol.window, stride=protocol.stride)
    scores = measure.score_with_progress(judge, sample.readings, "scoring the tuned", console)
    train_nats = sum(float(n.sum()) for n in judge.score_readings(sample.train_readings))
    train_bpb = train_nats / math.log(2) / sum(reading.size for reading in sample.train_readings)
    return Measured(scores, _generate(protocol, model, encoder, prompts), train_bpb)


def _reloads_fresh(run: RunDir, protocol: Protocol, base: BaseRef, decisions: dict[str, Any], cache: Path) -> None:
    reference = read_json(run.reference)
    kind = protocol.kind
    folder = run.model if kind == "full" else run.adapter
    again = in_new_process(
        {
            "base": base.spec, "cache": str(cache), "kind": kind, "folder": str(folder),
            "dtype": decisions["precision"]["value"], "device": decisions["device"], "threads": decisions["threads"],
            "window": reference["window"], "texts": reference["texts"], "base_hash": base.hash,
        }
    )  # fmt: skip
    if isinstance(again, str):
        raise GuardError("fresh-reload", f"a new process cannot load what was saved: {again}", where=str(run.path))
    run.guards.check(scoring.fresh_reload(reference["nll"], again, reference["tokens"], four_bit=protocol.four_bit))


def _write_texts(
    run: RunDir, sample: Sample, base: Sequence[Nats], tuned: Sequence[Nats]
) -> list[tuple[str, int, int, float, float]]:
    rows = [
        (item.group, len(b), reading.size, float(b.sum()), float(t.sum()))
        for item, reading, b, t in zip(sample.test, sample.readings, base, tuned, strict=True)
    ]
    columns = dict(zip(("group", "tokens", "bytes", "nll_base", "nll_tuned"), zip(*rows, strict=True), strict=True))
    frame = pl.DataFrame({"id": [item.id for item in sample.test], **columns})
    write_atomic(run.texts, frame.write_parquet)
    return rows


def _write_generations(
    run: RunDir, protocol: Protocol, base: Sequence[Generation], tuned: Sequence[Generation]
) -> None:
    lines = [
        {
            "prompt": prompt, "seed": protocol.seed + i, "base": b.text, "tuned": t.text, "raw_tuned": t.raw,
            "tokens_base": b.tokens, "tokens_tuned": t.tokens, "stopped_base": b.stopped, "stopped_tuned": t.stopped,
        }
        for i, (prompt, b, t) in enumerate(zip(protocol.prompts, base, tuned, strict=True))
    ]  # fmt: skip
    write_lines(run.generations, lines)


def _settings(protocol: Protocol, decisions: dict[str, Any], tokenizer: TextTokenizer) -> dict[str, Any]:
    return {
        "window": protocol.window,
        "stride": protocol.stride,
        "bos_rule": BOS_RULE,
        "max_bytes_per_group": protocol.max_bytes_per_group,
        "dtype": decisions["precision"]["value"],
        "four_bit": protocol.four_bit,
        "device": decisions["device"],
        "attention": ATTENTION,
        "tokenizer_sha256": tokenizer.sha256,
        "template_sha256": tokenizer.template_sha256,
        "decoding": protocol.decoding,
        "claim": protocol.claim,
    }


def _conclude(
    run: RunDir,
    protocol: Protocol,
    base: BaseRef,
    sample: Sample,
    before: Measured,
    after: Measured,
    rows: list[tuple[str, int, int, float, float]],
    settings: dict[str, Any],
    noise_bpb: float,
    tokenizer: TextTokenizer,
    started: float,
) -> None:
    groups = group_scores(rows)
    alpha = limits("paired-verdict.p").passes
    difference = summarise(groups, alpha=alpha)
    run.guards.check(
        scoring.a_a_control(noise_bpb, difference.half_width),
        outcome.output_hygiene([g.raw for g in after.generations], tokenizer.special_tokens),
    )
    manifest = read_json(run.manifest)
    said = conclude(difference, smallest_effect=protocol.smallest_effect, claim=protocol.claim, alpha=alpha)
    write_json(
        run.summary,
        {
            "schema": 1,
            "base": _overall(before.scores, sample) | {"spec": base.spec, "note": base.note},
            "tuned": _overall(after.scores, sample),
            "groups": [g.as_json() for g in groups],
            "difference": difference.as_json(),
            "verdict": said.as_json(),
            "settings": settings,
            "train_sample": {
                "tuned_bpb": after.train_bpb, "bytes": sum(reading.size for reading in sample.train_readings),
            },
            "public_source": bool(manifest["source"]["public"]),
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
