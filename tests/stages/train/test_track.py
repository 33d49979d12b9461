"""Mirrors of a training's numbers: what they are sent, what they are not, and that none of them stops a training."""

import sys
from types import SimpleNamespace

import pytest

from assay.core.console import Console
from assay.core.errors import MachineError
from assay.core.rundir import RunDir
from assay.stages.train import track

CONFIG = {"name": "plays", "data": {"source": ["https://me:word@host.org/a.csv?key=SECRET#part", "b.csv"]}, "seed": 3}


@pytest.fixture
def run(tmp_path):
    made = RunDir(tmp_path / "plays" / "20260101-120000-abc1234")
    made.metrics.parent.mkdir(parents=True)
    return made


class Trackio:
    """Stands in for the library: keeps what it is given, and fails where it is told to."""

    def __init__(self, fails=""):
        self.fails, self.logged, self.opened, self.finished = fails, [], {}, False

    def init(self, **given):
        self._maybe("init")
        self.opened = given
        print("a library's advertisement")

    def log(self, values, step):
        self._maybe("log")
        self.logged.append((step, values))

    def finish(self):
        self._maybe("finish")
        self.finished = True

    def _maybe(self, what):
        if self.fails == what:
            raise RuntimeError(f"{what} went wrong\nat length")


def mirrored(run, monkeypatch, fails=""):
    library = Trackio(fails)
    monkeypatch.setitem(sys.modules, "trackio", library)
    with track.mirrors(["trackio"], run, CONFIG, Console()) as opened:
        for step in (1, 2):
            opened.log({"step": step, "loss": 2.5 / step, "memory": 7, "dev_why": "in words", "dev_low": None}, step)
    return library


def test_numbers_go_out_and_words_do_not(run, monkeypatch, capsys):
    library = mirrored(run, monkeypatch)
    assert library.logged == [(1, {"loss": 2.5, "memory": 7.0}), (2, {"loss": 1.25, "memory": 7.0})]
    assert (library.opened["project"], library.opened["name"]) == ("plays", run.path.name)
    assert library.finished
    assert capsys.readouterr().out == ""


def test_nothing_secret_is_sent(run, monkeypatch):
    sent = mirrored(run, monkeypatch).opened["config"]
    assert sent == {"name": "plays", "data": {"source": ["https://host.org/a.csv", "b.csv"]}, "seed": 3}


@pytest.mark.parametrize(("fails", "logged"), [("init", 0), ("log", 0), ("finish", 2)])
def test_a_mirror_that_fails_is_said_once_and_stops_nothing(fails, logged, run, monkeypatch, capsys):
    assert len(mirrored(run, monkeypatch, fails).logged) == logged
    said = capsys.readouterr().err.splitlines()
    assert said == [f"the mirror trackio failed and is left out from here on: {fails} went wrong"]


@pytest.mark.parametrize("name", track.MIRRORS)
def test_a_missing_library_is_named_with_its_extra(name, run, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MachineError) as caught:
        track.mirrors([name], run, CONFIG, Console())
    assert (caught.value.exit_code, f"assay[{name}]" in caught.value.fix) == (4, True)


@pytest.mark.parametrize("key", [True, False])
def test_wandb_never_asks_for_a_key(key, run, monkeypatch):
    asked = {}
    library = SimpleNamespace(
        login=lambda prompt: key, Settings=lambda **given: given, init=lambda **given: asked.update(given)
    )
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setitem(sys.modules, "wandb", library)
    track.MIRRORS["wandb"](run, {})
    assert asked["mode"] == ("online" if key else "offline")
    assert asked["settings"]["x_disable_meta"]
