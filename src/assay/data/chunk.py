"""Cutting a long text into chunks by bytes, whatever the tokenizer: at paragraphs, at headings, or by length alone."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from assay.core.errors import InputError
from assay.data.segment import compiled, detect_heading, paragraphs

_LONGEST = 4  # bytes of a character in UTF-8
# A sentence's end, with the quotes and brackets that it closes; after that of Chinese and Japanese stands no space.
_SENTENCE = re.compile(r"[.!?…][\"'”’»)\]]*\s+|[\u3002\uff01\uff1f][”’\u300d\u300f\uff09]*\s*")
_SEEN = re.compile(r"\S")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a text.

    Args:
        text: the part.
        overlap: characters at its start that the chunk before it also holds.
    """

    text: str
    overlap: int = 0


def chunks(text: str, *, by: str, max_bytes: int, overlap_bytes: int, heading: str | None = None) -> list[Chunk]:
    """Cut a text into chunks; without their overlaps they are, one after the other, the text itself.

    No chunk is white space alone. None has more than `max_bytes`, unless so much white space stands in one place that
    it cannot share a chunk with anything. Cuts lie between words, and within a word that is too long between
    characters as they are seen.

    Args:
        text: the text; white space alone gives no chunk.
        by: ``paragraph``: as many paragraphs as fit, and one that is too long is cut after a sentence, or else between
            words; ``heading``: likewise within what stands under one heading; ``length``: as many words as fit.
        max_bytes: the longest chunk, in UTF-8 bytes with its overlap.
        overlap_bytes: a chunk repeats the end of the one before it, as many whole words as fit in so many bytes; the
            first one under a heading repeats nothing.
        heading: for ``heading``, the regular expression that is found in a heading's line. Without it the default rule
            that fits the text; a text that has no headings is cut by paragraph.

    Raises:
        InputError: the overlap leaves no room in a chunk, or `heading` is not a regular expression.
    """
    if max_bytes - overlap_bytes < _LONGEST:
        raise InputError(
            f"an overlap of {overlap_bytes} bytes leaves no room in chunks of {max_bytes}",
            where="data.chunk.overlap_bytes",
            fix="give an overlap of at most half of data.chunk.max_bytes",
        )
    if not text or text.isspace():
        return []
    parts = list(pairwise([*_headings(text, heading), len(text)])) if by == "heading" else [(0, len(text))]
    made = []
    for start, end in parts:
        body = text[start:end]
        limit = max_bytes - overlap_bytes
        if _fit(body, 0, max_bytes) == len(body):
            ends = [len(body)]
        else:
            ends = list(_cuts(body, 0, len(body), limit, False)) if by == "length" else _packed(body, limit)
        begin = 0
        for first, last in pairwise([0, *ends]):
            begin = _overlap(body, begin, first, overlap_bytes)
            made.append(Chunk(body[begin:last], first - begin))
    return made


def _headings(text: str, pattern: str | None) -> list[int]:
    """Where each part begins: at 0, and at each heading that has more than headings before it in its part."""
    pattern = detect_heading([text]) if pattern is None else pattern
    if pattern is None:
        return [0]
    heading = compiled(pattern)
    starts, has_body, position = [0], False, 0
    for line in text.split("\n"):
        if line and not line.isspace():
            is_heading = heading.search(line) is not None
            if is_heading and has_body:
                starts.append(position)
            has_body = not is_heading
        position += len(line) + 1
    return starts


def _packed(text: str, limit: int) -> list[int]:
    """The ends of chunks of whole paragraphs; what is too long is cut, from the start of the chunk that it falls in."""
    starts = [0, *(start for start, _ in paragraphs(text)[1:])]
    ends: list[int] = []
    begin = size = 0  # of the chunk that is being filled: where it begins, and its bytes
    # A paragraph has the white space behind it, and the first one that before it.
    for start, end in pairwise([*starts, len(text)]):
        more = len(text[start:end].encode())
        if more > limit:
            ends[-1:] = _cuts(text, begin, end, limit, True)
            begin = ends[-2] if len(ends) > 1 else 0
            size = len(text[begin:end].encode())
        elif size + more <= limit:
            ends[-1:] = [end]
            size += more
        else:
            ends.append(end)
            begin, size = start, more
    return ends


def _cuts(text: str, start: int, end: int, limit: int, sentences: bool) -> Iterator[int]:
    """The ends of the pieces of text[start:end], the last one `end`; each piece has something to be seen."""
    seen = start + len(text[start:end].rstrip()) - 1  # the last piece keeps this character
    while (room := _fit(text, start, limit)) < end:
        first = _first_seen(text, start)
        if first >= seen:
            break
        if room <= first:  # white space alone fills the room: it stands before what follows
            room = _fit(text, first, limit)
        start = _cut(text, first, min(room, seen), sentences)
        yield start
    yield end


def _cut(text: str, start: int, room: int, sentences: bool) -> int:
    """Where to cut text[start:room], which begins with a character that is seen: after a sentence, else after a word.

    Where that would part a character from its marks it is cut before it, if there is anything before it.
    """
    window = text[start:room]
    place = room
    sentence = max((match.end() for match in _SENTENCE.finditer(window)), default=0) if sentences else 0
    if sentence and 2 * sentence >= len(window):
        place = start + sentence
    elif not window[-1].isspace() and not text[room].isspace() and len(words := window.rsplit(None, 1)) > 1:
        place = room - len(words[1])
    whole = place
    while whole > start and _holds_together(text, whole):
        whole -= 1
    return whole if whole > start else place


def _holds_together(text: str, place: int) -> bool:
    """Whether the code points before and after `place` are seen as one: marks, joiners, skin tones, flags, CR LF.

    The rules of Unicode's UAX #29 that matter in running text; syllables of jamo and of Indic conjuncts may be parted.
    """
    before, after = text[place - 1], text[place]
    if after.isascii() or before in "\r\n":
        return before == "\r" and after == "\n"
    if _is_flag(before) and _is_flag(after):
        first = place - 1
        while first > 0 and _is_flag(text[first - 1]):
            first -= 1
        return (place - first) % 2 == 1  # two letters make a flag
    joined = before == "\u200d" or after in "\u200c\u200d" or "\U0001f3fb" <= after <= "\U0001f3ff"
    return joined or "\U000e0020" <= after <= "\U000e007f" or unicodedata.category(after).startswith("M")


def _is_flag(character: str) -> bool:
    return "\U0001f1e6" <= character <= "\U0001f1ff"


def _overlap(text: str, before: int, start: int, overlap_bytes: int) -> int:
    """Where a chunk begins that is cut at `start`: with the last words of the chunk that began at `before`."""
    piece = text[max(before, start - overlap_bytes) : start].encode()
    window = piece[max(0, len(piece) - overlap_bytes) :].decode(errors="ignore")
    if not window or window.isspace():
        return start
    begin = start - len(window)
    if begin == 0 or text[begin - 1].isspace() or text[begin].isspace():
        return _first_seen(text, begin)
    words = window.split(None, 1)
    if len(words) > 1:
        return start - len(words[1])
    while begin < start and _holds_together(text, begin):  # one word, or a script without spaces
        begin += 1
    return min(_first_seen(text, begin), start)


def _first_seen(text: str, start: int) -> int:
    match = _SEEN.search(text, start)
    return match.start() if match else len(text)


def _fit(text: str, start: int, limit: int) -> int:
    """How far the text goes from `start` within so many bytes."""
    piece = text[start : start + limit]
    raw = piece.encode()
    return start + (len(piece) if len(raw) <= limit else len(raw[:limit].decode(errors="ignore")))
