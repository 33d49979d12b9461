"""What a stage's command says at its end, read from the files of the run."""

from __future__ import annotations

from typing import Any

from assay.cli.tables import difference, memory, number
from assay.core.console import duration, size
from assay.core.files import read_json
from assay.core.others import shared
from assay.core.rundir import RunDir, spent
from assay.core.words import count, failed_validity, no_verdict
from assay.core.words import guard_line as tally
from assay.data.advice import ALL_WELL, advise

ADVICE = 3  # pieces of advice that are said on the terminal; the report has all


def outcome_text(run: RunDir, until: str) -> str:
    """The result of a command that has finished the stage `until`."""
    lines = {
        "prepare": prepared_lines,
        "plan": plan_lines,
        "train": training_lines,
        "evaluate": score_lines,
        "report": verdict_lines,
    }[until](run)
    return "\n".join([*lines, guard_line(run), f"run: {run.path}"])


def guard_line(run: RunDir) -> str:
    """How many guards ended how, each counted once by its worst record; the report says it in the same words."""
    return f"guards: {tally(run.guards.records())}"


def prepared_lines(run: RunDir) -> list[str]:
    """What came in and what became of it, the splits, and the most important advice on the data."""
    manifest = read_json(run.manifest)
    lines = [_tally_line(noun, manifest[key]) for key, noun in (("rows", "row"), ("items", "text"))]
    lines += [
        f"{split}: {count(part['items'], 'text')} in {count(part['groups'], 'group')}, {size(part['bytes'])}"
        for split, part in manifest["splits"].items()
    ]
    profile, tokens = (read_json(path) if path.is_file() else {} for path in (run.profile, run.tokens_profile))
    advice = advise(manifest, profile, tokens)
    for place, found in enumerate(advice[:ADVICE], 1):
        lines += [f"advice {place} of {len(advice)}: {found['what']}", f"  {found['why']}", f"  → {found['fix']}"]
    if not advice:
        lines.append(ALL_WELL)
    if run.report.is_file():
        lines.append(f"report: {run.report}")
    return lines


def _tally_line(noun: str, tally: dict[str, Any]) -> str:
    dropped = ", ".join(f"{amount:,} {reason}" for reason, amount in tally["dropped"].items())
    return f"{noun}s: {tally['in']:,} in, {tally['kept']:,} kept" + (f"; dropped: {dropped}" if dropped else "")


def plan_lines(run: RunDir) -> list[str]:
    """Predicted memory by term, time, and what was decided, with the reason."""
    return plan_text(read_json(run.plan))


def plan_text(plan: dict[str, Any]) -> list[str]:
    """A plan in words: of a run, or for another device."""
    memory, device = plan["memory"], plan.get("device")
    predicted: dict[str, Any] = dict(memory["predicted"])
    total = predicted.pop("total")
    terms = ", ".join(f"{term} {size(amount)}" for term, amount in predicted.items() if amount)
    lines = [f"device: {device['label']}, {size(device['memory'])}"] if device else []
    lines.append(f"memory: {size(total)} predicted at the peak ({terms})")
    if "phases" in memory:  # not in the plans of 0.1
        lines += [*_memory_lines(memory), f"time: {_time(plan['time'])}"]
    if plan.get("steps"):
        lines.append(f"training: {count(plan['steps'], 'step')} of {plan['batch_tokens']:,} tokens")
    lines += [f"{name.replace('_', ' ')}: {_decision(decision)}" for name, decision in plan["decisions"].items()]
    return lines


def _memory_lines(memory: dict[str, Any]) -> list[str]:
    """Interval and phases; whether it fits, or what to change, the cheapest first, each on top of those before it."""
    phases = ", ".join(f"{phase} {size(amount)}" for phase, amount in memory["phases"].items())
    lines = [f"  between {size(memory['low'])} and {size(memory['high'])}; by phase: {phases}"]
    if memory["fits"]:
        return [*lines, f"fits: {size(memory['budget'])} may be filled"]
    lines += [f"DOES NOT FIT: {size(memory['budget'])} may be filled. In order of what it costs:"]
    for change in memory["changes"]:
        fits = "fits" if change["fits"] else "does not fit yet"
        lines.append(f"  {change['what']}: saves {size(change['saves'])}, then {size(change['needs'])}, {fits}")
    if not memory["changes"] or not memory["changes"][-1]["fits"]:
        lines.append("  even so it does not fit: take a smaller base or a larger device")
    return lines


def _time(time: dict[str, Any]) -> str:
    if time["tokens_per_s"] is None:
        return f"not known ({time['how']})"
    speed = f"{time['tokens_per_s']:,.0f} tokens/s"
    if time["predicted_train_seconds"] is None:
        return f"{speed} ({time['how']}); give train.steps for the whole: the data are not read for another device"
    low, high = (duration(time[key]) for key in ("low_seconds", "high_seconds"))
    spread = "" if low == high else f" [{low}, {high}]"
    return f"{duration(time['predicted_train_seconds'])}{spread} of training, {speed} ({time['how']})"


def _decision(decision: Any) -> str:
    if not isinstance(decision, dict):
        return str(decision)
    return f"{decision['value']} ({decision['why']})" if decision.get("why") else str(decision["value"])


def training_lines(run: RunDir) -> list[str]:
    """Loss, work and cost of the training."""
    done = read_json(run.training)
    return [
        f"trained: {count(done['steps'], 'step')}, {done['tokens']:,} tokens in {duration(done['seconds'])} "
        f"({number(done['tokens_per_s'], 'tokens/s', 3)})",
        *([f"  {told}"] if (told := shared(run.finished("train") or {})) else []),
        f"loss: {number(done['first_loss'])} → {number(done['final_loss'], 'nats per token')} (first and last step)",
        f"peak memory: {memory(done['peak_memory'])}",
    ]


def score_lines(run: RunDir) -> list[str]:
    """Bits per byte of both models, and the difference with its interval. The verdict is the report's to give."""
    summary = read_json(run.summary)
    gain = summary["difference"]
    return [
        f"base: {number(summary['base']['bpb'], 'bits per byte')}",
        f"tuned: {number(summary['tuned']['bpb'], 'bits per byte')}",
        f"gain: {difference(gain['mean'], gain['low'], gain['high'])} bits per byte "
        f"(95 % interval over {count(gain['n_groups'], 'held-out group')})",
    ]


def verdict_lines(run: RunDir) -> list[str]:
    """The verdict first, then what it rests on and what it cost; no verdict where a validity guard failed."""
    failed = failed_validity(run.guards.records())
    verdict = read_json(run.summary)["verdict"]
    training = read_json(run.training)
    stages = read_json(run.stages)
    seconds = sum(spent(stage) for stage in stages.values())
    receipt = read_json(run.receipt) if run.receipt.is_file() else {}
    peak = receipt.get("peak_memory") or training["peak_memory"]  # of the whole run, else of the training
    return [
        *([no_verdict(failed)] if failed else [f"verdict: {verdict['plain']}", verdict["sentence"]]),
        *score_lines(run),
        f"cost: {duration(seconds)} in all, {duration(training['seconds'])} of training, peak memory {memory(peak)}",
        f"report: {run.report}",
    ]
