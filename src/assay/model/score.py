"""Likelihood of texts: the negative log-likelihood of each token, each scored exactly once.

A text's first token is predicted from the tokenizer's own prefix (or its beginning-of-text token).
Long texts are read in windows: each window scores `stride` new tokens and sees what fits before
them. Windows of all texts are packed into rows of isolated documents, longest first; log-softmax and
sums are in fp32, whatever the model's dtype (see GUARDS in the documentation: bits per byte).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from peft import PeftModel
from torch import Tensor
from torch.nn import functional
from transformers import PreTrainedModel

from assay.core.errors import InputError
from assay.core.records import Item
from assay.model.adapters import causal
from assay.model.attention import Document, packed, packed_inputs
from assay.model.loss import is_likeliest, token_nll
from assay.model.memory import ROW_TOKENS
from assay.model.threads import side_by_side
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoded, Encoder

Nats = np.ndarray[tuple[int], np.dtype[np.float64]]
Counts = np.ndarray[tuple[int], np.dtype[np.bool_]]


@dataclass(frozen=True)
class Reading:
    """What is to be scored: the ids, the one before the first, and which of them count (None: all).

    `size` is how many bytes (UTF-8) the ids that count stand for: what their nats are divided by.
    """

    ids: Document
    context: int
    size: int
    counts: Counts | None = None

    @property
    def scored(self) -> int:
        """How many tokens count."""
        return len(self.ids) if self.counts is None else int(self.counts.sum())


@dataclass(frozen=True)
class Window:
    """One reading: `ids` are shown, and the last `scored` of them (shifted by one) are scored."""

    text: int
    start: int  # of the first scored token in its text
    ids: list[int]  # context and targets, one more than the model is shown
    scored: int


def windows(ids: Document, context: int, *, window: int, stride: int, text: int = 0) -> list[Window]:
    """Cut a text into windows of at most `window` predicted positions, `stride` new ones each.

    Args:
        ids: the text's tokens.
        context: the id before the first token.
        window: the most tokens that the model sees at once.
        stride: new tokens per window; equal to `window` for no overlap.
    """
    whole = [context, *ids]
    cut = []
    start = 0
    while start < len(ids):
        new = min(window if start == 0 else stride, len(ids) - start)
        end = start + new
        first = max(0, end - window)
        cut.append(Window(text, start, whole[first : end + 1], new))
        start = end
    return cut


def pack(lengths: Sequence[int], most: int) -> list[list[int]]:
    """Fill rows of at most `most` tokens with documents, longest first (first fit in order of length)."""
    rows: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if rows and room[-1] >= lengths[index]:
            rows[-1].append(index)
            room[-1] -= lengths[index]
        else:
            rows.append([index])
            room.append(most - lengths[index])
    return rows


class Scorer:
    """Scores texts with one model; the head is checked once, then used in chunks."""

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        tokenizer: TextTokenizer,
        *,
        window: int,
        stride: int,
        row_tokens: int | None = None,
    ) -> None:
        """`row_tokens` is how many tokens a packed row holds, but for longer windows; None: what suits the device."""
        if tokenizer.context is None:
            raise _no_context()
        self.model, self.tokenizer, self.context = model, tokenizer, tokenizer.context
        self.head = output_weight(model)
        self.window, self.stride = window, stride
        self.row_tokens = row_tokens or ROW_TOKENS[self.head.device.type]

    def score(
        self, texts: Sequence[str], *, reverse: bool = False, tick: Callable[[int], None] | None = None
    ) -> list[Nats]:
        """Per plain text, the nats of each of its tokens, in order; see `score_readings`."""
        encoded = self.tokenizer.encode_batch(list(texts))
        readings = [Reading(ids, self.context, len(t.encode())) for t, ids in zip(texts, encoded, strict=True)]
        return self.score_readings(readings, reverse=reverse, tick=tick)

    def score_readings(
        self, readings: Sequence[Reading], *, reverse: bool = False, tick: Callable[[int], None] | None = None
    ) -> list[Nats]:
        """Per reading, the nats of each of its tokens that count, in order.

        Args:
            readings: what to score; one without ids gives an empty array.
            reverse: go through the rows backwards (a check: the order must not matter).
            tick: called with the number of tokens read so far.
        """
        return self._each(readings, token_nll, np.float64, reverse=reverse, tick=tick)

    def greedy(self, readings: Sequence[Reading]) -> list[Counts]:
        """Per reading, of each of its tokens that count, whether greedy decoding would have taken it there.

        Where it holds for all tokens of a stretch, greedy decoding from the text before it gives that very stretch.
        """
        return self._each(readings, is_likeliest, np.bool_)

    def _each(
        self,
        readings: Sequence[Reading],
        what: Callable[[Tensor, Tensor, Tensor], Tensor],
        dtype: type[np.generic],
        *,
        reverse: bool = False,
        tick: Callable[[int], None] | None = None,
    ) -> list[Any]:
        """One number per token that counts, from its position's hidden state, the head and the token."""
        cut = [
            w for i, r in enumerate(readings)
            for w in windows(r.ids, r.context, window=self.window, stride=self.stride, text=i)
        ]  # fmt: skip
        results = [np.zeros(len(r.ids), dtype=dtype) for r in readings]
        rows = pack([len(w.ids) - 1 for w in cut], self.row_tokens)
        groups = [[cut[i] for i in row] for row in (reversed(rows) if reverse else rows)]
        done = 0
        with packed(causal(self.model)), side_by_side(self.model, len(groups)) as each:
            for group, found in zip(groups, each(partial(self._row, what=what), groups), strict=True):
                for piece, numbers in zip(group, found, strict=True):
                    results[piece.text][piece.start : piece.start + piece.scored] = numbers
                    done += piece.scored
                if tick:
                    tick(done)
        return [found if r.counts is None else found[r.counts] for r, found in zip(readings, results, strict=True)]

    @torch.no_grad()
    def _row(self, group: list[Window], what: Callable[[Tensor, Tensor, Tensor], Tensor]) -> list[Any]:
        device = self.head.device
        hidden = hidden_states(self.model, [w.ids[:-1] for w in group], device)
        ends = np.cumsum([len(w.ids) - 1 for w in group])
        positions = np.concatenate([np.arange(end - w.scored, end) for w, end in zip(group, ends, strict=True)])
        targets = torch.tensor([t for w in group for t in w.ids[-w.scored :]], device=device)
        numbers = what(hidden[torch.from_numpy(positions).to(device)], self.head, targets)
        return np.split(numbers.cpu().numpy(), np.cumsum([w.scored for w in group])[:-1])


