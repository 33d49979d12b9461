"""A step that cannot be taken: memory that runs out, and values that are not finite, each with its likely cause."""

import math

import pytest
import torch
from fixture_training import LENGTHS, STEPS, corpus, loop_for, train

from assay.core.console import Console
from assay.core.errors import GuardError, MachineError
from assay.core.files import read_lines
from assay.stages.train import checkpoint, safety


def allocator(limit, loop):
    """The loop's own work, in a machine whose memory holds so many tokens of a row."""
    real = loop._forward_backward

    def work(documents, place):
        if sum(len(d.ids) - 1 for d in documents) > limit:
            raise RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory")
        return real(documents, place)

    loop._forward_backward = work


def test_out_of_memory_halves_the_rows_and_keeps_the_batch(tmp_path):
    said, events = [], []
    loop = loop_for("llama-tiny", "lora", tmp_path / "a", 64, said=said, events=events)
    allocator(40, loop)
    counters = loop.run()
    lines = [line for line in read_lines(tmp_path / "a" / "metrics.jsonl") if "loss" in line]
    assert [line["tokens"] for line in lines] == [sum(LENGTHS[i] for i in s) for s in STEPS]
    assert counters.micro_tokens == lines[-1]["micro_tokens"] == 32
    assert events == [{"step": 1, "micro_tokens": 32, "before": 64}]
    assert ["memory ran out" in text for text in said].count(True) == 1
    alone = train("llama-tiny", "lora", tmp_path / "b", 32)
    assert all(torch.equal(weights, alone[name]) for name, weights in loop.optimizer.masters.items())


