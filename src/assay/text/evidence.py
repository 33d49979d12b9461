"""Evidence that the masks are right, for the guard on supervision and for the eye."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.core.records import Item
from assay.text.flat import byte_positions
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoded, Encoder

_GREEN, _PLAIN = "\x1b[32m", "\x1b[0m"
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode categories of characters that do not show


def prompt_mismatches(encoder: Encoder, items: Sequence[Item]) -> list[dict[str, Any]]:
    """The items whose training ids do not begin with the ids that the model is asked with at inference.

    Of a chat that is the prompt of its last answer, of a pair the prompt; a plain text has none.

    Returns:
        Of each such item ``id``, ``position`` of the first id that differs, and what stands there ``trained`` and
        ``asked``, as text.
    """
    found, tokenizer = [], encoder.tokenizer
    encoded = encoder.encode(items)
    for number, item in enumerate(items):
        asked = _asked(encoder, item)
        ids = encoded.row(number)[0][: len(asked)].tolist()
        if ids != asked:
            at = next((k for k, (a, b) in enumerate(zip(ids, asked, strict=False)) if a != b), len(ids))
            trained, wanted = (tokenizer.decode(some[at : at + 3], keep_special=True) for some in (ids, asked))
            found.append({"id": item.id, "position": at, "trained": trained, "asked": wanted})
    return found


def _asked(encoder: Encoder, item: Item) -> list[int]:
    if not item.turns:
        return []
    if item.turns[0].role == "prompt":
        return encoder.prompt(item.turns[:1])
    answers = [number for number, turn in enumerate(item.turns) if turn.role == "assistant"]
    if encoder.template is None or not answers:
        return []
    return encoder.prompt(item.turns[: answers[-1]], where=f"item {item.id} ({item.group})")


def end_of_turn(encoder: Encoder, items: Sequence[Item]) -> dict[str, Any] | None:
    """Whether the token that ends an answer in the template's text is learned, in the chats among the items.

    Returns:
        ``token`` (null where the template puts none behind an answer), ``turns`` that were looked at (those that are
        learned at all) and how many of them were ``supervised``; None where there is no chat.
    """
    chats = [item for item in items if item.turns and item.turns[0].role != "prompt"]
    if encoder.template is None or not chats:
        return None
    encoded = encoder.encode(chats)
    turns = supervised = 0
    for number, item in enumerate(chats):
        rendered, learn = encoder.render(item), encoded.row(number)[1]
        behind = encoder.tokenizer.encode_flat([rendered.text], ranges=True).behind
        octets = byte_positions(rendered.text)
        first = rendered.last if encoder.loss_on == "last" else 0
        for _, end in (span for span in rendered.content_spans if span[0] >= first):
            control = encoder.template.after(rendered.text, end)
            turns += 1
            supervised += control is not None and bool(learn[np.searchsorted(behind, octets[control[0]], "right")])
    return {"token": encoder.template.end_of_turn, "turns": turns, "supervised": supervised}


def shown(encoded: Encoded, number: int, name: str, tokenizer: TextTokenizer, *, colour: bool) -> str:
    """A row as text for the eye: what is learned is green (or in double brackets), what does not show is spelled out.

    Args:
        encoded: the rows.
        number: which of them.
        name: what its first line calls it.
        tokenizer: the model's.
        colour: write colours for a terminal.
    """
    ids, learn = encoded.row(number)
    before, behind = (_GREEN, _PLAIN) if colour else ("[[", "]]")
    pieces = [
        f"{before}{_visible(text)}{behind}" if learned else _visible(text)
        for text, learned in _runs(ids, learn, tokenizer)
    ]
    return f"{name}: {len(ids)} tokens, {int(learn.sum())} of them learned\n{''.join(pieces)}"


def _runs(ids: NDArray[np.int32], learn: NDArray[np.bool_], tokenizer: TextTokenizer) -> list[tuple[str, bool]]:
    """The text of each stretch of ids that are all learned or all not."""
    edges = [0, *(np.flatnonzero(np.diff(learn)) + 1).tolist(), len(ids)] if len(ids) else []
    texts, done = [], ""
    for start, end in pairwise(edges):
        # the text up to here less what was there before: alone, a piece may lose the blank at its start
        whole = tokenizer.decode(ids[:end].tolist(), keep_special=True)
        if whole.startswith(done):
            text = whole[len(done) :]
        else:  # a character is divided between the stretches
            text = tokenizer.decode(ids[start:end].tolist(), keep_special=True)
        texts.append((text, bool(learn[start])))
        done = whole
    return texts


def _visible(text: str) -> str:
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character == "\n":
        return "⏎\n"
    hidden = unicodedata.category(character) in _HIDDEN
    return character.encode("unicode_escape").decode() if hidden else character
