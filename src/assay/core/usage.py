"""What this process has used, and giving back what it no longer needs."""

from __future__ import annotations

import ctypes
import gc
import sys
from pathlib import Path

try:
    import resource
except ImportError:  # Windows has no such module
    resource = None  # type: ignore[assignment]


def peak_memory() -> int | None:
    """The most main memory that this process has held, in bytes, since `forget_peak` if that worked.

    None where the system does not say.
    """
    if resource is None:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> bool:
    """Count the peak from here on; whether the system lets us (Linux does: proc(5), clear_refs)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def give_back() -> None:
    """Return freed memory to the system: the C library keeps it for later, which between two stages is for nothing."""
    gc.collect()
    if sys.platform == "linux":
        try:
            ctypes.CDLL(None).malloc_trim(0)
        except (AttributeError, OSError):  # another C library than glibc has nothing of the kind
            return
