"""Rows of JSON Lines, and of JSON arrays of any length: one element is held at a time."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from json import JSONDecodeError, JSONDecoder
from typing import Any

from assay.core.errors import InputError
from assay.data.readers.row import Row
from assay.data.readers.stream import LONGEST, Lines, decoded, head, too_long, unpacked
from assay.data.sources import SourceFile
from assay.data.values import plain_row

_DEEPEST = 100  # levels of objects and arrays in a row
_PIECE = 1 << 20  # bytes of an array read at a time
_SURE = 16  # characters: a fault so far before the end of what is read is not of its being cut there
_SPACE = re.compile(r"[ \t\r\n]*")
_ARRAY = re.compile(r'[ \t\r\n]*(\{[ \t\r\n]*"(?:[^"\\]|\\.)*"[ \t\r\n]*:[ \t\r\n]*)?\[')  # [ or {"data": [
_TURN = re.compile(r'[ \t\r\n]*\{[ \t\r\n]*"(?:role|from|content|value)"')
# JSON knows no NaN; Python and pandas write it for what is missing
_DECODER = JSONDecoder(parse_constant={"NaN": None, "Infinity": float("inf"), "-Infinity": float("-inf")}.get)


def read_lines(file: SourceFile) -> Iterator[Row]:
    """The rows of a JSON Lines file: an object on each line."""
    yield from _read_lines(file, "write one whole JSON object on each line; a file that is one array must end in .json")


def read_json(file: SourceFile) -> Iterator[Row]:
    """The rows of an array of objects or texts, of an object whose one key holds such an array, or of JSON Lines.

    A text becomes the column ``text``.
    """
    start, whole = head(file)
    if _is_array(start, whole):
        yield from _read_array(file)
    else:
        yield from _read_lines(file, "write all rows as one array, [{...}, {...}], or one whole object on each line")


def _is_array(start: str, whole: bool) -> bool:
    """Whether a file that starts so is an array, bare or as the one value of an object, and not rows line by line."""
    found = _ARRAY.match(start)
    if not found or not found[1]:
        return bool(found)
    if _TURN.match(start, found.end()):  # the array is a conversation, and the object a row
        return False
    line, _, rest = start.lstrip().partition("\n")
    try:
        first = _DECODER.decode(line)
    except (ValueError, RecursionError):
        return True  # the object goes on over several lines, or further than was looked
    return whole and not rest.strip() and len(first) == 1


def _read_lines(file: SourceFile, fix: str) -> Iterator[Row]:
    with unpacked(file) as stream:
        lines = Lines(stream, file.where)
        lines.row = 1
        for number, text in enumerate(lines, start=1):
            if text.isspace():
                continue
            place = f"{file.where}:{number}"
            try:
                value = _DECODER.decode(text)
            except ValueError as error:
                at = f"{place}:{error.colno}" if isinstance(error, JSONDecodeError) else place
                raise _invalid(error, lines.row, at, fix) from error
            except RecursionError as error:
                raise _too_deep(lines.row, place) from error
            if not isinstance(value, dict):
                raise InputError(f"row {lines.row} is a JSON {_type(value)}, not an object", where=place, fix=fix)
            yield Row(lines.row, _checked(value, text, lines.row, place), place)
            lines.row += 1
        if lines.row == 1:
            raise InputError("is empty", where=file.where, fix="give a file that holds text")


def _read_array(file: SourceFile) -> Iterator[Row]:
    with unpacked(file) as stream:
        window = _Window(stream, file.where)
        wrapped = window.open()
        texts = False
        while window.row or not window.next_is("]"):
            window.row += 1
            value, text = window.value()
            place = f"{file.where} (row {window.row})"
            if window.row == 1:
                texts = isinstance(value, str)
            columns = {"text": value} if isinstance(value, str) else value
            if not isinstance(columns, dict) or isinstance(value, str) != texts:
                wanted = "a string as the first is" if texts else "an object"
                raise InputError(
                    f"row {window.row} is a JSON {_type(value)}, not {wanted}",
                    where=place,
                    fix="write all rows as objects, or all as texts",
                )
            yield Row(window.row, _checked(columns, text, window.row, place), place)
            if not window.next_is(","):
                window.take("]", "a comma or ']'", "correct it there")
                break
        if wrapped:
            window.take(
                "}", "'}'", "leave only the key that holds the rows; if each line is a row, the file must end in .jsonl"
            )
        window.end()
        if not window.row:
            raise InputError("is an array without rows", where=file.where, fix="give a file with at least one row")


class _Window:
    """The part of a long JSON text that is being read, from `at` on; it moves and grows.

    Attributes:
        row: number of the row that is being read, for messages; the reader sets it.
    """

    def __init__(self, stream: io.BufferedReader, where: str) -> None:
        self._stream, self._where = stream, where
        self.row = 0
        self._text = ""
        self._at = 0
        self._line, self._column = 1, 1  # of the first character
        self._offset, self._rest = 0, b""  # the bytes decoded, and half a character after them
        self._fault: tuple[str, str] | None = None  # what is wrong with the next byte, and the fix

    def open(self) -> bool:
        """Pass over the array's opening bracket; whether it stands in an object."""
        self._more()
        found = _ARRAY.match(self._text)
        if not found:
            raise InputError("has changed while it was read", where=self._where, fix="give the same command again")
        self._at = found.end()
        return bool(found[1])

    def next_is(self, char: str) -> bool:
        """Pass over `char` if it is next after white space."""
        self._skip()
        found = self._text.startswith(char, self._at)
        self._at += found
        return found

    def take(self, char: str, wanted: str, fix: str) -> None:
        """Pass over `char`, which must be next.

        Args:
            char: a bracket.
            wanted: what must stand there, for the message.
            fix: what to do when something else does.

        Raises:
            InputError: it is not.
        """
        if not self.next_is(char):
            found = self._text[self._at : self._at + 1]
            what = f"{found!r} follows" if found else "the file ends"
            raise InputError(
                f"{what} after row {self.row}, where {wanted} must stand",
                where=self._place(self._at),
                fix=fix if found else "get the file anew: it is cut short",
            )

    def end(self) -> None:
        """Raise an InputError unless there is no more."""
        self._skip()
        if self._at < len(self._text):
            raise InputError(
                f"goes on after the array, which ends with row {self.row}",
                where=self._place(self._at),
                fix="give one array in a file; a file of one object on each line must end in .jsonl",
            )

    def value(self) -> tuple[Any, str]:
        """The next value, and how it is written.

        Raises:
            InputError: it is not valid JSON, or too long or nested too deeply.
        """
        while True:
            self._skip()
            try:
                value, end = _DECODER.raw_decode(self._text, self._at)
            except JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated") or error.pos >= len(self._text) - _SURE
                ahead = error.pos - self._at
                if cut and self._more():
                    continue
                fix = "get the file anew if it was cut short; otherwise correct it there"
                raise _invalid(error, self.row, self._place(self._at + ahead), fix) from error
            except ValueError as error:
                raise _invalid(error, self.row, self._place(self._at), "write a shorter number") from error
            except RecursionError as error:
                raise _too_deep(self.row, self._place(self._at)) from error
            text = self._text[self._at : end]
            self._at = end
            return value, text

    def _skip(self) -> None:
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text) or not self._more():
                return

    def _more(self) -> bool:
        """Forget what is read, and read on by as much as is left: an element is tried again a few times at most."""
        if self._fault:
            what, fix = self._fault
            raise InputError(f"row {max(self.row, 1)} {what}", where=self._place(len(self._text)), fix=fix)
        if len(self._text) - self._at > LONGEST:
            raise too_long(self._place(self._at), self.row)
        self._line, self._column = self._position(self._at)
        raw = self._stream.read(max(_PIECE, len(self._text) - self._at))
        text, used, self._fault = decoded(self._rest + raw, self._where, self._offset, final=not raw)
        self._text, self._at = self._text[self._at :] + text, 0
        self._offset, self._rest = self._offset + used, (self._rest + raw)[used:]
        return bool(raw) or self._fault is not None

    def _position(self, at: int) -> tuple[int, int]:
        """Line and column of a character."""
        breaks = self._text.count("\n", 0, at)
        return self._line + breaks, at - self._text.rfind("\n", 0, at) if breaks else self._column + at

    def _place(self, at: int) -> str:
        line, column = self._position(at)
        return f"{self._where}:{line}:{column}"


def _checked(row: dict[str, Any], text: str, index: int, where: str) -> dict[str, Any]:
    """The row, if downstream code can walk it and a text file can hold its texts."""
    if text.count("{") + text.count("[") > _DEEPEST and _depth(row) > _DEEPEST:
        raise _too_deep(index, where)
    if "\\" in text and "\\u" in text and ("\\u0000" in text or "\\ud" in text or "\\uD" in text):
        return plain_row(row, index=index, where=where)
    return row


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner = [entry.values() if isinstance(entry, dict) else entry for entry in level]
        level = [entry for entries in inner for entry in entries if isinstance(entry, (dict, list))]
    return depth


def _invalid(error: ValueError, row: int, where: str, fix: str) -> InputError:
    return InputError(f"row {row} is not valid JSON: {getattr(error, 'msg', error)}", where=where, fix=fix)


def _too_deep(row: int, where: str) -> InputError:
    return InputError(f"row {row} is nested too deeply (more than {_DEEPEST} levels)", where=where, fix="flatten it")


def _type(value: Any) -> str:
    if value is None:
        return "null"
    names = {bool: "boolean", int: "number", float: "number", str: "string", list: "array", dict: "object"}
    return names[type(value)]
