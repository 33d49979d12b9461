import functools
import math
from dataclasses import replace

import pytest
import torch
from fixture_adapted import adapted
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import GenerationConfig
from transformers.generation import GenerationMode

from assay.core.errors import MachineError
from assay.core.records import Decoding, Turn
from assay.model import generate as module
from assay.model.generate import Clock, check_supported, generate, processors, settings
from assay.text.tokenizer import byte_tokenizer
from assay.text.tokens import Encoder, chat_template

DRAWN = Decoding(max_new_tokens=12, temperature=0.9, top_p=0.95)
GREEDY = Decoding(max_new_tokens=6, temperature=0, top_p=1.0)
PROMPTS = ["To be", "O", "What news on the Rialto, my lord?", "", "ab"]


@pytest.fixture(scope="module", params=["llama-tiny", "gpt2-tiny"])
def pair(request):
    tokenizer = byte_tokenizer()
    return adapted(request.param), Encoder(tokenizer, chat_template(tokenizer))


def go_on(pair, texts, decoding=DRAWN, *, seeds=None, **more):
    model, encoder = pair
    prompts = [encoder.prompt([Turn("prompt", text)]) for text in texts]
    seeds = list(range(len(texts))) if seeds is None else seeds
    return generate(model, encoder.tokenizer, prompts, stops=encoder.stops, decoding=decoding, seeds=seeds, **more)


def test_the_same_seed_gives_the_same_text_and_the_global_generator_is_left_alone(pair):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = go_on(pair, ["To be"], seeds=[1])
    go_on(pair, ["something in between"], seeds=[9])
    assert go_on(pair, ["To be"], seeds=[1]) == one
    assert go_on(pair, ["To be"], seeds=[2]) != one
    assert torch.equal(torch.get_rng_state(), before)


# what the library's greedy and beam search are asked, in our words and in its own
SEARCHES = [
    ({}, {}),
    ({"repetition_penalty": 1.3}, {"repetition_penalty": 1.3}),
    ({"no_repeat_ngram": 1}, {"no_repeat_ngram_size": 1}),
    ({"no_repeat_ngram": 2}, {"no_repeat_ngram_size": 2}),
    ({"beams": 3}, {"num_beams": 3}),
    ({"beams": 2, "repetition_penalty": 1.2, "no_repeat_ngram": 2},
     {"num_beams": 2, "repetition_penalty": 1.2, "no_repeat_ngram_size": 2}),
]  # fmt: skip
EVERYTHING = replace(DRAWN, repetition_penalty=1.3, no_repeat_ngram=2, top_k=40, min_p=0.01, typical_p=0.9)


@pytest.mark.parametrize("decoding", [DRAWN, EVERYTHING, *(replace(GREEDY, **ours) for ours, _ in SEARCHES)], ids=str)
def test_a_prompt_is_continued_alike_whatever_stands_in_its_batch(pair, decoding):
    """In fp32 the padding and the others beside it move no token."""
    together = go_on(pair, PROMPTS, decoding)
    assert together == go_on(pair, PROMPTS, decoding, rows=1) == go_on(pair, PROMPTS, decoding, rows=2)
    backwards = go_on(pair, PROMPTS[::-1], decoding, seeds=list(range(len(PROMPTS)))[::-1])
    assert backwards[::-1] == together


def test_greedy_equals_the_likeliest_token_each_time(pair):
    model, tokenizer = pair[0], pair[1].tokenizer
    (found,) = go_on(pair, ["ab"], GREEDY)
    ids = tokenizer.encode("ab")
    with torch.no_grad():
        for _ in range(6):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert found.raw == tokenizer.decode(ids[2:], keep_special=True)
    assert list(found.ids) == ids[2:]
    assert found.tokens == 6


def test_draws_have_the_softmaxs_shares():
    logits = torch.tensor([2.0, 1.0, 0.0, -1.0]).log_softmax(-1)
    seeds = range(4000)
    drawn = processors(Decoding(1, temperature=0.7, top_p=1.0), seeds)(
        torch.zeros(len(seeds), 1, dtype=torch.long), logits.repeat(len(seeds), 1)
    )
    counts = torch.bincount(drawn.argmax(-1), minlength=4).numpy()
    expected = (logits / 0.7).softmax(-1).double().numpy() * len(seeds)
    assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 1e-3


def test_top_p_leaves_out_the_unlikely():
    logits = torch.tensor([[0.6, 0.3, 0.1]]).log()
    seeds = range(300)
    drawn = processors(Decoding(1, temperature=1.0, top_p=0.8), seeds)(
        torch.zeros(len(seeds), 1, dtype=torch.long), logits.repeat(len(seeds), 1)
    )
    assert set(drawn.argmax(-1).tolist()) == {0, 1}


