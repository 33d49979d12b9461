"""Where the numbers come from: the plan and the machine, the receipt; as plain values for the template."""

from __future__ import annotations

from typing import Any

from assay.core.console import duration
from assay.core.others import how
from assay.core.receipt import training_peak
from assay.core.rundir import STAGES, spent
from assay.stages.compare.evidence import Evidence, Json
from assay.stages.compare.plots import bars
from assay.stages.compare.words import data_size, defined, name, value_text


def plan(evidence: Evidence) -> Json:
    """Memory predicted and measured, time, and the decisions with their reasons."""
    found = evidence.plan
    if found is None:
        return {"missing": evidence.why_missing("plan")}
    memory = found.get("memory") or {}
    predicted = memory.get("predicted") or {}
    measured = training_peak(evidence.training or {})
    terms = [
        (name(k), float(v), data_size(v), "base")
        for k, v in predicted.items()
        if k != "total" and (defined(v) or 0) > 0
    ]
    if (runtime := defined(memory.get("runtime"))) is not None:
        terms.append(("Python and libraries", runtime, data_size(runtime), "base"))
    ends = [
        (label, value, data_size(value), css)
        for label, css, raw in (
            ("predicted", "total", planned_memory(evidence)),
            ("measured peak", "tuned", measured),
        )
        if (value := defined(raw)) is not None
    ]
    decisions = [
        {"what": name(key), "value": value_text(d.get("value")), "why": d.get("why"), "measured": d.get("measured")}
        if isinstance(d, dict)
        else {"what": name(key), "value": value_text(d), "why": None, "measured": None}
        for key, d in (found.get("decisions") or {}).items()
    ]
    for d in decisions:
        d["measured"] = None if d["measured"] is None else value_text(d["measured"])
    size = {k: found[k] for k in ("steps", "epochs", "batch_tokens", "tokens_per_epoch") if k in found}
    return {
        "missing": None,
        "memory": bars([*terms, *ends]) if terms or ends else None,
        "decisions": decisions,
        "unmeasured": defined(measured) is None,
        "time": pairs(found.get("time")),
        "model": pairs(found.get("model")),
        "machine": pairs(found.get("machine")),
        "work": pairs(size),
        "stages": [(s, _took(evidence.stages[s])) for s in STAGES if s in evidence.stages],
    }


def _took(stage: Json) -> str:
    told = how(stage)
    return duration(spent(stage)) + (f" ({told})" if told else "")


def planned_memory(evidence: Evidence) -> float | None:
    """The predicted peak in bytes: all terms of the training, and what the process takes before it."""
    memory = (evidence.plan or {}).get("memory") or {}
    total = defined((memory.get("predicted") or {}).get("total"))
    return None if total is None else total + (defined(memory.get("runtime")) or 0.0)


def pairs(value: Any) -> list[tuple[str, str]]:
    """A JSON object as (words, value) pairs; seconds and bytes get their units."""
    if not isinstance(value, dict):
        return []
    said = []
    for key, item in value.items():
        if key.endswith("seconds") and defined(item) is not None:
            said.append((name(key.removesuffix("seconds").strip("_") or "time"), duration(item)))
        elif (key.endswith("bytes") or key.startswith("memory")) and defined(item) is not None:
            said.append((name(key), data_size(item)))
        else:
            said.append((name(key), value_text(item)))
    return said


def receipt(evidence: Evidence) -> Json:
    """The receipt as dotted keys, whole."""
    if evidence.receipt is None:
        return {"missing": evidence.why_missing("report"), "resolved": evidence.resolved}
    return {"missing": None, "rows": flatten(evidence.receipt), "resolved": evidence.resolved}


def flatten(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """A nested JSON object as (dotted key, text) rows; lists stay on one line, null is said."""
    if isinstance(value, dict) and value:
        return [row for key, item in value.items() for row in flatten(item, f"{prefix}.{key}" if prefix else str(key))]
    text = (
        "none" if value is None or value in ([], {}) else value if isinstance(value, str) else value_text(value, 2000)
    )
    return [(prefix, text)]
