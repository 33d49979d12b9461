from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from assay.text import flat as module
from assay.text.flat import FlatEncoder, byte_positions
from assay.text.tokenizer import TextTokenizer

Make = Callable[..., TextTokenizer]

TEXTS = st.lists(
    st.lists(
        st.one_of(
            st.text(max_size=5),
            st.sampled_from(["the ", " and", "\n\n", "  ", "<|im_end|>", "<s>", "e\u0301", "Å", "日本", "😀", "12"]),
        ),
        max_size=6,
    ).map("".join),
    max_size=5,
)


def covered(backend: Tokenizer, texts: list[str]) -> list[tuple[int, int, int]]:
    """Id, first byte and byte behind of every token, the slow way."""
    exact = Tokenizer.from_str(backend.to_str())
    exact.post_processor = None
    found, base = [], 0
    for text in texts:
        encoding = exact.encode(text, add_special_tokens=False)
        for number, (start, end) in zip(encoding.ids, encoding.offsets, strict=True):
            found.append((number, base + len(text[:start].encode()), base + len(text[:end].encode())))
        base += len(text.encode())
    return found


@given(TEXTS)
def test_characters_begin_at_their_bytes(texts: list[str]) -> None:
    text = "".join(texts)
    assert byte_positions(text).tolist() == [len(text[:n].encode()) for n in range(len(text) + 1)]


@pytest.mark.parametrize("kind", [{}, {"prefix": True}, {"trim": True}, {"compose": True}, None])
def test_ids_and_ranges_are_the_references(byte_level: Make, pieces: Make, kind: dict[str, bool] | None) -> None:
    tokenizer = pieces() if kind is None else byte_level(**kind)

    @settings(max_examples=40)
    @given(TEXTS)
    def check(texts: list[str]) -> None:
        flat = tokenizer.encode_flat(texts, ranges=True)
        expected = covered(tokenizer.backend, texts)
        assert flat.ids.tolist() == [number for number, _, _ in expected]
        assert np.diff(flat.starts).tolist() == [len(tokenizer.encode(text)) for text in texts]
        assert np.diff(flat.bytes).tolist() == [len(text.encode()) for text in texts]
        for (_, start, end), first, behind in zip(expected, flat.first, flat.behind, strict=True):
            assert start <= first <= behind <= end  # of a character in several tokens each may know its own bytes
        assert tokenizer.encode_flat(texts).ids.tolist() == flat.ids.tolist()

    check()


def test_a_text_whose_tokens_leave_gaps_is_looked_up(byte_level: Make) -> None:
    tokenizer = byte_level()
    tokenizer.backend.add_tokens([AddedToken("<cut>", rstrip=True, normalized=False)])
    texts = ["plain", "a <cut>   b", "the end"]
    flat = tokenizer.encode_flat(texts, ranges=True)
    expected = covered(tokenizer.backend, texts)
    assert list(zip(flat.ids.tolist(), flat.first.tolist(), flat.behind.tolist(), strict=True)) == expected


def test_a_byte_without_a_token_is_lost_and_the_others_keep_their_place() -> None:
    letters = sorted(set(pre_tokenizers.ByteLevel.alphabet()) - {"Ā"})  # the byte 0
    backend = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    texts = ["whole", "a\x00b", "whole"]
    flat = TextTokenizer(backend, None, None).encode_flat(texts, ranges=True)
    found = list(zip(flat.ids.tolist(), flat.first.tolist(), flat.behind.tolist(), strict=True))
    assert found == covered(backend, texts)
    assert [first for _, first, _ in found] == [0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12]


def test_the_quicker_implementation_agrees_and_is_used(byte_level: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("fastokens")
    monkeypatch.setattr(module, "_SMALL", 0)
    tokenizer = byte_level()
    texts = ["The old house — 1887\n", "<|im_start|>user\nit's 😀<|im_end|>\n", "", "e\u0301" * 50]
    flat = tokenizer.encode_flat(texts, ranges=True)
    assert (tokenizer.backend_name, flat.ids.tolist()) == ("fastokens", [i for t in texts for i in tokenizer.encode(t)])
    assert "hard strings" in tokenizer.backend_reason


class Fake:
    """A quicker implementation that fails in one way, after so many calls."""

    def __init__(self, backend: Tokenizer, fault: str, after: int) -> None:
        self.backend, self.fault, self.after = backend, fault, after

    def from_json_str(self, text: str) -> Fake:
        return self

    def encode_batch_flat(self, texts: list[str]) -> tuple[bytes, bytes]:
        self.after -= 1
        ids = [self.backend.encode(text, add_special_tokens=False).ids for text in texts]
        if self.after < 0 and self.fault == "wrong":
            ids[-1] = [*ids[-1], 0]
        if self.after < 0 and self.fault == "raises":
            raise RuntimeError("a bad day")
        flat = np.array([i for some in ids for i in some], "<u4").tobytes()
        return flat, np.cumsum([0, *map(len, ids)]).astype("<u8").tobytes()


@pytest.mark.parametrize(("fault", "word"), [("wrong", "other ids for"), ("raises", "a bad day")])
@pytest.mark.parametrize("after", range(5))
def test_a_disagreement_ends_its_use(
    byte_level: Make, monkeypatch: pytest.MonkeyPatch, fault: str, word: str, after: int
) -> None:
    tokenizer = byte_level()
    fake = Fake(tokenizer.backend, fault, after)
    monkeypatch.setattr(module, "_SMALL", 0)
    monkeypatch.setattr(module, "installed", lambda name: True)
    monkeypatch.setattr(module.importlib, "import_module", lambda name: SimpleNamespace(Tokenizer=fake))
    encoder, texts = FlatEncoder(tokenizer.backend), ["one two", "three", "four five"]
    expected = [i for text in texts for i in tokenizer.encode(text)]
    for _ in range(2):
        assert encoder.encode(texts).ids.tolist() == expected
    assert encoder.name == "tokenizers"
    assert word in encoder.reason


def test_without_the_quicker_implementation_the_reason_is_told(
    byte_level: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_SMALL", 0)
    monkeypatch.setattr(module, "installed", lambda name: False)
    tokenizer = byte_level()
    tokenizer.encode_flat(["some text"])
    assert (tokenizer.backend_name, tokenizer.backend_reason) == ("tokenizers", "fastokens is not installed")
