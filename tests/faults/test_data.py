"""Faults of data, planted in files as an accident would leave them, and prepared as a user does it.

Each is found by the guard that is named, or cannot come about at all; beside it stands its healthy twin.
"""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.core.files import read_json
from assay.core.records import Turn, content_hash, item_id
from assay.data.items import Item, read_items
from assay.data.manifest import read_manifest
from assay.data.split import split_groups

WORDS = [f"{a}{b}{c}" for a in ("ka", "lo", "mi", "nu", "re") for b in ("ba", "do", "fe", "gi") for c in "abcdefghij"]
GROUPS = [f"chapter {n}" for n in range(100)]
SIDES = split_groups(GROUPS, 0.1, 0.2, 0)  # as any experiment over these groups has them
TRAINED = [group for group, side in split_groups(GROUPS, 6, None, 0).items() if side == "train"]  # one side by itself
pytestmark = pytest.mark.usefixtures("no_page")
LEAK, UNTAUGHT = pytest.mark.fault("split-leak"), pytest.mark.fault("supervision")


def prose(key: object, count: int = 60) -> str:
    return " ".join(random.Random(f"prose {key}").choices(WORDS, k=count))


def rows_of(each: int = 3, count: int = 60) -> list[dict[str, Any]]:
    return [{"group": group, "text": prose((group, n), count)} for group in GROUPS for n in range(each)]


def groups_of(side: str) -> list[str]:
    return [group for group in GROUPS if SIDES[group] == side]


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def items(case: Any) -> dict[str, list[Item]]:
    return {name: read_items(case.run.split(name)) for name in ("train", "dev", "test")}


def guard(case: Any, name: str) -> Any:
    return next(entry for entry in case.run.guards.records() if entry.guard == name)


def counts(case: Any) -> dict[str, Any]:
    found = read_json(case.run.manifest)
    for tally in (found["rows"], found["items"]):
        assert tally["in"] == tally["kept"] + sum(tally["dropped"].values())
    kept: dict[str, Any] = found["items"]
    assert kept["kept"] == sum(map(len, items(case).values()))
    return kept


# Near-duplicates over the split line


def near(text: str, key: object) -> str:
    """The text with another word in its middle: 51 of 61 word 5-grams are the same."""
    own = text.split()
    return " ".join([*own[:30], f"other{key}", *own[31:]])


@pytest.fixture
def doubled() -> tuple[list[dict[str, Any]], list[tuple[str, str]]]:
    """Rows, 50 of the training side with a near-copy on a held-out side; and the pairs."""
    rows = rows_of()
    originals = [row["text"] for row in rows if SIDES[row["group"]] == "train"][:50]
    held = [*groups_of("dev"), *groups_of("test")]
    pairs = [(text, near(text, n)) for n, text in enumerate(originals)]
    copies = [{"group": held[n % len(held)], "text": copy} for n, (_, copy) in enumerate(pairs)]
    return rows + copies, pairs


def test_near_duplicates_are_dropped_before_the_split(over, doubled):
    rows, pairs = doubled
    made = over(rows, group="group")
    assert made.assay("prepare") == 0
    assert counts(made)["dropped"] == {"near-duplicate": 50}
    assert read_json(made.run.manifest)["near_duplicates"]["clusters"] == 50
    kept = Counter(item.text for own in items(made).values() for item in own)
    assert all(kept[one] + kept[other] == 1 for one, other in pairs)
    assert guard(made, "split-leak").status == "pass"
    assert made.failed() == set()


@LEAK
def test_near_duplicates_that_stay_fail_the_guard(over, doubled, capsys):
    made = over(doubled[0], group="group", clean={"near_duplicates": None})
    assert made.assay("prepare") == 3
    assert made.failed() == {"split-leak"}
    assert guard(made, "split-leak").measured["leaking"] == 50
    assert guard(made, "split-leak").measured["kinds"]["jaccard"] == 50
    assert "50 of 140 held-out texts" in capsys.readouterr().err
    assert not made.run.data.exists()


