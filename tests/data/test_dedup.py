"""Near-duplicates against every pair of texts compared by hand."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.data import dedup as module
from assay.data.dedup import NearDuplicates, bands_for
from assay.data.grams import Template
from assay.data.words import folded, words


def shingles(text: str) -> set[tuple[str, ...]]:
    found = words(text) or ["", *folded(text).split()]
    return {tuple(found[i : i + 5]) for i in range(max(1, len(found) - 4))}


def reference(texts: Sequence[str], threshold: float) -> list[list[int]]:
    """Connected components of all pairs at or above the threshold, by the definition."""
    sets = [shingles(text) for text in texts]
    label = list(range(len(texts)))
    for i in range(len(texts)):
        for j in range(i):
            if label[i] != label[j] and len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= threshold:
                label = [label[i] if own == label[j] else own for own in label]
    found = [[n for n, own in enumerate(label) if own == one] for one in set(label)]
    return sorted(cluster for cluster in found if len(cluster) > 1)


def clusters(texts: Sequence[str], threshold: float = 0.8, template: Template | None = None) -> list[list[int]]:
    search = NearDuplicates(threshold, template or Template())
    for at in range(0, len(texts), 7):
        search.add(texts[at : at + 7])

    def fetch(numbers: Sequence[int]) -> list[str]:
        assert list(numbers) == sorted(set(numbers))
        return [texts[number] for number in numbers]

    return search.clusters(fetch)


def mutated(rng: random.Random, text: list[str], vocabulary: list[str]) -> list[str]:
    text = list(text)
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        at = rng.randrange(len(text) + 1)
        text[at : at + rng.randrange(3)] = rng.choices(vocabulary, k=rng.randrange(3))
    return text or ["x"]


def corpus(seed: int, count: int) -> list[str]:
    """Families of texts that differ by a few words, of all lengths."""
    rng = random.Random(seed)
    vocabulary = [f"w{n}" for n in range(rng.choice([3, 40, 500]))]
    texts = [rng.choices(vocabulary, k=rng.choice([1, 2, 4, 6, 9, 14, 30, 60])) for _ in range(5)]
    while len(texts) < count:
        texts.append(mutated(rng, rng.choice(texts), vocabulary))
    signs = ["", "!", "? !", "?!", "🙂"]
    return [" ".join(text) for text in texts] + rng.choices(signs, k=4)


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.integers(2, 30), st.sampled_from([0.5, 0.6, 0.7, 0.8, 0.9, 1.0]))
def test_clusters_are_exactly_those_of_the_reference(seed: int, count: int, threshold: float) -> None:
    texts = corpus(seed, count)
    assert clusters(texts, threshold) == reference(texts, threshold)


@settings(max_examples=20)
@given(st.integers(0, 2**32))
def test_the_order_does_not_matter(seed: int) -> None:
    texts = list(dict.fromkeys(corpus(seed, 40)))
    order = random.Random(seed).sample(range(len(texts)), len(texts))
    shuffled = clusters([texts[n] for n in order])
    assert sorted(sorted(order[n] for n in cluster) for cluster in shuffled) == clusters(texts)


def limited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few grams at a time, so that small corpora take the ways of large ones."""
    for name, value in {"_BLOCK_GRAMS": 400, "_PIECE_GRAMS": 100, "_PIECE_TEXTS": 9, "_RARE_GRAMS": 300}.items():
        monkeypatch.setattr(module, name, value)


def test_more_candidates_than_are_compared_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch)
    whole = 0
    for seed in range(40):
        texts = corpus(seed, 60)
        search = NearDuplicates(0.8, Template())
        search.add(texts)
        found = search.clusters(lambda numbers, texts=texts: [texts[n] for n in numbers])
        expected = reference(texts, 0.8)
        if search.apart:  # then some may be missing, and none is too many
            assert all(any(set(cluster) <= set(one) for one in expected) for cluster in found)
        else:
            assert found == expected
            whole += 1
    assert 5 < whole < 40


def words_of(rng: random.Random, count: int) -> list[str]:
    return [f"w{n}" for n in rng.choices(range(10_000), k=count)]


