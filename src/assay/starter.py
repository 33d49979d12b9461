"""`assay new FILE`: a commented experiment for one's own data, sized for a few minutes on two CPU cores."""

from __future__ import annotations

import glob
import os
import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from assay.config.load import load_text
from assay.config.values import flow
from assay.core.cache import cache_dir
from assay.core.errors import InputError
from assay.data.columns import listed
from assay.data.formats import Draft, Layout, decide
from assay.data.groups import Repeats
from assay.data.readers import Row, read_rows
from assay.data.segment import paragraphs
from assay.data.sources import SourceFile, locate
from assay.data.tally import Drop

FIRST = 20  # rows that the format is decided from, as the preparation does
LARGE = 2000  # rows from which on a share of them would be scored for long
KINDS = 20  # values of a column to stratify by: fewer than make groups
ENOUGH = 20  # rows of each of them on average
BATCH_TOKENS = 1024
STEPS = (4, 16)  # at about 120 training tokens a second, 16 steps of 1,024 tokens take 2 to 3 minutes
LENGTHS = (128, 256, 512, BATCH_TOKENS)
TEXT_LENGTH = 256  # of a text file, which is cut into several sequences in any case
BYTES_PER_TOKEN = 4.0  # of English prose in common vocabularies
TURN_TOKENS = 8  # around a turn in common chat templates
PROMPT = 300  # characters of the longest


@dataclass
class _Look:
    """What a file's beginning shows.

    Args:
        layout: how its rows are read.
        said: the lines of the experiment that say so.
        samples: what rows ask or, of plain texts, how they begin.
        lengths: of each row or text, in tokens, roughly.
        different: hashes of the rows' contents.
        dropped: how many rows are left out, by reason.
        repeats: the values of its columns; of no rows for a text file.
    """

    layout: Layout
    said: list[str]
    samples: list[str] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    different: set[int] = field(default_factory=set)
    dropped: Counter[str] = field(default_factory=Counter)
    repeats: Repeats = field(default_factory=Repeats)


def starter(file: Path, target: Path) -> str:
    """The YAML of a first experiment on `file`, to be written to `target` (whose folder its paths count from).

    It names the format that was found; where none fits, it takes the column with the longest texts and says so.
    Columns to group or to stratify by are proposed in comments. The result loads without an error.

    Raises:
        InputError: the file is missing, of another kind, unreadable, or holds nothing to learn from.
    """
    # The name itself, even where it has the signs of a glob, and no name of a remote source.
    located = locate([glob.escape(str(file.absolute()))], sha256=None, cache=cache_dir())
    text = _filled_in(file, target, _look(located.files[0]))
    load_text(text, target)
    return text


def stem(file: Path) -> str:
    """The name of a file without its endings: ``rows`` of ``rows.jsonl.gz``."""
    return Path(re.sub(r"\.gz$", "", file.name, flags=re.IGNORECASE)).stem


def _look(file: SourceFile) -> _Look:
    rows = read_rows(file)
    first = list(islice(rows, FIRST))
    look = _Look(*_decided(first, file.where))
    for row in islice(chain(first, rows), Repeats.ROWS):
        draft = look.layout.parse(row)
        if isinstance(draft, Drop):
            look.dropped[draft.reason] += 1
            continue
        look.different.add(hash(draft))
        look.lengths.append(_tokens(draft))
        look.samples += _samples(draft, whole=row.index == 0)
        if row.index:  # a value that is missing in some rows makes no groups
            filled = {n: value for n, value in row.columns.items() if not isinstance(value, str) or value.strip()}
            look.repeats.add(filled)
    if not look.samples:
        lost = ", ".join(f"{count} x {reason}" for reason, count in look.dropped.most_common())
        raise InputError(
            f"nothing can be learned from its first {look.dropped.total():,} rows: {lost}",
            where=file.where,
            fix="correct the file, or write the experiment by hand: data.fields and data.template name its columns",
        )
    return look


def _decided(first: Sequence[Row], where: str) -> tuple[Layout, list[str]]:
    """How rows are read, and the lines that say so."""
    try:
        layout = decide("auto", {}, None, None, first)
    except InputError as error:
        layout = decide("text", {"text": _longest(first, where)}, None, None, first)
        words = f"{error.what}. Here the column with the longest texts is taken; otherwise {error.fix}."
        return layout, [*(f"  # {line}" for line in textwrap.wrap(words, 114)), "  format: text", *_fields(layout)]
    return layout, [f"  format: {layout.format}   # {layout.reason}", *_fields(layout), *_pair_lines(layout, first[0])]


