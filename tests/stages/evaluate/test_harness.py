"""Tasks of lm-evaluation-harness: what is made of its results, and its real run where it is installed."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.core.errors import InputError, MachineError
from assay.core.optional import installed
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.model.score import Reading, Scorer
from assay.stages.evaluate.harness import Harness, ask, compare, load, metrics
from assay.text.tokenizer import byte_tokenizer

HARNESS = Harness(["quiz"], manager=None, batch=1, version="0.4.13", content="")
needs_lm_eval = pytest.mark.skipif(not installed("lm_eval"), reason="needs assay[harness]")


def found(right: list[int], nats: list[float] | None = None) -> dict[str, Any]:
    """A return value of `simple_evaluate` as its `result_schema.py` describes it: a task, a group and a perplexity."""
    nats = nats or [-3.0] * len(right)
    samples = [
        {
            "doc_id": n, "doc": {}, "target": "0", "arguments": [], "resps": [], "filter": "none",
            "filtered_resps": [(ll, False), (-5.0, False)], "metrics": ["acc", "bits_per_byte"], "doc_hash": "",
            "prompt_hash": "", "target_hash": "", "acc": float(ok), "bits_per_byte": (ll, 4),
        }
        for n, (ok, ll) in enumerate(zip(right, nats, strict=True))
    ]  # fmt: skip
    acc = sum(right) / len(right)
    own = {"acc,none": acc, "acc_stderr,none": "N/A", "bits_per_byte,none": 1.5, "bits_per_byte_stderr,none": "N/A"}
    return {
        "results": {
            "quiz": {"name": "quiz", "alias": "quiz", "sample_len": len(right), **own},
            "all": {"name": "all", "alias": "all", "sample_len": len(right), "acc,none": acc, "acc_stderr,none": "N/A"},
        },
        "versions": {"quiz": 1.0}, "n-shot": {"quiz": 2}, "higher_is_better": {"quiz": {"acc": True}},
        "samples": {"quiz": samples},
    }  # fmt: skip


def rows(base: dict[str, Any], tuned: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    done = compare(HARNESS, metrics(base), metrics(tuned))
    json.dumps(done, allow_nan=False)
    return {(row["task"], row["metric"]): row for row in done["metrics"]}


def test_answers_are_held_against_each_other_document_by_document() -> None:
    row = rows(found([1, 1, 1, 1, 0, 0, 0, 0]), found([0, 0, 0, 0, 0, 0, 1, 0]))["quiz", "acc"]
    assert (row["base"], row["tuned"], row["n"], row["shots"], row["task_version"]) == (0.5, 0.125, 8, 2, "1.0")
    assert (row["both"], row["only_first"], row["only_second"], row["neither"]) == (0, 4, 1, 3)
    # scipy.stats.binomtest(1, 5).pvalue
    assert row["p"] == row["p_holm"] == pytest.approx(0.375)
    # s / sqrt(n) of four ones and four zeros: sqrt(8 / 7 / 4) / sqrt(8)
    assert row["base_stderr"] == pytest.approx(math.sqrt(8 / 7 / 4 / 8))


def test_what_is_not_right_or_wrong_is_not_tested() -> None:
    done = rows(found([1, 0]), found([1, 0]))
    bits, group = done["quiz", "bits_per_byte"], done["all", "acc"]
    assert bits["base"] == 1.5
    assert bits["base_stderr"] is bits["p"] is group["p"] is group["n"] is None
    assert "tested one by one" in group["reason"]


def test_a_likelihood_that_is_not_finite_is_no_wrong_answer() -> None:
    row = rows(found([1, 1, 0]), found([0, 1, 0], [math.nan, -1.0, -1.0]))["quiz", "acc"]
    assert row["unscored_second"] == 1
    assert row["only_first"] == 0
    assert row["p"] == 1.0


def test_each_metric_that_is_tested_counts_in_the_family() -> None:
    base, tuned = found([1] * 8), found([0] * 8)
    for side in (base, tuned):
        side["results"]["quiz"]["acc_norm,none"] = side["results"]["quiz"]["acc,none"]
        for sample in side["samples"]["quiz"]:
            sample["acc_norm"] = sample["acc"]
    row = rows(base, tuned)["quiz", "acc"]
    assert row["p"] == 2 / 2**8
    assert row["p_holm"] == 2 * row["p"]


@pytest.mark.skipif(installed("lm_eval"), reason="lm_eval is installed")
def test_without_the_package_its_extra_is_named() -> None:
    with pytest.raises(MachineError, match="lm_eval") as raised:
        load(["arc_easy"])
    assert "assay[harness]" in str(raised.value)


TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}, cache_dir: {cache}}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: answer
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 3}}
"""


