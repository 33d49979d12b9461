"""Text to ids and back, on the Rust tokenizer alone: no torch, no transformers.

This is the one place that decides which special tokens stand around a text. The tokenizer's own
convention holds (a Llama puts its beginning-of-text token in front, a GPT-2 puts nothing), and the
end-of-text token closes each whole document in training.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from assay.core.errors import InputError
from assay.core.files import sha256_text


@dataclass(frozen=True)
class TextTokenizer:
    """A tokenizer and the special ids around its texts."""

    backend: Tokenizer
    bos: int | None
    eos: int | None
    chat_template: str | None = None

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
        settings = json.loads(settings_file.read_text(encoding="utf-8")) if settings_file.is_file() else {}
        template_file = folder / "chat_template.jinja"
        template = (
            template_file.read_text(encoding="utf-8") if template_file.is_file() else settings.get("chat_template")
        )
        backend = Tokenizer.from_file(str(file))
        return cls(
            backend, _special(backend, settings, "bos_token"), _special(backend, settings, "eos_token"), template
        )

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
    def sha256(self) -> str:
        """A hash of everything that decides the ids."""
        return sha256_text(json.dumps([self.backend.to_str(), self.bos, self.eos]))

    @property
    def template_sha256(self) -> str | None:
        """A hash of the chat template, where there is one."""
        return None if self.chat_template is None else sha256_text(self.chat_template)


def _special(backend: Tokenizer, settings: dict[str, Any], name: str) -> int | None:
    token = settings.get(name)
    content = token.get("content") if isinstance(token, dict) else token
    found: int | None = None if content is None else backend.token_to_id(content)
    return found
