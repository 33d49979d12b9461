"""NEFTune: uniform noise on the embeddings while training (Jain et al., arXiv 2310.05914)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from assay.model.adapters import causal


@contextmanager
def neftune(model: PreTrainedModel | PeftModel, alpha: float, generator: torch.Generator) -> Iterator[None]:
    """Inside the block, in training mode, embeddings get noise drawn evenly from ± alpha ÷ √(length × width).

    The length is that of the token's own document and not of the packed row, so packing does not weaken the noise.

    Args:
        model: called with packed documents (`model/attention.packed_inputs`).
        alpha: the paper takes 5 to 15; 0 is no noise.
        generator: of the noise, on any device; the caller seeds it.
    """
    whole = causal(model)
    embeddings = whole.get_input_embeddings()
    lengths: list[int] = []

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        lengths[:] = kwargs["document_lengths"]

    def add(module: nn.Module, args: tuple[Any, ...], embedded: Tensor) -> Tensor | None:
        if not whole.training:
            return None
        own = torch.tensor(lengths, dtype=torch.float32)
        size = (alpha * (own * embedded.shape[-1]).rsqrt()).repeat_interleave(torch.tensor(lengths))
        draws = torch.rand(embedded.shape, generator=generator, device=generator.device)
        noise = draws.mul_(2).sub_(1).mul_(size.to(draws.device)[:, None])
        return embedded + noise.to(embedded.device, embedded.dtype)

    hooks = [
        whole.base_model.register_forward_pre_hook(note, with_kwargs=True),
        embeddings.register_forward_hook(add),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
