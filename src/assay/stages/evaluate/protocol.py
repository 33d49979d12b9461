"""How a run is measured, in plain values."""

from __future__ import annotations

from dataclasses import dataclass

from assay.config.schema import Experiment
from assay.core.records import Decoding
from assay.stats.verdict import Claim


@dataclass(frozen=True)
class Protocol:
    """What of the experiment decides an evaluation; `window` and `stride` are in tokens, effects in bits per byte."""

    kind: str
    split_seed: int
    window: int
    stride: int
    max_bytes_per_group: int | None
    prompts: str | list[str]
    examples: int
    decoding: Decoding
    retain: list[str]
    retain_margin: float
    questions: list[str]
    harness: list[str]
    adherence: int
    continuations: int
    smallest_effect: float
    claim: Claim
    chat_template: str | None
    system: str | None
    chosen_on_dev: list[str]

    @property
    def four_bit(self) -> bool:
        """Whether base and tuned are both the base in 4 bit, as it was trained on."""
        return self.kind == "qlora"


def protocol(experiment: Experiment) -> Protocol:
    """The values of an experiment that its evaluation goes by."""
    e, t = experiment.evaluate, experiment.train
    chosen = {"the best checkpoint": t.result == "best", "the early stop": t.patience is not None}
    return Protocol(
        kind=experiment.adapter.kind,
        split_seed=experiment.data.split.seed,
        window=e.window,
        stride=e.stride or e.window,
        max_bytes_per_group=e.max_bytes_per_group,
        prompts=e.prompts,
        examples=e.examples,
        decoding=e.decoding.decoding(),
        retain=list(e.retain),
        retain_margin=e.retain_margin,
        questions=list(e.questions),
        harness=list(e.harness),
        adherence=e.adherence,
        continuations=e.continuations,
        smallest_effect=e.smallest_effect,
        claim=e.claim,
        chat_template=experiment.data.chat_template,
        system=experiment.data.system_prompt,
        chosen_on_dev=[what for what, used in chosen.items() if used],
    )
