"""Which stages a command needs, in order, and what is already done."""

from assay.pipeline.order import Outcome, run

__all__ = ["Outcome", "run"]
