"""What base and tuned make of one sample, each in its turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

import tokenizers
import torch
import transformers
from peft import PeftModel
from transformers import PreTrainedModel

from assay.core.console import Console
from assay.core.errors import GuardError, InputError
from assay.core.files import read_json, sha256_json
from assay.core.machine import processor
from assay.core.rundir import RunDir
from assay.core.store import Store
from assay.guards import scoring
from assay.model.attention import NAME as ATTENTION
from assay.model.generate import generate, room
from assay.model.probe import gpu_name
from assay.model.registry import BaseRef
from assay.model.score import Nats, Reading, Scorer, item_readings
from assay.stages.evaluate import harness, measure, memorisation
from assay.stages.evaluate.adherence import Ear, beginnings, learn
from assay.stages.evaluate.base_scores import base_scores, hash_of
from assay.stages.evaluate.generations import Arm, continue_all
from assay.stages.evaluate.protocol import Protocol
from assay.stages.evaluate.reload import in_new_process
from assay.stages.evaluate.sample import Sample
from assay.stages.evaluate.shared import CONTINUATIONS, PROBES, RECITAL, TASKS, Shared
from assay.text.asking import Asking
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoder

Model = PreTrainedModel | PeftModel


@dataclass(frozen=True)
class Setting:
    """Where and how it is measured: the run, its protocol, its plan, the base, and what runs share."""

    run: RunDir
    protocol: Protocol
    base: BaseRef
    plan: dict[str, Any]
    cache: Path
    store: Store
    console: Console
    tasks: harness.Harness | None  # of lm-evaluation-harness

    @property
    def decisions(self) -> dict[str, Any]:
        """What the plan decided: device, precision, threads."""
        found: dict[str, Any] = self.plan["decisions"]
        return found

    @property
    def dtype(self) -> str:
        """The precision of products."""
        return str(self.decisions["precision"]["value"])


@dataclass(frozen=True)
class Measured:
    """One model's results."""

    readings: list[Reading]  # of the held-out texts, as this model was asked
    scores: list[Nats]  # of those
    remembered: list[Nats]  # of the generic texts and questions
    recited: tuple[list[bool], list[bool]]  # training stretches, held-out stretches
    arms: dict[str, Arm]
    tasks: list[harness.Metric]
    ear: Ear | None = None  # that the base taught
    template: str = "none"  # that the base was asked in: own, other, or none
    train_bpb: float | None = None  # of the tuned
    earlier: Sequence[dict[str, Any]] = ()  # parts that an earlier run measured: what, by which run, when


def probe_base(at: Setting, model: PreTrainedModel, sample: Sample, shared: Shared) -> measure.Probes:
    """The base's scores of the probe texts in three batchings; where they are stored, packed once more as a check."""
    texts, tokenizer, window = sample.probes, sample.asking.encoder.tokenizer, at.protocol.window

    def score() -> list[Nats]:
        found = measure.probe(model, tokenizer, window, texts)
        return [*found.packed, *found.single, *found.reverse]

    part = shared.once(PROBES, [window, sha256_json(texts)], score)
    packed, single, reverse = (part.value[n * len(texts) : (n + 1) * len(texts)] for n in range(3))
    if part.earlier is None:
        return measure.Probes(packed, single, reverse)
    again = Scorer(model, tokenizer, window=window, stride=window).score(texts)
    return measure.Probes(again, single, reverse, earlier=packed)


