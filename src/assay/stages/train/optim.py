"""The optimizers over fp32 master weights, the loss scale of fp16, and the learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from assay.core.errors import MachineError
from assay.core.optional import require
from assay.model.devices import PLAIN, refuse_optimizer


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


def _adamw(weights: list[nn.Parameter], weight_decay: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter, arXiv 1711.05101), fused: its bits depend on neither threads nor the run."""
    return torch.optim.AdamW(weights, weight_decay=weight_decay, fused=True)


def _adamw_8bit(weights: list[nn.Parameter], weight_decay: float) -> torch.optim.Optimizer:
    """AdamW whose moments are kept in 8 bits, in blocks of 256 (Dettmers et al., arXiv 2110.02861)."""
    bitsandbytes = require("bitsandbytes", extra="qlora")
    made: torch.optim.Optimizer = bitsandbytes.optim.AdamW8bit(weights, weight_decay=weight_decay)
    return made


def _paged_adamw_8bit(weights: list[nn.Parameter], weight_decay: float) -> torch.optim.Optimizer:
    """The same, its moments in memory that the GPU gives back to main memory when it is full (arXiv 2305.14314)."""
    bitsandbytes = require("bitsandbytes", extra="qlora")
    made: torch.optim.Optimizer = bitsandbytes.optim.PagedAdamW8bit(weights, weight_decay=weight_decay)
    return made


def _adafactor(weights: list[nn.Parameter], weight_decay: float) -> torch.optim.Optimizer:
    """Adafactor (Shazeer and Stern, arXiv 1804.04235) at the experiment's own learning rates.

    transformers' and not torch's: torch's always multiplies the rate by a weight's size, and a LoRA matrix that starts
    at 0 would hardly move; transformers' Trainer, too, uses it with the rate as given.
    """
    from transformers.optimization import Adafactor

    made: torch.optim.Optimizer = Adafactor(
        weights, lr=0.0, weight_decay=weight_decay, scale_parameter=False, relative_step=False
    )
    return made


OPTIMIZERS: dict[str, Callable[[list[nn.Parameter], float], torch.optim.Optimizer]] = {
    "adamw": _adamw,
    "adamw_8bit": _adamw_8bit,
    "paged_adamw_8bit": _paged_adamw_8bit,
    "adafactor": _adafactor,
}


def require_optimizer(kind: str, device: str) -> None:
    """Have what the optimizer `kind` needs on this device, or say what would do (exit 4).

    Raises:
        MachineError: bitsandbytes is missing, or has no such optimizer for this device.
    """
    if not kind.endswith("_8bit"):
        return
    refuse_optimizer(kind, device)
    require("bitsandbytes", extra="qlora")
    kernel = "bitsandbytes::optimizer_update_8bit_blockwise"
    if not torch._C._dispatch_has_kernel_for_dispatch_key(kernel, device.upper()):
        raise MachineError(
            f"bitsandbytes has no 8-bit optimizer for {device} here", where=f"train.optimizer: {kind}", fix=PLAIN
        )


@dataclass
class LossScale:
    """What a loss is multiplied by in fp16, so that small gradients do not vanish (arXiv 1710.03740).

    Halved when a gradient overflows, doubled after `GROWS_AFTER` steps without, as torch's GradScaler does; but it
    is of the loss summed over a step's tokens, which is why it begins and ends lower: 32 here is 65536 there at 2048
    tokens.
    """

    value: float = 32.0
    steady: int = 0  # steps since it last changed

    FLOOR: ClassVar[float] = 2.0**-16
    GROWS_AFTER: ClassVar[int] = 2000

    def shrink(self) -> bool:
        """Halve it after an overflow; False where it is at its floor already."""
        if self.value <= self.FLOOR:
            return False
        self.value, self.steady = max(self.FLOOR, self.value / 2), 0
        return True

    def hold(self) -> None:
        """Count a step without overflow."""
        self.steady += 1
        if self.steady == self.GROWS_AFTER:
            self.value, self.steady = self.value * 2, 0


