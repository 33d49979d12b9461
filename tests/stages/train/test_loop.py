"""The loop against a plain loop, and against itself with other rows: equal work gives equal weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from assay.core.console import Progress
from assay.core.files import read_lines
from assay.core.guard import GuardBook
from assay.model import adapters
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.stages.train.batches import Corpus, schedule_steps
from assay.stages.train.loop import Loop, Settings
from assay.stages.train.optim import MasterAdamW, rate

generator = torch.Generator().manual_seed(7)
SEGMENTS = [torch.randint(0, 257, (n,), generator=generator).tolist() for n in (9, 30, 17, 2, 25, 12, 40, 8)]
LENGTHS = [len(s) - 1 for s in SEGMENTS]
LEARN = [[True] * len(s) for s in SEGMENTS]
PARTLY = [[(i + n) % 3 == 1 for i in range(len(s))] for n, s in enumerate(SEGMENTS)]  # of each some
STEPS = schedule_steps(LENGTHS, seed=3, batch_tokens=70, steps=4, epochs=None)


def model_for(preset, kind):
    model = _random(PRESETS[preset])
    model.requires_grad_(False)
    return adapters.attach(model, kind=kind, rank=4, alpha=8.0, dropout=0.0, targets="all-linear", seed=1)


def settings(micro_tokens):
    return Settings(
        steps=len(STEPS), learning_rate=1e-3, schedule="linear", warmup=0.25, weight_decay=0.0,
        max_grad_norm=0.5, max_length=64, micro_tokens=micro_tokens, eval_every=2, save_every=2, seed=1,
    )  # fmt: skip


def corpus(learn=LEARN):
    starts = np.cumsum([0, *map(len, SEGMENTS)])
    ids = np.concatenate([np.array(s, dtype=np.int32) for s in SEGMENTS])
    return Corpus(ids, np.concatenate(learn), starts, max_length=64, truncate=True)


def train(preset, kind, folder, micro_tokens, steps=STEPS, learn=LEARN):
    model = model_for(preset, kind)
    optimizer = MasterAdamW(adapters.trainable(model), weight_decay=0.0)
    loop = Loop(
        model, optimizer, corpus(learn), steps, settings(micro_tokens),
        metrics=folder / "metrics.jsonl", checkpoints=folder / "checkpoints", dev=lambda: {"dev_bpb": 1.0},
        progress=Progress("", len(steps), "steps", quiet=True), guards=GuardBook(folder / "guards.json"),
    )  # fmt: skip
    loop.run()
    return optimizer.masters


def plain(preset, kind, learn=LEARN):
    """One document at a time, whole logits, torch's own loss, clipping and AdamW."""
    model = model_for(preset, kind).eval()  # GPT-2 brings dropout of its own
    weights = adapters.trainable(model)
    optimizer = torch.optim.AdamW(weights.values(), weight_decay=0.0)
    for number, step in enumerate(STEPS, start=1):
        tokens = sum(sum(learn[i][1:]) for i in step)
        for i in step:
            ids = torch.tensor([SEGMENTS[i]])
            logits = model(input_ids=ids[:, :-1]).logits[0]
            wanted = torch.where(torch.tensor(learn[i][1:]), ids[0, 1:], -100)
            (functional.cross_entropy(logits, wanted, reduction="sum") / tokens).backward()
        torch.nn.utils.clip_grad_norm_(weights.values(), 0.5)
        optimizer.param_groups[0]["lr"] = rate(number, total=len(STEPS), peak=1e-3, schedule="linear", warmup=0.25)
        optimizer.step()
        optimizer.zero_grad()
    return {name: p.data for name, p in weights.items()}


@pytest.mark.parametrize("learn", [LEARN, PARTLY], ids=["all", "partly"])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_the_loop_equals_a_plain_loop(kind, learn, tmp_path):
    found, expected = train("llama-tiny", kind, tmp_path, 1000, learn=learn), plain("llama-tiny", kind, learn)
    for name, weights in expected.items():
        torch.testing.assert_close(found[name], weights, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_packed_equals_unpacked(kind, tmp_path):
    packed, alone = (train("llama-tiny", kind, tmp_path / str(n), n) for n in (1000, 1))
    for name, weights in packed.items():
        torch.testing.assert_close(weights, alone[name], rtol=1e-3, atol=2e-5)


def test_the_same_training_twice_has_the_same_bits(tmp_path):
    one, two = (train("gpt2-tiny", "lora", tmp_path / name, 64) for name in "ab")
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_each_step_leaves_one_line_and_each_look_another(tmp_path):
    train("llama-tiny", "lora", tmp_path, 64)
    lines = read_lines(tmp_path / "metrics.jsonl")
    assert [line["step"] for line in lines if "loss" in line] == [1, 2, 3, 4]
    assert [line["step"] for line in lines if "dev_bpb" in line] == [0, 2, 4]
    assert [line["tokens"] for line in lines if "loss" in line] == [sum(LENGTHS[i] for i in s) for s in STEPS]
    assert GuardBook(tmp_path / "guards.json").records()[0].guard == "weights-moved"
