"""Generation: new tokens only, many prompts at a time, each drawn from a generator of its own."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata
from typing import Any, cast

import torch
from peft import PeftModel
from torch import Tensor
from transformers import (
    GenerationConfig,
    GenerationMixin,
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    PreTrainedModel,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from assay.core.errors import MachineError
from assay.core.records import Decoding
from assay.model.adapters import causal
from assay.model.load import silent
from assay.text.tokenizer import TextTokenizer

ROWS = 16  # prompts that are continued together


@dataclass(frozen=True)
class Generation:
    """What one prompt gave: the new text, with special tokens as they came in `raw`."""

    text: str
    raw: str
    ids: tuple[int, ...]
    stopped: bool  # by itself, before the limit

    @property
    def tokens(self) -> int:
        """How many new tokens it has, without the one that ended it."""
        return len(self.ids)


@dataclass
class Clock:
    """What generating took: the tokens kept, the seconds of all batches, and until each batch's first token."""

    tokens: int = 0
    seconds: float = 0.0
    first: list[float] = field(default_factory=list)


class _Draw(LogitsProcessor):
    """Makes the likeliest token a drawn one: Gumbel noise from each row's own generator (the Gumbel-max trick).

    So what a prompt draws depends on its seed alone, not on the prompts beside it. The generators are the CPU's on
    every device: the same seed gives the same noise.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        width = scores.shape[-1]
        noise = torch.stack([torch.empty(width).exponential_(generator=g) for g in self.generators])
        return scores - noise.log_().to(scores)


class _Unpadded(LogitsProcessor):
    """Shows a processor each row without the padding in front of it, which is no part of what was said.

    Rows of a beam search stand together, so many for each prompt.
    """

    def __init__(self, inner: LogitsProcessor, padding: Sequence[int]) -> None:
        self.inner, self.padding = inner, padding

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        each = len(input_ids) // len(self.padding)
        rows = range(len(input_ids))
        return torch.cat([self.inner(input_ids[r : r + 1, self.padding[r // each] :], scores[r : r + 1]) for r in rows])


class _First(StoppingCriteria):
    """Never stops; notes when the first token was there."""

    def __init__(self) -> None:
        self.at: float | None = None

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        if self.at is None:
            self.at = time.perf_counter()
        return torch.zeros(input_ids.shape[0], dtype=torch.bool, device=input_ids.device)


def processors(decoding: Decoding, seeds: Sequence[int], padding: Sequence[int] | None = None) -> LogitsProcessorList:
    """What stands between a model's logits and the token taken: the library's own processors, in its order, and a draw.

    Args:
        decoding: how tokens are chosen.
        seeds: one per row.
        padding: how many tokens of padding stand in front of each row; None: none.
    """
    found, padding = LogitsProcessorList(), padding or [0] * len(seeds)
    if decoding.repetition_penalty != 1:
        found.append(_Unpadded(RepetitionPenaltyLogitsProcessor(float(decoding.repetition_penalty)), padding))
    if decoding.no_repeat_ngram:
        found.append(_Unpadded(NoRepeatNGramLogitsProcessor(decoding.no_repeat_ngram), padding))
    if decoding.temperature > 0:
        found.append(TemperatureLogitsWarper(float(decoding.temperature)))
        if decoding.top_k:
            found.append(TopKLogitsWarper(decoding.top_k))
        if decoding.top_p < 1:
            found.append(TopPLogitsWarper(decoding.top_p))
        if decoding.min_p:
            found.append(MinPLogitsWarper(decoding.min_p))
        if decoding.typical_p < 1:
            found.append(TypicalLogitsWarper(decoding.typical_p))
        found.append(_Draw(seeds))
    return found


def check_supported(decoding: Decoding) -> None:
    """Refuse what the installed library cannot do.

    Raises:
        MachineError: contrastive search is asked for, and it is not there.
    """
    if decoding.penalty_alpha and not hasattr(GenerationMixin, "_contrastive_search"):
        raise MachineError(
            f"transformers {metadata.version('transformers')} has no contrastive search: since version 5 it is code "
            "that would be fetched from the Hub and run, which is not done here",
            where="penalty_alpha",
            fix="leave penalty_alpha out; repetition_penalty and no_repeat_ngram work against loops too",
        )


def settings(tokenizer: TextTokenizer, stops: Sequence[int], decoding: Decoding) -> GenerationConfig:
    """The library's own settings: it takes the likeliest token, or searches; `processors` make the former a draw.

    Raises:
        MachineError: the installed library cannot do it.
    """
    check_supported(decoding)
    contrastive = {"penalty_alpha": decoding.penalty_alpha, "top_k": decoding.top_k} if decoding.penalty_alpha else {}
    return GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        do_sample=False,
        num_beams=decoding.beams,
        eos_token_id=list(stops) or None,
        pad_token_id=_pad(tokenizer),
        bos_token_id=tokenizer.bos,
        **contrastive,
    )


def room(model: PreTrainedModel | PeftModel, decoding: Decoding) -> int:
    """The longest prompt, in tokens, behind which a model has positions for all new tokens."""
    positions = getattr(causal(model).config, "max_position_embeddings", None) or sys.maxsize
    return int(positions) - decoding.max_new_tokens


def _pad(tokenizer: TextTokenizer) -> int:
    return tokenizer.eos if tokenizer.eos is not None else 0


def generate(
    model: PreTrainedModel | PeftModel,
    tokenizer: TextTokenizer,
    prompts: Sequence[Sequence[int]],
    *,
    stops: Sequence[int],
    decoding: Decoding,
    seeds: Sequence[int],
    rows: int = ROWS,
    clock: Clock | None = None,
) -> list[Generation]:
    """Continue prompts (their ids), in their order. A seed gives the same text whatever stands in the same batch.

    Prompts of like length are continued together, padded on the left and masked. (Batches of another size move a
    logit in its last digits, and with them a token where two are as good as equally likely.)

    Args:
        stops: the ids that end a text.
        seeds: one per prompt.
        rows: how many prompts are continued together.
        clock: is told what it took.
    """
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    found: dict[int, Generation] = {}
    for start in range(0, len(order), rows):
        own = order[start : start + rows]
        began, first = time.perf_counter(), _First()
        new = _batch(model, tokenizer, [prompts[i] for i in own], stops, decoding, [seeds[i] for i in own], first)
        seconds = time.perf_counter() - began
        for i, ids in zip(own, new, strict=True):
            found[i] = _generation(tokenizer, ids, stops)
        if clock is not None:
            clock.tokens += sum(found[i].tokens for i in own)
            clock.seconds += seconds
            clock.first.append((first.at or began) - began)
    return [found[i] for i in range(len(prompts))]


def _batch(
    model: PreTrainedModel | PeftModel,
    tokenizer: TextTokenizer,
    prompts: Sequence[Sequence[int]],
    stops: Sequence[int],
    decoding: Decoding,
    seeds: Sequence[int],
    first: _First,
) -> list[list[int]]:
    whole = causal(model)
    width = max(len(prompt) for prompt in prompts)
    padding = [width - len(prompt) for prompt in prompts]
    ids = torch.full((len(prompts), width), _pad(tokenizer))
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, padding[row] :] = torch.tensor(prompt)
        mask[row, padding[row] :] = 1
    with torch.no_grad(), silent():
        out = cast(Any, whole).generate(
            input_ids=ids.to(whole.device),
            attention_mask=mask.to(whole.device),
            generation_config=settings(tokenizer, stops, decoding),
            logits_processor=processors(decoding, seeds, padding),
            stopping_criteria=StoppingCriteriaList([first]),
        )
    new: list[list[int]] = out[:, width:].tolist()
    return new


def _generation(tokenizer: TextTokenizer, new: Sequence[int], stops: Sequence[int]) -> Generation:
    end = next((at for at, token in enumerate(new) if token in stops), None)
    kept = list(new[:end])
    return Generation(tokenizer.decode(kept), tokenizer.decode(kept, keep_special=True), tuple(kept), end is not None)
