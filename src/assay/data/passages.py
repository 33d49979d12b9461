"""What of an item is asked, and what is written in answer; and how some are chosen of many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from assay.core.records import Item

WORDS = 8  # of a plain text are shown, and the rest is its continuation
PASSAGE = 800  # characters


def asked(item: Item) -> str:
    """What an item asks: a user's first turn, a pair's prompt, or how a text begins."""
    found = next((turn.text for turn in item.turns if turn.role in ("user", "prompt")), None)
    return found.strip() if found is not None else " ".join(item.text.split()[:WORDS])


def system_of(item: Item) -> str | None:
    """A chat's own system prompt."""
    return next((turn.text for turn in item.turns if turn.role == "system"), None)


def continued(item: Item) -> str:
    """What follows there: the answers, or the rest of a text."""
    return written(item) if item.turns else "".join(item.text.split(maxsplit=WORDS)[WORDS:])


def written(item: Item) -> str:
    """What an item's author wrote: of a chat or a pair the answers, else the text."""
    said = [turn.text for turn in item.turns if turn.role in ("assistant", "completion")]
    return "\n".join(said) if item.turns else item.text


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """The first item of each group, then the second of each, up to so many."""
    seen: Counter[str] = Counter()
    turns = []
    for at, item in enumerate(items):
        turns.append((seen[item.group], at))
        seen[item.group] += 1
    return [items[at] for _, at in sorted(turns)[:most]]


def passages(items: Sequence[Item], size: int = PASSAGE) -> list[Item]:
    """Items of at most `size` characters: a longer plain text in passages, cut in front of a blank."""
    return [piece for item in items for piece in _passages(item, size)]


def _passages(item: Item, size: int) -> list[Item]:
    if item.turns:
        return [item]
    cut, rest = list[str](), item.text
    while len(rest) > size:
        end = max(rest.rfind(blank, 1, size) for blank in (" ", "\n"))
        end = size if end < 0 else end
        cut.append(rest[:end])
        rest = rest[end:]
    return [Item(f"{item.id}-{n}", item.group, piece) for n, piece in enumerate([*cut, rest])] if cut else [item]
