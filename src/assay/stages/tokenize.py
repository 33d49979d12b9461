"""Stage tokenize: the training items as ids and loss masks on disk, their profile, and proof of the masks.

It belongs to the preparation, and is done as soon as the base's tokenizer is at hand. Held-out texts stay text.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from assay.config.schema import Experiment
from assay.core.files import read_json, sha256_file, sha256_json, write_json
from assay.core.records import Item
from assay.core.rundir import RunDir
from assay.core.store import Store
from assay.core.usage import give_back
from assay.data.items import item_batches
from assay.guards.training import supervision
from assay.text.evidence import end_of_turn, prompt_mismatches, shown
from assay.text.token_profile import TokenProfile
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoded, Encoder, chat_template, write_tokens

STAGE = "tokens"
VERSION = 1  # raised when the same items would become other ids, masks or profiles
_COMPARED = 200  # items whose prompts and ends of turn are looked at
_SHOWN = 3  # rows shown with their masks


def tokenize(run: RunDir, experiment: Experiment, tokenizer: TextTokenizer, store: Store) -> list[Path]:
    """Write tokens/ (ids, masks, profile), or take it from the store; returns its files.

    Raises:
        InputError: the chat template is broken, or refuses a conversation.
        GuardError: `supervision` failed.
    """
    give_back()  # what reading the tokenizer's file took: as much again as it keeps
    encoder = encoder_of(experiment, tokenizer)
    key = _key(run, experiment, encoder)

    def fill(folder: Path) -> None:
        profile = _write(run, experiment, encoder, folder)
        write_json(folder / run.tokens_profile.name, profile)

    store.once(STAGE, key, fill, mend=True)
    store.give(STAGE, key, run.tokens)
    run.guards.check(supervision(**read_json(run.tokens_profile)["supervision"]))
    return sorted(run.tokens.iterdir())


def encoder_of(experiment: Experiment, tokenizer: TextTokenizer) -> Encoder:
    """What turns this experiment's items into ids."""
    return Encoder(tokenizer, chat_template(tokenizer, experiment.data.chat_template), experiment.train.loss_on)


def show(run: RunDir, experiment: Experiment, tokenizer: TextTokenizer, count: int, *, colour: bool) -> str:
    """The first training rows as the loss sees them: decoded, with what is learned marked."""
    encoder = encoder_of(experiment, tokenizer)
    items = islice(chain.from_iterable(item_batches(run.split("train"))), count)
    return "\n\n".join(_as_seen(encoder, item, experiment.train.max_length, colour=colour) for item in items)


def _key(run: RunDir, experiment: Experiment, encoder: Encoder) -> str:
    template = encoder.template.sha256 if encoder.template else None
    train = experiment.train
    return sha256_json(
        [
            STAGE, VERSION, sha256_file(run.split("train")), encoder.tokenizer.sha256, template, train.loss_on,
            train.max_length,
        ]
    )  # fmt: skip


def _write(run: RunDir, experiment: Experiment, encoder: Encoder, folder: Path) -> dict[str, Any]:
    """Write the ids and masks; returns the profile."""
    length = experiment.train.max_length
    gathered = _Gathered(TokenProfile(encoder.tokenizer, length + 1), length)

    def batches() -> Iterator[Encoded]:
        for items, encoded in encoder.encode_all(item_batches(run.split("train"))):
            gathered.add(list(items), encoded)
            yield encoded

    write_tokens(folder, batches())
    for name in ("dev", "test") if gathered.chats else ():
        for items in item_batches(run.split(name)):
            for item in items:
                encoder.render(item)  # a chat that the template refuses is better known now than after the training
    profile = gathered.profile.result(truncated=gathered.turns)
    tokenizer, template = encoder.tokenizer, encoder.template
    return {
        "schema": 1,
        "tokenizer_sha256": tokenizer.sha256,
        "template_sha256": template.sha256 if template and gathered.chats else None,
        "encoded_by": {"name": tokenizer.backend_name, "reason": tokenizer.backend_reason},
        "max_length": length,
        "loss_on": encoder.loss_on,
        "turns": gathered.turns,
        "glued_pairs": gathered.glued,
        "splits": {"train": profile},
        "supervision": gathered.evidence(encoder),
    }


class _Gathered:
    """What is noted of the rows while they go by."""

    def __init__(self, profile: TokenProfile, max_length: int) -> None:
        self.profile, self.max_length = profile, max_length
        self.turns = self.chats = False
        self.rows = self.supervised = self.glued = 0
        self.doubled: list[str] = []
        self.unsupervised: list[str] = []
        self.sample: list[tuple[str, Item]] = []  # of the least ids, which are hashes: the order of rows is no matter

    def add(self, items: list[Item], encoded: Encoded) -> None:
        supervised = self.profile.add(items, encoded) > 0
        self.turns = self.turns or any(item.turns for item in items)
        self.chats = self.chats or any(turn.role == "assistant" for item in items for turn in item.turns)
        self.glued += sum(_glued(item) for item in items)
        self.rows += len(items)
        self.supervised += int(supervised.sum())
        self.unsupervised += [items[number].id for number in np.flatnonzero(~supervised)]
        self.doubled += [items[number].id for number in np.flatnonzero(encoded.doubled)]
        candidates = [*self.sample, *((item.id, item) for item in items)]
        self.sample = heapq.nsmallest(_COMPARED, candidates, key=lambda pair: pair[0])

    def evidence(self, encoder: Encoder) -> dict[str, Any]:
        """The arguments of the guard `supervision`."""
        sample = [item for _, item in self.sample]
        return {
            "rows": self.rows,
            "supervised": self.supervised,
            "doubled_prefix": self.doubled,
            "unsupervised": self.unsupervised,
            "end_of_turn": end_of_turn(encoder, sample),
            "mismatches": prompt_mismatches(encoder, sample),
            "compared": len(sample) if self.turns else 0,
            "shown": [_as_seen(encoder, item, self.max_length, colour=False) for item in sample[:_SHOWN]],
        }


def _glued(item: Item) -> bool:
    """Whether a pair's completion follows its prompt with nothing between: `...the wall?Dam.`"""
    if not item.turns or item.turns[0].role != "prompt":
        return False
    prompt, completion = (turn.text for turn in item.turns)
    return not prompt[-1:].isspace() and not completion[:1].isspace()


def _as_seen(encoder: Encoder, item: Item, max_length: int, *, colour: bool) -> str:
    """A row as training sees it first: up to `max_length` predicted tokens."""
    encoded = encoder.encode([item]).first(max_length + 1)
    return shown(encoded, 0, f"row {item.id}, group {item.group}", encoder.tokenizer, colour=colour)
