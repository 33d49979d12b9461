import subprocess
import sys
from dataclasses import replace

import pytest

from assay.config.load import load_text
from assay.core.console import Console
from assay.core.errors import InputError, MachineError
from assay.core.files import read_json, write_json
from assay.core.rundir import RunDir
from assay.model.registry import locate
from assay.stages.plan import forecast, plan


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


def test_ligers_kernels_are_refused_where_they_are_missing_or_have_no_gpu(run, monkeypatch):
    e = experiment(run.path, "kernels: liger, device: cpu")
    monkeypatch.setattr("assay.stages.plan.installed", lambda package: package != "liger_kernel")
    with pytest.raises(MachineError, match="liger_kernel, which is not installed") as error:
        decided(run, e)
    assert "assay[cuda]" in str(error.value.fix)
    monkeypatch.setattr("assay.stages.plan.installed", lambda package: True)
    with pytest.raises(MachineError, match="need a CUDA GPU"):
        decided(run, e)
    assert decided(run, experiment(run.path, "device: cpu"))["decisions"]["kernels"]["value"] == "own"
    assert foretold(run, "t4")["decisions"]["kernels"]["value"] == "liger"
    assert foretold(run, "t4", "kernels: own")["decisions"]["kernels"]["value"] == "own"


def test_what_does_not_fit_is_said_with_what_would(run):
    e = experiment(run.path, "batch_tokens: 40000000, max_length: 40000000, device: cpu")
    base = locate(e.base, run.path)
    endless = replace(base, config=base.config | {"max_position_embeddings": 10**9})
    with pytest.raises(MachineError, match="this training needs about") as error:
        plan(run, e, endless, Console(quiet=True))
    assert "train.checkpointing" not in str(error.value.fix)  # which it has taken already
    assert "train.max_length=" in str(error.value.fix)
    assert not run.plan.exists()


def test_what_to_change_begins_where_the_choice_ended(run):
    tight = foretold(run, "m2-16gb", "max_length: 2048, batch_tokens: 8192", "scratch:mistral-tenth")
    assert tight["memory"]["fits"]
    off = "checkpointing: off, max_length: 8192, batch_tokens: 65536, precision: fp32"
    memory = foretold(run, "rtx4060", off, "scratch:smollm2-135m")["memory"]
    assert not memory["fits"]
    first, *others = memory["changes"]
    assert first["what"] == "train.checkpointing=on"
    needs = memory["predicted"]["total"]
    for change in (first, *others):
        assert change["needs"] == pytest.approx(needs - change["saves"], abs=2)
        needs = change["needs"]
    assert memory["changes"][-1]["fits"]


@pytest.mark.parametrize(("optimizer", "device"), [("paged_adamw_8bit", "m2-16gb"), ("adamw_8bit", "m2-16gb")])
def test_an_optimizer_that_does_not_run_there_is_refused_by_the_plan(run, optimizer, device):
    with pytest.raises(MachineError, match=rf"train.optimizer: {optimizer}"):
        foretold(run, device, f"optimizer: {optimizer}")
    with pytest.raises(MachineError, match="paged between a CUDA GPU and main memory"):
        decided(run, experiment(run.path, "optimizer: paged_adamw_8bit, device: cpu"))


def test_a_length_beyond_the_bases_positions_is_refused(run):
    with pytest.raises(InputError, match="4096 tokens are more than the base can take, which is 2048"):
        decided(run, experiment(run.path, "max_length: 4096, batch_tokens: 8192"))


def test_a_device_that_is_not_there_is_the_machines_fault(run):
    import torch

    missing = "mps" if not torch.backends.mps.is_available() else "cuda"
    with pytest.raises(MachineError, match=f"no {missing} device"):
        decided(run, experiment(run.path, f"device: {missing}"))


