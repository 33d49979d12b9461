"""A tiny experiment on real plays, its healthy run, and the means to plant a fault and see which guard fails.

A test that plants a fault is marked with the guard that must fail: `@pytest.mark.fault("supervision")`. At the end of a
test run the faults caught are counted, and those that were missed are named.
"""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from tokenizers import processors
from transformers import LlamaConfig, LlamaForCausalLM

from assay.cli.main import main
from assay.core.ledger import resolve_run
from assay.core.rundir import RunDir
from assay.text.suites import generic_texts
from assay.text.tokenizer import byte_tokenizer

Row = dict[str, str]
PLANTED = "fault"  # the marker's name, and that of the property by which a test's report carries it
QUICK = ("evaluate.prompts=[]", "evaluate.continuations=0")  # for faults that show elsewhere

EXPERIMENT = """\
schema: 1
name: tiny
base: scratch:llama-tiny
data:
  source: rows.csv
  group: play
  split: {{dev: 0.15, test: 0.35}}
adapter: {{rank: 4, alpha: 8}}
train: {{steps: 12, max_length: 128, batch_tokens: 1024, learning_rate: 0.01}}
evaluate:
  window: 128
  max_bytes_per_group: 600
  prompts: ["To be", "O Romeo", "My lord", "What news"]
  decoding: {{max_new_tokens: 12, temperature: 0}}
  questions: []
{more}
"""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    for mark in item.iter_markers(PLANTED):
        report.user_properties.append((PLANTED, mark.args[0]))
    return report


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Say how many of the planted faults were caught, by how many guards, and which were not."""
    reports = [one for kind in ("passed", "failed", "error", "skipped") for one in terminalreporter.getreports(kind)]
    planted: dict[str, str] = {}
    missed: dict[str, str] = {}
    for report in reports:
        for guard in (value for name, value in report.user_properties if name == PLANTED):
            planted[report.nodeid] = guard
            if report.outcome != "passed":
                missed[report.nodeid] = guard
    if planted:
        caught = len(planted) - len(missed)
        guards = len(set(planted.values()))
        share = f"{caught}/{len(planted)} caught ({100 * caught / len(planted):.0f} %), of {guards} guards"
        terminalreporter.section("planted faults")
        terminalreporter.write_line(f"faults: {share}")
        for test, guard in missed.items():
            terminalreporter.write_line(f"missed: {guard}: {test}")


@dataclass
class Case:
    """One experiment in a folder of its own."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "tiny.yaml"

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    @property
    def run(self) -> RunDir:
        """The newest run."""
        return resolve_run("tiny", self.runs)

    def assay(self, command: str, *values: str) -> int:
        """Run a command on the experiment file, with `--set` values, and give its exit code."""
        return self._call(command, str(self.file), values)

    def loud(self, command: str) -> int:
        """Run a command on the experiment file, notes and progress included."""
        return main([command, str(self.file), "--runs-dir", str(self.runs)])

    def again(self, command: str) -> int:
        """Run a command on the existing run."""
        return self._call(command, str(self.run.path), ())

    def _call(self, command: str, target: str, values: tuple[str, ...]) -> int:
        sets = [part for value in values for part in ("--set", value)]
        return main([command, target, "--runs-dir", str(self.runs), "--quiet", *sets])

    def evaluated(self, *values: str) -> RunDir:
        """The run of the experiment with these values, evaluated in what decides the verdict, and healthy."""
        assert self.assay("evaluate", *QUICK, *values) == 0
        assert self.failed() == set()
        return self.run

    def write(self, name: str, rows: list[dict[str, Any]]) -> Path:
        """Write rows beside the experiment, as CSV (`play` and `text`) or as JSON Lines."""
        path = self.folder / name
        (write_rows if path.suffix == ".csv" else write_lines)(path, rows)
        return path

    def status(self, guard: str) -> str:
        """How a guard has ended in the newest run: its worst record."""
        order = ["skip", "pass", "warn", "fail"]
        return max((r.status for r in self.run.guards.records() if r.guard == guard), key=order.index)

    def failed(self) -> set[str]:
        """The guards that have failed in the newest run."""
        return {r.guard for r in self.run.guards.records() if r.status == "fail"}


def passages(plays: Iterable[tuple[str, str]], each: int, length: int) -> list[Row]:
    """So many passages of each play, of so many characters."""
    found = []
    for play, text in plays:
        for i in range(each):
            start = text.index("\n", 9000 * (i + 1)) + 1
            found.append({"play": play, "text": text[start : start + length]})
    return found


