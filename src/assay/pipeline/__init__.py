"""Which stages a command needs, in order, and what is already done."""

from assay.pipeline.order import Outcome, run
from assay.pipeline.standing import Standing, standing

__all__ = ["Outcome", "Standing", "run", "standing"]
