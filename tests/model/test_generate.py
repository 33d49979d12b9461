import pytest
import torch

from assay.core.records import Turn
from assay.model import adapters
from assay.model.generate import Session, generate
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.text.tokenizer import byte_tokenizer
from assay.text.tokens import Encoder, chat_template

SETTINGS = {"max_new_tokens": 12, "temperature": 0.9, "top_p": 0.95}


@pytest.fixture(scope="module")
def pair():
    model = _random(PRESETS["llama-tiny"])
    model.requires_grad_(False)
    adapted = adapters.attach(
        model, kind="lora", rank=4, alpha=8.0, dropout=0.0, targets="all-linear", rslora=False, seed=1
    )
    for name, parameter in adapters.trainable(adapted).items():
        parameter.data += 0.2 if "lora_B" in name else 0.1
    tokenizer = byte_tokenizer()
    return adapted.eval(), Encoder(tokenizer, chat_template(tokenizer))


def go_on(model, encoder, text, **settings):
    prompt = encoder.prompt([Turn("prompt", text)])
    return generate(model, encoder.tokenizer, prompt, stops=encoder.stops, **settings)


def test_the_same_seed_gives_the_same_text_and_the_global_generator_is_left_alone(pair):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    one = go_on(*pair, "To be", seed=1, **SETTINGS)
    go_on(*pair, "something in between", seed=9, **SETTINGS)
    assert go_on(*pair, "To be", seed=1, **SETTINGS) == one
    assert go_on(*pair, "To be", seed=2, **SETTINGS) != one
    assert torch.equal(torch.get_rng_state(), before)


def test_greedy_equals_the_likeliest_token_each_time(pair):
    model, tokenizer = pair[0], pair[1].tokenizer
    found = go_on(*pair, "ab", max_new_tokens=6, temperature=0, top_p=1.0, seed=0)
    ids = tokenizer.encode("ab")
    with torch.no_grad():
        for _ in range(6):
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
    assert found.raw == tokenizer.decode(ids[2:], keep_special=True)
    assert found.tokens == 6


def test_an_empty_prompt_begins_a_text(pair):
    assert pair[1].prompt([Turn("prompt", "")]) == [pair[1].tokenizer.eos]
    assert go_on(*pair, "", seed=1, **SETTINGS).tokens > 0


def test_a_session_switches_between_base_and_tuned(pair):
    talker = Session(pair[0], None, pair[1])
    tuned = talker.generate(["To be"], seed=1, **SETTINGS)
    talker.which = "base"
    base = talker.generate(["To be"], seed=1, **SETTINGS)
    assert base != tuned
    plain = _random(PRESETS["llama-tiny"]).eval()
    assert base == [go_on(plain, pair[1], "To be", seed=1, **SETTINGS).text]


def test_a_stream_says_what_generate_says(pair):
    talker = Session(pair[0], None, pair[1])
    assert "".join(talker.stream("To be", seed=1, **SETTINGS)) == talker.generate(["To be"], seed=1, **SETTINGS)[0]
