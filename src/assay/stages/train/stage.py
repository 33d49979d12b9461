"""The train stage: from prepared texts and a base to saved weights and a record of how they came about."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from assay.config.schema import Experiment
from assay.config.train import TrainConfig
from assay.core.console import Console
from assay.core.files import read_json, read_lines, sha256_file, write_atomic, write_json, write_lines
from assay.core.guard import GuardRecord, record
from assay.core.receipt import training_peak
from assay.core.rundir import RunDir
from assay.core.usage import peak_memory
from assay.data.excerpts import pieces
from assay.data.items import item_batches, read_items
from assay.guards.training import adapter_integrity, finite_training, memory_plan, resume_proof
from assay.guards.wording import count, named
from assay.model import adapters
from assay.model.kernels import speed_up
from assay.model.load import load_base
from assay.model.probe import memory_now
from assay.model.registry import BaseRef
from assay.model.score import Scorer
from assay.stages.train import checkpoint
from assay.stages.train.batches import Corpus, schedule_steps
from assay.stages.train.look import Look, dev_items, looker
from assay.stages.train.loop import Counters, Loop, Reports, Settings
from assay.stages.train.optim import Optimizer, require_optimizer
from assay.stages.train.rehearse import rehearse
from assay.stages.train.safety import not_finite
from assay.stages.train.track import Mirrors, mirrors
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoder, Tokens, chat_template


class Held(NamedTuple):
    """Bytes of main memory: before the base was there, and the most that was held until the probe counts anew."""

    before: int
    highest: int


def train(run: RunDir, experiment: Experiment, base: BaseRef, cache: Path, console: Console) -> list[Path]:
    """Train, or go on training; returns the files written.

    Raises:
        GuardError: `supervision`, `weights-moved`, `finite-training` or `adapter-integrity` failed.
        Interrupted: stopped by the user, resumable.
        MachineError: a library is missing, the optimizer does not run on this device, or memory has run out.
    """
    decisions = read_json(run.plan)["decisions"]
    device, t = decisions["device"], experiment.train
    require_optimizer(t.optimizer, device)
    torch.set_num_threads(decisions["threads"])
    torch.use_deterministic_algorithms(device == "cpu")
    with mirrors(experiment.track, run, experiment.model_dump(mode="json", by_alias=True), console) as watching:
        before = memory_now()
        model, tokenizer = load_base(
            base, cache, dtype=decisions["precision"]["value"], device=device, console=console,
            four_bit=experiment.adapter.kind == "qlora",
        )  # fmt: skip
        _finite_base(run, model)
        loaded = int(torch.cuda.memory_allocated()) if device == "cuda" else memory_now()
        tokens = Tokens.open(run.tokens)
        corpus = Corpus(
            tokens.ids, tokens.learn, tokens.starts, max_length=t.max_length,
            truncate=bool(read_json(run.tokens_profile)["turns"]),
        )  # fmt: skip
        if corpus.long_rows:
            console.note(_long_rows(corpus, t.max_length))
        adapted = adapters.attach(model, seed=experiment.seed, **experiment.adapter.model_dump())
        speed_up(adapted, liger=decisions["kernels"]["value"] == "liger")
        steps = schedule_steps(
            corpus.lengths, seed=experiment.seed, batch_tokens=t.batch_tokens, steps=t.steps, epochs=t.epochs
        )
        settings = _settings(t, len(steps), decisions, experiment.seed, loaded)
        encoder = Encoder(tokenizer, chat_template(tokenizer, experiment.data.chat_template), t.loss_on)
        items = dev_items(read_items(run.split("dev")), experiment.evaluate.max_bytes_per_group)
        held = Held(before, peak_memory() or 0)
        look = looker(adapted, encoder, items, window=t.max_length, row_tokens=settings.micro_tokens)
        counters = _loop(run, adapted, corpus, steps, settings, look, watching, console, t.checkpointing)
    window = experiment.evaluate.window
    return _finish(run, base.spec, adapted, tokenizer, corpus, steps, counters, settings, held, window)


def _finite_base(run: RunDir, model: PreTrainedModel) -> None:
    """Refuse a base that is broken before anything is trained on it."""
    broken = not_finite(model)
    if broken:
        why = f"{count(len(broken), 'tensor')} of the base hold values that are not finite: {named(broken)}"
        fix = "restore or download the base anew, or set train.precision to fp32 if its numbers are too large"
        run.guards.check(record("finite-training", "fail", why, measured={"step": 0, "tensors": len(broken)}, fix=fix))


def _long_rows(corpus: Corpus, longest: int) -> str:
    what = f"{count(corpus.long_rows, 'training row')} longer than train.max_length={longest} tokens: "
    return what + (f"cut off there, {corpus.lost:,} tokens are not learned" if corpus.lost else "cut into sequences")


def _loop(
    run: RunDir,
    model: PreTrainedModel | PeftModel,
    corpus: Corpus,
    steps: list[list[int]],
    settings: Settings,
    look: Look,
    watching: Mirrors,
    console: Console,
    wish: str,
) -> Counters:
    optimizer = Optimizer(adapters.trainable(model), weight_decay=settings.weight_decay, kind=settings.optimizer)
    reports = Reports(console.note, run.event, watching.log, partial(_names, run, corpus))
    saved = checkpoint.newest(run.checkpoints, console)
    done = saved.step if saved else 0
    with console.progress("training", len(steps), "steps", start=done) as progress:
        loop = Loop(
            model, optimizer, corpus, steps, settings, metrics=run.metrics, checkpoints=run.checkpoints, dev=look,
            progress=progress, guards=run.guards, reports=reports,
        )  # fmt: skip
        rehearse(loop, run, console, checkpointing=wish)
        if saved:
            loop.restore(saved)
            console.note(f"resuming after step {done} of {len(steps)}")
        run.event("training resumed" if saved else "training started", step=done)
        _forget_metrics_after(run.metrics, saved.step if saved else -1)
        return loop.run()


def _names(run: RunDir, corpus: Corpus, segments: Sequence[int]) -> list[str]:
    """The training rows that segments are of: each row's id and group, once."""
    wanted = sorted({corpus.rows[i] for i in segments})
    found: list[str] = []
    start = 0
    for items in item_batches(run.split("train")) if wanted else ():
        own = [items[row - start] for row in wanted if start <= row < start + len(items)]
        found += [f"{item.id} (group {item.group})" for item in own]
        start += len(items)
    return found


