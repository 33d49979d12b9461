"""Adapted layers in few matrix products: LoRA, rsLoRA and DoRA on dense, transposed and 4-bit weights.

PEFT computes y = x Wᵀ + b + s (x Aᵀ) Bᵀ as separate operations, each of which writes an activation and keeps what its
gradient needs. Here the low-rank product is added into the base's output where it lies, and only x and x Aᵀ are kept.
Products with the rank as rows (A xᵀ, Bᵀ gᵀ) are up to six times as fast on a CPU as those with the rank as columns.
The parameters stay PEFT's own, so what is saved and loaded does not change.

LoRA: Hu et al., arXiv 2106.09685. rsLoRA: Kalajdzievski, arXiv 2312.03732. DoRA: Liu et al., arXiv 2402.09353.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.variants import DoraLinearVariant
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from assay.core.optional import require
from assay.model.fused import fuse

ADAPTER = "default"  # PEFT's name of the one adapter that a model here has

Matrix = Callable[[torch.dtype], Tensor]  # a frozen weight as (outputs, inputs), in the dtype asked for
Fast = Callable[[Any, Tensor], Tensor]


def speed_up(model: PreTrainedModel | PeftModel, *, liger: bool = False) -> None:
    """Replace the forward of each layer that is known here, adapted or element-wise (`model/fused`), by a faster one.

    Known are PEFT's LoRA, rsLoRA and DoRA layers over `Linear`, `Conv1D` and bitsandbytes' `Linear4bit` with frozen
    weights. Any other keeps PEFT's forward, as does each while its adapter is switched off or merged.

    Args:
        liger: the element-wise layers by Liger's kernels.

    Raises:
        MachineError: liger-kernel is missing.
    """
    for module in model.modules():
        if isinstance(module, LoraLayer) and (fast := _fast(module)):
            setattr(module, "forward", partial(_forward, module, fast))  # noqa: B010  (mypy: a method)
    fuse(model, liger=liger)


def _fast(layer: Any) -> Fast | None:
    """The fast forward of an adapted layer, or None where the layer is not known here."""
    matrix = _matrix(layer)
    variant = layer.lora_variant.get(ADAPTER)
    if matrix is None or type(variant) not in (type(None), DoraLinearVariant):
        return None
    if variant is None:
        return partial(_lora_forward, matrix)
    return partial(_dora_forward, matrix, _squared_rows(matrix, layer.lora_A[ADAPTER].weight.dtype))


def _forward(layer: Any, fast: Fast, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    if layer.disable_adapters or layer.merged or args or kwargs:
        plain: Tensor = type(layer).forward(layer, x, *args, **kwargs)
        return plain
    return fast(layer, x)


def _matrix(layer: Any) -> Matrix | None:
    """How to get at an adapted layer's weight, or None where it is not of a known kind, trained, or merged."""
    base = layer.get_base_layer()
    if (
        layer.merged
        or list(layer.active_adapters) != [ADAPTER]
        or ADAPTER not in layer.lora_A
        or layer.lora_bias[ADAPTER]
    ):
        return None
    if any(p.requires_grad for p in base.parameters()):
        return None
    if type(base) is nn.Linear:
        return lambda dtype: base.weight.to(dtype)
    if type(base) is Conv1D:
        return lambda dtype: base.weight.t().to(dtype)
    if type(base).__name__ == "Linear4bit":
        return partial(_dequantized, base.weight)
    return None


def _dequantized(weight: Any, dtype: torch.dtype) -> Tensor:
    functions = require("bitsandbytes", extra="qlora").functional
    if getattr(weight.quant_state, "packing_format_for_cpu", False):
        # where the processor has AVX-512 for bf16, bitsandbytes' own forward in evaluation lays a weight out anew
        weight.data, weight.quant_state = functions._convert_weight_packed_for_cpu_inverse(
            weight.data, weight.quant_state
        )
    matrix: Tensor = functions.dequantize_4bit(weight.data, weight.quant_state)
    return matrix.to(dtype)


def _low_rank(layer: Any, x: Tensor) -> tuple[Tensor, Tensor, float, float]:
    """A, B (both in the dtype of x), the scale, and the share that dropout takes now."""
    a, b = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
    share = getattr(layer.lora_dropout[ADAPTER], "p", 0.0) if layer.training else 0.0
    return a.to(x.dtype), b.to(x.dtype), layer.scaling[ADAPTER], share


def _bias(layer: Any, x: Tensor) -> Tensor | None:
    bias = layer.get_base_layer().bias
    return None if bias is None else bias.to(x.dtype)


def _lora_forward(matrix: Matrix, layer: Any, x: Tensor) -> Tensor:
    y: Tensor = _Lora.apply(x, *_low_rank(layer, x), matrix, _bias(layer, x))  # type: ignore[no-untyped-call]
    return y


def _dora_forward(matrix: Matrix, squares: Tensor, layer: Any, x: Tensor) -> Tensor:
    magnitude = layer.lora_magnitude_vector[ADAPTER].weight
    y: Tensor = _Dora.apply(  # type: ignore[no-untyped-call]
        x, *_low_rank(layer, x), matrix, _bias(layer, x), magnitude, squares
    )
    return y


def _dropped(x: Tensor, share: float) -> tuple[Tensor, Tensor | None]:
    """x after dropout, and which of its numbers were kept; drawn as `torch.nn.functional.dropout` draws."""
    if share == 0.0:
        return x, None
    dropped, kept = torch.native_dropout(x, share, True)
    return dropped, kept