def _pair_lines(layout: Layout, row: Row) -> list[str]:
    """How to put something between the two texts of a pair."""
    if layout.format != "prompt-completion" or isinstance(row.columns.get(layout.fields["prompt"]), list):
        return []
    between = "{{{prompt}}}\n{{{completion}}}".format(**layout.fields)
    return [
        "  # A pair is joined as it stands. To put a line break or a label between, in place of format and fields:",
        f"  # template: {flow(between)}",
    ]


def _fields(layout: Layout) -> list[str]:
    """The line that names the columns, where they have other names than the format's own."""
    usual = {"messages": "conversations" if layout.format == "sharegpt" else "messages"}
    if all(column == usual.get(name, name) for name, column in layout.fields.items()):
        return []
    columns = ", ".join(f"{name}: {flow(column)}" for name, column in layout.fields.items())
    what = "the column that holds the text" if layout.format == "text" else "the columns that hold it"
    return [f"  fields: {{{columns}}}   # {what}"]


def _longest(first: Sequence[Row], where: str) -> str:
    """The column that holds the longest texts."""
    texts: dict[str, list[str]] = {}
    for row in first:
        for name, value in row.columns.items():
            if name.strip() and isinstance(value, str) and value.strip():
                texts.setdefault(name, []).append(value)
    wordy = {
        name: sum(map(len, values)) / len(values)
        for name, values in texts.items()
        if any(re.search(r"[^\W\d_]{2}", value) for value in values)
    }
    if not wordy:
        columns = listed({name: None for row in first for name in row.columns})
        raise InputError(f"no column holds text; {columns}", where=where, fix="give a table with a column of texts")
    return max(wordy, key=lambda name: wordy[name])


def _tokens(draft: Draft) -> float:
    said = [turn.text for turn in draft.turns] or [draft.text]
    return sum(len(text.encode()) for text in said) / BYTES_PER_TOKEN + TURN_TOKENS * len(draft.turns)


def _samples(draft: Draft, *, whole: bool) -> Iterator[str]:
    """What a row asks first; of a plain text its beginning, of a whole file the beginning of each paragraph."""
    asked = [turn.text for turn in draft.turns if turn.role in ("user", "prompt")][:1]
    spans = paragraphs(draft.text) if whole else [(0, len(draft.text))]
    for text in asked or (draft.text[start:end] for start, end in spans):
        yield text[: PROMPT + 1]


