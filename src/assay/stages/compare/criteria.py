"""The criteria by which a model is chosen, each from measurements or from blind ratings, never typed in.

Ratings outrank what a program can measure in their place; but only where all compared entries were rated by the same
people (or the same judge), over the same prompts and against the same base. Else all have the measured stand-in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scipy.special import stdtrit

from assay.core.guard import limits
from assay.core.words import count, listed
from assay.stages.compare.costs import Cost, Costs, costs
from assay.stages.compare.criteria_texts import NO_TEXTS, Written, rated, read_written, texts_of, together
from assay.stages.compare.criterion import Criterion, Json, Kind, from_cells, from_runs, from_units, nothing
from assay.stages.compare.entries import Entry
from assay.stages.compare.measured import Measured
from assay.stages.compare.measured import measure as read
from assay.stages.compare.words import percent

# What the same work differed by on one machine that did nothing else (LOG.md): a choice must not hang on less.
# An answering process still holds some of what it did before.
TIMES, PEAKS, LEFT = 0.1, 0.03, 0.15
KINDS = {
    kind.name: kind
    for kind in (
        Kind("coherence", "Coherence", "share", True),
        Kind("adherence", "Genre adherence", "share", True),
        Kind("instructions", "Instructions followed", "share", True),
        Kind("creativity", "Creativity", "share", True),
        Kind("vocabulary", "Vocabulary", "", True),
        Kind("copying", "Longest copied passage", "tokens", False),
        Kind("quality", "Quality of prediction", "bits per byte", False),
        Kind("forgetting", "Forgetting", "share", False),
        Kind("training-time", "Training time", "s", False, TIMES),
        Kind("speed", "Inference speed", "tokens/s", True, TIMES),
        Kind("latency", "Wait for the first token", "s", False, TIMES),
        Kind("memory", "Training memory", "bytes", False, PEAKS),
        Kind("inference-memory", "Inference memory", "bytes", False, LEFT),
        Kind("size", "Size of what is saved", "bytes", False),
    )
}
CLASSIFIER = "like the data"  # of the table of text metrics
INSTRUCTIONS = "checks passed"
_COSTS = {
    "training-time": ("train_seconds", "measured by the clock"),
    "latency": ("first_token_s", "the median of the first prompts, one at a time"),
    "memory": ("peak_memory", "the most that the training held"),
    "size": ("saved_bytes", "the file of the trained weights; an adapter needs its base beside it"),
}


def measure(entry: Entry) -> dict[str, Criterion]:
    """The criteria of one entry by itself: its texts are cut to a length of their own, for want of others."""
    return measure_all([entry])[0]


def measure_all(
    entries: Sequence[Entry], sides: Sequence[Sequence[Measured]] | None = None
) -> list[dict[str, Criterion]]:
    """The criteria of entries that are compared, by their names, in the order of the table.

    Args:
        entries: what is compared.
        sides: the runs of each, where they have been read.

    Raises:
        InputError: a file of a run is missing or damaged.
    """
    sides = sides or [read(entry) for entry in entries]
    spent = costs(sides)
    texts = [[read_written(run) for run in side] for side in sides]
    found = [
        _adherence(side) | {"quality": _quality(side), "forgetting": _forgetting(side), "copying": _copying(side)}
        | _of_costs(side, own)
        for side, own in zip(sides, spent, strict=True)
    ]  # fmt: skip
    for one, own in zip(found, _speeds(sides, texts, spent), strict=True):
        one["speed"] = own
    for one, written in zip(found, _of_texts(sides, texts), strict=True):
        one |= written
    return [{name: one[name] for name in KINDS} for one in found]


def _quality(side: Sequence[Measured]) -> Criterion:
    kind = KINDS["quality"]
    broken = next((s for run in side for s in run.scores if s.bytes > 0 and s.tuned_bpb is None), None)
    if broken:
        return nothing(kind, f"the group {broken.group!r} has no score: {broken.reason}")
    rows = [{s.group: s.tuned_bpb for s in run.scores if s.tuned_bpb is not None} for run in side]
    return from_units(
        kind, rows, source=f"bits per byte of {count(len(rows[0]), 'held-out group')}, each weighing the same",
        basis={"held-out groups": count(len(rows[0]), "group")},
    )  # fmt: skip


def _generation(run: Measured) -> Json:
    found: Json = run.summary.get("generation") or {}
    return found


def _tuned_cells(side: Sequence[Measured], metric: str) -> list[Json]:
    """The tuned model's cell of a text metric in each run, empty where it was not measured."""
    tables = [(_generation(run).get("manner") or {}).get("metrics", {}) for run in side]
    return [(table.get(metric) or {}).get("arms", {}).get("tuned") or {} for table in tables]


