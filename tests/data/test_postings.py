"""Sets, prefixes, runs and the index against plain Python."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data import postings as module
from assay.data.grams import mix
from assay.data.postings import Postings, Rarity, cuts, distinct, equal_words, rarest, similarities, spread

NUMBERS = st.lists(st.integers(0, 30), max_size=12)


def hashed(numbers: list[int]) -> np.ndarray:
    return mix(np.array(numbers, dtype=np.uint64) + np.uint64(1))


def flat(lists: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    return hashed([n for own in lists for n in own]), np.cumsum([0, *map(len, lists)])


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_sets_and_their_similarities(lists: list[list[int]]) -> None:
    sets = distinct(*flat(lists))
    assert np.diff(sets[1]).tolist() == [len(set(own)) for own in lists]
    pairs = [(i, j) for i in range(len(lists)) for j in range(len(lists))]
    left, right = np.array(pairs).T
    expected = [
        len(set(lists[i]) & set(lists[j])) / max(1, len(set(lists[i]) | set(lists[j]))) for i, j in pairs
    ]  # fmt: skip
    assert similarities(sets, sets, (left, right)).tolist() == expected


def test_similarities_of_more_pairs_than_are_counted_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PART", 5)
    lists = [[1, 2, 3, 4], [2, 3, 4, 5], [9], []]
    sets = distinct(*flat(lists))
    left, right = np.array([0, 0, 1, 2, 3, 3]), np.array([0, 1, 0, 2, 3, 0])
    assert similarities(sets, sets, (left, right)).tolist() == [1, 0.6, 0.6, 1, 0, 0]


@given(
    st.lists(NUMBERS, min_size=2, max_size=8), st.sampled_from([0.5, 0.6, 0.8, 0.9, 1.0]), NUMBERS, st.integers(1, 3)
)
def test_similar_sets_share_members_of_their_prefixes(
    lists: list[list[int]], threshold: float, counted: list[int], shared: int
) -> None:
    rarity = Rarity()
    rarity.add(hashed(counted))
    members, owners, sizes, common = rarity.prefixes(*flat(lists), threshold, shared)
    assert sizes.tolist() == [len(set(own)) for own in lists]
    kept = [set(members[owners == n].tolist()) for n in range(len(lists))]
    for i, one in enumerate(lists):
        least = math.ceil(threshold * len(set(one)) - 1e-9)
        assert len(kept[i]) == len(set(one)) - least + min(shared, least)
        for j, other in enumerate(lists):
            if one and other and len(set(one) & set(other)) / len(set(one) | set(other)) >= threshold:
                assert len(kept[i] & kept[j]) >= common[i] >= 1


def test_prefixes_hold_the_rarest() -> None:
    rarity = Rarity()
    rarity.add(hashed([1] * 5 + [2] * 3 + [3]))
    members, _, _, _ = rarity.prefixes(*flat([[1, 2, 3, 4]]), 0.6)
    top = {int(h) >> 32 for h in hashed([3, 4])}
    assert {int(h) >> 32 for h in members} == top


@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 99)), max_size=60),
    st.lists(st.integers(0, 60), max_size=40),
    st.sampled_from([1, 7, 1 << 16]),
)
def test_the_index_finds_every_number_of_a_hash(
    entries: list[tuple[int, int]], wanted: list[int], hits: int
) -> None:  # fmt: skip
    parts = [
        (hashed([k for k, _ in part]), np.array([n for _, n in part], dtype=np.int64))
        for part in (entries[:7], entries[7:])
    ]
    index = Postings(parts, 100)
    owners = np.arange(len(wanted)) // 3
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_HITS", hits)
        found = [list(zip(at.tolist(), n.tolist(), strict=True)) for at, n in index.find(hashed(wanted), owners)]
    expected = Counter((at, n) for at, key in enumerate(wanted) for k, n in entries if k == key)
    assert Counter(pair for part in found for pair in part) == expected
    seen = [{owners[at] for at, _ in part} for part in found]
    assert sum(map(len, seen)) == len(set().union(*seen))
    plain = [n for _, part in index.find(hashed(wanted)) for n in part.tolist()]
    assert sorted(plain) == sorted(n for part in found for _, n in part)


def test_an_index_of_nothing() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    for index in (Postings([], 0), Postings([(hashed([]), nothing)], 5)):
        for hashes in (hashed([1, 2]), hashed([])):
            assert not sum(len(at) + len(numbers) for at, numbers in index.find(hashes))


@given(
    st.lists(st.integers(0, 2), max_size=40),
    st.lists(st.integers(0, 2), max_size=40),
    st.lists(st.tuples(st.integers(0, 41), st.integers(0, 41)), min_size=1, max_size=10),
    st.sampled_from([1, -1]),
)
def test_equal_words_are_counted_up_to_a_zero(
    one: list[int], other: list[int], places: list[tuple[int, int]], step: int
) -> None:
    a, b = [0, *one, 0], [0, *other, 0]
    places = [(i % len(a), j % len(b)) for i, j in places]
    expected = []
    for i, j in places:
        n = 0
        while a[i + n * step] == b[j + n * step] != 0:
            n += 1
        expected.append(n)
    tapes = (np.array(tape, dtype=np.uint32) for tape in (a, b))
    here, there = np.array(places).T
    assert equal_words(next(tapes), here, next(tapes), there, step).tolist() == expected


def test_long_runs_of_equal_words() -> None:
    tape = np.array([0, *range(1, 5000), 0], dtype=np.uint32)
    here = np.arange(1, 5000)
    assert equal_words(tape, here, tape, here, 1).tolist() == list(range(4999, 0, -1))
    assert equal_words(tape, here, tape, here, -1).tolist() == list(range(1, 5000))


@given(st.data())
def test_the_rarest_of_each_row(data: st.DataObject) -> None:
    order = data.draw(st.lists(st.integers(0, 2**44 - 1), min_size=1, max_size=60, unique=True))
    begins = data.draw(st.lists(st.integers(0, len(order) - 1), max_size=20).map(sorted))
    lengths = [data.draw(st.integers(1, len(order) - at)) for at in begins]
    found = rarest(np.array(order, dtype=np.uint64), np.array(begins, dtype=int), np.array(lengths, dtype=int))
    assert found.tolist() == [order.index(min(order[at : at + n])) for at, n in zip(begins, lengths, strict=True)]


@given(st.lists(st.integers(0, 9)), st.integers(1, 12), st.integers(1, 4))
def test_cuts_bound_size_and_length(sizes: list[int], most: int, longest: int) -> None:
    parts = np.split(np.array(sizes, dtype=np.int64), cuts(np.array(sizes, dtype=np.int64), most, longest))
    assert np.concatenate(parts).tolist() == sizes
    assert all(len(part) <= longest and (part.sum() <= most or len(part) == 1) for part in parts)


def test_spread() -> None:
    assert spread(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist() == [5, 6, 7, 8, 9]