def test_the_foretold_pace_is_a_share_of_the_measured_speed_by_precision(run, monkeypatch):
    from assay.model import probe

    monkeypatch.setattr(probe, "pick_device", lambda wish: "cpu")
    monkeypatch.setattr(probe, "speed", lambda precision, kind: 100.0)
    pace = {}
    for precision, shares in (("fp32", (0.4, 0.6, 0.85)), ("bf16", (0.2, 0.33, 0.55))):
        time = decided(run, experiment(run.path, f"precision: {precision}, device: cpu"))["time"]
        least, likely, most = (share * 100e9 / time["flops_per_token"] for share in shares)
        assert time["uncorrected_tokens_per_s"] == pytest.approx(likely)
        assert time["high_seconds"] / time["low_seconds"] == pytest.approx(most / least)
        pace[precision] = likely
    assert pace["bf16"] < pace["fp32"]


def test_fp16_without_a_gpu_is_the_machines_fault(run, monkeypatch):
    from assay.model import probe

    monkeypatch.setattr(probe, "pick_device", lambda wish: "cpu")
    with pytest.raises(MachineError, match="processors compute in fp32 or bf16") as error:
        decided(run, experiment(run.path, "precision: fp16"))
    assert error.value.fix == "set train.precision to auto"


def test_the_plan_says_what_it_rests_on(run):
    result = decided(run, experiment(run.path, "device: cpu"))
    memory, time = result["memory"], result["time"]
    assert memory["low"] < memory["predicted"]["total"] < memory["high"]
    assert max(memory["phases"].values()) == memory["predicted"]["total"]
    assert memory["fits"]
    assert memory["changes"] == []
    assert time["tokens_per_s"] == pytest.approx(time["uncorrected_tokens_per_s"], abs=0.06)
    assert time["low_seconds"] < time["predicted_train_seconds"] < time["high_seconds"]
    assert {"checkpointing", "offload", "optimizer", "four_bit"} <= set(result["decisions"])


def test_the_longest_text_narrows_the_interval(run):
    e = experiment(run.path, "device: cpu, max_length: 512")
    loose = decided(run, e)["memory"]
    profile = {"tokens": 9_000, "quantiles": {"tokens": {"1.0": 40.0}}}
    write_json(run.tokens_profile, {"splits": {"train": profile}})
    tight = decided(run, e)
    assert tight["tokens_per_epoch"] == 9_000
    assert tight["memory"]["low"] > loose["low"]
    assert tight["memory"]["predicted"] == loose["predicted"]


def receipt(cpu, dtype, predicted, taken, base="scratch:llama-tiny"):
    return {
        "hardware": {"cpu": cpu, "gpu": None},
        "dtype": dtype,
        "base": {"spec": base},
        "adapter": {"kind": "lora"},
        "predicted": {"uncorrected_train_seconds": predicted},
        "measured": {"train_seconds": taken},
    }


def test_earlier_runs_on_this_machine_correct_the_time(tmp_path):
    from assay.core.machine import processor

    run = RunDir(tmp_path / "runs" / "p" / "now")
    write_json(run.manifest, {"splits": {"train": {"bytes": 35_000}}})
    e = experiment(tmp_path, "device: cpu, precision: fp32")
    assert "earlier" not in decided(run, e)["time"]["how"]
    for number, taken in enumerate((20.0, 30.0, 90.0)):
        write_json(tmp_path / "runs" / "p" / f"run{number}" / "receipt.json", receipt(processor(), "fp32", 10.0, taken))
    write_json(tmp_path / "runs" / "p" / "other" / "receipt.json", receipt("another", "fp32", 10.0, 1e6))
    write_json(tmp_path / "runs" / "p" / "short" / "receipt.json", receipt(processor(), "bf16", 10.0, 1e6))
    another = receipt(processor(), "fp32", 10.0, 1e6, base="scratch:gpt2-tiny")
    write_json(tmp_path / "runs" / "p" / "base" / "receipt.json", another)
    write_json(tmp_path / "runs" / "p" / "open" / "receipt.json", {"hardware": {}})
    (tmp_path / "runs" / "p" / "damaged").mkdir()
    (tmp_path / "runs" / "p" / "damaged" / "receipt.json").write_text("{")
    time = decided(run, e)["time"]
    assert time["uncorrected_tokens_per_s"] == pytest.approx(3.0 * time["tokens_per_s"], rel=0.01)  # the median
    assert "3 earlier runs" in time["how"]