def _heard(kind: Kind, cells: Sequence[Json], otherwise: str, source: str, basis: Mapping[str, str]) -> Criterion:
    """A criterion from a text metric's cells."""
    missing = next((cell for cell in cells if cell.get("mean") is None), None)
    if missing is not None:
        return nothing(kind, str(missing.get("reason") or otherwise))
    return from_cells(kind, cells, bounds=(0.0, 1.0), source=source, n=cells[0]["units"], basis=basis)


def _adherence(side: Sequence[Measured]) -> dict[str, Criterion]:
    """What the classifier of the data's style says, and how many instructions were followed."""
    written = read_written(side[0])
    asked = written.basis if written else {}
    heard = [_generation(run).get("adherence") or {} for run in side]
    cells = _tuned_cells(side, CLASSIFIER)
    kind = KINDS["adherence"]
    quality = heard[0].get("quality")
    if any(cell.get("mean") is None for cell in cells):
        adherence = _heard(kind, cells, "no classifier listened (evaluate.adherence)", "", {})
    elif quality is None or not all(one.get("learned_sha256") for one in heard):
        adherence = nothing(kind, "which classifier listened is not recorded: `assay evaluate` on the run records it")
    else:
        source = (
            f"a classifier’s opinion of the answers to {count(cells[0].get('units', 0), 'prompt')}: how likely they "
            "are the data’s own and not the base’s; it told "
            f"{percent(quality['accuracy'], 0)} of {quality['texts']} passages right"
        )
        # one classifier for each seed: it learned from what the base wrote with that seed
        learned = ", ".join(sorted(str(one.get("learned_sha256"))[:12] for one in heard))
        adherence = _heard(kind, cells, "", source, {**asked, "classifier": learned})
    checks = _tuned_cells(side, INSTRUCTIONS)
    source = f"programs that check the instructions of {count(checks[0].get('units', 0), 'prompt')}"
    followed = _heard(KINDS["instructions"], checks, "the prompts ask for nothing that can be checked", source, asked)
    return {"adherence": adherence, "instructions": followed}


def _forgetting(side: Sequence[Measured]) -> Criterion:
    """The change in bits per byte on the text that lost most, of those named in the experiment or else of all.

    It is one text for all seeds, which loses most in their mean: the mean over each seed's own worst would be greater
    than what any text loses.
    """
    kind, runs = KINDS["forgetting"], list[dict[str, Json]]()
    for run in side:
        texts = [t for t in (run.summary.get("forgetting") or {}).get("texts", []) if t.get("mean") is not None]
        texts = [t for t in texts if t["named"]] or texts
        if not texts:
            return nothing(kind, "no text to retain was measured (evaluate.retain)")
        runs.append({str(text["name"]): text for text in texts})
    names = [name for name in runs[0] if all(name in run for run in runs)]
    if not names:
        return nothing(kind, "no text to retain was measured with every seed (evaluate.retain)")
    worst = min(names, key=lambda name: sum(run[name]["mean"] / run[name]["base_bpb"] for run in runs))
    cells = [_worse(run[worst]) for run in runs]
    return from_cells(
        kind, cells, source=f"more bits per byte than the base on general text ({worst}, what lost most), of "
        f"{count(runs[0][worst]['n_groups'], 'text')}", n=runs[0][worst]["n_groups"],
        basis={"base": side[0].identity["base"]["hash"][:12], "general texts": listed(sorted(names))}, enough=0.0,
    )  # fmt: skip


def _worse(text: Json) -> Json:
    """The share of bits that a text takes more, with its interval at 95 %: the recorded one is at another level."""
    mean, base, df = text["mean"], text["base_bpb"], text["n_groups"] - 1
    if text["low"] is None or text["high"] is None or df < 1:
        return {"mean": -mean / base, "low": None, "high": None}
    wider = float(stdtrit(df, 0.975) / stdtrit(df, (1 + text["level"]) / 2))
    low, high = (mean + (end - mean) * wider for end in (text["low"], text["high"]))
    return {"mean": -mean / base, "low": -high / base, "high": -low / base}


def _copying(side: Sequence[Measured]) -> Criterion:
    spans = [(run.summary.get("memorisation") or {}).get("longest_span") for run in side]
    known = [float(span) for span in spans if span is not None]
    if len(known) < len(side):
        return nothing(KINDS["copying"], NO_TEXTS)
    written = read_written(side[0])
    allowed = limits("memorisation.span").passes
    basis = {"tokenizer": str(side[0].settings["tokenizer_sha256"])[:12], **(written.basis if written else {})}
    return from_runs(
        KINDS["copying"], known, source="the longest passage of the training texts in the answers, in tokens; up to "
        f"{allowed:g} counts as none", basis=basis, enough=float(allowed),
    )  # fmt: skip


