"""A tiny training over eight random segments, as the loop's tests share it."""

from itertools import repeat

import numpy as np
import torch

from assay.core.console import Progress
from assay.core.guard import GuardBook
from assay.model import adapters
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.stages.train.batches import Corpus, schedule_steps
from assay.stages.train.loop import Loop, Reports, Settings
from assay.stages.train.optim import Optimizer

generator = torch.Generator().manual_seed(7)
SEGMENTS = [torch.randint(0, 257, (n,), generator=generator).tolist() for n in (9, 30, 17, 2, 25, 12, 40, 8)]
LENGTHS = [len(s) - 1 for s in SEGMENTS]
LEARN = [[True] * len(s) for s in SEGMENTS]
PARTLY = [[(i + n) % 3 == 1 for i in range(len(s))] for n, s in enumerate(SEGMENTS)]  # of each some
STEPS = schedule_steps(LENGTHS, seed=3, batch_tokens=70, steps=4, epochs=None)


def model_for(preset, kind):
    model = _random(PRESETS[preset])
    model.requires_grad_(False)
    return adapters.attach(model, kind=kind, rank=4, alpha=8.0, dropout=0.0, targets="all-linear", rslora=False, seed=1)


def settings(micro_tokens, **changed):
    values = {
        "steps": len(STEPS), "learning_rate": 1e-3, "schedule": "linear", "warmup": 0.25, "weight_decay": 0.0,
        "max_grad_norm": 0.5, "max_length": 64, "micro_tokens": micro_tokens, "eval_every": 2, "save_every": 2,
        "seed": 1,
    }  # fmt: skip
    return Settings(**values | changed)


def corpus(learn=LEARN):
    starts = np.cumsum([0, *map(len, SEGMENTS)])
    ids = np.concatenate([np.array(s, dtype=np.int32) for s in SEGMENTS])
    return Corpus(ids, np.concatenate(learn), starts, max_length=64, truncate=True)


def loop_for(
    preset, kind, folder, micro_tokens, *, steps=STEPS, learn=LEARN, said=None, events=None, dev=None,
    dtype=torch.float32, **changed,
):  # fmt: skip
    model = model_for(preset, kind).to(dtype)
    optimizer = Optimizer(adapters.trainable(model), weight_decay=0.0, kind=changed.get("optimizer", "adamw"))
    reports = Reports(
        note=lambda text: said.append(text) if said is not None else None,
        event=lambda what, **details: events.append(details) if events is not None else None,
    )
    looks = iter(dev) if dev else repeat(1.0)
    loop = Loop(
        model, optimizer, corpus(learn), steps, settings(micro_tokens, **{"steps": len(steps)} | changed),
        metrics=folder / "metrics.jsonl", checkpoints=folder / "checkpoints", dev=lambda: {"dev_bpb": next(looks)},
        progress=Progress("", len(steps), "steps", quiet=True), guards=GuardBook(folder / "guards.json"),
        reports=reports,
    )  # fmt: skip
    return loop


def train(preset, kind, folder, micro_tokens, **changed):
    loop = loop_for(preset, kind, folder, micro_tokens, **changed)
    loop.run()
    return loop.optimizer.masters
