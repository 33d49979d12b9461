"""Numbers as a reader wants them: units, signs, intervals. An undefined number is words, never a digit."""

from __future__ import annotations

import math
from typing import Any

from assay.core.console import size
from assay.data import facts

MINUS = "\u2212"
NBSP = "\u00a0"
UNKNOWN = "not recorded"


def defined(value: Any) -> float | None:
    """`value` as a finite float, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def fixed(value: Any, digits: int, *, sign: bool = False) -> str:
    """A number with `digits` decimals and a true minus sign; `sign` puts + before positive numbers."""
    number = defined(value)
    if number is None:
        return UNKNOWN
    text = f"{number:{'+' if sign else ''},.{digits}f}"
    if not any(c in "123456789" for c in text):
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def short(value: Any, figures: int = 4) -> str:
    """A number with about `figures` significant figures; very small ones in powers of ten."""
    number = defined(value)
    if number is None:
        return UNKNOWN
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}".replace("-", MINUS)
    magnitude = math.floor(math.log10(abs(number)))
    if magnitude < -4:
        mantissa, exponent = f"{number:.1e}".split("e")
        return f"{mantissa.removesuffix('.0')} × 10^{int(exponent)}".replace("-", MINUS)
    text = fixed(number, max(0, figures - 1 - magnitude))
    return text.rstrip("0").rstrip(".") if "." in text else text


def share_digits(half: float | None) -> int:
    """Decimals of a percentage, from its interval's half-width in points: one significant figure of that, 1 to 3."""
    return 1 if half is None else min(3, max(1, decimals_for(half, at_least=1) - 1))


def saving(share: float, digits: int) -> str:
    """A change of the bits that are needed: ``4.9 % fewer``; below 0 ``more``."""
    return f"{percent(abs(share), digits)} {'fewer' if share >= 0 else 'more'}"


def savings(low: float, high: float, digits: int) -> str:
    """The ends of an interval of such a change: ``4.3 % to 5.5 % fewer``, ``1.1 % more to 0.4 % fewer``."""
    if low < 0 < high:
        return f"{saving(low, digits)} to {saving(high, digits)}"
    near, far = sorted((low, high), key=abs)
    return f"{percent(abs(near), digits)} to {saving(far, digits)}"


def count(value: Any) -> str:
    """A whole number with thousands separators."""
    return fixed(value, 0)


def percent(share: Any, digits: int = 1) -> str:
    """A share of 1 as per cent."""
    number = defined(share)
    return UNKNOWN if number is None else f"{fixed(100 * number, digits)}{NBSP}%"


def share(value: Any) -> str:
    """A share of 1 as per cent with two significant figures, never rounded to all or nothing."""
    number = defined(value)
    return UNKNOWN if number is None else facts.percent(number).replace(" ", NBSP)


def data_size(value: Any) -> str:
    """A number of bytes in words."""
    number = defined(value)
    return UNKNOWN if number is None else size(number).replace(" ", NBSP)


def compact(value: float) -> str:
    """A count for an axis: 950, 20k, 1.5M."""
    for unit, scale in (("M", 1e6), ("k", 1e3)):
        if abs(value) >= scale:
            return f"{value / scale:.1f}".removesuffix(".0") + unit
    return f"{value:g}"


def decimals_for(half_width: Any, *, at_least: int = 3, at_most: int = 6) -> int:
    """Decimals that show two significant figures of an uncertainty."""
    number = defined(half_width)
    if not number:
        return 4
    return min(at_most, max(at_least, 1 - math.floor(math.log10(abs(number)))))


def interval(low: Any, high: Any, digits: int) -> str:
    """``0.085 to 0.109``, or words where an end is undefined."""
    if defined(low) is None or defined(high) is None:
        return "no interval"
    return f"{fixed(low, digits)} to {fixed(high, digits)}"


def chance(p: Any) -> str:
    """A probability as ``about 1 in 128``; certain and near-certain ones as they are."""
    number = defined(p)
    if number is None:
        return UNKNOWN
    if number <= 0:
        return "less than 1 in 10,000"
    return f"about 1 in {round(1 / number):,}" if number <= 0.5 else f"{100 * number:.0f} in 100"


def value_text(value: Any, limit: int = 300) -> str:
    """Any JSON value as one readable line, cut at `limit` characters with the cut said."""
    if value in ({}, [], ""):
        text = "none"
    elif isinstance(value, dict):
        text = ", ".join(f"{name(str(key))}: {value_text(item)}" for key, item in value.items())
    elif isinstance(value, list):
        text = ", ".join(value_text(item) for item in value)
    elif isinstance(value, bool):
        text = "yes" if value else "no"
    elif value is None:
        text = "none"
    else:
        text = value if isinstance(value, str) else short(value)
    return text if len(text) <= limit else f"{text[:limit]} … ({len(text) - limit} more characters)"


def name(key: str) -> str:
    """A JSON key as words: ``peak_memory`` → ``peak memory``."""
    return key.replace("_", " ")
