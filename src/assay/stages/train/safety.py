"""What to do when a step cannot be taken: the user's wish to stop, smaller rows when memory runs out, and the cause of
a value that is not finite.
"""

from __future__ import annotations

import math
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch
from torch import nn

from assay.core.errors import MachineError
from assay.core.machine import out_of_memory
from assay.guards.wording import count, named
from assay.stages.train.batches import micro_batches

RECENT = 8  # steps whose losses and gradient norms are kept to explain a failure
_SLOWER = "lower train.learning_rate, or lengthen train.warmup"
EXPLODED = 10.0  # times its median: a gradient norm that exploded

Gradient = Callable[[int], tuple[float, float]]


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a wish that the loop grants between two steps; a second one cuts in."""
    wished = False

    def wish(number: int, frame: FrameType | None) -> None:
        nonlocal wished
        if wished:
            raise KeyboardInterrupt
        wished = True

    try:
        before = {s: signal.signal(s, wish) for s in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not in the main thread: the caller handles signals
        before = {}
    try:
        yield lambda: wished
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def smaller(step: Sequence[int], lengths: Sequence[int], micro_tokens: int) -> int:
    """Half the tokens per row, and half again until this step is cut into more rows than it was.

    Raises:
        MachineError: each document has a row of its own already.
    """
    rows = micro_batches(step, lengths, micro_tokens)
    if all(len(row) == 1 for row in rows):
        longest = max(lengths[i] for i in step)
        raise MachineError(
            f"memory ran out on one document of {longest} tokens, and less than one cannot be computed at once",
            where="train.max_length",
            fix="lower train.max_length, set train.checkpointing to on, take adapter.kind: qlora or a smaller base, "
            "or close other programs; then give the same command again",
        )
    while len(micro_batches(step, lengths, micro_tokens)) == len(rows):
        micro_tokens //= 2
    return micro_tokens


def no_room_for_moments(kind: str) -> MachineError:
    """Memory ran out in the update itself, where smaller rows do not help."""
    return MachineError(
        "memory ran out while the optimizer updated the weights; the last checkpoint is kept",
        where=f"train.optimizer: {kind}",
        fix="take train.optimizer: adamw_8bit or adafactor, a smaller adapter.rank, or a smaller base",
    )


@dataclass(frozen=True)
class Cause:
    """Why a loss or gradient is likely not finite: `row`, `precision`, `rate` or `sum`, in words, with a fix."""

    kind: str
    why: str
    fix: str
    documents: tuple[int, ...] = ()


def likely_cause(
    model: nn.Module,
    documents: Sequence[int],
    gradient: Gradient,
    *,
    names: Callable[[Sequence[int]], list[str]],
    precision: str,
    rate: float,
    recent: Sequence[tuple[float, float]],
) -> Cause:
    """Try the step's documents one by one, then in fp32, and say what the failure hangs on.

    The model may be in fp32 afterwards: there is no going on from here.

    Args:
        documents: the step's segments.
        gradient: runs one segment alone and gives its loss and the norm of its gradient.
        names: the rows that segments come from, in words.
        precision: what the model computes in.
        rate: the learning rate of the last step that was taken.
        recent: (loss in nats per token, gradient norm) of the last good steps, oldest first.
    """
    broken = not_finite(model)
    if broken:
        why = f"the learning rate: after a step at rate {rate:.3g} {count(len(broken), 'tensor')} not finite"
        return Cause("rate", f"{why}: {named(broken)}", _SLOWER)
    bad = tuple(i for i in documents if not _finite(gradient(i)))
    some = f"{len(bad)} of the step's {count(len(documents), 'document')} alone"
    rows = named(names(bad)) if bad else ""
    if precision != "fp32" and bad and _finite_in_fp32(model, bad, gradient):
        why = f"precision: {some} ({rows}) overflow in {precision} and are finite in fp32"
        return Cause("precision", why, "--set train.precision=fp32, or bf16 where the machine has it", bad)
    if bad and len(bad) < len(documents):
        why = f"a row: {some} give no finite loss or gradient: {rows}"
        return Cause("row", why, "look at the rows named, and repair or remove them", bad)
    if not recent:
        why = f"no step was taken yet, and {some} give no finite loss or gradient"
        return Cause(
            "row" if bad else "sum", f"{why}: {rows}" if bad else why, "look at the base and at these rows", bad
        )
    why = f"the learning rate: {some} give no finite loss or gradient after a step at rate {rate:.3g}"
    return Cause("rate", f"{why}; {_history(recent)}", _SLOWER, bad)


def not_finite(model: nn.Module) -> list[str]:
    """The names of the tensors that hold a value that is not finite."""
    return [name for name, p in model.named_parameters() if not bool(p.isfinite().all())]


def _finite(values: tuple[float, float]) -> bool:
    return all(math.isfinite(value) for value in values)


def _finite_in_fp32(model: nn.Module, documents: Sequence[int], gradient: Gradient) -> bool:
    """Whether these documents are finite with the model in fp32; False where memory does not allow to try it."""
    try:
        nn.Module.to(model, dtype=torch.float32)  # transformers' own refuses for weights in 4 bit
        for module in model.modules():
            if hasattr(module, "compute_dtype"):  # of bitsandbytes' 4-bit layers
                setattr(module, "compute_dtype", torch.float32)  # noqa: B010  (mypy: a tensor or module)
        return all(_finite(gradient(i)) for i in documents)
    except (MemoryError, RuntimeError) as error:
        if out_of_memory(error):
            return False
        raise


def _history(recent: Sequence[tuple[float, float]]) -> str:
    losses, norms = [loss for loss, _ in recent], [norm for _, norm in recent]
    said = [f"loss {losses[0]:.4g} → {losses[-1]:.4g} over the last {count(len(losses), 'step')}"]
    if losses[-1] > min(losses):
        said[0] += ", rising"
    middle = sorted(norms)[len(norms) // 2]
    said.append(f"gradient norm {norms[-1]:.3g}" + (", exploding" if norms[-1] > EXPLODED * middle else ""))
    return ", ".join(said)


def recent_steps(values: list[list[float]], loss: float, norm: float) -> list[list[float]]:
    """The last `RECENT` (loss, norm) pairs with one more."""
    return [*values, [loss, norm]][-RECENT:]


def broken_look(model: nn.Module, step: int, recent: Sequence[tuple[float, float]]) -> str:
    """Why the development texts have no finite score after a step, in words."""
    why = f"the development texts have no finite score after step {step}: "
    if not recent:
        return why + "the base overflows on them"
    broken = not_finite(model)
    tensors = f"{count(len(broken), 'tensor')} not finite ({named(broken)}), " if broken else ""
    return f"{why}likely the learning rate; {tensors}{_history(recent)}"
