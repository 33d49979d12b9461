import pytest
from fixture_adapted import adapted

from assay.core.errors import MachineError
from assay.core.records import Decoding, Turn
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
