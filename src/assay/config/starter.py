"""`assay new FILE`: a commented experiment for one's own text, sized for a few minutes on two CPU cores."""

from __future__ import annotations

import csv
import difflib
import itertools
import json
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from assay.config.load import load_text
from assay.config.values import flow
from assay.core.errors import InputError

SUFFIXES = (".txt", ".md", ".csv", ".jsonl")
ROWS_SEEN = 1000  # enough to know the columns by
BYTES_SEEN = 1_000_000
GROUPS_SEEN = 30  # a fifth of them, the test share, makes the 6 that a verdict needs
BATCH_TOKENS = 1024
STEPS = (4, 16)  # at about 120 training tokens a second, 16 steps of 1,024 tokens take 2 to 3 minutes
BYTES_PER_TOKEN = 4.0  # of English prose in common vocabularies


@dataclass(frozen=True)
class _Look:
    """What a file's beginning shows: a table's text column, a column to group by with its values, sample texts."""

    samples: list[str]
    text_column: str | None = None
    group_column: str | None = None
    group_values: int = 0
    rows: int = 0


def starter(file: Path, target: Path) -> str:
    """The YAML of a first experiment on `file`, to be written to `target` (whose folder its paths count from).

    The text column of a table is the one with the longest texts; a column that could name groups is proposed in a
    comment. The result loads without an error.

    Raises:
        InputError: the file is missing, empty, of another kind, not UTF-8, or holds no text.
    """
    _refuse(file)
    look = _look(file)
    size = file.stat().st_size
    tokens = 0.7 * size / BYTES_PER_TOKEN
    steps = min(max(round(3 * tokens / BATCH_TOKENS), STEPS[0]), STEPS[1])
    text = _filled_in(file, target, look, steps)
    load_text(text, target)
    return text


def _refuse(file: Path) -> None:
    where = str(file)
    if file.is_dir():
        raise InputError(
            "this is a folder, not a file", where=where, fix="name one file in it; data.source takes globs"
        )
    if not file.exists():
        names = sorted(one.name for one in file.parent.iterdir()) if file.parent.is_dir() else []
        near = difflib.get_close_matches(file.name, names, 1)
        fix = f"did you mean {file.parent / near[0]}?" if near else "check the path"
        raise InputError(f"there is no file {file}", where=where, fix=fix)
    if file.suffix.lower() not in SUFFIXES:
        kind = file.suffix or "a file without an ending"
        raise InputError(f"{kind} is no kind of text known here", where=where, fix=f"give {', '.join(SUFFIXES)}")
    if file.stat().st_size == 0:
        raise InputError("the file is empty", where=where, fix="give a file with text in it")


def _look(file: Path) -> _Look:
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            if file.suffix.lower() in (".txt", ".md"):
                return _look_at_text(stream.read(BYTES_SEEN), file)
            read = _csv_rows if file.suffix.lower() == ".csv" else _jsonl_rows
            rows = list(itertools.islice(read(stream, file), ROWS_SEEN))
    except UnicodeDecodeError as error:
        raise InputError(
            f"the file is not UTF-8 text: {error.reason}", where=str(file), fix="save it as UTF-8"
        ) from None
    except OSError as error:
        raise InputError(f"cannot read the file: {error.strerror}", where=str(file), fix="check its rights") from None
    return _look_at_rows(rows, file)


def _look_at_text(text: str, file: Path) -> _Look:
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.replace("\r\n", "\n"))]
    samples = [part for part in paragraphs if part]
    if not samples:
        raise InputError("the file holds white space only", where=str(file), fix="give a file with text in it")
    return _Look(samples)


def _csv_rows(stream: Iterator[str], file: Path) -> Iterator[dict[str, str]]:
    csv.field_size_limit(sys.maxsize)
    head = next(stream, "")
    # The delimiter that the header has most of; a comma for a single column.
    delimiter = max(",;\t|", key=lambda one: len(next(csv.reader([head], delimiter=one), [])))
    try:
        for row in csv.DictReader(itertools.chain([head], stream), delimiter=delimiter):
            yield {key: value for key, value in row.items() if isinstance(key, str) and isinstance(value, str)}
    except csv.Error as error:
        raise InputError(f"this is no CSV: {error}", where=str(file), fix="save the table as CSV again") from None


def _jsonl_rows(stream: Iterator[str], file: Path) -> Iterator[dict[str, str]]:
    for number, line in enumerate(stream, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"this line is no JSON: {error}", where=f"{file}:{number}", fix="correct it") from None
        if not isinstance(row, dict):
            raise InputError("this line is no JSON object", where=f"{file}:{number}", fix='write {"text": "..."}')
        yield {key: value for key, value in row.items() if isinstance(value, str)}


