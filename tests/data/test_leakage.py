"""Leaks are pinned to a reference that takes every definition word by word."""

from __future__ import annotations

import errno
import math
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import MachineError
from assay.core.records import Item
from assay.data import grams as grams_module
from assay.data import leakage, postings
from assay.data.grams import Template
from assay.data.leakage import Leak, LeakIndex
from assay.data.words import words


def items(texts: list[str], prefix: str) -> list[Item]:
    return [Item(f"{prefix}{n:04d}", f"{prefix} group {n}", text) for n, text in enumerate(texts)]


def find_leaks(train: Sequence[Item], held: Sequence[Item]) -> list[Leak]:
    """All leaks between items in memory; templates are those of the training items."""
    template = Template.find([[item.text for item in train]], len(train))
    return LeakIndex([held], template).scan([train])


def leaks(train: list[str], held: list[str]) -> list[Leak]:
    return find_leaks(items(train, "t"), items(held, "h"))


def grams(found: list[str], n: int) -> set[tuple[str, ...]]:
    return {tuple(found[i : i + n]) for i in range(len(found) - n + 1)}


def common_run(a: list[str], b: list[str]) -> int:
    best = 0
    for i in range(len(a)):
        for j in range(len(b)):
            k = 0
            while i + k < len(a) and j + k < len(b) and a[i + k] == b[j + k]:
                k += 1
            best = max(best, k)
    return best


def jaccard(a: list[str], b: list[str]) -> float:
    x, y = grams(a, 5), grams(b, 5)
    return len(x & y) / len(x | y) if x and y else 0.0


def reference(train: list[str], held: list[str]) -> set[tuple[str, str]]:
    """(held id, kind) of every leak, from the definitions; of groups and templates there are none here."""
    found = set()
    for n, text in enumerate(held):
        own = words(text)
        others = [words(other) for other in train]
        if any(own == other for other in others):
            found.add((f"h{n:04d}", "hash"))
            continue
        if any(jaccard(own, other) >= 0.8 for other in others):
            found.add((f"h{n:04d}", "jaccard"))
        longest = max((common_run(own, other) for other in others), default=0)
        if longest >= 50:
            found.add((f"h{n:04d}", "run"))
        elif longest >= max(8, math.ceil(0.7 * len(own) - 1e-9)):
            found.add((f"h{n:04d}", "cover"))
    return found


