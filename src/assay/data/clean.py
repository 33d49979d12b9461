"""Cleaning: steps that change a text, and filters that keep it or drop it with a reason; what they did is counted."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from assay.core.errors import InputError
from assay.core.optional import require
from assay.core.records import Role, Turn, repeated
from assay.data.formats import Draft
from assay.data.languages import EXTRA, Languages
from assay.data.tally import Drop
from assay.data.turns import content, merged

NOT_JUDGED = "language-not-judged"
_JUDGED = 2000  # characters that a language is judged by
_LETTERS = 20  # fewer letters than that are not judged

_LINE_ENDS = dict.fromkeys("\v\f\x85", "\n")  # vertical tab, form feed, next line
_BLANKS = {
    **dict.fromkeys("\u00a0\u1680\u202f\u205f\u3000", " "),
    **dict.fromkeys(map(chr, range(0x2000, 0x200B)), " "),
    **dict.fromkeys("\u2028\u2029", "\n"),  # separators of lines and of paragraphs
    **_LINE_ENDS,
}
# Control characters, and what is invisible wherever it stands: zero-width space, word joiner, byte-order mark.
_UNSEEN = {
    **dict.fromkeys((chr(code) for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\t\n"), ""),
    **dict.fromkeys("\u200b\u2060\ufeff", ""),
    **_LINE_ENDS,
}
_QUOTES = {**dict.fromkeys("\u2018\u2019\u201a\u201b", "'"), **dict.fromkeys("\u201c\u201d\u201e\u201f", '"')}
# The joiners ZWNJ and ZWJ shape letters from Hebrew and Arabic to the scripts of India and Mongolia, and join emoji.
_STRAY_JOINER = re.compile("(?<![\u0590-\u1dff\u2190-\U0010ffff])[\u200c\u200d]+")
_BLANK_LINES = re.compile(r"\n{3,}")


def _replacer(table: dict[str, str]) -> Callable[[str], str]:
    """A function that replaces characters; most texts hold none of them, and looking is faster than replacing."""
    search, replacements = re.compile(f"[{re.escape(''.join(table))}]").search, str.maketrans(table)
    return lambda text: text.translate(replacements) if search(text) else text


_replace_unseen, _replace_blanks, _replace_quotes = map(_replacer, (_UNSEEN, _BLANKS, _QUOTES))


def fix_mojibake(text: str) -> str:
    """Repair text that was decoded with the wrong encoding, such as ``cafÃ©``, by ftfy; nothing else is changed.

    Raises:
        MachineError: ftfy is not installed.
    """
    if text.isascii():
        return text
    repair = require("ftfy", extra=EXTRA).fix_encoding
    # Line by line, as ftfy's own `fix_text`: one line may be spoilt, and the next sound.
    return "\n".join(line if line.isascii() else repair(line) for line in text.split("\n"))


def normalise_unicode(text: str) -> str:
    """Composed form (NFC) without control and invisible characters; joiners stay where a script or emoji uses them.

    A form feed or another line end becomes a newline, a tab stays.
    """
    text = _replace_unseen(text)
    return text if text.isascii() else unicodedata.normalize("NFC", _STRAY_JOINER.sub("", text))


def straighten_quotes(text: str) -> str:
    """Curly and low quotation marks and apostrophes as straight ones; guillemets and primes stay."""
    return text if text.isascii() else _replace_quotes(text)


def tidy_whitespace(text: str) -> str:
    """One kind of space and of line end, no blanks at line ends, at most one blank line in a row; indentation stays."""
    text = _replace_blanks(text)
    if "\n" not in text:
        return text
    *lines, last = text.split("\n")
    return _BLANK_LINES.sub("\n\n", "\n".join([*(line.rstrip(" \t") for line in lines), last]))


# What changes texts, in the order in which it is done: repaired text first, since the later steps look at characters.
STEPS: dict[str, Callable[[str], str]] = {
    "mojibake": fix_mojibake,
    "unicode": normalise_unicode,
    "quotes": straighten_quotes,
    "whitespace": tidy_whitespace,
}
# The white space between the two sides of a pair is how they are joined: it stays.
_STRIP: dict[Role | None, Callable[[str], str]] = {"prompt": str.lstrip, "completion": str.rstrip}


def length_drop(text: str, min_bytes: int | None, max_bytes: int | None) -> Drop | None:
    """Why a text (a chunk, once it is cut) is too short or too long, in UTF-8 bytes; None if it is neither."""
    size = len(text.encode())
    if min_bytes is not None and size < min_bytes:
        return Drop("too-short", f"{size} bytes")
    if max_bytes is not None and size > max_bytes:
        return Drop("too-long", f"{size} bytes")
    return None


class Cleaner:
    """The steps and filters that are switched on.

    Args:
        mojibake, unicode, quotes, whitespace: the steps, see STEPS; `whitespace` also strips the ends, but not where a
            prompt meets its completion.
        languages: codes of ISO 639-1; texts in others are dropped, judged by their first 2,000 characters.
        keep: regular expressions; a text in which none of them is found is dropped.
        drop: regular expressions; a text in which one of them is found is dropped.
        repeated_turns: what is done where user or assistant speaks twice in a row: keep, merge or drop.

    Attributes:
        changed: how many texts each step has changed, and in how many ``repeated-turns`` were merged; and as
            ``language-not-judged``, how many had fewer than 20 letters or were in no clear language, and were kept.

    Raises:
        InputError: a regular expression is invalid, or a language is not known.
        MachineError: languages are given and py3langid is not installed.
    """

    def __init__(
        self,
        *,
        mojibake: bool = False,
        unicode: bool = False,
        quotes: bool = False,
        whitespace: bool = False,
        languages: Sequence[str] = (),
        keep: Sequence[str] = (),
        drop: Sequence[str] = (),
        repeated_turns: str = "keep",
    ) -> None:
        wanted = {"mojibake": mojibake, "unicode": unicode, "quotes": quotes, "whitespace": whitespace}
        self._steps = [name for name in STEPS if wanted[name]]
        self._languages = frozenset(languages)
        self._judge = _judge_of(languages) if languages else None
        self._keep = [_compiled(pattern, "data.clean.keep") for pattern in keep]
        self._drop = [_compiled(pattern, "data.clean.drop") for pattern in drop]
        self._repeated = repeated_turns
        self.changed: Counter[str] = Counter()

    def apply(self, draft: Draft) -> Draft | Drop:
        """The cleaned draft, or why it is left out; its text stays the content of its turns."""
        if self._repeated != "keep" and (role := repeated(draft.turns)):
            if self._repeated == "drop":
                return Drop("repeated-turns", role)
            self.changed["repeated-turns"] += 1
            turns = merged(draft.turns)
            draft = Draft(content(turns), turns)
        if not self._steps:
            return self._filtered(draft.text) or draft
        # The text of a filled template has no labels, so that it is not made of the turns.
        made_of_turns = bool(draft.turns) and draft.text == content(draft.turns)
        roles = [*(turn.role for turn in draft.turns), *([] if made_of_turns else [None])]
        before = [*(turn.text for turn in draft.turns), *([] if made_of_turns else [draft.text])]
        texts = before
        for name in self._steps:
            changed = [_changed(name, text, role) for text, role in zip(texts, roles, strict=True)]
            if changed != texts:
                self.changed[name] += 1
                texts = changed
        if texts is not before:
            if not all(text.strip() for text, role in zip(texts, roles, strict=True) if role != "system"):
                return Drop("empty-after-cleaning")
            turns = tuple(Turn(role, text) for role, text in zip(roles, texts, strict=True) if role and text.strip())
            draft = Draft(content(turns) if made_of_turns else texts[-1], turns)
        return self._filtered(draft.text) or draft

    def _filtered(self, text: str) -> Drop | None:
        if self._keep and not any(pattern.search(text) for pattern in self._keep):
            return Drop("no-keep-match")
        found = next((pattern for pattern in self._drop if pattern.search(text)), None)
        if found is not None:
            return Drop("drop-match", found.pattern)
        return self._foreign(self._judge, text[:_JUDGED]) if self._judge else None

    def _foreign(self, judge: Languages, text: str) -> Drop | None:
        if sum(map(str.isalpha, text)) < _LETTERS:
            self.changed[NOT_JUDGED] += 1
            return None
        language = judge.of(text)
        if language is None:
            self.changed[NOT_JUDGED] += 1
        return None if language is None or language in self._languages else Drop("language", language)


def _changed(name: str, text: str, role: Role | None = None) -> str:
    changed = STEPS[name](text)
    return _STRIP.get(role, str.strip)(changed) if name == "whitespace" else changed


def _judge_of(languages: Sequence[str]) -> Languages:
    judge = Languages()
    for language in languages:
        if language not in judge.known:
            near = difflib.get_close_matches(language[:2].lower(), judge.known, n=1)
            raise InputError(
                f"{language!r} is no language that can be told",
                where="data.clean.languages",
                fix=(f"did you mean {near[0]!r}? " if near else "") + f"Known are {', '.join(sorted(judge.known))}",
            )
    return judge


def _compiled(pattern: str, key: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise InputError(
            f"{pattern!r} is not a regular expression: {error}",
            where=key,
            fix="write a backslash before signs that are meant as such, as in \\( or \\.",
        ) from error
