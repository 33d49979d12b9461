"""What each section of the report shows, as plain values for the template. All judgement happened before."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from markupsafe import Markup

from assay.core.console import duration
from assay.core.explain import CLASSES, explain
from assay.core.guard import GUARDS, GuardRecord
from assay.core.others import shared
from assay.stages.compare import data_page, decoding, evaluation, headline, manner, preferences, provenance
from assay.stages.compare.evidence import Evidence, Json
from assay.stages.compare.plots import Row, curve, forest
from assay.stages.compare.words import (
    UNKNOWN,
    count,
    data_size,
    defined,
    fixed,
    interval,
    share,
    short,
    value_text,
)

SHOWN_GROUPS = 60  # more groups than this: the ends of the ranking are drawn, the middle is counted
TABLE_GROUPS = 1000
STATUSES = (
    ("fail", "Failed", "✕", "bad"),
    ("warn", "Warned", "!", "warn"),
    ("skip", "Skipped", "–", "plain"),
    ("none", "Not run", "·", "plain"),
    ("pass", "Passed", "✓", "good"),
)


def results(evidence: Evidence) -> Json:
    """Base against tuned, and the difference in both senses: pooled, and the mean over groups."""
    summary = evidence.summary
    if summary is None:
        return {"missing": evidence.why_missing("evaluate")}
    rows = []
    for key, label in (("base", "Base"), ("tuned", "Tuned")):
        part = summary.get(key) or {}
        rows.append(
            {
                "label": label,
                "bpb": fixed(part.get("bpb"), 4),
                "bytes": count(part.get("bytes")),
                "tokens": count(part.get("tokens")),
                "perplexity": short(part.get("perplexity")),
                "reason": part.get("perplexity_reason"),
            }
        )
    base, tuned = (defined((summary.get(k) or {}).get("bpb")) for k in ("base", "tuned"))
    found, digits = headline.difference(evidence), headline.digits_of(evidence)
    sample = summary.get("train_sample") or {}
    return {
        "missing": None,
        "rows": rows,
        "has_perplexity": all(defined((summary.get(k) or {}).get("perplexity")) is not None for k in ("base", "tuned")),
        "reason": next((r["reason"] for r in rows if r["reason"]), None),
        "pooled": UNKNOWN if base is None or tuned is None else fixed(base - tuned, max(4, digits), sign=True),
        "mean": fixed(found.get("mean"), max(4, digits), sign=True),
        "level": headline.level(evidence),
        "interval": interval(found.get("low"), found.get("high"), digits),
        "means": _means(headline.base_mean(evidence), defined(found.get("mean"))),
        "n": count(found.get("n_groups")),
        "sample": sample
        and {
            "tuned": fixed(sample.get("tuned_bpb"), 4),
            "bytes": count(sample.get("bytes")),
        },
        "earlier": _earlier(summary.get("from_earlier_runs") or []),
        "settings": provenance.pairs({k: v for k, v in (summary.get("settings") or {}).items() if k != "decoding"}),
    }


def _earlier(parts: Sequence[Json]) -> str | None:
    """What of the base was measured by an earlier run, and by which."""
    if not parts:
        return None
    runs = {part["run"]: part["measured"] for part in parts}
    who = " and ".join(f"{run} ({measured})" for run, measured in runs.items())
    return f"{', '.join(part['what'] for part in parts)}: by {who}"


def _means(base: float | None, saved: float | None) -> tuple[str, str] | None:
    """Base and tuned as means over groups."""
    return None if base is None or saved is None else (fixed(base, 4), fixed(base - saved, 4))


def groups(evidence: Evidence) -> Json:
    """The difference of every held-out group, sorted from best to worst, with the mean's interval."""
    if evidence.summary is None:
        return {"missing": evidence.why_missing("evaluate")}
    found, digits = headline.difference(evidence), headline.digits_of(evidence)
    scored = evidence.summary.get("groups") or []
    ranked = sorted(
        (g for g in scored if defined(g.get("difference")) is not None),
        key=lambda g: (-g["difference"], str(g["group"])),
    )
    if not ranked:
        return {"missing": "no held-out group has a score"}
    rows = [_group_row(evidence, g) for g in ranked]
    shown, half = rows, SHOWN_GROUPS // 2
    if len(rows) > SHOWN_GROUPS:
        shown = [*rows[:half], *rows[-half:]]
    mean = defined(found.get("mean"))
    bottom = (
        mean
        if mean is None
        else Row(
            "Mean", mean, defined(found.get("low")), defined(found.get("high")), f"{headline.level(evidence)} interval"
        )
    )
    spreads = [row.low is not None for row in rows]
    table = [
        {
            "group": g["group"],
            "base": fixed(g.get("base_bpb"), 4),
            "tuned": fixed(g.get("tuned_bpb"), 4),
            "difference": fixed(g["difference"], digits, sign=True),
            "spread": interval(row.low, row.high, digits) if row.low is not None else "none",
            "excerpts": count(spread.items) if (spread := evidence.spreads.get(row.label)) else UNKNOWN,
            "bytes": count(g.get("bytes")),
            "tokens": count(g.get("tokens")),
        }
        for g, row in zip(ranked[:TABLE_GROUPS], rows, strict=False)
    ]
    return {
        "missing": None,
        "plot": forest(shown, bottom, headline.smallest_effect(evidence), digits),
        "unscored": [g for g in scored if defined(g.get("difference")) is None][:SHOWN_GROUPS],
        "left_out": len(rows) - len(shown),
        "rows": table,
        "cut": len(rows) - len(table),
        "n": len(rows),
        "better": sum(g["difference"] > 0 for g in ranked),
        "worse": sum(g["difference"] < 0 for g in ranked),
        "whiskers": any(spreads),
        "all_whiskers": all(spreads),
        "smallest": fixed(headline.smallest_effect(evidence), max(3, digits)),
    }


