from __future__ import annotations

import io
import json
import re
import string
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.core.records import content_hash
from assay.data.arrow import turns_of
from assay.data.clean import Cleaner
from assay.data.intake import SIDES, Gathered, Settings, gather
from assay.data.sources import SourceFile

FIELDS = ("text", "prompt", "completion", "instruction", "input", "output", "messages", "system")
PLAIN: dict[str, Any] = {
    "format": "auto", "fields": dict.fromkeys(FIELDS), "template": None, "system_prompt": None, "group": None,
    "stratify": None, "chunk_by": None, "chunk_bytes": 200, "overlap_bytes": 0, "cleaner": Cleaner(),
    "min_bytes": None, "max_bytes": None, "max_rows": None, "max_bad_rows": 1.0,
}  # fmt: skip


def source(name: str, content: str) -> SourceFile:
    return SourceFile(name, f"/home/me/{name}", partial(io.BytesIO, content.encode()))


def lines(name: str, rows: list[Any]) -> SourceFile:
    return source(name, "".join(json.dumps(row) + "\n" for row in rows))


def taken(folder: Path, *files: SourceFile | tuple[SourceFile, str], **changes: Any) -> Gathered:
    given = [file if isinstance(file, tuple) else (file, "") for file in files]
    return gather(given, Settings(**(PLAIN | changes)), folder)


def contents(found: Gathered) -> list[str]:
    return [text for batch in found.spill.texts() for text in batch]


def places(found: Gathered) -> list[str]:
    return found.spill.fetch(range(len(found)), "place")


def groups(found: Gathered) -> list[str]:
    names = list(found.groups)
    return [names[number] for number in found.group]


