"""Faults planted in trainings through the command line: the right message and exit code, and nothing lost."""

from __future__ import annotations

import json
import math
import resource
import shutil
import subprocess
import sys

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from assay.core.files import read_json, read_lines
from assay.model.load import silent
from assay.text.tokenizer import byte_tokenizer

OFTEN = ("train.save_every=1", "train.eval_every=6")


CLEF = "\U0001d11e"  # in none of the plays


def overflowing(model):
    """The clef's first byte has an embedding so large that the variance of its state is no finite number."""
    row = model.transformer.wte.weight.data[byte_tokenizer().encode(CLEF)[0]]
    row.fill_(3e38)
    row[::2] *= -1


def broken(model):
    model.transformer.h[1].mlp.c_fc.weight.data[3, 3] = math.nan


@pytest.fixture
def base(tmp_path):
    """A function that writes a tiny base, after something was done to its weights."""

    def write(harm):
        config = GPT2Config(vocab_size=257, n_embd=64, n_layer=2, n_head=4, n_positions=512, tie_word_embeddings=False)
        torch.manual_seed(0)
        model = GPT2LMHeadModel(config)
        harm(model)
        with silent():
            model.save_pretrained(tmp_path / "base")
        byte_tokenizer().backend.save(str(tmp_path / "base" / "tokenizer.json"))
        (tmp_path / "base" / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
        return tmp_path / "base"

    return write


@pytest.mark.fault("finite-training")
def test_a_row_that_overflows_is_named_and_nothing_is_lost(case, rows, base, capsys):
    poisoned = [dict(row) for row in rows]
    planted = case(poisoned)
    folder = base(overflowing)
    assert planted.assay("prepare", f"base={folder}") == 0
    # a row of the training part, which the split has chosen by its group
    groups = {row["play"] for row in poisoned}
    held = _held_out_groups(planted.run)
    group = sorted(groups - held)[0]
    next(row for row in poisoned if row["play"] == group)["text"] += CLEF
    shutil.rmtree(planted.runs)
    planted = case(poisoned)
    for _ in range(2):
        assert planted.assay("run", f"base={folder}", *OFTEN) == 3
        said = capsys.readouterr().err
        assert "guard finite-training failed" in said
        assert "Likely cause: a row: 1 of the step's" in said
        assert f"(group {group})" in said
    assert planted.failed() == {"finite-training"}
    done = max(line["step"] for line in read_lines(planted.run.metrics))
    assert (planted.run.checkpoints / f"step-{done:06d}" / "state.json").is_file()


def _held_out_groups(run):
    import polars as pl

    return set(pl.concat([pl.read_parquet(run.split(name), columns=["group"]) for name in ("dev", "test")])["group"])


@pytest.mark.fault("finite-training")
def test_a_broken_base_is_told_before_the_first_step(case, base, capsys):
    planted = case()
    assert planted.assay("run", f"base={base(broken)}") == 3
    said = capsys.readouterr().err
    assert "1 tensor of the base hold values that are not finite: transformer.h.1.mlp.c_fc.weight" in said
    assert planted.failed() == {"finite-training"}
    assert not planted.run.metrics.exists()


def test_a_base_that_is_whole(case, base):
    whole = case()
    assert whole.assay("train", f"base={base(lambda model: None)}") == 0
    assert whole.failed() == set()


@pytest.mark.parametrize("plain", [True, False])
def test_a_row_of_ten_thousand_tokens_is_split_or_cut_and_said(plain, over, capsys):
    texts = [f"number {n}, {'and so on, ' * (1000 if n == 3 else 10)}end {n}." for n in range(24)]
    rows = [{"text": t, "g": n} if plain else {"prompt": f"What of {n}?", "completion": t} for n, t in enumerate(texts)]
    long = over(rows, split={"dev": 0.1, "test": 0.1, "seed": 1})
    assert long.loud("train") == 0
    said = capsys.readouterr().err
    corpus = read_json(long.run.training)["corpus"]
    if plain:
        assert "longer than train.max_length=128 tokens: cut into sequences" in said
        assert corpus["lost_tokens"] == 0
        assert corpus["tokens_per_epoch"] > 11_000
    else:
        assert f"cut off there, {corpus['lost_tokens']:,} tokens are not learned" in said
        assert corpus["lost_tokens"] > 10_000
        assert corpus["long_rows"] + 10 > corpus["segments"] > 10


def test_a_full_disk_ends_with_what_would_help_and_loses_nothing(case, tmp_path):
    """A limit on the size of files falls upon a checkpoint's weights, as a full disk would."""
    planted = case()
    assert planted.assay("plan", *OFTEN) == 0
    command = [sys.executable, "-m", "assay", "train", str(planted.file), "--runs-dir", str(planted.runs), "--quiet"]
    command += [part for value in OFTEN for part in ("--set", value)]
    limit = 40_000  # bytes: the tables and tokens that come before are smaller, a checkpoint's weights larger
    full = subprocess.run(
        command, capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert full.returncode == 4, full.stderr
    assert "no space left on the disk" in full.stderr
    assert not list(planted.run.checkpoints.glob("step-*"))
    assert planted.assay("train", *OFTEN) == 0


def test_damaged_checkpoints_are_passed_over_one_by_one(case, capsys):
    planted = case()
    planted.file.write_text(planted.file.read_text().replace("train: {", "train: {save_every: 1, eval_every: 6, "))
    assert planted.assay("train") == 0
    run = planted.run
    straight = (run.adapter / "adapter_model.safetensors").read_bytes()
    first, last = sorted(run.checkpoints.iterdir())
    for harmed, words in (([last], [last]), ([first, last], [first, last, "starts anew"])):
        (run.stages).write_text(json.dumps({k: v for k, v in read_json(run.stages).items() if k != "train"}))
        for path in harmed:
            file = path / "weights.safetensors"
            file.write_bytes(file.read_bytes()[:-1] + b"\x07")
        assert planted.loud("train") == 0
        said = capsys.readouterr().err
        assert all(getattr(word, "name", word) in said for word in words)
        assert (run.adapter / "adapter_model.safetensors").read_bytes() == straight
        first, last = sorted(run.checkpoints.iterdir())


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["train.device=cuda"], "torch sees no cuda device here"),
        (["train.optimizer=paged_adamw_8bit"], "paged between a CUDA GPU and main memory only"),
    ],
)
@pytest.mark.skipif(torch.cuda.is_available(), reason="for machines without a GPU")
def test_what_needs_a_gpu_is_told_on_a_processor(values, words, case, capsys):
    planted = case()
    assert planted.assay("train", *values) == 4
    said = capsys.readouterr().err
    assert words in said
    assert "fix:" in said
    assert not planted.run.metrics.exists()


def test_a_missing_tracker_is_told_before_training(case, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    planted = case()
    assert planted.assay("train", "track=[trackio]") == 4
    assert "assay[trackio]" in capsys.readouterr().err
    assert not planted.run.metrics.exists()
