"""Seeded excerpts of held-out groups: what is scored when a whole group would take too long.

Excerpts are cut from text, before any tokenizer, so that models with different tokenizers are
measured on the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import numpy as np

from assay.core.files import sha256_text
from assay.data.items import Item

PROBE_TEXTS, PROBE_BYTES = 16, 300  # the short texts that a model is checked on
LEAST = 200  # bytes; a remainder below this is not worth a row of its own


def excerpts(items: Sequence[Item], max_bytes_per_group: int | None, *, seed: int) -> list[Item]:
    """At most so many bytes of each group: rows in a seeded order, the last one cut; ids are kept.

    A long text is cut at the start of a line that the seed chooses, and at a character's end; a pair or a chat stays
    whole. The same seed gives the same excerpts whatever the order of the items.
    """
    if max_bytes_per_group is None:
        return list(items)
    chosen: list[Item] = []
    by_group = sorted(items, key=lambda item: (item.group, item.id))
    for group, members in groupby(by_group, key=lambda item: item.group):
        generator = _generator(seed, group)
        rows = list(members)
        room = max_bytes_per_group
        for index in generator.permutation(len(rows)):
            row = rows[index]
            another = chosen and chosen[-1].group == group
            if row.size > room and another and (row.turns or room < LEAST):
                break
            chosen.append(row if row.turns else Item(row.id, group, _cut(row.text, room, generator)))
            room -= chosen[-1].size
            if room <= 0:
                break
    return chosen


def pieces(items: Sequence[Item], count: int = PROBE_TEXTS, size: int = PROBE_BYTES) -> list[str]:
    """`count` short texts of about `size` bytes (fewer where there is too little text), from each item in turn."""
    queues = [
        [item.text.encode()[start : start + size] for start in range(0, len(item.text.encode()), size)]
        for item in items
    ]
    found: list[str] = []
    for turn in range(max((len(queue) for queue in queues), default=0)):
        for queue in queues:
            if turn < len(queue) and len(found) < count:
                text = queue[turn].decode("utf-8", "ignore")
                if text.strip():
                    found.append(text)
    return found


def _generator(seed: int, group: str) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64([seed, int(sha256_text(group)[:15], 16)]))


def _cut(text: str, size: int, generator: np.random.Generator) -> str:
    """A span of at most `size` bytes, from the start of a line that is followed by enough text."""
    raw = text.encode()
    if len(raw) <= size:
        return text
    last = len(raw) - size
    starts = [0, *(i + 1 for i, byte in enumerate(raw[:last]) if byte == 0x0A)]
    start = int(starts[int(generator.integers(len(starts)))])
    return raw[start : start + size].decode("utf-8", "ignore")