def _settings(t: TrainConfig, steps: int, decisions: dict[str, Any], seed: int, loaded: int) -> Settings:
    quarter = max(1, math.ceil(steps / 4))
    return Settings(
        steps=steps,
        learning_rate=t.learning_rate,
        schedule=t.schedule,
        warmup=t.warmup,
        weight_decay=t.weight_decay,
        max_grad_norm=t.max_grad_norm,
        max_length=t.max_length,
        micro_tokens=decisions["micro_batch_tokens"],
        eval_every=t.eval_every or quarter,
        save_every=t.save_every or quarter,
        seed=seed,
        optimizer=t.optimizer,
        precision=decisions["precision"]["value"],
        # the run's own key may have been changed since the plan: it is not of its identity
        checkpointing=decisions["checkpointing"]["value"] if t.checkpointing == "auto" else t.checkpointing == "on",
        offload=decisions["offload"],
        neftune_alpha=t.neftune_alpha,
        keep_checkpoints=t.keep_checkpoints,
        result=t.result,
        patience=t.patience,
        loaded=loaded,
    )


def _forget_metrics_after(metrics: Path, step: int) -> None:
    """Steps after the checkpoint are done again, so their lines go."""
    write_lines(metrics, [line for line in read_lines(metrics) if line["step"] <= step])


def _finish(
    run: RunDir,
    base: str,
    model: PreTrainedModel | PeftModel,
    tokenizer: TextTokenizer,
    corpus: Corpus,
    steps: list[list[int]],
    counters: Counters,
    settings: Settings,
    held: Held,
    window: int,
) -> list[Path]:
    broken = [name for name, p in adapters.trainable(model).items() if not bool(p.isfinite().all())]
    run.guards.check(finite_training(counters.step, overflows=counters.overflows, nonfinite_weights=broken))
    folder = run.adapter if isinstance(model, PeftModel) else run.model
    weights = adapters.save(model, tokenizer, folder, base=base)
    saved = adapters.saved_tensors(weights)
    zero = adapters.zero_b(saved)
    run.guards.check(
        adapter_integrity(adapters.expected_keys(model), list(saved), zero_b=zero, hash_ok=True, stage="train")
    )
    write_json(run.reference, _reference(run, window, model, tokenizer))
    result = (counters.best_step if settings.result == "best" else None) or counters.step
    read = corpus.read_in(steps[:result])
    write_atomic(run.read, pl.DataFrame(read, schema=["row", "begin", "end"]).write_parquet)
    on_gpu = next(model.parameters()).is_cuda
    summary = {
        "steps": counters.step,
        "tokens": counters.tokens,
        "seconds": round(counters.seconds, 3),
        "tokens_per_s": round(counters.tokens / counters.seconds, 2) if counters.seconds else None,
        "peak_memory": max(held.highest, peak_memory() or 0, 0 if on_gpu else counters.peak) or None,
        "peak_gpu_memory": counters.peak if on_gpu else None,
        "memory_before": held.before,
        "first_loss": counters.first_loss,
        "final_loss": counters.last_loss,
        "trainable_parameters": sum(p.numel() for p in adapters.trainable(model).values()),
        "overflows": counters.overflows,
        "optimizer": settings.optimizer,
        "micro_batch_tokens": counters.micro_tokens or read_json(run.probe)["micro_batch_tokens"],
        "result": {
            "step": result,
            "best_step": counters.best_step,
            "best_dev_bpb": counters.best_dev,
            "stopped_early": counters.step < settings.steps,
        },
        "weights": {"file": str(weights.relative_to(run.path)), "sha256": sha256_file(weights), "keys": sorted(saved)},
        "corpus": {
            "segments": len(corpus),
            "long_rows": corpus.long_rows,
            "lost_tokens": corpus.lost,
            "tokens_per_epoch": sum(corpus.lengths),
            "learned_per_epoch": sum(corpus.learned),
            "read": int((read[:, 2] - read[:, 1] - 1).sum()),
        },
    }
    write_json(run.training, summary)
    run.guards.check(_as_planned(run, summary))
    if not any(r.guard == "resume-proof" for r in run.guards.records()):
        run.guards.add(resume_proof(None))
    return [run.metrics, run.training, run.reference, run.read, *sorted(p for p in folder.iterdir() if p.is_file())]


def _as_planned(run: RunDir, summary: dict[str, Any]) -> GuardRecord:
    """The peak beside the plan's, without what the process itself takes: its imports, and what came before training."""
    foretold = read_json(run.plan)["memory"]["predicted"]
    peak, runtime = training_peak(summary), foretold.get("runtime", 0)
    # where training is the first thing that a process does, not all is imported yet when it begins
    start = runtime if summary["peak_gpu_memory"] else max(summary["memory_before"], runtime)
    return memory_plan(foretold["total"] - runtime, None if peak is None else peak - start)


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
