import math

import pytest
import torch
from fixture_adapted import adapted
from scipy.stats import chisquare

from assay.core.records import Decoding, Turn
from assay.model.generate import Clock, generate, processors
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


@pytest.mark.parametrize("decoding", [DRAWN, GREEDY])
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
