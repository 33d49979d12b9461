from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerFast

from assay.core.errors import InputError
from assay.core.records import Item, Turn
from assay.text.template import ChatTemplate
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoded, Encoder, Tokens, chat_template, write_tokens

Make = Callable[..., TextTokenizer]
Templates = dict[str, tuple[str, str]]

SAID = st.lists(
    st.one_of(
        st.text(max_size=4),
        st.sampled_from(["the ", "\n", "  ", "<|im_end|>", "</s>", "日本", "😀", "e\u0301", "it's"]),
    ),
    min_size=1,
    max_size=4,
).map("".join)
CHATS = st.builds(
    lambda system, pairs: [*([Turn("system", system)] if system else []), *(turn for pair in pairs for turn in pair)],
    st.one_of(st.just(""), SAID),
    st.lists(
        st.tuples(SAID, SAID).map(lambda p: (Turn("user", p[0]), Turn("assistant", p[1]))), min_size=1, max_size=3
    ),
)


def chat(*turns: Turn) -> Item:
    return Item("c", "g", "", turns)


def pair(prompt: str, completion: str) -> Item:
    return Item("p", "g", "", (Turn("prompt", prompt), Turn("completion", completion)))


def text(said: str) -> Item:
    return Item("t", "g", said)


def rows(encoded: Encoded) -> list[tuple[list[int], list[bool], list[bool]]]:
    edges = encoded.starts.tolist()
    return [
        (encoded.ids[a:b].tolist(), encoded.learn[a:b].tolist(), encoded.content[a:b].tolist())
        for a, b in pairwise(edges)
    ]


@pytest.mark.parametrize("name", ["chatml", "llama-2", "llama-3", "qwen", "zephyr", "thinking"])
@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_ids_and_masks_are_those_of_transformers(
    name: str, kind: str, templates: Templates, byte_level: Make, pieces: Make
) -> None:
    tokenizer = byte_level() if kind == "bytes" else pieces()
    peer: Any = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend, bos_token="<s>", eos_token="</s>")
    encoders = [Encoder(tokenizer, chat_template(tokenizer, source)) for source in templates[name]]

    @settings(max_examples=20)
    @given(st.lists(CHATS, min_size=1, max_size=3))
    def check(chats: list[list[Turn]]) -> None:
        expected = [
            peer.apply_chat_template(
                [{"role": turn.role, "content": turn.text} for turn in turns],
                chat_template=templates[name][1], return_dict=True, return_assistant_tokens_mask=True,
            )
            for turns in chats
        ]  # fmt: skip
        for encoder in encoders:  # without marks and with them
            encoded = encoder.encode([chat(*turns) for turns in chats])
            assert [ids for ids, _, _ in rows(encoded)] == [row["input_ids"] for row in expected]
            assert [list(map(int, learn)) for _, learn, _ in rows(encoded)] == [r["assistant_masks"] for r in expected]

    check()


@pytest.mark.parametrize("prefix", [False, True])
def test_a_plain_text_is_learned_but_for_its_first_token(byte_level: Make, prefix: bool) -> None:
    tokenizer = byte_level(prefix=prefix)
    bos, eos = tokenizer.bos, tokenizer.eos
    ids = tokenizer.encode("The old house")
    ((got, learn, content),) = rows(Encoder(tokenizer, None).encode([text("The old house")]))
    before = [bos] if prefix else []
    assert got == [*before, *ids, eos]
    assert learn == [False, *[True] * (len(got) - 1)]
    assert content == [*[False] * len(before), *[True] * len(ids), False]


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("loss_on", ["completion", "last", "all"])
def test_prompt_and_completion_are_tokenized_apart(byte_level: Make, prefix: bool, loss_on: Any) -> None:
    tokenizer = byte_level(prefix=prefix)
    prompt, completion = tokenizer.encode("The ol"), tokenizer.encode("d house")
    assert [*prompt, *completion] != tokenizer.encode("The old house")
    ((got, learn, content),) = rows(Encoder(tokenizer, None, loss_on).encode([pair("The ol", "d house")]))
    before = [tokenizer.bos] if prefix else []
    assert got == [*before, *prompt, *completion, tokenizer.eos]
    asked = len(before) + len(prompt)
    if loss_on == "all":
        assert learn == [False, *[True] * (len(got) - 1)]
    else:
        assert learn == [*[False] * asked, *[True] * (len(completion) + 1)]
    assert content == [*[False] * asked, *[True] * len(completion), False]


