"""compare.html: what each section of a comparison's page shows, as plain values for the template."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from assay.core.words import OUTCOMES, count, listed
from assay.stages.compare import compare_tables, plots_runs
from assay.stages.compare.entries import label
from assay.stages.compare.markup import template
from assay.stages.compare.plots import Row
from assay.stages.compare.plots_runs import AXES, SERIES, Line, Spot
from assay.stages.compare.runs import Compared, Comparison
from assay.stages.compare.selection_page import section_html
from assay.stages.compare.words import fixed

Json = dict[str, Any]

# outcome → style and sign
_LOOKS = {
    "better": ("good", "✓"),
    "better-but-small": ("good", "✓"),
    "worse": ("bad", "✕"),
    "not-shown": ("plain", "–"),
    "cannot-conclude": ("warn", "!"),
}
_KINDS = {
    "setting": "Set in the experiment",
    "decided": "Decided by the plan",
    "data": "Training texts",
    "done": "Training",
}
_STATUS = {
    "pass": ("passed", "good"),
    "warn": ("warned", "warn"),
    "fail": ("failed", "bad"),
    "skip": ("skipped", "plain"),
}


def render(c: Comparison) -> str:
    """The page as HTML, self-contained. The same comparison gives the same bytes."""
    return template("compare.html.j2").render(context(c))


def context(c: Comparison) -> Json:
    """Everything that the template needs."""
    failed = compare_tables.failures(c) if c.failed else None
    return {
        "title": c.title,
        "summary": c.summary,
        "note": c.note,
        "plain": _plainly(c),
        "first": c.entries[0].name,
        "names": [entry.name for entry in c.entries],
        "pairs": [_pair(pair) for pair in c.pairs],
        "contents": _contents(c),
        "overview": _overview(c),
        "differences": _differences(c),
        "levels": _levels(c),
        "failed": failed,
        "not_concluded": c.not_concluded,
        "selection": section_html(c.selection) if c.selection else None,
        "changes": _changes(c),
        "curves": _curves(c),
        "trade": _trade(c),
        "costs": compare_tables.spent(c),
        "guards": _guards(c),
        "method": method(c),
        "perplexities": compare_tables.perplexities(c),
        "runs": [
            (entry.name, seed, fixed(bits, 4), label(run))
            for entry, own in zip(c.entries, c.qualities, strict=True)
            for run, seed, bits in zip(entry.runs, own.seeds, own.by_seed, strict=True)
        ],
    }


def _guards(c: Comparison) -> list[Json]:
    rows = []
    for pair in c.pairs:
        for record in pair.guards:
            status, css = _STATUS[record.status]
            rows.append({"name": pair.name, "guard": record.guard, "status": status, "css": css, "why": record.why})
    return rows


def _contents(c: Comparison) -> list[tuple[str, str]]:
    found = [
        ("entries", "Entries"), ("quality", "Quality"), ("failed", "What failed"),
        ("not-concluded", "What may not be concluded"), ("selection", "Model selection"), ("changes", "What differs"),
        ("curves", "Training"), ("trade", "Quality against cost"), ("costs", "Costs"), ("guards", "Checks"),
        ("method", "Method"),
    ]  # fmt: skip
    missing = {"failed": not c.failed, "not-concluded": not c.not_concluded, "selection": not c.selection}
    return [(id_, text) for id_, text in found if not missing.get(id_)]


def _plainly(c: Comparison) -> str:
    """What came out, in one sentence for somebody who reads nothing else."""
    first = c.entries[0].name
    if not c.pairs:
        return f"There is one entry only, {first}, so that nothing can be said to be better or worse."
    said = []
    for outcome, words in (
        ("better", "better than"),
        ("better-but-small", "better by less than the effect you named than"),
        ("worse", "worse than"),
        ("not-shown", "not shown to differ from"),
        ("cannot-conclude", "too little measured to be held against"),
    ):
        names = [pair.name for pair in c.pairs if pair.outcome == outcome]
        if names:
            said.append(f"{listed(names)} {'is' if len(names) == 1 else 'are'} {words} {first}")
    return "; ".join(said) + "."


def _pair(pair: Compared) -> Json:
    css, sign = _LOOKS[pair.outcome]
    return {
        "name": pair.name,
        "css": css,
        "sign": sign,
        "word": OUTCOMES[pair.outcome],
        "found": f"{pair.found[0].upper()}{pair.found[1:]}; {pair.claim}.",
        "cause": f"{pair.cause[0].upper()}{pair.cause[1:]}.",
        "fix": next((r.fix for r in pair.guards if r.guard == "one-change" and r.status == "fail"), None),
        "loud": [
            {"guard": r.guard, "why": r.why, "fix": r.fix}
            for r in pair.guards
            if r.guard != "one-change" and r.status in ("warn", "fail")
        ],
    }


def _overview(c: Comparison) -> Json:
    """The table of entries, an interval under its number."""
    whole = compare_tables.overview(c)

    def cell(text: str) -> tuple[str, str]:
        value, _, rest = text.partition(" (")
        return value, rest.removesuffix(")")

    rows = [[(row[0], ""), *map(cell, row[1:])] for row in whole.rows]
    return {"header": whole.header, "rows": rows, "notes": whole.notes}


def _differences(c: Comparison) -> Markup | None:
    rows = [
        Row(pair.name, pair.difference.mean, pair.low, pair.high, "", compare_tables.difference(pair))
        for pair in c.pairs
        if pair.difference.mean is not None
    ]
    first = c.entries[0].name
    if not rows:
        return None
    return plots_runs.intervals(
        rows, mark=0.0, ends=(f"← worse than {first}", f"better than {first} →"), label="bits per byte saved"
    )


def _levels(c: Comparison) -> Markup | None:
    rows = [
        Row(entry.name, own.tuned, own.low, own.high, "", compare_tables.bits(own))
        for entry, own in zip(c.entries, c.qualities, strict=True)
        if own.tuned is not None
    ]
    return plots_runs.intervals(rows, mark=None, ends=("← better", "worse →"), label="bits per byte") if rows else None


def _changes(c: Comparison) -> list[tuple[str, list[Json]]]:
    found = []
    for kind, heading in _KINDS.items():
        rows = [
            {
                "key": row.key,
                "differs": row.differs,
                "cells": [compare_tables.NONE if value is None else value for value in row.values],
            }
            for row in c.changes.rows
            if row.kind == kind
        ]
        if rows:
            found.append((heading, rows))
    return found


def shown(c: Comparison) -> list[int]:
    """The entries that are drawn as lines: all, or the first and the best of the others, in their order."""
    if len(c.entries) <= SERIES:
        return list(range(len(c.entries)))

    def by_quality(n: int) -> float:
        tuned = c.qualities[n].tuned
        return float("inf") if tuned is None else tuned

    return [0, *sorted(sorted(range(1, len(c.entries)), key=by_quality)[: SERIES - 1])]


def _curves(c: Comparison) -> Json:
    chosen = shown(c)
    charts = []
    notes = [f"Development texts are not drawn: {c.curves.no_dev}."] if c.curves.no_dev else []
    notes += [f"The training loss is not drawn: {c.curves.no_loss}."] if c.curves.no_loss else []
    lines = {
        key: [Line(c.entries[n].name, place, points[n]) for place, n in enumerate(chosen) if points[n]]
        for key, points in (("dev", c.curves.dev), ("loss", c.curves.loss))
    }
    titles = {"dev": ("Development texts", "bits per byte"), "loss": ("Training loss", "nats per token")}
    for axis in AXES:
        row = [
            plots_runs.overlaid(lines[key], axis, title=title, unit=unit)
            for key, (title, unit) in titles.items()
            if lines[key]
        ]
        if row:
            charts.append(row)
    lead = "Lines are means over an entry's seeds"
    lead += ", shaded from the least to the greatest of them" if any(len(e.runs) > 1 for e in c.entries) else ""
    lead += ". How each began is cut off where it would press the rest together."
    if len(chosen) < len(c.entries):
        notes.append(f"{count(len(c.entries) - len(chosen), 'entry', 'entries')} are not drawn: "
                     f"shown are the first and the {len(chosen) - 1} best of the others.")  # fmt: skip
    if not charts and not notes:
        notes.append("No training left a record of its steps.")
    slow = [
        entry.name
        for entry, spent in zip(c.entries, c.costs, strict=True)
        if spent["train_seconds"].comparable is not True
    ]
    if slow and charts:
        notes.append(f"Against time, {listed(slow)} may not be compared, or not surely: under Costs it says why.")
    return {"lead": lead if charts else "", "rows": charts, "notes": notes}


_TRADES = (
    ("peak_memory", "Quality and peak memory", "peak memory of training", plots_runs.memory_marks),
    ("train_seconds", "Quality and training time", "time in training steps", plots_runs.time_marks),
)


def _trade(c: Comparison) -> Json:
    plots, notes = [], []
    for key, title, unit, marks_of in _TRADES:
        spots = _spots(c, key)
        if len(spots) < 2:
            notes.append(f"{title}: fewer than two entries have both.")
            continue
        plots.append(plots_runs.against_cost(spots, title=title, unit=unit, marks_of=marks_of))
        if crossed := [spot.name for spot in spots if not spot.sure]:
            notes.append(f"{title}: × marks what may not be compared ({listed(crossed)}); it is on no front.")
    return {"plots": plots, "notes": notes}


def _spots(c: Comparison, key: str) -> list[Spot]:
    """The entries that have both numbers; the bars are the paired intervals around the first entry's quality."""
    first, series = c.qualities[0].tuned, {n: place for place, n in enumerate(shown(c))}
    found = []
    for n, (entry, own, costs) in enumerate(zip(c.entries, c.qualities, c.costs, strict=True)):
        if own.tuned is None or costs[key].value is None:
            continue
        low = high = None
        pair = c.pairs[n - 1] if n else None
        if pair and first is not None and pair.low is not None and pair.high is not None:
            low, high = first - pair.high, first - pair.low
        cost = costs[key]
        found.append(
            Spot(
                entry.name,
                series.get(n, SERIES),
                cost.value or 0.0,
                own.tuned,
                low,
                high,
                cost.comparable is not False,
            )
        )
    return found


