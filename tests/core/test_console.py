"""Results go to standard output, everything else to standard error; quiet silences notes and progress alone."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.console import Console, Progress, duration, size


def test_streams(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.note("n")
    console.result("r")
    console.write("w")
    console.error("e")
    out, err = capsys.readouterr()
    assert (out, err) == ("r\nw", "n\ne\n")


def test_quiet_keeps_results_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    console.note("n")
    console.result("r")
    console.error("e")
    with console.progress("training", 3, "steps") as bar:
        bar.update(3)
    assert capsys.readouterr() == ("r\n", "e\n")


def test_json_is_strict(capsys: pytest.CaptureFixture[str]) -> None:
    Console().json({"a": "ü", "b": None})
    assert json.loads(capsys.readouterr().out) == {"a": "ü", "b": None}
    with pytest.raises(ValueError, match="Out of range"):
        Console().json({"a": math.nan})


def test_progress_off_a_terminal_is_plain_lines_with_rate_and_the_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress("training", 10, "steps", quiet=False, every=0.0)
    bar.started -= 5
    bar.update(5, "loss 3.2")
    bar.update(10)
    bar.close()
    first, last = capsys.readouterr().err.splitlines()
    assert first == "training: 5/10 steps (1/s, 5 s left), loss 3.2"
    assert last.startswith("training: 10/10 steps (2/s")
    assert "\r" not in first + last


def test_progress_off_a_terminal_does_not_flood(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Progress("training", 1000, "steps", quiet=False)
    for step in range(1, 1001):
        bar.update(step)
    assert len(capsys.readouterr().err.splitlines()) <= 2  # one of the first, and the last


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0 s"), (59.4, "59 s"), (60, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (512, "512 B"), (1500, "1.5 kB"), (93e6, "93 MB"), (1.2e9, "1.2 GB"), (5e12, "5.0 TB")],
)
def test_sizes(count: float, text: str) -> None:
    assert size(count) == text


@given(st.integers(0, 10**15))
def test_a_size_in_words_is_the_size(count: int) -> None:
    number, unit = size(count).split()
    scale = {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(number) * scale == pytest.approx(count, rel=0.051)


def test_units_of_an_earlier_process_count_for_neither_rate_nor_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    with Console().progress("training", 100, "steps", start=90) as bar:
        bar.every = 0.0
        bar.started -= 5
        bar.update(90)
        bar.update(95)
    first, second = capsys.readouterr().err.splitlines()
    assert first == "training: 90/100 steps (0/s)"
    assert second == "training: 95/100 steps (1/s, 5 s left)"