def test_what_the_loss_is_on(byte_level: Make, templates: Templates) -> None:
    tokenizer = byte_level()
    template = chat_template(tokenizer, templates["llama-3"][0])
    item = chat(Turn("user", "q"), Turn("assistant", "one"), Turn("user", "q"), Turn("assistant", "two"))

    def learned(loss_on: Any) -> str:
        encoded = Encoder(tokenizer, template, loss_on).encode([item])
        return tokenizer.decode(encoded.ids[encoded.learn].tolist(), keep_special=True)

    assert learned("completion") == "one<|eot_id|>two<|eot_id|>"
    assert learned("last") == "two<|eot_id|>"
    assert "<s>" + learned("all") == template.render(item.turns).text


def test_contents_are_said_without_template_and_end(byte_level: Make, templates: Templates) -> None:
    tokenizer = byte_level()
    for source in templates["chatml"]:
        encoded = Encoder(tokenizer, chat_template(tokenizer, source)).encode(
            [chat(Turn("user", "q"), Turn("assistant", "one"), Turn("user", "q"), Turn("assistant", " 😀"))]
        )
        assert tokenizer.decode(encoded.ids[encoded.content].tolist(), keep_special=True) == "one 😀"


def test_a_row_does_not_depend_on_its_batch(byte_level: Make, templates: Templates) -> None:
    tokenizer = byte_level(prefix=True)
    encoder = Encoder(tokenizer, chat_template(tokenizer, templates["chatml"][0]))
    kinds = st.one_of(SAID.map(text), st.tuples(SAID, SAID).map(lambda p: pair(*p)), CHATS.map(lambda c: chat(*c)))

    @settings(max_examples=30)
    @given(st.lists(st.one_of(kinds, st.just(text(""))), max_size=5))
    def check(items: list[Item]) -> None:
        encoded = encoder.encode(items)
        assert len(encoded) == len(items)
        assert rows(encoded) == [rows(encoder.encode([item]))[0] for item in items]
        sizes = [len("".join(t.text for t in i.turns).encode()) if i.turns else i.size for i in items]
        framed = [not item.turns or item.turns[0].role == "prompt" for item in items]
        assert [s for s, own in zip(encoded.sizes.tolist(), framed, strict=True) if own] == [
            s for s, own in zip(sizes, framed, strict=True) if own
        ]
        batches = [items[:2], items[2:], items]
        for batch, (given_items, other) in zip(batches, encoder.encode_all(batches), strict=True):
            assert given_items == batch
            assert rows(other) == rows(encoder.encode(batch))

    check()


def test_a_beginning_that_is_there_twice_is_noticed(byte_level: Make, templates: Templates) -> None:
    tokenizer = byte_level(prefix=True)
    encoder = Encoder(tokenizer, chat_template(tokenizer, "{{ bos_token }}{{ messages[0].content }}{{ eos_token }}"))
    said = ["<s>twice", "once", "", "a <s><s>"]
    items = [*map(text, said), *(chat(Turn("user", words)) for words in said)]
    assert encoder.encode(items).doubled.tolist() == [True, False, False, False] * 2
    without = Encoder(byte_level(), None)  # no prefix, but a beginning-of-text token
    assert without.encode([text("<s><s>a"), text("<s>a")]).doubled.tolist() == [True, False]


@pytest.mark.parametrize("prefix", [False, True])
def test_the_default_template_asks_with_the_ids_of_training(byte_level: Make, prefix: bool) -> None:
    tokenizer = byte_level(prefix=prefix)
    template = chat_template(tokenizer)
    encoder = Encoder(tokenizer, template)

    @settings(max_examples=50)
    @given(CHATS)
    def check(turns: list[Turn]) -> None:
        ((ids, learn, _),) = rows(encoder.encode([chat(*turns)]))
        asked = tokenizer.encode(template.prompt(turns[:-1]))
        assert ids[: len(asked)] == asked
        assert not any(learn[: len(tokenizer.encode(template.prompt(turns[:1])))])
        assert ids[-1] == tokenizer.eos
        assert learn[-1]
        assert (ids[0] == tokenizer.bos) == prefix or turns[0].text.startswith("<s>")

    check()


