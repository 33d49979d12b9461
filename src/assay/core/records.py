"""The types that cross stages: an item of data, its turns, and how tokens are chosen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from assay.core.files import sha256_text

# `prompt` and `completion` are the two turns of a pair, which is joined as it stands; the others make a chat.
Role = Literal["system", "user", "assistant", "tool", "prompt", "completion"]


class Turn(NamedTuple):
    """What one side says. (A tuple, as some data sets have millions of them.)"""

    role: Role
    text: str


def repeated(turns: Sequence[Turn]) -> Role | None:
    """Who speaks twice in a row: the first of user and assistant that does, or None. Several tools may answer."""
    twice = (one.role for one, other in pairwise(turns) if one.role == other.role)
    return next((role for role in twice if role in ("user", "assistant")), None)


@dataclass(frozen=True, slots=True)
class Item:
    """The unit that is trained on or held out: a row, chapter, file or chunk, with the group that it is split by.

    Args:
        id: a hash of the group and the content.
        group: the independent unit that it belongs to.
        text: its content: what checks compare, without system prompts and templates; of plain text, the text itself.
        turns: of a pair or a chat, what is said; empty for plain text.
    """

    id: str
    group: str
    text: str
    turns: tuple[Turn, ...] = ()

    @property
    def size(self) -> int:
        """Bytes of the text in UTF-8."""
        return len(self.text.encode())

    @property
    def sha256(self) -> str:
        """The hash of its content; see `content_hash`."""
        return content_hash(self.text, self.turns)


def content_hash(text: str, turns: Sequence[Turn] = ()) -> str:
    """SHA-256 of what an item says: of plain text the text's, of a pair or a chat that of its turns."""
    # with the lengths no two lists of turns are one text
    return sha256_text("".join([f"{t.role} {len(t.text)}\n{t.text}\n" for t in turns]) if turns else text)


def item_id(group: str, content: str) -> str:
    """An item's id: the first 16 hexadecimal digits of a hash of its group and its content's hash."""
    return sha256_text(f"{group}\n{content}")[:16]


def is_name(spec: str) -> bool:
    """Whether a text names something that ships, and no file: it has neither a suffix nor a path."""
    return re.fullmatch(r"[\w-]+", spec) is not None


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen.

    Args:
        max_new_tokens: the limit.
        temperature: 0 takes the likeliest token each time.
        top_p: nucleus sampling (arXiv 1904.09751).
    """

    max_new_tokens: int
    temperature: float
    top_p: float
