"""The only place that prints: results to standard output, notes and progress to standard error."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Progress:
    """How far a long piece of work is. `update` is cheap; it redraws at most a few times a second.

    On a terminal one line is redrawn; elsewhere a plain line is printed every `every` seconds.
    `start` units were done before, by an earlier process: rate and remaining time do not count them.
    """

    label: str
    total: int
    unit: str
    quiet: bool
    every: float = 10.0
    start: int = 0
    started: float = field(default_factory=time.monotonic)
    done: int = 0
    _last: float = 0.0

    def update(self, done: int, note: str = "") -> None:
        """Set the number of units done; `note` is shown behind the rate (a loss, say)."""
        self.done = done
        now = time.monotonic()
        live = sys.stderr.isatty()
        if self.quiet or (now - self._last < (0.2 if live else self.every) and done < self.total):
            return
        self._last = now
        line = self._line(now, note)
        sys.stderr.write(f"\r\x1b[2K{line}" if live else f"{line}\n")
        sys.stderr.flush()

    def _line(self, now: float, note: str) -> str:
        rate = max(0, self.done - self.start) / max(now - self.started, 1e-9)
        left = (self.total - self.done) / rate if rate else None
        ahead = "" if left is None else f", {duration(left)} left"
        return f"{self.label}: {self.done}/{self.total} {self.unit} ({rate:.3g}/s{ahead}){', ' + note if note else ''}"

    def close(self) -> None:
        """End the redrawn line."""
        if sys.stderr.isatty() and not self.quiet:
            sys.stderr.write("\n")


class Console:
    """Where a command speaks. `quiet` silences notes and progress, never results or errors."""

    def __init__(self, *, quiet: bool = False) -> None:
        self.quiet = quiet

    def note(self, text: str) -> None:
        """Say something about the work, on standard error."""
        if not self.quiet:
            print(text, file=sys.stderr, flush=True)

    def result(self, text: str) -> None:
        """Give the answer, on standard output."""
        print(text, flush=True)

    def json(self, value: Any) -> None:
        """Give the answer as JSON, on standard output."""
        print(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False), flush=True)

    def write(self, text: str) -> None:
        """Give a piece of an answer without ending the line."""
        print(text, end="", flush=True)

    def error(self, text: str) -> None:
        """Say what went wrong, on standard error."""
        print(text, file=sys.stderr, flush=True)

    @contextmanager
    def progress(self, label: str, total: int, unit: str, *, start: int = 0) -> Iterator[Progress]:
        """Show progress over `total` units, `start` of them done before, while the block runs."""
        bar = Progress(label, total, unit, self.quiet, start=start, done=start)
        try:
            yield bar
        finally:
            bar.close()


def duration(seconds: float) -> str:
    """Seconds in words: ``12 s``, ``3 min 20 s``, ``2 h 5 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def size(count: float) -> str:
    """Bytes in words, in powers of 1000: ``512 B``, ``93 MB``, ``1.2 GB``."""
    if count < 0:
        return f"-{size(-count)}"
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if count >= 10 or unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