def _prompts(look: _Look) -> list[str]:
    """What two rows ask, or the first words of two texts, from a third and two thirds into the file."""
    if look.layout.format == "text":
        wordy = [text for text in look.samples if len(text.split()) >= 8] or look.samples
        usable = [" ".join(text.split()[:6])[:60].strip() for text in wordy]
    else:
        short = [text for text in look.samples if len(text) <= PROMPT]
        usable = short or [text.strip()[:PROMPT] for text in look.samples]
    return list(dict.fromkeys(usable[len(usable) * part // 3] for part in (1, 2)))


def _steps(look: _Look) -> int:
    tokens = 0.7 * sum(look.lengths)
    return min(max(round(3 * tokens / BATCH_TOKENS), STEPS[0]), STEPS[1])


def _max_length(look: _Look) -> int:
    """The shortest length that 19 of 20 rows fit in, or the longest there is."""
    if not look.repeats.rows:
        return TEXT_LENGTH
    long = sorted(look.lengths)[len(look.lengths) * 19 // 20]
    return next((length for length in LENGTHS if length >= long), LENGTHS[-1])


def _group_lines(look: _Look) -> list[str]:
    if not look.repeats.rows:
        return [
            "  # group: chapter headings are found by themselves; without any, 40 blocks of paragraphs are the groups.",
            "  # group: {heading: '^Chapter [0-9]+'}   # your own rule: a regular expression for the heading lines",
        ]
    lines = ["  # group: without this line, each row is a group of its own."]
    read = set(look.layout.fields.values())
    found = [column for column in look.repeats.found() if column["column"] not in read]
    if found:
        best = max(found, key=lambda column: column["values"])
        seen = f"{best['values']:,} different values in the first {look.repeats.rows:,} rows"
        lines.append(f"  # group: {flow(best['column'])}   # a column: one group for each value ({seen})")
        if _is_large(look):
            lines.append(f"  # With such a column, give the split in shares: {_SHARES}")
    return lines


def _split_lines(look: _Look) -> list[str]:
    if _is_large(look):
        split, why = _COUNTS, "numbers of groups; a share of so many would take long to score"
    else:
        split, why = _SHARES, "shares of the groups; at least 6 test groups are needed for a verdict"
    lines = [f"  split: {split}   # {why}"]
    if kinds := _kinds(look):
        others = f"; or by {' or '.join(map(flow, kinds[1:]))}" if kinds[1:] else ""
        lines.append(
            f"  # split: {split[:-1]}, stratify: {flow(kinds[0])}}}   # each of its values in its share{others}"
        )
    return [*lines, ""]


def _is_large(look: _Look) -> bool:
    return len(look.different) > LARGE


def _kinds(look: _Look) -> list[str]:
    """The columns that sort the rows into a few kinds: a handful of names, each with many rows."""
    read = set(look.layout.fields.values())
    return [
        name
        for name, counts in look.repeats.values.items()
        if name not in read
        and 2 <= len(counts) < KINDS
        and counts.total() == look.repeats.rows >= ENOUGH * len(counts)
        and all(re.search(r"[^\W\d_]{2}", value) for value in counts)
    ]


def _source(file: Path, target: Path) -> str:
    relative = os.path.relpath(file.resolve(), target.parent.resolve())
    # A name with a colon would read as gutenberg:..., one that begins with ~ as a home folder.
    return relative if relative.startswith("..") else f"./{relative}"


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._") or "experiment"


def _filled_in(file: Path, target: Path, look: _Look) -> str:
    turns = look.layout.format != "text"
    length = _max_length(look)
    cut = "of longer rows the rest is cut off" if turns else "longer texts are cut into several"
    return "\n".join([*_HEAD, f"schema: 1\nname: {flow(_slug(stem(file)))}", *_BASE, "data:",
                      f"  source: {flow(_source(file, target))}", *look.said, *_GROUP, *_group_lines(look),
                      *_split_lines(look), *_ADAPTER, "train:",
                      f"  steps: {_steps(look)}   # optimizer steps; or `epochs`, passes over the text",
                      f"  max_length: {length}   # tokens per sequence; {cut}",
                      *(_LOSS if turns else ()), *_TRAIN, "evaluate:",
                      f"  window: {length}   # tokens of context when scoring", *_EVALUATE,
                      *(f"    - {flow(prompt)}" for prompt in _prompts(look)), ""])  # fmt: skip


_SHARES = "{dev: 0.1, test: 0.2, seed: 0}"
_COUNTS = "{dev: 100, test: 200, seed: 0}"
_HEAD = [
    "# An experiment for `assay run`: it fine-tunes the base on your text and says, with an error bar, whether the",
    "# tuned model predicts held-out parts of that text better. The sizes suit a few minutes on two CPU cores.",
    "",
]
_BASE = [
    "base: smollm2-135m-instruct-q4   # `assay models` lists others; a Hub id or a folder works too",
    "seed: 42   # or `seeds: [0, 1, 2]`: `assay sweep` makes a run with each",
    "# ablations: {rank: {adapter.rank: [4, 16]}}   # `assay sweep` also makes a run with each of these, and compares",
    "",
]
_GROUP = [
    "  # A group is a part of the text that stands for itself: a chapter, an author, a conversation. Whole groups are",
    "  # held out, and the error bar counts groups.",
]
_ADAPTER = [
    "adapter:",
    "  kind: lora   # trains about 2 % as many weights beside the frozen base; `full` trains all of them",
    "  rank: 8",
    "  alpha: 16   # the adapter's output counts alpha ÷ rank times",
    "  targets: all-linear",
    "",
]
_LOSS = ["  loss_on: completion   # what the model is to produce is learned; `all` learns what is asked as well"]
_TRAIN = [
    f"  batch_tokens: {BATCH_TOKENS}   # tokens per step",
    "  learning_rate: 5e-4   # the first thing to change when the loss jumps (lower) or hardly moves (higher)",
    "",
]
_EVALUATE = [
    "  max_bytes_per_group: 2000   # score an excerpt of each longer group; without this line, all of it",
    "  prompts:   # base and tuned go on from these; write your own",
]
