"""From a file to its bytes, unpacked, and to its lines, decoded: every fault of the encoding is named by its place."""

from __future__ import annotations

import codecs
import gzip
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from assay.core.errors import InputError
from assay.data.sources import SourceFile
from assay.data.values import newlines

LONGEST = 1 << 27  # bytes of one row (128 MiB): what goes on for longer is a quote or a bracket that is never closed
_BUFFER = 1 << 20  # bytes read at a time
_HEAD = 1 << 16  # bytes looked at to decide how a file is read
_MARK = "\ufeff"
ARCHIVES = {  # ending: how such files start, what unpacks them
    ".zip": (b"PK\x03\x04", "unzip"),
    ".bz2": (b"BZh91AY&SY", "bunzip2 -k"),
    ".xz": (b"\xfd7zXZ\0", "unxz -k"),
    ".zst": (b"\x28\xb5\x2f\xfd", "unzstd"),
}


class _Gunzip(io.RawIOBase):
    """A gzip stream that gives what it has before it raises: the rows before a fault are read."""

    def __init__(self, packed: io.BufferedReader) -> None:
        self._packed = packed
        self._plain = gzip.GzipFile(fileobj=packed, mode="rb")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._plain.read1(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._plain.close()
        self._packed.close()
        super().close()


def wrongly_packed(file: SourceFile, ending: str) -> InputError:
    """The error for a file packed in a way that is not read."""
    return InputError(
        f"is packed ({ending}), and of packed files only those of gzip (.gz) are read",
        where=file.where,
        fix=f"unpack it first: {ARCHIVES[ending][1]} {file.where}",
    )


@contextmanager
def unpacked(file: SourceFile) -> Iterator[io.BufferedReader]:
    """The bytes of a file, those of a gzip file unpacked as they are read.

    Raises:
        InputError: it is packed in another way.
    """
    stream: io.BufferedReader = io.BufferedReader(cast(Any, file.open()), _BUFFER)
    try:
        start = stream.peek(10)
        for ending, (magic, _) in ARCHIVES.items():
            if start.startswith(magic):
                raise wrongly_packed(file, ending)
        if start.startswith(b"\x1f\x8b"):
            stream = io.BufferedReader(_Gunzip(stream), _BUFFER)
        yield stream
    finally:
        stream.close()


def head(file: SourceFile) -> tuple[str, bool]:
    """The start of a file, faults of encoding passed over, and whether that is all of it."""
    with unpacked(file) as stream:
        raw = stream.read(_HEAD)
        return raw.decode("utf-8", "replace").removeprefix(_MARK), not stream.peek(1)


class Lines:
    """The lines of a text file, decoded, each with ``\\n`` at its end (the last may have none).

    Args:
        stream: its bytes.
        where: what errors call it.

    Attributes:
        row: number of the row that is being read, 0 for a header, for messages; the reader sets it.
    """

    def __init__(self, stream: io.BufferedReader, where: str) -> None:
        self._stream, self._where = stream, where
        self.row = 0

    def __iter__(self) -> Iterator[str]:
        """Give one line after the other.

        Raises:
            InputError: the file is not UTF-8, holds a NUL byte, or a line has no end.
        """
        number, offset = 1, 0
        for raw in self._blocks():
            text, _, fault = decoded(raw, self._where, offset)
            text = newlines(text)
            *lines, rest = text.split("\n")
            for line in lines:
                yield line + "\n"
            if fault:
                raise _not_text(fault, text, self._where, number, self.row)
            if rest:
                yield rest
            number += len(lines)
            offset += len(raw)

    def _blocks(self) -> Iterator[bytes]:
        """The file in pieces of whole lines."""
        pieces: list[bytes] = []
        size = 0
        while raw := self._stream.read1(_BUFFER):
            end = raw.rfind(b"\n") + 1
            if end:
                yield b"".join([*pieces, raw[:end]])
                pieces, size = [], 0
            pieces.append(raw[end:])
            size += len(raw) - end
            if size > LONGEST:
                raise too_long(self._where, self.row)
        if size:
            yield b"".join(pieces)


def decoded(raw: bytes, where: str, offset: int, *, final: bool = True) -> tuple[str, int, tuple[str, str] | None]:
    """Bytes as text, up to the first that no text file holds; without the mark at a file's start.

    Args:
        raw: bytes of the file, from the start of a character.
        where: what errors call the file.
        offset: of the first byte in the file.
        final: the file ends with them; otherwise half a character at the end is left to be read.

    Returns:
        The text, the bytes that it was, and what is wrong with the next one and the fix, if anything is.

    Raises:
        InputError: it is UTF-16.
    """
    if offset == 0 and raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise InputError("is UTF-16, not UTF-8", where=where, fix=f"iconv -f UTF-16 -t UTF-8 {where} > utf8-file")
    fault = None
    try:
        text, used = codecs.utf_8_decode(raw, "strict", final)
    except UnicodeDecodeError as error:
        text, used = raw[: error.start].decode(), error.start
        fault = (
            f"is not UTF-8: byte 0x{raw[used]:02x} at offset {offset + used}",
            f"re-encode it, such as iconv -f LATIN1 -t UTF-8 {where} > utf8-file",
        )
    if "\0" in text:
        text, used = text[: text.index("\0")], raw.index(b"\0")
        fault = (
            f"holds a NUL byte (offset {offset + used}), so it is no text file",
            "give a text file in UTF-8, or remove the byte: tr -d '\\000' < file > clean-file",
        )
    return text.removeprefix(_MARK) if offset == 0 else text, used, fault


def whole_text(raw: bytes, where: str) -> str:
    """A whole file as text.

    Raises:
        InputError: it is not UTF-8, or holds a NUL byte.
    """
    text, _, fault = decoded(raw, where, 0)
    text = newlines(text)
    if fault:
        raise _not_text(fault, text, where, 1, None)
    return text


def _not_text(fault: tuple[str, str], before: str, where: str, line: int, row: int | None) -> InputError:
    """The error for the byte after `before`, which starts at `line`."""
    what, fix = fault
    return InputError(
        what if row is None else f"{row_name(row)} {what}",
        where=f"{where}:{line + before.count(chr(10))}:{len(before) - before.rfind(chr(10))}",
        fix=fix,
    )


def row_name(row: int) -> str:
    """What errors call a row."""
    return f"row {row}" if row else "the header"


def too_long(where: str, row: int) -> InputError:
    """The error for a row that does not end."""
    return InputError(
        f"{row_name(row)} is longer than {LONGEST >> 20} MiB",
        where=where,
        fix="end each row with a line break, and close every quote and bracket; cut longer texts into several rows",
    )