def test_near_duplicates_that_are_kept_stay_together(over, doubled):
    rows, pairs = doubled
    made = over(rows, group="group", clean={"duplicates": "keep"})
    assert made.assay("prepare") == 0
    assert counts(made)["dropped"] == {}
    side = {item.text: name for name, own in items(made).items() for item in own}
    group = {item.text: item.group for own in items(made).values() for item in own}
    assert len(side) == len(rows)
    assert all((side[one], group[one]) == (side[other], group[other]) for one, other in pairs)
    assert guard(made, "split-leak").status == "pass"


# Held-out passages within training documents


def spliced(path: Path, held: int, words: int = 50) -> list[dict[str, Any]]:
    """Long training documents, 20 of them with a passage of so many words out of one of the `held` test texts."""
    tests = [prose(("test", n), 120) for n in range(held)]
    write_lines(path, [{"group": f"exam {n}", "text": text} for n, text in enumerate(tests)])
    documents = {group: prose(("document", group), 400).split() for group in GROUPS}
    for n, group in enumerate(TRAINED[:20]):
        documents[group][200:200] = ["before", *tests[n].split()[30 : 30 + words], "behind"]
    return [{"group": group, "text": " ".join(document)} for group, document in documents.items()]


def apart(path: Path, side: str = "test") -> dict[str, Any]:
    """`data` with a file of its own for one side, and six groups for the other."""
    return {"group": "group", "split": {"dev": 6, "test": 6, side: str(path)}}


@LEAK
def test_test_passages_inside_training_documents_fail(over, tmp_path, capsys):
    made = over(spliced(tmp_path / "test.jsonl", 100), **apart(tmp_path / "test.jsonl"))
    assert made.assay("prepare") == 3
    assert made.failed() == {"split-leak"}
    measured = guard(made, "split-leak").measured
    assert (measured["leaking"], measured["kinds"]) == (20, {"run": 20})
    assert all(len(example["passage"].split()) > 20 for example in measured["examples"])
    assert "20 of 106 held-out texts (18.87%)" in capsys.readouterr().err


def test_test_passages_are_dropped_where_they_are_few(over, tmp_path):
    made = over(spliced(tmp_path / "test.jsonl", 2100), **apart(tmp_path / "test.jsonl"))
    assert made.assay("prepare") == 0
    assert (guard(made, "split-leak").status, guard(made, "split-leak").measured["leaking"]) == ("warn", 20)
    assert counts(made)["dropped"] == {"leak": 20}
    left = {item.text for item in items(made)["test"]}
    assert left == {prose(("test", n), 120) for n in range(20, 2100)}


def test_shorter_passages_are_no_leak(over, tmp_path):
    made = over(spliced(tmp_path / "test.jsonl", 100, 49), **apart(tmp_path / "test.jsonl"))
    assert made.assay("prepare") == 0
    assert guard(made, "split-leak").status == "pass"


# A benchmark question in the training rows


def test_a_benchmark_question_is_dropped_counted_and_shown(over, tmp_path, with_page):
    rows = rows_of()
    planted = next(row for row in rows if SIDES[row["group"]] == "train")
    question = "Which of these rivers, all of them in Europe, carries the most water to the sea in an ordinary year?"
    planted["text"] += f' And then she asked: "{question.upper()}" Nobody knew.'
    write_lines(tmp_path / "bench.jsonl", [
        {"id": n, "question": question if n == 3 else prose(("bench", n), 20), "choices": ["Rhine", "Danube"]}
        for n in range(9)
    ])  # fmt: skip
    made = over(rows, group="group", against=[str(tmp_path / "bench.jsonl")])
    assert made.assay("prepare") == 0
    assert counts(made)["dropped"] == {"benchmark-match": 1}
    assert planted["text"] not in {item.text for item in items(made)["train"]}
    against = read_json(made.run.manifest)["against"]
    assert (against["files"], against["rows"], against["touched"], against["rows_in_training"]) == (
        ["bench.jsonl"], 9, 1, 1,
    )  # fmt: skip
    (match,) = against["matches"]
    assert match["benchmark"] == "bench.jsonl (row 4)"
    assert match["longest"] == len(question.split())
    assert "CARRIES THE MOST WATER TO THE SEA" in match["passage"]
    page = made.run.report.read_text(encoding="utf-8")
    assert "CARRIES THE MOST WATER TO THE SEA" in page
    assert "bench.jsonl (row 4)" in page


