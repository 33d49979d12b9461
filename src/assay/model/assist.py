"""Greedy decoding that guesses ahead: by a smaller model, or by what the text has said before.

The model checks several guessed tokens at once and keeps those that it would have taken itself, so that the text is
the same and only the time differs (arXiv 2211.17192; prompt lookup: Saxena 2023). One prompt at a time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from assay.core.records import Decoding
from assay.model.adapters import causal
from assay.model.generate import settings
from assay.model.load import silent
from assay.text.tokenizer import TextTokenizer


@dataclass(frozen=True)
class Guess:
    """How tokens are guessed: so many at a time from the text before, or by an assistant; neither: not at all."""

    name: str
    lookup: int = 0
    assistant: PreTrainedModel | None = None


def greedy(
    model: PreTrainedModel | PeftModel,
    tokenizer: TextTokenizer,
    prompt: Sequence[int],
    *,
    stops: Sequence[int],
    most: int,
    guess: Guess,
) -> tuple[list[int], float]:
    """The likeliest continuation of one prompt, and the seconds that it took.

    Args:
        model: whose text it is.
        tokenizer: its own, and the assistant's.
        prompt: ids.
        stops: the ids that end a text.
        most: new tokens.
        guess: how tokens are guessed ahead.
    """
    whole = causal(model)
    ids = torch.tensor([list(prompt)], device=whole.device)
    config = settings(tokenizer, stops, Decoding(most, 0.0, 1.0))
    how: dict[str, Any] = {"assistant_model": guess.assistant} if guess.assistant is not None else {}
    if guess.lookup:
        config.prompt_lookup_num_tokens = guess.lookup
    started = time.perf_counter()
    with torch.no_grad(), silent():
        out = cast(Any, whole).generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config, **how
        )
    return out[0, ids.shape[1] :].tolist(), time.perf_counter() - started


@dataclass(frozen=True)
class Speed:
    """What guessing ahead gained.

    Args:
        name: of the guess.
        ratios: of each round, plain greedy's seconds for a token ÷ this one's: above 1 is faster.
        tokens_per_s: of each round.
        prompts: how many were continued.
        different: how many of them came out different from plain greedy.
        tokens: all new tokens of plain greedy.
        different_tokens: those of them at or behind the first that differs.
        gap: how much likelier, in nats, the model finds the one token than the other where two texts part, at most;
            None where all are the same. Near 0 it is a matter of rounding: several tokens at once are multiplied in
            another order.
    """

    name: str
    ratios: tuple[float, ...]
    tokens_per_s: tuple[float, ...]
    prompts: int
    different: int
    tokens: int
    different_tokens: int
    gap: float | None


def speeds(
    model: PreTrainedModel | PeftModel,
    tokenizer: TextTokenizer,
    prompts: Sequence[Sequence[int]],
    guesses: Sequence[Guess],
    *,
    stops: Sequence[int],
    most: int,
    rounds: int,
) -> tuple[list[float], list[Speed]]:
    """Time plain greedy decoding and each guess in turn, round after round, on the same prompts.

    Taking turns, all of them have the machine's moods in common. Before the first round each is run once, untimed.

    Returns:
        Tokens per second of plain greedy in each round, and each guess's gain.
    """
    plain, texts = Guess("plain"), dict[str, list[list[int]]]()
    paces: dict[str, list[float]] = {guess.name: [] for guess in (plain, *guesses)}
    for number in range(rounds + 1):
        for guess in (plain, *guesses):
            some = prompts[:1] if number == 0 else prompts
            done = [greedy(model, tokenizer, ids, stops=stops, most=most, guess=guess) for ids in some]
            if number:
                texts[guess.name] = [ids for ids, _ in done]
                paces[guess.name].append(sum(len(ids) for ids, _ in done) / sum(seconds for _, seconds in done))
    found = []
    for guess in guesses:
        same = [_agreed(a, b) for a, b in zip(texts["plain"], texts[guess.name], strict=True)]
        lengths = [max(len(a), len(b)) for a, b in zip(texts["plain"], texts[guess.name], strict=True)]
        found.append(
            Speed(
                guess.name,
                tuple(own / base for own, base in zip(paces[guess.name], paces["plain"], strict=True)),
                tuple(paces[guess.name]),
                len(prompts),
                sum(agreed < length for agreed, length in zip(same, lengths, strict=True)),
                sum(lengths),
                sum(lengths) - sum(same),
                max(_gaps(model, prompts, texts["plain"], texts[guess.name]), default=None),
            )
        )
    return paces["plain"], found


def _gaps(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[Sequence[int]],
    one: Sequence[Sequence[int]],
    other: Sequence[Sequence[int]],
) -> Iterator[float]:
    """Of each prompt whose texts part, the difference of log-probability between the two tokens at that place."""
    whole = causal(model)
    for prompt, a, b in zip(prompts, one, other, strict=True):
        at = _agreed(a, b)
        if at < min(len(a), len(b)):
            ids = torch.tensor([[*prompt, *a[:at]]], device=whole.device)
            with torch.no_grad():
                logits = whole(input_ids=ids).logits[0, -1].float()
            yield abs(float(logits[a[at]] - logits[b[at]]))


def _agreed(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts have in common before they part."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
