"""What the report says beside the verdict: what was kept, what is recited, and what running the models costs."""

from __future__ import annotations

from typing import Any

from assay.core.guard import limits
from assay.core.others import shared
from assay.core.words import count as number
from assay.stages.compare.evidence import Evidence, Json
from assay.stages.compare.plots import Row, beside
from assay.stages.compare.words import (
    NBSP,
    UNKNOWN,
    count,
    data_size,
    defined,
    fixed,
    percent,
    saving,
    savings,
    share_digits,
    short,
)
from assay.stats.intervals import share_interval
from assay.text.suites import GENERIC

# What the models are called, wherever they stand side by side; `prompt_only` is the prompt-only baseline.
ARMS = {"base": "Base", "prompt_only": "Base with examples", "tuned": "Tuned"}
# How a change of generic text ended → the style and sign of its words (never colour alone).
SIGNS = {
    "equivalent": ("good", "✓"),
    "not-worse": ("good", "✓"),
    "not-shown": ("warn", "?"),
    "beyond": ("bad", "▼"),
}


def kept(evidence: Evidence) -> Json:
    """Generic texts against the margin, and questions with one right answer."""
    found, missing = evidence.part("forgetting")
    if not found:
        return {"missing": missing}
    margin = f"{short(100 * found['margin'], 3)}{NBSP}%"
    halves = [50 * (t["high"] - t["low"]) / t["base_bpb"] for t in found["texts"] if t["outcome"]]
    texts = [_kept_texts(one, margin, share_digits(min(halves, default=None))) for one in found["texts"]]
    rows = [row for text in texts if (row := text.pop("row"))]
    width = 100 * float(found["margin"])
    plot = beside(
        rows, mark=0.0, band=(-width, width), ends=("← more bits: forgotten", "fewer bits: better →"),
        label="per cent of the base's bits that are saved",
    ) if rows else None  # fmt: skip
    return {
        "missing": None,
        "answer": _answer(found["texts"], margin),
        "margin": margin,
        "level": percent(next((t["level"] for t in found["texts"] if "level" in t), None), 0),
        "plot": plot,
        "texts": texts,
        "suites": [_suite(one) for one in found["suites"]],
        "tasks": _tasks((evidence.summary or {}).get("harness")),
    }


def _answer(texts: list[Json], margin: str) -> list[str]:
    """The section's finding in two sentences for each way that texts ended."""
    by: dict[str | None, list[str]] = {}
    for text in texts:
        ended = "kept" if text["outcome"] in ("equivalent", "not-worse") else text["outcome"]
        by.setdefault(ended, []).append(_name(text["name"]))
    said = {
        "beyond": ("Forgotten: {}.", "A loss of more than {} is shown."),
        "not-shown": ("Not shown either way: {}.", "A loss of more than {} cannot be ruled out."),
        "kept": ("Kept: {}.", "A loss of more than {} is ruled out."),
        None: ("Not measured: {}.", ""),
    }
    found = [
        (first.format(", ".join(by[ended])), then.format(margin))
        for ended, (first, then) in said.items()
        if ended in by
    ]
    return [sentence for pair in found for sentence in pair if sentence]


def _name(code: str) -> str:
    return GENERIC.get(code, code)


def _kept_texts(text: Json, margin: str, digits: int) -> Json:
    base = defined(text["base_bpb"])
    found = {
        "name": _name(text["name"]),
        "note": "you asked to keep it" if text["named"] else "measured in any case",
        "texts": count(text["groups"]),
        "base": fixed(base, 3),
        "tuned": fixed(text["tuned_bpb"], 3),
        "row": None,
    }
    if text["outcome"] is None or not base:
        return found | {
            "change": "none",
            "ends": "",
            "css": "plain",
            "sign": "–",
            "said": f"not measured: {text.get('reason')}",
        }
    change, low, high = (text[key] / base for key in ("mean", "low", "high"))
    css, sign = SIGNS[text["outcome"]]
    if text["outcome"] == "beyond" and not text["named"]:
        css = "warn"
    said = saving(change, digits)
    return found | {
        "change": f"{said} bits",
        "ends": savings(low, high, digits),
        "css": css,
        "sign": sign,
        "said": _ended(text["outcome"], low, margin),
        "row": Row(_name(text["name"]), 100 * change, 100 * low, 100 * high, words=said),
    }