def _no_context() -> InputError:
    return InputError(
        "the tokenizer has neither a beginning-of-text nor an end-of-text token",
        where="base",
        fix="add a bos_token or an eos_token to its tokenizer_config.json",
    )


def item_readings(items: Sequence[Item], encoder: Encoder) -> list[Reading]:
    """What is scored of each item: of plain text all tokens, of pairs and chats those of the answers."""
    context = encoder.tokenizer.context
    if context is None:
        raise _no_context()
    plain = [item.text for item in items if not item.turns]
    texts = iter(encoder.tokenizer.encode_batch(plain))
    encoded = encoder.encode([item for item in items if item.turns])
    numbers = iter(range(len(encoded)))
    return [
        _spoken(encoded, next(numbers)) if item.turns else Reading(next(texts), context, item.size) for item in items
    ]


def _spoken(encoded: Encoded, number: int) -> Reading:
    own = slice(encoded.starts[number], encoded.starts[number + 1])
    ids, counts = encoded.ids[own], encoded.content[own]
    return Reading(ids[1:], int(ids[0]), int(encoded.said[number]), counts[1:])


def hidden_states(model: PreTrainedModel | PeftModel, documents: Sequence[Document], device: torch.device) -> Tensor:
    """The last hidden states of packed documents, (tokens, width). The caller has switched to packed attention."""
    output = causal(model).base_model(**packed_inputs(documents, device))
    hidden: Tensor = output.last_hidden_state[0]
    return hidden


def output_weight(model: PreTrainedModel | PeftModel) -> Tensor:
    """The output embedding (vocabulary, width), proven on a few tokens to give the model's own logits.

    Some architectures scale or cap their logits; scoring those with the bare weight would be silently wrong.

    Raises:
        InputError: logits are not hidden states times this weight.
    """
    whole = causal(model)
    head = whole.get_output_embeddings()
    weight: Tensor = head.weight
    probe = torch.arange(4, device=weight.device)[None] % weight.shape[0]
    training = whole.training
    whole.eval()  # dropout would make any two calls differ
    with torch.no_grad():
        logits = whole(input_ids=probe, use_cache=False).logits.float()
        plain = functional.linear(whole.base_model(input_ids=probe, use_cache=False).last_hidden_state, weight).float()
    whole.train(training)
    if not torch.allclose(logits, plain, rtol=1e-2, atol=1e-2 * float(plain.abs().max() + 1e-6)):
        raise InputError(
            f"{type(whole).__name__} changes its logits after the output layer, which is not supported",
            where="base",
            fix="choose a base of another architecture (Llama, Mistral, Qwen, GPT-2, ...)",
        )
    return weight
