"""The sizes of a decoder-only transformer, read from its config.json: weights, adapters and work are counted from them.

No torch: a laptop can plan for a model that it could never hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay.core.errors import InputError

EXPERTS = ("num_local_experts", "num_experts", "n_routed_experts")


@dataclass(frozen=True)
class Linear:
    """A linear layer of every decoder block: the end of its name, and its sizes."""

    name: str
    inputs: int
    outputs: int

    @property
    def weights(self) -> int:
        """Numbers in its matrix."""
        return self.inputs * self.outputs


@dataclass(frozen=True)
class Layout:
    """What a family of models calls its linear layers, and what its config.json leaves unsaid."""

    attention: tuple[str, ...]  # queries, keys, values and output; or all three fused, and output
    feed_forward: tuple[str, ...]  # gate, up and down; gate and up fused, and down; or up and down
    gated: bool = True
    biased: bool = False  # every linear layer and norm has a bias, as in GPT-2
    biases: tuple[str, ...] = ()  # the layers that always have one
    learned_positions: int = 0  # rows of the table beside one for each position; -1: no table
    tied: bool = False  # where the config does not say
    norms: int = 2  # per block
    head_norms: int = 0  # of one head's width, per block

    def linears(self, width: int, queries: int, keys: int, feed_forward: int) -> tuple[Linear, ...]:
        """The linear layers of one block."""
        into = (queries, keys, keys) if len(self.attention) == 4 else (queries + 2 * keys,)
        *first, out = self.attention
        sizes = [Linear(name, width, size) for name, size in zip(first, into, strict=True)]
        *raised, down = self.feed_forward
        up = 2 * feed_forward if self.gated and len(raised) == 1 else feed_forward
        sizes += [Linear(out, queries, width), *(Linear(name, width, up) for name in raised)]
        return (*sizes, Linear(down, feed_forward, width))


_FOUR = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
_THREE = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
LLAMA = Layout(_FOUR, _THREE, learned_positions=-1)
_NEOX = (
    ("attention.query_key_value", "attention.dense"),
    ("mlp.dense_h_to_4h", "mlp.dense_4h_to_h"),
)
LAYOUTS = {  # by model_type; any other is taken for a Llama
    "qwen2": Layout(_FOUR, _THREE, biases=_FOUR[:3], learned_positions=-1),
    "qwen3": Layout(_FOUR, _THREE, learned_positions=-1, head_norms=2),
    "gemma": Layout(_FOUR, _THREE, learned_positions=-1, tied=True),
    "gemma2": Layout(_FOUR, _THREE, learned_positions=-1, tied=True, norms=4),
    "gemma3_text": Layout(_FOUR, _THREE, learned_positions=-1, tied=True, norms=4, head_norms=2),
    "phi3": Layout(
        ("self_attn.qkv_proj", "self_attn.o_proj"), ("mlp.gate_up_proj", "mlp.down_proj"), learned_positions=-1
    ),
    "gpt2": Layout(("attn.c_attn", "attn.c_proj"), ("mlp.c_fc", "mlp.c_proj"), gated=False, biased=True, tied=True),
    "gpt_neox": Layout(*_NEOX, gated=False, biased=True, learned_positions=-1),
    "opt": Layout(
        (*_FOUR[:3], "self_attn.out_proj"), ("fc1", "fc2"), gated=False, biased=True, learned_positions=2, tied=True
    ),
}


@dataclass(frozen=True)
class Shape:
    """The sizes of one model."""

    layers: int
    width: int
    feed_forward: int
    heads: int
    key_heads: int
    head_width: int
    vocabulary: int
    positions: int
    tied: bool
    layout: Layout
    biases: int  # numbers in the biases of one block
    attention_dropout: bool  # some attention weights are dropped while training

    @property
    def queries(self) -> int:
        """Width of all heads together."""
        return self.heads * self.head_width

    @property
    def keys(self) -> int:
        """Width of all key heads together; that of the values likewise."""
        return self.key_heads * self.head_width

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The linear layers of one block."""
        return self.layout.linears(self.width, self.queries, self.keys, self.feed_forward)

    @property
    def linear_weights(self) -> int:
        """Weights of all linear layers but the output embedding."""
        return self.layers * sum(linear.weights for linear in self.linears)

    @property
    def embedding_weights(self) -> int:
        """Weights of the input embedding, learned positions, and an output embedding of its own."""
        extra = self.layout.learned_positions
        learned = 0 if extra < 0 else (self.positions + extra) * self.width
        return self.vocabulary * self.width * (1 if self.tied else 2) + learned

    @property
    def vectors(self) -> int:
        """Numbers in norms and biases."""
        each = 2 if self.layout.biased else 1
        block = self.layout.norms * each * self.width + self.layout.head_norms * self.head_width + self.biases
        return self.layers * block + each * self.width

    @property
    def parameters(self) -> int:
        """All weights."""
        return self.linear_weights + self.embedding_weights + self.vectors


