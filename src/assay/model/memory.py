"""Memory and work of a training, by arithmetic alone: no torch, no measurement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay.core.errors import InputError

WIDTH = {"fp32": 4, "bf16": 2}  # bytes per number
FP32 = 4
CHUNK = 256  # positions whose logits are held at once (model/loss)
LIVE_WIDTHS = 18  # hidden-wide fp32 tensors that one layer keeps for the backward pass, per token
LIVE_MLP_WIDTHS = 5  # likewise of the feed-forward's width


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder-only transformer."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    positions: int
    tied: bool
    gated: bool  # three feed-forward matrices (Llama) instead of two (GPT-2)

    @property
    def linear_weights(self) -> int:
        """Weights of all linear layers but the output embedding."""
        return self.layers * (self.attention_weights + (3 if self.gated else 2) * self.width * self.feed_forward)

    @property
    def attention_weights(self) -> int:
        """Weights of one layer's attention projections."""
        queries, keys = self.heads * self.head_width, self.key_heads * self.head_width
        return self.width * (2 * queries + 2 * keys)

    @property
    def embedding_weights(self) -> int:
        """Weights of the input embedding, learned positions, and an output embedding of its own."""
        learned = 0 if self.gated else self.positions * self.width
        return self.vocabulary * self.width * (1 if self.tied else 2) + learned

    @property
    def parameters(self) -> int:
        """All weights; norms and biases are added as two or nine vectors per layer."""
        vectors = self.layers * self.width * 2 + self.width
        if not self.gated:
            vectors = self.layers * (9 * self.width + self.feed_forward) + 2 * self.width
        return self.linear_weights + self.embedding_weights + vectors


def shape(config: dict[str, Any]) -> Shape:
    """Read the sizes from a model's config.json, whatever its family calls them.

    Raises:
        InputError: a size is not there, or is no positive whole number.
    """
    fix = "choose a base whose config.json describes a decoder-only transformer (Llama, Mistral, Qwen, GPT-2, ...)"

    def first(*names: str, default: int | None = None) -> int:
        for name in names:
            size = config.get(name)
            if size is None:
                continue
            if not isinstance(size, int) or size < 1:
                raise InputError(f"config.json has {name}: {size!r}, no positive whole number", where="base", fix=fix)
            return size
        if default is None:
            raise InputError(f"config.json has none of {', '.join(names)}", where="base", fix=fix)
        return default

    width, heads = first("hidden_size", "n_embd", "d_model"), first("num_attention_heads", "n_head")
    gated = config.get("model_type") not in ("gpt2", "gpt_neo", "gpt_neox", "opt", "gptj", "bloom")
    return Shape(
        layers=first("num_hidden_layers", "n_layer"),
        width=width,
        feed_forward=first("intermediate_size", "n_inner", default=4 * width),
        heads=heads,
        key_heads=first("num_key_value_heads", default=heads),
        head_width=first("head_dim", default=width // heads),
        vocabulary=first("vocab_size"),
        positions=first("max_position_embeddings", "n_positions"),
        tied=bool(config.get("tie_word_embeddings", True)),
        gated=gated,
    )


def trainable_parameters(s: Shape, *, kind: str, rank: int, targets: str | list[str] | tuple[str, ...]) -> int:
    """How many numbers are trained. Named targets are counted as all linear layers (an upper bound)."""
    if kind == "full":
        return s.parameters
    queries, keys = s.heads * s.head_width, s.key_heads * s.head_width
    sides = 4 * s.width + 2 * queries + 2 * keys if s.gated else (s.width + queries + 2 * keys) + 2 * s.width
    if targets != "attention":
        sides += (3 if s.gated else 2) * (s.width + s.feed_forward)
    return s.layers * rank * sides


def predict(s: Shape, *, kind: str, trained: int, precision: str, micro_tokens: int) -> dict[str, int]:
    """Bytes by term at the peak of a training step, and their sum under `total`.

    A gradient has its parameter's dtype; AdamW keeps two fp32 moments, and an fp32 master where the
    parameter itself is not fp32.
    """
    wide = WIDTH[precision]
    per_layer = LIVE_WIDTHS * s.width + LIVE_MLP_WIDTHS * s.feed_forward
    terms = {
        "weights": s.parameters * wide,
        "adapter": 0 if kind == "full" else trained * wide,
        "gradients": trained * wide,
        "optimizer": trained * FP32 * (2 if precision == "fp32" else 3),
        "activations": micro_tokens * s.layers * per_layer * wide,
        "logits": CHUNK * s.vocabulary * FP32 * 3 + (s.vocabulary * s.width * FP32 if kind == "full" else 0),
    }
    return terms | {"total": sum(terms.values())}


def flops_per_token(s: Shape, *, kind: str) -> int:
    """Floating-point operations of one training token: forward 2, backward 2 (4 where weights are trained)."""
    return (6 if kind == "full" else 4) * (s.linear_weights + s.vocabulary * s.width)
