import pytest

from assay.core.records import Decoding, Turn
from assay.model import adapters
from assay.model.generate import generate
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.model.session import Session
from assay.text.tokenizer import byte_tokenizer
from assay.text.tokens import Encoder, chat_template

DECODING = Decoding(max_new_tokens=12, temperature=0.9, top_p=0.95)


@pytest.fixture(scope="module")
def talker():
    model = _random(PRESETS["llama-tiny"])
    model.requires_grad_(False)
    adapted = adapters.attach(
        model, kind="lora", rank=4, alpha=8.0, dropout=0.0, targets="all-linear", rslora=False, seed=1
    )
    for name, parameter in adapters.trainable(adapted).items():
        parameter.data += 0.2 if "lora_B" in name else 0.1
    tokenizer = byte_tokenizer()
    return Session(adapted.eval(), None, Encoder(tokenizer, chat_template(tokenizer)))


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
