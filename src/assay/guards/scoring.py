"""Guards on the scores of texts: pure measurements on plain numbers. NLL is in nats, summed over a text."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assay.core.guard import GuardRecord, Status, limits, record
from assay.guards.wording import below, bounds, count, finite, named, sentence


def adapter_effect(
    m: float | None, noise: float | None, *, texts: int | None = None, stage: str | None = None
) -> GuardRecord:
    """Do the model's predictions change when the fine-tuned weights are switched on?

    Args:
        m: median absolute change of the log-probability per token, in nats, on against off.
        noise: the same between two measurements of one model, in nats; taken as at least the noise floor.
        texts: number of held-out texts behind `m`.
        stage: the stage that looked, where it is not the registry's.
    """
    by_r, by_m = limits("adapter-effect.r"), limits("adapter-effect.m")
    floor = limits("adapter-effect.noise_floor").passes
    threshold = {"r": bounds(by_r), "m": bounds(by_m), "noise_floor": floor}
    r = None if m is None or noise is None else m / max(noise, floor)
    measured = {"m": finite(m), "noise": finite(noise), "r": finite(r), "texts": texts}
    on = "" if texts is None else f" on {count(texts, 'held-out text')}"
    status: Status
    if m is None or texts == 0:
        status, why = "skip", "the change of the predictions was not measured: no held-out text"
    elif m == 0:
        status, why = "fail", f"switching the fine-tuned weights on changes no prediction at all{on}"
    elif noise is None or r is None:
        status, why = "skip", "the noise of measuring twice was not measured, so the change cannot be judged"
    elif not math.isfinite(r) or not math.isfinite(noise):
        status, why = "fail", "the change of the predictions is not a finite number"
    else:
        # r must exceed its bounds, where the table's own rule would let it meet them.
        status = "fail" if r <= by_r.warns else "pass" if r > by_r.passes and m >= by_m.passes else "warn"
        why = (
            f"the fine-tuned weights change a token's log-probability by {m:.2g} nats (median{on}), "
            f"{r:.3g} times the noise of measuring twice"
        )
    return record("adapter-effect", status, why, measured=measured, threshold=threshold, stage=stage)


def fresh_reload(
    in_memory: Sequence[float], reloaded: Sequence[float], tokens: Sequence[int], *, four_bit: bool = False
) -> GuardRecord:
    """Does the saved model, loaded in a new process, score texts as the trained one in memory did?

    Args:
        in_memory: NLL of each text by the trained model.
        reloaded: NLL of the same texts by the reloaded one.
        tokens: scored tokens of each text; texts without one are left out.
        four_bit: whether the base's weights are in 4 bit, which allows for ten times the change.
    """
    bound = limits("fresh-reload.nll.4-bit" if four_bit else "fresh-reload.nll")
    if not len(in_memory) == len(reloaded) == len(tokens):
        why = f"{len(in_memory)} texts were scored in memory and {len(reloaded)} after the reload"
        return record("fresh-reload", "fail", why, measured=None, threshold=bounds(bound))
    changes = [abs(a - b) / n for a, b, n in zip(in_memory, reloaded, tokens, strict=True) if n > 0]
    if not changes:
        return record("fresh-reload", "skip", "no text was scored both before and after", threshold=bounds(bound))
    change = _mean(changes)
    measured = {"nll_per_token": finite(change), "texts": len(changes)}
    why = f"the score per token differs by {change:.2g} nats on average over {count(len(changes), 'text')}"
    return record("fresh-reload", below(bound, change), why, measured=measured, threshold=bounds(bound))


def right_split(scored: Sequence[tuple[str, str]], splits: Mapping[str, Sequence[Mapping[str, Any]]]) -> GuardRecord:
    """Are the scored texts those of the frozen test split, and was none of them trained on?

    Args:
        scored: (id, sha256 of the whole text) of each scored text.
        splits: the manifest's ``splits``: train, dev and test, each a list with ``id``, ``group`` and ``sha256``.
    """
    threshold = {"not_in_test": 0, "changed": 0, "in_train": 0, "left_out": 0, "twice": 0}
    if not scored:
        return record("right-split", "skip", "no text was scored", threshold=threshold)
    test = {row["id"]: row for row in splits.get("test", ())}
    train_ids = {row["id"] for row in splits.get("train", ())}
    train_texts = {row["sha256"] for row in splits.get("train", ())}
    trained = [i for i, sha in scored if i in train_ids or sha in train_texts]
    strange = [i for i, _ in scored if i not in test]
    changed = [i for i, sha in scored if i in test and test[i]["sha256"] != sha]
    ids = Counter(i for i, _ in scored)
    missing, twice = [i for i in test if i not in ids], [i for i, times in ids.items() if times > 1]
    groups = {row["group"] for row in test.values()}
    scored_groups = {test[i]["group"] for i, _ in scored if i in test}
    measured = {
        "scored": len(scored), "not_in_test": len(strange), "changed": len(changed), "in_train": len(trained),
        "left_out": len(missing), "twice": len(twice), "test_groups": len(groups), "scored_groups": len(scored_groups),
    }  # fmt: skip
    found = [
        f"{len(names)} of {count(len(scored), 'scored text')} {what} ({named(names)})"
        for names, what in (
            (trained, "stand in the training split"),
            (strange, "are not in the frozen test split"),
            (changed, "are not as they were when the test split was frozen"),
        )
        if names
    ]
    if missing:
        found.append(f"{len(missing)} of {count(len(test), 'test text')} were left out ({named(missing)})")
    if twice:
        found.append(f"{count(len(twice), 'text')} stand there more than once ({named(twice)})")
    why = sentence(found) or (
        f"all {count(len(scored), 'scored text')} stand in the frozen test split "
        f"({len(scored_groups)} of its {count(len(groups), 'group')}), none in the training split"
    )
    return record("right-split", "fail" if found else "pass", why, measured=measured, threshold=threshold)


def unit_counting(
    *,
    tokens: tuple[int, int],
    size: tuple[int, int],
    single: Sequence[float],
    batched: Sequence[float],
    reversed_order: Sequence[float],
    dtype: str,
) -> GuardRecord:
    """Are tokens and bytes counted exactly, and does a score depend on neither batch size nor order?

    Args:
        tokens: (expected, counted): targets that are not padding.
        size: (expected, counted): UTF-8 bytes of the text that the scored tokens cover.
        single: NLL of each text, scored one at a time.
        batched: the same texts scored in batches.
        reversed_order: the same scored in reversed order, put back into the order of `single`.
        dtype: of the matrix products: "fp32", "bf16" or "fp16"; "4-bit" where the base's weights are.
    """
    bound = limits(f"unit-counting.relative.{dtype}")
    threshold = {"relative": bounds(bound), "dtype": dtype, "tokens": 0, "bytes": 0}
    measured: dict[str, Any] = {
        "tokens": list(tokens), "bytes": list(size), "texts": len(single),
        "batched": finite(_relative(single, batched)), "reversed": finite(_relative(single, reversed_order)),
    }  # fmt: skip
    wrong = [
        f"{counted} {unit} were counted where there are {expected}"
        for unit, (expected, counted) in (("tokens", tokens), ("bytes", size))
        if expected != counted
    ]
    if wrong:
        return record("unit-counting", "fail", sentence(wrong), measured=measured, threshold=threshold)
    if not len(single) == len(batched) == len(reversed_order):
        why = f"{len(single)} texts scored singly, {len(batched)} in batches, {len(reversed_order)} in reversed order"
        return record("unit-counting", "fail", why, measured=measured, threshold=threshold)
    by_batch, by_order = _relative(single, batched), _relative(single, reversed_order)
    if by_batch is None or by_order is None:
        why = "no text was scored a second time in other batches"
        return record("unit-counting", "skip", why, measured=measured, threshold=threshold)
    # max() would drop a NaN that comes second.
    most = by_batch + by_order if math.isnan(by_batch + by_order) else max(by_batch, by_order)
    why = (
        f"tokens and bytes counted exactly ({tokens[0]} and {size[0]}); scores of {count(len(single), 'text')} differ "
        f"by {by_batch:.2g} of their size between batch sizes and {by_order:.2g} between orders ({dtype})"
    )
    return record("unit-counting", bound.status(most), why, measured=measured, threshold=threshold)


def a_a_control(noise_bpb: float | None, half_width: float | None) -> GuardRecord:
    """Is the base model's difference from itself small beside the uncertainty of the result?

    Args:
        noise_bpb: |difference| between two measurements of the base model, in bits per byte.
        half_width: of the result's interval, in bits per byte; None where there is no interval.
    """
    bound = limits("a-a-control.share")
    measured: dict[str, Any] = {"noise_bpb": finite(noise_bpb), "half_width": finite(half_width), "share": None}
    if noise_bpb is None or half_width is None:
        why = (
            "the base model was not measured a second time"
            if noise_bpb is None
            else "the result has no interval to compare the noise with"
        )
        return record("a-a-control", "skip", why, measured=measured, threshold=bounds(bound))
    noise = abs(noise_bpb)
    share = 0.0 if noise == 0 else noise / half_width if half_width > 0 else math.inf
    measured["share"] = finite(share)
    beside = f"{100 * share:.2g} % of" if math.isfinite(share) else "beside"
    why = (
        f"the base model measured twice differs from itself by {noise:.2g} bits per byte, "
        f"{beside} the result's half-width of {half_width:.2g}"
    )
    return record("a-a-control", bound.status(share), why, measured=measured, threshold=bounds(bound))


def impossible_equality(
    rows: Iterable[tuple[str, int, float, float]], *, weights_differ: bool, same_counts: bool = False
) -> GuardRecord:
    """Do two models with different weights give a long text exactly the same score, or two tokenizers the same counts?

    Args:
        rows: (id, tokens, base NLL, tuned NLL) of each text.
        weights_differ: whether the two models' weights have different hashes.
        same_counts: whether their tokenizers differ, and yet every text has as many tokens by the one as by the other.
    """
    least = limits("impossible-equality.min_tokens").passes
    threshold = {"equal": 0, "more_tokens_than": least}
    if same_counts:
        why = "the tokenizers differ, and yet every text has the same number of tokens by both"
        return record("impossible-equality", "fail", why, measured={"same_counts": True}, threshold=threshold)
    if not weights_differ:
        why = "both models have the same weights, so equal scores are expected"
        return record("impossible-equality", "skip", why, threshold=threshold)
    long = [(name, base, tuned) for name, tokens, base, tuned in rows if tokens > least]
    if not long:
        why = f"no text has more than {least:g} tokens"
        return record("impossible-equality", "skip", why, measured={"texts": 0, "equal": 0}, threshold=threshold)
    equal = [name for name, base, tuned in long if base == tuned]
    beyond = f"{count(len(long), 'text')} of more than {least:g} tokens"
    why = (
        f"{len(equal)} of {beyond} have exactly the same score under both models: {named(equal)}"
        if equal
        else f"none of {beyond} has exactly the same score under both models"
    )
    measured = {"texts": len(long), "equal": len(equal)}
    return record("impossible-equality", "fail" if equal else "pass", why, measured=measured, threshold=threshold)


def _mean(values: Sequence[float]) -> float:
    # fsum refuses inf - inf.
    return math.fsum(values) / len(values) if all(math.isfinite(v) for v in values) else math.nan


def _relative(reference: Sequence[float], other: Sequence[float]) -> float | None:
    """Σ|a - b| ÷ Σ|a|: a short text's tiny score cannot blow it up. None without texts or scores."""
    if len(reference) != len(other) or not reference:
        return None
    total = _mean([abs(a) for a in reference])
    change = _mean([abs(a - b) for a, b in zip(reference, other, strict=True)])
    if total == 0:
        return 0.0 if change == 0 else math.inf
    return change / total
