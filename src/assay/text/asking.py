"""How a model is asked: a prompt as training saw one, with examples in front where there are any."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.core.records import Item, Turn
from assay.text.suites import Prompt
from assay.text.tokens import Encoder

EXAMPLE_BYTES = 600  # of a training text that is shown as an example


@dataclass(frozen=True)
class Asking:
    """How a model is asked: the template's encoder, whether it was trained on chats, and their system prompt."""

    encoder: Encoder
    chat: bool
    system: str | None

    def ids(self, prompt: str, examples: Sequence[Item] = (), *, system: str | None = None) -> list[int]:
        """A prompt as training saw one: of a chat a user's turn, else the beginning of a text.

        Args:
            prompt: its text.
            examples: training items that stand before it: earlier turns of a chat, else earlier texts.
            system: the chat's own system prompt; without it the experiment's.
        """
        if not self.chat:
            before = "".join(f"{_shown(item)}\n\n" for item in examples)
            return self.encoder.prompt([Turn("prompt", before + prompt)])
        system = system or self.system
        first = [Turn("system", system)] if system else []
        turns = [turn for item in examples for turn in _exchange(item)]
        return self.encoder.prompt([*first, *turns, Turn("user", prompt)])

    def fitting(self, prompt: Prompt, examples: Sequence[Item], room: int) -> list[int]:
        """The same with as many of the examples, from the last one, as leave it within `room` tokens."""
        for first in range(len(examples)):
            if len(ids := self.ids(prompt.text, examples[first:], system=prompt.system)) <= room:
                return ids
        return self.ids(prompt.text, system=prompt.system)


def _exchange(item: Item) -> list[Turn]:
    """A chat's turns as far as its last answer: a question without one would stand in front of another."""
    said = [turn for turn in item.turns if turn.role in ("user", "assistant")]
    while said and said[-1].role != "assistant":
        said.pop()
    return said


def _shown(item: Item) -> str:
    text = "".join(turn.text for turn in item.turns) or item.text
    return text.encode()[:EXAMPLE_BYTES].decode("utf-8", "ignore").rstrip()
