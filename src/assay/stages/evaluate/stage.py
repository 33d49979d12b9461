"""The evaluate stage: base and tuned on the same held-out bytes, in one process, under guard."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import tokenizers
import torch
import transformers
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
    write_text,
)
from assay.core.guard import limits
from assay.core.rundir import RunDir, now
from assay.core.store import Store
from assay.data.excerpts import excerpts, pieces
from assay.data.items import Item, read_items
from assay.guards import outcome, scoring, training
from assay.model import adapters
from assay.model.attention import NAME as ATTENTION
from assay.model.generate import Generation
from assay.model.load import load_base
from assay.model.registry import BaseRef
from assay.model.score import Nats
from assay.stages.evaluate import measure
from assay.stages.evaluate.reload import in_new_process
from assay.stats.verdict import group_scores, summarise
from assay.stats.verdict import verdict as conclude
from assay.text.tokenizer import TextTokenizer

TRAIN_BYTES = 8000  # of training text are scored, to see how far train and test lie apart
SCORING = 1  # raised when the same model and texts would be scored otherwise
SCORES = "scores.parquet"
RESCORED = 16  # stored base scores that are scored anew as a check
BOS_RULE = "own prefix, else beginning-of-text token, else end-of-text token"


@dataclass(frozen=True)
class Sample:
    """The texts of one evaluation: held-out excerpts, probe texts cut from them, and some training text."""

    test: list[Item]
    probes: list[str]
    train: list[Item]

    @property
    def texts(self) -> list[str]:
        """The held-out excerpts."""
        return [item.text for item in self.test]


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
    manifest, plan = read_json(run.manifest), read_json(run.plan)
    decisions = plan["decisions"] | {"processor": plan["machine"]["processor"]}
    torch.set_num_threads(decisions["threads"])
    items = _held_out(run, manifest)
    _weights_are_the_trained_ones(run)
    sample = _sample(run, items, experiment)
    append_line(looks, {"time": now(), "run": run.path.name, "test_split": _split_hash(manifest), "what": "evaluate"})
    model, tokenizer = load_base(
        base, cache, dtype=decisions["precision"]["value"], device=decisions["device"], console=console
    )
    probes = measure.probe(model, tokenizer, experiment.evaluate.window, sample.probes)
    before, stored_noise = _base(experiment, base, model, tokenizer, sample, decisions, store, console)
    _count_units(run, tokenizer, sample, before, probes, decisions["precision"]["value"])
    tuned_model = _tuned(run, experiment, model, decisions)
    del model
    gc.collect()
    after = _after(run, experiment, base, tuned_model, tokenizer, sample, probes, decisions, cache, console)
    rows = _write_texts(run, sample, before.scores, after.scores)
    _write_generations(run, experiment, before.generations, after.generations)
    settings = _settings(experiment, decisions, tokenizer)
    noise = max(probes.noise_bpb(sample.probes), stored_noise or 0.0)
    _conclude(run, experiment, base, sample, before, after, rows, settings, noise, tokenizer, started)
    return [run.texts, run.generations, run.summary]


def _held_out(run: RunDir, manifest: dict[str, Any]) -> list[Item]:
    items = read_items(run.split("test"))
    scored = [(item.id, sha256_text(item.text)) for item in items]
    run.guards.check(scoring.right_split(scored, manifest["splits"]))
    return items


def _split_hash(manifest: dict[str, Any]) -> str:
    return sha256_json([[row["id"], row["sha256"]] for row in manifest["splits"]["test"]])


def _weights_are_the_trained_ones(run: RunDir) -> None:
    weights = read_json(run.training)["weights"]
    file = run.path / weights["file"]
    tensors = adapters.saved_tensors(file) if file.is_file() else {}
    run.guards.check(
        training.adapter_integrity(
            weights["keys"],
            list(tensors),
            zero_b=[n for n, t in tensors.items() if "lora_B" in n and not bool(t.any())],
            nonfinite=[n for n, t in tensors.items() if not bool(t.isfinite().all())],
            hash_ok=file.is_file() and sha256_file(file) == weights["sha256"],
        )
    )


def _sample(run: RunDir, items: list[Item], experiment: Experiment) -> Sample:
    seed = experiment.data.split.seed
    test = excerpts(items, experiment.evaluate.max_bytes_per_group, seed=seed)
    train = read_items(run.split("train"))
    groups = sorted({item.group for item in train}, key=lambda group: sha256_text(f"{seed}:{group}"))[:8]
    some = [item for item in train if item.group in groups]
    per_group = TRAIN_BYTES // len(groups)
    return Sample(test, pieces(test, measure.PROBE_TEXTS, measure.PROBE_BYTES), excerpts(some, per_group, seed=seed))


def _base(
    experiment: Experiment,
    base: BaseRef,
    model: PreTrainedModel,
    tokenizer: TextTokenizer,
    sample: Sample,
    decisions: dict[str, Any],
    store: Store,
    console: Console,
) -> tuple[Measured, float | None]:
    """The base's results, its scores from the store where it has them, and how far those are off now."""
    e = experiment.evaluate
    judge = measure.scorer(model, tokenizer, e.window, e.stride or e.window)
    key = _base_key(experiment, base, tokenizer, sample, decisions)
    folder = store.path("base-scores", key)
    noise = None
    if store.has("base-scores", key):
        if store.damaged("base-scores", key):
            raise GuardError(
                "a-a-control",
                "the stored base scores are not what was stored",
                where=str(folder),
                fix="delete this folder: the base is then scored again",
            )
        scores = [row.to_numpy() for row in pl.read_parquet(folder / SCORES)["nats"]]
        some = _to_rescore(sample.texts)
        console.note(
            f"base scores: from an earlier run; {len(some)} of {len(scores)} texts are scored again as a check"
        )
        texts = [sample.texts[i] for i in some]
        noise = measure.mean_change_bpb([scores[i] for i in some], judge.score(texts), texts)
    else:
        scores = measure.score_with_progress(judge, sample.texts, "scoring the base", console)
        frame = pl.DataFrame({"nats": [n.tolist() for n in scores]}, schema={"nats": pl.List(pl.Float64)})
        store.put("base-scores", key, lambda target: frame.write_parquet(target / SCORES))
    return Measured(scores, _generate(experiment, model, tokenizer)), noise


