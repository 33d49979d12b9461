"""Negative log-likelihood of next tokens without holding all logits at once.

The logits of a 50,000-word vocabulary are by far the largest tensor of a small model. Here they
exist for a few hundred positions at a time; where a gradient is wanted, it is formed while they
exist, so that nothing is computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from assay.model.memory import chunk_rows


def _chunks(hidden: Tensor, weight: Tensor, targets: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Per chunk its positions, its targets (n, 1), its log-probabilities in fp32, and a scratch tensor of their
    shape in the model's dtype. Both lie where those of the chunk before lay: fresh memory costs a third more time.
    """
    rows = min(chunk_rows(weight.shape[0], hidden.device.type), len(targets))
    logits = hidden.new_empty(rows, weight.shape[0])
    logs = torch.empty_like(logits, dtype=torch.float32)
    for start in range(0, len(targets), rows or 1):
        own = slice(start, min(start + rows, len(targets)))
        count = own.stop - start
        torch.mm(hidden[own], weight.t(), out=logits[:count])
        # ten times as fast on a CPU as logsumexp, which makes four passes of its own
        torch.log_softmax(logits[:count], -1, dtype=torch.float32, out=logs[:count])
        yield own, targets[own, None], logs[:count], logits[:count]


class _SummedNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """Sum of −log p over positions; gradients are formed on the way: softmax − one-hot, times weight or hidden.

        Log-softmax, sums and the weight's gradient over chunks are in fp32, products in the model's dtype.
        """
        want_hidden, want_weight = ctx.needs_input_grad[:2]
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if want_weight else None
        for own, wanted, logs, scratch in _chunks(hidden, weight, targets):
            total -= logs.gather(1, wanted).sum()
            if grad_hidden is None and grad_weight is None:
                continue
            slope = logs.exp_().scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=logs.dtype))
            if hidden.dtype != slope.dtype:
                slope = scratch.copy_(slope)
            if grad_hidden is not None:
                torch.mm(slope, weight, out=grad_hidden[own])
            if grad_weight is not None and hidden.dtype == grad_weight.dtype:
                grad_weight.addmm_(slope.t(), hidden[own])
            elif grad_weight is not None:
                grad_weight += slope.t() @ hidden[own]
        ctx.gradients, ctx.weight_dtype = (grad_hidden, grad_weight), weight.dtype
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        hidden, weight = ctx.gradients
        del ctx.gradients  # scaled where they lie, so a second pass must fail
        return (
            None if hidden is None else hidden.mul_(grad),
            None if weight is None else weight.mul_(grad).to(ctx.weight_dtype),
            None,
        )


def summed_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Sum of −log p(target) in nats, a differentiable fp32 scalar whose backward pass can run once.

    Args:
        hidden: (positions, width), the last hidden states.
        weight: (vocabulary, width), the output embedding.
        targets: (positions,), the ids to predict.
    """
    result: Tensor = _SummedNLL.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def is_likeliest(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Whether each position's target is the token that greedy decoding would take there; bool of (positions,)."""
    found = torch.empty(len(targets), dtype=torch.bool, device=hidden.device)
    rows = chunk_rows(weight.shape[0], hidden.device.type)
    for start in range(0, len(targets), rows):
        own = slice(start, start + rows)
        found[own] = (hidden[own] @ weight.t()).argmax(-1) == targets[own]
    return found


@torch.no_grad()
def token_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """−log p(target) of each position in nats, fp32 of shape (positions,)."""
    found = torch.empty(len(targets), dtype=torch.float32, device=hidden.device)
    for own, wanted, logs, _ in _chunks(hidden, weight, targets):
        found[own] = logs.gather(1, wanted)[:, 0].neg_()
    return found
