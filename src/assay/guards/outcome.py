"""Guards on the result and the receipt: pure measurements on plain numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from assay.core.guard import GuardRecord, Status, limits, record
from assay.guards.wording import bounds, count, finite, named, sentence
from assay.stats.tests import groups_needed
from assay.stats.verdict import Claim, Difference, Outcome, Verdict, bpb_text

_STATUS: dict[Outcome, Status] = {
    "better": "pass",
    "better-but-small": "pass",
    "not-shown": "warn",
    "worse": "fail",
    "cannot-conclude": "skip",
}


def paired_verdict(verdict: Verdict, difference: Difference) -> GuardRecord:
    """The verdict as a record: better passes, not shown warns, worse fails, cannot conclude is skipped."""
    return record(
        "paired-verdict", _STATUS[verdict.outcome], verdict.sentence, stage="report",
        measured={
            "outcome": verdict.outcome, "mean": difference.mean, "low": difference.low, "high": difference.high,
            "p": difference.p, "groups": difference.n_groups,
        },
        threshold={"low": 0.0, "p": limits("paired-verdict.p").passes, "smallest_effect": verdict.smallest_effect},
    )  # fmt: skip


def power(difference: Difference, smallest_effect: float, *, looks: int = 1) -> GuardRecord:
    """Could these held-out groups have shown the smallest effect worth having?

    Args:
        difference: the result, with its number of groups and minimum detectable effect (bits per byte).
        smallest_effect: the least gain worth having, in bits per byte.
        looks: how many different weights were measured on these groups.
    """
    bound = limits("power.groups")
    needed = max(int(bound.warns), groups_needed(limits("paired-verdict.p").passes, looks))
    n, found = difference.n_groups, difference.mde
    status = "fail" if n < needed else bound.status(n)
    if status == "pass" and (found is None or found > smallest_effect):
        status = "warn"
    groups = count(n, "held-out group")
    if status == "fail":
        why = f"{groups}: with fewer than {needed} nothing can be concluded"
        why += f" over {looks} looks at them" if looks > 1 else ""
    elif found is None:
        why = f"{groups}; what they could have found is unknown: {difference.reason or 'no spread is known'}"
    else:
        verb = "is no more than" if found <= smallest_effect else "is more than"
        why = (
            f"{groups} find a true difference of {bpb_text(found)} bits per byte four times out of five, "
            f"which {verb} the {smallest_effect:g} you named"
        )
        if n < bound.passes:
            why += f"; with {bound.passes:g} groups an interval depends less on how the differences are spread"
    return record(
        "power", status, why, stage="report",
        measured={"groups": n, "mde": found, "groups_for_half": difference.groups_for_half},
        threshold={"groups": bounds(bound) | {"warn": needed}, "mde": smallest_effect},
    )  # fmt: skip


def seeds(number: int, claim: Claim) -> GuardRecord:
    """Do enough training seeds stand behind the claim?

    Args:
        number: of training seeds.
        claim: "recipe" (needs three) or "checkpoint".
    """
    bound = limits("seeds.recipe")
    behind = count(number, "training seed")
    status = bound.status(number)
    if status == "pass":
        why = f"{behind}: enough to speak of the recipe"
    elif claim == "recipe":
        status, why = "fail", f"{behind}, but the claim is about the recipe, which takes at least {bound.passes:g}"
    elif status == "warn":
        why = f"{behind}: what is said holds for this checkpoint only"
    else:
        why = "no training seed is recorded"
    return record(
        "seeds", status, why, stage="report", measured={"seeds": number, "claim": claim}, threshold=bounds(bound)
    )


def plausibility(
    base_bpb: float | None, tuned_bpb: float | None, train_bpb_tuned: float | None, *, leak_evidence: bool, prose: bool
) -> GuardRecord:
    """Is the result too good to be true for running prose?

    Three signs: a held-out score below the pass bound, a gap between train and test, a gain. None
    passes, one or two warn; two with any evidence of a leak fail, and so do all three, and a score
    below the warn bound alone.

    Args:
        base_bpb: base model on held-out text, bits per byte.
        tuned_bpb: fine-tuned model on held-out text, bits per byte.
        train_bpb_tuned: fine-tuned model on training text, bits per byte.
        leak_evidence: whether any held-out text was found in the training texts, dropped or not.
        prose: whether the texts are running prose; templated text is legitimately easier.
    """
    low, by_gap, by_gain = (limits(f"plausibility.{name}") for name in ("low_bpb", "gap", "gain"))
    threshold = {"low_bpb": bounds(low), "gap": by_gap.passes, "gain": by_gain.passes}
    if not prose:
        why = "the texts are not running prose; templated text is legitimately easier to predict"
        return record("plausibility", "skip", why, threshold=threshold)
    if tuned_bpb is None or not math.isfinite(tuned_bpb):
        return record("plausibility", "skip", "there is no held-out score", threshold=threshold)
    train, base = finite(train_bpb_tuned), finite(base_bpb)
    gap = (tuned_bpb - train) / tuned_bpb if train is not None and tuned_bpb > 0 else None
    gain = (base - tuned_bpb) / base if base is not None and base > 0 else None
    signs = []
    if tuned_bpb < low.passes:
        signs.append(f"only {tuned_bpb:.3f} bits per byte on held-out prose (below {low.passes:g})")
    if gap is not None and gap > by_gap.passes:
        signs.append(f"training text takes {100 * gap:.0f} % fewer bits than held-out text (over {by_gap.passes:.0%})")
    if gain is not None and gain > by_gain.passes:
        signs.append(f"fine-tuning saves {100 * gain:.0f} % of the bits (over {by_gain.passes:.0%})")
    status: Status = "warn" if signs else "pass"
    if tuned_bpb < low.warns or len(signs) > 2 or (len(signs) == 2 and leak_evidence):
        status = "fail"
    found = [*signs] or [f"{tuned_bpb:.3f} bits per byte on held-out text: nothing too good to be true"]
    if signs and leak_evidence:
        found.append("held-out texts were found in the training texts")
    found += [
        f"{what} was not measured" for what, value in (("the train-test gap", gap), ("the gain", gain)) if value is None
    ]
    measured = {"tuned_bpb": tuned_bpb, "gap": gap, "gain": gain, "signs": len(signs), "leak_evidence": leak_evidence}
    return record("plausibility", status, sentence(found), measured=measured, threshold=threshold)


# What a receipt must hold. The first lets a result be traced: without it the receipt fails.
_TRACE = (
    "seeds.run", "seeds.split", "data.sha256", "data.train_sha256", "data.dev_sha256", "data.test_sha256",
    "split_sha256", "tokenizer_sha256", "template_sha256", "base.revision", "base.hash", "adapter.sha256",
)  # fmt: skip
_OTHER = (
    "created", "assay.version", "assay.commit", "command", "data.source", "base.spec", "adapter.kind",
    "versions.python", "versions.torch", "hardware.cpu", "hardware.cores", "hardware.memory", "hardware.gpu",
    "dtype", "attention", "tokens", "steps", "wall_seconds", "peak_memory",
)  # fmt: skip
# May be null, but must be there: no chat template, weights pinned by their hash alone, an installed package, no GPU.
_MAY_BE_NULL = ("template_sha256", "base.revision", "assay.commit", "hardware.gpu")


def missing_in_receipt(receipt: Mapping[str, Any]) -> list[str]:
    """The dotted keys that a receipt should hold and does not; an empty value counts as missing, 0 does not."""
    return [key for key in _TRACE + _OTHER if not _holds(receipt, key)]


def _holds(receipt: Mapping[str, Any], key: str) -> bool:
    value: Any = receipt
    for part in key.split("."):
        if not isinstance(value, Mapping) or part not in value:
            return False
        value = value[part]
    if value is None:
        return key in _MAY_BE_NULL
    return not (isinstance(value, str | Sequence | Mapping) and len(value) == 0)


def receipt(receipt: Mapping[str, Any] | None) -> GuardRecord:
    """Is everything written down that repeating the run needs?

    Args:
        receipt: receipt.json as it was read; None or empty where there is none.
    """
    bound = limits("receipt.missing")
    if not receipt:
        return record("receipt", "fail", "there is no receipt", measured={"missing": None}, threshold=bounds(bound))
    missing = missing_in_receipt(receipt)
    trace = [key for key in missing if key in _TRACE]
    status: Status = "fail" if trace else bound.status(len(missing))
    total = len(_TRACE) + len(_OTHER)
    why = (
        f"missing: {named(trace + [key for key in missing if key not in trace], most=6)}"
        if missing
        else f"all {total} entries are there"
    )
    return record(
        "receipt", status, why, measured={"missing": missing}, threshold={**bounds(bound), "hash_seed_revision": 0}
    )
