"""The loop against a plain loop, and against itself with other rows: equal work gives equal weights."""

import pytest
import torch
from fixture_training import LEARN, LENGTHS, PARTLY, SEGMENTS, STEPS, loop_for, model_for, train
from torch.nn import functional

from assay.core.console import Console
from assay.core.files import read_lines
from assay.core.guard import GuardBook
from assay.model import adapters
from assay.stages.train import checkpoint
from assay.stages.train.optim import rate


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
    assert all(
        {"lr", "grad_norm", "learned", "tokens_per_s", "memory", "memory_added"} <= set(line)
        for line in lines
        if "loss" in line
    )


def test_a_steps_limit_on_the_schedule_is_the_schedules_own(tmp_path):
    train("llama-tiny", "lora", tmp_path, 64)
    rates = [line["lr"] for line in read_lines(tmp_path / "metrics.jsonl") if "loss" in line]
    assert rates == [rate(n, total=4, peak=1e-3, schedule="linear", warmup=0.25) for n in range(1, 5)]


DEV = (9.0, 5.0, 3.0, 4.0, 3.5, 6.0)  # before training, then after each step


def test_patience_ends_the_training_and_best_takes_its_weights(tmp_path):
    said = []
    loop = loop_for(
        "llama-tiny", "lora", tmp_path, 64, dev=DEV, said=said, eval_every=1, patience=2, result="best",
        steps=STEPS * 2,
    )  # fmt: skip
    counters = loop.run()
    assert (counters.step, counters.best_step, counters.best_dev, counters.unimproved) == (4, 2, 3.0, 2)
    best = checkpoint.at(tmp_path / "checkpoints", 2)
    assert all(torch.equal(best.weights[name], w) for name, w in loop.optimizer.masters.items())
    assert "stopped early after step 4 of 8" in said[0]
    assert said[1] == "the result is step 2, where dev was best: 3.0000 bits per byte"


def test_the_best_checkpoint_stays_beside_the_last_ones(tmp_path):
    loop_for("llama-tiny", "lora", tmp_path, 64, dev=DEV, eval_every=1, save_every=1, keep_checkpoints=1).run()
    assert [p.name for p in sorted((tmp_path / "checkpoints").iterdir())] == ["step-000002", "step-000004"]


def test_a_training_that_has_ended_early_goes_no_further_when_resumed(tmp_path):
    how = {"eval_every": 1, "patience": 1, "result": "best", "steps": STEPS * 2}
    first = loop_for("llama-tiny", "lora", tmp_path, 64, dev=DEV, **how)
    first.run()
    again = loop_for("llama-tiny", "lora", tmp_path, 64, dev=(0.1,) * 9, **how)
    again.restore(checkpoint.newest(tmp_path / "checkpoints", Console(quiet=True)))
    assert again.run() == first.counters
    assert all(torch.equal(w, again.optimizer.masters[n]) for n, w in first.optimizer.masters.items())


@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "adamw_8bit"])
def test_resumed_with_noise_and_dropout_it_has_the_same_bits(optimizer, tmp_path):
    how = {"optimizer": optimizer, "neftune_alpha": 5.0, "dev": (3.0, 2.0, 1.0)}
    straight = train("gpt2-tiny", "lora", tmp_path / "a", 64, **how)  # GPT-2 brings dropout of its own
    first = loop_for("gpt2-tiny", "lora", tmp_path / "b", 64, **how)
    first._save = lambda real=first._save: (real(), first.__dict__.update(_ended=lambda: first.counters.step >= 2))
    first.run()
    assert first.counters.step == 2
    again = loop_for("gpt2-tiny", "lora", tmp_path / "b", 64, **how)
    again.restore(checkpoint.newest(tmp_path / "b" / "checkpoints", Console(quiet=True)))
    again.run()
    assert all(torch.equal(w, again.optimizer.masters[n]) for n, w in straight.items())


def test_the_noise_of_neftune_hangs_on_the_seed_alone(tmp_path):
    plain = train("llama-tiny", "lora", tmp_path / "plain", 64)
    one, two, other = (
        train("llama-tiny", "lora", tmp_path / name, 64, neftune_alpha=5.0, seed=seed)
        for name, seed in (("one", 1), ("two", 1), ("other", 2))
    )
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert not any(torch.equal(one[n], other[n]) for n in one)
    assert not any(torch.equal(one[n], plain[n]) for n in one)