def test_earlier_runs_of_this_base_and_method_correct_the_memory(tmp_path):
    from assay.core.machine import processor

    run = RunDir(tmp_path / "runs" / "p" / "now")
    write_json(run.manifest, {"splits": {"train": {"bytes": 35_000}}})
    e = experiment(tmp_path, "device: cpu, precision: fp32")
    before = decided(run, e)["memory"]
    assert before["uncorrected"] == before["predicted"]["total"]
    earlier = {"hardware": {"cpu": processor(), "gpu": None}, "dtype": "fp32", "base": {"spec": "scratch:llama-tiny"}}
    for number, (kind, taken) in enumerate((("lora", 120), ("lora", 140), ("full", 900))):
        receipt = earlier | {
            "adapter": {"kind": kind},
            "predicted": {"uncorrected_memory": 100},
            "measured": {"memory": taken},
        }
        write_json(tmp_path / "runs" / "p" / f"run{number}" / "receipt.json", receipt)
    memory = decided(run, e)["memory"]
    assert memory["uncorrected"] == before["uncorrected"]
    terms = memory["predicted"]
    assert terms["total"] == pytest.approx(1.3 * memory["uncorrected"], rel=1e-6)
    assert sum(size for name, size in terms.items() if name != "total") == pytest.approx(terms["total"], abs=2)
    assert memory["high"] == pytest.approx(1.3 * before["high"], rel=1e-6)


def test_a_cards_precision_is_one_that_it_has(run):
    found = {name: foretold(run, name)["decisions"]["precision"]["value"] for name in ("t4", "h100", "m2-16gb")}
    assert found == {"t4": "fp16", "h100": "bf16", "m2-16gb": "fp32"}
    with pytest.raises(MachineError, match="T4 has no bf16") as error:
        foretold(run, "t4", "precision: bf16")
    assert "auto" in str(error.value.fix)


def foretold(run, device, extra="", base="scratch:smollm2-135m"):
    e = experiment(run.path, extra, base)
    return forecast(e, locate(e.base, run.path), device)


def test_a_faster_card_takes_less_time_and_a_larger_one_more_at_once(run):
    small, large = (foretold(run, name, "batch_tokens: 65536, max_length: 4096") for name in ("rtx4060", "h100"))
    assert small["time"]["predicted_train_seconds"] > 10 * large["time"]["predicted_train_seconds"]
    assert small["decisions"]["micro_batch_tokens"] <= large["decisions"]["micro_batch_tokens"]
    assert small["time"]["low_seconds"] < small["time"]["predicted_train_seconds"] < small["time"]["high_seconds"]
    assert not run.plan.exists()


def test_checkpointing_is_chosen_where_memory_would_not_do(run):
    tight = foretold(run, "rtx4060", "batch_tokens: 8192, max_length: 8192, precision: fp32")
    roomy = foretold(run, "h100", "batch_tokens: 8192, max_length: 8192, precision: fp32")
    assert tight["decisions"]["checkpointing"] == {"value": True, "why": "without it the memory would not do"}
    assert tight["memory"]["fits"]
    assert not roomy["decisions"]["checkpointing"]["value"]
    refused = foretold(run, "rtx4060", "batch_tokens: 8192, max_length: 8192, precision: fp32, checkpointing: off")
    assert [change["what"] for change in refused["memory"]["changes"]] == ["train.checkpointing=on"]
    assert refused["memory"]["changes"][0]["fits"]


def test_an_unknown_device_is_answered_with_the_nearest(run):
    with pytest.raises(InputError, match="no device 't5'") as error:
        foretold(run, "t5")
    assert "did you mean t4" in str(error.value.fix)


def test_a_device_is_planned_for_without_torch_and_without_a_run(tmp_path):
    (tmp_path / "e.yaml").write_text("schema: 1\nname: e\nbase: scratch:smollm2-135m\ndata: {source: absent.txt}\n")
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('torch', 'transformers', 'peft')))\n"
        "from assay.cli.main import main\n"
        "sys.exit(main(['plan', 'e.yaml', '--device', 't4', '--set', 'train.steps=5']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "device: T4" in done.stdout
    assert "fits: 15 GB may be filled" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["e.yaml"]