def shape(config: dict[str, Any]) -> Shape:
    """Read the sizes from a model's config.json, whatever its family calls them.

    Raises:
        InputError: a size is not there, or is no positive whole number; or it is a mixture of experts.
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

    for name in EXPERTS:
        if first(name, default=1) > 1:
            raise InputError(
                f"config.json has {name}: {config[name]}, and mixtures of experts cannot be planned",
                where="base",
                fix="choose a base without experts",
            )
    width, heads = first("hidden_size", "n_embd", "d_model"), first("num_attention_heads", "n_head")
    feed_forward = first("intermediate_size", "n_inner", "ffn_dim", default=4 * width)
    key_heads, head_width = first("num_key_value_heads", default=heads), first("head_dim", default=width // heads)
    layout = LAYOUTS.get(str(config.get("model_type")), LLAMA)
    tied = config.get("tie_word_embeddings")
    dropout = config.get("attn_pdrop", config.get("attention_dropout", 0.1 if layout is LAYOUTS["gpt2"] else 0.0))
    return Shape(
        layers=first("num_hidden_layers", "n_layer"),
        width=width,
        feed_forward=feed_forward,
        heads=heads,
        key_heads=key_heads,
        head_width=head_width,
        vocabulary=first("vocab_size"),
        positions=first("max_position_embeddings", "n_positions"),
        tied=layout.tied if tied is None else bool(tied),
        layout=layout,
        biases=_biases(config, layout, layout.linears(width, heads * head_width, key_heads * head_width, feed_forward)),
        attention_dropout=float(dropout) > 0 if isinstance(dropout, int | float) else False,
    )


def _biases(config: dict[str, Any], layout: Layout, linears: Sequence[Linear]) -> int:
    attention, feed_forward = bool(config.get("attention_bias")), bool(config.get("mlp_bias"))
    return sum(
        linear.outputs
        for linear in linears
        if layout.biased
        or linear.name in layout.biases
        or (attention if linear.name in layout.attention else feed_forward)
    )


def adapted(s: Shape, targets: str | Sequence[str]) -> list[Linear]:
    """The linear layers of one block that get an adapter; names are matched by their ends, as PEFT does."""
    if targets == "all-linear":
        return list(s.linears)
    if targets == "attention":
        return [linear for linear in s.linears if linear.name in s.layout.attention]
    return [linear for linear in s.linears if any(f".{linear.name}".endswith(f".{target}") for target in targets)]


def trainable_parameters(s: Shape, *, kind: str, rank: int, targets: str | Sequence[str]) -> int:
    """How many numbers are trained: all of them (`full`), or an adapter's two matrices, with DoRA's lengths."""
    if kind == "full":
        return s.parameters
    lengths = 1 if kind == "dora" else 0
    return s.layers * sum(
        rank * (linear.inputs + linear.outputs) + lengths * linear.outputs for linear in adapted(s, targets)
    )


def flops_per_token(s: Shape, *, kind: str, length: int, checkpointing: bool) -> float:
    """Floating-point operations of one training token in a text of `length` tokens.

    A weight costs 2 forward, 2 backward to reach the input, and 2 more where it is itself trained. Attention costs
    4 × (half the length, as it is causal) × the heads' width forward and twice that backward (Kaplan et al.,
    arXiv 2001.08361, section 2.1). Checkpointing is one more forward pass through the layers.
    """
    weights = s.linear_weights + s.vocabulary * s.width
    attention = 4 * s.layers * s.queries * length / 2
    again = 2 * s.linear_weights + attention if checkpointing else 0
    return (6 if kind == "full" else 4) * weights + 3 * attention + again
