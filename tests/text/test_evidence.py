from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from assay.core.records import Item, Turn
from assay.text.evidence import end_of_turn, prompt_mismatches, shown
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoder, chat_template

Make = Callable[..., TextTokenizer]
Templates = dict[str, tuple[str, str]]

CHAT = Item("c", "g", "", (Turn("user", "q"), Turn("assistant", "one"), Turn("user", "q"), Turn("assistant", "two")))
PAIR = Item("p", "g", "", (Turn("prompt", "The ol"), Turn("completion", "d house")))
TEXT = Item("t", "g", "The old house")

HEADS = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}"
ASKS = "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"


@pytest.mark.parametrize("name", ["chatml", "llama-2", "qwen", "zephyr"])
def test_sound_templates(name: str, templates: Templates, byte_level: Make) -> None:
    tokenizer = byte_level(prefix=True)
    for source in templates[name]:
        encoder = Encoder(tokenizer, chat_template(tokenizer, source))
        assert prompt_mismatches(encoder, [CHAT, PAIR, TEXT]) == []
        found = end_of_turn(encoder, [CHAT, PAIR, TEXT])
        assert found is not None
        assert found["token"] == encoder.template.end_of_turn  # type: ignore[union-attr]
        assert (found["turns"], found["supervised"]) == (2, 2)


def test_of_the_last_turn_only_its_own_end_is_asked(byte_level: Make, templates: Templates) -> None:
    tokenizer = byte_level()
    encoder = Encoder(tokenizer, chat_template(tokenizer, templates["chatml"][1]), "last")
    assert end_of_turn(encoder, [CHAT]) == {"token": "<|im_end|>", "turns": 1, "supervised": 1}


def test_a_prompt_with_other_ids_is_found(byte_level: Make, templates: Templates) -> None:
    tokenizer = byte_level()
    source = HEADS + "{{ m.content + '<|im_end|>' }}" + ASKS.replace("assistant\\n", "assistant\\n<think>")
    (found,) = prompt_mismatches(Encoder(tokenizer, chat_template(tokenizer, source)), [CHAT, PAIR])
    assert (found["id"], found["trained"].startswith("t"), found["asked"].startswith("<")) == ("c", True, True)
    # GPT-2's rule divides two line breaks before a word, and not at the end; Llama 3's own rule never does
    encoder = Encoder(tokenizer, chat_template(tokenizer, templates["llama-3"][1]))
    (found,) = prompt_mismatches(encoder, [CHAT])
    assert (found["trained"], found["asked"]) == ("\n", "\n\n")


@pytest.mark.parametrize(
    ("answer", "token", "supervised"),
    [
        ("{% generation %}{{ m.content }}{% endgeneration %}{{ '<|im_end|>' }}", "<|im_end|>", 0),
        ("{{ m.content + '\\n' }}", None, 0),
        ("{% generation %}{{ m.content + '<|im_end|>' }}{% endgeneration %}", "<|im_end|>", 2),
    ],
)
def test_an_end_of_turn_that_is_not_learned_is_found(
    byte_level: Make, answer: str, token: Any, supervised: int
) -> None:
    tokenizer = byte_level()
    encoder = Encoder(tokenizer, chat_template(tokenizer, HEADS + answer + ASKS))
    assert end_of_turn(encoder, [CHAT]) == {"token": token, "turns": 2, "supervised": supervised}


def test_without_chats_no_end_of_turn_is_asked(byte_level: Make) -> None:
    tokenizer = byte_level()
    assert end_of_turn(Encoder(tokenizer, None), [PAIR, TEXT]) is None
    assert end_of_turn(Encoder(tokenizer, chat_template(tokenizer)), [TEXT]) is None


def test_rows_are_shown_with_what_is_learned(byte_level: Make, pieces: Make) -> None:
    item = Item("c", "g", "", (Turn("user", "a\x1b[31m\u202eb"), Turn("assistant", "the 日本\n😀")))
    for tokenizer, gap in ((byte_level(prefix=True), ""), (pieces(), " ")):
        encoded = Encoder(tokenizer, chat_template(tokenizer)).encode([TEXT, item])
        head, body = shown(encoded, 1, "row 2", tokenizer, colour=False).split("\n", 1)
        ids, learn = encoded.row(1)
        assert head == f"row 2: {len(ids)} tokens, {learn.sum()} of them learned"
        assert body == f"<s>{gap}User: a\\x1b[31m\\u202eb⏎\nAssistant:[[ the 日本⏎\n😀</s>]]"
        coloured = shown(encoded, 1, "row 2", tokenizer, colour=True).split("\n", 1)[1]
        assert coloured == body.replace("[[", "\x1b[32m").replace("]]", "\x1b[0m")


def test_a_row_without_tokens_is_shown_too(byte_level: Make) -> None:
    tokenizer = byte_level()
    bare = TextTokenizer(tokenizer.backend, None, None)
    encoded = Encoder(bare, None).encode([Item("t", "g", "")])
    assert shown(encoded, 0, "row 1", bare, colour=False) == "row 1: 0 tokens, 0 of them learned\n"
