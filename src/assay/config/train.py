"""The sections `adapter` and `train` of the experiment file: what is trained, and how."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from assay.config.section import Section
from assay.config.values import Number, Targets, problem

LORA_ONLY = ("rank", "alpha", "dropout", "targets", "rslora")


class AdapterConfig(Section):
    """What is trained: a small adapter beside the frozen weights (LoRA and its kin), or all weights (full)."""

    kind: Literal["full", "lora", "qlora", "dora"] = Field(
        default="lora",
        description="`lora` trains an adapter; `qlora` does beside weights in 4 bit (NF4, double quantisation); `dora` "
        "also trains the length of each output's weights; `full` trains every weight.",
    )
    rank: int = Field(
        default=8, ge=1, description="Width of the adapter: the inner dimension of each pair of LoRA matrices."
    )
    alpha: Number = Field(
        default=16.0, gt=0, description="Scale of the adapter; its output is multiplied by alpha ÷ rank."
    )
    dropout: Number = Field(
        default=0.0, ge=0, lt=1, description="Share of the adapter's inputs set to zero while training."
    )
    targets: Targets = Field(
        default="all-linear",
        description="Which linear layers get an adapter; the output head and the embeddings never do.",
        json_schema_extra={"allowed": "`attention`, `all-linear` or a list of module names"},
    )
    rslora: bool = Field(
        default=False, description="Multiply the adapter's output by alpha ÷ √rank instead, for high ranks (rsLoRA)."
    )

    @model_validator(mode="after")
    def _full_has_no_rank(self) -> Self:
        given = [key for key in LORA_ONLY if key in self.model_fields_set]
        if self.kind == "full" and given:
            names = ", ".join(f"adapter.{key}" for key in given)
            raise problem(
                f"adapter.kind is full, which trains every weight and has no {' or '.join(given)}",
                *(f"adapter.{key}" for key in given),
                fix=f"remove {names}, or set adapter.kind to lora",
            )
        return self


class TrainConfig(Section):
    """How long and how fast to train."""

    epochs: Number | None = Field(
        default=None, gt=0, description="Passes over the training text. Give this or `steps`; without either it is 1."
    )
    steps: int | None = Field(default=None, ge=1, description="Optimizer steps. Give this or `epochs`.")
    loss_on: Literal["completion", "all", "last"] = Field(
        default="completion",
        description="Which tokens of pairs and chats are learned: what the model is to produce, everything, or "
        "the last answer alone. Of plain text every token is.",
    )
    max_length: int = Field(
        default=512,
        ge=8,
        description="Longest sequence, in tokens. A longer plain text is cut into several, a pair or chat is cut off.",
    )
    batch_tokens: int = Field(
        default=2048, ge=8, description="Tokens per optimizer step; what fits at once is planned."
    )
    learning_rate: Number = Field(
        default=2e-4, gt=0, description="The highest learning rate, reached after the warm-up."
    )
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="linear", description="How the learning rate goes on after the warm-up: level, or down to zero."
    )
    warmup: Number = Field(
        default=0.03, ge=0, lt=1, description="Share of the steps in which the learning rate rises from 0."
    )
    optimizer: Literal["adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor"] = Field(
        default="adamw",
        description="`adamw` in fp32; the 8-bit ones keep their moments in a quarter of the memory, the paged one also "
        "in main memory when the GPU is full (CUDA, bitsandbytes); `adafactor` keeps almost none.",
    )
    weight_decay: Number = Field(
        default=0.0, ge=0, description="Decoupled weight decay (AdamW), per step, times the rate."
    )
    max_grad_norm: Number = Field(
        default=1.0, gt=0, description="Gradients with a larger 2-norm are scaled down to it."
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        description="Number format of the matrix products; `auto` measures once which is faster here. `fp16` is for "
        "GPUs without bf16, with a scaled loss.",
    )
    kernels: Literal["auto", "liger", "own"] = Field(
        default="auto",
        description="How norms and gated layers are computed: by Liger's Triton kernels (CUDA; the extra `cuda`) or by "
        "our own; `auto` takes Liger's on a CUDA GPU where they are installed.",
    )
    checkpointing: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Compute each layer again in the backward pass instead of keeping what it made (activation "
        "checkpointing): about a third slower, far less memory. `auto` does it where memory would not do.",
    )
    neftune_alpha: Number | None = Field(
        default=None, gt=0, description="Noise on the embeddings while training (NEFTune), of this strength."
    )
    eval_every: int | None = Field(
        default=None, ge=1, description="Score the dev texts every so many steps. Without it: about 4 times per run."
    )
    save_every: int | None = Field(
        default=None, ge=1, description="Write a checkpoint every so many steps. Without it: about 4 times per run."
    )
    keep_checkpoints: int = Field(
        default=2, ge=1, description="How many of the newest checkpoints stay, beside the best one."
    )
    result: Literal["last", "best"] = Field(
        default="last", description="Which weights are the result: after the last step, or where dev scored best."
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Stop early once dev has not improved this many looks in a row. Without it: all steps.",
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field(
        default="auto", description="Where to train; `auto` takes the GPU."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_length(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("steps") is None and values.get("epochs") is None:
            return {**values, "epochs": 1.0}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.epochs is not None and self.steps is not None:
            raise problem(
                f"train.epochs is {self.epochs:g} and train.steps is {self.steps}: both say how long to train",
                "train.steps",
                "train.epochs",
                fix="give one of them",
            )
        if self.max_length > self.batch_tokens:
            raise problem(
                f"train.max_length is {self.max_length} tokens and train.batch_tokens is {self.batch_tokens}: "
                "a sequence longer than a batch cannot be packed",
                "train.max_length",
                "train.batch_tokens",
                fix="give max_length ≤ batch_tokens",
            )
        if self.precision == "fp16" and self.device == "cpu":
            raise problem(
                "train.precision is fp16 and train.device is cpu: processors compute in fp32 or bf16",
                "train.precision",
                "train.device",
                fix="set train.precision to auto",
            )
        if self.patience is not None and self.result == "last":
            raise problem(
                f"train.patience is {self.patience} and train.result is last: training would stop for no longer "
                "getting better, and keep its last weights all the same",
                "train.patience",
                "train.result",
                fix="set train.result to best",
            )
        return self
