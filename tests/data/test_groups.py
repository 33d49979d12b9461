from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.groups import Repeats, Text, file_groups, table_rule, text_pieces, text_rule
from assay.data.tally import Drop

BODY = "It was a dark night, and the rain fell in torrents. " * 5


def pieces(texts: list[Text], rule: object = None) -> list[tuple[str, str]]:
    decided = text_rule(rule, texts).rule  # type: ignore[arg-type]
    assert isinstance(decided, dict)
    return [(group, piece) for _, group, piece in text_pieces(texts, decided) if not isinstance(piece, Drop)]


def test_a_table_without_a_rule_is_grouped_by_row() -> None:
    decided = table_rule(None)
    assert decided.rule == {"row": True}
    assert "table" in decided.reason
    assert table_rule("title").rule == "title"
    with pytest.raises(InputError, match="this is a table"):
        table_rule({"heading": "^#"})


def test_default_rules_of_texts() -> None:
    plays = [Text(f"{name}.md", BODY) for name in ("hamlet", "lear", "macbeth")]
    assert text_rule(None, plays).rule == {"file": True}
    assert [group for group, _ in pieces(plays)] == ["hamlet", "lear", "macbeth"]
    novel = [Text("novel.txt", "".join(f"Chapter {n}\n{BODY}\n" for n in range(1, 8)))]
    decided = text_rule(None, novel)
    assert "heading" in decided.rule
    assert "Chapter 1" in decided.reason
    assert [group for group, _ in pieces(novel)] == [f"Chapter {n}" for n in range(1, 8)]
    plain = [Text("plain.txt", "\n\n".join(f"paragraph {n}" for n in range(100)))]
    assert text_rule(None, plain).rule == {"blocks": 40}
    assert [group for group, _ in pieces(plain)][:2] == ["block 01", "block 02"]
    assert "\n\n".join(piece for _, piece in pieces(plain)) == plain[0].text


def test_two_texts_share_the_blocks_by_their_size() -> None:
    text = "\n\n".join(f"paragraph {n:03d}" for n in range(60))
    found = pieces([Text("a.txt", text), Text("b.txt", text[: len(text) // 3])])
    assert Counter(group.split("/")[0] for group, _ in found) == {"a": 30, "b": 10}


def test_headings_of_several_files_are_told_apart() -> None:
    text = "".join(f"# {n}\n{BODY}\n" for n in "xyz")
    found = [group for group, _ in pieces([Text("a.md", text), Text("b.md", text)], {"heading": "^# "})]
    assert found[2:4] == ["a/z", "b/x"]


def test_pieces_that_a_heading_leaves_out_come_with_their_reason() -> None:
    texts = [Text("a.txt", f"a title\n\nChapter I\nChapter II\n{BODY}")]
    found = [piece for _, _, piece in text_pieces(texts, {"heading": "^Chapter"})]
    assert [piece.reason for piece in found if isinstance(piece, Drop)] == [
        "before-first-heading", "heading-without-body",
    ]  # fmt: skip


def test_names_keep_their_ending_where_it_tells_them_apart() -> None:
    assert file_groups(["a.txt", "a.md", "b.txt"]) == ["a.txt", "a.md", "b.txt"]
    assert file_groups(["a.jsonl.gz", "b.csv"]) == ["a", "b"]


def test_a_column_is_refused_for_a_text_and_a_broken_heading_too() -> None:
    with pytest.raises(InputError, match="is a text and has none"):
        text_rule("genre", [Text("a.txt", BODY)])
    with pytest.raises(InputError, match="regular expression"):
        list(text_pieces([Text("a.txt", BODY)], {"heading": "["}))


@given(st.permutations(["a", "b", "c", "d"]))
def test_heading_groups_ignore_the_order_of_files(order: list[str]) -> None:
    def found(files: list[str]) -> list[tuple[str, str]]:
        texts = [Text(f"{name}.md", "".join(f"# {n}\n{name}{BODY}\n" for n in "xx")) for name in files]
        return sorted(pieces(texts, {"heading": "^#"}))

    assert found(order) == found(sorted(order))


def test_repeating_columns_are_found() -> None:
    repeats = Repeats()
    for number in range(300):
        repeats.add(
            {
                "id": number,
                "title": f"story {number % 50}",
                "episodes": str(number % 40),
                "split": "train",
                "score": 0.5,
                "ok": True,
            }
        )
    assert repeats.found() == [{"column": "title", "values": 50, "largest": 6}]
