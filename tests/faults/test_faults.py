"""Each guard's fault, planted by editing files or the experiment as an accident would; that guard alone must fail.

The healthy twin of each is the untouched experiment: `test_a_healthy_run_fails_no_guard`, and the twin
beside the fault where the experiment differs in more than the fault.
"""

from __future__ import annotations

import json
import shutil

import polars as pl
import pytest
from safetensors.torch import load_file, save_file

from assay.core.files import read_json, sha256_file, write_json
from assay.core.guard import OF_A_RUN


def test_a_healthy_run_fails_no_guard(finished):
    records = finished.run.guards.records()
    assert {r.guard for r in records} == set(OF_A_RUN)
    assert finished.failed() == set()
    # it was not interrupted, and what it writes is too short to be compared in style
    assert {r.guard for r in records if r.status == "skip"} == {"resume-proof", "style-fairness"}
    assert read_json(finished.run.summary)["verdict"]["outcome"] == "better"


@pytest.mark.fault("supervision")
def test_supervision_a_prefix_that_stands_in_the_text_too(case, rows, base_with_prefix):
    doubled = case([row | {"text": "<s>" + row["text"]} for row in rows])
    assert doubled.assay("run", f"base={base_with_prefix}", "train.steps=40") == 3
    assert doubled.failed() == {"supervision"}
    assert not doubled.run.metrics.exists()


def test_supervision_and_output_hygiene_twin(case, base_with_prefix):
    plain = case()
    assert plain.assay("run", f"base={base_with_prefix}", "train.steps=40") == 0
    assert plain.failed() == set()


@pytest.mark.fault("split-leak")
def test_split_leak_passages_pasted_into_another_play(case, rows):
    names = sorted({row["play"] for row in rows})
    # within a text of the next play: a copy of a whole row would just be dropped as one
    pasted = [
        {
            "play": names[(names.index(row["play"]) + 1) % len(names)],
            "text": row["text"] + " " + " ".join(f"{word}{number}" for number, word in enumerate(row["text"].split())),
        }
        for row in rows[::4]
    ]
    leaky = case(rows + pasted)
    assert leaky.assay("run") == 3
    assert leaky.failed() == {"split-leak"}
    assert leaky.run.finished("prepare") is None


@pytest.mark.fault("power")
def test_power_too_few_groups(case, rows):
    few = sorted({row["play"] for row in rows})[:8]
    small = case([row for row in rows if row["play"] in few])
    assert small.assay("run") == 0
    assert small.failed() == {"power"}
    assert read_json(small.run.summary)["verdict"]["outcome"] == "cannot-conclude"


@pytest.mark.fault("weights-moved")
def test_weights_moved_a_rate_too_small_for_the_numbers(case):
    still = case()
    assert still.assay("run", "train.learning_rate=2e-40") == 3
    assert still.failed() == {"weights-moved"}


@pytest.mark.fault("finite-training")
def test_finite_training_a_rate_with_a_lost_minus(case):
    wild = case()
    assert wild.assay("run", "train.learning_rate=2e+30") == 3
    assert wild.failed() == {"finite-training"}


def _zero_b(run):
    file = run.adapter / "adapter_model.safetensors"
    save_file({k: v * 0 if "lora_B" in k else v for k, v in load_file(file).items()}, file, {"format": "pt"})


def _rename_keys(run):
    file = run.adapter / "adapter_model.safetensors"
    save_file({k.replace("q_proj", "query"): v for k, v in load_file(file).items()}, file, {"format": "pt"})


def _cut_short(run):
    file = run.adapter / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def _lose(run):
    (run.adapter / "adapter_model.safetensors").unlink()


@pytest.mark.fault("adapter-integrity")
@pytest.mark.parametrize("harm", [_zero_b, _rename_keys, _cut_short, _lose])
@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_adapter_integrity(healthy, harm, command):
    harm(healthy.run)
    assert healthy.again(command) == 3
    assert healthy.failed() == {"adapter-integrity"}
    assert "No verdict" in healthy.run.report.read_text()


@pytest.mark.fault("adapter-integrity")
def test_adapter_integrity_another_runs_adapter(healthy):
    first = healthy.run
    assert healthy.assay("train", "seed=7") == 0
    shutil.copy(healthy.run.adapter / "adapter_model.safetensors", first.adapter)
    shutil.rmtree(healthy.run.path)
    assert healthy.again("evaluate") == 3
    assert healthy.failed() == {"adapter-integrity"}


@pytest.mark.fault("adapter-effect")
def test_adapter_effect_a_rate_that_teaches_nothing(case):
    faint = case()
    assert faint.assay("run", "train.learning_rate=1e-8") == 3
    assert faint.failed() == {"adapter-effect"}


@pytest.mark.fault("fresh-reload")
def test_fresh_reload_a_changed_scale(healthy):
    file = healthy.run.adapter / "adapter_config.json"
    write_json(file, read_json(file) | {"lora_alpha": 64})
    assert healthy.again("evaluate") == 3
    assert healthy.failed() == {"fresh-reload"}


@pytest.mark.fault("right-split")
def test_right_split_evaluated_on_training_texts(healthy):
    shutil.copy(healthy.run.split("train"), healthy.run.split("test"))
    assert healthy.again("evaluate") == 3
    assert healthy.failed() == {"right-split"}


