"""AdamW over fp32 master weights, and the learning-rate schedules."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn


def rate(step: int, *, total: int, peak: float, schedule: str, warmup: float) -> float:
    """The learning rate of optimizer step `step` (from 1), warmup first, then the schedule.

    Warmup rises linearly over `warmup` x `total` steps and reaches `peak` on its last; `linear` and
    `cosine` then fall towards zero, which they would reach one step after the last.
    """
    rise = round(warmup * total)
    if step <= rise:
        return peak * step / rise
    if schedule == "constant":
        return peak
    done = (step - rise - 1) / max(1, total - rise)
    return peak * (1 - done) if schedule == "linear" else peak * 0.5 * (1 + math.cos(math.pi * done))


class MasterAdamW:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101) whose weights and moments are fp32.

    bf16 has eight bits of mantissa: an update smaller than 1/256 of a weight would be lost in it. The
    model's own parameters are rounded copies of the masters; in fp32 they are the masters.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], *, weight_decay: float) -> None:
        self.parameters = parameters
        self.masters: dict[str, Tensor] = {
            name: p.data if p.dtype == torch.float32 else p.data.float() for name, p in parameters.items()
        }
        self._adamw = torch.optim.AdamW(
            [nn.Parameter(master) for master in self.masters.values()], weight_decay=weight_decay, foreach=False
        )
        self._held = self._adamw.param_groups[0]["params"]

    def gradient_norm(self) -> float:
        """The global 2-norm of all gradients, in fp32."""
        squares = [p.grad.float().square().sum() for p in self.parameters.values() if p.grad is not None]
        return float(torch.stack(squares).sum().sqrt()) if squares else 0.0

    def step(self, *, rate: float, scale: float) -> None:
        """One update with the gradients times `scale`, at learning rate `rate`."""
        for held, parameter in zip(self._held, self.parameters.values(), strict=True):
            held.grad = None if parameter.grad is None else parameter.grad.float() * scale
        for group in self._adamw.param_groups:
            group["lr"] = rate
        self._adamw.step()
        for held, parameter in zip(self._held, self.parameters.values(), strict=True):
            held.grad = None
            if parameter.data.data_ptr() != held.data.data_ptr():
                parameter.data.copy_(held.data)

    def zero(self) -> None:
        """Forget the gradients."""
        for parameter in self.parameters.values():
            parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Moments and counts as flat tensors, named `<parameter>:<what>`."""
        found: dict[str, Tensor] = {}
        for name, held in zip(self.parameters, self._held, strict=True):
            entry: dict[str, Any] = self._adamw.state.get(held, {})
            found |= {f"{name}:{what}": value for what, value in entry.items()}
        return found

    def restore(self, masters: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Put masters, parameters and moments back as `masters` and `state` gave them."""
        for name, held in zip(self.parameters, self._held, strict=True):
            held.data.copy_(masters[name])
            self.parameters[name].data.copy_(masters[name])
            entry = {
                what: value.clone() if what == "step" else value.to(held.device, copy=True)
                for key, value in state.items()
                for owner, _, what in [key.rpartition(":")]
                if owner == name
            }
            if entry:
                self._adamw.state[held] = entry