def test_a_benchmark_that_stands_nowhere_drops_nothing(over, tmp_path):
    write_lines(tmp_path / "bench.jsonl", [{"question": prose(("bench", n), 20)} for n in range(9)])
    made = over(rows_of(), group="group", against=[str(tmp_path / "bench.jsonl")])
    assert made.assay("prepare") == 0
    assert counts(made)["dropped"] == {}
    assert read_json(made.run.manifest)["against"]["touched"] == 0


# Rows from which nothing is learned


CHATS = [f"chat {n}" for n in range(112)]
CHAT_SIDES = split_groups(CHATS, 6, 6, 0)


def chats(long: int = 0) -> list[dict[str, Any]]:
    """112 chats, 100 of them to be trained on; in `long` of these the answer lies beyond 128 tokens (bytes here)."""
    rows = []
    for n, group in enumerate(CHATS):
        long -= (too_long := long > 0 and CHAT_SIDES[group] == "train")
        asked = prose(("asked", n), 30 if too_long else 4)
        turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": prose(("answer", n), 8)}]
        rows.append({"group": group, "messages": turns})
    return rows


SIX = {"group": "group", "split": {"dev": 6, "test": 6}}


@pytest.mark.parametrize(
    ("long", "code", "status"), [(1, 0, "pass"), (4, 0, "warn"), pytest.param(6, 3, "fail", marks=UNTAUGHT)]
)
def test_rows_whose_answer_is_cut_off(over, capsys, long, code, status):
    rows = chats(long)
    made = over(rows, **SIX)
    assert made.assay("prepare") == code
    found = guard(made, "supervision")
    assert (found.status, found.measured["rows"], found.measured["supervised"]) == (status, 100, 100 - long)
    if status == "fail":
        assert made.failed() == {"supervision"}
        assert made.run.finished("prepare") is None
        said = capsys.readouterr().err
        assert "94 of 100 rows have a token that counts in the loss" in said
        cut = {id_of(row) for row in rows if len(row["messages"][0]["content"]) > 128}
        named = said.partition("(without: ")[2].partition(" and 3 more")[0].split(", ")
        assert len(named) == 3
        assert set(named) <= cut


def id_of(row: dict[str, Any]) -> str:
    turns = [Turn(turn["role"], turn["content"]) for turn in row["messages"]]
    return item_id(row["group"], content_hash("", turns))


def test_rows_that_are_cut_off_are_seen_by_a_longer_length(over):
    made = over(chats(6), **SIX)
    assert made.assay("prepare", "train.max_length=512") == 0
    assert guard(made, "supervision").measured["supervised"] == 100


# The beginning-of-text token twice


CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' ~ m['role'] ~ '\\n' ~ m['content'] ~ eos_token ~ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
BOS = "{{ bos_token }}"


@pytest.mark.parametrize(
    ("template", "code"),
    [
        (CHAT, 0),
        (BOS + CHAT, 0),
        pytest.param(BOS + BOS + CHAT, 3, marks=UNTAUGHT),
        pytest.param("<s>" + BOS + CHAT, 3, marks=UNTAUGHT),
    ],
)
def test_a_chat_template_that_writes_the_beginning_twice(over, base_with_prefix, template, code):
    made = over(chats(), base=str(base_with_prefix), chat_template=template, **SIX)
    assert made.assay("prepare") == code
    assert made.failed() == ({"supervision"} if code else set())
    assert guard(made, "supervision").measured["doubled_prefix"] == (100 if code else 0)


@pytest.mark.parametrize(("start", "code"), [("", 0), pytest.param("<s>", 3, marks=UNTAUGHT)])
@pytest.mark.parametrize("kind", ["text", "pair"])
def test_texts_that_begin_as_the_tokenizer_begins_them(over, base_with_prefix, start, code, kind):
    rows = rows_of(1, 12)
    for row in rows:
        row["text"] = start + row["text"]
        if kind == "pair":
            row |= {"prompt": row.pop("text"), "completion": " and so on"}
    made = over(rows, base=str(base_with_prefix), group="group")
    assert made.assay("prepare") == code
    assert made.failed() == ({"supervision"} if code else set())


