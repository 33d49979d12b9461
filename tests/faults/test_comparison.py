"""Faults of comparing runs: what was measured differently, what differs in more than one thing, what was copied."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tokenizers import Tokenizer as Backend
from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM

from assay.core.files import read_json
from assay.core.guard import GuardRecord
from assay.core.ledger_rows import read_run
from assay.core.rundir import RunDir
from assay.model.load import silent
from assay.stages.compare import one_change as changes
from assay.stages.compare.curves import curves
from assay.stages.compare.measured import measured

pytestmark = pytest.mark.long
END = "<|endoftext|>"


@pytest.fixture
def first(healthy: Any) -> RunDir:
    return healthy.run


# One change at a time


def one_change(*runs: RunDir) -> GuardRecord:
    first, other = map(measured, runs)
    return changes.one_change(first, other)


@pytest.mark.fault("one-change")
def test_rank_and_learning_rate_changed_together(healthy, first, compare):
    second = healthy.evaluated("adapter.rank=2", "train.learning_rate=0.005")
    assert compare(first, second) == (3, {"one-change"})


def test_the_rank_alone_changed(healthy, first, compare):
    assert compare(first, healthy.evaluated("adapter.rank=2")) == (0, set())


@pytest.mark.parametrize(
    "values", [["adapter.kind=full"], ["train.steps=null", "train.epochs=1"]], ids=["all weights", "epochs"]
)
def test_one_change_that_is_written_in_several_keys(healthy, first, compare, values):
    assert compare(first, healthy.evaluated(*values)) == (0, set())


@pytest.fixture
def slices(case, rows) -> tuple[Any, RunDir]:
    """A run on four plays; and beside its texts, files that hold more than these, and others."""
    made = case()
    plays = sorted({row["play"] for row in rows})
    parts = {"dev": plays[:2], "test": plays[2:9], "few": plays[9:13], "more": plays[9:20], "others": plays[13:20]}
    for name, own in parts.items():
        made.write(f"{name}.csv", [row for row in rows if row["play"] in own])
    text = made.file.read_text().replace("{dev: 0.15, test: 0.35}", "{dev: dev.csv, test: test.csv}")
    made.file.write_text(text.replace("rows.csv", "few.csv"))
    return made, made.evaluated()


@pytest.mark.fault("one-change")
def test_more_data_of_another_slice(slices, compare):
    made, few = slices
    more = made.evaluated(f"data.source={made.folder / 'others.csv'}")
    assert compare(few, more) == (3, {"one-change"})
    record = one_change(few, more)
    assert "(16 and 28 rows, of which none stand in both)" in record.why
    assert "data: {split: {train_rows: 16}}\n    train: {steps: 12}\n" in str(record.fix)
    assert "equal-steps: {data.split.train_rows: [28]}" in str(record.fix)


def test_more_data_that_hold_the_fewer(slices, compare):
    made, few = slices
    assert compare(few, made.evaluated(f"data.source={made.folder / 'more.csv'}")) == (0, set())


@pytest.fixture
def larger(case) -> tuple[Any, RunDir]:
    """An experiment, and its run on twelve of its training rows."""
    made = case()
    return made, made.evaluated("data.split.train_rows=12")


@pytest.mark.fault("one-change")
def test_more_of_the_rows_and_neither_the_same_steps_nor_the_same_epochs(larger, compare):
    made, few = larger
    more = made.evaluated("data.split.train_rows=36", "train.steps=20")
    assert compare(few, more) == (3, {"one-change"})
    assert "neither equal steps nor equal epochs" in one_change(few, more).why


def test_more_of_the_rows_at_equal_steps_and_at_equal_epochs(larger, compare):
    made, few = larger
    at_steps = made.evaluated("data.split.train_rows=36")
    assert compare(few, at_steps) == (0, set())
    assert "(12 and 36), both at 12 steps" in one_change(few, at_steps).why
    epochs = changes.length(measured(few)).epochs
    at_epochs = made.evaluated("data.split.train_rows=36", "train.steps=null", f"train.epochs={epochs}")
    assert compare(few, at_epochs) == (0, set())
    assert "(12 and 36), both at " in (why := one_change(few, at_epochs).why)
    assert " epochs, in 12 and " in why


# One currency


@pytest.mark.fault("common-currency")
def test_scored_in_windows_of_another_length(healthy, first, compare):
    second = healthy.evaluated("adapter.rank=2", "evaluate.window=64")
    assert compare(first, second) == (3, {"common-currency"})


@pytest.mark.fault("common-currency")
def test_scored_on_other_test_texts(healthy, first, compare):
    assert compare(first, healthy.evaluated("data.split.seed=1")) == (3, {"common-currency"})


@pytest.mark.fault("common-currency")
def test_held_out_files_of_which_other_seeds_drew_excerpts(case, rows, compare):
    made = case(rows[32:])
    held = made.write("held.csv", rows[:32])  # eight plays, longer than evaluate.max_bytes_per_group
    found = [made.evaluated(f"data.split.test={held}", f"data.split.seed={seed}") for seed in (0, 1)]
    assert compare(*found) == (3, {"common-currency"})
    assert len({read_run(run)["scale"] for run in found} - {None}) == 2


def test_development_texts_read_in_windows_of_another_length(healthy, first):
    second = healthy.evaluated("train.max_length=16")
    found = curves([[measured(first)], [measured(second)]])
    assert found.no_dev == "the development texts were read in other windows (train.max_length is 128 and 16)"
    assert found.dev == ((), ())
    assert len({read_run(run)["dev_scale"] for run in (first, second)} - {None}) == 2


def backend(rows: list[dict[str, str]], *, lower: bool = False) -> Backend:
    """A byte-level tokenizer with a few merges learnt from the rows; `lower`: it writes everything in small letters."""
    made = Backend(models.BPE())
    if lower:
        made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=[END], show_progress=False)
    made.train_from_iterator([row["text"] for row in rows], trainer)
    return made


def base(folder: Path, tokenizer: Backend) -> str:
    """`--set base=...` for random weights with this tokenizer."""
    config = LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(), hidden_size=64, intermediate_size=172, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    with silent():
        LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": END}))
    return f"base={folder}"


@pytest.mark.fault("common-currency")
def test_a_tokenizer_that_makes_everything_small(healthy, first, rows, tmp_path, compare):
    second = healthy.evaluated(base(tmp_path / "base", backend(rows, lower=True)))
    assert compare(first, second) == (3, {"common-currency"})


def test_another_tokenizer_that_keeps_everything(healthy, first, rows, tmp_path, compare):
    second = healthy.evaluated(base(tmp_path / "base", backend(rows)))
    assert compare(first, second) == (0, set())
    counts = [pl.read_parquet(run.texts)["tokens"].sum() for run in (first, second)]
    assert counts[0] != counts[1]


# What cannot be


@pytest.mark.fault("impossible-equality")
def test_two_tokenizers_and_the_same_number_of_tokens_everywhere(healthy, first, base_with_prefix, compare):
    second = healthy.evaluated(f"base={base_with_prefix}")
    assert compare(first, second) == (3, {"impossible-equality"})


@pytest.fixture
def pair(healthy, first) -> tuple[RunDir, RunDir]:
    """Two runs that may be compared."""
    return first, healthy.evaluated("adapter.rank=2")


@pytest.mark.fault("impossible-equality")
def test_the_scores_of_one_run_reported_for_two(pair, compare):
    """The whole evaluation copied, records and all, as one who restores a backup into the wrong folder."""
    first, second = pair
    shutil.rmtree(second.evaluate)
    shutil.copytree(first.evaluate, second.evaluate)
    stages = read_json(second.stages)
    stages["evaluate"] = read_json(first.stages)["evaluate"]
    second.stages.write_text(json.dumps(stages))
    assert compare(first, second) == (3, {"impossible-equality"})


@pytest.mark.fault("unit-counting")
def test_token_counts_copied_from_another_run(pair, compare):
    first, second = pair
    shutil.copy(first.texts, second.texts)
    assert compare(first, second) == (3, {"unit-counting"})


def edit(run: RunDir, *columns: Any) -> None:
    pl.read_parquet(run.texts).with_columns(*columns).write_parquet(run.texts)


@pytest.mark.fault("unit-counting")
def test_padding_counted_with_the_tokens(pair, compare):
    first, second = pair
    longest = pl.col("tokens").max()
    edit(second, longest.alias("tokens"), (pl.col("bytes") + longest - pl.col("tokens")).alias("bytes"))
    assert compare(first, second) == (3, {"unit-counting"})


def test_two_runs_of_one_experiment_may_be_compared(pair, compare):
    assert compare(*pair) == (0, set())
