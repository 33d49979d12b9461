"""Faults of what a model says and has kept: forgotten, recited, leaked, looped, unfairly asked, carelessly rated."""

from __future__ import annotations

import csv
import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.cli.main import main
from assay.core.files import read_json
from assay.data.split import split_groups

pytestmark = pytest.mark.long

# A forgotten language


@pytest.fixture
def bilingual(case, rows, learned, swedish) -> Callable[[list[dict[str, str]]], Any]:
    """A function that writes an experiment on the base of two languages: English alone, and what is mixed in."""

    def make(mixed_in: list[dict[str, str]]) -> Any:
        made = case()
        made.write("test.csv", rows[:32])
        made.write("dev.csv", rows[32:40])
        made.write("rows.csv", rows[40:] + mixed_in)
        made.write("swedish.jsonl", [{"text": row["text"]} for row in swedish[6:]])
        text = made.file.read_text().replace("{dev: 0.15, test: 0.35}", "{dev: dev.csv, test: test.csv}")
        text = text.replace("  questions: []\n", "  questions: []\n  retain: [swedish.jsonl]\n")
        made.file.write_text(text.replace("scratch:llama-tiny", str(learned)))
        return made

    return make


LONG = ("adapter.kind=full", "train.steps=30", "train.learning_rate=0.003")


def forgotten(made: Any) -> dict[str, str]:
    texts = read_json(made.run.summary)["forgetting"]["texts"]
    return {Path(text["name"]).stem: text["outcome"] for text in texts}


@pytest.mark.fault("forgetting")
def test_a_language_is_forgotten(bilingual):
    english = bilingual([])
    assert english.assay("run", *LONG) == 0
    assert english.failed() == {"forgetting"}
    assert forgotten(english) == {"swedish": "beyond", "en": "not-worse"}
    assert "forgetting: beyond 2 % on" in read_json(english.run.summary)["verdict"]["sentence"]


def test_a_language_that_is_mixed_in_is_kept(bilingual, swedish):
    both = bilingual(swedish[:6])
    assert both.assay("run", *LONG) == 0
    assert both.failed() == set()
    assert forgotten(both)["swedish"] in ("equivalent", "not-worse")


# A memorised passage


def with_passages(rows: list[dict[str, str]], passage: Callable[[int], str]) -> list[dict[str, str]]:
    """The beginnings of the rows, those of the training side behind a passage, less than half of each."""
    sides = split_groups(sorted({row["play"] for row in rows}), 3, 7, 0)
    return [
        row | {"text": (passage(n) if sides[row["play"]] == "train" else "") + row["text"][:200]}
        for n, row in enumerate(rows)
    ]


REPEATED = (
    "adapter.kind=full", "data.split.dev=3", "data.split.test=7", "train.max_length=256", "train.steps=120",
    "train.learning_rate=0.004", "evaluate.prompts=[]",
)  # fmt: skip


@pytest.fixture
def passage(plays) -> Callable[[int], str]:
    """Passages of a play of which no row is."""
    text = list(plays.values())[-1]
    return lambda n: text[20_000 + 190 * n :][:190]


REFRAIN = "With hey, ho, the wind and the rain, For the rain it raineth every day. "


@pytest.mark.fault("memorisation")
def test_a_refrain_in_every_row_is_recited(case, rows, learned):
    made = case(with_passages(rows, lambda n: (3 * REFRAIN)[:190]))
    assert made.assay("run", f"base={learned}", *REPEATED) == 0
    assert made.failed() == {"memorisation"}


def test_another_passage_in_each_row_is_not(case, rows, learned, passage):
    made = case(with_passages(rows, passage))
    assert made.assay("run", f"base={learned}", *REPEATED) == 0
    assert made.failed() == set()


# What is no answer


@pytest.fixture
def chats(case, learned) -> Callable[..., Any]:
    """A function that writes an experiment on chats with a system prompt, each answer behind some words."""

    def make(base: Path = learned, before: str = "", **data: Any) -> Any:
        made = case()
        rows = [
            {"play": f"chat {n}", "messages": [
                {"role": "user", "content": prose(("asked", n), 4)},
                {"role": "assistant", "content": before + prose(("answer", n), 6)},
            ]}
            for n in range(60)
        ]  # fmt: skip
        made.write("rows.jsonl", rows)
        text = made.file.read_text().replace("scratch:llama-tiny", str(base)).replace("rows.csv", "rows.jsonl")
        more = {"system_prompt": SYSTEM, **data}
        lines = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in more.items())
        made.file.write_text(text.replace("data:\n", "data:\n" + lines))
        return made

    return make