def _group_row(evidence: Evidence, group: Json) -> Row:
    spread = evidence.spreads.get(str(group["group"]))
    low, high = (spread.low, spread.high) if spread else (None, None)
    return Row(str(group["group"]), group["difference"], low, high)


def training(evidence: Evidence) -> Json:
    """Curves from metrics.jsonl and the totals of train/summary.json."""
    steps = [m for m in evidence.metrics if defined(m.get("loss")) is not None]
    dev = [m for m in evidence.metrics if defined(m.get("dev_bpb")) is not None]
    if not steps and evidence.training is None:
        return {"missing": evidence.why_missing("train")}
    taken = [m for m in evidence.metrics if "dev_bpb" not in m and defined(m.get("step")) is not None]
    seen = list(zip(_column(taken, "step"), accumulate(_column(taken, "tokens")), strict=False))
    last = max(_column(evidence.metrics, "step"), default=1.0)

    def draw(rows: Sequence[Json], key: str, title: str, unit: str, **how: Any) -> Markup | None:
        points = [(m["step"], m[key]) for m in rows if defined(m.get(key)) is not None]
        return curve(points, title=title, unit=unit, last_step=last, tokens_at=seen, **how) if points else None

    spans = [
        (m["step"], m["dev_low"], m["dev_high"])
        for m in dev
        if defined(m.get("dev_low")) is not None and defined(m.get("dev_high")) is not None
    ]
    charts = [
        draw(steps, "loss", "Training loss", "nats per token"),
        draw(dev, "dev_bpb", "Development texts", "bits per byte", dots=True, spans=spans),
        draw(steps, "lr", "Learning rate", "per step", from_zero=True),
        draw(steps, "grad_norm", "Gradient norm", "before clipping", from_zero=True),
    ]
    total = evidence.training or {}
    facts = [
        ("Optimizer steps", count(total.get("steps"))),
        ("Overflows of fp16", count(total.get("overflows"))),
        ("Tokens trained on", count(total.get("tokens"))),
        ("Of the training text, read at least once", _read(total.get("corpus") or {})),
        ("Trainable parameters", count(total.get("trainable_parameters"))),
        ("Time in training steps", _duration(total.get("seconds"))),
        ("Tokens per second", short(total.get("tokens_per_s"), 3)),
        *([("Times and pace are", told)] if (told := shared(evidence.stages.get("train", {}))) else []),
        ("Peak memory", data_size(total.get("peak_memory"))),
        ("Loss, first → last step", f"{fixed(total.get('first_loss'), 3)} → {fixed(total.get('final_loss'), 3)}"),
    ]
    return {
        "missing": None,
        "charts": [c for c in charts if c],
        "facts": facts if evidence.training else [],
        "unfinished": None if evidence.training else evidence.why_missing("train"),
        "chosen": _chosen(evidence),
        "dev": (fixed(dev[0]["dev_bpb"], 4), fixed(dev[-1]["dev_bpb"], 4)) if len(dev) > 1 else None,
    }