WORDS = ["the", "a", "cat", "dog", "sat", "Ran"]


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[str], list[str]]:
    """Texts with much in common: cut, spliced and mutated out of a few others. Under 10 each, so none is template."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    vocabulary = WORDS if draw(st.booleans()) else [f"w{n}" for n in range(500)]
    bases = [rng.choices(vocabulary, k=rng.choice([6, 9, 12, 30, 70, 120])) for _ in range(4)]

    def derived() -> str:
        text = list(rng.choice(bases))
        start = rng.randrange(len(text))
        text = text[start:] + rng.choice(bases)[: rng.randrange(60)] if rng.random() < 0.5 else text
        for _ in range(rng.choice([0, 0, 1, 2, 5])):
            text[rng.randrange(len(text))] = rng.choice([*vocabulary, "new"])
        return " ".join(text)

    return [derived() for _ in range(draw(st.integers(1, 8)))], [derived() for _ in range(draw(st.integers(1, 8)))]


@settings(max_examples=60, deadline=None)
@given(corpora())
def test_leaks_are_exactly_those_of_the_reference(corpus: tuple[list[str], list[str]]) -> None:
    train, held = corpus
    found = leaks(train, held)
    assert {(leak.held_id, leak.kind) for leak in found} == reference(train, held)
    for leak in found:
        own, other = words(held[int(leak.held_id[1:])]), words(train[int(leak.train_id[1:])])
        if leak.kind == "jaccard":
            assert leak.amount == jaccard(own, other)
        elif leak.kind == "run":
            assert 50 <= leak.amount <= common_run(own, other)
        elif leak.kind == "cover":
            assert 0.7 <= leak.amount <= common_run(own, other) / len(own)
        assert len(leak.passage) <= 200


@settings(max_examples=20, deadline=None)
@given(corpora(), st.randoms())
def test_neither_order_nor_batches_matter(corpus: tuple[list[str], list[str]], rng: random.Random) -> None:
    train, held = items(corpus[0], "t"), items(corpus[1], "h")
    found = find_leaks(train, held)
    rng.shuffle(train)
    rng.shuffle(held)
    with pytest.MonkeyPatch.context() as patch:
        # so little at a time that every loop runs several times
        patch.setattr(grams_module, "PIECE", 50)
        patch.setattr(leakage, "_PART_WORDS", 20)
        patch.setattr(postings, "_HITS", 3)
        cut = rng.randrange(1, len(train) + 1)
        index = LeakIndex(([item] for item in held), Template())
        assert index.scan([train[:cut], [], train[cut:]]) == found
        assert index.scan([train]) == found


def prose(rng: random.Random, count: int) -> str:
    return " ".join(rng.choices([f"w{n}" for n in range(5000)], k=count))


def test_the_jaccard_boundary() -> None:
    # 9 grams each, 8 of them common: 8 ÷ 10 = 0.8 exactly; the item is too short for a run, and cover is reported too.
    text = "one two three four five six seven eight nine ten eleven twelve thirteen"
    near = text.replace("thirteen", "other")
    (cover, similar) = leaks([text], [near])
    assert (cover.kind, similar.kind, similar.amount) == ("cover", "jaccard", 0.8)
    shorter = text.replace(" thirteen", "")
    assert [leak.amount for leak in leaks([shorter], [shorter.replace("twelve", "x")]) if leak.kind == "jaccard"] == []


def test_the_run_boundary_and_its_passage() -> None:
    rng = random.Random(0)
    run = prose(rng, 50)
    train, held = f"{prose(rng, 300)} {run} {prose(rng, 300)}", f"{prose(rng, 80)} {run.upper()}! {prose(rng, 80)}"
    (leak,) = leaks([train], [held])
    assert (leak.kind, leak.amount, leak.train_id) == ("run", 50.0, "t0000")
    assert leak.passage == run[:200]
    assert leaks([train], [held.replace(run.upper(), run.rsplit(" ", 1)[0])]) == []


def test_a_short_item_inside_a_long_one() -> None:
    rng = random.Random(1)
    joke = "Why did the chicken cross the road? To get!"
    long = f"{prose(rng, 200)} why did the chicken cross the road to get {prose(rng, 200)}"
    (leak,) = leaks([long], [joke])
    assert (leak.kind, leak.amount, leak.passage) == ("cover", 1.0, "why did the chicken cross the road to get")
    assert leaks([long], ["Why did the chicken cross the road?"]) == []  # 7 words are no evidence


def test_copies_are_found_through_case_signs_and_width() -> None:
    held = ["Hello, WORLD!", "\uff48\uff45\uff4c\uff4c\uff4f world", "🙂🙂", "!!", "..."]
    found = leaks(["hello world", "🙂🙂", "??"], held)
    assert [(leak.held_id, leak.kind) for leak in found] == [("h0000", "hash"), ("h0001", "hash"), ("h0002", "hash")]


def test_a_shared_group_is_a_leak() -> None:
    (leak,) = find_leaks([Item("t", "Hamlet", "x y z")], [Item("h", "Hamlet", "a b c")])
    assert leak == Leak("h", "t", "group", 1.0, "Hamlet")


@pytest.mark.parametrize("length", [12, 60])
def test_a_template_is_no_leak_and_content_within_it_is(length: int) -> None:
    rng = random.Random(2)
    template = prose(rng, length)

    def filled() -> str:
        return f"{template} {prose(rng, 9)} end of the form that all of them share {prose(rng, 9)}"

    train, held = [filled() for _ in range(40)], [filled() for _ in range(20)]
    assert leaks(train, held) == []
    copied = " ".join(train[7].split()[length : length + 9])
    (leak,) = leaks(train, [f"{template} {copied} end of the form that all of them share"])
    assert (leak.train_id, leak.kind, leak.passage) == ("t0007", "cover", copied)
    assert [leak.kind for leak in leaks(train, [train[3]])] == ["hash"]


def test_nothing_to_compare() -> None:
    assert find_leaks([], []) == []
    assert leaks([], ["a b c"]) == []
    assert leaks(["a b c"], []) == []
    assert leaks(["", "!"], ["a", ""]) == [Leak("h0001", "t0000", "hash", 1.0, "")]


def test_of_many_training_items_the_first_id_is_named_and_its_longest_passage() -> None:
    rng = random.Random(3)
    text = prose(rng, 300).split()

    def near(n: int) -> str:
        return " ".join([*text[:n], "other", *text[n + 1 :]])

    train = items([near(n) for n in range(40, 240)], "t")
    rng.shuffle(train)
    held = items([near(100), near(20), " ".join(text)], "h")
    found = LeakIndex([held], Template()).scan([train])
    assert [(leak.held_id, leak.kind, leak.train_id) for leak in found] == [
        ("h0000", "hash", "t0060"),
        ("h0001", "jaccard", "t0000"),
        ("h0001", "run", "t0000"),
        ("h0002", "jaccard", "t0000"),
        ("h0002", "run", "t0000"),
    ]
    assert [leak.amount for leak in found if leak.kind == "run"] == [259.0, 259.0]
    assert all(leak.passage == " ".join(text[41:])[:200] for leak in found if leak.kind == "run")


def test_what_is_shared_and_too_short_is_no_leak_however_common() -> None:
    rng = random.Random(4)
    phrase = prose(rng, 40)
    texts = [f"{prose(rng, rng.randrange(200))} {phrase} {prose(rng, 200)}" for _ in range(150)]
    train, held = items(texts[:100], "t"), items(texts[100:], "h")
    index = LeakIndex([held], Template())
    assert index.scan([train]) == []
    # the phrase is looked up nowhere: a rarer 8-gram stands for it each time
    grams = leakage._read(items([phrase], "x"), Template()).content.grams(8)
    assert not any(len(at) for at, _ in index._by_gram.find(grams))


def test_a_full_disk_is_said_in_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", full)
    with pytest.raises(MachineError, match="no space left"):
        LeakIndex([items(["a b c"], "h")], Template(), tmp_path)
