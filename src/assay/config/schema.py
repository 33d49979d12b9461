"""The experiment file's schema: every key, with its unit, its default and what it may hold.

The models are the one place where a key exists. The loader's messages, the nearest valid key, and the
reference page are all made from them.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import Field, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from assay.config.data import DataConfig
from assay.config.section import Section
from assay.config.values import LANGUAGES, QUESTIONS, SUITES, Number, Prompts, Slug, Specs, Targets, Text, problem

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


class DecodingConfig(Section):
    """How the sample texts are generated; the same for base and tuned."""

    max_new_tokens: int = Field(default=60, ge=1, description="Longest generated text, in tokens.")
    temperature: Number = Field(
        default=0.8, ge=0, description="0 always takes the likeliest token; higher is more varied."
    )
    top_p: Number = Field(
        default=0.95, gt=0, le=1, description="Draw from the likeliest tokens that together have this share."
    )


class JudgeConfig(Section):
    """A language model that compares the generated texts pairwise, over HTTP; without `url` nothing is sent."""

    url: Text | None = Field(
        default=None,
        description="Address of an OpenAI-compatible server, up to `/v1`. Prompts and generated texts are sent there.",
        json_schema_extra={"allowed": "an address that begins with `https://` or `http://`"},
    )
    model: Text | None = Field(default=None, description="The judge's name on that server.")
    api_key_env: Text | None = Field(
        default=None,
        description="Name of the environment variable that holds the key; the key itself is never written down. "
        "Without it no key is sent.",
    )
    seed: int = Field(default=0, ge=0, description="Seed sent with each request, beside temperature 0.")
    max_tokens: int = Field(
        default=1024, ge=8, description="Longest answer, in tokens; one that is cut off has no verdict."
    )
    timeout: Number = Field(
        default=120.0, gt=0, description="Seconds without an answer after which a request is given up."
    )
    retries: int = Field(
        default=5,
        ge=0,
        description="How often a request is repeated after a passing trouble, waiting 1, 2, 4, ... seconds.",
    )
    concurrency: int = Field(default=4, ge=1, le=64, description="Requests under way at a time.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.url is None) != (self.model is None):
            raise problem(
                "evaluate.judge needs both url and model", "evaluate.judge.url", "evaluate.judge.model",
                fix="give both, or neither",
            )  # fmt: skip
        return self


class EvaluateConfig(Section):
    """How base and tuned are compared on the held-out texts."""

    window: int = Field(default=512, ge=16, description="Longest context that a text is scored in, in tokens.")
    stride: int | None = Field(
        default=None,
        ge=1,
        description="Tokens by which the window moves; at most `window`. Without it: the window. Smaller gives "
        "each token more context and takes longer.",
    )
    max_bytes_per_group: int | None = Field(
        default=None,
        ge=200,
        description="Score a seeded excerpt of this many UTF-8 bytes of each longer group. Without it: groups whole.",
    )
    prompts: Prompts = Field(
        default="held-out",
        description="Prompts that base and tuned continue side by side, with the same seeds. `held-out`: what eight of "
        "the held-out texts ask, or how they begin. `[]`: none.",
        json_schema_extra={"allowed": f"`held-out`, a suite ({', '.join(SUITES)}), a file, or a list of texts"},
    )
    examples: int = Field(
        default=2,
        ge=0,
        le=16,
        description="Training texts that the base is shown before each prompt: the prompt-only baseline. 0: none.",
    )
    decoding: DecodingConfig = Field(default_factory=DecodingConfig, description=str(DecodingConfig.__doc__))
    retain: Specs = Field(
        default_factory=list,
        description="Texts that the model must not forget; English ones are measured in any case.",
        json_schema_extra={
            "allowed": f"a list of languages ({', '.join(LANGUAGES)}) and of sources as in `data.source`"
        },
    )
    retain_margin: Number = Field(
        default=0.02,
        gt=0,
        lt=1,
        description="The loss on them that still counts as none, as a share of the base's bits.",
    )
    questions: Specs = Field(
        default_factory=lambda: ["general"],
        description="Questions with four answers each that base and tuned are asked.",
        json_schema_extra={"allowed": f"a list of suites ({', '.join(QUESTIONS)}) and files"},
    )
    adherence: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Passages of training texts, and half as many of dev, that the base continues, so that a "
        "classifier learns how the data's own continuations differ: how close does each model come to them? 0: none. "
        "Some 60 are little. Needs `assay[metrics]`.",
    )
    harness: Specs = Field(
        default_factory=list,
        description="Tasks of lm-evaluation-harness that base and tuned are asked: names, groups, or YAML files with "
        "one of your own. Needs `assay[harness]`; a task's data are fetched from the Hub.",
        json_schema_extra={"allowed": "a list of names (`lm_eval ls tasks` shows them) and files"},
    )
    continuations: int = Field(
        default=128,
        ge=0,
        description="Stretches of training texts, and as many of held-out ones, that are looked at for recitation.",
    )
    judge: JudgeConfig = Field(default_factory=JudgeConfig, description=str(JudgeConfig.__doc__))
    smallest_effect: Number = Field(
        default=0.005, ge=0, description="The smallest gain worth having, in bits per byte."
    )
    claim: Literal["checkpoint", "recipe"] = Field(
        default="checkpoint",
        description="What the verdict is about: this trained model, or the recipe (needs 3 seeds).",
    )

    @model_validator(mode="after")
    def _no_gaps(self) -> Self:
        if self.stride is not None and self.stride > self.window:
            raise problem(
                f"evaluate.stride is {self.stride} tokens and evaluate.window is {self.window}: a longer stride "
                "leaves tokens unscored",
                "evaluate.stride",
                "evaluate.window",
                fix="give stride ≤ window",
            )
        return self


class Experiment(Section):
    """One experiment: a base model, a text, and how to train and compare."""

    schema_version: Literal[1] = Field(alias="schema", description="Version of this file's schema.")
    name: Slug = Field(
        description="Names the runs' folder.",
        json_schema_extra={"allowed": "letters, digits, `.`, `_` and `-`, a letter or digit first"},
    )
    base: Text = Field(
        description="The model to start from; `assay models` lists the aliases. Folders count from this file.",
        json_schema_extra={"allowed": "an alias, a Hub id (`owner/name@revision`), a folder, or `scratch:<preset>`"},
    )
    seed: int = Field(
        default=42, ge=0, le=2**32 - 1, description="Seed of the adapter's start, the order of the data and dropout."
    )
    data: DataConfig = Field(description=str(DataConfig.__doc__))
    adapter: AdapterConfig = Field(default_factory=AdapterConfig, description=str(AdapterConfig.__doc__))
    train: TrainConfig = Field(default_factory=TrainConfig, description=str(TrainConfig.__doc__))
    evaluate: EvaluateConfig = Field(default_factory=EvaluateConfig, description=str(EvaluateConfig.__doc__))
    track: list[Literal["tensorboard", "trackio", "wandb", "mlflow"]] = Field(
        default_factory=list,
        description="Where the training's numbers are mirrored as they come; the run's own files stay the record.",
        json_schema_extra={"allowed": "a list of tensorboard, trackio, wandb and mlflow"},
    )


def sections(model: type[Section] = Experiment, prefix: str = "") -> Iterator[tuple[str, type[Section]]]:
    """Every section below `model`, outermost first, with its dotted key."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield f"{prefix}{name}", info.annotation
            yield from sections(info.annotation, f"{prefix}{name}.")


