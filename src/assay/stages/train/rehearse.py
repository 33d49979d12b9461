"""The probe before the first step: the fullest row of the training, forward and backward, measured and not learned.

It confirms what the plan foretold, or makes the rows smaller until they fit. What holds from then on is written into
train/probe.json before anything is trained, so that a resumed run cuts its steps alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from assay.core.console import Console, size
from assay.core.errors import MachineError
from assay.core.files import read_json, write_json
from assay.core.rundir import RunDir
from assay.model.probe import Probed, settle
from assay.stages.train.batches import micro_batches
from assay.stages.train.loop import Loop


def rehearse(loop: Loop, run: RunDir, console: Console, *, checkpointing: str) -> None:
    """Settle the loop's micro-batch, and whether it computes activations again, by trying; once for each plan.

    Args:
        checkpointing: the experiment's wish; under `auto` it may be taken where nothing else fits.

    Raises:
        MachineError: memory runs out on a single sequence.
    """
    plan: dict[str, Any] = read_json(run.plan)
    planned = {
        "micro_batch_tokens": loop.settings.micro_tokens,
        "checkpointing": loop.settings.checkpointing,
        "memory": plan["memory"]["predicted"]["total"],
    }
    known = read_json(run.probe) if run.probe.is_file() else {}
    if known.get("planned") != planned:
        found = _settled(loop, plan, may_recompute=checkpointing == "auto")
        known = {
            "schema": 1,
            "planned": planned,
            "micro_batch_tokens": found.micro_tokens,
            "checkpointing": loop.settings.checkpointing,
            "peak": found.peak,
            "fits": found.fits,
            "tried": [{"tokens": tokens, "peak": peak} for tokens, peak in found.tried.items()],
        }
        write_json(run.probe, known)
        console.note(_told(found, known, plan["memory"]["budget"]))
    loop.settings = replace(
        loop.settings, micro_tokens=known["micro_batch_tokens"], checkpointing=known["checkpointing"]
    )


def _settled(loop: Loop, plan: dict[str, Any], *, may_recompute: bool) -> Probed:
    budget = plan["memory"]["budget"]
    later = plan["memory"]["moments"]
    found = _tried(loop, budget, later=later)
    if not found.fits and may_recompute and not loop.settings.checkpointing:
        loop.settings = replace(loop.settings, checkpointing=True)
        found = _tried(loop, budget, later=later)
    if found.peak is None:
        raise MachineError(
            f"memory runs out on one sequence of {max(loop.corpus.lengths)} tokens; about {size(budget)} were free",
            where="train.max_length",
            fix="lower train.max_length, take adapter.kind: qlora or a smaller base, or close other programs",
        )
    return found


def _tried(loop: Loop, budget: int, *, later: int) -> Probed:
    def work(micro_tokens: int) -> None:
        row = fullest(loop.steps, loop.corpus.lengths, micro_tokens)
        if row not in loop.steps:  # a step of several rows has the gradients of those before
            loop.optimizer.hold()
        loop.rehearse(row)

    return settle(
        loop.settings.micro_tokens, max(loop.corpus.lengths), work, loop.optimizer.zero,
        device=loop.head.device.type, later=later, budget=budget,
    )  # fmt: skip


def fullest(steps: Sequence[Sequence[int]], lengths: Sequence[int], micro_tokens: int) -> list[int]:
    """Of all rows that the steps are cut into, the one with most tokens; among those, the one with the longest text."""
    rows = (row for step in steps for row in micro_batches(step, lengths, micro_tokens))
    return max(rows, key=lambda row: (sum(lengths[i] for i in row), max(lengths[i] for i in row)))


def _told(found: Probed, known: dict[str, Any], budget: int) -> str:
    planned = known["planned"]
    told = f"probe: the fullest row, of {found.micro_tokens} tokens at most, takes {size(known['peak'])} in all"
    told += f" ({size(planned['memory'])} planned)"
    failed = [str(tokens) for tokens in found.tried if tokens != found.micro_tokens]
    if failed:
        told += f"; {', '.join(failed)} did not fit into {size(budget)}"
    if known["checkpointing"] != planned["checkpointing"]:
        told += "; activations are computed again in the backward pass, which fits"
    return told if found.fits else f"{told}; more than the {size(budget)} that may be filled: close other programs"
