"""What one model is measured on: held-out excerpts, probe texts in several batchings, generations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from peft import PeftModel
from tokenizers import Tokenizer, processors
from transformers import PreTrainedModel

from assay.core.console import Console
from assay.core.records import Item
from assay.model.score import Nats, Reading, Scorer
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoder


@dataclass(frozen=True)
class Probes:
    """The probe texts' nats per token, scored in packed rows, one at a time, and in reversed order.

    `earlier`, where an earlier run scored them in all three ways, is what it had for packed rows; `packed` is of now.
    """

    packed: list[Nats]
    single: list[Nats]
    reverse: list[Nats]
    earlier: list[Nats] | None = None

    @property
    def batched(self) -> list[Nats]:
        """The packed ones, of the same process as the other batchings."""
        return self.packed if self.earlier is None else self.earlier

    def noise_nats(self) -> float:
        """Median absolute change of a token's log-probability between the batchings."""
        return median_change(self.batched, self.single)

    def noise_bpb(self, texts: Sequence[str]) -> float:
        """How far the mean of texts' scores moves between two measurements, in bits per byte: between batchings, or
        since the earlier run, whichever is more."""
        sizes = [len(text.encode()) for text in texts]
        return max(mean_change_bpb(self.batched, self.single, sizes), mean_change_bpb(self.batched, self.packed, sizes))


def probe(model: PreTrainedModel | PeftModel, tokenizer: TextTokenizer, window: int, texts: Sequence[str]) -> Probes:
    """Score the probe texts three times."""
    together, alone = (Scorer(model, tokenizer, window=window, stride=window, row_tokens=row) for row in (None, 1))
    return Probes(together.score(texts), alone.score(texts), together.score(texts, reverse=True))


def score_with_progress(judge: Scorer, readings: Sequence[Reading], label: str, console: Console) -> list[Nats]:
    """Score readings under a progress bar that counts tokens."""
    with console.progress(label, sum(len(r.ids) for r in readings), "tokens") as bar:
        return judge.score_readings(readings, tick=bar.update)


def covered_bytes(encoder: Encoder, items: Sequence[Item]) -> int:
    """UTF-8 bytes of the characters that the scored tokens stand for, counted in another way than the scorer does: of
    plain text by the reference tokenizer's offsets, of chats and pairs on the text of the answers itself."""
    bare = Tokenizer.from_str(encoder.tokenizer.backend.to_str())
    bare.post_processor = processors.Sequence([])  # some of them trim white space off the offsets
    texts = [item.text for item in items if not item.turns]
    total = 0
    for text, encoding in zip(texts, bare.encode_batch(texts, add_special_tokens=False), strict=True):
        covered = np.zeros(len(text), dtype=bool)
        for start, end in encoding.offsets:
            covered[start:end] = True
        total += sum(len(char.encode()) for char, seen in zip(text, covered, strict=True) if seen)
    return total + sum(len(answer.encode()) for item in items if item.turns for answer in encoder.answers(item))


def median_change(one: Sequence[Nats], other: Sequence[Nats]) -> float:
    """Median over all tokens of |a - b|, in nats."""
    changes = np.abs(np.concatenate(one) - np.concatenate(other))
    return float(np.median(changes)) if len(changes) else 0.0


def mean_change_bpb(one: Sequence[Nats], other: Sequence[Nats], sizes: Sequence[int]) -> float:
    """How far the mean of the texts' scores moves between two measurements: |mean| + its standard error.

    Args:
        one: nats per token of each text.
        other: likewise, measured again.
        sizes: bytes of each text.

    Returns:
        Bits per byte.
    """
    changes = [float(a.sum() - b.sum()) / size / math.log(2) for a, b, size in zip(one, other, sizes, strict=True)]
    if not changes:
        return 0.0
    error = float(np.std(changes, ddof=1)) / math.sqrt(len(changes)) if len(changes) > 1 else 0.0
    return abs(float(np.mean(changes))) + error


def perplexity(nats: Sequence[Nats]) -> float | None:
    """exp of the mean nats per token; None where nothing was scored or it overflows."""
    tokens = sum(len(n) for n in nats)
    mean = sum(float(n.sum()) for n in nats) / tokens if tokens else math.inf
    return math.exp(mean) if mean < 700 else None


def lossy_share(tokenizer: TextTokenizer, texts: Sequence[str]) -> float:
    """The share of the texts' bytes in lines that encoding and decoding does not give back."""
    lost = total = 0
    for text, ids in zip(texts, tokenizer.encode_batch(list(texts)), strict=True):
        total += len(text.encode())
        back = tokenizer.decode(ids, keep_special=True)
        if back != text:
            kept = Counter(back.splitlines())
            for line in text.splitlines():
                kept[line] -= 1
                lost += len(line.encode()) if kept[line] < 0 else 0
    return lost / total if total else 0.0
