import math

import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from assay.stages.train.optim import MasterAdamW, rate


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return {
        n: torch.nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for n, s in (("a", (4, 3)), ("b", (5,)))
    }


def gradients(step):
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(4, 3, generator=generator), torch.randn(5, generator=generator)]


def test_fp32_equals_torchs_adamw():
    ours, theirs = parameters(), parameters()
    optimizer = MasterAdamW(ours, weight_decay=0.1)
    reference = torch.optim.AdamW(theirs.values(), lr=0.01, weight_decay=0.1)
    for step in range(5):
        for mine, yours, grad in zip(ours.values(), theirs.values(), gradients(step), strict=True):
            mine.grad, yours.grad = grad * 4, grad.clone()
        optimizer.step(rate=0.01, scale=0.25)
        reference.step()
    for mine, yours in zip(ours.values(), theirs.values(), strict=True):
        torch.testing.assert_close(mine, yours)


def test_bf16_keeps_what_bf16_would_lose():
    weights = {"a": torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))}
    optimizer = MasterAdamW(weights, weight_decay=0.0)
    for _ in range(40):
        weights["a"].grad = torch.ones(3, dtype=torch.bfloat16)
        optimizer.step(rate=1e-4, scale=1.0)  # bf16 cannot hold 1 - 1e-4
    assert torch.allclose(optimizer.masters["a"], torch.full((3,), 1 - 40e-4), atol=1e-5)
    assert torch.equal(weights["a"].data, optimizer.masters["a"].bfloat16())
    assert (weights["a"] < 1).all()


def test_restored_equals_uninterrupted():
    straight, stopped = parameters(), parameters()
    one, two = MasterAdamW(straight, weight_decay=0.0), MasterAdamW(stopped, weight_decay=0.0)

    def go(optimizer, weights, steps):
        for step in steps:
            for p, grad in zip(weights.values(), gradients(step), strict=True):
                p.grad = grad
            optimizer.step(rate=0.01, scale=1.0)

    go(one, straight, range(6))
    go(two, stopped, range(3))
    fresh = parameters()
    again = MasterAdamW(fresh, weight_decay=0.0)
    again.restore({k: v.clone() for k, v in two.masters.items()}, two.state())
    go(again, fresh, range(3, 6))
    assert all(torch.equal(straight[n], fresh[n]) for n in straight)


@pytest.mark.parametrize(
    ("schedule", "theirs"), [("linear", get_linear_schedule_with_warmup), ("cosine", get_cosine_schedule_with_warmup)]
)
def test_schedules_equal_transformers_after_warmup(schedule, theirs):
    total, rise = 20, 4
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = theirs(optimizer, num_warmup_steps=rise, num_training_steps=total)
    expected = []
    for _ in range(total + 1):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    # theirs begins at rate 0, in a step that trains nothing; ours begins one step up the ramp
    found = [rate(step, total=total, peak=1.0, schedule=schedule, warmup=rise / total) for step in range(1, total + 1)]
    assert found[:rise] == pytest.approx(expected[1 : rise + 1])
    assert found[rise:] == pytest.approx(expected[rise:total])


def test_every_rate_is_above_zero_and_at_most_the_peak():
    for schedule in ("constant", "linear", "cosine"):
        for warmup in (0.0, 0.03, 0.5):
            rates = [rate(s, total=7, peak=3e-4, schedule=schedule, warmup=warmup) for s in range(1, 8)]
            assert all(0 < r <= 3e-4 for r in rates)
            assert math.isclose(max(rates), 3e-4)
