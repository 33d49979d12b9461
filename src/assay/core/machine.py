"""What the machine is, and whether it has run out of memory. No torch is needed to tell."""

from __future__ import annotations

import platform


def processor() -> str:
    """The processor's name as the system gives it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as stream:
            for line in stream:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:  # not Linux
        pass
    return platform.processor() or platform.machine()


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out, be it Python's or torch's."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    words = ("out of memory", "not enough memory", "can't allocate memory", "ALLOC_FAILED", "Invalid buffer size")
    return type(error).__name__ == "OutOfMemoryError" or any(word in str(error) for word in words)
