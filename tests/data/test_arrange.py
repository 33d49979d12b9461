from __future__ import annotations

import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.core.records import content_hash
from assay.data.arrange import DROPPED, Arranged, Duplicates, arrange, same
from assay.data.grams import Template
from assay.data.intake import SIDES, Gathered
from assay.data.spill import Spill, Spilled
from assay.data.split import SPLITS

WORDS = [f"w{n}" for n in range(500)]


class Given(NamedTuple):
    """An item as it is gathered."""

    text: str
    group: str
    stratum: str = ""
    side: str = ""


def gathered(items: list[Given], folder: Path) -> Gathered:
    found = Gathered(Spill(folder / "items.arrow"))
    for number, item in enumerate(items):
        found.items.keep()
        found.group.append(found.groups.setdefault(item.group, len(found.groups)))
        found.stratum.append(found.strata.setdefault(item.stratum, len(found.strata)))
        found.side.append(SIDES.index(item.side))
        found.size.append(len(item.text))
        found.digests += bytes.fromhex(content_hash(item.text))
        found.spill.add(Spilled(item.text, (), f"row {number}"))
    found.spill.close()
    return found


def arranged(items: list[Given], folder: Path, *, drop: bool = True, near: bool = True, **how: Any) -> Any:
    """The split of each item by its place, the group's name of each, and the count."""
    own = gathered(items, folder)
    duplicates = Duplicates(own, drop=drop)
    duplicates.exact()
    if near:
        duplicates.near(0.8, Template())
    settings = {"dev": 0.2, "test": 0.2, "seed": 0, "stratified": False} | how
    found: Arranged = arrange(own, duplicates, **settings)
    own.items.check()
    assert own.items.kept == int((found.split != DROPPED).sum())
    names = [found.names[number] for number in found.group]
    sides = [None if number == DROPPED else SPLITS[number] for number in found.split.tolist()]
    return sides, names, dict(own.items.dropped)


def prose(number: int, kind: int = 0) -> str:
    """Text `number`; of another kind nearly the same, and longer or shorter by a letter."""
    own = random.Random(number).choices(WORDS, k=40)
    return " ".join([*own[:-1], own[-1] + "x" * kind])


# Texts of few kinds in few groups, given for any side: much is equal, nearly equal, or bound together.
items_ = st.lists(
    st.builds(
        Given,
        st.builds(prose, st.integers(0, 30), st.integers(0, 2)),
        st.sampled_from([f"g{n:02}" for n in range(14)]),
        st.sampled_from("abc"),
        st.sampled_from(["", "", "", "", "dev", "test"]),
    ),
    min_size=20,
    max_size=60,
)
MANY = [Given(prose(1000 + n), f"many {n}") for n in range(12)]  # so that there is always something to split


@settings(max_examples=25)
@given(items_)
def test_of_equal_and_nearly_equal_texts_the_best_is_kept(
    tmp_path_factory: pytest.TempPathFactory, items: list[Given]
) -> None:
    items = items + MANY
    sides, names, dropped = arranged(items, tmp_path_factory.mktemp("a"))
    clusters = defaultdict(list)
    for number, item in enumerate(items):
        clusters[item.text.rstrip("x")].append(number)  # all of a cluster are equal or nearly so
    lost = 0
    for members in clusters.values():
        (kept,) = [number for number in members if sides[number] is not None]
        best = max(SIDES.index(items[number].side) for number in members)
        assert SIDES.index(items[kept].side) == best
        longest = max(len(items[number].text) for number in members if SIDES.index(items[number].side) == best)
        assert len(items[kept].text) == longest
        assert sides[kept] == (items[kept].side or sides[kept])
        lost += len(members) - 1
    assert sum(dropped.values()) == lost
    assert set(dropped) <= {"duplicate", "near-duplicate"}
    by_group = defaultdict(set)
    for item, side in zip(items, sides, strict=True):
        if side is not None and item.side == "":
            by_group[item.group].add(side)
    assert all(len(found) == 1 for found in by_group.values())
    assert names == [item.group for item in items]


