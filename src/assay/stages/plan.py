"""The plan: memory and time by arithmetic, then the decisions that are taken once and written down.

With the base install the plan is arithmetic alone. Where torch is there, the machine is measured too:
precision, threads and the micro-batch are decided here, once, and a resumed run reuses them, because
bit-equal resume depends on it. For another device of the table nothing is measured and nothing is written.
"""

from __future__ import annotations

import platform
from dataclasses import asdict, dataclass
from typing import Any

import psutil

from assay.config.schema import Experiment
from assay.core.console import Console, duration, size
from assay.core.errors import InputError, MachineError
from assay.core.files import read_json, write_json
from assay.core.machine import cores, processor
from assay.core.optional import installed, missing
from assay.core.receipt import Learned, learned, receipts_with
from assay.core.rundir import RunDir
from assay.model import devices
from assay.model.choose import Chosen, Limits, changes, choose
from assay.model.memory import Work, moments
from assay.model.registry import BaseRef
from assay.model.shape import Shape, flops_per_token, shape, trainable_parameters

SHARE = 0.8  # of the free main memory, at most, is planned for
BEST_ROW = {"cpu": 1024, "mps": 4096, "cuda": 8192}  # tokens per micro-batch beyond which nothing is gained (LOG.md)
BYTES_PER_TOKEN = 3.5  # of English, for the estimate before the tokenizer is at hand


@dataclass(frozen=True)
class Place:
    """Where it is to run: what was measured here, or what a data sheet says.

    Args:
        precision: {value, why, measured}; the value is None while nothing could be measured.
        budget: bytes that may be filled.
        speed: floating-point operations per second in that precision: least, likely, most; None if not known.
        how: where the speed comes from, in words.
    """

    kind: str
    precision: dict[str, Any]
    kernels: dict[str, Any]
    budget: int
    offloads: bool
    speed: tuple[float, float, float] | None
    how: str
    threads: int | None = None


@dataclass(frozen=True)
class Text:
    """What is known of the training text: tokens of an epoch, and the longest row in tokens."""

    tokens: int
    longest: int | None = None


@dataclass(frozen=True)
class Earlier:
    """What earlier runs here took of time and memory, beside what arithmetic had foretold."""

    pace: Learned | None = None
    memory: Learned | None = None


def machine() -> dict[str, Any]:
    """What this machine is, without torch."""
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": cores(),
        "memory": psutil.virtual_memory().total,
        "memory_free": psutil.virtual_memory().available,
    }


def plan(run: RunDir, experiment: Experiment, base: BaseRef, console: Console) -> dict[str, Any]:
    """Write plan.json for this machine and return it.

    Raises:
        InputError: a length is beyond the base's positions.
        MachineError: it cannot fit this machine's memory, or the device is not there.
    """
    here = machine()
    place, here["gpu"] = _here(experiment, here["memory_free"])
    earlier = _earlier(run, experiment, base, here, place)
    result: dict[str, Any] = {"schema": 1, "machine": here}
    result |= _planned(experiment, base, place, _text(run), earlier)
    if not result["memory"]["fits"]:
        raise _too_large(experiment, base, result)
    write_json(run.plan, result)
    seconds, precision = result["time"]["predicted_train_seconds"], place.precision["value"]
    console.note(
        f"plan: {result['steps']} steps of {result['batch_tokens']} tokens, {precision or 'precision to be measured'}, "
        f"about {size(result['memory']['predicted']['total'])} of memory"
        + (f", about {duration(seconds)} of training" if seconds else "")
    )
    return result


def forecast(experiment: Experiment, base: BaseRef, device: str) -> dict[str, Any]:
    """The plan for a device of the table, by arithmetic alone; it may say that it does not fit.

    Raises:
        InputError: there is no such device, or a length is beyond the base's positions.
    """
    there = devices.find(device)
    wish = experiment.train.precision
    value, why = there.precision() if wish == "auto" else (wish, "as the experiment says")
    if value not in there.speeds:
        raise MachineError(
            f"{there.label} has no {value}",
            where=f"train.precision: {wish}",
            fix=f"set train.precision to auto, or to one of {', '.join(there.speeds)}",
        )
    place = Place(
        kind=there.kind,
        precision={"value": value, "why": why, "measured": None},
        kernels=_kernels(experiment.train.kernels, there.kind, here=False),
        budget=there.budget,
        offloads=there.offloads,
        speed=devices.reached(there.speeds[value]),
        how=f"floating-point operations over {devices.REACHED[1]:.0%} of the data sheet's speed, which is assumed; "
        f"the interval is from {devices.REACHED[2]:.0%} to {devices.REACHED[0]:.0%}",
    )
    described = {"name": device, "label": there.label, "memory": there.memory, "budget": there.budget}
    return {"schema": 1, "device": described} | _planned(experiment, base, place, None, Earlier())