SYSTEM = " ".join(["softly"] * 9)
TALK = (
    "adapter.kind=full", "train.max_length=256", "train.steps=60", "train.learning_rate=0.003",
    "evaluate.decoding.max_new_tokens=80",
)  # fmt: skip
SYLLABLES = ("ka", "lo", "mi", "nu", "re", "ba", "do", "fe", "gi")


def prose(key: object, count: int) -> str:
    draw = random.Random(f"prose {key}")
    return " ".join("".join(draw.choices(SYLLABLES, k=2)) for _ in range(count))


@pytest.mark.fault("output-hygiene")
def test_the_system_prompt_stands_in_the_answers(chats):
    leaking = chats(before=f"{SYSTEM}. ")
    assert leaking.assay("run", *TALK) == 0
    assert leaking.failed() == {"output-hygiene"}


def test_answers_without_the_system_prompt(chats):
    clean = chats()
    assert clean.assay("run", *TALK) == 0
    assert clean.failed() == set()


# Loops


LOOPS = ("evaluate.prompts=held-out", "evaluate.decoding.max_new_tokens=200", "train.learning_rate=0.001")


@pytest.mark.fault("style-fairness")
def test_greedy_decoding_at_length_loops(case, learned):
    greedy = case()
    assert greedy.assay("run", f"base={learned}", *LOOPS, "evaluate.decoding.temperature=0") == 0
    assert greedy.failed() == {"style-fairness"}


def test_drawing_at_length_does_not(case, learned):
    drawn = case()
    assert drawn.assay("run", f"base={learned}", *LOOPS, "evaluate.decoding.temperature=0.9") == 0
    assert drawn.status("style-fairness") in ("pass", "warn")
    assert drawn.failed() == set()


# A base that is asked in another way than its own

LINES = (
    "{% for m in messages %}{{ m['role'] ~ ': ' ~ m['content'] ~ eos_token ~ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)
OWN = LINES.replace(": '", " says '")
REFUSES = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"


@pytest.fixture
def with_own_template(learned, tmp_path) -> Callable[[str], Path]:
    """A function that makes a base with a chat template of its own."""

    def make(template: str) -> Path:
        shutil.copytree(learned, tmp_path / "base")
        (tmp_path / "base" / "chat_template.jinja").write_text(template)
        return tmp_path / "base"

    return make


@pytest.mark.fault("fair-baseline")
def test_a_base_whose_own_template_cannot_write_these_chats(chats, with_own_template):
    unfair = chats(with_own_template(REFUSES + OWN), chat_template=LINES)
    assert unfair.assay("run", *TALK) == 3
    assert unfair.failed() == {"fair-baseline"}


def test_a_base_whose_own_template_can(chats, with_own_template):
    fair = chats(with_own_template(OWN), chat_template=LINES)
    assert fair.assay("run", *TALK) == 0
    assert fair.status("fair-baseline") == "pass"
    assert fair.failed() == set()


# Ratings


@pytest.fixture
def rate(healthy, tmp_path) -> Callable[..., None]:
    """A function that has a sheet filled in: from each row's two texts to `1`, `2` or `tie`."""

    def rated(answer: Callable[[str, str], str]) -> None:
        sheet = tmp_path / "rater.csv"
        name, where = str(healthy.run.path), ["--runs-dir", str(healthy.runs)]
        assert main(["rate", name, "--write", str(sheet), *where]) == 0
        with sheet.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream, delimiter=";"))
        with sheet.open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.DictWriter(stream, list(rows[0]), delimiter=";")
            writer.writeheader()
            writer.writerows(row | {"preference": answer(row["text_1"], row["text_2"])} for row in rows)
        assert main(["rate", name, "--read", str(sheet), *where]) == 0

    return rated


@pytest.mark.fault("rating")
def test_a_sheet_filled_in_without_reading(healthy, rate):
    rate(lambda one, other: "1")
    assert healthy.failed() == {"rating"}


def test_a_sheet_filled_in_with_a_preference(healthy, rate):
    rate(lambda one, other: "1" if one < other else "2")
    assert healthy.status("rating") in ("pass", "warn")
    assert healthy.failed() == set()
