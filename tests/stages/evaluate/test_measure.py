"""What one model is measured on: units counted in another way, noise between batchings, and what a tokenizer loses."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import sem
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from assay.core.console import Console
from assay.core.records import Item, Turn
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.model.score import Reading, Scorer, item_readings
from assay.stages.evaluate.measure import (
    Probes,
    covered_bytes,
    lossy_share,
    mean_change_bpb,
    median_change,
    perplexity,
    probe,
    score_with_progress,
)
from assay.text.tokenizer import TextTokenizer, byte_tokenizer
from assay.text.tokens import Encoder, chat_template

END = "<|endoftext|>"
TEXTS = ["To be, or not to be", "a", "that is the question: " * 9, "Ünïcode ☃"]
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def merged(normalizer: normalizers.Normalizer | None = None) -> TextTokenizer:
    """A byte-level tokenizer with some merges, behind a normalizer."""
    backend = Tokenizer(models.BPE())
    if normalizer is not None:
        backend.normalizer = normalizer
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=320, initial_alphabet=alphabet, special_tokens=[END], show_progress=False)
    backend.train_from_iterator(TEXTS * 4, trainer)
    end = backend.token_to_id(END)
    return TextTokenizer(backend, end, end)


MERGED, SMALL, LOSING = merged(), merged(normalizers.Lowercase()), merged(normalizers.Replace("§", ""))
PLAIN = [byte_tokenizer(), MERGED]


def items(*texts: str) -> list[Item]:
    return [Item(str(n), "g", text) for n, text in enumerate(texts)]


# bytes


@settings(max_examples=40)
@given(st.lists(WORDS, max_size=4), st.sampled_from(PLAIN))
def test_of_any_text_all_bytes_are_covered(texts: list[str], tokenizer: TextTokenizer) -> None:
    encoder = Encoder(tokenizer, None)
    assert covered_bytes(encoder, items(*texts)) == sum(len(text.encode()) for text in texts)


def test_what_the_tokenizer_drops_is_not_covered() -> None:
    assert covered_bytes(Encoder(LOSING, None), items("§§a§bü§", "§")) == len("abü".encode())


@settings(max_examples=40)
@given(WORDS, WORDS, st.sampled_from(PLAIN))
def test_of_pairs_and_chats_the_answers_count(question: str, answer: str, tokenizer: TextTokenizer) -> None:
    pair = Item("p", "g", "", (Turn("prompt", "Say: "), Turn("completion", f"{answer}!")))
    said = Item("c", "g", "", (Turn("user", f"{question}?"), Turn("assistant", f"({answer})"), Turn("user", "and")))
    encoder = Encoder(tokenizer, chat_template(tokenizer))
    # the pair's blank goes from the prompt's end to the completion
    expected = len(f" {answer}!({answer})".encode())
    assert covered_bytes(encoder, [pair, said]) == expected
    assert sum(reading.size for reading in item_readings([pair, said], encoder)) == expected


@settings(max_examples=40)
@given(st.lists(WORDS, max_size=4), st.sampled_from(PLAIN))
def test_a_byte_level_tokenizer_loses_nothing(texts: list[str], tokenizer: TextTokenizer) -> None:
    assert lossy_share(tokenizer, texts) == 0.0


def test_what_is_lost_are_the_bytes_of_the_lines_that_do_not_come_back() -> None:
    # "ABC" comes back as a third "abc"; of the second text "Ü" (2 bytes) does not, and "x" does
    assert lossy_share(SMALL, ["abc\nABC\nabc", "Ü\nx"]) == pytest.approx((3 + 2) / (11 + 4))
    assert lossy_share(SMALL, ["abc", ""]) == 0.0
    # a line that stands there twice and comes back once is lost once
    assert lossy_share(LOSING, ["ab\na§b\nab"]) == pytest.approx(len("a§b".encode()) / len("ab\na§b\nab".encode()))


# noise


def test_changes_between_two_measurements_by_hand() -> None:
    bit = math.log(2)
    one = [np.array([3.0, 5.0]) * bit, np.array([]), np.array([4.0]) * bit]
    other = [np.array([4.0, 2.0]) * bit, np.array([]), np.array([4.5]) * bit]
    # by token 1, 3 and ½ bits; by text 2, 0 and -½ bits, of 4, 1 and 2 bytes
    assert median_change(one, other) == pytest.approx(bit)
    by_text = [2 / 4, 0, -0.5 / 2]
    moved = abs(np.mean(by_text)) + sem(by_text)
    assert mean_change_bpb(one, other, [4, 1, 2]) == pytest.approx(moved)
    assert mean_change_bpb(one[:1], other[:1], [4]) == pytest.approx(2 / 4)
    probes = Probes(packed=one, single=other, reverse=one)
    assert probes.noise_nats() == pytest.approx(bit)
    assert probes.noise_bpb(["übe", "x", "ü"]) == pytest.approx(moved)
    # of an earlier run the batchings are held against its own packed rows, and those against the ones of now
    again = Probes(packed=other, single=one, reverse=one, earlier=one)
    assert again.noise_nats() == 0.0
    assert again.noise_bpb(["übe", "x", "ü"]) == pytest.approx(moved)


def test_without_texts_nothing_has_changed() -> None:
    assert mean_change_bpb([], [], []) == 0.0
    assert median_change([np.array([])], [np.array([])]) == 0.0


def test_the_three_batchings_of_the_probe_texts_agree() -> None:
    model, tokenizer = _random(PRESETS["llama-tiny"]).eval(), byte_tokenizer()
    probes = probe(model, tokenizer, 64, TEXTS)
    for found in (probes.packed, probes.single, probes.reverse):
        assert [len(nats) for nats in found] == [len(text.encode()) for text in TEXTS]
    assert probes.noise_nats() < 1e-5
    assert probes.noise_bpb(TEXTS) < 1e-5
    for one, other in zip(probes.packed, probes.reverse, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    # random weights know nothing: about log 257 nats for each byte
    assert float(np.concatenate(probes.single).mean()) == pytest.approx(math.log(257), rel=0.1)


def test_the_progress_bar_counts_the_tokens(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = byte_tokenizer()
    judge = Scorer(_random(PRESETS["llama-tiny"]).eval(), tokenizer, window=16, stride=16, row_tokens=16)
    readings = [Reading(tokenizer.encode(text), 256, len(text.encode())) for text in TEXTS[:2]]
    found = score_with_progress(judge, readings, "scoring", Console())
    assert "scoring: 20/20 tokens" in capsys.readouterr().err
    for one, other in zip(found, judge.score_readings(readings), strict=True):
        np.testing.assert_array_equal(one, other)


# perplexity


@given(st.integers(2, 1000), st.lists(st.integers(0, 5), min_size=1, max_size=5))
def test_as_many_as_equally_likely_tokens_are_the_perplexity(vocabulary: int, lengths: list[int]) -> None:
    found = perplexity([np.full(length, math.log(vocabulary)) for length in lengths])
    if sum(lengths):
        assert found == pytest.approx(vocabulary)
    else:
        assert found is None


def test_a_perplexity_that_no_number_holds_is_none() -> None:
    assert perplexity([np.array([2000.0, 1.0])]) is None
    assert perplexity([np.array([math.inf])]) is None
    assert perplexity([]) is None
