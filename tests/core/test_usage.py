"""What a process holds at most, counted from a moment on."""

import sys

import pytest

from assay.core.usage import forget_peak, peak_memory

HELD = 200_000_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux counts a process's peak anew")
def test_the_peak_is_counted_anew():
    held = bytearray(HELD)
    held[::4096] = b"\1" * len(held[::4096])
    with_it = peak_memory()
    del held
    assert peak_memory() == pytest.approx(with_it, rel=0.05)
    assert forget_peak()
    assert peak_memory() < with_it - 0.9 * HELD


def test_a_system_that_cannot_says_so(monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError

    monkeypatch.setattr("pathlib.Path.write_text", refuse)
    assert not forget_peak()
