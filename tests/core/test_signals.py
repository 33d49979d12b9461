"""SIGTERM interrupts as Ctrl-C does, and a process ends with the one that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from assay.core.signals import sigterm_interrupts


def test_sigterm_is_an_interrupt_inside_and_what_it_was_after() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) is before


def test_in_another_thread_it_leaves_the_handlers_alone() -> None:
    seen = []

    def inside() -> None:
        with sigterm_interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


@pytest.mark.parametrize(("platform", "how"), [("linux", "by the system"), ("elsewhere", "by a look at the parent")])
def test_a_process_whose_parent_has_gone_ends(platform: str, how: str) -> None:
    pretended = "" if platform == "linux" else f"sys.platform = {platform!r}\n"
    script = (
        f"import sys, time\n{pretended}"
        "from assay.core.signals import end_with\n"
        "end_with(int(sys.argv[1]))\n"
        "time.sleep(float(sys.argv[2]))\n"
    )
    command = [sys.executable, "-c", script]
    assert subprocess.run([*command, str(os.getpid()), "0.1"], check=False).returncode == 0
    assert subprocess.run([*command, str(2**22 + 1), "30"], check=False, timeout=20).returncode == 137, how