def _look_at_rows(rows: list[dict[str, str]], file: Path) -> _Look:
    columns = list(dict.fromkeys(name for row in rows for name in row if name.strip()))
    values = {name: [row[name].strip() for row in rows if row.get(name, "").strip()] for name in columns}
    wordy = {name: sum(map(len, texts)) / len(texts) for name, texts in values.items() if texts and _has_words(texts)}
    if not wordy:
        found = f"its columns are {', '.join(columns)}" if columns else "there are no rows"
        raise InputError(f"no column holds text: {found}", where=str(file), fix="give a table with a column of texts")
    text_column = "text" if "text" in wordy else max(wordy, key=lambda name: wordy[name])
    counts = {
        name: len(set(texts))
        for name, texts in values.items()
        if name != text_column and len(texts) == len(rows) and GROUPS_SEEN <= len(set(texts)) <= len(rows) / 2
    }
    group = max(counts, key=lambda name: counts[name], default=None)
    return _Look(values[text_column], text_column, group, counts[group] if group else 0, len(rows))


def _has_words(texts: list[str]) -> bool:
    return any(re.search(r"[^\W\d_]{2}", text) for text in texts)


def _slug(stem: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).strip("-._") or "experiment"


def _prompts(samples: list[str]) -> list[str]:
    """The first words of two texts, from a third and two thirds into the file."""
    long_enough = [text for text in samples if len(text.split()) >= 8] or samples
    openings = [" ".join(long_enough[len(long_enough) * part // 3].split()[:6])[:60].strip() for part in (1, 2)]
    # JSON can hold half of a surrogate pair, which no file can.
    return list(dict.fromkeys(text.encode("utf-8", "replace").decode() for text in openings))


def _source(file: Path, target: Path) -> str:
    relative = os.path.relpath(file.resolve(), target.parent.resolve())
    # A name with a colon would read as gutenberg:..., one that begins with ~ as a home folder.
    return relative if relative.startswith("..") else f"./{relative}"


def _group_lines(look: _Look) -> list[str]:
    if look.text_column is None:
        return [
            "  # group: chapter headings are found by themselves; without any, 40 blocks of paragraphs are the groups.",
            "  # group: {heading: '^Chapter [0-9]+'}   # your own rule: a regular expression for the heading lines",
        ]
    lines = ["  # group: without this line, 40 blocks of neighbouring rows are the groups."]
    if look.group_column:
        seen = f"{look.group_values} different values in the first {look.rows} rows"
        lines.append(f"  # group: {flow(look.group_column)}   # a column: one group for each value ({seen})")
    return lines


def _filled_in(file: Path, target: Path, look: _Look, steps: int) -> str:
    fields = []
    if look.text_column not in (None, "text"):
        fields = [f"  fields: {{text: {flow(str(look.text_column))}}}   # the column that holds the text"]
    prompts = [f"    - {flow(prompt)}" for prompt in _prompts(look.samples)]
    return "\n".join([*_HEAD, f"schema: 1\nname: {flow(_slug(file.stem))}", *_BASE, "data:",
                      f"  source: {flow(_source(file, target))}", *fields, *_GROUP, *_group_lines(look), *_SPLIT,
                      *_ADAPTER, "train:", f"  steps: {steps}   # optimizer steps; or `epochs`, passes over the text",
                      *_TRAIN, *_EVALUATE, "  prompts:   # base and tuned continue these; write your own",
                      *prompts, ""])  # fmt: skip


_HEAD = [
    "# An experiment for `assay run`: it fine-tunes the base on your text and says, with an error bar, whether the",
    "# tuned model predicts held-out parts of that text better. The sizes suit a few minutes on two CPU cores.",
    "",
]
_BASE = [
    "base: smollm2-135m-instruct-q4   # `assay models` lists others; a Hub id or a folder works too",
    "seed: 42",
    "",
]
_GROUP = [
    "  # A group is a part of the text that stands for itself: a chapter, an author, a conversation. Whole groups are",
    "  # held out, and the error bar counts groups.",
]
_SPLIT = [
    "  split: {dev: 0.1, test: 0.2, seed: 0}   # shares of the groups; at least 6 test groups are needed for a verdict",
    "",
]
_ADAPTER = [
    "adapter:",
    "  kind: lora   # trains about 2 % as many weights beside the frozen base; `full` trains all of them",
    "  rank: 8",
    "  alpha: 16   # the adapter's output counts alpha ÷ rank times",
    "  targets: all-linear",
    "",
]
_TRAIN = [
    f"  batch_tokens: {BATCH_TOKENS}   # tokens per step",
    "  max_length: 256   # tokens per sequence; longer texts are cut into several",
    "  learning_rate: 5e-4   # the first thing to change when the loss jumps (lower) or hardly moves (higher)",
    "",
]
_EVALUATE = [
    "evaluate:",
    "  window: 256   # tokens of context when scoring",
    "  max_bytes_per_group: 2000   # score an excerpt of each longer group; without this line, all of it",
]
