"""What this process has used, and giving back what it no longer needs."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None  # type: ignore[assignment]

ARENA_MAX = -8  # M_ARENA_MAX of malloc.h

_outer = 0  # the peak before the counting of `own_peak` began


def peak_memory() -> int | None:
    """The most main memory that this process has held, in bytes, since `forget_peak` if that worked.

    None where the system does not say.
    """
    peak = _counted()
    return None if peak is None else max(peak, _outer)


def _counted() -> int | None:
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> bool:
    """Count the peak from here on; whether the system lets us (Linux does: proc(5), clear_refs)."""
    global _outer
    _outer = 0
    return _restart()


@dataclass
class Peak:
    """The most main memory that this process held meanwhile, in bytes; None where the system does not say."""

    bytes: int | None = None


@contextmanager
def own_peak() -> Iterator[Peak]:
    """Count the peak of what is done inside, without what was freed before; the one counted outside goes on."""
    global _outer
    give_back()
    found, before = Peak(), peak_memory()
    fresh = _restart()
    try:
        yield found
    finally:
        found.bytes = _counted() if fresh else None
        _outer = before or 0


def _restart() -> bool:
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def give_back() -> None:
    """Return freed memory to the system: the C library keeps it for later, which between two stages is for nothing."""
    gc.collect()
    _glibc("malloc_trim", 0)


@cache
def share_heap() -> None:
    """Let new threads use the heap there is: each would get one of its own, and keep what it freed (mallopt(3))."""
    _glibc("mallopt", ARENA_MAX, 1)


def _glibc(name: str, *arguments: int) -> None:
    if sys.platform == "linux":
        try:
            getattr(ctypes.CDLL(None), name)(*arguments)
        except (AttributeError, OSError):  # another C library than glibc has nothing of the kind
            return