def _ended(outcome: str, low: float, margin: str) -> str:
    if outcome == "not-worse":
        return "kept, and predicted better than before" if low > 0 else f"kept: no loss of more than {margin}"
    return {
        "equivalent": f"kept: changed by less than {margin}",
        "not-shown": f"not shown: a loss of more than {margin} cannot be ruled out",
        "beyond": f"forgotten: a loss of more than {margin} is shown",
    }[outcome]


def _suite(suite: Json) -> Json:
    asked = suite["questions"]
    unscored = [suite.get(key, 0) for key in ("unscored_first", "unscored_second")]
    answers = [right(suite[side], asked - lost) for side, lost in zip(("base", "tuned"), unscored, strict=True)]
    p = defined(suite["p"])
    found = {
        "name": suite["name"],
        "questions": count(asked),
        "base": answers[0],
        "tuned": answers[1],
        "guessing": percent(suite["guessing"], 0) if "guessing" in suite else None,
        "unscored": sum(unscored),
        "p": "none" if p is None else short(p, 2),
    }
    if p is None:
        return found | {"only": "", "said": f"not measured: {suite.get('reason')}"}
    more = suite["tuned"] > suite["base"]
    said = "no difference shown, which does not prove that there is none"
    if p < limits("forgetting.p").passes:
        said = f"{'more' if more else 'fewer'} right answers than before, beyond chance"
    only = f"the base alone {count(suite['only_first'])}, the tuned alone {count(suite['only_second'])}"
    return found | {"only": only, "said": said}


def _tasks(found: Json | None) -> Json | None:
    """The metrics of lm-evaluation-harness, where its tasks were asked."""
    if not found:
        return None
    return {"version": found["lm_eval"], "rows": [_task(row) for row in found["metrics"]]}


def _task(row: Json) -> Json:
    p, base, tuned = (defined(row[key]) for key in ("p_holm", "base", "tuned"))
    said = f"not tested: {row.get('reason') or 'it has no p'}"
    if p is not None and base is not None and tuned is not None:
        up = row["higher_is_better"] is not False
        said = "no difference shown, which does not prove that there is none"
        if p < limits("forgetting.p").passes:
            said = f"{'better' if (tuned > base) == up else 'worse'} than before, beyond chance"
    return {
        "name": row["task"],
        "what": f"{row['metric']}, {row['shots']} examples" + (f", {count(row['n'])} questions" if row["n"] else ""),
        "base": _task_value(base, row["base_stderr"]),
        "tuned": _task_value(tuned, row["tuned_stderr"]),
        "p": "none" if p is None else short(p, 2),
        "said": said,
    }


def _task_value(value: float | None, error: Any) -> tuple[str, str]:
    if value is None:
        return ("none", "not a finite number")
    return (fixed(value, 3), "no standard error" if defined(error) is None else f"± {fixed(error, 3)}")


def right(rate: Any, of: int) -> tuple[str, str]:
    """A share as (``19 of 80``, ``24 % (15 to 35 %)``), with its exact 95 % interval."""
    share = defined(rate)
    if share is None or not of:
        return ("none", "")
    hits, digits = round(share * of), 0 if of < 1000 else 1
    low, high = share_interval(hits, of)
    ends = f"{fixed(100 * low, digits)} to {percent(high, digits)}"
    return (f"{count(hits)} of {count(of)}", f"{percent(share, digits)} ({ends})")


