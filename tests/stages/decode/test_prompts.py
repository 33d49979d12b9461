"""Prompts from held-out texts: whose groups they are of, and what follows them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from assay.core.errors import InputError
from assay.core.records import Item, Turn, item_id
from assay.core.rundir import RunDir
from assay.data.items import write_items
from assay.stages.decode.prompts import HUMAN_TEXTS, Case, Source, check_apart


def prose(group: str, words: int = 3000) -> Item:
    text = "".join(f"{group}{n} " + ("\n" if n % 9 == 8 else "") for n in range(words))
    return Item(item_id(group, text), group, text)


def chat(group: str, n: int) -> Item:
    turns = (Turn("system", "Be kind."), Turn("user", f"Ask {n}?"), Turn("assistant", f"Answer {n} of {group}."))
    return Item(item_id(group, str(n)), group, turns[-1].text, turns)


def source(tmp_path: Path, items: list[Item], **more: int) -> Source:
    run = RunDir(tmp_path)
    run.data.mkdir(exist_ok=True)
    write_items(run.split("dev"), [items])
    values = {"groups": 16, "per_group": 2, "words": 12, "tokens": 20, "seed": 0} | more
    return Source(run, **values)


def test_a_prompt_is_the_very_beginning_of_a_passage_and_the_human_text_what_follows(tmp_path: Path) -> None:
    item = prose("a")
    cases = source(tmp_path, [item]).cases("held-out", "dev")
    assert len(cases) == 2
    for case in cases:
        assert len(case.text.split()) == 12
        assert case.text + str(case.human) in item.text
        assert not case.answers
    assert cases[0].text != cases[1].text


def test_each_group_gives_so_many_and_so_many_groups_are_taken(tmp_path: Path) -> None:
    items = [prose(name) for name in "abcdefgh"]
    cases = source(tmp_path, items, groups=5, per_group=3).cases("held-out", "dev")
    counts = Counter(case.group for case in cases)
    assert len(counts) == 5
    assert set(counts.values()) == {3}
    assert cases == source(tmp_path, items[::-1], groups=5, per_group=3).cases("held-out", "dev")
    other = source(tmp_path, items, groups=5, per_group=3, seed=1).cases("held-out", "dev")
    assert {case.group for case in other} != set(counts)


def test_chats_are_asked_and_answered_as_they_were(tmp_path: Path) -> None:
    (case, *_) = source(tmp_path, [chat("a", n) for n in range(3)]).cases("held-out", "dev")
    assert case.text.startswith("Ask ")
    assert case.system == "Be kind."
    assert str(case.human).startswith("Answer ")
    assert case.answers


def test_human_texts_are_as_many_as_the_groups_can_give(tmp_path: Path) -> None:
    people = source(tmp_path, [prose(name, 20_000) for name in "abcd"]).people()
    counts = Counter(case.group for case in people)
    assert set(counts) == set("abcd")
    assert HUMAN_TEXTS <= len(people) <= HUMAN_TEXTS + 4


def test_texts_that_end_with_their_prompt_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no dev text is long enough"):
        source(tmp_path, [Item("1", "a", "too few words")]).cases("held-out", "dev")


def test_named_prompts_are_groups_of_their_own(tmp_path: Path) -> None:
    listed = source(tmp_path, [prose("a")]).cases(["Once", "Then"], "dev")
    assert [(case.group, case.text, case.human) for case in listed] == [
        ("prompt-1", "Once", None), ("prompt-2", "Then", None),
    ]  # fmt: skip
    suite = source(tmp_path, [prose("a")]).cases("stories", "dev")
    assert len({case.group for case in suite}) == len(suite) > 3
    file = tmp_path / "p.txt"
    file.write_text("One\nTwo\n")
    assert [case.text for case in source(tmp_path, [prose("a")]).cases(str(file), "dev")] == ["One", "Two"]


def test_a_prompt_cannot_choose_and_confirm() -> None:
    one, two = Case("1", "a", "Once"), Case("2", "b", " Once ")
    check_apart([one], [Case("2", "b", "Twice")])
    with pytest.raises(InputError, match="1 prompts stand in both sets"):
        check_apart([one], [two])
