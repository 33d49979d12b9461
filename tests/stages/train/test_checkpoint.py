import torch

from assay.core.console import Console
from assay.stages.train.checkpoint import KEEP, Checkpoint, newest, save


def at(step):
    return Checkpoint(step, {"w": torch.full((3,), float(step))}, {"w:step": torch.tensor(1.0)}, {"step": step})


def test_the_newest_comes_back_and_old_ones_go(tmp_path):
    for step in (5, 10, 15):
        save(tmp_path, at(step))
    found = newest(tmp_path, Console(quiet=True))
    assert found.step == 15
    assert found.counters == {"step": 15}
    assert torch.equal(found.weights["w"], at(15).weights["w"])
    assert len(list(tmp_path.glob("step-*"))) == KEEP


def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, capsys):
    for step in (5, 10):
        save(tmp_path, at(step))
    file = tmp_path / "step-000010" / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\x07")
    assert newest(tmp_path, Console()).step == 5
    assert "step-000010 is damaged" in capsys.readouterr().err


def test_no_checkpoint_is_none(tmp_path):
    assert newest(tmp_path, Console(quiet=True)) is None