def test_the_template_given_comes_before_the_tokenizers_own(byte_level: Make) -> None:
    tokenizer = byte_level()
    own = TextTokenizer(tokenizer.backend, tokenizer.bos, tokenizer.eos, "own", tokenizer.named)
    assert chat_template(TextTokenizer(tokenizer.backend, None, tokenizer.eos)).named == {"eos_token": "</s>"}
    assert chat_template(own, "given").source == "given"
    assert chat_template(own).source == "own"
    assert "Assistant:" in chat_template(tokenizer).source
    assert chat_template(own).named == {"bos_token": "<s>", "eos_token": "</s>"}


def test_a_chat_that_cannot_be_rendered_is_named(byte_level: Make) -> None:
    tokenizer = byte_level()
    item = Item("ab12", "row 3", "", (Turn("user", "q"), Turn("assistant", "a")))
    with pytest.raises(InputError, match=r"item ab12 \(row 3\): is a chat, and there is no chat template"):
        Encoder(tokenizer, None).encode([item])
    with pytest.raises(InputError, match=r"item ab12 \(row 3\): .*no chats here"):
        Encoder(tokenizer, ChatTemplate("{{ raise_exception('no chats here') }}")).encode([item])


def test_tokens_come_back_from_disk(byte_level: Make, tmp_path: Path) -> None:
    encoder = Encoder(byte_level(prefix=True), None)
    batches = [encoder.encode([text("one"), pair("two", "three")]), encoder.encode([]), encoder.encode([text("four")])]
    assert write_tokens(tmp_path, batches) == 3
    tokens = Tokens.open(tmp_path)
    expected = [(ids, learn) for batch in batches for ids, learn, _ in rows(batch)]
    assert [(ids.tolist(), learn.tolist()) for ids, learn in map(tokens.row, range(len(tokens)))] == expected
    assert tokens.lengths.tolist() == [len(ids) for ids, _ in expected]
    assert isinstance(tokens.ids, np.memmap)
    for name, kind in (("ids", np.int32), ("learn", np.bool_), ("starts", np.int64)):
        assert np.load(tmp_path / f"{name}.npy").dtype == kind


def test_no_rows_are_tokens_too(tmp_path: Path) -> None:
    assert write_tokens(tmp_path, []) == 0
    assert len(Tokens.open(tmp_path)) == 0


@pytest.mark.parametrize(
    ("name", "damage", "word"),
    [
        ("ids", lambda data: None, "this file is missing"),
        ("learn", lambda data: data[:-1], "is not a file of tokens"),
        ("starts", lambda data: b"", "is not a file of tokens"),
        ("ids", lambda data: data.replace(b"<i4", b"<f4"), "holds float32, not int32"),
    ],
)
def test_damaged_tokens_are_refused(
    byte_level: Make, tmp_path: Path, name: str, damage: Callable[[bytes], bytes | None], word: str
) -> None:
    write_tokens(tmp_path, [Encoder(byte_level(), None).encode([text("some words")])])
    file = tmp_path / f"{name}.npy"
    damaged = damage(file.read_bytes())
    if damaged is None:
        file.unlink()
    else:
        file.write_bytes(damaged)
    with pytest.raises(InputError, match=word) as error:
        Tokens.open(tmp_path)
    assert error.value.where == str(file)


def test_tokens_of_two_runs_do_not_fit(byte_level: Make, tmp_path: Path) -> None:
    encoder = Encoder(byte_level(), None)
    write_tokens(tmp_path, [encoder.encode([text("some words")])])
    kept = (tmp_path / "ids.npy").read_bytes()
    write_tokens(tmp_path, [encoder.encode([text("other")])])
    (tmp_path / "ids.npy").write_bytes(kept)
    with pytest.raises(InputError, match="do not fit each other"):
        Tokens.open(tmp_path)
