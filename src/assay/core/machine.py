"""What the machine is, what of it this process may use, and what its errors mean: memory or disk that has run out.

No torch is needed to tell.
"""

from __future__ import annotations

import errno
import os
import platform
from pathlib import Path

from assay.core.errors import AssayError, InputError, MachineError

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of processor time per period (cgroup v2)


def cores() -> int:
    """The cores that this process may keep busy, one at least.

    Those that it is bound to, where the system binds processes; no more than a container's share of processor time, and
    no more than OMP_NUM_THREADS. Several runs on one machine keep out of each other's way by either of these.
    """
    return min(len(cores_given()), _wished() or len(cores_given()))


def cores_given() -> tuple[int, ...]:
    """As many by number, whatever OMP_NUM_THREADS says; children may be bound to them unless it is `limited`."""
    bound, quota = _bound(), _quota()
    return tuple(bound[: len(bound) if quota is None else max(1, quota)])


def limited() -> bool:
    """Whether a container's share is less than the cores that it sees.

    Then a number of threads keeps to it, and binding would not: two containers would bind to the same first cores.
    """
    quota = _quota()
    return quota is not None and quota < len(_bound())


def _bound() -> list[int]:
    return sorted(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))


def _quota() -> int | None:
    """Whole cores of a container's share; None where there is no limit."""
    try:
        quota, period = _QUOTA.read_text(encoding="ascii").split()
        return int(quota) // int(period)
    except (OSError, ValueError):  # not in a container, or `max`
        return None


def _wished() -> int | None:
    """What OMP_NUM_THREADS asks for; of a list for nested regions its first number."""
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if first.isdecimal() and int(first) > 0 else None


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


def told(error: Exception) -> AssayError | None:
    """What an error that no module has put into words means to the user; None for a bug of ours."""
    code = error.errno if isinstance(error, OSError) else None
    if code == errno.ENOMEM or out_of_memory(error):
        return MachineError(
            "not enough memory",
            fix="close other programs, or set smaller train.batch_tokens, train.max_length or a smaller base",
        )
    name = getattr(error, "filename", None)
    place = None if name is None else str(name)
    if code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return MachineError(
            "no space left on the disk, or a limit on the size of files",
            where=place,
            fix="free some space, then give the same command again",
        )
    if code == errno.ENAMETOOLONG:
        return InputError("this name is too long for the disk", where=place, fix="give a shorter name")
    return None
