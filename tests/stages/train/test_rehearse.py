"""The probe before the first step: what it tries, what it writes down, and that the training does not notice it."""

from types import SimpleNamespace

import pytest
import torch
from fixture_training import LENGTHS, STEPS, loop_for

from assay.core.console import Console
from assay.core.errors import MachineError
from assay.core.files import read_json, write_json
from assay.core.rundir import RunDir
from assay.stages.train.batches import micro_batches
from assay.stages.train.rehearse import fullest, rehearse

QUIET = Console(quiet=True)


def run_with_plan(folder, budget=10**12):
    run = RunDir(folder)
    write_json(
        run.plan,
        {
            "memory": {"predicted": {"total": 5000}, "moments": 100, "budget": budget},
        },
    )
    return run


def measuring(monkeypatch, peaks):
    """The probe with peaks that are known, by tokens of the row and by whether activations are computed again."""
    tried = []

    def measured(work, forget, *, device):
        work()
        forget()
        return peaks(*tried[-1])

    def passes(loop):
        original = loop.rehearse

        def noted(row):
            tried.append((sum(LENGTHS[i] for i in row), loop.settings.checkpointing))
            original(row)

        loop.rehearse = noted
        return loop

    monkeypatch.setattr("assay.model.probe.probe_step", measured)
    return passes, tried


def test_the_fullest_row_is_the_one_with_most_tokens():
    for micro_tokens in (16, 40, 70):
        rows = [row for step in STEPS for row in micro_batches(step, LENGTHS, micro_tokens)]
        most = max(sum(LENGTHS[i] for i in row) for row in rows)
        assert sum(LENGTHS[i] for i in fullest(STEPS, LENGTHS, micro_tokens)) == most


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_a_training_after_the_probe_has_the_same_bits(kind, tmp_path):
    probed, plain = (loop_for("gpt2-tiny", kind, tmp_path / name, 70) for name in ("probed", "plain"))
    rehearse(probed, run_with_plan(tmp_path), QUIET, checkpointing="auto")
    assert all(p.grad is None for p in probed.optimizer.parameters.values())
    probed.run(), plain.run()
    assert all(torch.equal(w, plain.optimizer.masters[name]) for name, w in probed.optimizer.masters.items())


def test_what_was_tried_is_written_and_not_tried_again(tmp_path, monkeypatch):
    run = run_with_plan(tmp_path)
    first = loop_for("llama-tiny", "lora", tmp_path, 70)
    rehearse(first, run, QUIET, checkpointing="auto")
    written = read_json(run.probe)
    assert written["planned"] == {"micro_batch_tokens": 70, "checkpointing": False, "memory": 5000}
    assert (written["micro_batch_tokens"], written["fits"]) == (70, True)
    assert written["peak"] > 10_000_000
    again = loop_for("llama-tiny", "lora", tmp_path, 70)
    again.rehearse = None  # not called
    rehearse(again, run, QUIET, checkpointing="auto")
    assert again.row_tokens == 70
    assert read_json(run.probe) == written


def test_rows_are_halved_until_they_fit_and_a_resumed_run_cuts_them_alike(tmp_path, monkeypatch):
    run = run_with_plan(tmp_path, budget=1000)
    passes, tried = measuring(monkeypatch, lambda tokens, again: 20 * tokens)
    loop = passes(loop_for("llama-tiny", "lora", tmp_path, 70))
    rehearse(loop, run, QUIET, checkpointing="off")
    assert loop.row_tokens == max(LENGTHS) == 39  # halved to 35, which is less than the longest text
    assert len(tried) == 2
    resumed = loop_for("llama-tiny", "lora", tmp_path, 70)
    rehearse(resumed, run, QUIET, checkpointing="off")
    assert resumed.row_tokens == loop.row_tokens


def test_activations_are_computed_again_where_nothing_else_fits(tmp_path, monkeypatch):
    run = run_with_plan(tmp_path, budget=1000)
    passes, tried = measuring(monkeypatch, lambda tokens, again: tokens if again else None)
    loop = passes(loop_for("llama-tiny", "lora", tmp_path, 70))
    rehearse(loop, run, QUIET, checkpointing="auto")
    assert loop.settings.checkpointing
    assert read_json(run.probe)["checkpointing"]
    assert [again for _, again in tried] == [False, False, True]


def test_one_sequence_that_does_not_fit_ends_with_what_would_help(tmp_path, monkeypatch):
    run = run_with_plan(tmp_path, budget=1000)
    passes, _ = measuring(monkeypatch, lambda tokens, again: None)
    with pytest.raises(MachineError, match="one sequence of 39 tokens") as error:
        rehearse(passes(loop_for("llama-tiny", "lora", tmp_path, 70)), run, QUIET, checkpointing="off")
    assert "train.max_length" in str(error.value.fix)
    assert not run.probe.exists()


def test_what_is_over_the_budget_and_still_there_is_told(tmp_path, monkeypatch):
    run, said = run_with_plan(tmp_path, budget=1000), []
    passes, _ = measuring(monkeypatch, lambda tokens, again: 10_000)
    loop = passes(loop_for("llama-tiny", "lora", tmp_path, 70))
    rehearse(loop, run, SimpleNamespace(note=said.append), checkpointing="off")
    assert "close other programs" in said[0]
    assert not read_json(run.probe)["fits"]


def test_the_first_update_is_counted_before_it_comes(tmp_path, monkeypatch):
    run = run_with_plan(tmp_path)
    passes, _ = measuring(monkeypatch, lambda tokens, again: 900)
    rehearse(passes(loop_for("llama-tiny", "lora", tmp_path, 70)), run, QUIET, checkpointing="off")
    assert read_json(run.probe)["peak"] == 1000
