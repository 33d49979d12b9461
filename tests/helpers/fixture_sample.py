"""A prepared run of a few texts, and what an evaluation of it is made on, without any training."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import torch

from assay.config.schema import Experiment
from assay.core.files import directory_atomic, write_atomic
from assay.core.records import Item, Turn
from assay.core.rundir import RunDir
from assay.data.items import write_items
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.stages.evaluate.memorisation import whole
from assay.stages.evaluate.protocol import Protocol, protocol
from assay.text.tokenizer import byte_tokenizer
from assay.text.tokens import Encoder, Tokens, chat_template, write_tokens

WORDS = ["the", "sea", "and", "a", "ship", "of", "old", "wood", "went", "by", "while", "men", "sang", "in", "rain"]


def prose(key: str, count: int) -> str:
    """Lines of eight words."""
    draw = random.Random(key)
    words = [draw.choice(WORDS) for _ in range(count)]
    return "\n".join(" ".join(words[i : i + 8]) for i in range(0, count, 8))


def texts(side: str, groups: int, each: int = 2, words: int = 60) -> list[Item]:
    """Plain texts whose ids, groups and words tell their side."""
    return [
        Item(f"{side}-{g:02}-{n}", f"{side} {g:02}", f"{side} {g} {n} {prose(f'{side} {g} {n}', words)}")
        for g in range(groups)
        for n in range(each)
    ]


def chats(side: str, groups: int) -> list[Item]:
    """Chats of one question and its answer."""
    rows = [(f"{side} {g}: {prose(f'ask {side} {g}', 5)}?", prose(f"answer {side} {g}", 8)) for g in range(groups)]
    return [
        Item(f"{side}-{g}", f"{side} {g}", f"{asked}\n{said}", (Turn("user", asked), Turn("assistant", said)))
        for g, (asked, said) in enumerate(rows)
    ]


def lively(preset: str = "llama-tiny", seed: int = 5) -> Any:
    """Random weights, larger than a model begins with: it does not just say its last token again."""
    model = _random(PRESETS[preset]).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=generator)
    return model


def encoder_of(template: str | None = None) -> Encoder:
    """Of a tokenizer of bytes, which has no chat template of its own."""
    tokenizer = byte_tokenizer()
    return Encoder(tokenizer, chat_template(tokenizer, template))


def prepared(folder: Path, train: Sequence[Item], dev: Sequence[Item], encoder: Encoder) -> RunDir:
    """A run as far as `prepare` leaves it, with what an evaluation reads of it."""
    run = RunDir(folder)
    for side, items in (("train", train), ("dev", dev)):
        write_items(run.split(side), [items])
    with directory_atomic(run.tokens) as target:
        write_tokens(target, [encoder.encode(train)])
    read = whole(Tokens.open(run.tokens).starts)
    write_atomic(run.read, pl.DataFrame(read, schema=["row", "begin", "end"]).write_parquet)
    return run


def measured_by(seed: int = 0, **evaluate: Any) -> Protocol:
    """The protocol of an experiment with these values, few enough to be quick."""
    quick: dict[str, Any] = {
        "window": 128, "questions": [], "continuations": 4, "max_bytes_per_group": 300,
        "decoding": {"max_new_tokens": 8, "temperature": 0.0},
    }  # fmt: skip
    experiment = {
        "schema": 1, "name": "a", "base": "scratch:llama-tiny", "adapter": {"kind": "full"},
        "data": {"source": "a.txt", "split": {"seed": seed}}, "evaluate": quick | evaluate,
    }  # fmt: skip
    return protocol(Experiment.model_validate(experiment))