class Optimizer:
    """One of `OPTIMIZERS`, over weights that are fp32 whatever the model's are.

    bf16 has eight bits of mantissa: an update smaller than 1/256 of a weight would be lost in it. The
    model's own parameters are rounded copies of the masters; in fp32 they are the masters.
    """

    def __init__(self, parameters: dict[str, nn.Parameter], *, weight_decay: float, kind: str = "adamw") -> None:
        self.parameters = parameters
        self.masters: dict[str, Tensor] = {
            name: p.data if p.dtype == torch.float32 else p.data.float() for name, p in parameters.items()
        }
        self._held = [nn.Parameter(master) for master in self.masters.values()]
        self._inner = OPTIMIZERS[kind](self._held, weight_decay)
        half = any(p.dtype == torch.float16 for p in parameters.values())
        self.loss_scale: LossScale | None = LossScale() if half else None

    @property
    def loss_factor(self) -> float:
        """What the loss is to be multiplied by before its gradient is formed: 1, except in fp16."""
        return self.loss_scale.value if self.loss_scale else 1.0

    def gradient_norm(self) -> float:
        """The global 2-norm of all gradients, in fp32, of the loss as it was before `loss_factor`."""
        self.collect()
        squares = [held.grad.square().sum() for held in self._held if held.grad is not None]
        return float(torch.stack(squares).sum().sqrt()) / self.loss_factor if squares else 0.0

    def step(self, *, rate: float, scale: float) -> None:
        """One update with the gradients times `scale`, at learning rate `rate`; `loss_factor` is taken out of them."""
        self.collect()
        for held in self._held:
            if held.grad is not None:
                held.grad.mul_(scale / self.loss_factor)
        for group in self._inner.param_groups:
            group["lr"] = rate
        self._inner.step()
        for held, parameter in zip(self._held, self.parameters.values(), strict=True):
            held.grad = None
            if parameter.data.data_ptr() != held.data.data_ptr():
                parameter.data.copy_(held.data)
        if self.loss_scale:
            self.loss_scale.hold()

    def collect(self) -> None:
        """Add a row's gradients to the step's, whose sums are fp32: rows of a short format would lose their last bits.

        Those of fp32 parameters have been added where they lie.
        """
        for held, parameter in zip(self._held, self.parameters.values(), strict=True):
            if parameter.grad is None:
                continue
            if parameter.grad.dtype == torch.float32:
                held.grad = parameter.grad
                continue
            held.grad = parameter.grad.float() if held.grad is None else held.grad.add_(parameter.grad)
            parameter.grad = None

    def hold(self) -> None:
        """Hold gradients of zero, as after an earlier row of the same step."""
        for parameter in self.parameters.values():
            parameter.grad = torch.zeros_like(parameter)
        self.collect()

    def zero(self) -> None:
        """Forget the gradients."""
        for held, parameter in zip(self._held, self.parameters.values(), strict=True):
            held.grad = parameter.grad = None

    def state(self) -> dict[str, Tensor]:
        """Moments and counts as flat tensors, named `<parameter>:<what>`; a plain count as an int64 of no dimension."""
        found: dict[str, Tensor] = {}
        for name, held in zip(self.parameters, self._held, strict=True):
            entry: dict[str, Any] = self._inner.state.get(held, {})
            kept = {what: value for what, value in entry.items() if what not in _TABLES}
            found |= {
                f"{name}:{what}": value if isinstance(value, Tensor) else torch.tensor(int(value))
                for what, value in kept.items()
            }
        if self.loss_scale:
            found["loss_scale:value"] = torch.tensor(self.loss_scale.value, dtype=torch.float64)
            found["loss_scale:steady"] = torch.tensor(self.loss_scale.steady)
        return found

    def restore(self, masters: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Put masters, parameters, moments and the loss scale back as `masters` and `state` gave them."""
        entries: dict[str, dict[str, Tensor]] = {}
        for key, value in state.items():
            owner, _, what = key.rpartition(":")
            entries.setdefault(owner, {})[what] = value
        for index, (name, held) in enumerate(zip(self.parameters, self._held, strict=True)):
            held.data.copy_(masters[name])
            self.parameters[name].data.copy_(masters[name])
            self._inner.state.pop(held, None)
            if name in entries:
                self._restore_moments(index, held, entries[name])
        if self.loss_scale and "loss_scale" in entries:
            kept = entries["loss_scale"]
            self.loss_scale = LossScale(float(kept["value"]), int(kept["steady"]))

    def _restore_moments(self, index: int, held: nn.Parameter, entry: dict[str, Tensor]) -> None:
        into: dict[str, Any] = self._inner.state[held]
        # bitsandbytes lays out its own memory, paged or not, and its tables: what was saved is copied into it
        if hasattr(self._inner, "init_state"):
            self._inner.init_state(self._inner.param_groups[0], held, 0, index)
        for what, value in entry.items():
            if value.dtype == torch.int64:
                into[what] = int(value)
            elif what in into:
                into[what].copy_(value)
            else:
                into[what] = value.to(held.device, copy=True)


_TABLES = ("qmap1", "qmap2")  # of bitsandbytes: what each of 256 codes stands for, the same for all weights