def _of_costs(side: Sequence[Measured], own: Costs) -> dict[str, Criterion]:
    found = {}
    for name, (key, source) in _COSTS.items():
        found[name] = _cost(KINDS[name], own[key], source, side)
    answered = [(_generation(run).get("cost") or {}).get("tuned") or {} for run in side]
    peaks, spoke = [one.get("peak_memory") for one in answered], all(answered)
    known = tuple(float(peak) for peak in peaks if peak is not None)
    kind, training = KINDS["inference-memory"], own["peak_memory"]
    if len(known) < len(side):
        found[kind.name] = nothing(kind, "the system does not say" if spoke else NO_TEXTS)
    else:
        comparable, why = (False, training.caution) if training.comparable is False else (True, None)
        mean = sum(known) / len(known)
        peak = Cost(kind.name, kind.label, kind.unit, mean, known, None, comparable, why)
        found[kind.name] = _cost(kind, peak, "the most that the process held while it answered", side)
    return found


def _cost(kind: Kind, cost: Cost, source: str, side: Sequence[Measured]) -> Criterion:
    by_seed = [value for value in cost.by_seed if value is not None]
    if cost.value is None or len(by_seed) < len(side):
        return nothing(kind, cost.reason or "not every run recorded it")
    if cost.comparable is False:
        return nothing(kind, f"not comparable: {cost.caution}")
    said = f"{source}, of {count(len(by_seed), 'run')}" + (f"; {cost.caution}" if cost.caution else "")
    basis = {}
    if kind.name == "latency" and (written := read_written(side[0])):
        basis = written.basis
    return from_runs(kind, by_seed, source=said, basis=basis)


def _speeds(
    sides: Sequence[Sequence[Measured]], texts: Sequence[Sequence[Written | None]], spent: Sequence[Costs]
) -> list[Criterion]:
    """Tokens per second of one text at a time; bytes where tokenizers differ, whose tokens are no common measure."""
    one_tokenizer = len({run.settings["tokenizer_sha256"] for side in sides for run in side}) == 1
    found = []
    for side, written, own in zip(sides, texts, spent, strict=True):
        kind, cost = KINDS["speed"], own["tokens_per_s"]
        source = "one text at a time"
        if not one_tokenizer and cost.value is not None:
            kind = replace(kind, unit="bytes/s")
            each = [None if one is None else one.bytes_per_token for one in written]
            by_seed = tuple(
                None if v is None or b is None else v * b for v, b in zip(cost.by_seed, each, strict=True)
            )  # fmt: skip
            known = [value for value in by_seed if value is not None]
            value = sum(known) / len(known) if len(known) == len(by_seed) else None
            cost = replace(cost, value=value, by_seed=by_seed, reason=None if value is not None else NO_TEXTS)
            source += ", in bytes, as the tokenizers differ"
        made = _cost(kind, cost, source, side)
        basis = written[0].basis if written[0] else {}
        found.append(replace(made, basis={**basis, "unit": kind.unit}) if made.value is not None else made)
    return found


def _of_texts(
    sides: Sequence[Sequence[Measured]], texts: Sequence[Sequence[Written | None]]
) -> list[dict[str, Criterion]]:
    """Coherence, creativity and vocabulary; where people or a judge rated all entries alike, coherence by them."""
    flat = [one for own in texts for one in own]
    there = [one for one in flat if one is not None]
    whole = together(there) if len(there) == len(flat) else None
    found, at = [], 0
    for own in texts:
        span = slice(at, at + len(own))
        at += len(own)
        found.append(texts_of(KINDS, whole, span) if whole else _alone(own))
    for who in ("people", "judge"):
        ratings = [rated(KINDS["coherence"], side, who) for side in sides]
        if all(one.value is not None for one in ratings) and alike(ratings) is None:
            return [one | {"coherence": rating} for one, rating in zip(found, ratings, strict=True)]
        unused = next((one.reason for one in ratings if one.value is None), None) or alike(ratings)
        if any(one.value is not None for one in ratings) or any("cannot be used" in str(r.reason) for r in ratings):
            what = "ratings" if who == "people" else "judgements"
            note = f"; {what} of some entries there are, and cannot stand for all: {unused}"
            found = [
                one | {"coherence": replace(one["coherence"], source=one["coherence"].source + note)} for one in found
            ]  # fmt: skip
    return found


def _alone(own: Sequence[Written | None]) -> dict[str, Criterion]:
    """The texts of one entry by themselves, where there is no length or no prompts that all entries have in common."""
    there = [one for one in own if one is not None]
    whole = together(there) if len(there) == len(own) else None
    if whole is None:
        why = NO_TEXTS if not there else "its texts are too short, or its runs had other prompts"
        return {name: nothing(KINDS[name], why) for name in ("coherence", "creativity", "vocabulary")}
    return texts_of(KINDS, whole, slice(0, len(own)))


def alike(criteria: Sequence[Criterion]) -> str | None:
    """Why values may not stand beside each other: what they depend on beside the model differs; None where they may."""
    keys = dict.fromkeys(key for one in criteria for key in one.basis)
    differing = [key for key in keys if len({one.basis.get(key) for one in criteria}) > 1]
    return f"the entries have other {' and other '.join(differing)}" if differing else None
