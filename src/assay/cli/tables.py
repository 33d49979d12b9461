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


def fitted(
    header: Sequence[str], rows: Sequence[Sequence[str]], width: int, least: Sequence[str]
) -> tuple[str, list[str]]:
    """A table of at most `width` letters a line, and the columns that had to be left out.

    First the columns of `least` go, in that order, then those on the right; cells are cut only where one column alone
    is too wide. A width of 0 is no limit.
    """
    kept, left_out = list(header), []
    goes = [*least, *(name for name in reversed(header[1:]) if name not in least)]
    text = table(header, rows)
    while width and len(kept) > 1 and max(map(len, text.splitlines())) > width:
        left_out.append(goes.pop(0))
        kept.remove(left_out[-1])
        text = table(kept, [[cell for name, cell in zip(header, row, strict=True) if name in kept] for row in rows])
    if width:
        text = "\n".join(line if len(line) <= width else f"{line[: width - 1]}…" for line in text.splitlines())
    return text, left_out


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
