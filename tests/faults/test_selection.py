"""Faults of what is chosen by which texts, of what is counted as independent, and of trainings that go on."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from assay.core.files import read_json

pytestmark = pytest.mark.long

# Chosen on the test texts


@pytest.fixture
def sides(case, rows) -> Callable[[bool], Any]:
    """A function that writes an experiment with a dev and a test file; `alike`: both hold the same texts."""

    def make(alike: bool) -> Any:
        made = case()
        plays = sorted({row["play"] for row in rows})
        test = [row for row in rows if row["play"] in plays[:7]]
        made.write("test.csv", test)
        made.write("dev.csv", test if alike else [row for row in rows if row["play"] in plays[7:10]])
        made.write("rows.csv", [row for row in rows if row["play"] in plays[10:]])
        text = made.file.read_text().replace("{dev: 0.15, test: 0.35}", "{dev: dev.csv, test: test.csv}")
        made.file.write_text(text)
        return made

    return make


BEST = (
    "train.result=best", "train.eval_every=4", "data.clean.duplicates=keep", "evaluate.prompts=[]",
    "evaluate.continuations=0",
)  # fmt: skip
PATIENT = (*BEST, "train.patience=2")


@pytest.mark.fault("selection-hygiene")
@pytest.mark.parametrize("values", [BEST, PATIENT], ids=["the best checkpoint", "an early stop"])
def test_chosen_on_the_test_texts(sides, values):
    peeked = sides(alike=True)
    assert peeked.assay("run", *values) == 3
    assert peeked.failed() == {"selection-hygiene"}
    assert not peeked.run.summary.exists()


def test_chosen_on_texts_of_their_own(sides):
    clean = sides(alike=False)
    assert clean.assay("run", *PATIENT) == 0
    assert clean.status("selection-hygiene") == "pass"
    assert clean.failed() == set()


# Chunks counted as documents


@pytest.fixture
def documents(case, plays) -> Any:
    """Sixteen documents in files of their own, each of five chunks."""
    made = case()
    folder = made.folder / "documents"
    folder.mkdir()
    for name, text in list(plays.items())[:16]:
        start = text.index("\n", 9000) + 1
        (folder / f"{name}.txt").write_text(text[start : start + 2400].encode()[:1999].decode("utf-8", "ignore"))
    text = made.file.read_text().replace("source: rows.csv", "source: documents/*.txt").replace("  group: play\n", "")
    made.file.write_text(text.replace("data:\n", "data:\n  chunk: {by: length, max_bytes: 440}\n"))
    return made


@pytest.mark.fault("power")
def test_five_documents_of_five_chunks_are_not_25_samples(documents):
    assert documents.assay("run", "data.split.dev=3", "data.split.test=5") == 0
    assert documents.failed() == {"power"}
    held = read_json(documents.run.manifest)["splits"]["test"]
    assert (held["items"], held["groups"]) == (25, 5)
    assert read_json(documents.run.summary)["verdict"]["outcome"] == "cannot-conclude"


def test_eight_documents_of_five_chunks_can_conclude(documents):
    assert documents.assay("run", "data.split.dev=3", "data.split.test=8") == 0
    assert documents.failed() == set()
    assert read_json(documents.run.summary)["verdict"]["outcome"] == "better"


# A training that goes on from another one's checkpoint

OFTEN = ("train.steps=40", "train.save_every=1", "train.keep_checkpoints=20")


@pytest.fixture
def interrupted(case) -> Any:
    """A training that was told to stop in its course."""
    made = case()
    command = [sys.executable, "-m", "assay", "train", str(made.file), "--runs-dir", str(made.runs)]
    sets = [part for value in OFTEN for part in ("--set", value)]
    with subprocess.Popen([*command, *sets], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        until = time.monotonic() + 240
        while not list(made.runs.glob("tiny/*/train/checkpoints/step-000002")):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.005)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=120) == 130
    return made


@pytest.mark.fault("resume-proof")
def test_going_on_from_the_checkpoint_of_another_seed(interrupted):
    stopped = interrupted.run
    assert interrupted.assay("train", *OFTEN, "seed=7") == 0
    other = interrupted.run
    shutil.rmtree(stopped.checkpoints)
    shutil.copytree(other.checkpoints, stopped.checkpoints)
    shutil.rmtree(other.path)
    assert interrupted.again("run") == 3
    assert interrupted.failed() == {"resume-proof"}
    assert stopped.finished("train") is None


def test_going_on_from_its_own_checkpoint(interrupted):
    assert interrupted.again("run") == 0
    assert interrupted.status("resume-proof") == "pass"
    assert interrupted.failed() == set()
