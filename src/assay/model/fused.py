"""Element-wise layers as one autograd function each, for the exact layer types whose formula is known.

Torch's own operations keep every intermediate result for the backward pass; these keep their inputs alone and form the
rest anew. On a CUDA GPU Liger's Triton kernels (Hsu et al., arXiv 2410.10989) do the same in one pass over memory each.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers.activations import SiLUActivation

from assay.core.optional import require

# Layers of transformers whose forward is, line by line, that of Llama's layer of the same kind (a test compares them).
RMS_NORMS = (
    "LlamaRMSNorm", "MistralRMSNorm", "MixtralRMSNorm", "Phi3RMSNorm", "Qwen2RMSNorm", "Qwen3RMSNorm", "SmolLM3RMSNorm",
)  # fmt: skip
Norm = Callable[[Any, Tensor], Tensor]
Gate = Callable[[Tensor, Tensor], Tensor]
GATED = ("LlamaMLP", "MistralMLP", "Qwen2MLP", "Qwen3MLP", "SmolLM3MLP")


def fuse(model: nn.Module, *, liger: bool = False) -> None:
    """Replace the forward of each RMSNorm and each SiLU-gated feed-forward layer of a known type.

    Args:
        liger: by Liger's kernels, which need a CUDA GPU, and not by ours.

    Raises:
        MachineError: liger-kernel is missing.
    """
    norm, gated = (_liger_norm(), _liger_gated()) if liger else (_norm, _gated)
    for module in model.modules():
        if not type(module).__module__.startswith("transformers.models."):
            continue
        name = type(module).__name__
        if name in RMS_NORMS:
            setattr(module, "forward", partial(norm, module))  # noqa: B010  (mypy: a method)
        elif name in GATED and isinstance(module.act_fn, SiLUActivation):
            setattr(module, "forward", partial(_feed_forward, module, gated))  # noqa: B010


def _liger_norm() -> Norm:
    function: Any = require("liger_kernel.ops", extra="cuda").LigerRMSNormFunction

    def norm(layer: Any, x: Tensor) -> Tensor:
        # no offset of the weight (that is Gemma's), the division in fp32 as Llama has it, the gradient in a new place
        y: Tensor = function.apply(x, layer.weight, layer.variance_epsilon, 0.0, "llama", False)
        return y

    return norm


def _liger_gated() -> Gate:
    function: Any = require("liger_kernel.ops", extra="cuda").LigerSiLUMulFunction
    gated: Gate = function.apply
    return gated


def _norm(layer: Any, x: Tensor) -> Tensor:
    y: Tensor = _RMSNorm.apply(x, layer.weight, layer.variance_epsilon)  # type: ignore[no-untyped-call]
    return y


def _gated(a: Tensor, b: Tensor) -> Tensor:
    y: Tensor = _Gated.apply(a, b)  # type: ignore[no-untyped-call]
    return y


def _feed_forward(layer: Any, gated: Gate, x: Tensor) -> Tensor:
    y: Tensor = layer.down_proj(gated(layer.gate_proj(x), layer.up_proj(x)))
    return y


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _RMSNorm(torch.autograd.Function):
    """y = w · x ÷ √(mean(x²) + ε) over the last dimension, the division in fp32 (Zhang and Sennrich, arXiv 1910.07467).

    With n = x ÷ √(…) and h = w · g the gradient of x is (h − n · mean(h · n)) ÷ √(…).
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        wide = _wide(x)
        squares = torch.linalg.vector_norm(wide, dim=-1, keepdim=True).square_()
        inverse = squares.div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, inverse)
        y: Tensor = (wide * inverse).to(x.dtype).mul_(weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        x, weight, inverse = ctx.saved_tensors
        wide = _wide(x)
        slope = _wide(grad) * weight
        grad_x = grad_weight = None
        if ctx.needs_input_grad[1]:
            grad_weight = (_wide(grad) * wide * inverse).flatten(0, -2).sum(0).to(weight.dtype)
        if ctx.needs_input_grad[0]:
            mean = torch.linalg.vecdot(slope, wide).unsqueeze(-1).div_(x.shape[-1])
            grad_x = slope.mul_(inverse).addcmul_(wide, mean.mul_(inverse.pow(3)), value=-1).to(x.dtype)
        return grad_x, grad_weight, None


class _Gated(torch.autograd.Function):
    """y = silu(a) · b (Shazeer, arXiv 2002.05202), which keeps a and b and neither silu(a) nor a copy of y."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return functional.silu(a).mul_(b)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor]:
        a, b = ctx.saved_tensors
        return torch.ops.aten.silu_backward(grad * b, a), functional.silu(a).mul_(grad)
