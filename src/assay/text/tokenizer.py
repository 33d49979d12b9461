"""Text to ids and back, on the Rust tokenizer alone: no torch, no transformers.

This is the one place that decides which special tokens stand around a text. The tokenizer's own
convention holds (a Llama puts its beginning-of-text token in front, a GPT-2 puts nothing), and the
end-of-text token closes each whole document in training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from assay.core.errors import InputError, first_line
from assay.core.files import sha256_text
from assay.text.flat import Flat, FlatEncoder
from assay.text.template import default_source


@dataclass(frozen=True)
class TextTokenizer:
    """A tokenizer and the special ids around its texts.

    Args:
        backend: the Rust tokenizer.
        bos: the beginning-of-text id.
        eos: the end-of-text id.
        chat_template: the model's own, in Jinja.
        named: the special tokens by the names that templates use (`bos_token`, `eos_token`, ...).
    """

    backend: Tokenizer
    bos: int | None
    eos: int | None
    chat_template: str | None = None
    named: Mapping[str, str] = field(default_factory=dict, hash=False)

    @classmethod
    def from_folder(cls, folder: Path) -> TextTokenizer:
        """Read `tokenizer.json`, `tokenizer_config.json` and `chat_template.jinja` of a model's folder.

        Raises:
            InputError: the folder has no `tokenizer.json`.
        """
        file = folder / "tokenizer.json"
        if not file.is_file():
            raise InputError(
                "has no tokenizer.json",
                where=str(folder),
                fix="save the model's fast tokenizer there: AutoTokenizer.from_pretrained(...).save_pretrained(folder)",
            )
        settings_file = folder / "tokenizer_config.json"
        try:
            settings = json.loads(settings_file.read_text(encoding="utf-8")) if settings_file.is_file() else {}
            backend = Tokenizer.from_file(str(file))
        except Exception as error:  # the Rust library raises nothing narrower
            raise InputError(
                f"holds a tokenizer that cannot be read: {first_line(error)}",
                where=str(folder),
                fix="save the model's tokenizer there again: tokenizer.save_pretrained(folder)",
            ) from error
        template_file = folder / "chat_template.jinja"
        if template_file.is_file():
            template: str | None = template_file.read_text(encoding="utf-8")
        else:
            template = default_source(settings.get("chat_template"), str(settings_file))
        # settings of the last call before it was saved, and none of the tokenizer's own
        backend.no_truncation()
        backend.no_padding()
        named = _named(settings)
        bos, eos = (backend.token_to_id(named[name]) if name in named else None for name in ("bos_token", "eos_token"))
        return cls(backend, bos, eos, template, named)

    @cached_property
    def prefix(self) -> tuple[int, ...]:
        """What the tokenizer itself puts in front of a text; empty for many."""
        whole = self.backend.encode("a", add_special_tokens=True).ids
        bare = self.backend.encode("a", add_special_tokens=False).ids
        for start in range(len(whole) - len(bare) + 1):
            if whole[start : start + len(bare)] == bare:
                return tuple(whole[:start])
        return ()

    @property
    def context(self) -> int | None:
        """The id that a text's first token is predicted from when it is scored: the tokenizer's own
        prefix, else the beginning-of-text id, else the end-of-text id (as lm-evaluation-harness does)."""
        if self.prefix:
            return self.prefix[-1]
        return self.bos if self.bos is not None else self.eos

    def encode(self, text: str) -> list[int]:
        """The ids of a text alone, with no special token added."""
        ids: list[int] = self.backend.encode(text, add_special_tokens=False).ids
        return ids

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        """The ids of several texts, on all cores."""
        return [encoding.ids for encoding in self.backend.encode_batch_fast(texts, add_special_tokens=False)]

    def encode_flat(self, texts: Sequence[str], *, ranges: bool = False) -> Flat:
        """The ids of many texts as flat arrays, with no special token added; quicker than `encode_batch`.

        Args:
            texts: what to encode.
            ranges: tell of each id which bytes of the texts it covers.
        """
        return self._flat.encode(texts, ranges=ranges)

    @cached_property
    def _flat(self) -> FlatEncoder:
        return FlatEncoder(self.backend)

    @property
    def backend_name(self) -> str:
        """The implementation that encodes larger batches in `encode_flat`."""
        return self._flat.name

    @property
    def backend_reason(self) -> str:
        """Why it is this one."""
        return self._flat.reason

    def decode(self, ids: list[int], *, keep_special: bool = False) -> str:
        """The text of some ids; special tokens are left out unless asked for."""
        text: str = self.backend.decode(ids, skip_special_tokens=not keep_special)
        return text

    @cached_property
    def special_tokens(self) -> list[str]:
        """The contents of all special tokens, as they would look in a text."""
        added = self.backend.get_added_tokens_decoder().values()
        return sorted(token.content for token in added if token.special)

    @cached_property
    def control_tokens(self) -> list[str]:
        """The contents of the tokens that a template may end a turn with: the added ones but blanks, and the
        end-of-text token."""
        added = {token.content for token in self.backend.get_added_tokens_decoder().values()}
        eos = None if self.eos is None else self.backend.id_to_token(self.eos)
        return sorted(token for token in {*added, eos or ""} if token.strip())

    @cached_property
    def sha256(self) -> str:
        """A hash of everything that decides the ids."""
        return sha256_text(json.dumps([self.backend.to_str(), self.bos, self.eos]))

    @property
    def template_sha256(self) -> str | None:
        """A hash of the chat template, where there is one."""
        return None if self.chat_template is None else sha256_text(self.chat_template)


def _named(settings: Mapping[str, Any]) -> dict[str, str]:
    """The named special tokens of a `tokenizer_config.json`; an entry is a text or an object with its content."""
    contents = {
        name: value.get("content") if isinstance(value, dict) else value
        for name, value in settings.items()
        if name.endswith("_token")
    }
    return {name: content for name, content in contents.items() if isinstance(content, str)}


def byte_tokenizer() -> TextTokenizer:
    """256 byte tokens and an end-of-text token: every text is exactly its UTF-8 bytes."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={char: i for i, char in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken("<|endoftext|>", special=True)])
    eos = backend.token_to_id("<|endoftext|>")
    named = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
    return TextTokenizer(backend, eos, eos, named=named)
