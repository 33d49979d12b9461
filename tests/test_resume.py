"""Killed at any moment, the same command goes on, and ends with the bits of a run that was never killed."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.core.files import read_json, read_lines, sha256_file
from assay.core.ledger import resolve_run
from assay.core.rundir import RunDir

EXPERIMENT = """\
schema: 1
name: kill
base: scratch:gpt2-tiny
data:
  source: play.txt
  split: {dev: 0.15, test: 0.35}
adapter: {rank: 4, dropout: 0.1}
train: {steps: 30, max_length: 128, batch_tokens: 512, learning_rate: 0.01, save_every: 1, eval_every: 10}
evaluate: {window: 128, max_bytes_per_group: 300}
"""


class Killed:
    """One experiment, run in processes of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "kill.yaml"
        self.runs = folder / "runs"

    @property
    def run(self) -> RunDir:
        return resolve_run("kill", self.runs)

    def start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "assay", "run", str(self.file), "--runs-dir", str(self.runs)]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def finish(self) -> str:
        process = self.start()
        said, _ = process.communicate(timeout=300)
        assert process.returncode == 0, said
        return said

    def stop_when(self, reached: Callable[[], bool], how: signal.Signals) -> int:
        process = self.start()
        until = time.monotonic() + 120
        while not reached():
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < until
            time.sleep(0.0005)
        process.send_signal(how)
        process.communicate(timeout=60)
        return process.returncode

    def weights(self) -> str:
        return sha256_file(self.run.adapter / "adapter_model.safetensors")


def experiment(folder: Path, tempest: str) -> Killed:
    folder.mkdir(exist_ok=True)
    (folder / "kill.yaml").write_text(EXPERIMENT)
    (folder / "play.txt").write_text(tempest[:60000].replace("#", ""))
    return Killed(folder)


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory, tempest: str) -> Killed:
    """The uninterrupted run."""
    made = experiment(tmp_path_factory.mktemp("straight") / "case", tempest)
    made.finish()
    return made


def _exists(pattern: str) -> Callable[[Killed], bool]:
    return lambda killed: any(killed.runs.glob(pattern))


def _trained(steps: int) -> Callable[[Killed], bool]:
    def reached(killed: Killed) -> bool:
        lines = [line for path in killed.runs.glob("kill/*/train/metrics.jsonl") for line in read_lines(path)]
        return max((line["step"] for line in lines), default=0) >= steps

    return reached


MOMENTS = {
    "preparing": _exists("kill/*/.data.*.tmp"),
    "a checkpoint's write": _exists("kill/*/train/checkpoints/.step-*.tmp"),
    "training": _trained(11),
    "saving the adapter": _exists("kill/*/.adapter.*.tmp"),
    "evaluating": _exists("kill/*/adapter/adapter_config.json"),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_given_again_it_ends_with_the_same_bits(moment, straight, tmp_path, tempest):
    killed = experiment(tmp_path / "case", tempest)
    assert killed.stop_when(lambda: MOMENTS[moment](killed), signal.SIGKILL) == -signal.SIGKILL
    assert not (killed.run.report).exists()
    killed.finish()
    assert killed.weights() == straight.weights()
    assert [path.name for path in (killed.runs / "kill").iterdir() if path.is_dir()] == [killed.run.path.name]
    assert not list(killed.run.path.rglob(".*.tmp"))
    lines = [line for line in read_lines(killed.run.metrics) if "loss" in line]
    assert [line["step"] for line in lines] == list(range(1, 31))
    statuses = [{r.guard: r.status for r in case.run.guards.records()} for case in (killed, straight)]
    resumed, never = (found.pop("resume-proof") for found in statuses)
    # killed before the first checkpoint was whole, it began anew
    began_anew = moment in ("preparing", "a checkpoint's write")
    assert (resumed, never) == ("skip" if began_anew else "pass", "skip")
    for found in statuses:
        del found["memory-plan"]  # of the process, and the resumed one has done less before
    assert statuses[0] == statuses[1]
    ours, theirs = read_json(killed.run.summary), read_json(straight.run.summary)
    assert ours["difference"] == theirs["difference"]


def test_ctrl_c_leaves_a_run_that_goes_on(straight, tmp_path, tempest):
    killed = experiment(tmp_path / "case", tempest)
    assert killed.stop_when(lambda: _trained(5)(killed), signal.SIGINT) == 130
    assert killed.run.finished("train") is None
    assert "resuming after step" in killed.finish()
    assert killed.weights() == straight.weights()


def test_the_third_time_it_says_that_it_is_finished(straight):
    before = straight.run.events.read_text()
    start = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "finished already" in straight.finish()
    end = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert straight.run.events.read_text() == before
    # processor time: another test may have the machine's other core
    assert end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime < 2


def test_changed_data_do_not_go_on_in_silence(tmp_path, tempest):
    killed = experiment(tmp_path / "case", tempest)
    killed.stop_when(lambda: _trained(3)(killed), signal.SIGKILL)
    (killed.folder / "play.txt").write_text(tempest[:59000].replace("#", ""))
    process = killed.start()
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "the data changed since this unfinished run began: play.txt had sha256" in said
    assert "--new" in said


def test_a_second_process_is_told_that_the_run_is_in_use(tmp_path, tempest):
    killed = experiment(tmp_path / "case", tempest)
    first = killed.start()
    while not _trained(1)(killed):
        time.sleep(0.05)
    second = killed.start()
    said, _ = second.communicate(timeout=60)
    assert (second.returncode, "another process is writing to this run" in said) == (2, True)
    first.kill()
    first.communicate()