def leaves(model: type[Section] = Experiment, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key below `model` that holds a value, in the schema's order, with its dotted key."""
    for name, info in model.model_fields.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Section):
            yield from leaves(info.annotation, f"{prefix}{name}.")
        else:
            yield f"{prefix}{info.alias or name}", info


def allowed(info: FieldInfo) -> str:
    """What a key may hold, in words: ``an integer ≥ 1``, ``one of constant, linear, cosine``."""
    if isinstance(info.json_schema_extra, dict) and "allowed" in info.json_schema_extra:
        return str(info.json_schema_extra["allowed"])
    kind = info.annotation
    if get_origin(kind) in (Union, types.UnionType):
        kind = next(part for part in get_args(kind) if part is not type(None))
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is Literal:
        values = [str(value) for value in get_args(kind)]
        return f"one of {', '.join(values)}" if len(values) > 1 else values[0]
    bounds: list[str] = []
    for rule in info.metadata:
        match rule:
            case Ge(ge=bound):
                bounds.append(f"≥ {bound}")
            case Gt(gt=bound):
                bounds.append(f"> {bound}")
            case Le(le=bound):
                bounds.append(f"≤ {bound}")
            case Lt(lt=bound):
                bounds.append(f"< {bound}")
    if kind is bool:
        return "`true` or `false`"
    noun = {int: "an integer", float: "a number"}.get(kind, "text") if isinstance(kind, type) else "text"
    return " ".join([noun, " and ".join(bounds)]).strip()


def default_text(info: FieldInfo) -> str:
    """A key's default as it would be written in the file, or ``required``."""
    default = info.get_default(call_default_factory=True)
    return "required" if default is PydanticUndefined else json.dumps(default)


def field_docs() -> list[tuple[str, str, str, str]]:
    """(dotted key, what it may hold, default, description) of every key that holds a value."""
    return [(key, allowed(info), default_text(info), info.description or "") for key, info in leaves()]


def markdown_reference() -> str:
    """The reference page of the experiment file, `docs/experiment-file.md`."""
    lines = [
        "# The experiment file", "",
        "One YAML file describes one experiment. Every key that it may hold stands here; any other key is an error. "
        "On the command line `--set section.key=value` overrides a key, its value written as YAML. `resolved.yaml` in "
        "the run's folder holds every value used, and where it came from.",
    ]  # fmt: skip
    parts: list[tuple[str, type[Section]]] = [("", Experiment), *sections()]
    rows = field_docs()
    for name, model in parts:
        lines += ["", f"## {name or 'Top level'}", "", str(model.__doc__), ""]
        lines += ["| key | may hold | default | meaning |", "|---|---|---|---|"]
        for key, may_hold, default, meaning in rows:
            if key.rpartition(".")[0] == name:
                shown = default if default == "required" else "none" if default == "null" else f"`{default}`"
                lines.append(f"| `{key}` | {may_hold} | {shown} | {meaning} |".replace("\n", " "))
    return "\n".join(lines) + "\n"