def _again(x: Tensor, kept: Tensor | None, share: float) -> Tensor:
    """What dropout made of x, from what it kept; likewise of the gradient of that."""
    return x if kept is None else (x * kept).mul_(1 / (1 - share))


class _Lora(torch.autograd.Function):
    """y = x Wᵀ + b + s (D(x) Aᵀ) Bᵀ with dropout D; W and b are frozen."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, scale: float, share: float, matrix: Matrix, bias: Tensor | None
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1])
        y = functional.linear(flat, matrix(x.dtype), bias)
        dropped, kept = _dropped(flat, share)
        inner = a @ dropped.t()  # (rank, tokens)
        y.addmm_(inner.t(), b.t(), alpha=scale)
        ctx.save_for_backward(flat, a, b, inner, kept)
        ctx.settings = scale, share, matrix, x.shape
        shaped: Tensor = y.view(*x.shape[:-1], -1)
        return shaped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, a, b, inner, kept = ctx.saved_tensors
        scale, share, matrix, shape = ctx.settings
        grad = grad.reshape(-1, grad.shape[-1])
        slope = (b.t() @ grad.t()).mul_(scale)  # of the inner product: (rank, tokens)
        grad_x = None
        if ctx.needs_input_grad[0]:
            grad_x = grad @ matrix(grad.dtype)
            if kept is None:
                grad_x.addmm_(slope.t(), a)
            else:
                grad_x += _again(slope.t() @ a, kept, share)
            grad_x = grad_x.view(shape)
        grad_a = slope @ _again(flat, kept, share)
        grad_b = (inner @ grad).mul_(scale).t()
        return grad_x, grad_a, grad_b, None, None, None, None


def _squared_rows(matrix: Matrix, dtype: torch.dtype) -> Tensor:
    """The squared norm of each of a frozen weight's rows, in fp32 at least."""
    wide = torch.promote_types(dtype, torch.float32)
    squares: Tensor = torch.linalg.vector_norm(matrix(dtype), dim=1, dtype=wide).square_()
    return squares


def _row_norms(weight: Tensor, squares: Tensor, a: Tensor, b: Tensor, scale: float) -> Tensor:
    """The norm of each row of W + s B A, which is never built: its square is ‖w‖² + 2s⟨w Aᵀ, b⟩ + s² b A Aᵀ bᵀ.

    Where the two parts cancel, rounding leaves nothing of the sum that could be told from zero; it is taken as what
    the sum can resolve.
    """
    wide_a, wide_b = a.to(squares.dtype), b.to(squares.dtype)
    mixed = ((weight @ a.t()).to(squares.dtype) * wide_b).sum(1)
    own = ((wide_b @ (wide_a @ wide_a.t())) * wide_b).sum(1)
    least = torch.finfo(squares.dtype).eps * squares
    return torch.maximum(squares + 2 * scale * mixed + scale**2 * own, least).sqrt_()


class _Dora(torch.autograd.Function):
    """y = x Wᵀ + b − z + c (z + s (D(x) Aᵀ) Bᵀ) with z = D(x) Wᵀ and c = m / ‖W + s B A‖ (a row each).

    The norm counts as a constant in the gradient, as in section 4.3 of the paper and in PEFT. Without dropout z is
    x Wᵀ, and one product with W is enough.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, a: Tensor, b: Tensor, scale: float, share: float, matrix: Matrix, bias: Tensor | None,
        magnitude: Tensor, squares: Tensor,
    ) -> Tensor:  # fmt: skip
        flat, weight = x.reshape(-1, x.shape[-1]), matrix(x.dtype)
        dropped, kept = _dropped(flat, share)
        norms = _row_norms(weight, squares, a, b, scale)
        factor = (magnitude / norms).to(x.dtype)
        low = functional.linear(dropped, weight)
        outside = None if kept is None else functional.linear(flat, weight).sub_(low)
        inner = a @ dropped.t()
        low.addmm_(inner.t(), b.t(), alpha=scale)
        y = low * factor
        for part in (outside, bias):
            if part is not None:
                y += part
        ctx.save_for_backward(flat, a, b, inner, kept, low, factor, norms)
        ctx.settings = scale, share, matrix, x.shape, magnitude.dtype
        shaped: Tensor = y.view(*x.shape[:-1], -1)
        return shaped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        flat, a, b, inner, kept, low, factor, norms = ctx.saved_tensors
        scale, share, matrix, shape, magnitude_dtype = ctx.settings
        grad = grad.reshape(-1, grad.shape[-1])
        scaled = grad * factor
        slope = (b.t() @ scaled.t()).mul_(scale)
        grad_x = None
        if ctx.needs_input_grad[0]:
            weight = matrix(grad.dtype)
            if kept is None:
                grad_x = (scaled @ weight).addmm_(slope.t(), a)
            else:
                grad_x = grad @ weight
                grad_x += _again(((scaled - grad) @ weight).addmm_(slope.t(), a), kept, share)
            grad_x = grad_x.view(shape)
        grad_a = slope @ _again(flat, kept, share)
        grad_b = (inner @ scaled).mul_(scale).t()
        grad_m = ((grad * low).sum(0, dtype=norms.dtype) / norms).to(magnitude_dtype)
        return grad_x, grad_a, grad_b, None, None, None, None, grad_m, None
