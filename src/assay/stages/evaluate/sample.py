"""What one evaluation is made on: held-out excerpts, probe texts, some training text, generic texts, prompts."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from assay.config.values import HELD_OUT
from assay.core.errors import InputError
from assay.core.files import sha256_text
from assay.core.records import Item
from assay.core.rundir import RunDir
from assay.data.excerpts import excerpts, pieces
from assay.data.items import item_batches, read_groups
from assay.data.passages import asked, passages, spread, system_of, written
from assay.model.score import Reading, item_readings
from assay.stages.evaluate import forgetting, memorisation
from assay.stages.evaluate.generations import examples
from assay.stages.evaluate.protocol import Protocol
from assay.text.asking import Asking
from assay.text.metrics.words import vocabulary
from assay.text.suites import Prompt, prompt_suite
from assay.text.tokens import Encoder, Tokens, chat_template

TRAIN_BYTES = 8000  # of training text are scored, to see how far train and test lie apart
TRAIN_GROUPS = 8
PASSAGES_BYTES = 8000  # of each group, for a classifier of style
VOCABULARY_BYTES = 50_000_000  # of training texts, whose words count as known: seconds of work
PROMPTS = 8  # taken from the held-out texts


@dataclass(frozen=True)
class Sample:
    """The texts of one evaluation, and their readings."""

    test: list[Item]
    readings: list[Reading]  # of `test`
    probes: list[str]
    train: list[Item]
    train_readings: list[Reading]
    vocabulary: frozenset[str]  # of what was to be learned
    own: tuple[list[Item], list[Item]]  # training and dev items that a classifier of style learns from
    remembered: forgetting.Remembered
    train_stretches: memorisation.Probes
    held_stretches: memorisation.Probes
    prompts: list[Prompt]
    shown: list[Item]  # training items, the examples of the prompt-only baseline
    asking: Asking
    base_asking: Asking  # the base's own way, where the experiment's template is not its own


def take(
    run: RunDir, items: list[Item], protocol: Protocol, encoder: Encoder, cache: Path, *, room: int = sys.maxsize
) -> Sample:
    """Choose the texts, by the seed of the split.

    Args:
        run: a trained run.
        items: its held-out items.
        protocol: how it is measured.
        encoder: as training had it.
        cache: where downloads are kept.
        room: the longest prompt, in tokens.

    Raises:
        InputError: a text, suite or file of prompts is missing or unreadable, or a prompt is longer than `room`.
    """
    seed = protocol.split_seed
    test = excerpts(items, protocol.max_bytes_per_group, seed=seed)
    some = _some(run, "train", TRAIN_GROUPS, seed)
    seen = excerpts(some, TRAIN_BYTES // len({item.group for item in some}), seed=seed)
    chat = any(turn.role == "user" for item in items for turn in item.turns)
    read, held = pl.read_parquet(run.read).to_numpy(), encoder.encode(items)
    asking = Asking(encoder, chat, protocol.system)
    return Sample(
        test=test,
        readings=item_readings(test, encoder),
        probes=pieces(test),
        train=seen,
        train_readings=item_readings(seen, encoder),
        vocabulary=_vocabulary(run),
        own=(
            _passages(run, "train", protocol.adherence, seed),
            _passages(run, "dev", protocol.adherence // 2, seed),
        ),
        remembered=forgetting.load(protocol.retain, protocol.questions, encoder, seed=seed, cache=cache),
        train_stretches=memorisation.probes(read, Tokens.open(run.tokens).ids, protocol.continuations, seed=seed),
        held_stretches=memorisation.probes(
            memorisation.whole(held.starts), held.ids, protocol.continuations, seed=seed
        ),
        prompts=_fitting(protocol, test, asking, room),
        shown=examples(some, protocol.examples, seed=seed),
        asking=asking,
        base_asking=Asking(own_encoder(encoder, chat) or encoder, chat, protocol.system),
    )


def _vocabulary(run: RunDir) -> frozenset[str]:
    """The words of the training texts: of all, or of the first `VOCABULARY_BYTES`."""
    found, size = set[str](), 0
    for batch in item_batches(run.split("train")):
        found |= vocabulary([written(item) for item in batch])
        size += sum(item.size for item in batch)
        if size >= VOCABULARY_BYTES:
            break
    return frozenset(found)


def _some(run: RunDir, side: str, groups: int, seed: int) -> list[Item]:
    """The items of so many groups of a side, chosen by the seed."""
    names = pl.scan_parquet(run.split(side)).select("group").unique().collect()["group"].to_list()
    chosen = sorted(names, key=lambda group: sha256_text(f"{seed}:{group}"))[:groups]
    return read_groups(run.split(side), set(chosen))


def _passages(run: RunDir, side: str, count: int, seed: int) -> list[Item]:
    """So many passages of a side, of as many groups as there are."""
    some = excerpts(_some(run, side, count, seed), PASSAGES_BYTES, seed=seed) if count else []
    return spread(passages(some), count)


def _fitting(protocol: Protocol, test: list[Item], asking: Asking, room: int) -> list[Prompt]:
    """The prompts; of those taken from held-out texts the ones that fit."""
    found = [(prompt, len(asking.ids(prompt.text, system=prompt.system))) for prompt in _prompts(protocol, test)]
    too_long = next(((prompt, size) for prompt, size in found if size > room), None)
    if too_long and protocol.prompts != HELD_OUT:
        prompt, size = too_long
        raise InputError(
            f"the prompt {prompt.id!r} has {size} tokens, and behind more than {max(room, 0)} the base has no room for "
            "evaluate.decoding.max_new_tokens",
            where="evaluate.prompts",
            fix="shorten it, or lower evaluate.decoding.max_new_tokens",
        )
    return [prompt for prompt, size in found if size <= room]


def _prompts(protocol: Protocol, test: list[Item]) -> list[Prompt]:
    if isinstance(protocol.prompts, list):
        return [Prompt(f"prompt-{i}", text) for i, text in enumerate(protocol.prompts, 1)]
    if protocol.prompts != HELD_OUT:
        return prompt_suite(protocol.prompts)
    first = {item.group: item for item in reversed(test)}  # the first of each group
    chosen = list(reversed(first.values()))[:PROMPTS]
    return [Prompt(item.id, text, system=system_of(item)) for item in chosen if (text := asked(item))]


def own_encoder(encoder: Encoder, chat: bool) -> Encoder | None:
    """The base's own way of being asked, where it has a chat template and the experiment puts another in its place."""
    tokenizer = encoder.tokenizer
    if not chat or tokenizer.chat_template is None or encoder.template is None:
        return None
    own = chat_template(tokenizer)
    return None if own.sha256 == encoder.template.sha256 else Encoder(tokenizer, own, encoder.loss_on)
