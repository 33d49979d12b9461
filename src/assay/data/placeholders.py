"""The format `template`: a text with the names of columns in braces, filled in from each row."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assay.core.errors import InputError
from assay.data.columns import column_value, kind_of, short

if TYPE_CHECKING:
    from assay.data.readers import Row
from assay.data.values import newlines

KEY = "data.template"
_TOKEN = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]|[^{}]+")
_EXAMPLE = "'[TITLE] {title} [STORY] {story}'"


@dataclass(frozen=True)
class Template:
    """A template's two halves, each its parts in order: literal texts, and columns.

    Args:
        before: what is given.
        last: the last column, which is what is to be produced,
        behind: and the text after it.
    """

    before: tuple[tuple[str, bool], ...]  # a text or the name of a column, and whether it is a column
    last: str
    behind: str

    @property
    def columns(self) -> list[str]:
        """The columns, each once, in the order of the template."""
        return list(dict.fromkeys([*(part for part, is_column in self.before if is_column), self.last]))

    def fill(self, row: Row) -> tuple[str, str, list[str]]:
        """The prompt and the completion, and the values of `columns`; the completion is empty if its value is.

        Raises:
            InputError: the row lacks a column, or one holds nested values.
        """
        values = {column: _written(row, column) for column in self.columns}
        prompt = "".join(values[part] if is_column else part for part, is_column in self.before)
        produced = values[self.last]
        return prompt, produced + self.behind if produced.strip() else "", list(values.values())


def compiled(template: str) -> Template:
    """A template; ``{{`` and ``}}`` are braces that are meant as such.

    Raises:
        InputError: a brace stands alone, or there is no column or nothing before the last one.
    """
    parts: list[tuple[str, bool]] = []
    for match in _TOKEN.finditer(template):
        if match[1] and match[1].strip():
            parts.append((match[1].strip(), True))
        elif match[0] in ("{", "}") or match[1] is not None:
            raise InputError(
                f"the brace at character {match.start() + 1} belongs to no column: {short(template[match.start() :])}",
                where=KEY,
                fix=f"write a column's name in braces, as in {_EXAMPLE}, and a brace that is meant as such twice: {{{{",
            )
        else:
            parts.append((match[0].replace("{{", "{").replace("}}", "}"), False))
    last = max((index for index, (_, is_column) in enumerate(parts) if is_column), default=-1)
    if not any(part.strip() for part, _ in parts[: max(last, 0)]):
        raise InputError(
            "nothing stands before the last column, so there is no prompt" if last >= 0 else "it names no column",
            where=KEY,
            fix=f"write it as in {_EXAMPLE}; to learn one column alone, name it in data.fields.text instead",
        )
    return Template(tuple(parts[:last]), parts[last][0], "".join(part for part, _ in parts[last + 1 :]))


def _written(row: Row, column: str) -> str:
    """A text as it is, nothing for a null, numbers as in JSON, and the values of a list joined by commas."""
    value = column_value(row, column, KEY)
    parts = value if isinstance(value, list) else [value]
    if any(isinstance(part, list | dict) for part in parts):
        raise InputError(
            f"the column {column!r} holds {kind_of(value)} with values of its own: {short(value)}",
            where=row.place,
            fix=f"name the value that is meant in {KEY}, by its path, such as {{{column}.name}} or {{{column}.0}}",
        )
    return ", ".join(
        newlines(part) if isinstance(part, str) else json.dumps(part) for part in parts if part is not None
    )
