"""What is recorded of a stage's time."""

from __future__ import annotations

from collections.abc import Callable

from assay.core.rundir import RunDir
from assay.pipeline.order import _broken_off


def test_of_a_training_that_goes_on_the_beginning_is_not_known(make_run: Callable[..., RunDir]) -> None:
    run = make_run(until="plan")
    assert not _broken_off(run, "train")
    run.event("stage started", stage="train")
    assert not _broken_off(run, "train")  # nothing of it is kept: it starts anew
    (run.checkpoints / "step-000003").mkdir(parents=True)
    assert _broken_off(run, "train")
    run.event("interrupted")
    assert _broken_off(run, "train")
    run.event("stage finished", stage="train")
    assert not _broken_off(run, "train")
    run.event("stage started", stage="evaluate")
    assert not _broken_off(run, "evaluate")  # it is done whole each time
