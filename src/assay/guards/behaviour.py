"""Guards on what a model says and what it has kept: pure measurements on plain numbers and texts."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from assay.core.guard import GuardRecord, Status, limits, record, worst
from assay.guards.wording import bounds, count, named, sentence


def output_hygiene(
    outputs: Sequence[str],
    special_tokens: Sequence[str],
    *,
    systems: Collection[str] = (),
    stopped: Sequence[bool] | None = None,
) -> GuardRecord:
    """Do generated texts hold template tokens or the system prompt, and do answers end by themselves?

    Args:
        outputs: the newly generated text of each output, without its prompt, special tokens spelt out.
        special_tokens: the spellings of the tokenizer's special and template tokens.
        systems: the system prompts of chats.
        stopped: of answers in a chat, whether each ended before the limit; None: raw text, which need not end.
    """
    bound, ends = limits("output-hygiene.share"), limits("output-hygiene.stop_rate")
    run = int(limits("output-hygiene.system_words").passes)
    threshold = {**bounds(bound), "outputs_to_fail": 2, "stop_rate": ends.passes, "system_words": run}
    if not outputs:
        return record("output-hygiene", "skip", "no text was generated", threshold=threshold)
    marks = [token for token in special_tokens if token]
    leaks = {words for system in systems for words in _runs_of_words(system, run)}
    found = {
        i: [
            *(token for token in marks if token in text),
            *(["the system prompt"] if _runs_of_words(text, run) & leaks else []),
        ]
        for i, text in enumerate(outputs, 1)
    }
    dirty = {i: inside for i, inside in found.items() if inside}
    share = len(dirty) / len(outputs)
    status: Status = "pass"
    if dirty:
        # Two or more fail, if they are also more than the share: one alone is a warning at any share.
        status = "fail" if len(dirty) > 1 and bound.status(share) == "fail" else "warn"
    seen = named(sorted({what for inside in dirty.values() for what in inside}))
    why = [
        f"{len(dirty)} of {count(len(outputs), 'output')} hold what is no answer ({seen}; "
        f"output {named([str(i) for i in dirty])})"
        if dirty
        else f"none of {count(len(outputs), 'output')} holds a template token"
        + (" or the system prompt" if leaks else "")
    ]
    rate = sum(stopped) / len(stopped) if stopped else None
    if rate is not None and stopped is not None:
        status = worst([status, ends.status(rate)])
        why.append(f"{sum(stopped)} of {count(len(stopped), 'answer')} ended by themselves")
    unended = "see that the ends of answers are learned, or raise evaluate.decoding.max_new_tokens"
    return record(
        "output-hygiene", status, sentence(why), fix=None if dirty or status == "pass" else unended,
        measured={"outputs": len(outputs), "dirty": len(dirty), "share": share, "stop_rate": rate}, threshold=threshold,
    )  # fmt: skip


def _runs_of_words(text: str, length: int) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return {tuple(words[i : i + length]) for i in range(len(words) - length + 1)}


def forgetting(found: Mapping[str, Any]) -> GuardRecord:
    """Does the tuned model still know what training had nothing to do with?

    Args:
        found: `texts`, each with `name`, `named`, `outcome` (as in `stats.equivalence`, or None with a `reason`),
            `mean` (base - tuned), `base_bpb`; `suites`, each with `name`, `questions`, `base`, `tuned` (shares) and
            `p`; and `margin`, the share of the base's bits per byte that still counts as none.
    """
    alpha = limits("forgetting.p").passes
    statuses: list[Status] = []
    said = []
    for text in found["texts"]:
        statuses.append(_of_text(text))
        said.append(_text_words(text))
    for suite in found["suites"]:
        if suite["p"] is None:
            statuses.append("skip")
            said.append(f"{suite['name']}: {suite['reason']}")
            continue
        statuses.append("warn" if suite["p"] < alpha and suite["tuned"] < suite["base"] else "pass")
        said.append(
            f"{suite['name']}: {100 * suite['tuned']:.0f} % of {count(suite['questions'], 'question')} answered right, "
            f"the base {100 * suite['base']:.0f} %"
        )
    return record(
        "forgetting", worst(statuses), sentence(said) or "there was nothing to remember",
        measured={
            "texts": [{k: t.get(k) for k in ("name", "named", "outcome", "mean", "base_bpb")} for t in found["texts"]],
            "suites": [{k: s[k] for k in ("name", "base", "tuned", "p")} for s in found["suites"]],
        },
        threshold={"margin": found["margin"], "p": alpha},
    )  # fmt: skip


def _of_text(text: Mapping[str, Any]) -> Status:
    if text["outcome"] is None:
        return "skip"
    if text["outcome"] in ("equivalent", "not-worse"):
        return "pass"
    return "fail" if text["outcome"] == "beyond" and text["named"] else "warn"


def _text_words(text: Mapping[str, Any]) -> str:
    if text["outcome"] is None:
        return f"{text['name']}: {text['reason']}"
    change = 100 * text["mean"] / text["base_bpb"]
    rests = {
        "equivalent": "no more than the margin",
        "not-worse": "no loss beyond the margin",
        "not-shown": "whether that is within the margin is not shown",
        "beyond": "beyond the margin",
    }
    return f"{text['name']}: {abs(change):.1f} % {'fewer' if change > 0 else 'more'} bits, {rests[text['outcome']]}"


def memorisation(found: Mapping[str, Any]) -> GuardRecord:
    """Does the model recite its training texts?

    Args:
        found: `excess`, the difference in differences of the shares of stretches that are gone on with word for word
            (None: no row was long enough), `rows` looked at and `rates`; `longest_span`, tokens of the longest stretch
            that a generated text shares with a training row, and `longest_text`, tokens of the longest generated text
            (None: none was generated).
    """
    bound, longest = limits("memorisation.excess"), limits("memorisation.span")
    excess, span, text = found["excess"], found["longest_span"], found["longest_text"]
    statuses: list[Status] = []
    said = []
    if excess is None:
        said.append("no row on either side is long enough for 50 tokens and the 50 behind them")
    else:
        statuses.append(bound.status(excess))
        train = found["rates"]["train"]
        said.append(
            f"{100 * train['tuned']:.1f} % of {found['rows']['train']} training stretches are gone on with word "
            f"for word ({100 * train['base']:.1f} % by the base), {100 * excess:+.1f} points beyond held-out texts"
        )
    if span is not None:
        statuses.append("pass" if span <= longest.passes else "warn")
        said.append(f"the longest copied stretch in a generated text has {count(span, 'token')}")
        if text <= longest.passes:
            said.append(f"the longest generated text has {count(text, 'token')}, so a longer one could not be seen")
    return record(
        "memorisation", worst(statuses), sentence(said),
        measured={"excess": excess, "span": span, "rows": dict(found["rows"])},
        threshold={**bounds(bound), "span": longest.passes},
    )  # fmt: skip


def style_fairness(
    generated: float | None, reference: float | None, *, low: float | None, texts: int, words: int | None
) -> GuardRecord:
    """Do generated texts repeat themselves more than real ones of the same length do?

    Args:
        generated: share of repeated word 4-grams in generated texts; None where none is long enough.
        reference: likewise in real texts.
        low: the lower end of the interval of `generated`: few texts alone do not fail.
        texts: number of generated texts compared.
        words: the length that all were cut to.
    """
    bound, floor = limits("style-fairness.ratio"), limits("style-fairness.floor").passes
    threshold = {**bounds(bound), "floor": floor}
    measured = {"generated": generated, "reference": reference, "texts": texts, "words": words}
    if generated is None or reference is None:
        why = "no generated text is long enough to be compared"
        return record("style-fairness", "skip", why, measured=measured, threshold=threshold)
    # a reference that never repeats itself would make one repetition infinitely much
    ratio, least = ((share + floor) / (reference + floor) for share in (generated, low or 0.0))
    status = bound.status(ratio)
    why = (
        f"in {count(texts, 'text')} cut to {words} words {100 * generated:.1f} % of the 4-word sequences come again, "
        f"in real texts of that length {100 * reference:.1f} %"
    )
    if status == "fail" and bound.status(least) != "fail":
        status, why = "warn", f"{why}; so few texts may do that by chance"
    return record("style-fairness", status, why, measured=measured | {"ratio": ratio}, threshold=threshold)


def fair_baseline(*, prompts: int, examples: int, base_template: str, decoding_same: bool) -> GuardRecord:
    """Had the base the same chance as the tuned model?

    Args:
        prompts: number of prompts that both continued.
        examples: training texts that the base was shown as the prompt-only baseline; 0: it was shown none.
        base_template: `own`, `none` (it has none: it was asked as the tuned model was), or `other` (it has one of its
            own and was asked in another only).
        decoding_same: whether both were decoded with the same settings and seeds.
    """
    measured = {"prompts": prompts, "examples": examples, "template": base_template, "same_decoding": decoding_same}
    missing = [
        what
        for what, lacking in (
            ("no prompts were continued", not prompts),
            ("the base was shown no examples", not examples),
        )
        if lacking
    ]
    wrong = [
        what
        for what, lacking in (
            ("the base has a chat template of its own and was asked in another one only", base_template == "other"),
            ("base and tuned were decoded differently", not decoding_same),
        )
        if lacking
    ]
    status: Status = "fail" if wrong else "warn" if missing else "pass"
    why = sentence([*wrong, *missing]) or (
        f"base and tuned got the same {count(prompts, 'prompt')}, decoding and seeds, the base also with "
        f"{count(examples, 'example')} to follow"
    )
    return record("fair-baseline", status, why, measured=measured, threshold={"examples": 1, "template": "own or none"})