def chat(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


# Rows of a table


def test_a_row_becomes_an_item(tmp_path: Path) -> None:
    rows = [{"text": "One né.", "play": "Hamlet", "kind": 1}, {"text": "Two.", "play": " Othello ", "kind": True}]
    found = taken(tmp_path, lines("a.jsonl", rows), group="play", stratify="kind")
    assert contents(found) == ["One né.", "Two."]
    assert places(found) == ["a.jsonl:1", "a.jsonl:2"]  # not where it lies
    assert groups(found) == ["Hamlet", "Othello"]
    assert list(found.strata) == ["1", "True"]
    assert [SIDES[side] for side in found.side] == ["", ""]
    assert list(found.size) == [8, 4]
    assert [found.digest(n).hex() for n in range(2)] == [content_hash("One né."), content_hash("Two.")]
    assert found.layout is not None
    assert (found.layout.format, found.layout.unused) == ("text", ("play", "kind"))


def test_turns_are_kept_and_hashed(tmp_path: Path) -> None:
    found = taken(tmp_path, lines("a.jsonl", [{"messages": chat("Why?", "So.")}]), system_prompt="Be kind.")
    (batch,) = found.spill.batches()
    (turns,) = turns_of(batch.column("turns"))
    assert [tuple(turn) for turn in turns] == [("system", "Be kind."), ("user", "Why?"), ("assistant", "So.")]
    assert contents(found) == ["Why?\nSo."]
    assert found.digest(0).hex() == content_hash("", turns)


def test_without_a_rule_a_row_is_a_group_named_by_its_content(tmp_path: Path) -> None:
    rows = [{"text": "One."}, {"text": "Two."}, {"text": "One."}]
    found = taken(tmp_path, lines("a.jsonl", rows))
    assert groups(found)[0] == groups(found)[2] == f"row {content_hash('One.')[:16]}"
    assert len(found.groups) == 2


def test_files_and_blocks_as_groups(tmp_path: Path) -> None:
    files = [lines(name, [{"text": f"{name} {n}"} for n in range(4)]) for name in ("a.jsonl", "b.jsonl")]
    assert groups(taken(tmp_path, *files, group={"file": True})) == ["a"] * 4 + ["b"] * 4
    found = taken(tmp_path, *files, group={"blocks": 4})
    assert groups(found) == [f"block {1 + n // 2}" for n in range(8)]
    assert list(found.groups) == [f"block {n}" for n in range(1, 5)]
    few = taken(tmp_path, *files, group={"blocks": 40})
    assert few.rule is not None
    assert few.rule.rule == {"blocks": 8}
    assert "40 blocks were wanted, the text makes 8" in few.rule.reason


def test_no_block_reaches_over_two_sides_or_ends_within_a_row(tmp_path: Path) -> None:
    text = "A sentence of some words. " * 6
    files = [
        (lines(f"{side or 'a'}.jsonl", [{"text": f"{side} {n} {text}"} for n in range(7)]), side) for side in SIDES
    ]
    found = taken(tmp_path, *files, group={"blocks": 6}, chunk_by="length", chunk_bytes=60)
    named, rows = groups(found), [place.partition(",")[0] for place in places(found)]
    assert list(found.groups) == [f"block {n}" for n in range(1, 7)]
    assert len(set(zip(rows, named, strict=True))) == 21
    sides = sorted({(name, SIDES[side]) for name, side in zip(named, found.side, strict=True)})
    assert [side for _, side in sides] == ["", "", "dev", "dev", "test", "test"]


def test_the_order_of_sides_and_their_rows(tmp_path: Path) -> None:
    files = [
        (lines(f"{side or 'a'}.jsonl", [{"text": f"{side} one"}, {"text": f"{side} two"}]), side) for side in SIDES
    ]
    found = taken(tmp_path, *files, max_rows=1)
    assert contents(found) == [" one", "dev one", "dev two", "test one", "test two"]  # all of what is held out
    assert [SIDES[side] for side in found.side] == ["", "dev", "dev", "test", "test"]
    assert found.rows.as_json()["dropped"] == {"beyond-max-rows": 1}


def test_only_rows_that_are_kept_count_as_read(tmp_path: Path) -> None:
    rows = [{"text": ""}, {"text": "One."}, {"text": " "}, {"text": "Two."}, {"text": "Three."}, {"text": ""}]
    found = taken(tmp_path, lines("a.jsonl", rows), max_rows=2)
    assert contents(found) == ["One.", "Two."]
    assert found.rows.as_json()["dropped"] == {"beyond-max-rows": 2, "empty": 2}


# Texts


def test_texts_are_items_by_file_heading_or_block(tmp_path: Path) -> None:
    body = "It was a dark night, and the rain fell in torrents. " * 4
    book = "\n\n".join(f"CHAPTER {n}\n\n{body}{n}." for n in range(1, 5))
    found = taken(tmp_path, source("a.txt", book))
    assert groups(found) == [f"CHAPTER {n}" for n in range(1, 5)]
    assert places(found) == [f"a.txt (CHAPTER {n})" for n in range(1, 5)]
    three = taken(tmp_path, *(source(f"{n}.txt", body + n) for n in "abc"))
    assert groups(three) == ["a", "b", "c"]
    assert contents(three) == [body + n for n in "abc"]
    plain = taken(tmp_path, source("a.txt", "\n\n".join(f"{body}{n}" for n in range(50))))
    assert len(plain.groups) == 40
    held = taken(tmp_path, source("a.txt", book), (source("b.txt", body), "test"), group={"file": True})
    assert [(group, SIDES[side]) for group, side in zip(groups(held), held.side, strict=True)] == [
        ("a", ""), ("b", "test"),
    ]  # fmt: skip


def test_a_heading_with_nothing_under_it_is_counted(tmp_path: Path) -> None:
    body = "Some words of prose, and then some more. " * 6
    book = f"# One\n\n{body}\n\n# Two\n\n# Three\n\n{body}"
    found = taken(tmp_path, source("a.md", book), group={"heading": "^# "})
    assert groups(found) == ["One", "Three"]
    counted = found.items.as_json()
    assert counted["in"] == counted["kept"] + sum(counted["dropped"].values()) == 3
    assert counted["dropped"] == {"heading-without-body": 1}
    with pytest.raises(InputError, match="no text is left of 1 row: 2 x heading-without-body") as caught:
        taken(tmp_path, source("a.md", "# One\n\n# Two\n"), group={"heading": "^# "})
    assert caught.value.fix == "name another data.group, or loosen data.clean"


# Chunks


@settings(max_examples=60)
@given(
    st.lists(st.text(string.ascii_lowercase + "  .\n", max_size=120), min_size=1, max_size=4),
    st.sampled_from(["paragraph", "heading", "length"]),
    st.integers(0, 20),
    st.integers(1, 30),
)
def test_chunks_are_the_text_and_repeat_only_their_overlap(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str], by: str, overlap: int, least: int
) -> None:
    rows = [{"text": "A first row, which is long enough.", "n": "g"}]
    rows += [{"text": text, "n": f"g{n}"} for n, text in enumerate(texts)]
    how = {"chunk_by": by, "chunk_bytes": 50, "overlap_bytes": overlap, "group": "n", "min_bytes": least}
    found = taken(tmp_path_factory.mktemp("a"), lines("a.jsonl", rows), **how)
    counted = found.items.as_json()
    assert counted["in"] == counted["kept"] + sum(counted["dropped"].values())
    assert set(counted["dropped"]) <= {"too-short"}
    own, at = [], 0
    for batch in found.spill.batches():
        for text, over in zip(*(batch.column(name).to_pylist() for name in ("text", "overlap")), strict=True):
            assert found.size[at] == len(text[over:].encode()) >= least
            assert found.digest(at).hex() == content_hash(text[over:])
            assert len(text[:over].encode()) <= overlap
            own.append(text[over:])
            at += 1
    assert len(own) == counted["kept"]
    if counted["kept"] == counted["in"]:
        kept = [row["text"] for row in rows if row["text"].strip()]
        assert "".join(own) == "".join(kept)
    assert re.fullmatch(r"a\.jsonl:1, chunk 1", places(found)[0])


