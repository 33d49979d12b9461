"""What all pages share: their HTML templates, and plain words in Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

# What would be markup in a table of Markdown.
_MARKUP = str.maketrans({sign: f"\\{sign}" for sign in "\\`*_[]<>|#~"})


def template(name: str) -> Template:
    """One of this folder's page templates: values are escaped, and a name that is not given is an error."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def plain(text: str) -> str:
    """A text on one line that no reader of Markdown takes for markup."""
    return " ".join(text.split()).translate(_MARKUP)


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already."""
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, ["---"] * len(header), *rows])
