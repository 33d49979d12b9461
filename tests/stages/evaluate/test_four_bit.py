"""A base that was trained on in 4 bit is in 4 bit wherever it is loaded again."""

import polars as pl
import pytest
import torch
from bitsandbytes.nn import Linear4bit

from assay.byhand import session
from assay.cli.main import main
from assay.core.console import Console
from assay.core.files import read_json
from assay.core.ledger import resolve_run
from assay.data.items import read_items
from assay.model import adapters
from assay.model.load import load_base
from assay.model.registry import locate
from assay.model.score import Scorer, item_readings
from assay.stages.evaluate.models import _setting
from assay.text.tokens import Encoder, chat_template

EXPERIMENT = """\
schema: 1
name: narrow
base: scratch:llama-tiny
data:
  source: play.txt
  split: {dev: 0.15, test: 0.35}
adapter: {kind: qlora, rank: 4}
train: {steps: 2, max_length: 128, batch_tokens: 128, learning_rate: 0.01, device: cpu, precision: fp32}
evaluate: {window: 128}
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory, no_page, tempest):
    folder = tmp_path_factory.mktemp("narrow")
    (folder / "narrow.yaml").write_text(EXPERIMENT)
    (folder / "play.txt").write_text(tempest[:9000].replace("#", ""))
    assert main(["run", str(folder / "narrow.yaml"), "--runs-dir", str(folder / "runs"), "--quiet"]) == 0
    return resolve_run("narrow", folder / "runs")


def _base(tmp_path, four_bit=True):
    ref = locate("scratch:llama-tiny", tmp_path)
    return load_base(ref, tmp_path, dtype="fp32", device="cpu", console=Console(quiet=True), four_bit=four_bit)


def _nll(run, model, tokenizer):
    readings = item_readings(read_items(run.split("test")), Encoder(tokenizer, chat_template(tokenizer), "completion"))
    return [float(nats.sum()) for nats in Scorer(model, tokenizer, window=128, stride=128).score_readings(readings)]


def test_both_models_were_scored_beside_4_bit(run, tmp_path):
    found = pl.read_parquet(run.texts)
    base, tokenizer = _base(tmp_path)
    assert found["nll_base"].to_list() == pytest.approx(_nll(run, base, tokenizer), rel=1e-6)
    tuned = adapters.load_adapter(base, run.adapter)
    assert found["nll_tuned"].to_list() == pytest.approx(_nll(run, tuned, tokenizer), rel=1e-6)
    wide, _ = _base(tmp_path, four_bit=False)
    assert found["nll_base"].to_list() != pytest.approx(_nll(run, wide, tokenizer), rel=1e-6)
    assert read_json(run.summary)["settings"]["four_bit"] is True


def test_the_guards_know(run):
    found = {record.guard: record for record in run.guards.records()}
    assert found["unit-counting"].threshold["dtype"] == "4-bit"
    assert found["fresh-reload"].threshold == {"pass": 1e-2, "warn": 1e-1}
    assert found["fresh-reload"].measured["nll_per_token"] < 1e-5  # a new process loads the same 4 bits


@pytest.mark.parametrize("which", ["base", "tuned"])
def test_a_session_by_hand_is_beside_4_bit(run, which, tmp_path):
    talker = session(str(run.path), runs_dir=run.path.parents[1], which=which, console=Console(quiet=True))
    assert talker.base is None
    assert sum(isinstance(module, Linear4bit) for module in talker.model.modules()) == 28
    model, _ = _base(tmp_path)
    model = adapters.load_adapter(model, run.adapter) if which == "tuned" else model
    ids = torch.arange(30)[None]
    active, switched = talker.active()
    with torch.no_grad(), switched:
        assert torch.equal(active(input_ids=ids).logits, model(input_ids=ids).logits)


def test_stored_base_scores_are_another_thing_in_4_bit(run):
    decisions = read_json(run.plan)["decisions"]
    assert _setting(decisions, four_bit=True) != _setting(decisions, four_bit=False)