def _to_rescore(texts: Sequence[str]) -> list[int]:
    """The shortest texts: at most `RESCORED` of them, and beyond the first at most a quarter of all bytes."""
    sizes = [len(text.encode()) for text in texts]
    chosen: list[int] = []
    for i in sorted(range(len(texts)), key=lambda i: (sizes[i], i))[:RESCORED]:
        if chosen and sum(sizes[j] for j in [*chosen, i]) > sum(sizes) / 4:
            break
        chosen.append(i)
    return chosen


def _base_key(
    experiment: Experiment, base: BaseRef, tokenizer: TextTokenizer, sample: Sample, decisions: dict[str, Any]
) -> str:
    e = experiment.evaluate
    return sha256_json(
        [
            base.hash, tokenizer.sha256, tokenizer.template_sha256, [sha256_text(t) for t in sample.texts],
            e.window, e.stride or e.window, BOS_RULE, decisions["precision"]["value"], decisions["device"],
            decisions["threads"], ATTENTION, torch.__version__, transformers.__version__, tokenizers.__version__,
            SCORING, measure.ROW_TOKENS, decisions["processor"],
        ]
    )  # fmt: skip


def _generate(experiment: Experiment, model: PreTrainedModel | PeftModel, tokenizer: TextTokenizer) -> list[Generation]:
    d = experiment.evaluate.decoding
    return measure.generate_all(
        model, tokenizer, experiment.evaluate.prompts, seed=experiment.seed,
        max_new_tokens=d.max_new_tokens, temperature=d.temperature, top_p=d.top_p,
    )  # fmt: skip


def _count_units(
    run: RunDir, tokenizer: TextTokenizer, sample: Sample, before: Measured, probes: measure.Probes, dtype: str
) -> None:
    run.guards.check(
        scoring.unit_counting(
            tokens=(sum(len(ids) for ids in tokenizer.encode_batch(sample.texts)), sum(len(n) for n in before.scores)),
            size=(
                sum(len(text.encode()) for text in sample.texts),
                measure.covered_bytes(tokenizer, sample.texts),
            ),
            single=[float(n.sum()) for n in probes.single],
            batched=[float(n.sum()) for n in probes.packed],
            reversed_order=[float(n.sum()) for n in probes.reverse],
            dtype=dtype,
        )
    )


def _tuned(
    run: RunDir, experiment: Experiment, model: PreTrainedModel, decisions: dict[str, Any]
) -> PreTrainedModel | PeftModel:
    if experiment.adapter.kind == "full":
        return adapters.load_tuned(run.model, dtype=decisions["precision"]["value"], device=decisions["device"])
    return adapters.load_adapter(model, run.adapter)


