from __future__ import annotations

import hashlib
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.split import nested_subset, split_groups, strata_of

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


def test_a_number_of_groups_is_taken_as_it_is() -> None:
    groups = [f"g{n}" for n in range(50)]
    assert Counter(split_groups(groups, 3, 7, 0).values()) == {"train": 40, "dev": 3, "test": 7}
    assert Counter(split_groups(groups, 3, None, 0).values()) == {"train": 47, "dev": 3}
    assert set(split_groups(groups, None, None, 0).values()) == {"train"}
    with pytest.raises(InputError, match=r"data\.split\.test.*there are 50 in all"):
        split_groups(groups, 0.1, 50, 0)
    with pytest.raises(InputError, match="30 dev and 20 test groups"):
        split_groups(groups, 30, 20, 0)


@given(st.dictionaries(st.text(min_size=1, max_size=4), st.sampled_from("abc"), min_size=12, max_size=80))
def test_each_stratum_gives_its_share(strata: dict[str, str]) -> None:
    found = split_groups(strata, 0.2, 0.3, 0, strata)
    sizes, test = Counter(strata.values()), Counter(strata[g] for g, name in found.items() if name == "test")
    assert Counter(found.values()) == Counter(split_groups(strata, 0.2, 0.3, 0).values())
    share = test.total() / len(strata)
    assert all(abs(test[stratum] - share * size) < 1 for stratum, size in sizes.items())


def test_a_groups_stratum_is_what_most_of_its_items_have() -> None:
    assert strata_of(list("aaabbc"), ["x", "y", "y", "q", "p", "z"]) == {"a": "y", "b": "p", "c": "z"}


@given(st.lists(st.binary(min_size=4, max_size=4), unique=True, min_size=2, max_size=60), st.randoms(), st.data())
def test_subsets_are_nested_and_ignore_the_order(digests: list[bytes], rng: random.Random, data: st.DataObject) -> None:
    large = data.draw(st.integers(1, len(digests)))
    small = data.draw(st.integers(1, large))

    def chosen(given: list[bytes], count: int) -> set[bytes]:
        return {given[number] for number in nested_subset(given, count, 3)}

    assert len(chosen(digests, large)) == large
    assert chosen(digests, small) <= chosen(digests, large)
    shuffled = list(digests)
    rng.shuffle(shuffled)
    assert chosen(shuffled, small) == chosen(digests, small)
