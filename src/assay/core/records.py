"""The types that cross stages: an item of data, its turns, and how tokens are chosen."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import pairwise
from typing import Literal, NamedTuple

from assay.core.files import sha256_text

# `prompt` and `completion` are the two turns of a pair, which is joined as it stands; the others make a chat.
Role = Literal["system", "user", "assistant", "tool", "prompt", "completion"]

PROMPT = "{prompt}"  # stands in a template for the prompt
BARE = "bare"  # the name of the template that adds nothing


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


WORDS = {
    "max_new_tokens": "tokens", "temperature": "temperature", "top_p": "top-p", "top_k": "top-k", "min_p": "min-p",
    "typical_p": "typical-p", "repetition_penalty": "penalty", "no_repeat_ngram": "no repeated n-gram, n",
    "beams": "beams", "penalty_alpha": "penalty alpha",
}  # fmt: skip


@dataclass(frozen=True)
class Decoding:
    """How tokens are chosen. A value that is left at its default does nothing.

    Args:
        max_new_tokens: the limit.
        temperature: 0 takes the likeliest token each time.
        top_p: nucleus sampling (arXiv 1904.09751).
        top_k: draw from so many of the likeliest tokens (arXiv 1805.04833); 0: from all.
        min_p: leave out tokens less likely than this share of the likeliest one's probability (arXiv 2407.01082).
        typical_p: locally typical sampling (arXiv 2202.00666).
        repetition_penalty: divides what speaks for a token that the prompt or the text holds (arXiv 1909.05858).
        no_repeat_ngram: no n-gram of so many tokens comes twice, the prompt's counted; 0: any may.
        beams: how many beginnings a beam search keeps; 1: no search.
        penalty_alpha: the weight of novelty in contrastive search (arXiv 2202.06417), over `top_k` candidates; 0: none.
    """

    max_new_tokens: int
    temperature: float
    top_p: float
    top_k: int = 0
    min_p: float = 0.0
    typical_p: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    beams: int = 1
    penalty_alpha: float = 0.0

    @property
    def drawn(self) -> bool:
        """Whether chance has a part: another seed gives another text."""
        return self.temperature > 0

    @property
    def plain(self) -> Decoding:
        """The same without what has no effect: where nothing is drawn, no filter of what may be drawn."""
        if self.drawn:
            return self
        top_k = self.top_k if self.penalty_alpha else 0
        return replace(self, top_p=1.0, top_k=top_k, min_p=0.0, typical_p=1.0)

    def given(self) -> dict[str, int | float]:
        """The limit, the temperature, and the values that do something."""
        off = {field.name: field.default for field in fields(self)} | {"top_p": 1.0}
        return {name: value for name, value in asdict(self.plain).items() if value != off[name]}

    def __str__(self) -> str:
        """In words, without the limit: ``temperature 0.8, top-p 0.95``, ``greedy, penalty 1.2``, ``4 beams``."""
        one = self.plain
        if one.penalty_alpha:
            parts = [f"contrastive {one.penalty_alpha:g} of {one.top_k}"]
        elif one.beams > 1:
            parts = [f"{one.beams} beams"]
        elif not one.drawn:
            parts = ["greedy"]
        else:
            parts = [f"temperature {one.temperature:g}"]
            neutral = {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 1.0}
            parts += [f"{WORDS[n]} {value:g}" for n, off in neutral.items() if (value := getattr(one, n)) != off]
        if one.repetition_penalty != 1:
            parts.append(f"penalty {one.repetition_penalty:g}")
        if one.no_repeat_ngram:
            parts.append(f"no repeated {one.no_repeat_ngram}-gram")
        return ", ".join(parts)

    def mistake(self) -> tuple[str, str] | None:
        """What two of its values contradict each other in, and what to do; None where they go together."""
        if self.beams > 1 and self.drawn:
            return (
                f"{self.beams} beams search for the likeliest text, and temperature {self.temperature:g} draws one",
                "give temperature 0 with beams, or beams 1",
            )
        if self.penalty_alpha and (self.drawn or self.beams > 1):
            return (
                f"penalty_alpha {self.penalty_alpha:g} is contrastive search, which takes neither a temperature "
                "above 0 nor beams",
                "give temperature 0 and beams 1 with penalty_alpha",
            )
        if self.penalty_alpha and self.top_k < 2:
            return (
                f"penalty_alpha {self.penalty_alpha:g} is contrastive search, which chooses among top_k candidates, "
                f"and top_k is {self.top_k}",
                "give top_k 2 or more with penalty_alpha, such as 4",
            )
        return None


@dataclass(frozen=True)
class Setting:
    """One way to generate that is tried: how tokens are chosen, and in which words the prompt is put.

    Args:
        name: its own among all.
        decoding: how tokens are chosen.
        template: the name of the words around the prompt; `BARE` for none.
        frame: these words, which hold ``{prompt}``.
    """

    name: str
    decoding: Decoding
    template: str = BARE
    frame: str = PROMPT

    def put(self, prompt: str) -> str:
        """A prompt in the template's words."""
        return self.frame.replace(PROMPT, prompt)