def of_base(at: Setting, model: PreTrainedModel, sample: Sample, shared: Shared) -> tuple[Measured, float | None]:
    """The base's results, and how far its stored scores are off now, in bits per byte.

    What an earlier run measured of the same base in the same setting is taken from the store.
    """
    p, encoder = at.protocol, sample.asking.encoder
    judge = Scorer(model, encoder.tokenizer, window=p.window, stride=p.stride)
    readings = sample.readings
    scores, off = base_scores(judge, readings, shared, label="held-out texts")
    remembered, also_off = base_scores(judge, sample.remembered.readings, shared, label="generic texts and questions")
    noise = max((found for found in (off, also_off) if found is not None), default=None)
    asking, template, own_readings = _asked_of_base(sample)
    # asked in its own template the base may well be better: then that is what the tuned model is held against, if it is
    # of as many bytes: a template that rewrites answers leaves another text
    if own_readings and [one.size for one in own_readings] == [one.size for one in readings]:
        own, _ = base_scores(judge, own_readings, shared, label="held-out texts in its own template")
        if sum(float(n.sum()) for n in own) < sum(float(n.sum()) for n in scores):
            readings, scores = own_readings, own
    arms, ear = _said_by_base(at, model, sample, asking, shared)
    recited = (
        _recited_by_base(model, encoder, sample.train_stretches, shared, "training texts"),
        _recited_by_base(model, encoder, sample.held_stretches, shared, "held-out texts"),
    )
    tasks: list[harness.Metric] = []
    if at.tasks:
        asked = [at.tasks.version, at.tasks.names, at.tasks.batch, at.tasks.content]
        tasks = shared.once(TASKS, asked, partial(harness.ask, at.tasks, model, encoder.tokenizer)).value
    if shared.taken:
        at.console.note(f"of the base, from an earlier run: {', '.join(one['what'] for one in shared.taken)}")
    found = Measured(readings, scores, remembered, recited, arms, tasks, ear, template, earlier=shared.taken)
    return found, noise


def _said_by_base(
    at: Setting, model: PreTrainedModel, sample: Sample, asking: Asking, shared: Shared
) -> tuple[dict[str, Arm], Ear | None]:
    """How the base goes on from the prompts, without and behind examples, and what a classifier learns from it."""
    p = at.protocol
    prompts, longest = _prompts(asking, sample), room(model, p.decoding)
    shown = [asking.fitting(prompt, sample.shown, longest) for prompt in sample.prompts] if sample.shown else []
    arms = {}
    for name, ids, label in (("base", prompts, "prompts"), ("prompt_only", shown, "prompts behind examples")):
        if ids:
            made = partial(continue_all, model, asking.encoder, ids, p.decoding, seed=p.split_seed)
            part = shared.once(CONTINUATIONS, _continued(asking, ids, p), made, label=label)
            arms[name] = Arm(part.value.generations, part.value.cost | {"run": (part.earlier or {}).get("run")})
    if not (p.adherence and prompts):
        return arms, None
    training, dev = sample.own
    ids = beginnings(asking, [*training, *dev])
    made = partial(_continue_plainly, model, asking.encoder, ids, p)
    said = shared.once(CONTINUATIONS, _continued(asking, ids, p), made, label="training and development texts").value
    return arms, learn([one.text for one in said.generations], training, dev)


def _continued(asking: Asking, ids: list[list[int]], p: Protocol) -> list[Any]:
    """What decides how a model goes on, beside the model."""
    return [sha256_json(ids), sorted(asking.encoder.stops), asdict(p.decoding), p.split_seed]


def _continue_plainly(model: PreTrainedModel, encoder: Encoder, ids: list[list[int]], p: Protocol) -> Arm:
    """Continuations whose cost is nobody's question."""
    seeds = [p.split_seed + n for n in range(len(ids))]
    return Arm(generate(model, encoder.tokenizer, ids, stops=encoder.stops, decoding=p.decoding, seeds=seeds), {})


def _recited_by_base(
    model: PreTrainedModel, encoder: Encoder, stretches: memorisation.Probes, shared: Shared, label: str
) -> list[bool]:
    made = partial(_recited, model, encoder, stretches)
    return shared.once(RECITAL, [hash_of(stretches.readings), memorisation.LONGEST], made, label=label).value


def _prompts(asking: Asking, sample: Sample) -> list[list[int]]:
    return [asking.ids(prompt.text, system=prompt.system) for prompt in sample.prompts]


def _asked_of_base(sample: Sample) -> tuple[Asking, str, list[Reading]]:
    """How the base is asked, in which template, and the held-out texts in its own where the experiment has another."""
    asking, given = sample.base_asking, sample.asking
    if not given.chat or given.encoder.tokenizer.chat_template is None:
        return asking, "none", []
    if asking.encoder is given.encoder:
        return asking, "own", []
    try:
        readings = item_readings(sample.test, asking.encoder)
        _prompts(asking, sample)
    except InputError:
        return given, "other", []
    return asking, "own", readings


