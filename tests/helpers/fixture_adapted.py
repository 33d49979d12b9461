"""A tiny model whose adapter changes what it says."""

from __future__ import annotations

from typing import Any

from assay.model import adapters
from assay.model.load import _random
from assay.model.registry import PRESETS


def adapted(preset: str) -> Any:
    """Random weights with a LoRA on all linear layers, moved far from where it began."""
    model = _random(PRESETS[preset])
    model.requires_grad_(False)
    found = adapters.attach(
        model, kind="lora", rank=4, alpha=8.0, dropout=0.0, targets="all-linear", rslora=False, seed=1
    )
    for name, parameter in adapters.trainable(found).items():
        parameter.data += 0.2 if "lora_B" in name else 0.1
    return found.eval()
