"""Items to ids and loss masks: the one place that decides what a model reads and what it learns.

- A plain text is the tokenizer's prefix, the text, and the end-of-text token. All of it is learned but the first token.
- A pair is the prefix, the prompt, the completion, and the end-of-text token. Prompt and completion are tokenized
  apart, so that the prompt has the ids that it has at inference. The completion and the end are learned.
- A chat is the text that its template makes of it, tokenized as a whole and with nothing added, as transformers'
  `apply_chat_template` does. A token is learned if it covers any of what the model is to produce.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

from assay.core.errors import InputError
from assay.core.records import Item, Turn
from assay.text.flat import Flat, byte_positions
from assay.text.marks import Span
from assay.text.template import DEFAULT_TEMPLATE, ChatTemplate, Rendered
from assay.text.tokenizer import TextTokenizer

LossOn = Literal["completion", "all", "last"]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

_BLANKS = " \t"
_FILES: dict[str, type[np.generic]] = {"ids": np.int32, "learn": np.bool_, "starts": np.int64}


def chat_template(tokenizer: TextTokenizer, source: str | None = None) -> ChatTemplate:
    """The template of a tokenizer's chats: `source` where given, else its own, else the stated default.

    The default begins with the beginning-of-text token where the tokenizer puts that in front of a text itself.

    Raises:
        InputError: the template is not valid Jinja.
    """
    if source is None:
        source = tokenizer.chat_template
    if source is None:
        begins = tokenizer.bos is not None and tokenizer.prefix == (tokenizer.bos,)
        source = ("{{- bos_token }}" if begins else "") + DEFAULT_TEMPLATE
    named = dict(tokenizer.named)
    for name, number in (("bos_token", tokenizer.bos), ("eos_token", tokenizer.eos)):
        if number is not None:
            named.setdefault(name, str(tokenizer.backend.id_to_token(number)))
    return ChatTemplate(source, named=named, control_tokens=tokenizer.control_tokens)


@dataclass(frozen=True)
class _Rows:
    """Rows of ids, all behind each other: see `Encoded`."""

    ids: NDArray[np.int32]
    learn: Bools
    starts: Ints

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> Ints:
        """Ids of each row."""
        return np.diff(self.starts)

    def row(self, number: int) -> tuple[NDArray[np.int32], Bools]:
        """Ids and loss mask of one row."""
        own = slice(self.starts[number], self.starts[number + 1])
        return self.ids[own], self.learn[own]


@dataclass(frozen=True)
class Encoded(_Rows):
    """Several items as ids, all behind each other.

    Args:
        ids: int32.
        learn: whether an id counts in the loss; a row's first id never does, as nothing predicts it.
        starts: where each row begins, and the end of the last: one more than rows.
        content: whether an id belongs to what is to be produced, without template text and end: what evaluation scores.
        sizes: bytes (UTF-8) of each row's text, with template text.
        doubled: whether a row begins with the beginning-of-text token (or the tokenizer's prefix) twice.
        said: bytes (UTF-8) of what `content` covers of each row: what evaluation divides by.
    """

    content: Bools
    sizes: Ints
    doubled: Bools
    said: Ints

    def first(self, most: int) -> Encoded:
        """The same with each row cut to its first `most` ids; `sizes` stay those of the whole rows."""
        kept = np.arange(self.ids.size) - self.starts[:-1].repeat(self.lengths) < most
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.minimum(self.lengths, most))])
        return Encoded(
            self.ids[kept], self.learn[kept], starts, self.content[kept], self.sizes, self.doubled, self.said
        )


class Encoder:
    """Turns items into ids, with what is learned of them.

    Args:
        tokenizer: the model's.
        template: of chats; None where there are none.
        loss_on: `completion` (what the model is to produce), `last` (of a chat its last turn only) or `all` (every
            token that something predicts).
    """

    def __init__(self, tokenizer: TextTokenizer, template: ChatTemplate | None, loss_on: LossOn = "completion") -> None:
        self.tokenizer, self.template, self.loss_on = tokenizer, template, loss_on

    def encode(self, items: Sequence[Item]) -> Encoded:
        """Ids and masks of several items, in their order.

        Raises:
            InputError: the template refuses a chat; the item is named.
        """
        pieces = _Pieces()
        for row, item in enumerate(items):
            if not item.turns:
                pieces.add(item.text, row, learned=True, said=True)
            elif item.turns[0].role == "prompt":
                prompt, completion = _seamed(item)
                pieces.add(prompt, row, learned=self.loss_on == "all", said=False)
                pieces.add(completion, row, learned=True, said=True)
            else:
                pieces.add_chat(self.render(item), row, self.loss_on)
        flat = self.tokenizer.encode_flat(pieces.texts, ranges=bool(pieces.chats))
        return self._framed(len(items), pieces, flat)

    def encode_all(self, batches: Iterable[Sequence[Item]]) -> Iterator[tuple[Sequence[Item], Encoded]]:
        """Every batch with what it is encoded to; one is encoded while the next is read and the last one used."""
        ahead: deque[tuple[Sequence[Item], Future[Encoded]]] = deque()
        with ThreadPoolExecutor(1) as worker:
            for batch in batches:
                ahead.append((batch, worker.submit(self.encode, batch)))
                if len(ahead) > 1:
                    done, encoded = ahead.popleft()
                    yield done, encoded.result()
            for done, encoded in ahead:
                yield done, encoded.result()

    def render(self, item: Item) -> Rendered:
        """A chat as text.

        Raises:
            InputError: the template refuses it; the item is named.
        """
        if self.template is None:
            raise InputError("is a chat, and there is no chat template", where=f"item {item.id} ({item.group})")
        return self.template.render(item.turns, where=f"item {item.id} ({item.group})")

    def answers(self, item: Item) -> list[str]:
        """What a pair or chat wants to be produced, as it stands in the text that is tokenized."""
        if item.turns[0].role == "prompt":
            return [_seamed(item)[1]]
        rendered = self.render(item)
        return [rendered.text[start:end] for start, end in rendered.content_spans]

    def prompt(self, turns: Sequence[Turn], *, where: str | None = None) -> list[int]:
        """The ids that a model is asked to go on from: of a chat its turns and the beginning of an answer, else the
        prefix and the text of the first turn; never none.

        Raises:
            InputError: the template refuses the chat.
        """
        if turns[0].role == "prompt" or self.template is None:
            ids = [*self.tokenizer.prefix, *self.tokenizer.encode(turns[0].text.rstrip(_BLANKS))]
        else:
            ids = self.tokenizer.encode(self.template.prompt(turns, where=where))
        return ids or [self.tokenizer.context or 0]

    @cached_property
    def stops(self) -> list[int]:
        """The ids that end what a model says: the end-of-text id, and the token that ends an answer in a chat."""
        named = self.template.end_of_turn if self.template else None
        end = None if named is None else self.tokenizer.backend.token_to_id(named)
        return [token for token in dict.fromkeys((self.tokenizer.eos, end)) if token is not None]

    def _framed(self, rows: int, pieces: _Pieces, flat: Flat) -> Encoded:
        """Put prefix and end around the rows that are no chats, and the pieces of a row together."""
        prefix = np.array(self.tokenizer.prefix, np.int32)
        end = np.array([] if self.tokenizer.eos is None else [self.tokenizer.eos], np.int32)
        counts, owner = np.diff(flat.starts), np.array(pieces.rows, np.int64)
        framed = np.ones(rows, np.bool_)
        framed[owner[pieces.chats]] = False
        lengths = np.bincount(owner, counts, rows).astype(np.int64) + framed * (prefix.size + end.size)
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        # a piece begins behind its row's prefix and the row's pieces before it
        before = flat.starts[:-1] - flat.starts[np.searchsorted(owner, np.arange(rows))][owner]
        target = starts[owner] + framed[owner] * prefix.size + before
        to = (target - flat.starts[:-1]).repeat(counts) + np.arange(flat.ids.size)
        ids, learn, content = (np.zeros(starts[-1], kind) for kind in (np.int32, np.bool_, np.bool_))
        ids[to] = flat.ids
        learn[to] = np.array(pieces.learned, np.bool_).repeat(counts) | _covering(flat, pieces, pieces.spans)
        content[to] = np.array(pieces.said, np.bool_).repeat(counts) | _covering(flat, pieces, pieces.contents)
        ids[starts[:-1][framed, None] + np.arange(prefix.size)] = prefix
        ends = starts[1:][framed, None] - np.arange(end.size, 0, -1)
        ids[ends], learn[ends] = end, True
        learn[starts[:-1][lengths > 0]] = False
        sizes = np.bincount(owner, np.diff(flat.bytes), rows).astype(np.int64)
        said = np.bincount(owner, np.diff(flat.bytes) * np.array(pieces.said, np.bool_), rows).astype(np.int64)
        for number, spans in zip(pieces.chats, pieces.contents, strict=True):
            bounds = _in_bytes(flat, pieces, number, spans)
            said[owner[number]] += int((bounds[:, 1] - bounds[:, 0]).sum())
        return Encoded(ids, learn, starts, content, sizes, self._doubled(ids, starts), said)

    def _doubled(self, ids: NDArray[np.int32], starts: Ints) -> Bools:
        tokenizer = self.tokenizer
        head = tokenizer.prefix or (() if tokenizer.bos is None else (tokenizer.bos,))
        doubled = np.full(len(starts) - 1, bool(head)) & (np.diff(starts) >= 2 * len(head))
        for place, token in enumerate((*head, *head)):
            doubled[doubled] = ids[starts[:-1][doubled] + place] == token
        return doubled


def _seamed(item: Item) -> tuple[str, str]:
    """Prompt and completion of a pair; blanks at the prompt's end go to the completion.

    Most tokenizers begin a word with the blank before it. A prompt that ends in one would leave the completion to begin
    as no text does: the base would be judged on a stumble that any training repairs.
    """
    prompt, completion = (turn.text for turn in item.turns)
    kept = prompt.rstrip(_BLANKS)
    return kept, prompt[len(kept) :] + completion


class _Pieces:
    """The texts that are tokenized, each whole, and what is learned of them."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.rows: list[int] = []
        self.learned: list[bool] = []  # of the whole piece
        self.said: list[bool] = []
        self.chats: list[int] = []  # the pieces that are chats, which have spans
        self.spans: list[list[Span]] = []
        self.contents: list[list[Span]] = []

    def add(self, text: str, row: int, *, learned: bool, said: bool) -> None:
        self.texts.append(text)
        self.rows.append(row)
        self.learned.append(learned)
        self.said.append(said)

    def add_chat(self, rendered: Rendered, row: int, loss_on: LossOn) -> None:
        self.chats.append(len(self.texts))
        self.add(rendered.text, row, learned=loss_on == "all", said=False)
        last = rendered.last if loss_on == "last" else 0
        self.spans.append([span for span in rendered.spans if span[0] >= last])
        self.contents.append(rendered.content_spans)


def _covering(flat: Flat, pieces: _Pieces, spans: Sequence[Sequence[Span]]) -> Bools:
    """Which ids cover any of their chat's spans."""
    if not pieces.chats:
        return np.zeros(flat.ids.size, np.bool_)
    bounds = np.concatenate(
        [_in_bytes(flat, pieces, number, own) for number, own in zip(pieces.chats, spans, strict=True)]
    )
    bounds = bounds[bounds[:, 0] < bounds[:, 1]]
    begin = np.searchsorted(flat.behind, bounds[:, 0], "right")  # the first id that ends behind the span's start
    end = np.searchsorted(flat.first, bounds[:, 1], "left")  # the first that starts at the span's end or behind
    steps = np.bincount(begin, minlength=flat.ids.size + 1) - np.bincount(end, minlength=flat.ids.size + 1)
    return np.asarray(np.cumsum(steps[:-1]) > 0)


def _in_bytes(flat: Flat, pieces: _Pieces, number: int, spans: Sequence[Span]) -> Ints:
    """Spans of a piece's characters as spans of the bytes of all texts together."""
    text, bounds = pieces.texts[number], np.array(spans, np.int64).reshape(-1, 2)
    if not text.isascii():
        bounds = byte_positions(text)[bounds]
    shifted: Ints = bounds + flat.bytes[number]
    return shifted


@dataclass(frozen=True)
class Tokens(_Rows):
    """Encoded rows on disk, mapped into memory: as in `Encoded`, without what training does not need."""

    @classmethod
    def open(cls, folder: Path) -> Tokens:
        """Map what `write_tokens` wrote.

        Raises:
            InputError: a file is missing, damaged, or does not fit the others.
        """
        arrays = {name: _mapped(folder / f"{name}.npy", kind) for name, kind in _FILES.items()}
        tokens = cls(arrays["ids"], arrays["learn"], np.asarray(arrays["starts"]))
        if not len(tokens.starts) or not tokens.starts[-1] == len(tokens.ids) == len(tokens.learn):
            raise InputError("its files do not fit each other", where=str(folder), fix=_AGAIN)
        return tokens


_AGAIN = "restore the folder, or do `assay prepare` again"


def _mapped(file: Path, kind: type[np.generic]) -> NDArray[Any]:
    try:
        array: NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise InputError("this file is missing", where=str(file), fix=_AGAIN) from error
    except (ValueError, EOFError, OSError) as error:
        raise InputError(f"is not a file of tokens: {error}", where=str(file), fix=_AGAIN) from error
    if array.dtype != kind or array.ndim != 1:
        raise InputError(f"holds {array.dtype}, not {np.dtype(kind)}", where=str(file), fix=_AGAIN)
    return array


def write_tokens(folder: Path, batches: Iterable[Encoded]) -> int:
    """Write ids.npy, learn.npy and starts.npy into a folder, a batch at a time; the number of rows.

    The folder is the caller's temporary one (`assay.core.files.directory_atomic`).
    """
    counts = dict.fromkeys(_FILES, 0)
    with ExitStack() as stack:
        streams = {name: stack.enter_context((folder / f"{name}.npy").open("wb")) for name in _FILES}
        for name, stream in streams.items():
            _header(stream, _FILES[name], 0)

        def append(name: str, values: NDArray[Any]) -> None:
            streams[name].write(np.ascontiguousarray(values, _FILES[name]).tobytes())
            counts[name] += values.size

        append("starts", np.zeros(1, np.int64))
        for batch in batches:
            append("starts", batch.starts[1:] + counts["ids"])
            append("ids", batch.ids)
            append("learn", batch.learn)
        for name, stream in streams.items():
            stream.seek(0)
            _header(stream, _FILES[name], counts[name])
    return counts["starts"] - 1


def _header(stream: BinaryIO, kind: type[np.generic], count: int) -> None:
    """The head of a .npy file; numpy gives it the same size whatever the count, so that it can be written again."""
    described = {"descr": np.lib.format.dtype_to_descr(np.dtype(kind)), "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(stream, described)