@pytest.mark.fault("right-split")
def test_right_split_the_worst_group_left_out(healthy):
    groups = read_json(healthy.run.summary)["groups"]
    worst = min(groups, key=lambda group: group["difference"])["group"]
    file = healthy.run.split("test")
    pl.read_parquet(file).filter(pl.col("group") != worst).write_parquet(file)
    assert healthy.again("evaluate") == 3
    assert healthy.failed() == {"right-split"}


@pytest.mark.fault("right-split")
def test_right_split_a_training_file_changed_before_training(case):
    changed = case()
    assert changed.assay("prepare") == 0
    shutil.copy(changed.run.split("test"), changed.run.split("train"))
    assert changed.assay("run") == 3
    assert changed.failed() == {"right-split"}


def _edit_texts(run, *columns):
    pl.read_parquet(run.texts).with_columns(*columns).write_parquet(run.texts)


@pytest.mark.fault("unit-counting")
def test_unit_counting_bytes_edited_by_hand(healthy):
    _edit_texts(healthy.run, pl.col("bytes") * 2)
    assert healthy.again("report") == 3
    assert healthy.failed() == {"unit-counting"}


@pytest.mark.fault("a-a-control")
def test_a_a_control_base_scores_from_elsewhere(healthy):
    entry = next((healthy.runs / ".store" / "base-scores").iterdir())
    file = entry / "scores.parquet"
    pl.read_parquet(file).with_columns(pl.col("nats").list.eval(pl.element() * 1.1)).write_parquet(file)
    write_json(entry / "hashes.json", {file.name: sha256_file(file)})
    assert healthy.assay("run", "seed=7") == 3
    assert healthy.failed() == {"a-a-control"}


@pytest.mark.fault("a-a-control")
def test_a_a_control_base_scores_edited(healthy):
    entry = next((healthy.runs / ".store" / "base-scores").iterdir())
    pl.read_parquet(entry / "scores.parquet").reverse().write_parquet(entry / "scores.parquet")
    assert healthy.assay("run", "seed=7") == 3
    assert healthy.failed() == {"a-a-control"}


def test_a_a_control_twin(healthy, capsys):
    before = healthy.run.path.name
    assert healthy.assay("run", "seed=7") == 0
    assert healthy.failed() == set()
    taken = read_json(healthy.run.summary)["from_earlier_runs"]
    assert {part["run"] for part in taken} == {before}
    # the base is drawn from with the same seeds; which training texts are looked at hangs on what training read
    assert {part["what"] for part in taken} >= {
        "scores (held-out texts)",
        "scores (generic texts and questions)",
        "continuations (prompts)",
        "continuations (prompts behind examples)",
        "recital (held-out texts)",
    }


@pytest.mark.fault("impossible-equality")
def test_impossible_equality_the_base_reported_twice(healthy):
    _edit_texts(healthy.run, pl.col("nll_base").alias("nll_tuned"))
    assert healthy.again("report") == 3
    assert healthy.failed() == {"impossible-equality"}


def _drones() -> list[dict[str, str]]:
    """Rows of one endless word, of another length in each group: no passage is shared, and nothing is left to guess."""
    return [{"play": f"group {i:02}", "text": ("a" * (60 + i) + " ") * 31} for i in range(20)]


@pytest.mark.fault("plausibility")
def test_plausibility_too_good_to_be_prose(case):
    easy = case(_drones())
    # what is so even is recited too, which is another fault
    sets = ("adapter.kind=full", "train.learning_rate=0.01", "train.steps=40", "evaluate.continuations=0")
    assert easy.assay("run", *sets) == 3
    assert easy.failed() == {"plausibility"}


def test_plausibility_twin(case):
    plain = case()
    assert plain.assay("run", "adapter.kind=full", "train.learning_rate=0.01", "train.steps=40") == 0
    assert plain.failed() == set()


@pytest.mark.fault("paired-verdict")
def test_paired_verdict_a_training_that_does_harm(case):
    harmed = case()
    assert harmed.assay("run", "adapter.kind=full", "train.steps=2", "train.learning_rate=0.5") == 0
    assert harmed.failed() == {"paired-verdict"}
    assert read_json(harmed.run.summary)["verdict"]["outcome"] == "worse"


def test_paired_verdict_twin(case):
    gentle = case()
    assert gentle.assay("run", "adapter.kind=full", "train.steps=2", "train.learning_rate=0.01") == 0
    assert gentle.failed() == set()


@pytest.mark.fault("seeds")
def test_seeds_one_seed_cannot_speak_for_the_recipe(case):
    claim = case()
    assert claim.assay("run", "evaluate.claim=recipe") == 0
    assert claim.failed() == {"seeds"}


def _marked(rows):
    """Marks between words, not letters: texts of single letters would be much alike."""
    return [row | {"text": "".join("<|im_start|>" * 4 + word for word in row["text"].split()[:30])} for row in rows]


@pytest.mark.fault("output-hygiene")
def test_output_hygiene_markers_learnt_from_the_texts(case, rows, base_with_prefix):
    marked = case(_marked(rows))
    assert marked.assay("run", f"base={base_with_prefix}", "train.steps=40") == 0
    assert marked.failed() == {"output-hygiene"}


@pytest.mark.fault("receipt")
def test_receipt_a_hash_gone_from_the_identity(healthy):
    identity = read_json(healthy.run.identity)
    identity["base"]["hash"] = None
    write_json(healthy.run.identity, identity)
    assert healthy.again("report") == 0
    assert healthy.failed() == {"receipt"}
    assert json.loads(healthy.run.receipt.read_text())["base"]["hash"] is None
