"""Plain text for people: aligned columns, and numbers with their units."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.core.console import size


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns aligned on the left, two spaces between them; the last column is not padded."""
    lines = [list(header), *map(list, rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def difference(value: float | None, low: float | None, high: float | None) -> str:
    """A gain in bits per byte with its interval; never the one without the other."""
    if value is None or low is None or high is None:
        return "-"
    return f"{value:+.4f} [{low:+.4f}, {high:+.4f}]"


def number(value: Any, unit: str = "", digits: int = 4) -> str:
    """A number with its unit, or a dash where it is undefined."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return "-"
    text = f"{value:,}" if isinstance(value, int) else f"{value:.{digits}g}"
    return f"{text} {unit}".rstrip()


def memory(amount: float | None) -> str:
    """Bytes in words, or a dash where the system does not say."""
    return "-" if amount is None else size(amount)
