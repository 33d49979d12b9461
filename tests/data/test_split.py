from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.formats import Document
from assay.data.split import make_items, split_groups

BODY = "It was a dark night, and the rain fell in torrents. " * 5


def row(text: str, index: int = 1, name: str = "a.csv", **columns: str) -> Document:
    return Document(name, text, columns, index, "row")


def file(name: str, text: str) -> Document:
    return Document(name, text, {}, 0, "file")


def groups_of(docs: list[Document], rule: object = None) -> list[str]:
    return [item.group for item in make_items(docs, rule)[0]]  # type: ignore[arg-type]


def refused(docs: list[Document], rule: object) -> str:
    with pytest.raises(InputError) as caught:
        make_items(docs, rule)  # type: ignore[arg-type]
    assert "fix: " in str(caught.value)
    return str(caught.value)


def test_ids_are_hashes_of_group_and_text_and_copies_are_numbered() -> None:
    items, _ = make_items([row(t, g=g) for t, g in [("x", "a"), ("x", "b"), ("x", "a"), ("y", "c"), ("x", "a")]], "g")
    stem = hashlib.sha256(b"a\nx").hexdigest()[:16]
    assert [item.id for item in items if item.group == "a"] == [stem, f"{stem}-2", f"{stem}-3"]
    assert len({item.id for item in items}) == 5


def test_default_rules() -> None:
    tables = [row(str(n), n + 1) for n in range(100)]
    items, used = make_items(tables, None)
    assert used["rule"] == {"blocks": 40}
    assert "table" in used["reason"]
    assert len({item.group for item in items}) == 40
    plays = [file(f"{name}.md", BODY) for name in ("hamlet", "lear", "macbeth")]
    assert make_items(plays, None)[1]["rule"] == {"file": True}
    assert groups_of(plays) == ["hamlet", "lear", "macbeth"]
    novel = [file("novel.txt", "".join(f"Chapter {n}\n{BODY}\n" for n in range(1, 8)))]
    items, used = make_items(novel, None)
    assert "heading" in used["rule"]
    assert "Chapter 1" in used["reason"]
    assert [item.group for item in items] == [f"Chapter {n}" for n in range(1, 8)]
    plain = [file("plain.txt", "\n\n".join(f"paragraph {n}" for n in range(100)))]
    items, used = make_items(plain, None)
    assert used["rule"] == {"blocks": 40}
    assert [item.group for item in items][:2] == ["block 01", "block 02"]
    assert "\n\n".join(item.text for item in items) == plain[0].text


def test_fewer_rows_than_blocks_is_said() -> None:
    _, used = make_items([row(str(n)) for n in range(5)], None)
    assert used["rule"] == {"blocks": 5}
    assert "40 blocks were wanted" in used["reason"]