# An end of turn that is not learned


MARKED = (
    "{% for m in messages %}{{ '<|im_start|>' ~ m['role'] ~ '\\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}BODY{% endgeneration %}REST{% else %}{{ m['content'] ~ eos_token }}{% endif %}{{ '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.mark.parametrize(
    ("body", "rest", "code"),
    [
        ("{{ m['content'] ~ eos_token }}", "", 0),
        pytest.param("{{ m['content'] }}", "{{ eos_token }}", 3, marks=UNTAUGHT),
        pytest.param("{{ m['content'] }}", "", 3, marks=UNTAUGHT),
    ],
)
def test_an_end_of_turn_outside_of_the_generation(over, base_with_prefix, capsys, body, rest, code):
    template = MARKED.replace("BODY", body).replace("REST", rest)
    made = over(chats(), base=str(base_with_prefix), chat_template=template, **SIX)
    assert made.assay("prepare") == code
    assert made.failed() == ({"supervision"} if code else set())
    ends = guard(made, "supervision").measured["end_of_turn"]
    assert ends["turns"] == 100
    assert ends["supervised"] == (0 if code else 100)
    if code:
        assert "learn to stop" in capsys.readouterr().err


# A prompt that is written in another way when the model is asked


@pytest.mark.parametrize(("asked", "code"), [("assistant", 0), pytest.param("bot", 3, marks=UNTAUGHT)])
def test_a_template_that_asks_in_other_words_than_it_trains(over, base_with_prefix, capsys, asked, code):
    template = MARKED.replace("BODY", "{{ m['content'] ~ eos_token }}").replace("REST", "")
    before, _, behind = template.rpartition("assistant")
    made = over(chats(), base=str(base_with_prefix), chat_template=before + asked + behind, **SIX)
    assert made.assay("prepare") == code
    assert made.failed() == ({"supervision"} if code else set())
    if code:
        assert "have other ids in training than at inference" in capsys.readouterr().err


# Chunks of one chapter on both sides


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 2**32 - 1), by=st.sampled_from(["paragraph", "heading", "length"]), overlap=st.integers(0, 80)
)
def test_chunks_of_one_chapter_are_on_one_side_whatever_the_seed(over, seed, by, overlap):
    chapters = 14
    paragraphs = [[f"In {n} {prose((n, k), 30)}." for k in range(7)] for n in range(chapters)]
    text = "\n\n".join(f"CHAPTER {n + 1}\n\n" + "\n\n".join(own) for n, own in enumerate(paragraphs))
    made = over([])
    (made.folder / "book.txt").write_text(text)
    chunk = {"by": by, "max_bytes": 400, "overlap_bytes": overlap}
    values = [
        "data.source=" + str(made.folder / "book.txt"),
        f"data.chunk={json.dumps(chunk)}",
        f"data.split.seed={seed}",
    ]
    assert made.assay("prepare", *values) == 0
    sides = defaultdict(set)
    for name, own in items(made).items():
        assert own
        for item in own:
            found = {n for n in range(chapters) for k in range(7) if set_of(paragraphs[n][k]) & set_of(item.text)}
            assert len(found) == 1  # no chunk reaches into another chapter
            sides[found.pop()].add(name)
    assert sorted(sides) == list(range(chapters))
    assert all(len(own) == 1 for own in sides.values())
    assert guard(made, "split-leak").status == "pass"


def set_of(text: str) -> set[tuple[str, ...]]:
    """Five words in a row, which no two chapters share."""
    own = text.split()
    return {tuple(own[n : n + 5]) for n in range(len(own) - 4)}


