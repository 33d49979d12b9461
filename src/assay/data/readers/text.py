"""A plain text: one row, whole."""

from __future__ import annotations

import re
from collections.abc import Iterator

from assay.core.errors import InputError
from assay.data.readers.row import Row
from assay.data.readers.stream import unpacked, whole_text
from assay.data.sources import SourceFile

_START = re.compile(r"^\*{3} ?START OF (?:THE|THIS) PROJECT GUTENBERG[^*]{0,300}\*{3}.*\n", re.MULTILINE)
_END = re.compile(r"^\*{3} ?END OF (?:THE|THIS) PROJECT GUTENBERG", re.MULTILINE)


def read_text(file: SourceFile) -> Iterator[Row]:
    """The text of the file, without Project Gutenberg's frame, its line ends as ``\\n``."""
    with unpacked(file) as stream:
        text = whole_text(stream.read(), file.where)
    if not text.strip():
        raise InputError("is empty", where=file.where, fix="give a file that holds text")
    body = strip_frame(text)
    if not body.strip():
        raise InputError(
            "is empty between Project Gutenberg's START and END lines", where=file.where, fix="get it anew"
        )
    yield Row(0, {"text": body}, file.where)


def strip_frame(text: str) -> str:
    """The text between Project Gutenberg's START and END lines, or all of it when it has none."""
    start, end = _START.search(text), _END.search(text)
    return text[start.end() if start else 0 : end.start() if end else len(text)]
