"""Guessing ahead leaves the text as it is."""

from __future__ import annotations

import pytest
import torch
from fixture_adapted import adapted
from hypothesis import given
from hypothesis import strategies as st

from assay.core.records import Decoding, Turn
from assay.model.assist import Guess, _agreed, greedy, speeds
from assay.model.generate import generate
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.text.tokenizer import byte_tokenizer
from assay.text.tokens import Encoder, chat_template

TOKENIZER = byte_tokenizer()
ENCODER = Encoder(TOKENIZER, chat_template(TOKENIZER))
TEXTS = ["To be, or not to be, that is the", "a b a b a b", "What news?"]
PROMPTS = [ENCODER.prompt([Turn("prompt", text)]) for text in TEXTS]


@pytest.fixture(scope="module")
def model():
    return adapted("llama-tiny")


@pytest.fixture(scope="module")
def guesses():
    torch.manual_seed(0)
    assistant = _random(PRESETS["gpt2-tiny"]).eval()
    return [Guess("lookup", lookup=5), Guess("assisted", assistant=assistant), Guess("itself", assistant=None)]


def test_every_way_gives_the_text_of_plain_greedy_decoding(model, guesses):
    found = generate(
        model, TOKENIZER, PROMPTS, stops=ENCODER.stops, decoding=Decoding(20, 0.0, 1.0), seeds=range(len(PROMPTS))
    )
    for prompt, plain in zip(PROMPTS, found, strict=True):
        for guess in guesses:
            ids, seconds = greedy(model, TOKENIZER, prompt, stops=ENCODER.stops, most=20, guess=guess)
            end = next((at for at, token in enumerate(ids) if token in ENCODER.stops), len(ids))
            assert tuple(ids[:end]) == plain.ids
            assert seconds > 0


def test_speeds_are_of_the_same_prompts_in_turns(model, guesses):
    plain, found = speeds(model, TOKENIZER, PROMPTS, guesses[:2], stops=ENCODER.stops, most=12, rounds=2)
    assert len(plain) == 2
    assert [one.name for one in found] == ["lookup", "assisted"]
    for one in found:
        assert (one.prompts, one.different, one.different_tokens, one.gap) == (3, 0, 0, None)
        assert one.ratios == pytest.approx([own / base for own, base in zip(one.tokens_per_s, plain, strict=True)])
        assert 0 < one.tokens <= 36


def test_a_text_that_comes_out_different_is_counted_and_its_gap_told(model, monkeypatch):
    from assay.model import assist

    plain = [greedy(model, TOKENIZER, ids, stops=[], most=8, guess=Guess("plain"))[0] for ids in PROMPTS]

    def faulty(model, tokenizer, prompt, *, stops, most, guess):
        ids = list(plain[PROMPTS.index(prompt)])
        if guess.lookup and prompt == PROMPTS[0]:
            ids[5] = (ids[5] + 1) % 256
        return ids, 1.0

    monkeypatch.setattr(assist, "greedy", faulty)
    _, (found,) = assist.speeds(model, TOKENIZER, PROMPTS, [Guess("x", lookup=3)], stops=[], most=8, rounds=1)
    assert (found.different, found.tokens, found.different_tokens) == (1, 24, 3)
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*PROMPTS[0], *plain[0][:5]]])).logits[0, -1]
    first = plain[0][5]
    assert found.gap == pytest.approx(float(logits[first] - logits[(first + 1) % 256]), abs=1e-5)


@given(st.lists(st.integers(0, 3)), st.lists(st.integers(0, 3)))
def test_agreed_is_the_length_of_the_common_beginning(one, other):
    n = _agreed(one, other)
    assert one[:n] == other[:n]
    assert n == min(len(one), len(other)) or one[n] != other[n]
