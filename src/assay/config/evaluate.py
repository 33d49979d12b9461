"""The section `evaluate` of the experiment file: how base and tuned are compared."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from assay.config.decode import DecodingConfig
from assay.config.section import Section
from assay.config.values import LANGUAGES, QUESTIONS, SUITES, Number, Prompts, Specs, Text, problem


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
