"""Tasks of lm-evaluation-harness, asked of base and tuned through its Python API.

The values are its own (Gao et al., doi 10.5281/zenodo.10256836): its prompts, its few-shot examples and seeds, no chat
template, and no code from a model's or a data set's repository. Standard errors and tests are formed here, from what it
says of each document.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from assay.core.errors import InputError, MachineError, first_line
from assay.core.optional import require
from assay.model.adapters import causal
from assay.model.load import silent
from assay.stats.intervals import Undefined
from assay.stats.multiplicity import holm
from assay.stats.tests import mcnemar
from assay.text.tokenizer import TextTokenizer

EXTRA = "harness"
WHERE = "evaluate.harness"
BATCH = 8  # requests at once
WHOLE = "loglikelihood_rolling"  # of whole texts: each fills the model's longest window, so they go one by one

Values = dict[int, float | None]  # of each document by its number; None where a likelihood was not finite


@dataclass(frozen=True)
class Harness:
    """Tasks that were found and can be read; `manager` is what lm-evaluation-harness looks them up in."""

    names: list[str]
    manager: Any
    batch: int
    version: str
    content: str  # hash of the tasks' settings and documents


@dataclass(frozen=True)
class Metric:
    """One model's value of one metric in one task, or in a group of tasks, which has no documents of its own."""

    task: str
    name: str
    filter: str  # what the answers went through first
    value: float
    documents: Values
    higher_is_better: bool | None
    task_version: str | None
    shots: int | None  # examples before each question

    def as_json(self) -> dict[str, Any]:
        """For a file; a value that is not finite becomes null."""
        return asdict(self) | {"value": _finite(self.value), "documents": list(self.documents.items())}

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> Metric:
        """The reverse; null becomes NaN."""
        value = math.nan if row["value"] is None else row["value"]
        return cls(**{**row, "value": value, "documents": {int(n): found for n, found in row["documents"]}})


def load(names: Sequence[str]) -> Harness:
    """Find the tasks and read their data, so that what is missing is missed before anything is measured.

    Args:
        names: tasks, groups or tags of lm-evaluation-harness, or files in YAML with a task of one's own.

    Raises:
        InputError: there is no such task, or it is one that Assay does not run.
        MachineError: lm_eval is not installed, or a task's data cannot be had.
    """
    package = require("lm_eval", extra=EXTRA)
    tasks = require("lm_eval.tasks", extra=EXTRA)
    with silent():
        manager = tasks.TaskManager()
    known = set(manager.all_tasks)
    for name in names:
        if name not in known and not Path(name).is_file():
            near = difflib.get_close_matches(name, known, n=1)
            fix = f"did you mean {near[0]}?" if near else "`lm_eval ls tasks` lists them"
            raise InputError(f"lm-evaluation-harness has no task {name!r}", where=WHERE, fix=fix)
    found = _read(manager, names)
    for name, task in found.items():
        for flag, what in (("UNSAFE_CODE", "runs code that the model writes"), ("MULTIMODAL", "shows pictures")):
            if getattr(task, flag, False):
                raise InputError(f"the task {name!r} {what}", where=WHERE, fix="leave it out")
    whole = any(task.OUTPUT_TYPE == WHOLE for task in found.values())
    return Harness(list(names), manager, 1 if whole else BATCH, str(package.__version__), _content(found))


def _read(manager: Any, names: Sequence[str]) -> dict[str, Any]:
    try:
        with silent():
            found: dict[str, Any] = manager.load(list(names))["tasks"]
    except OSError as error:
        raise MachineError(
            f"the data of a task cannot be had: {first_line(error)}",
            where=WHERE,
            fix="connect to the network once, check the task's files, or leave it out",
        ) from error
    except Exception as error:  # of YAML, of templates, of datasets: they have no narrower one in common
        raise InputError(
            f"a task cannot be read: {first_line(error)}", where=WHERE, fix="check its file, or leave it out"
        ) from error
    return found


def _content(found: Mapping[str, Any]) -> str:
    """Of each task, how it asks, and every document that it asks of or shows as an example."""
    digest = hashlib.sha256()
    for name, task in sorted(found.items()):
        shown = task.fewshot_docs() if task.config.num_fewshot else ()
        for part in (name, task.dump_config(), *task.eval_docs, *shown):
            digest.update(json.dumps(part, sort_keys=True, default=str).encode() + b"\n")
    return digest.hexdigest()


