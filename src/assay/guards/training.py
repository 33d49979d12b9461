"""Guards on the training itself and on the weights it leaves: pure measurements on plain numbers."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from assay.core.guard import GuardRecord, Status, limits, record, worst
from assay.guards.wording import bounds, count, named, sentence

_SHOWN = 3  # rows that a record shows


def supervision(
    rows: int,
    supervised: int,
    doubled_prefix: Sequence[str] = (),
    *,
    unsupervised: Sequence[str] = (),
    end_of_turn: Mapping[str, Any] | None = None,
    mismatches: Sequence[Mapping[str, Any]] = (),
    compared: int = 0,
    shown: Sequence[str] = (),
) -> GuardRecord:
    """Does every training row teach something, the end of an answer too, in the words that the model is asked with?

    Args:
        rows: number of training rows after truncation.
        supervised: how many of them have at least one token that counts in the loss.
        doubled_prefix: names of rows that begin with the beginning-of-text token twice.
        unsupervised: names of rows without a supervised token, for the message.
        end_of_turn: of chats the template's ``token`` that ends an answer (None: it has none), the answers (``turns``)
            that were looked at, and how many of them have it ``supervised``.
        mismatches: the rows whose prompt has other ids in training than at inference: ``id``, and what stands there
            ``trained`` and ``asked``.
        compared: how many rows were looked at for these.
        shown: a few rows decoded, with their masks.
    """
    bound = limits("supervision.supervised_share")
    share = supervised / rows if rows else None
    measured: dict[str, Any] = {
        "rows": rows, "supervised": supervised, "share": share, "doubled_prefix": len(doubled_prefix),
        "end_of_turn": None if end_of_turn is None else dict(end_of_turn),
        "compared_prompts": compared, "other_prompts": [dict(found) for found in mismatches[:_SHOWN]],
        "shown": list(shown[:_SHOWN]),
    }  # fmt: skip
    threshold = {**bounds(bound), "doubled_prefix": 0, "unsupervised_ends": 0, "other_prompts": 0}
    if share is None:
        return record("supervision", "fail", "there is no training row", measured=measured, threshold=threshold)
    named_rows = f" (without: {named(unsupervised)})" if unsupervised else ""
    found = [f"{supervised} of {count(rows, 'row')} have a token that counts in the loss{named_rows}"]
    wrong = [
        f"{count(len(doubled_prefix), 'row')} with the beginning-of-text token twice ({named(doubled_prefix)})"
        if doubled_prefix
        else "",
        _unlearned_ends(end_of_turn),
        _other_prompts(mismatches, compared),
    ]
    status = "fail" if any(wrong) else bound.status(share)
    return record(
        "supervision", status, sentence([*found, *filter(None, wrong)]), measured=measured, threshold=threshold
    )


def _unlearned_ends(end_of_turn: Mapping[str, Any] | None) -> str:
    if end_of_turn is None or end_of_turn["supervised"] == end_of_turn["turns"]:
        return ""
    if end_of_turn["token"] is None:
        return "the chat template puts no token behind an answer that would end it, so the model does not learn to stop"
    missing = end_of_turn["turns"] - end_of_turn["supervised"]
    return (
        f"{end_of_turn['token']}, which ends an answer, counts in the loss in {end_of_turn['supervised']} of "
        f"{count(end_of_turn['turns'], 'answer')} looked at: the model does not learn to stop in {missing}"
    )


def _other_prompts(mismatches: Sequence[Mapping[str, Any]], compared: int) -> str:
    if not mismatches:
        return ""
    first = mismatches[0]
    return (
        f"{len(mismatches)} of {count(compared, 'prompt')} looked at have other ids in training than at inference, in "
        f"{first['id']} {first['trained']!r} where the model is asked with {first['asked']!r}"
    )


def weights_moved(relative: Mapping[str, float] | None) -> GuardRecord:
    """Did each trainable module change during the first optimizer steps?

    Args:
        relative: module name → ‖change‖ ÷ ‖before‖ over all of the module's trainable tensors
            together (so that a LoRA B that starts at 0 divides nothing by 0), in fp32 master weights.
    """
    bound = limits("weights-moved.relative")
    if not relative:
        return record("weights-moved", "skip", "no module's change was measured", threshold=bounds(bound))
    still = [name for name, change in relative.items() if abs(change) < bound.passes]
    broken = [name for name, change in relative.items() if not math.isfinite(change)]
    finite = [change for change in relative.values() if math.isfinite(change)]
    measured = {
        "modules": len(relative), "unmoved": len(still), "not_finite": len(broken),
        "least": min(finite, default=None), "most": max(finite, default=None),
    }  # fmt: skip
    status: Status = "pass"
    if broken:
        status, why = "fail", f"the change is not a finite number in {named(broken)}"
    elif len(still) == len(relative):
        status, why = "fail", f"none of {count(len(relative), 'trainable module')} changed"
    elif still:
        status, why = "warn", f"{len(still)} of {len(relative)} trainable modules did not change: {named(still)}"
    else:
        why = (
            f"all {count(len(relative), 'trainable module')} changed, "
            f"by {100 * min(finite):.2g} % to {100 * max(finite):.2g} % of their size"
        )
    return record("weights-moved", status, why, measured=measured, threshold=bounds(bound))


def finite_training(steps: int, *, overflows: int = 0, nonfinite_weights: Sequence[str] = ()) -> GuardRecord:
    """Was every loss and gradient a finite number? One that is not stops the training before it is stepped on.

    Args:
        steps: optimizer steps taken.
        overflows: attempts in fp16 whose gradient overflowed, each made again with a smaller loss scale: part of fp16.
        nonfinite_weights: names of tensors that hold a NaN or infinite value at the end.
    """
    measured = {"steps": steps, "overflows": overflows, "nonfinite_weights": len(nonfinite_weights)}
    status: Status = "pass"
    if nonfinite_weights:
        status = "fail"
        found = [f"{count(len(nonfinite_weights), 'tensor')} not finite: {named(nonfinite_weights)}"]
    elif not steps:
        status, found = "skip", ["no optimizer step was taken"]
    else:
        found = [f"every loss and gradient was finite over {count(steps, 'step')}"]
    if overflows:
        found.append(
            f"fp16 overflowed {count(overflows, 'time')}, and each time the step was done again at a smaller scale"
        )
    return record("finite-training", status, sentence(found), measured=measured, threshold={"nonfinite_weights": 0})


def resume_proof(step: int | None, *, trained: str | None = None, found: str | None = None) -> GuardRecord:
    """Does a resumed training go on from where its checkpoint was?

    Args:
        step: of the checkpoint that it went on from, whose own hashes hold; None: it was not interrupted.
        trained: hash of the tokens that this step was trained on, by the checkpoint.
        found: hash of the tokens that stand there now; None: there is no such step any more.
    """
    measured = {"step": step, "same_tokens": None if step is None else trained == found}
    threshold = {"same_tokens": True}
    if step is None:
        why = "the training was not interrupted"
        return record("resume-proof", "skip", why, measured=measured, threshold=threshold)
    if trained != found:
        why = f"step {step} was trained on other tokens than stand there now: the data or their order changed"
        return record("resume-proof", "fail", why, measured=measured, threshold=threshold)
    why = f"it went on after step {step}: weights and optimizer have their recorded hashes, the rows are the same"
    return record("resume-proof", "pass", why, measured=measured, threshold=threshold)


def memory_plan(predicted: float | None, measured: float | None) -> GuardRecord:
    """Did training need the memory that the plan had foretold?

    Args:
        predicted: bytes at the peak, as planned before anything was measured, without those of the process before it
            loads a model; None where nothing was planned.
        measured: likewise, as measured; None where the system does not say.
    """
    bound, floor = limits("memory-plan.share"), limits("memory-plan.floor").passes
    found, threshold = {"predicted": predicted, "measured": measured}, {**bounds(bound), "floor": floor}
    if not predicted or not measured:
        why = "no peak was foretold" if not predicted else "the system does not say what was needed"
        return record("memory-plan", "skip", why, measured=found, threshold=threshold)
    share = (measured - predicted) / max(predicted, floor)
    why = (
        f"{measured / 1e9:.2f} GB were needed beyond what the process held before, {predicted / 1e9:.2f} GB foretold: "
        f"{100 * share:+.0f} % of {max(predicted, floor) / 1e9:.1f} GB"
    )
    return record("memory-plan", bound.status(abs(share)), why, measured=found | {"share": share}, threshold=threshold)


def adapter_integrity(
    expected: Collection[str],
    found: Collection[str],
    *,
    zero_b: Sequence[str] = (),
    nonfinite: Sequence[str] = (),
    hash_ok: bool | None,
    stage: str | None = None,
) -> GuardRecord:
    """Are the saved weights the trained ones?

    Args:
        expected: names of the tensors that were trained.
        found: names of the tensors in the file.
        zero_b: LoRA B tensors that are all 0 although they start there (names hold ``lora_B``).
        nonfinite: tensors that hold a NaN or infinite value.
        hash_ok: whether the file has the hash recorded after training; None where none was recorded.
        stage: the stage that looked, where it is not the registry's.
    """
    bound = limits("adapter-integrity.zero_b_share")
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    b_total = sum("lora_B" in name for name in expected)
    share = len(zero_b) / b_total if b_total else (1.0 if zero_b else 0.0)
    measured = {
        "expected": len(expected), "found": len(found), "missing": len(missing), "unexpected": len(extra),
        "lora_b": b_total, "zero_b": len(zero_b), "nonfinite": len(nonfinite), "hash_ok": hash_ok,
    }  # fmt: skip
    threshold = {"zero_b_share": bounds(bound), "missing": 0, "unexpected": 0, "nonfinite": 0, "hash_ok": True}
    wrong = [
        f"{count(len(names), 'tensor')} {what}: {named(names)}"
        for names, what in ((missing, "missing"), (extra, "unexpected"), (nonfinite, "not finite"))
        if names
    ]
    if not expected:
        wrong.append("no trained tensor is expected")
    if hash_ok is False:
        wrong.append("the file's hash is not the one recorded after training")
    if zero_b:
        wrong.append(f"{len(zero_b)} of {b_total} LoRA B tensors are all 0: {named(zero_b)}")
    status: Status = bound.status(share)
    if missing or extra or nonfinite or hash_ok is False or not expected:
        status = worst([status, "fail"])
    if hash_ok is None:
        wrong.append("no hash was recorded after training, so whether these are the trained weights cannot be told")
        status = "skip" if status == "pass" else status
    why = (
        sentence(wrong) or f"all {count(len(expected), 'tensor')} there, finite, with the hash recorded after training"
    )
    return record("adapter-integrity", status, why, measured=measured, threshold=threshold, stage=stage)
