import math
import sys

import bitsandbytes
import pytest
import torch
from transformers import get_cosine_schedule_with_warmup, get_linear_schedule_with_warmup

from assay.core.errors import MachineError
from assay.stages.train import checkpoint
from assay.stages.train.optim import OPTIMIZERS, LossScale, Optimizer, rate, require_optimizer


def parameters(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return {
        n: torch.nn.Parameter(torch.randn(s, generator=generator).to(dtype)) for n, s in (("a", (80, 64)), ("b", (5,)))
    }


def gradients(step):
    generator = torch.Generator().manual_seed(step)
    return [torch.randn(80, 64, generator=generator), torch.randn(5, generator=generator)]


class WrittenOutAdafactor:
    """The paper's algorithm 4 with relative steps and weight scaling off, decay exponent 0.8, clipping at 1."""

    def __init__(self, weights, weight_decay):
        self.weights, self.weight_decay, self.rate = weights, weight_decay, 0.0
        self.state = [[0.0, 0.0] for _ in weights]

    def step(self):
        self.taken = getattr(self, "taken", 0) + 1
        decay = 1 - self.taken**-0.8
        for weight, moments in zip(self.weights, self.state, strict=True):
            squares = weight.grad**2 + 1e-30
            if weight.dim() == 2:
                moments[0] = decay * moments[0] + (1 - decay) * squares.mean(1)
                moments[1] = decay * moments[1] + (1 - decay) * squares.mean(0)
                second = moments[0][:, None] * moments[1][None] / moments[0].mean()
            else:
                moments[0] = second = decay * moments[0] + (1 - decay) * squares
            update = weight.grad / second.sqrt()
            update /= max(1.0, float(update.square().mean().sqrt()))
            weight.data -= self.rate * (update + self.weight_decay * weight.data)


def reference(kind, weights, weight_decay):
    """An independent optimizer that ours is held to: torch's plain AdamW, bitsandbytes' own, Adafactor written out."""
    if kind == "adamw":
        return torch.optim.AdamW(weights, weight_decay=weight_decay, foreach=False)
    if kind == "adafactor":
        return WrittenOutAdafactor(weights, weight_decay)
    return bitsandbytes.optim.AdamW8bit(weights, weight_decay=weight_decay)


@pytest.mark.parametrize("kind", ["adamw", "adamw_8bit", "adafactor"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_twenty_steps_equal_the_reference(kind, dtype):
    ours = parameters(dtype)
    theirs = [torch.nn.Parameter(p.data.float().clone()) for p in ours.values()]
    optimizer, other = Optimizer(ours, weight_decay=0.1, kind=kind), reference(kind, theirs, 0.1)
    for step in range(20):
        for mine, yours, grad in zip(ours.values(), theirs, gradients(step), strict=True):
            mine.grad = (grad * 4).to(dtype)
            yours.grad = mine.grad.float() / 4
        learning_rate = 0.01 / (step + 1)
        optimizer.step(rate=learning_rate, scale=0.25)
        if isinstance(other, torch.optim.Optimizer):
            other.param_groups[0]["lr"] = learning_rate
        else:
            other.rate = learning_rate
        other.step()
    for mine, yours, held in zip(optimizer.masters.values(), theirs, ours.values(), strict=True):
        torch.testing.assert_close(mine, yours.data, rtol=1e-5, atol=1e-6)
        assert torch.equal(held.data, mine.to(dtype))


def test_moments_in_8_bits_stay_near_those_in_32():
    found = {}
    for kind in ("adamw", "adamw_8bit"):
        weights = parameters()
        optimizer = Optimizer(weights, weight_decay=0.0, kind=kind)
        before = weights["a"].data.clone()
        for step in range(20):
            for p, grad in zip(weights.values(), gradients(step), strict=True):
                p.grad = grad + 1.0
            optimizer.step(rate=1e-3, scale=1.0)
        found[kind] = weights["a"].data - before
    assert optimizer.state()["a:state1"].dtype == torch.uint8
    assert float((found["adamw"] - found["adamw_8bit"]).norm() / found["adamw"].norm()) < 0.05


def test_bf16_keeps_what_bf16_would_lose():
    weights = {"a": torch.nn.Parameter(torch.ones(3, dtype=torch.bfloat16))}
    optimizer = Optimizer(weights, weight_decay=0.0)
    for _ in range(40):
        weights["a"].grad = torch.ones(3, dtype=torch.bfloat16)
        optimizer.step(rate=1e-4, scale=1.0)  # bf16 cannot hold 1 - 1e-4
    assert torch.allclose(optimizer.masters["a"], torch.full((3,), 1 - 40e-4), atol=1e-5)
    assert torch.equal(weights["a"].data, optimizer.masters["a"].bfloat16())
    assert (weights["a"] < 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_rows_of_a_step_add_up_in_fp32(dtype):
    """256 + 1 is 256 in bf16, whose numbers have 8 bits."""
    weights = {"a": torch.nn.Parameter(torch.ones(1, dtype=dtype))}
    optimizer = Optimizer(weights, weight_decay=0.0)
    for row in (256.0, 1.0, 1.0):
        (weights["a"] * row).sum().backward()
        optimizer.collect()
    assert optimizer.gradient_norm() == 258.0
    optimizer.step(rate=0.1, scale=1.0)
    moment = next(value for name, value in optimizer.state().items() if name.endswith("exp_avg"))
    assert float(moment) == pytest.approx(0.1 * 258)
    optimizer.zero()
    assert optimizer.gradient_norm() == 0.0
    optimizer.hold()
    assert optimizer.gradient_norm() == 0.0


@pytest.mark.parametrize("kind", ["adamw", "adamw_8bit", "adafactor"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_restored_from_a_file_it_goes_on_to_the_bit(kind, dtype, tmp_path):
    def go(optimizer, steps):
        for step in steps:
            for p, grad in zip(optimizer.parameters.values(), gradients(step), strict=True):
                p.grad = grad.to(dtype)
            optimizer.step(rate=0.01, scale=1.0)

    one, two = (Optimizer(parameters(dtype), weight_decay=0.1, kind=kind) for _ in range(2))
    go(one, range(6))
    go(two, range(3))
    checkpoint.save(tmp_path, checkpoint.Checkpoint(3, two.masters, two.state(), {}), keep=1)
    saved = checkpoint.at(tmp_path, 3)
    again = Optimizer(parameters(dtype), weight_decay=0.1, kind=kind)
    go(again, range(1))  # what was there before is forgotten
    again.restore(saved.weights, saved.optimizer)
    go(again, range(3, 6))
    assert all(torch.equal(one.masters[n], again.masters[n]) for n in one.masters)
    assert all(torch.equal(p.data, again.parameters[n].data) for n, p in one.parameters.items())
    assert one.loss_scale == again.loss_scale
    assert {k: v.tolist() for k, v in one.state().items()} == {k: v.tolist() for k, v in again.state().items()}


def test_the_loss_scale_is_taken_out_of_gradients_and_norm():
    plain, scaled = Optimizer(parameters(torch.float16), weight_decay=0.0), None
    scaled = Optimizer(parameters(torch.float16), weight_decay=0.0)
    plain.loss_scale = None
    for optimizer in (plain, scaled):
        for p, grad in zip(optimizer.parameters.values(), gradients(1), strict=True):
            p.grad = (grad * optimizer.loss_factor).half()
    assert scaled.loss_factor == 32
    assert scaled.gradient_norm() == pytest.approx(plain.gradient_norm(), rel=1e-3)
    for optimizer in (plain, scaled):
        optimizer.step(rate=0.01, scale=0.5)
    torch.testing.assert_close(plain.masters, scaled.masters, rtol=1e-3, atol=1e-4)


def test_the_loss_scale_halves_to_its_floor_and_doubles_after_a_while():
    scale = LossScale(value=2.0**-15)
    assert (scale.shrink(), scale.value, scale.shrink()) == (True, 2.0**-16, False)
    for _ in range(LossScale.GROWS_AFTER):
        scale.hold()
    assert (scale.value, scale.steady) == (2.0**-15, 0)


def test_what_pages_to_main_memory_needs_a_gpu():
    with pytest.raises(MachineError, match="this training runs on cpu") as caught:
        require_optimizer("paged_adamw_8bit", "cpu")
    assert "adamw_8bit" in caught.value.fix
    for kind in set(OPTIMIZERS) - {"paged_adamw_8bit"}:
        require_optimizer(kind, "cpu")


def test_without_bitsandbytes_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(MachineError) as caught:
        require_optimizer("adamw_8bit", "cpu")
    assert (caught.value.exit_code, "assay[qlora]" in caught.value.fix) == (4, True)


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
