import pytest
import torch
from torch.nn import functional

from assay.model import loss, memory

VOCABULARY = 40


@pytest.fixture
def inputs(monkeypatch):
    monkeypatch.setitem(memory.CHUNK_BYTES, "cpu", 4 * VOCABULARY * 16)  # 16 positions
    generator = torch.Generator().manual_seed(1)
    n = 2 * 16 + 7  # three chunks, the last one short
    hidden = torch.randn(n, 12, generator=generator, requires_grad=True)
    weight = torch.randn(VOCABULARY, 12, generator=generator, requires_grad=True)
    return hidden, weight, torch.randint(0, VOCABULARY, (n,), generator=generator)


def plain(hidden, weight, targets):
    return functional.cross_entropy(functional.linear(hidden, weight), targets, reduction="sum")


def gradients(function, hidden, weight, targets, factor=0.5):
    hidden.grad = weight.grad = None
    value = function(hidden, weight, targets)
    (value * factor).backward()
    return value.detach(), hidden.grad, weight.grad


def test_sum_and_gradients_equal_torchs_cross_entropy(inputs):
    for found, expected in zip(gradients(loss.summed_nll, *inputs), gradients(plain, *inputs), strict=True):
        torch.testing.assert_close(found, expected)


def test_any_chunk_gives_the_same(inputs, monkeypatch):
    before = gradients(loss.summed_nll, *inputs)
    monkeypatch.setitem(memory.CHUNK_BYTES, "cpu", 1)  # one position
    for found, expected in zip(gradients(loss.summed_nll, *inputs), before, strict=True):
        torch.testing.assert_close(found, expected)


def test_never_more_logits_than_a_chunk(inputs, monkeypatch):
    shapes = []
    log_softmax = torch.log_softmax

    def seen(logits, *args, **kwargs):
        shapes.append(logits.shape)
        return log_softmax(logits, *args, **kwargs)

    monkeypatch.setattr(torch, "log_softmax", seen)
    loss.summed_nll(*inputs)
    assert shapes == [(16, VOCABULARY), (16, VOCABULARY), (7, VOCABULARY)]


def test_a_chunk_is_measured_in_bytes():
    assert (
        memory.chunk_rows(49152, "cpu") * 49152 * 4
        <= memory.CHUNK_BYTES["cpu"]
        < (memory.chunk_rows(49152, "cpu") + 1) * 49152 * 4
    )
    assert memory.chunk_rows(10**12, "cpu") == 1
    assert memory.chunk_rows(128256, "cuda") > 400


def test_a_frozen_head_gets_no_gradient(inputs):
    hidden, weight, targets = inputs
    weight.requires_grad_(False)
    loss.summed_nll(hidden, weight, targets).backward()
    assert weight.grad is None
    assert hidden.grad is not None


def test_a_second_backward_pass_fails_instead_of_scaling_twice(inputs):
    value = loss.summed_nll(*inputs) * 2
    value.backward(retain_graph=True)
    with pytest.raises(AttributeError):
        value.backward()


def test_token_nll_sums_to_the_loss(inputs):
    hidden, weight, targets = inputs
    each = loss.token_nll(hidden, weight, targets)
    assert each.shape == targets.shape
    torch.testing.assert_close(each.sum(), loss.summed_nll(hidden, weight, targets).detach())


def test_no_position_is_no_loss(inputs):
    hidden, weight, targets = inputs
    assert loss.token_nll(hidden[:0], weight, targets[:0]).shape == (0,)
    value, grad_hidden, grad_weight = gradients(lambda h, w, t: loss.summed_nll(h[:0], w, t[:0]), *inputs)
    assert value == 0
    assert not grad_hidden.any()
    assert not grad_weight.any()


def test_bf16_stays_near_fp32(inputs):
    """Products are rounded to bf16 (relative 2^-8), sums are not: within 2 % of fp32 in norm."""
    hidden, weight, targets = inputs
    half = [t.detach().bfloat16().requires_grad_() for t in (hidden, weight)]
    exact = [t.detach().float().requires_grad_() for t in half]  # the same rounded inputs
    for found, expected in zip(
        gradients(loss.summed_nll, *half, targets), gradients(plain, *exact, targets), strict=True
    ):
        assert (found.float() - expected).norm() < 0.02 * expected.norm()
    assert loss.token_nll(half[0], half[1], targets).dtype == torch.float32


def test_the_weights_gradient_is_summed_in_fp32(monkeypatch):
    """A thousand chunks of one half each: bf16 cannot add a half to 128."""
    monkeypatch.setitem(memory.CHUNK_BYTES, "cpu", 1)
    hidden = torch.ones(1000, 1, dtype=torch.bfloat16)
    weight = torch.zeros(2, 1, dtype=torch.bfloat16, requires_grad=True)
    loss.summed_nll(hidden, weight, torch.zeros(1000, dtype=torch.long)).backward()
    torch.testing.assert_close(weight.grad.float(), torch.tensor([[-500.0], [500.0]]), rtol=2**-8, atol=0)
