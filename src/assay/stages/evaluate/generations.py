"""The same prompts continued by the base, by the base that is shown examples, and by the tuned model."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from peft import PeftModel
from transformers import PreTrainedModel

from assay.core.others import Others
from assay.core.records import Decoding, Item
from assay.core.rundir import now
from assay.core.usage import own_peak
from assay.model.generate import ROWS, Clock, Generation, generate
from assay.text.asking import EXAMPLE_BYTES
from assay.text.suites import Prompt
from assay.text.tokens import Encoder

ALONE = 3  # prompts that are continued one at a time, for the time to the first token
ALONE_TOKENS = 32


def examples(items: Sequence[Item], count: int, *, seed: int) -> list[Item]:
    """Training items to show: whole rows of a like length, chosen by the seed among those short enough."""
    short = [item for item in items if item.size <= EXAMPLE_BYTES] or list(items)
    order = np.random.default_rng(seed).permutation(len(short))
    return [short[i] for i in order[:count]]


@dataclass(frozen=True)
class Arm:
    """One model's continuations of all prompts, and what they cost."""

    generations: list[Generation]
    cost: dict[str, Any]


def continue_all(
    model: PreTrainedModel | PeftModel,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    *,
    seed: int,
) -> Arm:
    """Continue every prompt; prompt i has seed `seed` + i, in every arm alike.

    The cost: new tokens per second of batches of up to 16, peak memory of the process meanwhile, and, of the first
    three prompts one at a time, tokens per second and the median seconds until the first token; when that was, and how
    many cores other processes kept busy meanwhile.
    """
    together, alone, others = Clock(), Clock(), Others()
    seeds = [seed + i for i in range(len(prompts))]
    with own_peak() as peak:
        found = generate(
            model, encoder.tokenizer, prompts, stops=encoder.stops, decoding=decoding, seeds=seeds, clock=together
        )
    short = replace(decoding, max_new_tokens=min(decoding.max_new_tokens, ALONE_TOKENS))
    few = min(ALONE, len(prompts))
    generate(
        model, encoder.tokenizer, prompts[:few], stops=encoder.stops, decoding=short, seeds=seeds[:few], rows=1,
        clock=alone,
    )  # fmt: skip
    return Arm(
        found,
        {
            "batch": min(ROWS, len(prompts)),
            "tokens_per_s": _pace(together),
            "tokens_per_s_alone": _pace(alone),
            "first_token_s": statistics.median(alone.first) if alone.first else None,
            "peak_memory": peak.bytes,
            "measured": now(),
            **others.record(),
        },
    )


def _pace(clock: Clock) -> float | None:
    return clock.tokens / clock.seconds if clock.tokens and clock.seconds else None


def rows(prompts: Sequence[Prompt], arms: Mapping[str, Arm], *, seed: int) -> list[dict[str, Any]]:
    """The lines of generations.jsonl: each prompt with every arm's text, tokens, and whether it ended by itself."""
    lines = []
    for i, prompt in enumerate(prompts):
        line: dict[str, Any] = {"id": prompt.id, "prompt": prompt.text, "seed": seed + i}
        for name, arm in arms.items():
            one = arm.generations[i]
            line |= {
                name: one.text,
                f"raw_{name}": one.raw,
                f"tokens_{name}": one.tokens,
                f"stopped_{name}": one.stopped,
            }
        lines.append(line)
    return lines
