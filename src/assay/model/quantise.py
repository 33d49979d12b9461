"""Bases in 4 bit: NF4 with double quantisation (QLoRA, arXiv 2305.14314), through bitsandbytes.

The linear layers alone, a transposed one too: never the head, the embeddings or the norms.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn
from transformers import BitsAndBytesConfig, PreTrainedModel


def settings(dtype: torch.dtype) -> BitsAndBytesConfig:
    """NF4 in blocks of 64, their scales in 8 bit, products in `dtype`."""
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )


def quantised(model: PreTrainedModel, dtype: torch.dtype, device: str) -> PreTrainedModel:
    """A model in memory as it would come back in 4 bit from the files that it would be saved to."""
    loaded: PreTrainedModel = type(model).from_pretrained(
        None, config=model.config, state_dict=model.state_dict(), dtype=dtype, device_map={"": device},
        attn_implementation=model.config._attn_implementation, quantization_config=settings(dtype),
    )  # fmt: skip
    return loaded


def is_quantised(tensor: torch.Tensor) -> bool:
    """Whether a weight is held in 4 bit."""
    return getattr(tensor, "quant_state", None) is not None


def settle(model: nn.Module, dtype: torch.dtype) -> None:
    """Have every 4-bit layer compute in `dtype`, forward and backward, whatever its checkpoint was made for.

    On processors with AVX512-BF16 bitsandbytes would repack a weight the first time that it is used without
    gradients. From then on a gradient would no longer pass it, so it stays as it is.
    """
    for module in model.modules():
        weight: Any = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and is_quantised(weight):
            layer, state = cast(Any, module), cast(Any, weight).quant_state
            layer.compute_dtype, layer.compute_type_is_set = dtype, True
            layer.support_avx512bf16_for_cpu = False
            state.dtype = dtype