def test_an_empty_prompt_begins_a_text(pair):
    assert pair[1].prompt([Turn("prompt", "")]) == [pair[1].tokenizer.eos]
    assert go_on(pair, [""])[0].tokens > 0


def test_the_clock_counts_what_was_kept(pair):
    clock = Clock()
    found = go_on(pair, PROMPTS, rows=2, clock=clock)
    assert clock.tokens == sum(one.tokens for one in found)
    assert len(clock.first) == math.ceil(len(PROMPTS) / 2)
    assert 0 < sum(clock.first) <= clock.seconds


def test_a_text_ends_before_the_token_that_ends_it(pair):
    model, encoder = pair
    (whole,) = go_on(pair, ["ab"], GREEDY)
    stop = whole.ids[2]
    prompt = encoder.prompt([Turn("prompt", "ab")])
    (found,) = generate(model, encoder.tokenizer, [prompt], stops=[stop], decoding=GREEDY, seeds=[0])
    assert found.stopped
    assert list(found.ids) == list(whole.ids[: whole.ids.index(stop)])


@pytest.mark.parametrize(("ours", "theirs"), SEARCHES, ids=str)
def test_what_is_not_drawn_is_the_librarys_own_search(pair, ours, theirs):
    model, encoder = pair
    decoding = replace(GREEDY, max_new_tokens=16, **ours)
    for text, found in zip(PROMPTS, go_on(pair, PROMPTS, decoding), strict=True):
        ids = torch.tensor([encoder.prompt([Turn("prompt", text)])])
        config = GenerationConfig(
            max_new_tokens=16, do_sample=False, eos_token_id=encoder.stops, pad_token_id=encoder.tokenizer.eos, **theirs
        )
        with torch.no_grad():
            out = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=config)
        expected = out[0, ids.shape[1] :].tolist()
        end = next((at for at, token in enumerate(expected) if token in encoder.stops), len(expected))
        assert list(found.ids) == expected[:end]


def test_a_penalty_and_a_search_do_change_the_text(pair):
    greedy = go_on(pair, PROMPTS, GREEDY)
    for key, value in (("repetition_penalty", 1.5), ("no_repeat_ngram", 1)):
        assert go_on(pair, PROMPTS, replace(GREEDY, **{key: value})) != greedy


@functools.cache
def tiny():
    return adapted("llama-tiny")


SHARES = st.floats(0.05, 1.0)


@given(
    temperature=st.floats(0.2, 2.0), top_k=st.integers(0, 30), top_p=SHARES, min_p=st.floats(0, 0.5), typical_p=SHARES,
    penalty=st.floats(0.8, 2.0), ngram=st.integers(0, 3), seed=st.integers(0, 99),
)  # fmt: skip
def test_what_may_be_drawn_is_what_the_library_would_draw_from(
    temperature, top_k, top_p, min_p, typical_p, penalty, ngram, seed
):
    torch.manual_seed(seed)
    ids, scores = torch.randint(0, 40, (3, 12)), 3 * torch.randn(3, 40)
    decoding = Decoding(1, temperature, top_p, top_k, min_p, typical_p, penalty, ngram)
    *filters, _ = processors(decoding, [0, 1, 2])
    ours = scores
    for one in filters:
        ours = one(ids, ours)
    theirs = GenerationConfig(
        do_sample=True, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p or None, typical_p=typical_p,
        repetition_penalty=penalty, no_repeat_ngram_size=ngram,
    )  # fmt: skip
    expected = tiny().base_model.model._get_logits_processor(theirs, input_ids_seq_length=12)(ids, scores)
    torch.testing.assert_close(ours, expected, rtol=0, atol=0)


def test_contrastive_search_is_refused_where_the_library_has_none(monkeypatch):
    contrastive = Decoding(8, 0.0, 1.0, top_k=4, penalty_alpha=0.6)
    check_supported(GREEDY)
    tokenizer = byte_tokenizer()
    for refuse in (check_supported, lambda one: settings(tokenizer, [0], one)):
        with pytest.raises(MachineError, match=r"transformers \S+ has no contrastive search"):
            refuse(contrastive)
    monkeypatch.setattr(module.GenerationMixin, "_contrastive_search", lambda: None, raising=False)
    assert settings(tokenizer, [0], contrastive).get_generation_mode() == GenerationMode.CONTRASTIVE_SEARCH