def _after(
    run: RunDir,
    experiment: Experiment,
    base: BaseRef,
    model: PreTrainedModel | PeftModel,
    tokenizer: TextTokenizer,
    sample: Sample,
    base_probes: measure.Probes,
    decisions: dict[str, Any],
    cache: Path,
    console: Console,
) -> Measured:
    """The tuned model's results, once it is proven to be the trained one and to differ from the base."""
    e = experiment.evaluate
    probes = measure.scorer(model, tokenizer, e.window, e.window).score(sample.probes)
    change = measure.median_change(probes, base_probes.packed)
    _reloads_fresh(run, experiment, base, decisions, cache)
    run.guards.check(scoring.adapter_effect(change, base_probes.noise_nats(), texts=len(sample.probes)))
    judge = measure.scorer(model, tokenizer, e.window, e.stride or e.window)
    scores = measure.score_with_progress(judge, sample.texts, "scoring the tuned", console)
    seen = [item.text for item in sample.train]
    train_nats = sum(float(n.sum()) for n in judge.score(seen))
    train_bpb = train_nats / math.log(2) / sum(len(text.encode()) for text in seen)
    return Measured(scores, _generate(experiment, model, tokenizer), train_bpb)


def _reloads_fresh(run: RunDir, experiment: Experiment, base: BaseRef, decisions: dict[str, Any], cache: Path) -> None:
    reference = read_json(run.reference)
    kind = experiment.adapter.kind
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
    run.guards.check(scoring.fresh_reload(reference["nll"], again, reference["tokens"]))


def _write_texts(
    run: RunDir, sample: Sample, base: Sequence[Nats], tuned: Sequence[Nats]
) -> list[tuple[str, int, int, float, float]]:
    rows = [
        (item.group, len(b), len(item.text.encode()), float(b.sum()), float(t.sum()))
        for item, b, t in zip(sample.test, base, tuned, strict=True)
    ]
    columns = dict(zip(("group", "tokens", "bytes", "nll_base", "nll_tuned"), zip(*rows, strict=True), strict=True))
    frame = pl.DataFrame({"id": [item.id for item in sample.test], **columns})
    write_atomic(run.texts, frame.write_parquet)
    return rows


def _write_generations(
    run: RunDir, experiment: Experiment, base: Sequence[Generation], tuned: Sequence[Generation]
) -> None:
    import json

    lines = [
        {
            "prompt": prompt, "seed": experiment.seed + i, "base": b.text, "tuned": t.text, "raw_tuned": t.raw,
            "tokens_base": b.tokens, "tokens_tuned": t.tokens, "stopped_base": b.stopped, "stopped_tuned": t.stopped,
        }
        for i, (prompt, b, t) in enumerate(zip(experiment.evaluate.prompts, base, tuned, strict=True))
    ]  # fmt: skip
    write_text(run.generations, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _settings(experiment: Experiment, decisions: dict[str, Any], tokenizer: TextTokenizer) -> dict[str, Any]:
    e = experiment.evaluate
    return {
        "window": e.window,
        "stride": e.stride or e.window,
        "bos_rule": BOS_RULE,
        "max_bytes_per_group": e.max_bytes_per_group,
        "dtype": decisions["precision"]["value"],
        "device": decisions["device"],
        "attention": ATTENTION,
        "tokenizer_sha256": tokenizer.sha256,
        "template_sha256": tokenizer.template_sha256,
        "decoding": e.decoding.model_dump(),
        "claim": e.claim,
    }


def _conclude(
    run: RunDir,
    experiment: Experiment,
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
    e = experiment.evaluate
    groups = group_scores(rows)
    alpha = limits("paired-verdict.p").passes
    difference = summarise(groups, alpha=alpha)
    run.guards.check(
        scoring.a_a_control(noise_bpb, difference.half_width),
        outcome.output_hygiene([g.raw for g in after.generations], tokenizer.special_tokens),
    )
    manifest = read_json(run.manifest)
    write_json(
        run.summary,
        {
            "schema": 1,
            "base": _overall(before.scores, sample) | {"spec": base.spec, "note": base.note},
            "tuned": _overall(after.scores, sample),
            "groups": [g.as_json() for g in groups],
            "difference": difference.as_json(),
            "verdict": conclude(difference, smallest_effect=e.smallest_effect, claim=e.claim, alpha=alpha).as_json(),
            "settings": settings,
            "train_sample": {
                "tuned_bpb": after.train_bpb, "bytes": sum(len(i.text.encode()) for i in sample.train),
            },
            "public_source": bool(manifest["source"]["public"]),
            "seconds": round(time.perf_counter() - started, 3),
        },
    )  # fmt: skip


def _overall(scores: Sequence[Nats], sample: Sample) -> dict[str, Any]:
    nats = sum(float(n.sum()) for n in scores)
    size = sum(len(text.encode()) for text in sample.texts)
    return {
        "bpb": nats / math.log(2) / size,
        "perplexity": measure.perplexity(scores),
        "perplexity_reason": "per token of this base's own tokenizer; not comparable with another tokenizer's",
        "tokens": sum(len(n) for n in scores),
        "bytes": size,
    }
