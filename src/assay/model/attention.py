"""Attention over packed documents: several documents in one row, none of which sees another.

A packed row has shape (1, tokens); `document_lengths` says where each document ends. Attention runs
document by document (on a GPU that has it by FlashAttention over all of them at once), so its cost is the
sum of the squares of their lengths and not the square of the sum, and isolation holds by construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.attention.varlen import varlen_attn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from assay.core.errors import MachineError

NAME = "assay_packed"


def packed_attention(
    module: torch.nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    *,
    document_lengths: list[int],
    document_starts: Tensor | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Causal attention within each document of a packed row.

    Args:
        query: (1, heads, tokens, head width).
        key: (1, key heads, tokens, head width); likewise `value`.
        document_lengths: tokens per document; they sum to the row's length.
        document_starts: where each document starts and the last one ends, (documents + 1,) in int32 on the device:
            made once per row and not once per layer.
        sliding_window: a query sees at most this many tokens, itself included.

    Returns:
        (1, tokens, heads, head width), and no attention weights.
    """
    if kwargs.get("softcap") is not None or kwargs.get("position_bias") is not None:
        raise MachineError(
            f"packed attention has no soft-capping and no position bias, which {type(module).__name__} needs",
            fix="choose a base model of another architecture (Llama, Mistral, Qwen, GPT-2, ...)",
        )
    if document_starts is not None and _flash_runs(query, dropout):
        return _flash(query, key, value, scaling, document_lengths, document_starts, sliding_window), None
    pieces = []
    for q, k, v in zip(*(t.split(document_lengths, dim=2) for t in (query, key, value)), strict=True):
        mask = _band(q.shape[2], sliding_window, q.device) if sliding_window and q.shape[2] > sliding_window else None
        piece = scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=dropout, is_causal=mask is None, scale=scaling,
            enable_gqa=query.shape[1] != key.shape[1],
        )  # fmt: skip
        pieces.append(piece.transpose(1, 2))  # which is how it lies in memory: the row is put together in one copy
    return torch.cat(pieces, dim=1), None


def _flash_runs(query: Tensor, dropout: float) -> bool:
    """Whether FlashAttention can take all documents at once: an NVIDIA GPU from Ampere on, 16 bits, no dropout."""
    return (
        query.is_cuda
        and torch.version.cuda is not None
        and torch.cuda.get_device_capability(query.device) >= (8, 0)
        and query.dtype in (torch.bfloat16, torch.float16)
        and query.shape[-1] <= 256
        and query.shape[-1] % 8 == 0
        and dropout == 0.0
    )


def _flash(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scaling: float | None,
    lengths: list[int],
    starts: Tensor,
    sliding_window: int | None,
) -> Tensor:
    q, k, v = (t[0].transpose(0, 1) for t in (query, key, value))  # (tokens, heads, head width)
    window = (sliding_window - 1 if sliding_window else -1, 0)  # tokens to the left and to the right; -1: all
    found = varlen_attn(
        q, k, v, starts, starts, max(lengths), max(lengths), scale=scaling, window_size=window,
        enable_gqa=q.shape[1] != k.shape[1],
    )  # fmt: skip
    return cast(Tensor, found)[None]


def _band(length: int, window: int, device: torch.device) -> Tensor:
    distance = torch.arange(length, device=device)[:, None] - torch.arange(length, device=device)[None, :]
    return (distance >= 0) & (distance < window)


# transformers builds no mask for an attention function without a registered mask function, which is what we want.
AttentionInterface.register(NAME, packed_attention)


@contextmanager
def packed(model: PreTrainedModel) -> Iterator[None]:
    """Run `model` with packed attention inside the block, and as before after it."""
    before = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


Document = Sequence[int] | npt.NDArray[np.int32]  # its ids


def packed_inputs(documents: Sequence[Document], device: torch.device) -> dict[str, Any]:
    """The model's arguments for one packed row: ids and positions of shape (1, tokens), lengths and starts."""
    lengths = [len(document) for document in documents]
    flat = np.concatenate([np.asarray(document, dtype=np.int64) for document in documents])
    ids = torch.from_numpy(flat)[None].to(device)
    positions = torch.cat([torch.arange(length, device=device) for length in lengths])[None]
    starts = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32).to(device)
    return {
        "input_ids": ids, "position_ids": positions, "document_lengths": lengths, "document_starts": starts,
        "use_cache": False,
    }  # fmt: skip