def _chosen(evidence: Evidence) -> str | None:
    """What was chosen by the development texts, as the guard on selection recorded it."""
    records = evidence.by_guard().get("selection-hygiene", [])
    return next((" and ".join(r.measured["chosen"]) for r in records if r.measured and r.measured.get("chosen")), None)


def _column(rows: Sequence[Json], key: str) -> list[float]:
    return [defined(row.get(key)) or 0.0 for row in rows]


def _duration(seconds: Any) -> str:
    return UNKNOWN if defined(seconds) is None else duration(seconds)


def _read(corpus: Json) -> str:
    """The share of an epoch's tokens that training came to at all."""
    read, whole = defined(corpus.get("read")), defined(corpus.get("tokens_per_epoch"))
    return UNKNOWN if read is None or not whole else f"{share(read / whole)} ({count(read)} of {count(whole)} tokens)"


def guards(evidence: Evidence) -> Json:
    """All guards by their worst status, failures first; those of the registry that left no record are not run."""
    records, sections = evidence.by_guard(), []
    for status, label, sign, css in STATUSES:
        entries = [_guard(guard, records.get(guard, []), evidence) for guard in evidence.with_status(status)]
        if entries:
            sections.append({"label": label, "sign": sign, "css": css, "entries": entries})
    return {"sections": sections, "line": headline.guard_line(evidence, names=False)}


def _guard(guard: str, records: Sequence[GuardRecord], evidence: Evidence) -> Json:
    known = GUARDS.get(guard)
    checks: list[Json] = [
        {
            "stage": r.stage,
            "status": "" if r.status == records[0].status else f"{r.status}: ",
            "why": r.why,
            "fix": r.fix,
            "measured": None if r.measured is None else value_text(r.measured),
            "threshold": None if r.threshold is None else value_text(r.threshold),
        }
        for r in records
    ]
    if known and not records:
        done = known.stage in evidence.stages
        why = f"The stage {known.stage} left no record of it." if done else None
        why = why or f"Not run, because {evidence.why_missing(known.stage)}."
        nothing = dict.fromkeys(("fix", "measured", "threshold"))
        checks = [{"stage": known.stage, "status": "", "why": why, **nothing}]
    cls = records[0].cls if records else known.cls if known else ""
    unwelcome = bool(records) and records[0].status in ("warn", "fail")
    return {
        "guard": guard,
        "cls": CLASSES.get(cls, cls),
        "meaning": known.meaning if known else None,
        "means": explain(records[0].cls, records[0].status) if unwelcome else None,
        "checks": checks,
    }


def context(evidence: Evidence) -> Json:
    """Everything that the template needs."""
    identity, manifest = evidence.identity or {}, evidence.receipt or {}
    base = identity.get("base") or {}
    adapter = identity.get("adapter") or {}
    rank = f", rank {adapter['rank']}" if "rank" in adapter else ""
    return {
        "title": evidence.run.path.parent.name or evidence.run.path.name,
        "short": identity.get("short"),
        "created": manifest.get("created"),
        "base": base.get("spec"),
        "adapter": f"{adapter.get('kind', UNKNOWN)}{rank}",
        "trusted": not evidence.failed_validity,
        "only_prepared": evidence.only_prepared,
        "verdict": headline.context(evidence),
        "results": results(evidence),
        "groups": groups(evidence),
        "training": training(evidence),
        "kept": evaluation.kept(evidence),
        "recited": evaluation.recited(evidence),
        "manner": manner.manner(evidence),
        "generations": manner.generations(evidence),
        "decoding": decoding.section(evidence.run),
        "preferences": preferences.preferences(evidence),
        "cost": evaluation.cost(evidence),
        "data": data_page.data(evidence),
        "guards": guards(evidence),
        "plan": provenance.plan(evidence),
        "receipt": provenance.receipt(evidence),
    }
