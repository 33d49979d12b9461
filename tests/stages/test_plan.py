from dataclasses import replace

import pytest

from assay.config.load import load_text
from assay.core.console import Console
from assay.core.errors import InputError, MachineError
from assay.core.files import read_json, write_json
from assay.core.rundir import RunDir
from assay.model.registry import locate
from assay.stages.plan import plan


def experiment(folder, extra="", base="scratch:llama-tiny"):
    text = f"schema: 1\nname: p\nbase: {base}\ndata: {{source: a.txt}}\ntrain: {{steps: 3, {extra}}}\n"
    return load_text(text, folder / "p.yaml").experiment


@pytest.fixture
def run(tmp_path):
    run = RunDir(tmp_path)
    write_json(run.manifest, {"splits": {"train": {"bytes": 35_000}}})
    return run


def decided(run, e):
    return plan(run, e, locate(e.base, run.path), Console(quiet=True))


def test_every_decision_is_written_with_its_reason(run):
    e = experiment(run.path)
    result = decided(run, e)
    assert result == read_json(run.plan)
    assert result["decisions"]["precision"]["value"] in ("fp32", "bf16")
    assert "times the speed of fp32" in result["decisions"]["precision"]["why"]
    assert result["decisions"]["device"] in ("cpu", "cuda", "mps")
    assert result["steps"] == 3
    assert result["tokens_per_epoch"] == 10_000


def test_a_wish_is_kept(run):
    result = decided(run, experiment(run.path, "precision: bf16, device: cpu"))
    assert result["decisions"]["precision"] == {"value": "bf16", "why": "as the experiment says", "measured": None}


def test_a_row_is_never_shorter_than_a_sequence_nor_longer_than_a_batch(run):
    small = decided(run, experiment(run.path, "batch_tokens: 256, max_length: 64, device: cpu"))
    assert small["decisions"]["micro_batch_tokens"] == 256
    large = decided(run, experiment(run.path, "batch_tokens: 65536, max_length: 2048, device: cpu"))
    assert large["decisions"]["micro_batch_tokens"] == 2048


def test_what_does_not_fit_is_said_with_what_would(run):
    e = experiment(run.path, "batch_tokens: 40000000, max_length: 40000000, device: cpu")
    base = locate(e.base, run.path)
    endless = replace(base, config=base.config | {"max_position_embeddings": 10**9})
    with pytest.raises(MachineError, match="this training needs about") as error:
        plan(run, e, endless, Console(quiet=True))
    assert "max_length" in str(error.value)


def test_a_length_beyond_the_bases_positions_is_refused(run):
    with pytest.raises(InputError, match="4096 tokens are more than the base can take, which is 2048"):
        decided(run, experiment(run.path, "max_length: 4096, batch_tokens: 8192"))


def test_a_device_that_is_not_there_is_the_machines_fault(run):
    import torch

    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(MachineError, match=f"no {missing} device"):
        decided(run, experiment(run.path, f"device: {missing}"))
