"""The entry point: exit codes, one message for each mistake, and how a command is stopped."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.cli.main import main
from assay.core.rundir import RunDir

Make = Callable[..., RunDir]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ASSAY_RUNS_DIR", raising=False)


def test_help_is_there_for_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    listed = capsys.readouterr().out.partition("Commands:")[2]
    names = [line.split()[0] for line in listed.splitlines() if line.startswith("  ") and line[2] != " "]
    assert len(names) == 20
    for name in names:
        assert main([name, "--help"]) == 0
        assert f"Usage: assay {name}" in capsys.readouterr().out


def test_help_is_quick() -> None:
    """At most 0.3 s on an idle machine: the best of several, since others may be busy."""
    best = float("inf")
    for _ in range(8):
        started = time.perf_counter()
        subprocess.run([sys.executable, "-m", "assay", "--help"], check=True, capture_output=True)
        best = min(best, time.perf_counter() - started)
        if best <= 0.3:
            return
    pytest.fail(f"assay --help took {best:.2f} s at best")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["rnu"], ["rnu", "Did you mean", "'run'"]),
        (["runs", "dy"], ["dy", "assay runs --help"]),
        (["run"], ["Missing argument", "assay run --help"]),
        (["run", "a.yaml", "--sett", "a=b"], ["--sett", "--set"]),
        (["show", "x", "--jsn"], ["--jsn", "--json"]),
        (["doctor", "extra"], ["extra", "assay doctor --help"]),
    ],
)
def test_a_mistake_in_the_command_line(argv: list[str], words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2
    for word in words:
        assert word in err


def test_no_command_shows_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_bad_input_is_one_message_with_place_and_fix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "nothing"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: runs: there is no run 'nothing'")
    assert "\n  fix: " in err
    assert "Traceback" not in err


def test_a_bug_of_ours_keeps_its_traceback(make_run: Make, capsys: pytest.CaptureFixture[str]) -> None:
    make_run().plan.write_text('{"memory": 3}')  # nothing that assay ever writes
    assert main(["show", "bard"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "this is a bug in assay" in err.splitlines()[-1]


def test_the_runs_directory_comes_from_option_or_environment(
    make_run: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run()
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert main(["show", "bard"]) == 2
    assert main(["show", "bard", "--runs-dir", "elsewhere"]) == 0
    monkeypatch.setenv("ASSAY_RUNS_DIR", str(tmp_path / "elsewhere"))
    assert main(["show", "bard"]) == 0
    capsys.readouterr()
    for argv in (["runs"], ["runs", "du"]):
        assert main(argv) == 0
        assert "bard" in capsys.readouterr().out
    monkeypatch.delenv("ASSAY_RUNS_DIR")
    for argv in (["runs", "--runs-dir", "elsewhere", "du"], ["runs", "du", "--runs-dir", "elsewhere"]):
        assert main(argv) == 0
        assert "bard" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_and_terminate_end_with_130_and_no_traceback(make_run: Make, number: signal.Signals) -> None:
    make_run()
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from assay.cli.main import main\nprint(1, flush=True); sys.exit(main())",
         "generate", "bard"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.5)  # it waits for a prompt on its standard input by now
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.strip() == "interrupted"


def test_the_signal_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    main(["runs"])
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_reader_that_leaves_is_no_error(make_run: Make) -> None:
    make_run()
    read_end, write_end = os.pipe()
    os.close(read_end)
    with os.fdopen(write_end, "w") as gone:
        done = subprocess.run(
            [sys.executable, "-m", "assay", "runs"], stdout=gone, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (0, "")


class OutOfMemoryError(RuntimeError):
    """As torch calls it."""


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (MemoryError(), 4, "train.batch_tokens"),
        (OutOfMemoryError("CUDA out of memory"), 4, "train.batch_tokens"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 4, "train.batch_tokens"),
        (OSError(errno.ENOSPC, "full", "a.json"), 4, "a.json: no space left"),
        (OSError(errno.EFBIG, "too large", "a.json"), 4, "a.json: no space left"),
        (OSError(errno.ENAMETOOLONG, "too long", "a" * 300), 2, "too long"),
    ],
)
def test_an_exhausted_machine_is_no_bug(
    error: Exception, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("assay.cli.listing.runs", fail)
    assert main(["runs"]) == code
    err = capsys.readouterr().err
    assert words in err
    assert "\n  fix: " in err
    assert "Traceback" not in err
