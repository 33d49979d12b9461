"""Small pieces that the guards' records share: bounds as JSON, names in a sentence."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

from assay.core.guard import Limits, Status


def bounds(limits: Limits) -> dict[str, float]:
    """A pass and a warn bound as they stand in a record."""
    return {"pass": limits.passes, "warn": limits.warns}


def below(limits: Limits, value: float) -> Status:
    """Like `Limits.status` for a bound that must be undercut, not just met; NaN fails."""
    if value < limits.passes:
        return "pass"
    return "warn" if value < limits.warns else "fail"


def named(names: Collection[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    shown = list(names)[:most]
    rest = len(names) - len(shown)
    return ", ".join(shown) + (f" and {rest} more" if rest else "")


def count(number: int, noun: str) -> str:
    """``1 text``, ``3 texts``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def sentence(parts: Iterable[str]) -> str:
    """Several findings as one sentence."""
    return "; ".join(parts)


def finite(value: float | None) -> float | None:
    """A number that JSON can hold; one that cannot be held is told in words."""
    return value if value is not None and math.isfinite(value) else None
