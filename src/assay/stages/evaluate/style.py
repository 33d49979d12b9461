"""How each arm writes beside the held-out texts: all text metrics, with intervals over the prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from assay.core.optional import installed
from assay.core.records import Item
from assay.data.languages import EXTRA, PACKAGE, Languages
from assay.data.passages import spread, written
from assay.stages.evaluate.adherence import Ear
from assay.stages.evaluate.generations import Arm
from assay.stages.evaluate.sample import Sample
from assay.stats.intervals import t_interval
from assay.text.metrics.asked import shares
from assay.text.metrics.language import told
from assay.text.metrics.style import over_used
from assay.text.metrics.summary import Direction, Measured, table
from assay.text.metrics.words import Text

REFERENCE = 64  # held-out texts that the generated ones are held against
REPEATED = "repeated 4-grams"
USED = 12  # words that are named on either side


def compare(sample: Sample, arms: Mapping[str, Arm], ear: Ear | None) -> dict[str, Any] | None:
    """The table of text metrics; None where nothing was generated.

    The unit is the prompt. Of a chat or a pair the reference is what was answered, else the text.
    """
    if not arms:
        return None
    texts = {name: [one.text for one in arm.generations] for name, arm in arms.items()}
    ends = {name: [float(one.stopped) for one in arm.generations] for name, arm in arms.items()}
    better: Direction = "higher" if sample.asking.chat else "none"
    reference = _held_out(sample)
    own = [written(item) for item in reference]
    languages = Languages() if installed(PACKAGE) else None
    return table(
        texts,
        [prompt.id for prompt in sample.prompts],
        own,
        interval=t_interval,
        reference_units=[item.group for item in reference],
        language=told("\n".join(own), languages) if languages else None,
        vocabulary=sample.vocabulary,
        measured={"stop rate": Measured(ends, "share of outputs", better, "nothing was generated")}
        | _asked(sample, texts, languages)
        | (ear.measured(texts) if ear else {}),
    )


def _held_out(sample: Sample) -> list[Item]:
    """What generated texts are held against."""
    return spread(sample.test, REFERENCE)


def _asked(sample: Sample, texts: Mapping[str, Sequence[str]], languages: Languages | None) -> dict[str, Measured]:
    """How far the answers do what the prompts' suite asks; nothing where it asks nothing that can be checked."""
    if not any(prompt.checks or prompt.instructions or prompt.language for prompt in sample.prompts):
        return {}
    found = {name: shares(sample.prompts, answers, languages) for name, answers in texts.items()}
    missing = {
        "checks passed": "the prompt has no check",
        "all checks passed": "the prompt has no check",
        "asked language": "no language was asked for, or the answer is too short to tell"
        + ("" if languages else f"; needs the extra {EXTRA}"),
    }
    return {
        what: Measured({name: own[what] for name, own in found.items()}, "share", "higher", why)
        for what, why in missing.items()
    }


def vocabulary_use(sample: Sample, tuned: Sequence[str]) -> dict[str, list[dict[str, Any]]] | None:
    """Words that the tuned model's texts hold more often than held-out ones, and less often; None without texts."""
    if not tuned:
        return None
    held = [Text(written(item)) for item in _held_out(sample)]
    over, under = over_used([Text(text) for text in tuned], held, USED)
    return {"over": [asdict(use) for use in over], "under": [asdict(use) for use in under]}


def repetition(sample: Sample, tuned: Sequence[str]) -> dict[str, Any]:
    """What the guard on repetition asks for: the tuned model's texts beside held-out ones, cut to one length.

    The other arms have no part in it: one that says nothing would leave no text to compare.
    """
    if not tuned:
        return {"generated": None, "reference": None, "low": None, "texts": 0, "words": None}
    reference = _held_out(sample)
    found = table(
        {"tuned": tuned}, [prompt.id for prompt in sample.prompts], [written(item) for item in reference],
        interval=t_interval, reference_units=[item.group for item in reference],
    )  # fmt: skip
    arms, equal = found["metrics"][REPEATED]["arms"], found["equal_length"]
    return {
        "generated": arms["tuned"]["mean"],
        "low": arms["tuned"]["low"],
        "reference": arms["reference"]["mean"],
        "texts": equal["kept"],
        "words": equal["words"],
    }
