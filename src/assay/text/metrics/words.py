"""Words and sentences of a text, as all metrics of texts count them."""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from functools import cached_property

# Chinese and Japanese are written without spaces: there a character is counted as a word.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_ENDS = re.compile(
    r"(?P<stop>[.!?…]+)(?P<closed>[\"'”’»)\]*_]*)(?=\s)|[\u3002\uff01\uff1f]+[”’\u300d\u300f\uff09]*|[\u0964\u06d4\u061f]+(?=\s)"
)
# A blank line, or the start of an item in a list or of a quoted line, ends a sentence that no mark has ended.
_BREAKS = re.compile(r"\n\s*\n|\n(?=[ \t]*(?:[-*•>]|\d{1,3}[.)][ \t]))")
_BEFORE = re.compile(r"[\w.]+$")
_NEVER_LAST = re.compile(
    r"mr|mrs|ms|mx|dr|prof|rev|hon|gen|col|capt|lt|sgt|st|mt|messrs|mme|mlle|vs|cf|fig|vol|pp|e\.g|i\.e|viz",
    re.IGNORECASE,
)
_SELDOM_LAST = re.compile(r"etc|al|inc|ltd|co|corp|jr|sr|a\.m|p\.m|u\.s|u\.k|ph\.d|approx|dept|no", re.IGNORECASE)


@functools.cache
def _word() -> re.Pattern[str]:
    r"""A word: letters, digits and their combining marks (which ``\w`` leaves out), apostrophes inside."""
    inside = map(chr, [*range(0x300, 0x3000), *range(0xA000, 0x12000)])
    marks = "".join(code for code in inside if unicodedata.category(code)[0] == "M") + "\u200c\u200d"  # two joiners
    letter = rf"[^\W{_ALONE}]"
    return re.compile(rf"[{_ALONE}]|{letter}(?:{letter}|[{marks}])*(?:['’](?:{letter}|[{marks}])+)*")


def words(text: str) -> list[str]:
    """The words in NFKC and lower case; ``don't`` is one, ``well-known`` two, a Chinese or Japanese character one."""
    return [_folded(match.group()) for match in _word().finditer(text)]


def _folded(word: str) -> str:
    if not word.isascii():
        word = unicodedata.normalize("NFKC", word).replace("’", "'")
    return word.lower()


def cut(text: str, count: int) -> str:
    """The text up to the end of its word number `count`; all of it where it has no more."""
    for number, match in enumerate(_word().finditer(text), 1):
        if number == count:
            return text[: match.end()]
    return text


def sentences(text: str) -> list[str]:
    """The sentences: up to ``.``, ``!``, ``?`` or ``…`` before a blank, a blank line, or the next item of a list.

    The dot of an abbreviation or an initial ends none, nor does a mark that speech or an ellipsis goes on behind
    (``"Stop!" he cried``). What holds no word is no sentence.
    """
    pieces = (piece.strip() for block in _BREAKS.split(text) for piece in _pieces(block))
    return [piece for piece in pieces if _word().search(piece)]


def _pieces(block: str) -> Iterator[str]:
    start = 0
    for match in _ENDS.finditer(block):
        if match["stop"] is None or _is_end(block, match):
            yield block[start : match.end()]
            start = match.end()
    yield block[start:]


def _is_end(block: str, match: re.Match[str]) -> bool:
    follows = block[match.end() :].lstrip()[:1]
    if match["stop"] != ".":
        trails_off = match["stop"] in ("…", "...", "....")
        return not (follows.islower() and (match["closed"] or trails_off))
    before = _BEFORE.search(block, 0, match.start())
    last = before.group() if before else ""
    if _SELDOM_LAST.fullmatch(last):
        return follows.isupper() or not follows
    initial = len(last) == 1 and last.isupper() and last != "I"
    numeral = last.isdigit() and before is not None and not block[: before.start()].strip()
    return not (_NEVER_LAST.fullmatch(last) or initial or numeral or (match["closed"] and follows.islower()))


class Text:
    """A text, with its words and sentences found once.

    Args:
        text: any string.
        language: its code (ISO 639-1), where it is known.
        vocabulary: words to hold it against, in lower case, where there are any.
    """

    def __init__(self, text: str, language: str | None = None, vocabulary: frozenset[str] | None = None) -> None:
        self.text, self.language, self.vocabulary = text, language, vocabulary

    @cached_property
    def words(self) -> list[str]:
        """See `words`."""
        return words(self.text)

    @cached_property
    def sentences(self) -> list[list[str]]:
        """The words of each sentence."""
        return [words(sentence) for sentence in sentences(self.text)]


def vocabulary(texts: Sequence[str]) -> frozenset[str]:
    """All words of several texts."""
    return frozenset(word for text in texts for word in words(text))
