"""Machines that one may plan for without having them: memory and speed, from their makers' data sheets."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from assay.core.errors import InputError, MachineError

THIS = "this"
FASTER = 1.2  # a shorter number format must beat fp32 by this much to be chosen: it costs accuracy
# A training's matrix products reach only a part of a data sheet's speed; large models are reported at 0.2 to 0.57
# (Chowdhery et al., arXiv 2204.02311, table 3). An assumption, until a run on the machine gives its own.
REACHED = (0.2, 0.35, 0.6)  # least, likely, most
# The same of the speed of a product that was measured on this machine. A processor's are ours, of a 135M model on two
# cores (LOG.md): where it multiplies bf16 four times as fast as fp32, all that is no product weighs the more. No GPU's
# has been measured.
REACHED_HERE = {"fp32": (0.4, 0.6, 0.85), "bf16": (0.2, 0.33, 0.55)}


@dataclass(frozen=True)
class Device:
    """A machine to plan for.

    Args:
        label: its name for people.
        kind: cuda or mps.
        memory: bytes.
        usable: share of it that a training may fill: the rest is the driver's, the screen's or the system's.
        speeds: floating-point operations per second of dense products, by precision; one that is not native is absent.
        offloads: it has main memory beside its own to move activations to.
    """

    label: str
    kind: str
    memory: int
    usable: float
    speeds: dict[str, float]
    offloads: bool = True

    @property
    def budget(self) -> int:
        """Bytes that a training may fill."""
        return int(self.memory * self.usable)

    def precision(self) -> tuple[str, str]:
        """The format for this machine, and why."""
        plain = self.speeds["fp32"]
        if self.speeds.get("bf16", 0.0) >= FASTER * plain:
            return "bf16", f"{self.label} multiplies bf16 {self.speeds['bf16'] / plain:.1f} times as fast as fp32"
        if self.speeds.get("fp16", 0.0) >= FASTER * plain:
            return (
                "fp16",
                f"{self.label} has no bf16, and multiplies fp16 {self.speeds['fp16'] / plain:.1f} times as fast",
            )
        return "fp32", f"{self.label} multiplies no shorter format faster"


def reached(speed: float, shares: tuple[float, float, float] = REACHED) -> tuple[float, float, float]:
    """The least, likely and most that a training reaches of a speed; without `shares`, of a data sheet's."""
    least, likely, most = shares
    return least * speed, likely * speed, most * speed


def _nvidia(label: str, memory: float, fp32: float, half: float, *, bf16: bool = True) -> Device:
    speeds = {"fp32": fp32 * 1e12, "fp16": half * 1e12}
    return Device(label, "cuda", int(memory * 2**30), 0.95, speeds | ({"bf16": half * 1e12} if bf16 else {}))


DEVICES: dict[str, Device] = {
    # NVIDIA T4 Tensor Core GPU data sheet: 8.1 TFLOPS fp32, 65 fp16 (tensor); Turing's tensor cores have no bf16.
    # 14.74 of its 16 GB are left by the driver's error correction.
    "t4": _nvidia("T4", 14.74, 8.1, 65.0, bf16=False),
    # NVIDIA Ada GPU architecture white paper, appendix: dense tensor speed with fp32 accumulation is twice fp32's.
    "rtx4060": _nvidia("RTX 4060", 8.0, 15.1, 30.2),
    "rtx4090": _nvidia("RTX 4090", 24.0, 82.6, 165.2),
    # NVIDIA A100 data sheet, 80 GB SXM: 19.5 TFLOPS fp32, 312 bf16 and fp16 (dense).
    "a100-80": _nvidia("A100 80 GB", 80.0, 19.5, 312.0),
    # NVIDIA H100 data sheet, SXM: 67 TFLOPS fp32; 1,979 bf16 and fp16 with sparsity, which is 989.5 dense.
    "h100": _nvidia("H100 80 GB", 80.0, 67.0, 989.5),
    # Apple, M2 (2022): 3.6 TFLOPS (GPU of ten cores); shorter formats are no faster. macOS lets the GPU hold two thirds
    # of 16 GB (recommendedMaxWorkingSetSize: 10.67 GiB); that is main memory, so there is nowhere to offload to.
    "m2-16gb": Device(
        "M2 with 16 GB", "mps", 16 * 2**30, 2 / 3, {"fp32": 3.6e12, "fp16": 3.6e12, "bf16": 3.6e12}, offloads=False
    ),
}


PLAIN = "--set train.optimizer=adamw, or adafactor, which needs even less memory"


def refuse_optimizer(optimizer: str, kind: str) -> None:
    """Refuse an optimizer that does not run on this kind of device.

    Raises:
        MachineError: it does not.
    """
    where = f"train.optimizer: {optimizer}"
    if optimizer.startswith("paged") and kind != "cuda":
        raise MachineError(
            f"moments are paged between a CUDA GPU and main memory only, and this training runs on {kind}",
            where=where,
            fix="--set train.optimizer=adamw_8bit, which makes the same updates" if kind == "cpu" else PLAIN,
        )
    if optimizer.endswith("_8bit") and kind == "mps":
        raise MachineError("bitsandbytes has no 8-bit optimizer for Apple GPUs", where=where, fix=PLAIN)


def find(name: str) -> Device:
    """A device of the table.

    Raises:
        InputError: there is none of that name.
    """
    if name not in DEVICES:
        known = [*DEVICES, THIS]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
        raise InputError(
            f"there is no device {name!r} in the table",
            where="--device",
            fix=f"did you mean {near}? Devices: {', '.join(known)}",
        )
    return DEVICES[name]
