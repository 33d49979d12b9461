"""Memory of a training, by arithmetic alone: bytes by term, of each phase, and how far the truth may lie from them.

A training's memory is highest in one of its phases: while the base is loaded, in the backward pass, in the
optimizer's step, while a checkpoint is written, or while texts are scored or generated. Each phase has its terms; the
prediction is the phase with the largest sum. The coefficients were measured on this engine: what the backward pass
keeps is counted (and a test counts again), the others come from `benchmarks/plan_accuracy.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import NamedTuple

from assay.model.shape import Shape, adapted, trainable_parameters

WIDTH = {"fp32": 4, "bf16": 2, "fp16": 2}  # bytes per number
FP32 = 4
# NF4 with double quantisation (Dettmers et al., arXiv 2305.14314): 4 bits per weight, 8 bits for each block of 64
# weights, and fp32 for each 256 of those
NF4 = 0.5 + 1 / 64 + FP32 / (64 * 256)
# 8-bit moments (Dettmers et al., arXiv 2110.02861): 2 bytes per weight, and two fp32 numbers for each block of 256
BLOCKWISE = 2 + 2 * FP32 / 256
# Bytes of the fp32 log-probabilities that are held at once (model/loss). On a CPU more gain nothing; an accelerator
# reads the whole output embedding once per chunk, and needs some hundreds of positions for that not to be all it does.
CHUNK_BYTES = {"cpu": 32 << 20, "mps": 256 << 20, "cuda": 256 << 20}
# Tokens of a packed row that is scored, of which a CPU has several at once (model/threads): there longer ones gain
# nothing, while an accelerator reads all weights once per row.
ROW_TOKENS = {"cpu": 512, "mps": 2048, "cuda": 4096}
SIDE_BY_SIDE = 4  # such rows at once at most, on a CPU: each holds activations and logits of its own


def chunk_rows(vocabulary: int, device: str) -> int:
    """How many positions' logits are held at once on a device of this type (`cpu`, `cuda`, `mps`)."""
    return max(1, CHUNK_BYTES[device] // (FP32 * vocabulary))


class Slack(NamedTuple):
    """What an allocator holds beyond what is asked for, as shares."""

    all: float  # of everything but the runtime: a GPU's caching allocator
    heap: float  # times HEAP, of the activations: the C library keeps what earlier passes left behind


# low, point, high: rows of changing lengths leave blocks behind that fit no later row
SLACK = {
    "cpu": (Slack(0.0, 0.0), Slack(0.02, 1.0), Slack(0.1, 2.0)),
    "cuda": (Slack(0.0, 0.0), Slack(0.05, 0.0), Slack(0.2, 0.0)),
    "mps": (Slack(0.0, 0.0), Slack(0.05, 0.0), Slack(0.2, 0.0)),
}


class Kept(NamedTuple):
    """Numbers per token that one block keeps for the backward pass, in units of its widths."""

    width: float
    feed_forward: float
    keys: float


KEPT = {True: Kept(7, 3, 2), False: Kept(12, 5, 0)}  # gated (Llama), and not (GPT-2, with its dropout)
WORKING = Kept(6, 3, 2)  # beside them, while the block's backward pass runs
# On CUDA, attention keeps no square; elsewhere, dropout on its weights keeps these per pair of tokens and head.
SQUARES = 3


@dataclass(frozen=True)
class Work:
    """What is to be trained and how: all that its memory depends on, beside the model's sizes.

    Args:
        kind: full, lora, qlora or dora.
        tokens: of one micro-batch, all its rows together.
        length: of its longest text.
        precision: fp32, bf16 or fp16.
        optimizer: a key of `train.optimizer`.
        offload: what checkpointing keeps lies in main memory.
        four_bit: the linear layers are NF4.
        peer: as other trainers do it, for comparison with them: the logits of all tokens are held at once, gradients
            are summed in the adapter's precision, and no copy of what is trained is kept to prove that it moved.
        accumulates: a step has several micro-batches, so that gradients are there while the next one is read; in a step
            of one they come as the activations go.
        device: cpu, cuda or mps.
    """

    kind: str
    rank: int
    targets: str | Sequence[str]
    tokens: int
    length: int
    precision: str
    optimizer: str = "adamw"
    checkpointing: bool = False
    offload: bool = False
    four_bit: bool = False
    peer: bool = False
    accumulates: bool = True
    device: str = "cpu"
    prompt_tokens: int = 512

    @property
    def wide(self) -> int:
        """Bytes per number."""
        return WIDTH[self.precision]


# Bytes of the products in bf16 that oneDNN keeps ready on a CPU (model/__init__: 64): 3 MB each, measured.
READY = 200_000_000
RUNTIME = {"cpu": 600_000_000, "cuda": 450_000_000, "mps": 300_000_000}
"""Bytes before a model is there: Python, torch and the libraries; on a GPU its context."""

# Share of the activations that the heap holds beside them, by whether the blocks are gated (Llama's) or not (GPT-2's):
# what is formed and dropped between two activations, as a matrix out of its 4 bits is, leaves gaps that stay.
HEAP = {
    True: {"full": 0.09, "lora": 0.26, "dora": 0.26, "qlora": 0.42},
    False: {"full": 0.40, "lora": 0.11, "dora": 0.11, "qlora": 0.17},
}

Terms = dict[str, int]


class Prediction(NamedTuple):
    """Bytes by term at the peak with their sum under `total`, the sum of every phase, and the interval of the peak."""

    terms: Terms
    phases: dict[str, int]
    low: int
    high: int


def predict(s: Shape, work: Work, *, least_tokens: int | None = None) -> Prediction:
    """The memory of a training at its peak.

    Args:
        least_tokens: as few tokens as the fullest micro-batch may turn out to hold, as the texts' lengths decide; where
            they are known, `work.tokens`. Without it: a quarter.
    """
    least = max(1, work.tokens // 4) if least_tokens is None else least_tokens
    short = replace(work, tokens=min(least, work.tokens), length=min(least, work.length))
    least_slack, likely, most_slack = SLACK[work.device]
    phases = _phases(s, work, likely)
    peak = max(phases, key=lambda name: sum(phases[name].values()))
    sums = {name: sum(terms.values()) for name, terms in phases.items()}
    terms = {name: size for name, size in phases[peak].items() if size}
    low, high = (
        max(sum(t.values()) for t in _phases(s, w, slack).values())
        for w, slack in ((short, least_slack), (work, most_slack))
    )
    return Prediction(terms | {"total": sums[peak]}, sums, low, high)


def _phases(s: Shape, work: Work, slack: Slack) -> dict[str, Terms]:
    trained = trainable_parameters(s, kind=work.kind, rank=work.rank, targets=work.targets)
    base = weights(s, work)
    adapter = 0 if work.kind == "full" else trained * work.wide
    model = {"runtime": RUNTIME[work.device], **base, "adapter": adapter}
    if work.device == "cpu" and work.precision == "bf16":
        model["products"] = READY
    held = model | {"optimizer": optimizer(s, work, trained), "start": 0 if work.peer else trained * FP32}
    # our sums over a step's rows are fp32
    gradients = {"gradients": trained * (work.wide if work.peer else FP32)}
    phases: dict[str, Terms] = {
        "training": held | (gradients if work.accumulates else {}) | activations(s, work) | _logits(s, work),
        "update": held | gradients,
        "evaluation": held | _scoring(s, work),
        "generation": model | generation(s, work),
    }
    if work.device == "cpu":
        # in fp32 the file's own pages become the weights; anything else is made from them
        made = base if work.four_bit or work.precision != "fp32" else {}
        phases["loading"] = {"runtime": RUNTIME["cpu"], "file": s.parameters * FP32} | made
        phases["checkpoint"] = held | {"file": 2 * trained * FP32}
    heap = slack.heap * HEAP[s.layout.gated][work.kind]
    return {name: terms | {"fragmentation": _slack(terms, slack.all, heap)} for name, terms in phases.items()}


def _slack(terms: Terms, everything: float, heap: float) -> int:
    asked = sum(terms.values()) - terms["runtime"]
    return round(everything * asked + heap * terms.get("activations", 0))


def weights(s: Shape, work: Work) -> Terms:
    """The base: weights as they are, and those in 4 bit."""
    quantised = s.linear_weights if work.four_bit else 0
    return {"weights": (s.parameters - quantised) * work.wide, "quantised": ceil(quantised * NF4)}


def optimizer(s: Shape, work: Work, trained: int) -> int:
    """What the optimizer keeps from step to step: moments, and fp32 masters of parameters that are not fp32."""
    masters = 0 if work.precision == "fp32" else trained * FP32
    return masters + moments(s, work, trained)


def moments(s: Shape, work: Work, trained: int) -> int:
    """What of that comes with the first update."""
    if work.optimizer == "adamw":
        return 2 * trained * FP32
    if work.optimizer in ("adamw_8bit", "paged_adamw_8bit"):
        return ceil(trained * BLOCKWISE)
    return _factored(s, work) * FP32


def _factored(s: Shape, work: Work) -> int:
    """Adafactor (Shazeer and Stern, arXiv 1804.04235) keeps a row and a column of each matrix, and vectors whole."""
    if work.kind == "full":
        sides = s.layers * sum(linear.inputs + linear.outputs for linear in s.linears)
        tables = 1 if s.tied else 2
        return sides + tables * (s.vocabulary + s.width) + s.vectors
    lengths = 1 if work.kind == "dora" else 0
    layers = adapted(s, work.targets)
    return s.layers * sum(x.inputs + x.outputs + 2 * work.rank + lengths * x.outputs for x in layers)


def activations(s: Shape, work: Work) -> Terms:
    """What the forward pass keeps for the backward pass, and what that needs on top while it runs.

    With checkpointing that is the input of every block, and all of one block.
    """
    block = work.tokens * _kept(s, work, KEPT[s.layout.gated]) * work.wide
    working = work.tokens * _sized(s, WORKING) * work.wide
    if work.checkpointing:
        inputs = 0 if work.offload else s.layers * work.tokens * s.width * work.wide
        kept = inputs + block
    else:
        kept = s.layers * block
    largest = max(linear.weights for linear in s.linears) if work.four_bit else 0
    return {"activations": round(kept), "working": round(working), "dequantised": largest * work.wide}


def _sized(s: Shape, kept: Kept) -> float:
    return kept.width * s.width + kept.feed_forward * s.feed_forward + kept.keys * s.keys


def _kept(s: Shape, work: Work, kept: Kept) -> float:
    """Numbers per token that one block keeps; of each adapted layer A x too, and of DoRA's its output unscaled."""
    layers = [] if work.kind == "full" else adapted(s, work.targets)
    trained = sum(work.rank + (layer.outputs if work.kind == "dora" else 0) for layer in layers)
    square = SQUARES * s.heads * work.length if s.attention_dropout and work.device != "cuda" else 0
    return _sized(s, kept) + trained + square


def _logits(s: Shape, work: Work) -> Terms:
    """A chunk's logits and their slope while they exist, and the gradient of a trained output embedding in fp32."""
    own = s.vocabulary * s.width * FP32 if work.kind == "full" else 0
    if work.peer:
        return {"logits": work.tokens * s.vocabulary * work.wide + own}
    return {"logits": _chunk(s, work, work.tokens) + own}


def _chunk(s: Shape, work: Work, tokens: int) -> int:
    """Log-probabilities of a chunk in fp32, and its logits in the model's precision."""
    rows = min(tokens, chunk_rows(s.vocabulary, work.device))
    return rows * s.vocabulary * (FP32 + work.wide)


def _scoring(s: Shape, work: Work) -> Terms:
    """Scoring texts: of each row the forward pass of one block, and the logits of a chunk with their exponentials."""
    tokens, rows = ROW_TOKENS[work.device], SIDE_BY_SIDE if work.device == "cpu" else 1
    numbers = tokens * (s.width * 2 + _sized(s, WORKING))
    return {"scoring": rows * (round(numbers * work.wide) + _chunk(s, work, tokens))}


def generation(s: Shape, work: Work) -> Terms:
    """Generating: keys and values of all blocks for every token so far, of one text at a time."""
    return {"cache": 2 * s.layers * s.keys * work.prompt_tokens * work.wide, "logits": 2 * s.vocabulary * FP32}