def task_file(folder: Path, questions: list[dict[str, Any]]) -> Path:
    data = folder / "quiz.jsonl"
    data.write_text("".join(json.dumps(question) + "\n" for question in questions), encoding="utf-8")
    file = folder / "quiz.yaml"
    file.write_text(TASK.format(name="assay_quiz", data=data, cache=folder / "cache"), encoding="utf-8")
    return file


@needs_lm_eval
def test_a_task_of_ones_own_gives_what_our_own_scores_give(tmp_path: Path) -> None:
    words = ["green", "a very long answer indeed", "blue and white", "no"]
    questions = [
        {"question": f"What is number {n}? It is", "choices": words[n % 3 :], "answer": n % 2} for n in range(12)
    ]
    harness = load([str(task_file(tmp_path, questions))])
    tokenizer = byte_tokenizer()
    models = [_random(PRESETS[name]).eval() for name in ("llama-tiny", "gpt2-tiny")]
    answers = [ask(harness, model, tokenizer) for model in models]
    for model, found in zip(models, answers, strict=True):
        scorer = Scorer(model, tokenizer, window=512, stride=512)
        for number, question in enumerate(questions):
            nats = [_nats(scorer, question["question"], " " + choice) for choice in question["choices"]]
            sizes = [len(choice) for choice in question["choices"]]
            right = {
                "acc": nats.index(min(nats)) == question["answer"],
                "acc_norm": min(range(len(nats)), key=lambda i: nats[i] / sizes[i]) == question["answer"],
            }
            assert {m.name: m.documents[number] for m in found} == right
    again = ask(harness, models[0], tokenizer)
    assert again == answers[0]
    row = compare(harness, answers[0], answers[1])["metrics"][0]
    assert (row["task"], row["metric"], row["n"], row["task_version"], row["shots"]) == (
        "assay_quiz",
        "acc",
        12,
        "3",
        0,
    )


def _nats(scorer: Scorer, asked: str, said: str) -> float:
    ids = scorer.tokenizer.encode(asked + said)
    after = len(scorer.tokenizer.encode(asked))
    counts = [n >= after for n in range(1, len(ids))]
    return float(scorer.score_readings([Reading(ids[1:], ids[0], len(said), np.array(counts))])[0].sum())


@needs_lm_eval
def test_other_documents_or_another_way_of_asking_are_another_content(tmp_path: Path) -> None:
    question = {"question": "a", "choices": ["b", "c"], "answer": 0}
    file = task_file(tmp_path, [question])
    first = load([str(file)]).content
    assert load([str(file)]).content == first
    file.write_text(file.read_text().replace("{{question}}", "Q: {{question}}"))
    asked = load([str(file)]).content
    (tmp_path / "quiz.jsonl").write_text(json.dumps(question | {"answer": 1}) + "\n")
    assert len({first, asked, load([str(file)]).content}) == 3


@needs_lm_eval
def test_an_unknown_task_and_missing_data_are_told_before_anything_runs(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no task 'arc_eazy'") as raised:
        load(["arc_eazy"])
    assert "arc_easy" in str(raised.value)
    file = task_file(tmp_path, [{"question": "a", "choices": ["b", "c"], "answer": 0}])
    (tmp_path / "quiz.jsonl").unlink()
    with pytest.raises(MachineError, match="data of a task cannot be had"):
        load([str(file)])
    file.write_text("task: x\noutput_type: [", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be read"):
        load([str(file)])
