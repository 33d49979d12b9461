import json

import pytest
import torch

from assay.core.console import Console
from assay.core.errors import InputError
from assay.stages.train.checkpoint import Checkpoint, at, newest, save


def made(step):
    return Checkpoint(step, {"w": torch.full((3,), float(step))}, {"w:step": torch.tensor(1.0)}, {"step": step})


def test_the_newest_comes_back_and_old_ones_go(tmp_path):
    for step in (5, 10, 15):
        save(tmp_path, made(step), keep=2)
    found = newest(tmp_path, Console(quiet=True))
    assert found.step == 15
    assert found.counters == {"step": 15}
    assert torch.equal(found.weights["w"], made(15).weights["w"])
    assert len(list(tmp_path.glob("step-*"))) == 2


def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, capsys):
    for step in (5, 10):
        save(tmp_path, made(step), keep=2)
    file = tmp_path / "step-000010" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    assert newest(tmp_path, Console()).step == 5
    assert "step-000010 is damaged" in capsys.readouterr().err


def test_a_training_that_starts_anew_keeps_what_it_saves(tmp_path):
    """Damaged checkpoints of later steps must not count as the newest."""
    for step in (50, 60):
        save(tmp_path, made(step), keep=2)
        (tmp_path / f"step-{step:06d}" / "optimizer.safetensors").unlink()
    save(tmp_path, made(5), keep=1)
    assert newest(tmp_path, Console(quiet=True)).step == 5
    assert [path.name for path in tmp_path.iterdir()] == ["step-000005"]


def test_a_whole_checkpoint_of_the_same_step_is_never_taken_away(tmp_path):
    save(tmp_path, made(5), keep=1)
    file = tmp_path / "step-000005" / "weights.safetensors"
    before = file.stat().st_ino
    counted = Checkpoint(5, made(5).weights, made(5).optimizer, {"step": 5, "micro_tokens": 32})
    save(tmp_path, counted, keep=1)
    assert newest(tmp_path, Console(quiet=True)).counters["micro_tokens"] == 32
    assert file.stat().st_ino == before


def test_no_checkpoint_is_none(tmp_path):
    assert newest(tmp_path, Console(quiet=True)) is None


def test_the_best_stays_beside_the_newest(tmp_path):
    for step in (1, 2, 3, 4):
        save(tmp_path, made(step), keep=1, best=2)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["step-000002", "step-000004"]
    assert at(tmp_path, 2).step == 2


def test_a_damaged_best_checkpoint_is_an_error(tmp_path):
    save(tmp_path, made(2), keep=1)
    (tmp_path / "step-000002" / "optimizer.safetensors").unlink()
    for step in (2, 3):
        with pytest.raises(InputError, match=f"checkpoint of step {step}, the best one, is missing or damaged"):
            at(tmp_path, step)


def test_changed_counters_are_damage_too(tmp_path, capsys):
    save(tmp_path, made(3), keep=1)
    file = tmp_path / "step-000003" / "state.json"
    state = json.loads(file.read_text())
    file.write_text(json.dumps(state | {"counters": {"step": 2}}))
    assert newest(tmp_path, Console()) is None
    assert "no checkpoint is whole: training starts anew" in capsys.readouterr().err