@settings(max_examples=25)
@given(items_)
def test_what_is_kept_stays_together(tmp_path_factory: pytest.TempPathFactory, items: list[Given]) -> None:
    items = [item._replace(side="") for item in items] + MANY
    sides, names, dropped = arranged(items, tmp_path_factory.mktemp("a"), drop=False)
    assert dropped == {}
    united: dict[str, str] = {item.group: item.group for item in items}  # by hand: the least name of all that meet
    for _ in range(len(united)):
        for key in ("text", "group"):
            least: dict[str, str] = {}
            for item in items:
                value = item.text.rstrip("x") if key == "text" else item.group
                least[value] = min(least.get(value, "~"), united[item.group])
            for item in items:
                value = item.text.rstrip("x") if key == "text" else item.group
                united[item.group] = min(united[item.group], least[value])
    assert names == [united[item.group] for item in items]
    assert len(set(zip(names, sides, strict=True))) == len(set(names))


@settings(max_examples=25)
@given(items_, st.randoms(use_true_random=False), st.booleans(), st.booleans())
def test_the_order_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory,
    items: list[Given],
    rng: random.Random,
    drop: bool,
    stratified: bool,
) -> None:
    items = items + MANY
    found = []
    for _ in range(2):
        sides, names, dropped = arranged(items, tmp_path_factory.mktemp("a"), drop=drop, stratified=stratified)
        listed = [(i.text, name, side) for i, name, side in zip(items, names, sides, strict=True) if side is not None]
        found.append((sorted(listed), dropped))
        rng.shuffle(items)
    assert found[0] == found[1]


def test_a_stratum_gives_its_share(tmp_path: Path) -> None:
    items = [Given(prose(n), f"g{n}", "ab"[n % 4 == 0]) for n in range(80)]
    sides, _, _ = arranged(items, tmp_path, stratified=True, dev=0.25, test=0.25)
    count = Counter((item.stratum, side) for item, side in zip(items, sides, strict=True))
    assert count == {
        ("a", "train"): 30, ("a", "dev"): 15, ("a", "test"): 15, ("b", "train"): 10, ("b", "dev"): 5, ("b", "test"): 5,
    }  # fmt: skip


def test_files_of_their_own_are_taken_as_they_are(tmp_path: Path) -> None:
    items = [Given(prose(n), f"g{n}", "", ["", "dev", "test"][n % 3]) for n in range(30)]
    sides, _, _ = arranged(items, tmp_path, dev=None, test=None)
    assert sides == [["train", "dev", "test"][n % 3] for n in range(30)]
    sides, _, _ = arranged(items, tmp_path, dev=None, test=2)
    assert Counter(sides[::3]) == {"train": 8, "test": 2}


def test_equal_contents_by_number(tmp_path: Path) -> None:
    items = [Given(text, f"g{n}") for n, text in enumerate(["b", "a", "b", "c", "a", "b"])]
    assert sorted(same(gathered(items, tmp_path))) == [[0, 2, 5], [1, 4]]
    assert same(gathered(items[:2], tmp_path)) == []
    assert same(gathered([], tmp_path)) == []


def test_examples_of_near_duplicates_are_shown(tmp_path: Path) -> None:
    own = gathered([Given(prose(1, kind), f"g{kind}") for kind in (0, 1, 2)] + [Given(prose(2), "other")], tmp_path)
    found = Duplicates(own, drop=True).near(0.8, Template())
    assert (found["threshold"], found["clusters"], found["largest"]) == (0.8, 1, 3)
    assert found["examples"] == [[prose(1, 0)[:300], prose(1, 1)[:300]]]
    shown = own.items.as_json()["examples"]["near-duplicate"]
    assert [example["where"] for example in shown] == ["row 1", "row 0"]  # the longest is kept
    assert {example["detail"] for example in shown} == {"of row 2"}


def test_faults(tmp_path: Path) -> None:
    few = [Given(prose(n), f"g{n}") for n in range(2)]
    with pytest.raises(InputError, match="the data has 2 groups"):
        arranged(few, tmp_path)
    lost = [*few, Given(prose(0), "g2")]
    with pytest.raises(InputError, match=r"the data has 2 groups.*1 x duplicate dropped"):
        arranged(lost, tmp_path)
    items = [Given(prose(n), f"g{n}") for n in range(10)]
    held = [*items, Given(prose(0), "exam", "", "dev")]
    exam = [item._replace(side="test") if item.group == "g0" else item for item in held]
    with pytest.raises(InputError, match="no text is left for dev"):
        arranged(exam, tmp_path, dev=None)