def test_two_texts_share_the_blocks_by_their_size() -> None:
    text = "\n\n".join(f"paragraph {n:03d}" for n in range(60))
    counts = Counter(
        group.split("/")[0] for group in groups_of([file("a.txt", text), file("b.txt", text[: len(text) // 3])])
    )
    assert counts == {"a": 30, "b": 10}


def test_headings_of_several_files_are_told_apart() -> None:
    text = "".join(f"# {n}\n{BODY}\n" for n in "xyz")
    assert groups_of([file("a.md", text), file("b.md", text)], {"heading": "^# "})[2:4] == ["a/z", "b/x"]


def test_names_keep_their_ending_where_it_tells_them_apart() -> None:
    docs = [file(name, BODY + name) for name in ("a.txt", "a.md", "b.txt")]
    assert groups_of(docs, {"file": True}) == ["a.txt", "a.md", "b.txt"]


def test_a_column_groups_rows_across_files() -> None:
    docs = [row("1", g=" a "), row("2", g="b"), row("3", name="b.csv", g="a"), row("4", g="c")]
    assert groups_of(docs, "g") == ["a", "b", "a", "c"]


def test_faults_of_rules() -> None:
    docs = [row(str(n), n, genre="g") for n in range(1, 9)]
    message = refused(docs, "gnere")
    assert "no column 'gnere'" in message
    assert "--set data.group=genre" in message
    assert "a.csv" in refused([*docs, row("x", 9, genre=" ")], "genre")
    assert "row 9 has no value in the column 'genre'" in refused([*docs, row("x", 9, genre=" ")], "genre")
    assert "1 group by 'genre'" in refused(docs, "genre")
    assert "3 in all" in refused(docs, "genre")
    assert "this is a table" in refused(docs, {"heading": "^#"})
    assert "is a text and has none" in refused([file("a.txt", BODY)], "genre")
    assert "1 group by {'file': True}" in refused([file("a.txt", BODY)], {"file": True})
    assert "0 groups" in refused([file("a.txt", BODY)], {"heading": "^Chapter"})
    assert "1 x before-first-heading" in refused([file("a.txt", BODY)], {"heading": "^Chapter"})
    assert "regular expression" in refused([file("a.txt", BODY)], {"heading": "["})
    assert "1 group" in refused([file("a.txt", "one line only")], None)
    assert "2 groups" in refused([row("x"), row("y")], None)


names = st.lists(st.text(min_size=1, max_size=4), min_size=3, max_size=80, unique=True)
shares = st.floats(0.01, 0.97)


@given(names, shares, shares, st.integers(0, 2**32), st.randoms())
def test_split_has_its_shares_and_ignores_order(
    groups: list[str], dev: float, test: float, seed: int, rng: random.Random
) -> None:
    if dev + test >= 1:
        dev, test = dev / 2, test / 2
    found = split_groups(groups, dev, test, seed)
    count = Counter(found.values())
    assert set(found) == set(groups)
    assert min(count[name] for name in ("train", "dev", "test")) >= 1
    for name, share in (("dev", dev), ("test", test)):
        assert abs(count[name] - share * len(groups)) <= 1 or count["train"] == 1
    shuffled = groups * 2
    rng.shuffle(shuffled)
    assert split_groups(shuffled, dev, test, seed) == found


def test_split_by_hand() -> None:
    groups = [f"Chapter {n}" for n in range(28)]
    assert Counter(split_groups(groups, 0.1, 0.2, 0).values()) == {"train": 19, "dev": 3, "test": 6}
    assert Counter(split_groups("abc", 0.1, 0.2, 0).values()) == {"train": 1, "dev": 1, "test": 1}
    order = sorted("abcdefghij", key=lambda group: hashlib.sha256(f"7:{group}".encode()).hexdigest())
    found = split_groups("abcdefghij", 0.1, 0.25, 7)
    assert [group for group in order if found[group] == "test"] == order[:3]
    assert found[order[3]] == "dev"
    assert found != split_groups("abcdefghij", 0.1, 0.25, 8)
    with pytest.raises(InputError, match="2 groups"):
        split_groups(["a", "b", "a"], 0.1, 0.2, 0)


texts = st.lists(st.tuples(st.sampled_from("abcde"), st.text(min_size=1, max_size=5)), min_size=5, max_size=40)


@given(texts, st.randoms())
def test_ids_and_groups_ignore_the_order_of_rows_and_files(pairs: list[tuple[str, str]], rng: random.Random) -> None:
    pairs = [*pairs, ("a", "x"), ("b", "x"), ("c", "x")]
    shuffled = list(pairs)
    rng.shuffle(shuffled)

    def items(given: list[tuple[str, str]], rule: object) -> list[tuple[str, str, str]]:
        by_column = [row(text, g=group) for group, text in given]
        by_file = [row(text, name=f"{group}.csv") for group, text in given]
        chosen = by_column if rule == "g" else by_file
        return sorted((item.id, item.group, item.text) for item in make_items(chosen, rule)[0])  # type: ignore[arg-type]

    assert items(pairs, "g") == items(shuffled, "g")
    assert items(pairs, {"file": True}) == items(shuffled, {"file": True}) == items(pairs, "g")


@given(st.permutations(["a", "b", "c", "d"]))
def test_heading_groups_ignore_the_order_of_files(order: list[str]) -> None:
    def items(files: list[str]) -> list[str]:
        docs = [file(f"{name}.md", "".join(f"# {n}\n{name}{BODY}\n" for n in "xx")) for name in files]
        return sorted(item.id for item in make_items(docs, {"heading": "^#"})[0])

    assert items(order) == items(sorted(order))
