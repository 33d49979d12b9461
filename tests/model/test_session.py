import threading

import pytest
from fixture_adapted import adapted

from assay.cli.talk import Chat
from assay.core.console import Console
from assay.core.errors import InputError, MachineError
from assay.core.records import Decoding, Setting, Turn
from assay.model.generate import generate
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.model.session import Session
from assay.text.tokenizer import byte_tokenizer
from assay.text.tokens import Encoder, chat_template

DECODING = Decoding(max_new_tokens=12, temperature=0.9, top_p=0.95)


@pytest.fixture(scope="module")
def talker():
    tokenizer = byte_tokenizer()
    return Session(adapted("llama-tiny"), None, Encoder(tokenizer, chat_template(tokenizer)))


def test_a_session_switches_between_base_and_tuned(talker):
    talker.which = "tuned"
    tuned = talker.generate(["To be"], DECODING, seed=1)
    talker.which = "base"
    base = talker.generate(["To be"], DECODING, seed=1)
    assert base != tuned
    encoder = talker.encoder
    prompt = encoder.prompt([Turn("prompt", "To be")])
    plain = _random(PRESETS["llama-tiny"]).eval()
    (found,) = generate(plain, encoder.tokenizer, [prompt], stops=encoder.stops, decoding=DECODING, seeds=[1])
    assert base == [found.text]


def test_a_stream_says_what_generate_says(talker):
    assert "".join(talker.stream("To be", DECODING, seed=1)) == talker.generate(["To be"], DECODING, seed=1)[0]


@pytest.mark.parametrize("decoding", [Decoding(12, 0.0, 1.0, beams=3), Decoding(12, 0.9, 1.0, repetition_penalty=1.3)])
def test_a_stream_of_other_settings_says_what_generate_says(talker, decoding):
    talker.which = "tuned"
    assert "".join(talker.stream("To be", decoding, seed=1)) == talker.generate(["To be"], decoding, seed=1)[0]


def test_a_stream_refuses_what_the_library_cannot_do_before_it_begins(talker):
    with pytest.raises(MachineError, match="contrastive"):
        next(talker.stream("To be", Decoding(12, 0.0, 1.0, top_k=4, penalty_alpha=0.6), seed=1))


@pytest.fixture(scope="module")
def short():
    """It has 1024 learned positions, and no number for one behind them."""
    tokenizer = byte_tokenizer()
    return Session(adapted("gpt2-tiny"), None, Encoder(tokenizer, chat_template(tokenizer)), has_template=True)


def test_a_prompt_that_fills_all_positions_goes_and_one_token_more_is_refused(short):
    over = len(short.encoder.prompt([Turn("prompt", "a")])) - 1 + DECODING.max_new_tokens
    fits = "a" * (1024 - over)
    assert short.generate([fits], DECODING, seed=1) == ["".join(short.stream(fits, DECODING, seed=1))]
    said = "the prompt does not fit: 1013 tokens leave no room for 12 new ones, as the model reads 1024 in all"
    with pytest.raises(InputError, match=said) as refused:
        next(short.stream(f"{fits}a", DECODING, seed=1))
    assert refused.value.fix == "shorten it, or lower max_new_tokens to 11"
    with pytest.raises(InputError, match=said):
        short.generate(["a", f"{fits}a"], DECODING, seed=1)
    with pytest.raises(InputError, match="the conversation no longer fits") as refused:
        next(short.chat_stream([{"role": "user", "content": "a" * 600}] * 2, DECODING, seed=1))
    assert refused.value.fix == "shorten it"


def test_a_chat_says_when_it_is_full_and_goes_on_after_clear(short, capsys):
    chat = Chat(short, Console(), seed=1, setting=Setting("x", DECODING))
    chat.loop(["a" * 500, "b" * 500, "c"])
    assert [message["content"][0] for message in chat._messages if message["role"] == "user"] == ["a", "c"]
    assert capsys.readouterr().err.count("the conversation no longer fits") == 1
    chat.loop(["/clear", "b" * 500])
    assert len(chat._messages) == 2


def test_an_error_while_generating_is_raised_where_the_pieces_are_read(short, monkeypatch):
    """In the thread's own hook it would be lost, and the answer would be taken for an empty one."""
    lost = []
    monkeypatch.setattr(threading, "excepthook", lost.append)
    monkeypatch.setattr(type(short.model.get_base_model()), "generate", _broken)
    with pytest.raises(ZeroDivisionError, match="while generating"):
        list(short.stream("To be", DECODING, seed=1))
    assert not lost


def _broken(*_, **__):
    raise ZeroDivisionError("while generating")