def _earlier(run: RunDir, experiment: Experiment, base: BaseRef, here: dict[str, Any], place: Place) -> Earlier:
    """What earlier runs of this base and method took here, in the same precision."""
    like = {
        "hardware.cpu": here["processor"], "hardware.gpu": here["gpu"], "dtype": place.precision["value"],
        "base.spec": base.spec, "adapter.kind": experiment.adapter.kind,
    }  # fmt: skip
    receipts = receipts_with(run.path.parents[1], like)
    return Earlier(learned(receipts, "train_seconds"), learned(receipts, "memory"))


def _planned(
    experiment: Experiment, base: BaseRef, place: Place, text: Text | None, earlier: Earlier
) -> dict[str, Any]:
    """All of plan.json that does not depend on where the plan is made."""
    a, t = experiment.adapter, experiment.train
    s = shape(base.config)
    _within_positions(experiment, base, s)
    devices.refuse_optimizer(t.optimizer, place.kind)
    four_bit = a.kind == "qlora"
    work = Work(
        kind=a.kind, rank=a.rank, targets=a.targets, tokens=t.max_length, length=t.max_length,
        precision=place.precision["value"] or "fp32", optimizer=t.optimizer, four_bit=four_bit, device=place.kind,
        prompt_tokens=experiment.evaluate.window + experiment.evaluate.decoding.max_new_tokens,
    )  # fmt: skip
    times = earlier.memory.ratio if earlier.memory else 1.0
    limits = Limits(
        longest=t.max_length, best=min(t.batch_tokens, BEST_ROW[place.kind]), text=text.longest if text else None,
        budget=int(place.budget / max(1.0, times)), checkpointing=t.checkpointing, offloads=place.offloads,
        batch=t.batch_tokens,
    )  # fmt: skip
    chosen = choose(s, work, limits)
    terms, phases, low, high = chosen.prediction
    alone = terms["total"]
    if earlier.memory:
        terms = terms | {"earlier_runs": round((times - 1) * alone), "total": round(times * alone)}
    tokens = text.tokens if text else None
    steps = t.steps or (None if tokens is None else max(1, round((t.epochs or 1) * tokens / t.batch_tokens)))
    return {
        "model": _model(s, a.kind, a.rank, a.targets),
        "memory": {
            "predicted": terms,
            "uncorrected": alone,
            "low": round(times * low),
            "high": round(times * high),
            "moments": moments(s, chosen.work, trainable_parameters(s, kind=a.kind, rank=a.rank, targets=a.targets)),
            "phases": {name: round(times * amount) for name, amount in phases.items()},
            "budget": place.budget,
            "fits": chosen.fits,
            "changes": [] if chosen.fits else [asdict(c.times(times)) for c in changes(s, chosen.work, limits)],
        },
        "time": _time(s, chosen.work, place, steps, t.batch_tokens, earlier.pace),
        "decisions": _decisions(t.optimizer, place, chosen, limits),
        "steps": steps,
        "epochs": t.epochs,
        "batch_tokens": t.batch_tokens,
        "tokens_per_epoch": tokens,
    }


def _model(s: Shape, kind: str, rank: int, targets: Any) -> dict[str, Any]:
    """The model's sizes, for the record."""
    names = ("layers", "width", "feed_forward", "heads", "key_heads", "head_width", "vocabulary", "positions", "tied")
    trained = trainable_parameters(s, kind=kind, rank=rank, targets=targets)
    return {name: getattr(s, name) for name in names} | {"parameters": s.parameters, "trainable": trained}


def _within_positions(experiment: Experiment, base: BaseRef, s: Shape) -> None:
    t, window = experiment.train, experiment.evaluate.window
    longest = max(t.max_length, window)
    if longest > s.positions:
        key = "train.max_length" if t.max_length == longest else "evaluate.window"
        raise InputError(
            f"{longest} tokens are more than the base can take, which is {s.positions}",
            where=f"{key} with base: {base.spec}",
            fix=f"--set {key}={s.positions}, or less",
        )


def _time(
    s: Shape, work: Work, place: Place, steps: int | None, batch_tokens: int, earlier: Learned | None
) -> dict[str, Any]:
    """Seconds and tokens per second, with the interval that the speed's leaves."""
    each = flops_per_token(s, kind=work.kind, length=work.length, checkpointing=work.checkpointing)
    found: dict[str, Any] = {"flops_per_token": round(each), "how": place.how, "tokens_per_s": None}
    found |= dict.fromkeys(("uncorrected_tokens_per_s", "predicted_train_seconds", "low_seconds", "high_seconds"))
    if place.speed is None:
        return found
    times = earlier.ratio if earlier else 1.0
    least, likely, most = (speed / each / times for speed in place.speed)
    found |= {"tokens_per_s": round(likely, 1), "uncorrected_tokens_per_s": likely * times}
    if earlier:
        found["how"] += f", times {earlier.ratio:.2f}: what {earlier.runs} earlier runs here took of it"
    if steps is not None:
        tokens = steps * batch_tokens
        found |= {
            "predicted_train_seconds": tokens / likely,
            "low_seconds": tokens / most,
            "high_seconds": tokens / least,
        }
    return found


