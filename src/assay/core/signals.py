"""Stopping in order: SIGTERM as Ctrl-C, and processes that do not outlive the one that started them."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

PR_SET_PDEATHSIG = 1  # of linux/prctl.h
LOOK_SECONDS = 0.5  # between two looks at the parent where the system sends no signal


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Let SIGTERM do what Ctrl-C does, so that a stopped machine leaves a resumable run too."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signal handlers
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end_with(parent: int) -> None:
    """End this process at once when `parent`, the process that started it, ends in whatever way.

    Linux sends the signal itself (prctl(2), PR_SET_PDEATHSIG); elsewhere a thread looks at who the parent is.
    """
    if sys.platform == "linux" and ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL) == 0:
        _end_unless(parent)  # it may have ended before the system was asked
        return
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while True:
        _end_unless(parent)
        time.sleep(LOOK_SECONDS)


def _end_unless(parent: int) -> None:
    if os.getppid() != parent:
        os._exit(128 + signal.SIGKILL)