def method(c: Comparison) -> list[str]:
    """How the numbers came about, in a few sentences."""
    settings = c.settings
    excerpts = settings.get("max_bytes_per_group")
    lost = _lost(c)
    said = [
        "Every entry was scored on the same held-out texts, none of which was trained on: bits per byte, summed over "
        "each group of texts, one number per group. Groups weigh the same. "
        f"Windows of {settings.get('window')} tokens, stride {settings.get('stride')}"
        + (f", at most {excerpts:,} bytes of each group." if excerpts else ", all texts whole."),
        "A difference is the first entry's bits minus the other's, group by group: above 0 the other needs fewer. Its "
        "interval is at each end the outer of Student's t and the bootstrap-t over groups. p is the sign-flip test's, "
        f"adjusted by Holm over {count(len(c.pairs) + lost, 'comparison')}{', those that failed too' if lost else ''}.",
        "With several seeds on both sides, runs of one seed are compared with each other. The interval then takes "
        "seeds and groups for draws of many (Banerjee 1960); p is the larger of the one that belongs to this interval "
        "and the sign-flip test's on the groups' means. With one seed this speaks of the checkpoints only, with three "
        "or more of the recipe.",
    ]
    if not c.one_tokenizer:
        said.append(
            "The tokenizers differ. Bits per byte do not depend on them; perplexities and losses per token do, and are "
            "not shown."
        )
    said.append(
        "Seconds are those of the training steps, without loading and looks at the development texts. A timing may be "
        "compared only on the same machine, in one go, and while other processes kept at most a quarter of a core busy."
    )
    return said


def _lost(c: Comparison) -> int:
    """Entries of the family that have no numbers at all."""
    return len({one.name for one in c.failed} - {entry.name for entry in c.entries})
