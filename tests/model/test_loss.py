import pytest
import torch
from torch.nn import functional

from assay.model import loss


@pytest.fixture
def inputs():
    generator = torch.Generator().manual_seed(1)
    n = 2 * loss.CHUNK + 17  # three chunks, the last one short
    hidden = torch.randn(n, 12, generator=generator, requires_grad=True)
    weight = torch.randn(40, 12, generator=generator, requires_grad=True)
    return hidden, weight, torch.randint(0, 40, (n,), generator=generator)


def test_sum_and_gradients_equal_torchs_cross_entropy(inputs):
    hidden, weight, targets = inputs
    ours = loss.summed_nll(hidden, weight, targets)
    (ours * 0.5).backward()
    found = (hidden.grad.clone(), weight.grad.clone())
    hidden.grad = weight.grad = None
    reference = functional.cross_entropy(functional.linear(hidden, weight), targets, reduction="sum")
    (reference * 0.5).backward()
    torch.testing.assert_close(ours, reference)
    torch.testing.assert_close(found[0], hidden.grad)
    torch.testing.assert_close(found[1], weight.grad)


def test_a_frozen_head_gets_no_gradient(inputs):
    hidden, weight, targets = inputs
    weight.requires_grad_(False)
    loss.summed_nll(hidden, weight, targets).backward()
    assert weight.grad is None
    assert hidden.grad is not None


def test_token_nll_sums_to_the_loss(inputs):
    hidden, weight, targets = inputs
    each = loss.token_nll(hidden, weight, targets)
    assert each.shape == targets.shape
    torch.testing.assert_close(each.sum(), loss.summed_nll(hidden, weight, targets).detach())


def test_bf16_sums_in_fp32(inputs):
    hidden, weight, targets = (t.detach() for t in inputs)
    half = loss.token_nll(hidden.bfloat16(), weight.bfloat16(), targets)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, loss.token_nll(hidden, weight, targets), rtol=0.05, atol=0.1)
