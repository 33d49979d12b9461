"""Which micro-batch, with or without checkpointing, fits a budget of memory; where none does, what would help."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from assay.model.memory import Prediction, Work, predict
from assay.model.shape import Shape

SHORTEST = 128  # tokens below which a smaller max_length is not advised


@dataclass(frozen=True)
class Limits:
    """What the choice is free in.

    Args:
        longest: tokens of the longest sequence that is allowed: a micro-batch holds one at least.
        best: tokens of a micro-batch beyond which nothing is gained.
        text: tokens of the longest training text; None where it is not known.
        budget: bytes that may be filled.
        checkpointing: auto, on or off.
        offloads: there is main memory beside the device's own.
        batch: tokens of a step.
    """

    longest: int
    best: int
    text: int | None
    budget: int
    checkpointing: str
    offloads: bool
    batch: int


@dataclass(frozen=True)
class Chosen:
    """A way of training, what it needs, and whether that fits."""

    work: Work
    prediction: Prediction
    fits: bool


@dataclass(frozen=True)
class Change:
    """One step towards what fits, together with all steps before it.

    Args:
        what: in words, or the key to set.
        saves: bytes that it saves beyond the steps before it.
        needs: bytes that are needed after it.
        fits: whether that is within the budget.
    """

    what: str
    saves: int
    needs: int
    fits: bool

    def times(self, factor: float) -> Change:
        """The same where all memory is so many times as much."""
        return replace(self, saves=round(factor * self.saves), needs=round(factor * self.needs))


def choose(s: Shape, work: Work, limits: Limits) -> Chosen:
    """The fastest way that fits, by the arithmetic; where none does, the one that needs least.

    First smaller micro-batches, which cost little; then checkpointing, which computes each layer twice; then its inputs
    go to main memory.
    """
    tried = None
    for way in _ways(work, limits):
        prediction = predict(s, way, least_tokens=_surely(way, limits))
        tried = Chosen(way, prediction, prediction.terms["total"] <= limits.budget)
        if tried.fits:
            return tried
    assert tried is not None
    return tried


def _ways(work: Work, limits: Limits) -> Iterator[Work]:
    recomputed = {"auto": (False, True), "on": (True,), "off": (False,)}[limits.checkpointing]
    for checkpointing in recomputed:
        for offload in (False, True) if checkpointing and limits.offloads else (False,):
            length = min(limits.longest, limits.text or limits.longest)
            for row in _rows(limits):
                yield replace(
                    work, tokens=row, length=length, checkpointing=checkpointing, offload=offload,
                    accumulates=row < limits.batch,
                )  # fmt: skip


def _rows(limits: Limits) -> Iterator[int]:
    """Tokens of a micro-batch, each about half of the one before: whole sequences, so that long texts fill it up."""
    sequences = max(1, limits.best // limits.longest)
    while sequences:
        yield sequences * limits.longest
        sequences //= 2


def _surely(way: Work, limits: Limits) -> int | None:
    """Tokens that the fullest micro-batch holds at least: it is closed when the next text would not go in."""
    return None if limits.text is None else max(way.length, way.tokens - way.length)


def changes(s: Shape, work: Work, limits: Limits) -> list[Change]:
    """What would make it fit, in order of what it costs; the first that fits is the last of the list.

    Args:
        work: what does not fit: the leanest way that the choice was free to take.
    """
    needs = predict(s, work).terms["total"]
    found: list[Change] = []
    for what, then in _steps(work, limits):
        after = predict(s, then).terms["total"]
        if after < needs:
            found.append(Change(what, needs - after, after, after <= limits.budget))
            needs = after
            if found[-1].fits:
                break
    return found


def _steps(now: Work, limits: Limits) -> Iterator[tuple[str, Work]]:
    """Each change applied on top of those before it."""
    then = replace(now, checkpointing=True)
    yield "train.checkpointing=on", then
    if now.optimizer == "adamw" and now.device == "cuda":
        then = replace(then, optimizer="adamw_8bit")
        yield "train.optimizer=adamw_8bit", then
    if now.kind != "qlora" and now.device != "mps":
        then = replace(then, kind="qlora", four_bit=True)
        yield "adapter.kind=qlora", then
    length = limits.longest // 2
    while length >= SHORTEST:
        then = replace(then, tokens=length, length=length)
        yield f"train.max_length={length}", then
        length //= 2
    if limits.offloads:
        yield "activations in main memory", replace(then, offload=True)
