"""What is wrong with an experiment file, in words: place, value, what is allowed, the nearest valid key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any, get_args

from assay.config.schema import Experiment, allowed, kind_of, leaves, sections
from assay.config.sweep import Matrix, Range, fixed
from assay.config.values import near
from assay.core.errors import InputError

LEAVES = dict([*leaves(), *leaves(Matrix)])
SECTIONS = ["", *(name for name, _ in [*sections(), *sections(Matrix)])]


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
    parts = [str(part) for part in error["loc"] if part != "[key]"]  # of a mapping's key it is the last one
    dotted = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    key = next((name for name in dotted if name in LEAVES), dotted[0] if dotted else "")
    # an entry of a mapping is named in full, an item of a list by its key
    named = ".".join(takewhile(lambda part: not part.isdigit(), parts)) or key
    place = place_in(".".join(parts), places) or f"{path}:1:1 ({key})"
    if error["type"] == "missing":
        return Problem(place, f"{key} is missing", f"add it: {allowed(LEAVES[key])}")
    if error["type"] == "assay":
        context = error["ctx"]
        if context["keys"]:
            about = [name for name in context["keys"].split() if name in places]
            return Problem(places[about[0]] if about else place, context["reason"], context["fix"])
        return Problem(place, f"{named} {context['reason']}", context["fix"] or f"give {allowed(LEAVES[key])}")
    info, value = LEAVES[key], error["input"]
    inside = f"holds {shown(value)}" if dotted[0] != named else f"is {shown(value)}"
    what = f"{named} {'has no value' if value is None else inside}, which is not allowed"
    may_hold = allowed(info).replace("a number", "a finite number") if "finite" in error["type"] else allowed(info)
    hints = [near(value, [str(choice) for choice in get_args(info.annotation)])]
    if value is not None and error["type"] == "string_type" and not isinstance(value, list):
        hints.append("a text that YAML reads as something else goes in quotes")
    return Problem(place, what, "; ".join([f"give {may_hold}", *(hint for hint in hints if hint)]))


def place_in(name: str, places: Mapping[str, str]) -> str:
    """The place of a dotted name, else of what it stands in; nothing where none of these was given."""
    while name and name not in places:
        name = name.rpartition(".")[0]
    return places.get(name, "")


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


def unfit(matrix: Matrix, experiment: Experiment, places: Mapping[str, str]) -> list[Problem]:
    """What is wrong with the keys that ablations and a search are to change: unknown, fixed, or not to be searched."""
    split = experiment.data.split
    files = not any(isinstance(held, int | float) for held in (split.dev, split.test))
    found: list[Problem] = []
    factors = [(f"ablations.{factor}.{key}", key) for factor, keys in matrix.ablations.items() for key in keys]
    for entry, key in [*factors, *((f"sweep.search.space.{key}", key) for key in matrix.sweep.search.space)]:
        where = place_in(entry, places)
        if key in SECTIONS:
            listed = ", ".join(f"{key}.{name}" for name in children(key))
            found.append(Problem(where, f"{key} is a section, and a key is needed", f"name one of {listed}"))
        elif key not in LEAVES:
            found.append(unknown_key(key, where))
        elif reason := fixed(key, held_out_files=files):
            found.append(Problem(where, f"{key} {reason[0]}", reason[1]))
    for key, span in matrix.sweep.search.space.items():
        where = place_in(f"sweep.search.space.{key}", places)
        if key in LEAVES and (problem := _unsearchable(key, span, where)):
            found.append(problem)
    return found


def _unsearchable(key: str, span: list[Any] | Range, where: str) -> Problem | None:
    kind = kind_of(LEAVES[key])
    if key == "train.max_length":
        return Problem(
            where,
            f"{key} is also the window that dev texts are scored in while training, so trials could not be compared",
            "vary it in ablations, which are compared on the test texts",
        )
    if isinstance(span, Range) and kind not in (int, float):
        return Problem(where, f"{key} is no number, and has no range", f"list its values: it is {allowed(LEAVES[key])}")
    if isinstance(span, Range) and kind is int and not all(isinstance(end, int) for end in (span.low, span.high)):
        return Problem(where, f"{key} is a whole number, and its range goes from {span.low} to {span.high}",
                       "give whole numbers for low and high")  # fmt: skip
    return None


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