def ask(harness: Harness, model: PreTrainedModel | PeftModel, tokenizer: TextTokenizer) -> list[Metric]:
    """One model's results, under the model's own longest window and its tokenizer's own special tokens.

    Args:
        harness: from `load`.
        model: as it is to be measured, an adapter switched on or off.
        tokenizer: the model's.
    """
    wrapped = require("lm_eval.models.huggingface", extra=EXTRA).HFLM
    evaluate = require("lm_eval.evaluator", extra=EXTRA).simple_evaluate
    with silent():
        lm = wrapped(pretrained=causal(model), tokenizer=_tokenizer(tokenizer), batch_size=harness.batch)
        # no draws: its bootstrap forks this process, and what has a closed form is formed from the samples
        found = evaluate(
            model=lm, tasks=harness.names, task_manager=harness.manager, bootstrap_iters=0, log_samples=True
        )
    return metrics(found)


def _tokenizer(tokenizer: TextTokenizer) -> PreTrainedTokenizerFast:
    ends = {"bos_token": tokenizer.bos, "eos_token": tokenizer.eos}
    named = {name: tokenizer.backend.id_to_token(id_) for name, id_ in ends.items() if id_ is not None}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, **named)


def metrics(found: Mapping[str, Any]) -> list[Metric]:
    """What `simple_evaluate` returned, metric by metric.

    Args:
        found: lm-evaluation-harness's `EvalResults`, with samples: under `results` each task's values by
            ``metric,filter``, under `samples` one mapping per document and filter with the value of each metric in it.
    """
    rows = []
    for task, values in found["results"].items():
        samples = found["samples"].get(task, [])
        for key, value in values.items():
            name, comma, filtered = key.partition(",")
            if not comma or name.endswith("_stderr"):
                continue
            own = {s["doc_id"]: _of(s, name) for s in samples if s["filter"] == filtered and name in s}
            better = found["higher_is_better"].get(task, {}).get(name)
            version, shots = found["versions"].get(task), found["n-shot"].get(task)
            rows.append(
                Metric(
                    task, name, filtered, float(value), own, better, None if version is None else str(version), shots
                )
            )
    return rows


def _of(sample: Mapping[str, Any], name: str) -> float | None:
    """A document's value; None where there is no single number, or a likelihood behind it is not finite."""
    scored = [r[0] for r in sample["filtered_resps"] if isinstance(r, tuple | list) and r]
    value = sample[name]
    if not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value) if all(math.isfinite(s) for s in scored if isinstance(s, float)) else None


def compare(harness: Harness, base: Sequence[Metric], tuned: Sequence[Metric]) -> dict[str, Any]:
    """Base and tuned side by side: values, standard errors, and where answers are right or wrong McNemar's exact test.

    A document counts as independent of the others. `p_holm` is adjusted for all metrics that are tested here (Holm).

    Args:
        harness: that both were asked by.
        base: from `ask`.
        tuned: likewise, of the same tasks.
    """
    after = {(m.task, m.name, m.filter): m for m in tuned}
    rows = [_row(b, after[b.task, b.name, b.filter]) for b in base]
    tested = [row for row in rows if row["p"] is not None]
    adjusted = holm([row["p"] for row in tested])
    if not isinstance(adjusted, Undefined):
        for row, p in zip(tested, adjusted, strict=True):
            row["p_holm"] = p
    return {"lm_eval": harness.version, "chat_template": False, "metrics": rows}


def _row(base: Metric, tuned: Metric) -> dict[str, Any]:
    row: dict[str, Any] = {
        "task": base.task, "task_version": base.task_version, "shots": base.shots, "metric": base.name,
        "filter": base.filter, "higher_is_better": base.higher_is_better, "n": len(base.documents) or None,
        "base": _finite(base.value), "base_stderr": _standard_error(base),
        "tuned": _finite(tuned.value), "tuned_stderr": _standard_error(tuned), "p": None, "p_holm": None,
    }  # fmt: skip
    if not base.documents:
        return row | {"reason": "a group of tasks, which are tested one by one"}
    numbers = sorted(base.documents)
    first, second = ([one.documents[n] for n in numbers] for one in (base, tuned))
    if not {*first, *second} <= {0.0, 1.0, None}:
        return row | {"reason": "its documents are not right or wrong"}
    tested = mcnemar(*([None if v is None else v == 1.0 for v in side] for side in (first, second)))
    return row | ({"reason": tested.reason} if isinstance(tested, Undefined) else tested.as_json())


def _standard_error(metric: Metric) -> float | None:
    """Of the mean over documents, s ÷ √n; None where the metric is not that mean, or there are too few."""
    values = list(metric.documents.values())
    known = [v for v in values if v is not None]
    if len(known) < max(2, len(values)) or not math.isclose(float(np.mean(known)), metric.value, rel_tol=1e-9):
        return None
    return float(np.std(known, ddof=1) / math.sqrt(len(known)))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
