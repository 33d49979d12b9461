"""Prompts with verifiable instructions, read in IFEval's form and scored strictly (arXiv 2311.07911)."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from assay.core.errors import InputError
from assay.text.metrics.checks import CHECKS
from assay.text.metrics.language import Identifier

_LANGUAGES = "languages"  # the argument of checks that look at the language
# What a check's argument may be, by its annotation.
_KINDS: dict[str, Callable[[Any], bool]] = {
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "Sequence[str]": lambda value: isinstance(value, list) and all(isinstance(each, str) for each in value),
    "Mapping[str, str]": lambda value: (
        isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    ),
}


@dataclass(frozen=True)
class Instruction:
    """One verifiable instruction: the name of its check in `CHECKS`, and the check's arguments."""

    name: str
    arguments: Mapping[str, Any]

    @property
    def needs_languages(self) -> bool:
        """Whether the check looks at the text's language."""
        return _LANGUAGES in inspect.signature(CHECKS[self.name]).parameters

    def followed(self, text: str, languages: Identifier | None = None) -> bool:
        """Whether a text follows, strictly: the text as it is, and an empty one follows nothing.

        Args:
            text: the output, new text only.
            languages: what tells languages; for checks that need it.

        Raises:
            ValueError: it is needed and missing.
        """
        if self.needs_languages and languages is None:
            raise ValueError(f"{self.name} looks at the language")
        told = {_LANGUAGES: languages} if self.needs_languages else {}
        return bool(text.strip()) and CHECKS[self.name](text, **self.arguments, **told)


def instructions(row: Mapping[str, Any], where: str) -> list[Instruction]:
    """The instructions of one prompt.

    Args:
        row: has ``instruction_id_list``, names of `CHECKS`, and ``kwargs``, as many objects of arguments (null ones
            count as absent).
        where: file and row, for errors.

    Raises:
        InputError: the row has another form, a name is unknown, or arguments do not fit their check.
    """
    names, arguments = row.get("instruction_id_list"), row.get("kwargs")
    if not isinstance(names, list) or not isinstance(arguments, list) or len(names) != len(arguments) or not names:
        raise InputError(
            "instruction_id_list and kwargs are not two lists of one length",
            where=where,
            fix='write them as in {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}',
        )
    return [_instruction(name, given or {}, where) for name, given in zip(names, arguments, strict=True)]


def _instruction(name: str, given: Mapping[str, Any], where: str) -> Instruction:
    if name not in CHECKS:
        near = difflib.get_close_matches(str(name), CHECKS, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        raise InputError(f"unknown instruction {name!r}", where=where, fix=f"{meant}known are {', '.join(CHECKS)}")
    made = Instruction(name, {key: value for key, value in given.items() if value is not None})
    wanted = inspect.signature(CHECKS[name])
    takes = {key: str(each.annotation) for key, each in list(wanted.parameters.items())[1:] if key != _LANGUAGES}
    try:
        wanted.bind("", **made.arguments, **({_LANGUAGES: None} if made.needs_languages else {}))
        for key, value in made.arguments.items():
            if not _KINDS[takes[key]](value):
                raise TypeError(f"{key} is {value!r}")
        if not made.needs_languages:
            CHECKS[name]("x", **made.arguments)  # a first try: a wrong relation shows here, not after generation
    except (TypeError, InputError) as error:
        what = error.what if isinstance(error, InputError) else str(error)
        arguments = ", ".join(f"{key} ({kind})" for key, kind in takes.items())
        raise InputError(f"{name}: {what}", where=where, fix=f"give it {arguments or 'no arguments'}") from error
    return made