def test_only_plain_texts_are_cut(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jsonl:1: data\.chunk cuts plain texts"):
        taken(tmp_path, lines("a.jsonl", [{"messages": chat("Why?", "So.")}]), chunk_by="length")


# What is dropped

KINDS: dict[str, tuple[Any, str | None]] = {
    "sound": ([*chat("Say something, please.", "Something that is long enough.")], None),
    "wizard": ([{"role": "wizard", "content": "Hm."}], "unknown-role"),
    "answers first": ([*chat("a", "b")][::-1], "assistant-first"),
    "says nothing": (chat("Say something.", " "), "empty-turn"),
    "forbidden": (chat("Say something.", "As a language model I cannot."), "drop-match"),
    "short": (chat("a", "b"), "too-short"),
    "long": (chat("a", "b" * 300), "too-long"),
}


@settings(max_examples=60)
@given(st.lists(st.sampled_from(sorted(KINDS)), max_size=20), st.integers(0, 20), st.sampled_from([0.0, 0.3, 1.0]))
def test_every_row_is_kept_or_counted_with_its_reason(
    tmp_path_factory: pytest.TempPathFactory, kinds: list[str], at: int, most: float
) -> None:
    kinds = [*kinds[:at], "sound", *kinds[at:]]
    rows = [{"messages": KINDS[kind][0]} for kind in kinds]
    rows[0]["messages"] = KINDS[kinds[0]][0]
    how = {"format": "messages", "cleaner": Cleaner(drop=["language model"]), "min_bytes": 10, "max_bytes": 200}
    bad = sum(KINDS[kind][1] in ("unknown-role", "assistant-first", "empty-turn") for kind in kinds)
    folder = tmp_path_factory.mktemp("a")
    if bad / len(kinds) > most:
        with pytest.raises(InputError, match=f"{bad} of {len(kinds)} rows are malformed"):
            taken(folder, lines("a.jsonl", rows), max_bad_rows=most, **how)
        return
    found = taken(folder, lines("a.jsonl", rows), max_bad_rows=most, **how)
    count = Counter(KINDS[kind][1] for kind in kinds)
    by_length = {reason: count[reason] for reason in ("too-short", "too-long") if count[reason]}
    counted, items = found.rows.as_json(), found.items.as_json()
    assert (counted["in"], counted["bad"]) == (len(kinds), bad)
    assert counted["dropped"] == {reason: n for reason, n in count.items() if reason and reason not in by_length}
    assert items["in"] == counted["kept"]
    assert items["dropped"] == by_length
    assert len(found) == items["kept"] == len(found.spill) == len(found.digests) // 32 == count[None]


def test_a_dropped_row_is_shown_with_its_place_and_start(tmp_path: Path) -> None:
    rows = [{"text": "One."}, {"text": "Two, and  more."}, {"text": ""}]
    found = taken(tmp_path, lines("a.jsonl", rows), cleaner=Cleaner(drop=["more"]), min_bytes=3)
    examples = found.rows.as_json()["examples"]
    assert examples["drop-match"] == [{"where": "a.jsonl:2", "detail": "more", "text": "Two, and more."}]
    assert examples["empty"] == [{"where": "a.jsonl:3", "detail": "", "text": ""}]


# What is refused


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"group": "play", "max_bad_rows": 0.01},
            ["1 of 3 rows", "1 x no-group", "a.jsonl:2", "'play'", "data.max_bad_rows"],
        ),
        ({"stratify": "kind"}, ["/home/me/a.jsonl:3", "row 3", "a list", "'kind'", "data.split.stratify"]),
        ({"group": "genre"}, ["'genre'", "data.group", "play"]),
        ({"group": {"heading": "^#"}}, ["data.group", "this is a table"]),
        ({"min_bytes": 100}, ["no text is left of 3 rows: 3 x too-short", "/home/me/a.jsonl"]),
        ({"cleaner": Cleaner(drop=["."])}, ["no text is left of 3 rows: 3 x drop-match"]),
    ],
)
def test_faults_of_a_table(tmp_path: Path, changes: dict[str, Any], words: list[str]) -> None:
    rows = [
        {"text": "One.", "play": "Hamlet", "kind": "a"}, {"text": "Two.", "play": None, "kind": "b"},
        {"text": "Three.", "play": "Othello", "kind": ["c"]},
    ]  # fmt: skip
    with pytest.raises(InputError) as caught:
        taken(tmp_path, lines("a.jsonl", rows), **changes)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert caught.value.fix