@pytest.fixture(scope="session")
def rows(plays: dict[str, str]) -> list[Row]:
    """Four passages of each of 20 plays."""
    return passages(list(plays.items())[:20], 4, 400)


def write_rows(path: Path, rows: list[Row]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["play", "text"])
        writer.writeheader()
        writer.writerows(rows)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def case(tmp_path: Path, rows: list[Row]) -> Callable[..., Case]:
    """A function that writes an experiment over `rows` (or others)."""

    def make(own: list[Row] | None = None, more: str = "") -> Case:
        write_rows(tmp_path / "rows.csv", own if own is not None else rows)
        (tmp_path / "tiny.yaml").write_text(EXPERIMENT.format(more=more))
        return Case(tmp_path)

    return make


@pytest.fixture
def over(tmp_path: Path) -> Callable[..., Case]:
    """A function that writes rows of any columns, and an experiment over them with further keys of `data`."""

    def make(rows: list[dict[str, Any]], base: str = "scratch:llama-tiny", **data: Any) -> Case:
        write_lines(tmp_path / "rows.jsonl", rows)
        experiment = {
            "schema": 1, "name": "tiny", "base": base, "data": {"source": "rows.jsonl"} | data,
            "train": {"steps": 2, "max_length": 128},
        }  # fmt: skip
        (tmp_path / "tiny.yaml").write_text(json.dumps(experiment))  # which is YAML as well
        return Case(tmp_path)

    return make


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], None]], Path]:
    """A function that fills a folder of this name, once for all of the test runner's workers."""

    def filled(name: str, fill: Callable[[Path], None]) -> Path:
        temporary = tmp_path_factory.getbasetemp()
        folder = (temporary.parent if os.environ.get("PYTEST_XDIST_WORKER") else temporary) / name
        done = folder / ".done"
        with FileLock(f"{folder}.lock"):
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return filled


@pytest.fixture(scope="session")
def finished(once: Callable[..., Path], rows: list[Row]) -> Case:
    """A healthy run that no test may change."""

    def fill(folder: Path) -> None:
        write_rows(folder / "rows.csv", rows)
        (folder / "tiny.yaml").write_text(EXPERIMENT.format(more=""))
        assert Case(folder).assay("run") == 0

    return Case(once("finished", fill))


@pytest.fixture
def healthy(finished: Case, tmp_path: Path) -> Case:
    """A copy of the healthy run, to be harmed."""
    shutil.copytree(finished.folder, tmp_path / "case")
    return Case(tmp_path / "case")


@pytest.fixture
def compare(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, set[str]]]:
    """A function that holds runs against each other: its exit code, and the guards of the comparison that failed."""

    def compared(*runs: RunDir) -> tuple[int, set[str]]:
        capsys.readouterr()
        code = main(["compare", *(str(run.path) for run in runs), "--json"])
        said = capsys.readouterr()
        pairs = json.loads(said.out)["pairs"] if said.out else []
        records = [record for pair in pairs for record in pair["guards"]]
        failed = {record["guard"] for record in records if record["status"] == "fail"}
        return code, failed | set(re.findall(r"guard ([a-z-]+) failed", said.err))

    return compared


@pytest.fixture(scope="session")
def swedish() -> list[Row]:
    """Twelve Swedish texts."""
    return [{"play": name, "text": text} for name, text in generic_texts("sv")]


@pytest.fixture(scope="session")
def learned(once: Callable[..., Path], plays: dict[str, str], swedish: list[Row]) -> Path:
    """A base that writes a little English and Swedish: all weights trained on passages of the plays that are not in
    `rows`, and on the first half of the Swedish texts."""

    def fill(folder: Path) -> None:
        write_rows(folder / "rows.csv", [*passages(list(plays.items())[20:], 6, 600), *swedish[:6]])
        (folder / "tiny.yaml").write_text(EXPERIMENT.format(more=""))
        values = ("adapter.kind=full", "train.steps=120", "train.learning_rate=0.003", "data.split.dev=2")
        assert Case(folder).assay("train", *values) == 0

    return Case(once("learned", fill)).run.model


@pytest.fixture(scope="session")
def base_with_prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose tokenizer puts <s> in front of each text and knows a chat's markers."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = byte_tokenizer()
    tokenizer.backend.add_special_tokens(["<s>", "<|im_start|>"])
    bos = tokenizer.backend.token_to_id("<s>")
    tokenizer.backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
    tokenizer.backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": "<|endoftext|>"}))
    config = LlamaConfig(
        vocab_size=259, hidden_size=64, intermediate_size=172, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder
