"""The train stage: from prepared texts and a base to saved weights and a record of how they came about."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from assay.config.schema import Experiment, TrainConfig
from assay.core.console import Console
from assay.core.files import read_json, read_lines, sha256_file, sha256_text, write_json, write_lines
from assay.core.guard import record
from assay.core.rundir import RunDir
from assay.core.usage import peak_memory
from assay.data.excerpts import excerpts, pieces
from assay.data.items import Item, read_items
from assay.guards.training import adapter_integrity, finite_training
from assay.model import adapters
from assay.model.load import load_base
from assay.model.probe import memory_now
from assay.model.registry import BaseRef
from assay.model.score import Scorer, item_readings
from assay.stages.train import checkpoint
from assay.stages.train.batches import Corpus, schedule_steps
from assay.stages.train.loop import Counters, Loop, Settings
from assay.stages.train.optim import MasterAdamW
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoder, Tokens, chat_template

DEV_BYTES, DEV_GROUPS = 8000, 8  # of dev text are scored at each look, of so many groups at least


def train(run: RunDir, experiment: Experiment, base: BaseRef, cache: Path, console: Console) -> list[Path]:
    """Train, or go on training; returns the files written.

    Raises:
        GuardError: `supervision`, `weights-moved`, `finite-training` or `adapter-integrity` failed.
        Interrupted: stopped by the user, resumable.
    """
    decisions = read_json(run.plan)["decisions"]
    torch.set_num_threads(decisions["threads"])
    torch.use_deterministic_algorithms(decisions["device"] == "cpu")
    before = memory_now()
    model, tokenizer = load_base(
        base, cache, dtype=decisions["precision"]["value"], device=decisions["device"], console=console
    )
    t = experiment.train
    tokens = Tokens.open(run.tokens)
    corpus = Corpus(
        tokens.ids, tokens.learn, tokens.starts, max_length=t.max_length,
        truncate=bool(read_json(run.tokens_profile)["turns"]),
    )  # fmt: skip
    adapted = adapters.attach(model, seed=experiment.seed, **experiment.adapter.model_dump())
    steps = schedule_steps(
        corpus.lengths, seed=experiment.seed, batch_tokens=t.batch_tokens, steps=t.steps, epochs=t.epochs
    )
    settings = _settings(t, len(steps), decisions["micro_batch_tokens"], experiment.seed)
    dev = _dev_items(read_items(run.split("dev")), experiment.evaluate.max_bytes_per_group)
    encoder = Encoder(tokenizer, chat_template(tokenizer, experiment.data.chat_template), t.loss_on)
    counters = _loop(run, adapted, encoder, corpus, steps, settings, dev, console)
    return _finish(run, base.spec, adapted, tokenizer, corpus, counters, before, experiment.evaluate.window)


def _loop(
    run: RunDir,
    model: PreTrainedModel | PeftModel,
    encoder: Encoder,
    corpus: Corpus,
    steps: list[list[int]],
    settings: Settings,
    dev: list[Item],
    console: Console,
) -> Counters:
    optimizer = MasterAdamW(adapters.trainable(model), weight_decay=settings.weight_decay)
    longest = settings.max_length
    scorer = Scorer(model, encoder.tokenizer, window=longest, stride=longest, row_tokens=settings.micro_tokens)

    readings = item_readings(dev, encoder)
    size = sum(reading.size for reading in readings)

    def look() -> dict[str, float]:
        nats = sum(float(n.sum()) for n in scorer.score_readings(readings))
        return {"dev_bpb": nats / math.log(2) / size, "dev_bytes": size}

    saved = checkpoint.newest(run.checkpoints, console)
    done = saved.step if saved else 0
    with console.progress("training", len(steps), "steps", start=done) as progress:
        loop = Loop(
            model, optimizer, corpus, steps, settings,
            metrics=run.metrics, checkpoints=run.checkpoints, dev=look, progress=progress, guards=run.guards,
        )  # fmt: skip
        if saved:
            loop.restore(saved)
            console.note(f"resuming after step {done} of {len(steps)}")
        run.event("training resumed" if saved else "training started", step=done)
        _forget_metrics_after(run.metrics, saved.step if saved else -1)
        return loop.run()


def _settings(t: TrainConfig, steps: int, micro_tokens: int, seed: int) -> Settings:
    quarter = max(1, math.ceil(steps / 4))
    return Settings(
        steps=steps,
        learning_rate=t.learning_rate,
        schedule=t.schedule,
        warmup=t.warmup,
        weight_decay=t.weight_decay,
        max_grad_norm=t.max_grad_norm,
        max_length=t.max_length,
        micro_tokens=micro_tokens,
        eval_every=t.eval_every or quarter,
        save_every=t.save_every or quarter,
        seed=seed,
    )


def _dev_items(items: list[Item], limit: int | None) -> list[Item]:
    """A little of each group, in a fixed order of groups, until there is enough text and are enough groups."""
    groups = sorted({item.group for item in items}, key=lambda group: sha256_text(group))
    per_group = max(200, DEV_BYTES // len(groups))
    chosen: list[Item] = []
    for number, group in enumerate(groups):
        if number >= DEV_GROUPS and sum(item.size for item in chosen) >= DEV_BYTES:
            break
        own = [item for item in items if item.group == group]
        chosen += excerpts(own, min(per_group, limit) if limit else per_group, seed=0)
    return chosen


def _forget_metrics_after(metrics: Path, step: int) -> None:
    """Steps after the checkpoint are done again, so their lines go."""
    write_lines(metrics, [line for line in read_lines(metrics) if line["step"] <= step])


def _finish(
    run: RunDir,
    base: str,
    model: PreTrainedModel | PeftModel,
    tokenizer: TextTokenizer,
    corpus: Corpus,
    counters: Counters,
    memory_before: int,
    window: int,
) -> list[Path]:
    broken = [name for name, p in adapters.trainable(model).items() if not bool(p.isfinite().all())]
    run.guards.check(finite_training(counters.step, len(counters.skipped), 0, nonfinite_weights=broken))
    folder = run.adapter if isinstance(model, PeftModel) else run.model
    weights = adapters.save(model, tokenizer, folder, base=base)
    saved = adapters.saved_tensors(weights)
    zero = adapters.zero_b(saved)
    run.guards.check(
        adapter_integrity(adapters.expected_keys(model), list(saved), zero_b=zero, hash_ok=True, stage="train")
    )
    write_json(run.reference, _reference(run, window, model, tokenizer))
    summary = {
        "steps": counters.step,
        "tokens": counters.tokens,
        "seconds": round(counters.seconds, 3),
        "tokens_per_s": round(counters.tokens / counters.seconds, 2) if counters.seconds else None,
        "peak_memory": peak_memory(),
        "memory_before": memory_before,
        "first_loss": counters.first_loss,
        "final_loss": counters.last_loss,
        "trainable_parameters": sum(p.numel() for p in adapters.trainable(model).values()),
        "skipped_steps": len(counters.skipped),
        "weights": {"file": str(weights.relative_to(run.path)), "sha256": sha256_file(weights), "keys": sorted(saved)},
        "corpus": {
            "segments": len(corpus),
            "tokens_per_epoch": sum(corpus.lengths),
            "learned_per_epoch": sum(corpus.learned),
        },
    }
    write_json(run.training, summary)
    return [run.metrics, run.training, run.reference, *sorted(p for p in folder.iterdir() if p.is_file())]


def _reference(
    run: RunDir, window: int, model: PreTrainedModel | PeftModel, tokenizer: TextTokenizer
) -> dict[str, Any]:
    """What the trained model in memory makes of a few dev texts; a reloaded one must make the same of them."""
    texts = pieces(read_items(run.split("dev")))
    scorer = Scorer(model, tokenizer, window=window, stride=window)
    nats = scorer.score(texts)
    if not all(np.isfinite(n).all() for n in nats):
        why = "the trained model gives some texts no finite score"
        run.guards.check(record("finite-training", "fail", why))
    return {
        "texts": texts,
        "nll": [float(n.sum()) for n in nats],
        "tokens": [len(n) for n in nats],
        "window": scorer.window,
    }
