"""A group of commands of which one need not be named."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

DEFAULT = "list"
_WITH_VALUE = ("--runs-dir",)  # the group's own options that a value follows


class ListByDefault(TyperGroup):
    """`assay runs status=failed` means `assay runs list status=failed`: without a command's name it is `list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the name in, unless a command is named or help is asked for."""
        first = _first_word(args)
        if first not in self.commands and not (first is None and "--help" in args):
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)


def _first_word(args: list[str]) -> str | None:
    """The first argument that is neither an option nor an option's value."""
    words = iter(args)
    for word in words:
        if word in _WITH_VALUE:
            next(words, None)
        elif not word.startswith("-"):
            return word
    return None
