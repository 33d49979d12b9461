"""After a mistake is put right the same command goes on; what may change without a new run is written down."""

from __future__ import annotations

import shutil

from assay.cli.main import main
from assay.config.load import load_experiment
from assay.core.files import read_json
from assay.core.rundir import RunDir


def test_a_restored_adapter_gives_the_verdict_again(healthy, capsys):
    file = healthy.run.adapter / "adapter_model.safetensors"
    kept = file.read_bytes()
    file.write_bytes(kept[:-1] + b"\0")
    assert healthy.again("run") == 3
    assert healthy.again("run") == 3
    assert not healthy.run.summary.exists()
    capsys.readouterr()
    assert main(["show", str(healthy.run.path), "--json"]) == 0
    assert '"verdict": null' in capsys.readouterr().out
    file.write_bytes(kept)
    assert healthy.again("run") == 0
    assert healthy.failed() == set()
    assert "better by" in capsys.readouterr().out


def test_a_restored_data_file_gives_the_verdict_again(healthy):
    file = healthy.run.split("train")
    kept = file.read_bytes()
    file.unlink()  # the store holds the same file under another name
    file.write_bytes(kept + b"x")
    assert healthy.again("evaluate") in (0, 3)
    file.write_bytes(kept)
    assert healthy.again("run") == 0
    assert healthy.failed() == set()


def test_changed_evaluation_settings_are_written_down_and_kept(healthy):
    first = read_json(healthy.run.summary)
    assert healthy.assay("run", "evaluate.smallest_effect=9", "evaluate.window=64") == 0
    second = read_json(healthy.run.summary)
    assert second["settings"]["window"] == 64
    assert second["verdict"]["outcome"] == "better-but-small"
    assert first["verdict"]["outcome"] == "better"
    assert load_experiment(healthy.run.resolved).experiment.evaluate.window == 64
    assert "window: 64" in healthy.run.resolved.read_text()
    assert len(list((healthy.runs / "tiny").glob("2*"))) == 1
    assert healthy.failed() == set()
    events = healthy.run.events.read_text()
    assert healthy.again("run") == 0  # and it stays so
    assert read_json(healthy.run.summary) == second
    assert healthy.run.events.read_text() == events


def test_a_repaired_table_is_taken(case, rows):
    broken = case([{"play": row["play"], "text": "same text for all of them, word for word, " * 3} for row in rows])
    assert broken.assay("run") == 2  # one of the equal texts is left, in one group
    repaired = case()
    assert repaired.assay("prepare") == 0


def test_a_window_beyond_the_bases_positions_is_said_before_training(case, capsys):
    long = case()
    assert long.assay("run", "base=scratch:gpt2-tiny", "evaluate.window=2048") == 2
    assert "2048 tokens are more than the base can take, which is 1024" in capsys.readouterr().err
    assert not long.run.metrics.exists()


def test_a_damaged_evaluation_is_made_anew_when_asked_for(healthy):
    healthy.run.texts.write_bytes(b"not parquet")
    assert healthy.again("report") == 2
    assert healthy.again("evaluate") == 0
    assert healthy.again("report") == 0
    assert healthy.failed() == set()


def test_a_deleted_evaluation_is_made_anew(healthy):
    healthy.run.summary.unlink()
    assert healthy.again("run") == 0
    assert healthy.run.summary.exists()


def test_two_runs_of_one_experiment_stand_side_by_side(healthy):
    first = healthy.run
    assert main(["prepare", str(healthy.file), "--runs-dir", str(healthy.runs), "--quiet", "--new"]) == 0
    second = healthy.run
    assert second.path != first.path
    assert second.manifest.read_bytes() == first.manifest.read_bytes()
    assert second.split("test").stat().st_nlink > 1  # from the store
    shutil.rmtree(second.path)
    assert isinstance(healthy.run, RunDir)
