"""A tiny experiment on real plays, its healthy run, and the means to plant a fault and see which guard fails."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tokenizers import processors
from transformers import LlamaConfig, LlamaForCausalLM

from assay.cli.main import main
from assay.core.ledger import resolve_run
from assay.core.rundir import RunDir
from assay.text.tokenizer import byte_tokenizer

Row = dict[str, str]

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

    def failed(self) -> set[str]:
        """The guards that have failed in the newest run."""
        return {r.guard for r in self.run.guards.records() if r.status == "fail"}


@pytest.fixture(scope="session")
def rows(plays: dict[str, str]) -> list[Row]:
    """Four passages of each of 20 plays."""
    found = []
    for play, text in list(plays.items())[:20]:
        for i in range(4):
            start = text.index("\n", 9000 * (i + 1)) + 1
            found.append({"play": play, "text": text[start : start + 400]})
    return found


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
def finished(tmp_path_factory: pytest.TempPathFactory, rows: list[Row]) -> Case:
    """A healthy run that no test may change."""
    folder = tmp_path_factory.mktemp("finished")
    write_rows(folder / "rows.csv", rows)
    (folder / "tiny.yaml").write_text(EXPERIMENT.format(more=""))
    made = Case(folder)
    assert made.assay("run") == 0
    return made


@pytest.fixture
def healthy(finished: Case, tmp_path: Path) -> Case:
    """A copy of the healthy run, to be harmed."""
    shutil.copytree(finished.folder, tmp_path / "case")
    return Case(tmp_path / "case")


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
