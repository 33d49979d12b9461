"""The guards: their registry, their thresholds, their records, and what a failure means.

A guard is one automatic check with a fixed name and an exact definition. The stage that has the
evidence measures it and records the outcome here. Class V (validity): a failure means the number
cannot be trusted, and the command ends with exit 3. Class O (outcome): a failure is an unwelcome
but honest result, and stands in the verdict. Class R (report): shown, never decides.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from assay.core.errors import GuardError
from assay.core.files import read_json, write_json

Status = Literal["pass", "warn", "fail", "skip"]
Class = Literal["V", "O", "R"]


@dataclass(frozen=True)
class Guard:
    """What a guard is: its class, the stages that record it, and its meaning in plain words."""

    cls: Class
    stage: str
    meaning: str
    fix: str
    source: str


GUARDS: dict[str, Guard] = {
    "supervision": Guard(
        "V", "prepare",
        "Every training row teaches something: after truncation it has at least one token that counts in the loss, "
        "the end of an answer among them, behind the prompt that the model is asked with; and the beginning-of-text "
        "token stands there at most once.",
        "look at the rows named in the record: raise train.max_length where answers are cut off, enclose the end of a "
        "turn in the marks of data.chat_template, remove empty rows and literal special tokens from the texts",
        "TRL issues 4201, 6668 and 6105; Axolotl issue 3754",
    ),
    "split-leak": Guard(
        "V", "prepare",
        "No held-out text also stands, whole or in long passages, in the training texts.",
        "remove the repeated texts, or set data.group so that copies of one text fall into one group",
        "arXiv 2107.06499; arXiv 2411.03923",
    ),
    "power": Guard(
        "O", "prepare",
        "There are enough independent held-out groups for the result to be told from chance.",
        "hold out more groups (data.split.test), or bring more independent texts",
        "arXiv 2411.00640",
    ),
    "weights-moved": Guard(
        "V", "train",
        "Each trainable module's weights changed during the first three optimizer steps.",
        "raise train.learning_rate, or check adapter.targets",
        "PEFT troubleshooting guide",
    ),
    "finite-training": Guard(
        "V", "train",
        "No loss or gradient was NaN or infinite; the first one stops the training before the weights are touched.",
        "lower train.learning_rate, lengthen train.warmup, or set train.precision to fp32",
        "TRL issue 6702",
    ),
    "adapter-integrity": Guard(
        "V", "evaluate",
        "The saved weights are the trained ones: each tensor is there, none changed, every LoRA B non-zero and finite.",
        "restore the run's adapter files from a backup, or train again with --new",
        "PEFT issues 515 and 1389; Unsloth issue 869",
    ),
    "adapter-effect": Guard(
        "V", "evaluate",
        "Fine-tuning changes the model's predictions, measurably above the noise of measuring twice.",
        "train longer or with a higher learning rate; check that the adapter is the one that was trained",
        "lm-evaluation-harness issue 808; Unsloth issue 2142",
    ),
    "fresh-reload": Guard(
        "V", "evaluate",
        "The saved model, loaded in a new process, predicts what the trained model in memory predicted.",
        "restore the run's adapter folder (adapter_config.json too), or train again with --new",
        "PEFT documentation, saving and loading",
    ),
    "right-split": Guard(
        "V", "evaluate",
        "The scored texts are exactly the frozen test texts, and none of them was trained on.",
        "restore the run's data folder, or start over with --new",
        "perplexity scripts of several tools score the training set",
    ),
    "unit-counting": Guard(
        "V", "evaluate",
        "Tokens and bytes are counted exactly, and the score of a text depends on neither batch size nor order.",
        "restore the evaluation's files by `assay evaluate`; otherwise report the architecture as unsupported",
        "transformers issue 39241; Axolotl issue 3988",
    ),
    "a-a-control": Guard(
        "V", "evaluate",
        "The base model measured against itself shows no difference that matters beside the result's uncertainty.",
        "set train.precision to fp32, hold out more text, or delete the stored base scores that do not reproduce",
        "arXiv 2506.09501",
    ),
    "impossible-equality": Guard(
        "V", "report",
        "Two different models do not give a long text exactly the same score.",
        "evaluate again: one of the two columns is not what it says it is",
        "published base and tuned perplexities of exactly 7.95",
    ),
    "plausibility": Guard(
        "V", "report",
        "The result is not too good to be true for running prose.",
        "look for test texts in the training data, and at the held-out texts themselves",
        "our own judgement",
    ),
    "paired-verdict": Guard(
        "O", "report",
        "Tuned against base on the same held-out groups: is the mean difference above zero beyond chance?",
        "see the verdict",
        "arXiv 2411.00640; arXiv 2503.01747",
    ),
    "seeds": Guard(
        "O", "report",
        "How many training seeds stand behind the claim: with fewer than three it holds for this checkpoint only.",
        "repeat the run with other seeds, or set evaluate.claim to checkpoint",
        "arXiv 2103.03098",
    ),
    "output-hygiene": Guard(
        "O", "evaluate",
        "Generated texts hold no template tokens.",
        "clean template tokens out of the training texts",
        "transformers issue 17117",
    ),
    "receipt": Guard(
        "R", "report",
        "Everything needed to repeat this run is written down.",
        "run with a current version, and restore receipt.json",
        "our own judgement",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """A pass and a warn bound on one measured number. `judgement` marks bounds that are our own."""

    passes: float
    warns: float
    higher_is_better: bool = False
    judgement: bool = False

    def status(self, value: float) -> Status:
        """`pass`, `warn` or `fail`; a value that is not finite fails."""
        if not math.isfinite(value):
            return "fail"
        sign = -1.0 if self.higher_is_better else 1.0
        if sign * value <= sign * self.passes:
            return "pass"
        return "warn" if sign * value <= sign * self.warns else "fail"


# The one table of thresholds. Units stand in the comments; sources stand with the guards above.
THRESHOLDS: dict[str, Limits] = {
    "supervision.supervised_share": Limits(0.99, 0.95, higher_is_better=True),
    "split-leak.share": Limits(0.0, 0.01),
    "split-leak.jaccard": Limits(0.8, 0.8),  # of word 5-grams: at or above is a near-copy
    "split-leak.run_words": Limits(50, 50),  # a common run this long is a leak
    "split-leak.short_cover": Limits(0.7, 0.7),  # an 8-gram covering this share of a short item
    # an 8-gram in so large a share of the training items, and in so many, is a template and no leak
    "split-leak.template_share": Limits(0.2, 0.2, judgement=True),
    "split-leak.template_items": Limits(10, 10, judgement=True),
    "power.groups": Limits(30, 6, higher_is_better=True),  # independent test groups
    "weights-moved.relative": Limits(1e-9, 1e-9, higher_is_better=True, judgement=True),  # above fp32 noise on a norm
    "adapter-integrity.zero_b_share": Limits(0.0, 0.1),
    "adapter-effect.r": Limits(10.0, 3.0, higher_is_better=True),  # change ÷ noise
    "adapter-effect.m": Limits(1e-3, 0.0, higher_is_better=True, judgement=True),  # nats per token
    "adapter-effect.noise_floor": Limits(1e-5, 1e-5),  # nats per token, the least noise assumed
    "fresh-reload.nll": Limits(1e-3, 1e-2),  # nats per token
    "fresh-reload.nll.4-bit": Limits(1e-2, 1e-1),
    "unit-counting.relative.fp32": Limits(1e-4, 1e-3),
    "unit-counting.relative.bf16": Limits(3e-3, 1e-2, judgement=True),
    "unit-counting.relative.fp16": Limits(3e-3, 1e-2, judgement=True),
    "unit-counting.relative.4-bit": Limits(1e-2, 3e-2, judgement=True),
    "a-a-control.share": Limits(0.1, 0.5),  # of the interval's half-width
    "impossible-equality.min_tokens": Limits(20, 20),
    "plausibility.low_bpb": Limits(0.45, 0.2, higher_is_better=True, judgement=True),  # bits per byte
    "plausibility.gap": Limits(0.2, 0.2, judgement=True),  # (test - train) ÷ test
    "plausibility.gain": Limits(0.4, 0.4, judgement=True),  # (base - tuned) ÷ base
    "paired-verdict.p": Limits(0.05, 0.05),
    "seeds.recipe": Limits(3, 1, higher_is_better=True),
    "output-hygiene.share": Limits(0.0, 0.01),
    "receipt.missing": Limits(0, 2),
}


@dataclass(frozen=True)
class GuardRecord:
    """One recorded outcome. `measured` and `threshold` are plain JSON values."""

    guard: str
    cls: Class
    stage: str
    status: Status
    measured: Any
    threshold: Any
    why: str
    fix: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The record as it stands in guards.json (`cls` is written as `class`)."""
        record = asdict(self)
        return {("class" if key == "cls" else key): value for key, value in record.items()}


