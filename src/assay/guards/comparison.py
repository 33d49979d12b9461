"""Guards on what is compared with what: looks at the test texts, units of the numbers, and the change between runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from assay.core.guard import GuardRecord, Status, limits, record, worst
from assay.guards.wording import bounds, count, named, sentence


def selection_hygiene(looks: int, *, chosen: Sequence[str], shared: int) -> GuardRecord:
    """Were the choices made on dev, and were the test texts fresh?

    Args:
        looks: how many different weights were measured on these test texts, these included.
        chosen: what was chosen by the dev texts (the best checkpoint, the early stop); none: nothing was.
        shared: how many test texts also stand among the dev texts.
    """
    bound = limits("selection-hygiene.looks")
    measured = {"looks": looks, "chosen": list(chosen), "shared": shared}
    threshold = {"looks": bound.passes, "shared": 0}
    if shared and chosen:
        why = f"{named(chosen)} was chosen on the test texts: {count(shared, 'test text')} also stand in the dev split"
        return record("selection-hygiene", "fail", why, measured=measured, threshold=threshold)
    found = [f"chosen on dev: {named(chosen)}" if chosen else "nothing was chosen by these texts"]
    status: Status = bound.status(looks)
    if shared:
        status = "warn"
        found.append(f"{count(shared, 'test text')} also stand in the dev split, by which nothing was chosen")
    found.append(
        "the first weights measured on these test texts"
        if looks == 1
        else f"{looks} different weights were measured on these test texts, so p is multiplied by {looks}"
    )
    return record("selection-hygiene", status, sentence(found), measured=measured, threshold=threshold)


def common_currency(one: Mapping[str, Any], other: Mapping[str, Any], *, same_texts: bool, lossy: float) -> GuardRecord:
    """May the numbers of two runs stand beside each other?

    Args:
        one: how a run was measured: `window`, `stride`, `bos_rule`, `dtype`, `tokenizer_sha256`.
        other: likewise.
        same_texts: whether both were measured on the same test texts.
        lossy: the larger of both tokenizers' shares of bytes that do not survive encoding and decoding.
    """
    bound = limits("common-currency.lossy")
    differing = [key for key in ("window", "stride", "bos_rule") if one[key] != other[key]]
    tokenizers = one["tokenizer_sha256"] != other["tokenizer_sha256"]
    measured = {
        "same_texts": same_texts,
        "differing": differing,
        "dtypes": [one["dtype"], other["dtype"]],
        "tokenizers_differ": tokenizers,
        "lossy": lossy,
    }
    wrong = [f"{key} is {one[key]} and {other[key]}" for key in differing]
    precision = one["dtype"] != other["dtype"]
    if not same_texts:
        wrong.insert(0, "the test texts are not the same")
    status: Status = "fail" if wrong else worst([bound.status(lossy), "warn" if precision else "pass"])
    if precision:
        wrong.append(f"products in {one['dtype']} and {other['dtype']}, which round differently")
    if lossy:
        wrong.append(f"{100 * lossy:.2g} % of the bytes do not survive encoding and decoding")
    why = sentence(wrong) or "the same test texts, window, stride and beginning of texts" + (
        "; two tokenizers, so bits per byte are compared and perplexities are not" if tokenizers else ""
    )
    return record("common-currency", status, why, measured=measured, threshold=bounds(bound))


def one_change(
    changes: Collection[str], harmless: Collection[str], *, data: str | None, steps: tuple[int, int]
) -> GuardRecord:
    """Do two runs differ in one thing, so that the difference can be put down to it?

    Args:
        changes: keys of the experiment that differ and may have moved the result.
        harmless: keys that differ and cannot have.
        data: how the training data differ where they do: `nested` (the smaller part of the larger) or `other`.
        steps: that both were trained for: more data at as many epochs are also more steps.
    """
    total = len(changes) + (data is not None)
    measured = {"changes": sorted(changes), "harmless": sorted(harmless), "data": data, "steps": list(steps)}
    what = [*sorted(changes), *(["the training data"] if data else [])]
    status: Status
    if data == "other":
        status = "fail"
        why = "the training data are not a part of each other: rows, not their number, may make the difference"
        if changes:
            why += f"; besides, {named(sorted(changes))} differ"
    elif total > limits("one-change.changes").passes:
        status, why = "fail", f"{count(total, 'thing')} differ: {named(what, most=6)}"
    elif not total:
        what_else = "their training seed alone" if "seed" in harmless else "nothing that decides the result"
        status, why = "pass", f"the runs differ in {what_else}"
    elif data:
        held = f"both at {count(steps[0], 'step')}" if steps[0] == steps[1] else f"at {steps[0]} and {steps[1]} steps"
        status = "warn"
        why = (
            f"the runs differ in the number of training rows, {held}: what more data do takes the comparison at equal "
            "steps and the one at equal epochs"
        )
    else:
        status, why = (
            ("warn" if harmless else "pass"),
            f"the runs differ in {what[0]}" + (f", and harmlessly in {named(sorted(harmless))}" if harmless else ""),
        )
    return record("one-change", status, why, measured=measured, threshold={"changes": 1})
