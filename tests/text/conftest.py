"""Tokenizers and chat templates that the tests of texts share; nothing is downloaded."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from assay.text.tokenizer import TextTokenizer

SPECIAL = [
    "<|endoftext|>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|start_header_id|>", "<|end_header_id|>",
    "<|eot_id|>", "<|user|>", "<|assistant|>", "<|system|>",
]  # fmt: skip
PROSE = [
    "The old house stood on the hill, and nobody knew who had built it in 1887.",
    "User: what's the weather like?\nAssistant: It's raining — again! 12,5 °C.\n\n",
    "def add(a, b):\n    return a + b\n",
    "Ünïcödé ☃ 日本語 текст 😀 e\u0301 and so on, and so on, and so on.",
    "system user assistant tool\n<think>\nwhy\n</think>\n\nbecause",
]


@pytest.fixture(scope="session")
def templates() -> dict[str, tuple[str, str]]:
    """Templates by name: as they are found in the wild, and with marks that were put in by hand."""
    marked = {file.stem: file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("templates/*.jinja")}
    return {name: (re.sub(r"{%-? (end)?generation -?%}", "", text), text) for name, text in marked.items()}


@pytest.fixture(scope="session")
def byte_level() -> Callable[..., TextTokenizer]:
    """A function that makes a byte-level tokenizer as GPT-2's, with special tokens and a few merges of its own."""

    def make(*, prefix: bool = False, trim: bool = False, compose: bool = False) -> TextTokenizer:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        if compose:
            backend.normalizer = normalizers.NFC()
        trainer = trainers.BpeTrainer(
            vocab_size=420,
            special_tokens=SPECIAL,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        backend.train_from_iterator(PROSE, trainer)
        bos, eos = backend.token_to_id("<s>"), backend.token_to_id("</s>")
        if prefix:
            backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
        if trim:
            backend.post_processor = processors.ByteLevel(trim_offsets=True)
        return TextTokenizer(backend, bos, eos, None, {"bos_token": "<s>", "eos_token": "</s>"})

    return make


@pytest.fixture(scope="session")
def pieces() -> Callable[..., TextTokenizer]:
    """A function that makes a tokenizer in SentencePiece's manner: blanks become ▁, unknown characters bytes."""

    def make() -> TextTokenizer:
        letters = sorted({character for text in PROSE for character in text.replace(" ", "▁") if character.isascii()})
        known = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *letters, "th", "▁th", "▁the", "in"]
        vocabulary = {token: number for number, token in enumerate(dict.fromkeys(known))}
        merges = [("t", "h"), ("▁", "th"), ("▁th", "e"), ("i", "n")]
        backend = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        backend.add_special_tokens(SPECIAL)
        bos, eos = backend.token_to_id("<s>"), backend.token_to_id("</s>")
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", bos)])
        return TextTokenizer(backend, bos, eos, None, {"bos_token": "<s>", "eos_token": "</s>"})

    return make