def record(
    guard: str, status: Status, why: str, *, measured: Any = None, threshold: Any = None,
    fix: str | None = None, stage: str | None = None,
) -> GuardRecord:  # fmt: skip
    """A record of `guard`, with its class, stage and default fix filled in from the registry."""
    entry = GUARDS[guard]
    return GuardRecord(
        guard, entry.cls, stage or entry.stage, status, measured, threshold, why,
        fix or (entry.fix if status in ("warn", "fail") else None),
    )  # fmt: skip


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of several statuses; `skip` only when there is nothing else."""
    order: list[Status] = ["skip", "pass", "warn", "fail"]
    return max(statuses, key=order.index, default="skip")


def limits(name: str) -> Limits:
    """One row of the table of thresholds."""
    return THRESHOLDS[name]


class GuardBook:
    """guards.json of one run: at most one record per guard and stage, the newest counts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def records(self) -> list[GuardRecord]:
        """All records, in the registry's order."""
        if not self.path.exists():
            return []
        rows = [{("cls" if k == "class" else k): v for k, v in row.items()} for row in read_json(self.path)]
        found = [GuardRecord(**row) for row in rows]
        order = list(GUARDS)
        return sorted(found, key=lambda r: order.index(r.guard) if r.guard in order else len(order))

    def add(self, *records: GuardRecord) -> None:
        """Write the records, replacing older ones of the same guard and stage."""
        fresh = {(r.guard, r.stage) for r in records}
        kept = [r for r in self.records() if (r.guard, r.stage) not in fresh]
        write_json(self.path, [r.as_json() for r in [*kept, *records]])

    def failed_validity(self) -> list[GuardRecord]:
        """The class V records that have failed: with any of them there is no verdict."""
        return [r for r in self.records() if r.cls == "V" and r.status == "fail"]

    def drop_stages(self, *stages: str) -> None:
        """Forget the records of stages that are about to be done again."""
        if self.path.exists():
            write_json(self.path, [r.as_json() for r in self.records() if r.stage not in stages])

    def check(self, *records: GuardRecord) -> None:
        """Write the records, then stop at the first validity failure among them.

        Raises:
            GuardError: a class V record has failed (exit 3).
        """
        self.add(*records)
        for r in records:
            if r.cls == "V" and r.status == "fail":
                raise GuardError(r.guard, r.why, where=str(self.path), fix=r.fix)
