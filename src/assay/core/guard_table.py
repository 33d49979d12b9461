"""The table of guards and the table of their thresholds: what each means, and where its bounds come from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

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
        "bring more independent texts, or hold out more of the groups there are (data.split.test)",
        "arXiv 2411.00640",
    ),
    "memory-plan": Guard(
        "R", "train",
        "Training needed about the memory that the plan had foretold before it began.",
        "run again: the plan learns from what earlier runs took",
        "our own judgement",
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
    "resume-proof": Guard(
        "V", "train",
        "A training that was interrupted went on from exactly where its checkpoint was: step, rows and weights.",
        "restore train/checkpoints from a backup, or train again with --new",
        "accelerate issue 4071",
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
    "selection-hygiene": Guard(
        "V", "evaluate",
        "Checkpoint and settings were chosen on dev texts; the test texts were looked at once.",
        "give dev and test texts of their own; keep fresh test texts for the last look",
        "our own judgement",
    ),
    "fair-baseline": Guard(
        "V", "evaluate",
        "The base had the same chance: the same prompts and decoding, its own chat template, and examples to follow.",
        "remove data.chat_template where the base has a template of its own; set evaluate.examples above 0",
        "our own judgement",
    ),
    "forgetting": Guard(
        "O", "evaluate",
        "The tuned model predicts generic texts, which training had nothing to do with, about as well as the base.",
        "train less or with a lower rate, mix generic texts into the training, or take another adapter rank",
        "arXiv 2401.05605",
    ),
    "memorisation": Guard(
        "O", "evaluate",
        "The model does not recite its training texts.",
        "train fewer epochs, remove repeated texts, or lower adapter.rank",
        "arXiv 2202.07646",
    ),
    "style-fairness": Guard(
        "O", "evaluate",
        "At equal length the generated texts repeat themselves no more than real ones do.",
        "raise evaluate.decoding.temperature, or train on texts with fewer repetitions",
        "arXiv 2403.00553",
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
        "speak of this one model, with evaluate.claim at checkpoint; a recipe takes three runs with seeds of their own",
        "arXiv 2103.03098",
    ),
    "output-hygiene": Guard(
        "O", "evaluate",
        "Generated texts hold no template tokens and nothing of the system prompt, and answers end by themselves.",
        "clean template tokens and the system prompt out of the training answers; see that their ends are learned",
        "transformers issue 17117",
    ),
    "common-currency": Guard(
        "V", "compare",
        "Both numbers are of one kind: bits per byte of the same texts, read in the same windows.",
        "evaluate both runs with the same evaluate.window and evaluate.stride on the same test texts",
        "lm-evaluation-harness issue 1586",
    ),
    "one-change": Guard(
        "V", "compare",
        "The runs differ in one thing, so that their difference can be put down to it.",
        "change one key at a time; for more data take nested subsets, at equal steps and at equal epochs",
        "our own judgement",
    ),
    "rating": Guard(
        "O", "rate",
        "Whoever compared the texts, person or model, did not know which was which and agreed with themselves.",
        "have more pairs judged, or take another judge; let people rate with fresh eyes, from a sheet of `assay rate`",
        "arXiv 2306.05685",
    ),
    "receipt": Guard(
        "R", "report",
        "Everything needed to repeat this run is written down.",
        "run with a current version, and restore receipt.json",
        "our own judgement",
    ),
}  # fmt: skip

# Those that every run is to have a record of; the others are of several runs, or of what is only done when asked for.
OF_A_RUN = [name for name, guard in GUARDS.items() if guard.stage not in ("compare", "rate")]


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
    "output-hygiene.system_words": Limits(8, 8),  # of the system prompt, one behind the other
    "output-hygiene.stop_rate": Limits(0.9, 0.0, higher_is_better=True),  # of answers in a chat
    "memory-plan.share": Limits(0.1, 0.25, judgement=True),  # |measured - predicted| ÷ predicted
    "memory-plan.floor": Limits(4e9, 4e9, judgement=True),  # bytes: libraries imported on the way take up to 0.3 GB
    "forgetting.p": Limits(0.05, 0.05),
    "memorisation.excess": Limits(0.01, 0.05),
    "memorisation.span": Limits(49, 49),  # tokens copied one behind the other
    "style-fairness.ratio": Limits(1.2, 2.0),  # share of repeated 4-grams, generated ÷ reference
    "style-fairness.floor": Limits(0.01, 0.01, judgement=True),  # added to both shares
    "selection-hygiene.looks": Limits(1, math.inf),
    "common-currency.lossy": Limits(0.0, 0.001),  # share of the bytes that do not survive encoding and decoding
    "one-change.changes": Limits(1, 1),
    "one-change.epochs": Limits(0.05, 0.05, judgement=True),  # of the longer: steps are whole, rows differ in length
    "rating.consistency": Limits(0.8, 0.65, higher_is_better=True),
    "rating.pairs": Limits(50, 0, higher_is_better=True),
    "receipt.missing": Limits(0, 2),
    # no guard's: cores that other processes kept busy while something was timed; beyond, the timing is not comparable
    "timing.others": Limits(0.25, 0.25, judgement=True),
}