def test_tables_and_texts_do_not_mix(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mixes a table \(a\.jsonl\) with a text \(b\.txt\)"):
        taken(tmp_path, lines("a.jsonl", [{"text": "One."}]), source("b.txt", "Two."))
    with pytest.raises(InputError, match="the source is a text and has none"):
        taken(tmp_path, source("b.txt", "Two."), stratify="kind")
    with pytest.raises(InputError, match=r"data\.group names a column"):
        taken(tmp_path, source("b.txt", "Two."), group="play")


def test_malformed_rows_of_held_out_files_count_too(tmp_path: Path) -> None:
    sound = [{"messages": chat(f"{n}?", "So.")} for n in range(9)]
    broken = lines("test.jsonl", [{"messages": [{"role": "wizard", "content": "Hm."}]}])
    with pytest.raises(InputError, match=r"1 of 10 rows are malformed \(10\.0%\).*test\.jsonl:1"):
        taken(tmp_path, lines("a.jsonl", sound), (broken, "test"), max_bad_rows=0.09)


def test_rows_that_are_not_read_do_not_hide_malformed_ones(tmp_path: Path) -> None:
    rows = [
        {"messages": [{"role": "wizard", "content": "Hm."}]},
        *({"messages": chat(f"{n}?", "So.")} for n in range(99)),
    ]
    with pytest.raises(InputError, match="1 of 11 rows are malformed"):
        taken(tmp_path, lines("a.jsonl", rows), format="messages", max_rows=10, max_bad_rows=0.05)