def recited(evidence: Evidence) -> Json:
    """Stretches that are continued word for word, and the longest copied one."""
    found, missing = evidence.part("memorisation")
    if not found:
        return {"missing": missing}
    rows, rates = found["rows"], found["rates"]
    bound, longest = limits("memorisation.excess"), limits("memorisation.span").passes + 1
    table = [
        {
            "label": label,
            "base": right(rates[side]["base"], rows[side]),
            "tuned": right(rates[side]["tuned"], rows[side]),
            "too_short": number(found["too_short"][side], "row"),
        }
        for side, label in (("train", "Training texts"), ("held_out", "Held-out texts"))
    ]
    excess, span, text = (defined(found.get(key)) for key in ("excess", "longest_span", "longest_text"))
    return {
        "missing": None,
        "answer": _recital(excess, bound.passes, rates["train"]["tuned"], rows["train"]) + _copied(span, longest),
        "prompt": count(found["prompt_tokens"]),
        "continued": count(found["continued_tokens"]),
        "rows": table,
        "excess": None if excess is None else f"{fixed(100 * excess, 1, sign=True)} points",
        "grain": None if excess is None else fixed(100 / min(rows.values()), 1),
        "bounds": (percent(bound.passes, 0), percent(bound.warns, 0)),
        "span": None if span is None else number(int(span), "token"),
        "longest": count(longest),
        "text": number(int(text), "token") if text is not None and text < longest else None,
    }  # fmt: skip


def _recital(excess: float | None, most: float, rate: float | None, of: int) -> list[str]:
    if excess is None or rate is None:
        return ["Whether it recites could not be measured."]
    hits = round(rate * of)
    found = (
        f"{count(hits)} of {count(of)} stretches of training text came back word for word; "
        f"a true share of up to {percent(share_interval(hits, of)[1], 0)} would be in keeping with that."
    )
    if excess <= most:
        return ["No sign of recital.", found]
    return ["It recites.", found, f"That is {fixed(100 * excess, 1)} points beyond what is usual."]


def _copied(span: float | None, longest: float) -> list[str]:
    if span is None or span < longest:
        return []
    return [f"A generated text copies {count(span)} tokens of training text in one piece."]


def cost(evidence: Evidence) -> Json:
    """Pace, waiting time and memory of each arm."""
    found, missing = evidence.part("generation")
    if not found:
        return {"missing": missing}
    if not found["cost"]:
        return {"missing": "no prompts were continued"}
    settings = (evidence.summary or {}).get("settings") or {}
    arms = found["cost"]
    return {
        "missing": None,
        "batch": count(max(arm["batch"] for arm in arms.values())),
        "where": f"{settings.get('device', UNKNOWN)}, {settings.get('dtype', UNKNOWN)}",
        "rows": [
            {
                "label": ARMS.get(name, name),
                "together": _pace(arm["tokens_per_s"]),
                "alone": _pace(arm["tokens_per_s_alone"]),
                "first": _wait(arm["first_token_s"]),
                "memory": "not measured" if defined(arm["peak_memory"]) is None else data_size(arm["peak_memory"]),
            }
            for name, arm in arms.items()
        ],
        "notes": [note for name, arm in arms.items() for note in _measured_how(ARMS.get(name, name), arm)],
    }


def _measured_how(label: str, arm: Json) -> list[str]:
    """What keeps an arm's pace from being held against another's: other work meanwhile, or another time."""
    told = shared(arm)
    found = [f"{label}: {told}."] if told else []
    if arm.get("run"):
        found.append(f"{label}: measured on {arm['measured']} by the run {arm['run']}, which asked the base the same.")
    return found


def _pace(value: Any) -> str:
    return "no new token" if defined(value) is None else short(value, 3)


def _wait(seconds: Any) -> str:
    found = defined(seconds)
    if found is None:
        return "no new token"
    return f"{short(1000 * found, 2)}{NBSP}ms" if found < 1 else f"{short(found, 2)}{NBSP}s"


def examples(evidence: Evidence) -> str | None:
    """How many training texts the prompt-only baseline was shown, as the guard on fairness recorded it."""
    records = evidence.by_guard().get("fair-baseline", [])
    shown = next((r.measured["examples"] for r in records if r.measured and r.measured.get("examples")), None)
    return None if shown is None else number(int(shown), "training text")
