"""What runs share is made once, whole, and checked before use."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from assay.core.store import Store, link_all


def put(store: Store, text: str = "1") -> Path:
    return store.once("base-scores", "key", lambda folder: (folder / "x").write_text(text) and None).path


def test_what_is_kept_is_given_again(tmp_path: Path) -> None:
    source = tmp_path / "data"
    source.mkdir()
    (source / "a.txt").write_text("one")
    store = Store(tmp_path / "runs")
    assert not store.has("prepare", "key")
    assert store.once("prepare", "key", lambda folder: link_all(source, folder)).made
    store.give("prepare", "key", tmp_path / "other")
    assert (tmp_path / "other" / "a.txt").read_text() == "one"
    assert (tmp_path / "other" / "a.txt").stat().st_nlink == 3  # no copies: one file under three names
    assert store.damaged("prepare", "key") == []


@pytest.mark.parametrize("lost", [False, True])
def test_a_change_is_told_or_mended(tmp_path: Path, lost: bool) -> None:
    store = Store(tmp_path)
    entry = put(store)
    (entry / "x").unlink() if lost else (entry / "x").write_text("2")
    found = store.once("base-scores", "key", lambda folder: pytest.fail("made again"))
    assert (found.made, found.damaged) == (False, ("x",))
    mended = store.once("base-scores", "key", lambda folder: (folder / "x").write_text("3") and None, mend=True)
    assert (mended.made, mended.damaged, (entry / "x").read_text()) == (True, (), "3")


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "x").write_text("half")
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        store.once("base-scores", "key", fail)
    assert not store.has("base-scores", "key")
    assert (put(store) / "x").read_text() == "1"


SCRIPT = """
import sys, time
from pathlib import Path
from assay.core.store import Store
name, seconds, folder = sys.argv[1], float(sys.argv[2]), Path(sys.argv[3])
def fill(target):
    (folder / f"began-{name}").touch()
    time.sleep(seconds)
    (target / "by").write_text(name)
def waiting():
    (folder / f"waits-{name}").touch()
found = Store(folder).once("base", "key", fill, waiting=waiting)
print(found.made, (found.path / "by").read_text())
"""


def process(name: str, seconds: float, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", SCRIPT, name, str(seconds), str(folder)], stdout=-1, text=True)


def until(file: Path) -> None:
    end = time.monotonic() + 30
    while not file.exists():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_of_two_processes_one_makes_it_and_the_other_takes_it(tmp_path: Path) -> None:
    first = process("first", 1.0, tmp_path)
    until(tmp_path / "began-first")
    second = process("second", 0.0, tmp_path)
    until(tmp_path / "waits-second")  # while the first is still at it
    assert first.poll() is None
    assert [p.communicate(timeout=30)[0].split() for p in (first, second)] == [["True", "first"], ["False", "first"]]
    assert not (tmp_path / "began-second").exists()


def test_the_lock_of_a_dead_process_is_free(tmp_path: Path) -> None:
    first = process("first", 60.0, tmp_path)
    until(tmp_path / "began-first")
    second = process("second", 0.0, tmp_path)
    until(tmp_path / "waits-second")
    first.send_signal(signal.SIGKILL)
    assert second.communicate(timeout=30)[0].split() == ["True", "second"]
    first.communicate()
    assert [path.name for path in (tmp_path / ".store" / "base").iterdir()] == ["key"]  # nothing half made is left