def _decisions(optimizer: str, place: Place, chosen: Chosen, limits: Limits) -> dict[str, Any]:
    work = chosen.work
    why = {
        "on": "as the experiment says",
        "off": "as the experiment says",
        "auto": "without it the memory would not do" if work.checkpointing else "it fits without, and is faster so",
    }[limits.checkpointing]
    return {
        "precision": place.precision,
        "kernels": place.kernels,
        "device": place.kind,
        "threads": place.threads,
        "attention": "packed",
        "micro_batch_tokens": work.tokens,
        "checkpointing": {"value": work.checkpointing, "why": why},
        "offload": work.offload,
        "optimizer": optimizer,
        "four_bit": work.four_bit,
    }


def _here(experiment: Experiment, free: int) -> tuple[Place, str | None]:
    """This machine, measured where torch is there to do it, and what its GPU calls itself.

    With the base install what only a measurement can tell stays open and says so.
    """
    wish, device = experiment.train.precision, experiment.train.device
    if not installed("torch"):
        why = "torch is not installed: measured when the run starts (pip install 'assay[train]')"
        open_ = {"value": None if wish == "auto" else wish, "why": why, "measured": None}
        guess = "cpu" if device == "auto" else device
        return Place(
            guess, open_, _kernels(experiment.train.kernels, guess), int(SHARE * free), guess == "cuda", None, why
        ), None
    from assay.model import probe

    probe.keep_to(threads := cores())
    kind = probe.pick_device(device)
    if not probe.available(kind):
        raise MachineError(
            f"torch sees no {kind} device here", where=f"train.device: {device}", fix="set train.device to auto or cpu"
        )
    if wish == "fp16" and kind == "cpu":
        raise MachineError(
            "there is no GPU here, and processors compute in fp32 or bf16",
            where="train.precision: fp16",
            fix="set train.precision to auto",
        )
    precision = probe.choose_precision(wish, kind)
    gflops = probe.speed(precision, kind)
    budget = int(SHARE * free) if kind == "cpu" else probe.free_memory(kind)
    shares = devices.REACHED_HERE[precision["value"]] if kind == "cpu" else devices.REACHED
    how = f"floating-point operations over {shares[1]:.0%} of the measured speed of matrix products"
    speed = devices.reached(gflops * 1e9, shares)
    kernels = _kernels(experiment.train.kernels, kind)
    return Place(kind, precision, kernels, budget, kind == "cuda", speed, how, threads), probe.gpu_name(kind)


def _kernels(wish: str, kind: str, *, here: bool = True) -> dict[str, Any]:
    """Whose kernels compute norms and gated layers, and why.

    Args:
        here: it is to run on this machine, where Liger's have to be installed.

    Raises:
        MachineError: Liger's are wished for, and are not installed or cannot run there.
    """
    there = not here or installed("liger_kernel")
    if wish == "liger" and not there:
        raise missing("liger_kernel", extra="cuda", where="train.kernels: liger")
    if wish == "liger" and kind != "cuda":
        raise MachineError(
            f"Liger's kernels need a CUDA GPU, and this is to train on {kind}",
            where="train.kernels: liger",
            fix="set train.kernels to auto",
        )
    if wish != "auto":
        return {"value": wish, "why": "as the experiment says"}
    if kind != "cuda":
        return {"value": "own", "why": "Liger's kernels need a CUDA GPU"}
    if not there:
        return {"value": "own", "why": "Liger's kernels are not installed (pip install 'assay[cuda]')"}
    return {"value": "liger", "why": "one pass over the GPU's memory for each"}


def _text(run: RunDir) -> Text:
    """The training text in tokens: counted where its tokens are there, else estimated from its bytes."""
    if run.tokens_profile.is_file():
        profile = read_json(run.tokens_profile)["splits"]["train"]
        quantiles = profile["quantiles"]["tokens"]
        return Text(profile["tokens"], round(quantiles["1.0"]) if quantiles else None)
    return Text(round(int(read_json(run.manifest)["splits"]["train"]["bytes"]) / BYTES_PER_TOKEN))


def _too_large(experiment: Experiment, base: BaseRef, result: dict[str, Any]) -> MachineError:
    memory = result["memory"]
    steps = [f"{change['what']} saves {size(change['saves'])}" for change in memory["changes"]]
    ending = "which fits" if memory["changes"] and memory["changes"][-1]["fits"] else "and still does not fit"
    return MachineError(
        f"this training needs about {size(memory['predicted']['total'])}, and {size(memory['budget'])} may be filled",
        where=f"base: {base.spec}, adapter.kind: {experiment.adapter.kind}, train.max_length: "
        f"{experiment.train.max_length}",
        fix=f"{', then '.join(steps)}, {ending}" if steps else "take a smaller base",
    )
