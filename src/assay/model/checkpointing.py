"""Activation checkpointing: layers are computed again in the backward pass instead of keeping what they made.

Kept is each decoder layer's input, so memory falls from all activations to one hidden state per layer, for one forward
pass more: about a third more time (Chen et al., arXiv 1604.06174).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from peft import PeftModel
from torch import Tensor
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from assay.core.errors import InputError


@contextmanager
def recompute(model: PreTrainedModel | PeftModel, *, offload: bool = False) -> Iterator[None]:
    """Inside the block each decoder layer is recomputed in the backward pass, while the model is in training mode.

    Dropout draws the same numbers again: on a CPU the gradients are equal to the bit.

    Args:
        model: any model of transformers, with or without adapters.
        offload: the kept inputs lie in main memory until the backward pass wants them (on a CPU they do anyway).

    Raises:
        InputError: the architecture has no layers of transformers' that can be recomputed.
    """
    layers: list[Any] = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise InputError(
            f"{type(model).__name__} has no layers that can be recomputed",
            where="train.checkpointing",
            fix="set train.checkpointing to off, or choose a base of another architecture (Llama, Mistral, Qwen, ...)",
        )
    pinned = next(layers[0].parameters()).is_cuda

    def again(forward: Callable[..., Any], *inputs: Tensor) -> Any:
        with save_on_cpu(pin_memory=pinned) if offload else nullcontext():
            return checkpoint(forward, *inputs, use_reentrant=False, preserve_rng_state=True)

    for layer in layers:
        layer.gradient_checkpointing, layer._gradient_checkpointing_func = True, again
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = False
            del layer._gradient_checkpointing_func