def test_what_many_texts_share_hides_no_near_duplicates(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch)
    rng = random.Random(0)
    shared = words_of(rng, 70)
    texts = [" ".join(shared + words_of(rng, 30)) for _ in range(200)]
    copies = [" ".join([*text.split()[:-2], "other", "words"]) for text in texts[:20]]
    search = NearDuplicates(0.8, Template())
    search.add(texts + copies)
    assert search.clusters(lambda numbers: [[*texts, *copies][n] for n in numbers]) == [[n, 200 + n] for n in range(20)]
    assert not search.apart


@pytest.mark.parametrize("block", [1 << 22, 10_000])
def test_a_great_many_copies_are_one_cluster(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    text = words_of(rng, 200)
    near = [" ".join([*text[:n], "x", *text[n + 1 :]]) for n in rng.choices(range(200), k=400)]
    texts = [*near, *([" ".join(text)] * 400), *(" ".join(words_of(rng, 200)) for _ in range(100))]
    monkeypatch.setattr(module, "_BLOCK_GRAMS", block)
    search = NearDuplicates(0.8, Template())
    search.add(texts)
    fetched = 0

    def fetch(numbers: Sequence[int]) -> list[str]:
        nonlocal fetched
        fetched += len(numbers)
        return [texts[n] for n in numbers]

    assert search.clusters(fetch) == [list(range(800))]
    assert fetched < 5 * len(texts)
    assert search.apart >= (800 if block < 1 << 22 else 0)


def test_pairs_at_the_threshold_are_found() -> None:
    rng = random.Random(1)
    texts = []
    for _ in range(1000):
        text = words_of(rng, 13)  # 9 grams each, of which 8 are common: 8 ÷ 10
        texts += [" ".join(text), " ".join([*text[:-1], "other"])]
    assert clusters(texts) == [[n, n + 1] for n in range(0, 2000, 2)]
    assert clusters(texts, 0.81) == []


def test_short_texts_are_equal_or_not() -> None:
    texts = ["Yes.", "yes", "no", "Yes, yes", "a b c d", "A b, c d!", "a b c e", "!!", " !!", "!"]
    assert clusters(texts) == [[0, 1], [4, 5], [7, 8]]


def test_template_is_not_compared() -> None:
    rng = random.Random(2)
    form = [words_of(rng, 40) for _ in range(2)]

    def filled(first: list[str], second: list[str]) -> str:
        return " ".join([*form[0], *first, *form[1], *second])

    one, other = words_of(rng, 20), words_of(rng, 20)
    texts = [filled(words_of(rng, 20), words_of(rng, 3)) for _ in range(30)]
    template = Template.find([texts], len(texts))
    assert clusters(texts, template=template) == []
    assert clusters(texts, 0.5)  # without it they are alike
    # the short answers count as one gram each, and a form without any is its own words
    named = [filled(one, ["yes"]), filled(one, ["no"]), filled(other, ["yes"]), filled([], []), filled([], [])]
    assert clusters(named, template=template) == [[0, 1], [3, 4]]
    named = [filled(["Ann"], ["yes"]), filled(["Ann"], ["no"]), filled(["Ann"], ["yes"])]
    assert clusters(named, template=template) == [[0, 2]]


def test_bands_miss_a_pair_at_the_threshold_once_in_100_000() -> None:
    assert bands_for(0.8) == (29, 5)
    for threshold in (0.5, 0.55, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99, 1.0):
        bands, rows = bands_for(threshold)
        assert (1 - threshold**rows) ** bands < 1e-5
        assert bands * rows <= 168
        assert 4 * bands <= 250  # bytes of memory per text


def test_bands_agree_as_often_as_the_theory_says() -> None:
    rng = random.Random(3)
    texts = []
    for _ in range(2000):
        text = words_of(rng, 8)
        texts += [" ".join(text), " ".join([*text[:-1], "other"])]  # 3 of 5 grams
    search = NearDuplicates(0.8, Template())
    search.add(texts)
    agree = sum((marks[::2] == marks[1::2]).sum() for marks in search._marks) / (2000 * 29)
    assert agree == pytest.approx(0.6**5, rel=0.05)


def test_nothing_to_compare() -> None:
    assert NearDuplicates(0.8, Template()).clusters(lambda numbers: []) == []
    assert clusters(["only one"]) == []
