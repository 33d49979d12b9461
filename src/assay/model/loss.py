"""Negative log-likelihood of next tokens without holding all logits at once.

The logits of a 50,000-word vocabulary are by far the largest tensor of a small model. Here they
exist for a few hundred positions at a time; where a gradient is wanted, it is formed while they
exist, so that nothing is computed twice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

CHUNK = 256  # positions whose logits are held at once


class _SummedNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """Sum of −log p over positions; gradients are formed on the way (log-softmax and sums in fp32)."""
        want_hidden, want_weight = ctx.needs_input_grad[:2]
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if want_hidden else None
        grad_weight = torch.zeros(weight.shape, dtype=torch.float32, device=weight.device) if want_weight else None
        for start in range(0, len(targets), CHUNK):
            part, wanted = hidden[start : start + CHUNK], targets[start : start + CHUNK, None]
            logits = functional.linear(part, weight).float()
            logits -= logits.logsumexp(-1, keepdim=True)
            total -= logits.gather(1, wanted).sum()
            if grad_hidden is None and grad_weight is None:
                continue
            slope = logits.exp_().scatter_add_(1, wanted, torch.full_like(wanted, -1, dtype=logits.dtype))
            slope = slope.to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(slope, weight, out=grad_hidden[start : start + CHUNK])
            if grad_weight is not None:
                grad_weight.addmm_(slope.t().float(), part.float())
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.weight_dtype = weight.dtype
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        grad_hidden, grad_weight = ctx.saved_tensors
        return (
            None if grad_hidden is None else grad_hidden * grads[0].to(grad_hidden.dtype),
            None if grad_weight is None else (grad_weight * grads[0]).to(ctx.weight_dtype),
            None,
        )


def summed_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Sum of −log p(target) in nats, a differentiable fp32 scalar.

    Args:
        hidden: (positions, width), the last hidden states.
        weight: (vocabulary, width), the output embedding.
        targets: (positions,), the ids to predict.
    """
    result: Tensor = _SummedNLL.apply(hidden, weight, targets)  # type: ignore[no-untyped-call]
    return result


@torch.no_grad()
def token_nll(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """−log p(target) of each position in nats, fp32 of shape (positions,)."""
    pieces = []
    for start in range(0, len(targets), CHUNK):
        logits = functional.linear(hidden[start : start + CHUNK], weight).float()
        wanted = targets[start : start + CHUNK, None]
        pieces.append(logits.logsumexp(-1) - logits.gather(1, wanted)[:, 0])
    return torch.cat(pieces) if pieces else torch.empty(0, device=hidden.device)