def test_smaller_rows_are_saved_before_the_step_is_done_again(tmp_path):
    """Killed before the next checkpoint and resumed, it must cut the steps as it did: dropout draws by row."""
    killed, straight = (loop_for("llama-tiny", "lora", tmp_path / name, 64, save_every=9) for name in ("a", "b"))
    allocator(40, killed)
    killed._save = lambda save=killed._save: (save(), (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        killed.run()
    saved = checkpoint.newest(tmp_path / "a" / "checkpoints", Console(quiet=True))
    assert saved.counters["micro_tokens"] == 32
    again = loop_for("llama-tiny", "lora", tmp_path / "a", 64, save_every=9)
    again.restore(saved)
    allocator(40, straight)
    again.run(), straight.run()
    assert all(torch.equal(w, straight.optimizer.masters[name]) for name, w in again.optimizer.masters.items())


def test_smaller_rows_stay_after_a_resume(tmp_path):
    first = loop_for("llama-tiny", "lora", tmp_path, 64)
    allocator(40, first)
    first.run()
    again = loop_for("llama-tiny", "lora", tmp_path, 64)
    again.restore(checkpoint.newest(tmp_path / "checkpoints", Console(quiet=True)))
    assert again.counters.micro_tokens == 32


def test_one_document_that_does_not_fit_ends_with_what_would(tmp_path):
    loop = loop_for("llama-tiny", "lora", tmp_path, 64)
    allocator(20, loop)
    with pytest.raises(MachineError, match="one document of 39 tokens") as caught:
        loop.run()
    assert "train.checkpointing" in caught.value.fix


def test_memory_that_runs_out_in_the_update_is_no_matter_of_rows(tmp_path):
    loop = loop_for("llama-tiny", "lora", tmp_path, 64)

    def step(**how):
        raise torch.OutOfMemoryError("CUDA out of memory")

    loop.optimizer.step = step
    with pytest.raises(MachineError, match="while the optimizer updated"):
        loop.run()


def test_other_errors_are_not_taken_for_memory(tmp_path):
    loop = loop_for("llama-tiny", "lora", tmp_path, 64)

    def work(documents, place):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    loop._forward_backward = work
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        loop.run()


def poison(loop, bad, from_step=0, only_half=False):
    """Some segments have no finite loss from a step on (in half precision alone)."""
    real, poisoned = loop._forward_backward, [corpus()[i].ids.tolist() for i in bad]

    def work(documents, place):
        nats = real(documents, place)
        half = next(iter(loop.optimizer.parameters.values())).dtype != torch.float32
        hit = any(d.ids.tolist() in poisoned for d in documents) and (half or not only_half)
        return math.nan if hit and place[0] >= from_step else nats

    loop._forward_backward = work


@pytest.mark.parametrize("number", [1, 3])
def test_a_bad_row_stops_before_the_weights_are_touched_and_is_named(number, tmp_path):
    bad = STEPS[number - 1][0]
    messages = []
    for attempt in range(2):
        loop = loop_for("llama-tiny", "lora", tmp_path, 64)
        poison(loop, [bad], from_step=number)
        if attempt:
            loop.restore(checkpoint.newest(tmp_path / "checkpoints", Console(quiet=True)))
        with pytest.raises(GuardError, match=f"the loss of step {number} is not finite") as caught:
            loop.run()
        messages.append(caught.value.why)
        assert f"a row: 1 of the step's {len(STEPS[number - 1])} documents" in messages[-1]
        assert f"segment {bad}" in messages[-1]
        saved = checkpoint.at(tmp_path / "checkpoints", number - 1)
        assert all(torch.equal(saved.weights[name], w) for name, w in loop.optimizer.masters.items())
    assert messages[0] == messages[1]


def test_documents_that_are_finite_in_fp32_accuse_the_precision(tmp_path):
    loop = loop_for("llama-tiny", "lora", tmp_path, 64, dtype=torch.bfloat16, precision="bf16")
    poison(loop, STEPS[0], only_half=True)
    with pytest.raises(GuardError, match=r"precision: .* overflow in bf16 and are finite in fp32") as caught:
        loop.run()
    assert "train.precision=fp32" in caught.value.fix


def test_weights_that_a_step_broke_accuse_the_rate(tmp_path):
    loop = loop_for("llama-tiny", "lora", tmp_path, 64)
    name, weight = next(iter(loop.optimizer.parameters.items()))
    loop._look(0)
    loop._step(1)
    weight.data[0, 0] = math.nan
    with pytest.raises(
        GuardError, match=r"the learning rate: after a step at rate 0\.001 1 tensor not finite"
    ) as caught:
        loop._step(2)
    assert name in caught.value.why


def test_a_rate_that_blows_up_is_told_with_its_numbers(tmp_path):
    loop = loop_for("llama-tiny", "lora", tmp_path, 64, learning_rate=1e30)
    with pytest.raises(GuardError, match=r"the learning rate: .* after a step at rate 1e\+30; loss 5.*gradient norm"):
        loop.run()
    assert loop.counters.step == 1


def test_an_overflow_in_fp16_is_done_again_at_a_smaller_scale(tmp_path):
    loop = loop_for("llama-tiny", "lora", tmp_path, 64, dtype=torch.float16, precision="fp16")
    loop.optimizer.loss_scale.value = 2.0**40
    counters = loop.run()
    lines = [line for line in read_lines(tmp_path / "metrics.jsonl") if "loss" in line]
    assert counters.step == len(STEPS)
    assert counters.overflows == lines[-1]["overflows"] > 0
    assert lines[-1]["loss_scale"] == 2.0 ** (40 - counters.overflows)
    assert all(bool(w.isfinite().all()) for w in loop.optimizer.masters.values())


def test_in_fp16_an_overflow_at_the_scales_floor_stops(tmp_path):
    loop = loop_for("llama-tiny", "lora", tmp_path, 64, dtype=torch.float16, precision="fp16")
    loop.optimizer.loss_scale.value = loop.optimizer.loss_scale.FLOOR
    loop.optimizer.gradient_norm = lambda: math.inf
    with pytest.raises(GuardError, match="the gradient of step 1 is not finite"):
        loop.run()


def test_rows_are_halved_until_there_are_more_of_them():
    assert safety.smaller([0, 1], [10, 10], 64) == 16
    assert safety.smaller([0, 1, 2], [30, 1, 30], 61) == 30
    with pytest.raises(MachineError):
        safety.smaller([0, 1], [10, 10], 10)