def _recited(model: Model, encoder: Encoder, stretches: memorisation.Probes) -> list[bool]:
    # a window of its own: in a shorter one a stretch would be read without its beginning
    longest = memorisation.LONGEST
    return memorisation.continued(Scorer(model, encoder.tokenizer, window=longest, stride=longest), stretches)


def of_tuned(at: Setting, model: Model, sample: Sample, base_probes: measure.Probes) -> Measured:
    """The tuned model's results, once it is proven to be the trained one and to differ from the base."""
    p, asking = at.protocol, sample.asking
    tokenizer = asking.encoder.tokenizer
    probes = Scorer(model, tokenizer, window=p.window, stride=p.window).score(sample.probes)
    change = measure.median_change(probes, base_probes.packed)
    _reloads_fresh(at)
    at.run.guards.check(scoring.adapter_effect(change, base_probes.noise_nats(), texts=len(sample.probes)))
    judge = Scorer(model, tokenizer, window=p.window, stride=p.stride)
    scores = measure.score_with_progress(judge, sample.readings, "scoring the tuned", at.console)
    remembered = judge.score_readings(sample.remembered.readings)
    train_nats = sum(float(n.sum()) for n in judge.score_readings(sample.train_readings))
    train_bpb = train_nats / math.log(2) / sum(reading.size for reading in sample.train_readings)
    prompts = _prompts(asking, sample)
    arms = {"tuned": continue_all(model, asking.encoder, prompts, p.decoding, seed=p.split_seed)} if prompts else {}
    tasks = harness.ask(at.tasks, model, tokenizer) if at.tasks else []
    first, second = (_recited(model, asking.encoder, some) for some in (sample.train_stretches, sample.held_stretches))
    return Measured(sample.readings, scores, remembered, (first, second), arms, tasks, train_bpb=train_bpb)


def shared_of(at: Setting, tokenizer: TextTokenizer) -> Shared:
    """The store, as this run sees it: the base's results under all that decides them alike."""
    setting = {
        "base": at.base.hash, "tokenizer": tokenizer.sha256, "template": tokenizer.template_sha256,
        "attention": ATTENTION, "versions": [torch.__version__, transformers.__version__, tokenizers.__version__],
    }  # fmt: skip
    # of this machine: the plan may have been made on another
    here = {"processor": processor(), "gpu": gpu_name(at.decisions["device"])}
    setting |= here | _setting(at.decisions, at.protocol.four_bit)
    return Shared(at.store, at.run.path.name, setting, at.console)


def _setting(decisions: dict[str, Any], four_bit: bool) -> dict[str, Any]:
    """What of the plan's decisions may move a score: its last digits, or in 4 bit all of them."""
    return {
        "dtype": decisions["precision"]["value"], "device": decisions["device"], "threads": decisions["threads"],
        "four_bit": metadata.version("bitsandbytes") if four_bit else None,
    }  # fmt: skip


def _reloads_fresh(at: Setting) -> None:
    run, base, decisions, kind = at.run, at.base, at.decisions, at.protocol.kind
    reference = read_json(run.reference)
    folder = run.model if kind == "full" else run.adapter
    again = in_new_process(
        {
            "base": base.spec, "cache": str(at.cache), "kind": kind, "folder": str(folder),
            "dtype": decisions["precision"]["value"], "device": decisions["device"], "threads": decisions["threads"],
            "window": reference["window"], "texts": reference["texts"], "base_hash": base.hash,
            "liger": decisions["kernels"]["value"] == "liger",
        }
    )  # fmt: skip
    if isinstance(again, str):
        raise GuardError("fresh-reload", f"a new process cannot load what was saved: {again}", where=str(run.path))
    run.guards.check(scoring.fresh_reload(reference["nll"], again, reference["tokens"], four_bit=at.protocol.four_bit))
