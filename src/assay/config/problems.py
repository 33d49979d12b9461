"""What is wrong with an experiment file, in words: place, value, what is allowed, the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from assay.config.schema import allowed, leaves, sections
from assay.config.values import near
from assay.core.errors import InputError

LEAVES = dict(leaves())
SECTIONS = ["", *(name for name, _ in sections())]


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong. Problems are collected, so that a file's are all told at once."""

    where: str
    what: str
    fix: str


@dataclass(frozen=True)
class Other:
    """A YAML value that no key may hold, such as a date."""

    text: str

    def __repr__(self) -> str:
        """Its text, as written in the file."""
        return self.text


def explained(error: Mapping[str, Any], places: Mapping[str, str], values: Mapping[str, Any], path: Path) -> Problem:
    """One of pydantic's errors, with its place in the file; `places` and `values` are by dotted key."""
    parts = [str(part) for part in error["loc"]]
    dotted = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    key = next((name for name in dotted if name in LEAVES), dotted[0] if dotted else "")
    place = next((places[name] for name in dotted if name in places), f"{path}:1:1 ({key})")
    if error["type"] == "missing":
        return Problem(place, f"{key} is missing", f"add it: {allowed(LEAVES[key])}")
    if error["type"] == "assay":
        context = error["ctx"]
        if context["keys"]:
            about = [name for name in context["keys"].split() if name in places]
            return Problem(places[about[0]] if about else place, context["reason"], context["fix"])
        return Problem(place, f"{key} {context['reason']}", context["fix"] or f"give {allowed(LEAVES[key])}")
    info, value = LEAVES[key], error["input"]
    inside = f"holds {shown(value)}" if dotted[0] != key else f"is {shown(value)}"
    what = f"{key} {'has no value' if value is None else inside}, which is not allowed"
    may_hold = allowed(info).replace("a number", "a finite number") if "finite" in error["type"] else allowed(info)
    hints = [near(value, [str(choice) for choice in get_args(info.annotation)])]
    if value is not None and error["type"] == "string_type" and not isinstance(value, list):
        hints.append("a text that YAML reads as something else goes in quotes")
    return Problem(place, what, "; ".join([f"give {may_hold}", *(hint for hint in hints if hint)]))


def unknown_key(key: str, where: str) -> Problem:
    """A key that the schema does not have: the same name elsewhere, else the nearest name, else those there are."""
    head, _, name = key.rpartition(".")
    parent = head if head in SECTIONS else ""
    everything = [*LEAVES, *SECTIONS[1:]]
    siblings = children(parent)
    elsewhere = [full for full in everything if full.rpartition(".")[2] == name]
    close = difflib.get_close_matches(name, siblings, 1) if head == parent else []
    beside = [f"{parent}.{one}".lstrip(".") for one in close]
    guesses = [*elsewhere, *beside, *difflib.get_close_matches(key, everything, 1)]
    listed = f"{parent or 'the file'} holds the keys {', '.join(siblings)}"
    return Problem(where, f"there is no key {key}", f"did you mean {guesses[0]}?" if guesses else listed)


def one_message(problems: Sequence[Problem], path: Path) -> InputError:
    """All problems as one error: one line each when there are several."""
    distinct = list(dict.fromkeys(problems))
    if len(distinct) == 1:
        (only,) = distinct
        return InputError(only.what, where=only.where, fix=only.fix)
    lines = [f"{one.where}: {one.what} ({one.fix})" for one in distinct]
    return InputError(f"{len(lines)} problems\n  " + "\n  ".join(lines), where=str(path), fix="correct these keys")


def children(section: str) -> list[str]:
    """The names of the keys and sections directly in a section; of the file itself for an empty name."""
    inside = [name for name in [*LEAVES, *SECTIONS[1:]] if name.rpartition(".")[0] == section]
    return [name.rpartition(".")[2] for name in inside]


def place_of(name: str, line: int, column: int) -> str:
    """``file:line:column``, counted from 1, of a line and a column counted from 0."""
    return f"{name}:{line + 1}:{column + 1}"


def shown(value: Any) -> str:
    """A value as it stands in a message: YAML's words, and no more than 60 characters."""
    text = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
