import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from assay.core.errors import InputError
from assay.text.tokenizer import TextTokenizer


def bytes_backend(*, special: tuple[str, ...] = ("<s>", "</s>")) -> Tokenizer:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(list(special))
    return backend


def with_prefix() -> Tokenizer:
    backend = bytes_backend()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    return backend


def test_the_tokenizers_own_prefix_is_found():
    assert TextTokenizer(with_prefix(), 256, 257).prefix == (256,)
    assert TextTokenizer(bytes_backend(), 256, 257).prefix == ()


def test_a_first_token_is_predicted_from_the_prefix_else_bos_else_eos():
    assert TextTokenizer(with_prefix(), 256, 257).context == 256
    assert TextTokenizer(bytes_backend(), 256, 257).context == 256
    assert TextTokenizer(bytes_backend(), None, 257).context == 257
    assert TextTokenizer(bytes_backend(), None, None).context is None


@pytest.mark.parametrize("text", ["", "plain", "Ünïcödé ☃ \U0001f600", "a\r\n\tb  c", "<s> inside"])
def test_texts_survive_the_way_there_and_back(text):
    tokenizer = TextTokenizer(with_prefix(), 256, 257)
    assert tokenizer.decode(tokenizer.encode(text), keep_special=True) == text


def test_a_batch_is_its_texts():
    tokenizer = TextTokenizer(with_prefix(), 256, 257)
    texts = ["one", "", "two three"]
    assert tokenizer.encode_batch(texts) == [tokenizer.encode(t) for t in texts]


def test_the_hash_sees_ids_and_special_tokens():
    one = TextTokenizer(bytes_backend(), 256, 257)
    assert one.sha256 == TextTokenizer(bytes_backend(), 256, 257).sha256
    assert one.sha256 != TextTokenizer(bytes_backend(), 256, 256).sha256
    assert one.sha256 != TextTokenizer(with_prefix(), 256, 257).sha256


def test_a_folder_gives_its_special_tokens_and_template(tmp_path):
    with_prefix().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text('{"bos_token": {"content": "<s>"}, "eos_token": "</s>"}')
    (tmp_path / "chat_template.jinja").write_text("{{ messages }}")
    tokenizer = TextTokenizer.from_folder(tmp_path)
    assert (tokenizer.bos, tokenizer.eos, tokenizer.chat_template) == (256, 257, "{{ messages }}")
    assert tokenizer.special_tokens == ["</s>", "<s>"]


def test_a_folder_gives_the_names_that_templates_use(tmp_path):
    with_prefix().save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(
        '{"bos_token": {"content": "<s>"}, "eos_token": "</s>", "pad_token": null, "add_bos_token": true,'
        ' "chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}'
    )
    tokenizer = TextTokenizer.from_folder(tmp_path)
    assert tokenizer.named == {"bos_token": "<s>", "eos_token": "</s>"}
    assert tokenizer.chat_template == "D"
    assert tokenizer.control_tokens == ["</s>", "<s>"]


def test_control_tokens_are_added_tokens_but_blanks():
    backend = bytes_backend()
    backend.add_tokens(["\n\n", "<end>"])
    a = backend.token_to_id("a")
    assert TextTokenizer(backend, None, a).control_tokens == ["</s>", "<end>", "<s>", "a"]


def test_a_length_that_was_saved_with_a_tokenizer_cuts_nothing(tmp_path):
    backend = with_prefix()
    backend.enable_truncation(3)
    backend.enable_padding(length=9)
    backend.save(str(tmp_path / "tokenizer.json"))
    tokenizer = TextTokenizer.from_folder(tmp_path)
    assert tokenizer.decode(tokenizer.encode("more than three")) == "more than three"
    assert len(tokenizer.encode("ab")) == 2


def test_flat_ids_are_those_of_a_batch():
    tokenizer = TextTokenizer(with_prefix(), 256, 257)
    texts = ["one", "", "two three"]
    flat = tokenizer.encode_flat(texts)
    assert [part.tolist() for part in np.split(flat.ids, flat.starts[1:-1])] == tokenizer.encode_batch(texts)
    assert tokenizer.backend_name == "tokenizers"
    assert tokenizer.backend_reason == "no larger batch was encoded so far"


def test_a_folder_without_a_fast_tokenizer_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"has no tokenizer\.json"):
        TextTokenizer.from_folder(tmp_path)