# The order of the rows


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rng=st.randoms(use_true_random=False),
    grouped=st.booleans(),
    train_rows=st.sampled_from([None, 40]),
    duplicates=st.sampled_from(["drop", "keep"]),
    stratify=st.sampled_from([None, "kind"]),
)
def test_the_order_of_the_rows_is_no_matter(over, rng, grouped, train_rows, duplicates, stratify):
    rows = [row | {"kind": rng.choice("abc")} for row in rows_of(2, 30)]
    rows += [row | {"text": near_30(row["text"], n)} for n, row in enumerate(rows[:12])]
    rows += [row | {"group": rng.choice(GROUPS)} for row in rows[60:70]]
    rows += [row | {"group": rng.choice(GROUPS), "text": near_30(row["text"], n)} for n, row in enumerate(rows[80:99])]
    data = {
        "group": "group" if grouped else None,
        "clean": {"duplicates": duplicates},
        "split": {"stratify": stratify, "train_rows": train_rows},
    }
    found = []
    for _ in range(2):
        made = over(rows, **data)
        shutil.rmtree(made.runs, ignore_errors=True)
        assert made.assay("prepare") == 0
        listed = read_manifest(made.run.manifest_rows)
        ids = {name: sorted((row["id"], row["group"], row["sha256"]) for row in own) for name, own in listed.items()}
        counted = read_json(made.run.manifest)["items"]
        found.append((ids, counted["dropped"]))
        rng.shuffle(rows)
    assert found[0] == found[1]
    if train_rows:
        assert len(found[0][0]["train"]) == train_rows


def near_30(text: str, key: object) -> str:
    """The text with another last word: 25 of 27 word 5-grams are the same."""
    return text.rsplit(" ", 1)[0] + f" other{key}"


# Test files of one's own


EXAM = [{"group": f"exam {n}", "text": prose(("exam", n))} for n in range(12)]


@pytest.fixture
def held_apart(over, tmp_path):
    """A function that writes an experiment with an exam of its own."""

    def make(*more: dict[str, Any], side: str = "test", **clean: Any) -> Any:
        write_lines(tmp_path / "held.jsonl", [*EXAM, *more])
        return over(rows_of(1), clean=clean, **apart(tmp_path / "held.jsonl", side))

    return make


@pytest.mark.parametrize("side", ["dev", "test"])
def test_a_file_of_its_own_is_held_out_whole(held_apart, side):
    made = held_apart(side=side)
    assert made.assay("prepare") == 0
    assert {item.text for item in items(made)[side]} == {row["text"] for row in EXAM}
    assert guard(made, "split-leak").status == "pass"


@LEAK
@pytest.mark.parametrize("side", ["dev", "test"])
def test_a_file_that_shares_a_group_with_training_fails(held_apart, side, capsys):
    made = held_apart({"group": TRAINED[0], "text": prose("a page that nobody has read")}, side=side)
    assert made.assay("prepare") == 3
    assert made.failed() == {"split-leak"}
    assert guard(made, "split-leak").measured["kinds"] == {"group": 1}
    assert repr(TRAINED[0]) in capsys.readouterr().err


@pytest.mark.parametrize(
    ("copy", "reason"),
    [(str, "duplicate"), (str.upper, "near-duplicate"), (lambda t: near(t, "one"), "near-duplicate")],
)
def test_a_test_text_that_stands_in_training_too_leaves_the_training(held_apart, copy, reason):
    taken = prose((TRAINED[0], 0))
    made = held_apart({"group": "exam x", "text": copy(taken)})
    assert made.assay("prepare") == 0
    assert counts(made)["dropped"] == {reason: 1}
    assert copy(taken) in {item.text for item in items(made)["test"]}
    assert taken not in {item.text for name in ("train", "dev") for item in items(made)[name]}
    assert guard(made, "split-leak").status == "pass"


@LEAK
def test_a_test_text_that_is_kept_in_training_fails(held_apart):
    made = held_apart({"group": "exam x", "text": prose((TRAINED[0], 0))}, duplicates="keep")
    assert made.assay("prepare") == 3
    assert made.failed() == {"split-leak"}


def test_a_file_cannot_be_trained_on_and_held_out(over, capsys):
    made = over(rows_of(1), split={"test": str(over([]).folder / "rows.jsonl")})
    assert made.assay("prepare") == 2
    assert "is named both by data.source and by data.split.test" in capsys.readouterr().err
