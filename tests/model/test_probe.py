"""The probe leaves everything as it was, and finds the micro-batch that fits."""

import pytest
import torch

from assay.model import probe
from assay.model.load import _random
from assay.model.registry import PRESETS


def test_the_probe_touches_neither_weights_nor_random_state():
    model = _random(PRESETS["llama-tiny"])
    before = {name: p.clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()

    def work():
        torch.manual_seed(7)  # as the loop does for dropout
        model(input_ids=torch.randint(0, 257, (1, 64))).logits.sum().backward()

    def forget():
        for p in model.parameters():
            p.grad = None

    peak = probe.probe_step(work, forget, device="cpu")
    assert peak > 0
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p, before[name]) and p.grad is None for name, p in model.named_parameters())


def test_the_probe_sees_what_is_held_meanwhile():
    size = 300_000_000

    def work():
        held = torch.ones(size, dtype=torch.uint8)
        held.add_(1)

    start = probe.memory_now()
    assert probe.probe_step(work, lambda: None, device="cpu") - start == pytest.approx(size, rel=0.1)


def test_memory_that_runs_out_is_none_and_another_error_is_not_hidden():
    def without_memory():
        raise torch.OutOfMemoryError("planted")

    def broken():
        raise RuntimeError("planted")

    forgotten = []
    assert probe.probe_step(without_memory, lambda: forgotten.append(1), device="cpu") is None
    assert forgotten == [1]
    with pytest.raises(RuntimeError, match="planted"):
        probe.probe_step(broken, lambda: None, device="cpu")


def settled(monkeypatch, peaks, **changes):
    """`settle` over micro-batches whose peaks are known; the ones that were tried."""
    tried = []

    def measured(work, forget, *, device):
        work()
        return peaks[tried[-1]]

    monkeypatch.setattr(probe, "probe_step", measured)
    settings = {"device": "cpu", "later": 0, "budget": 100} | changes
    return probe.settle(1024, 256, tried.append, lambda: None, **settings)


def test_the_micro_batch_is_halved_until_it_fits(monkeypatch):
    found = settled(monkeypatch, {1024: 150, 512: None, 256: 90})
    assert found == probe.Probed(256, 90, True, {1024: 150, 512: None, 256: 90})
    assert settled(monkeypatch, {1024: 100}) == probe.Probed(1024, 100, True, {1024: 100})


def test_what_comes_later_counts_too(monkeypatch):
    found = settled(monkeypatch, {1024: 90, 512: 60}, later=40)
    assert found == probe.Probed(512, 100, True, {1024: 130, 512: 100})


def test_a_single_sequence_stays_and_the_probe_says_that_it_does_not_fit(monkeypatch):
    found = settled(monkeypatch, {1024: 300, 512: 200, 256: 150})
    assert (found.micro_tokens, found.fits) == (256, False)
