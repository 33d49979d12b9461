"""Words and n-grams of whole batches against those of one text at a time."""

from __future__ import annotations

import random
import re
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data import grams as module
from assay.data.grams import Template, Words, identities, map_batches, mix, pieces, read_words
from assay.data.words import words

# Letters of one to four bytes, some that folding changes or lengthens, marks, signs, and a half of a surrogate pair.
LETTERS = st.sampled_from(list("aAbB z0_9 \n.,-'’éÉßẞİıſﬁΣςσ中\u0301\u200d🙂\ud800\U0001d54f\u00a0"))
TEXTS = st.lists(st.text() | st.text(LETTERS, max_size=40), max_size=6)


def tapes(found: Words) -> list[list[int]]:
    return [found.tape[a : b - 1].tolist() for a, b in zip(found.starts[:-1], found.starts[1:], strict=True)]


def test_every_code_point_is_a_letter_exactly_where_the_regular_expression_says_so() -> None:
    inside, _, _, _ = module._letters()
    pattern = re.compile(r"\w")
    assert [bool(pattern.match(chr(code))) for code in range(0x110000)] == inside.tolist()


@pytest.mark.parametrize("block", [2, 3, 7, 1 << 16])
def test_equal_words_and_only_those_have_equal_hashes(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    module._letters()
    monkeypatch.setattr(module, "_BLOCK", block)

    @given(TEXTS)
    def check(texts: list[str]) -> None:
        found = tapes(read_words(texts))
        expected = [words(text) for text in texts]
        assert [len(own) for own in found] == [len(own) for own in expected]
        pairs = {(w, h) for own, hashes in zip(expected, found, strict=True) for w, h in zip(own, hashes, strict=True)}
        assert len({w for w, _ in pairs}) == len({h for _, h in pairs}) == len(pairs)

    check()


@given(st.lists(st.text(st.sampled_from("ab c"), max_size=30), max_size=5), st.integers(1, 6))
def test_grams_are_equal_where_their_words_are(texts: list[str], n: int) -> None:
    found = read_words(texts)
    spots = found.spots(n)
    expected = [tuple(own[i : i + n]) for own in map(words, texts) for i in range(len(own) - n + 1)]
    hashes = found.grams(n)[spots].tolist()
    pairs = set(zip(expected, hashes, strict=True))
    assert len(set(expected)) == len(set(hashes)) == len(pairs)
    assert found.ranges(spots, spots + n).tolist() == hashes
    assert found.texts(spots).tolist() == [t for t, text in enumerate(texts) for _ in words(text)[n - 1 :]]


def test_a_hash_tells_the_order_of_its_words() -> None:
    one, other, longer = identities(read_words(texts := ["a b c", "c b a", "a b c c"]), texts).tolist()
    assert len({one, other, longer}) == 3


def test_texts_without_words_are_told_apart_by_their_signs() -> None:
    texts = ["!!", "! !", "", " ", "🙂", "a"]
    found = identities(read_words(texts), texts).tolist()
    assert found[2] == found[3]
    assert len(set(found)) == 5


def test_the_smaller_hashes_keep_words_and_stretches() -> None:
    found = read_words(["a b", "", "b a a"])
    small = Words.of_small(found.small(), found.starts)
    assert [[h != 0 for h in own] for own in tapes(small)] == [[True] * 2, [], [True] * 3]
    first, _, second = tapes(small)
    assert second == [first[1], first[0], first[0]]
    assert mix(np.zeros(1, dtype=np.uint64)).tolist() == [0]


def common_grams(texts: Sequence[str]) -> set[tuple[str, ...]]:
    own = [{tuple(found[i : i + 8]) for i in range(len(found) - 7)} for found in map(words, texts)]
    return {g for grams in own for g in grams if sum(g in other for other in own) >= max(10, 0.2 * len(texts))}


def content(texts: Sequence[str], template: Template) -> list[list[str | None]]:
    """Each text's words, None for those of template."""
    found = tapes(template.content(read_words(texts)))
    return [[w if h else None for w, h in zip(words(t), own, strict=True)] for t, own in zip(texts, found, strict=True)]


def forms(rng: random.Random, count: int) -> list[str]:
    """Texts of which a fifth or so share one passage and most another, beside content of their own."""
    vocabulary = [f"w{n}" for n in range(2000)]
    form, rare = (" ".join(rng.choices(vocabulary, k=k)) for k in (11, 9))
    texts = []
    for _ in range(count):
        parts = [
            rng.choices(vocabulary, k=rng.randrange(12)),
            form.split(),
            rng.choices(vocabulary, k=rng.randrange(12)),
        ]
        texts.append(" ".join(w for part in parts for w in part) + (f" {rare}" if rng.random() < 0.2 else ""))
    return texts


@pytest.mark.parametrize("seed", range(4))
def test_templates_are_the_grams_that_many_texts_hold(seed: int) -> None:
    rng = random.Random(seed)
    texts = forms(rng, rng.choice([9, 12, 40, 80]))
    common = common_grams(texts)
    expected = []
    for found in map(words, texts):
        template = {n for i in range(len(found) - 7) if tuple(found[i : i + 8]) in common for n in range(i, i + 8)}
        expected.append([None if n in template else w for n, w in enumerate(found)])
    template = Template.find([texts], len(texts))
    assert content(texts, template) == expected
    shuffled = rng.sample(texts, len(texts))
    assert Template.find([shuffled[:5], [], shuffled[5:]], len(texts)).grams.tolist() == template.grams.tolist()


def test_a_repetition_within_one_text_is_no_template() -> None:
    texts = ["on and on and on and on and on and on and on and on"] * 9 + [f"{n} b c d e f g h i" for n in range(9)]
    assert not len(Template.find([texts], len(texts)).grams)
    assert len(Template.find([[*texts, texts[0]]], 19).grams)


def test_a_sample_is_enough_and_does_not_depend_on_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = forms(random.Random(0), 600)
    whole = Template.find([texts], len(texts)).grams
    monkeypatch.setattr(module, "_SAMPLE", 200)
    sampled = Template.find([texts], len(texts)).grams
    monkeypatch.setattr(module, "_SAMPLE_GRAMS", 1500)
    cut = [Template.find([order[:100], order[100:]], len(texts)).grams for order in (texts, texts[::-1])]
    # the passage of a fifth of the texts may be on either side; that of all of them is always found
    assert 4 <= len(set(whole.tolist()) & set(sampled.tolist())) <= len(whole)
    assert cut[0].tolist() == cut[1].tolist()
    assert len(cut[0]) >= 4


@given(st.lists(st.text(max_size=30)))
def test_pieces_are_the_batch_in_order(texts: list[str]) -> None:
    found = list(pieces(texts))
    assert [text for piece in found for text in piece] == texts
    assert all(found)


def test_a_piece_has_so_many_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE", 10)
    assert list(pieces(["12345", "1234", "long text that is", "1", "2"])) == [
        ["12345", "1234"], ["long text that is"], ["1", "2"],
    ]  # fmt: skip


def test_batches_come_in_order_and_are_not_read_far_ahead() -> None:
    read: list[int] = []
    slow = threading.Event()

    def batches() -> object:
        for n in range(20):
            read.append(n)
            yield n

    def work(n: int) -> int:
        if n == 0:
            slow.wait(5)
        return n * n

    results = map_batches(work, batches(), threads=2)
    slow.set()
    assert next(results) == 0
    assert len(read) <= 4
    assert list(results) == [n * n for n in range(1, 20)]


def test_an_error_in_a_thread_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(map_batches(lambda n: 1 // n, [1, 0, 2]))
