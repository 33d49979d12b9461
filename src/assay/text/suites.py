"""Prompts, generic texts and questions to evaluate a model with: those that ship with Assay, and files of the user.

What ships is described in ``assay/suites/README.md``. A name without a suffix and a path separator is one of the
shipped suites; anything else is a file.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from assay.core.errors import InputError
from assay.core.records import is_name
from assay.text.metrics.ifeval import Instruction, instructions

# languages of the generic texts, by ISO 639-1
GENERIC = {"de": "German", "en": "English", "es": "Spanish", "fr": "French", "sv": "Swedish"}
# What a prompt's answer may be checked for, and the argument that says how.
CHECKS: dict[str, str | None] = {
    "min_words": "n", "max_words": "n", "min_sentences": "n", "max_sentences": "n", "paragraphs": "n", "bullets": "n",
    "keywords": "words", "forbidden_words": "words", "starts_with": "text", "ends_with": "text", "language": "code",
    "lowercase": None, "uppercase": None, "no_comma": None, "json": None, "title": None,
}  # fmt: skip

_SUITES = Path(__file__).resolve().parents[1] / "suites"
_PROMPT_KEYS = ("prompt", "id", "language", "label", "checks")
_IFEVAL_KEYS = ("key", "prompt", "instruction_id_list", "kwargs")
_FRAME = ("Question: ", "\nAnswer: ")
_FRAMES = {"sv": ("Fråga: ", "\nSvar: ")}  # of shipped suites in other languages
# The keys of a question file: those of Assay, and those of the evaluation files of llm-foundry.
_OWN, _QUERY, _CONTEXTS = (
    ("question", "choices", "answer"),
    ("query", "choices", "gold"),
    ("context_options", "continuation", "gold"),
)


@dataclass(frozen=True)
class Prompt:
    """What a model is asked to continue or to answer.

    Attributes:
        id: of its own in the suite.
        text: the prompt.
        language: ISO 639-1 code that the answer must have, where the suite says so.
        label: the genre or style that is asked for.
        checks: a name of `CHECKS` and its argument by name, such as ``("min_words", {"n": 50})``.
        instructions: of a row in IFEval's form.
        system: the system prompt that it is asked with, where it is a chat's own.
    """

    id: str
    text: str
    language: str | None = None
    label: str | None = None
    checks: tuple[tuple[str, dict[str, Any]], ...] = ()
    instructions: tuple[Instruction, ...] = ()
    system: str | None = None


@dataclass(frozen=True)
class Question:
    """A question with one right choice.

    Attributes:
        id: of its own in the suite.
        question: without a word in front of it; empty where the choices are whole beginnings.
        choices: two or more.
        answer: which of them is right, counted from 0.
        topic: what it is about, where the suite says so.
        continuation: what all choices are continued by, where they are beginnings (as in WinoGrande).
        frame: what stands before and behind the question where a model reads it.
    """

    id: str
    question: str
    choices: tuple[str, ...]
    answer: int
    topic: str | None = None
    continuation: str | None = None
    frame: tuple[str, str] = _FRAME

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Of each choice a text, and the one behind it whose likelihood counts, as lm-evaluation-harness asks.

        Choices of ARC and PIQA follow ``Question: ...\\nAnswer:``, those of OpenBookQA the beginning of a sentence, and
        in WinoGrande the same words follow each choice (arXiv 1806.02847).
        """
        if self.continuation is not None:
            return tuple((f"{choice} ", self.continuation) for choice in self.choices)
        asked = self.question.join(self.frame)
        return tuple((asked, choice) for choice in self.choices)


Kind = TypeVar("Kind", Prompt, Question)


def prompt_suite(name: str | Path) -> list[Prompt]:
    """The prompts of a shipped suite, or of a file: YAML and JSON Lines with the keys of `Prompt`, text line by line.

    A prompt without an id is called by its number, counted from 1. Rows in the form of IFEval's published file
    (arXiv 2311.07911) are read too.

    Raises:
        InputError: there is no such suite or file, or a prompt of it is wrong; its line and the nearest name are told.
    """
    path = _located(name, "prompts", (".yaml", ".yml", ".jsonl", ".txt"))
    read = {".jsonl": json_rows, ".txt": _text_rows}.get(path.suffix.lower(), _yaml_rows)
    return _distinct(((_prompt(row, number), row) for number, row in enumerate(read(path), 1)), path)


def generic_texts(code: str) -> list[tuple[str, str]]:
    """Id and text of the shipped passages in a language of `GENERIC`: twelve, each of 500 to 800 bytes.

    Raises:
        InputError: there are none in this language.
    """
    if code not in GENERIC:
        raise InputError(f"there are no generic texts in {code!r}", fix=_choose(code, tuple(GENERIC)))
    rows = json_rows(_SUITES / "generic" / f"{code}.jsonl")
    return [(str(row.values["id"]), str(row.values["text"])) for row in rows]


def questions(name: str | Path) -> list[Question]:
    """The questions of a shipped suite, or of a file in JSON Lines.

    A row of a file has the keys ``question, choices, answer``, or as in the evaluation files of llm-foundry ``query,
    choices, gold`` or ``context_options, continuation, gold``; and ``id`` and ``topic`` if it likes. The answer is
    counted from 0.

    Raises:
        InputError: there is no such suite or file, or a question of it is wrong; its line and the nearest name are
            told.
    """
    path = _located(name, "questions", (".jsonl",))
    frame = _FRAMES.get(str(name), _FRAME)
    rows = enumerate(json_rows(path), 1)
    return _distinct(((_question(row, number, frame), row) for number, row in rows), path)


# --- files ---


@dataclass(frozen=True)
class Row:
    """A mapping of a file, and the line that it begins in; where it comes from YAML it knows those of its keys."""

    values: Mapping[Any, Any]
    path: Path
    line: int

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.path}:{self.line}"

    def at(self, key: str) -> str:
        """File and line of a key."""
        spots = self.values.lc.data if isinstance(self.values, CommentedMap) else None
        return f"{self.path}:{spots[key][0] + 1}" if spots and key in spots else self.where


def _located(name: str | Path, kind: str, suffixes: Sequence[str]) -> Path:
    given = str(name)
    path = Path(given)
    if is_name(given):
        shipped = {one.stem: one for one in sorted((_SUITES / kind).iterdir())}
        if given not in shipped:
            fix = f"{_choose(given, list(shipped))} (a file is named with its suffix, such as {suffixes[0]})"
            raise InputError(f"there is no suite of {kind} {given!r}", fix=fix)
        return shipped[given]
    if path.suffix.lower() not in suffixes:
        raise InputError(f"no file of {kind} by its suffix", where=given, fix=f"give one in {' or '.join(suffixes)}")
    return path


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        folder = path.parent
        names = [one.name for one in folder.iterdir()] if folder.is_dir() else []
        near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.4)
        fix = f"did you mean {folder / near[0]}?" if near else "check the path"
        raise InputError("there is no such file", where=str(path), fix=fix) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError("the file is not UTF-8 text", where=f"{path}:{line}", fix="save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), fix="check the path") from None


def _text_rows(path: Path) -> Iterator[Row]:
    for number, line in enumerate(_read(path).split("\n"), 1):
        if line.strip():
            yield Row({"prompt": line.strip()}, path, number)


def json_rows(path: Path) -> Iterator[Row]:
    """The rows of a file in JSON Lines; a line that is no JSON object is an InputError that names it."""
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        fix = "write one whole JSON object on each line"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = error.msg if isinstance(error, json.JSONDecodeError) else "it cannot be read"
            raise InputError(f"this line is not JSON: {reason}", where=f"{path}:{number}", fix=fix) from None
        if not isinstance(value, dict):
            raise InputError("this line is not a JSON object", where=f"{path}:{number}", fix=fix)
        yield Row(value, path, number)


def _yaml_rows(path: Path) -> Iterator[Row]:
    try:
        tree = YAML(typ="rt").load(_read(path))
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{path}:{mark.line + 1}" if mark else str(path)
        reason = next(iter(str(error.problem or error.context).splitlines()), "")
        raise InputError(
            f"this is not YAML: {reason}",
            where=place,
            fix="check the indentation, and put texts with a colon in quotes",
        ) from None
    except (YAMLError, ValueError, RecursionError) as error:
        reason = next(iter(str(error).splitlines()), "")
        raise InputError(f"this is not YAML: {reason}", where=str(path), fix="check the file") from None
    if not isinstance(tree, CommentedMap):
        raise InputError("the file holds no keys", where=str(path), fix="write `prompts:`, and a list below it")
    whole = Row(tree, path, 1)
    _check_keys(whole, ("prompts", "about"), ("prompts",), "a file of prompts")
    yield from _mappings(whole, "prompts", "- {id: a-name, prompt: a text}")


def _mappings(row: Row, key: str, example: str) -> Iterator[Row]:
    found = row.values[key]
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        raise InputError(f"{key} is not a list of mappings", where=row.at(key), fix=f"write each as {example}")
    for one in found:
        yield Row(one, row.path, one.lc.line + 1 if isinstance(one, CommentedMap) else row.line)


# --- rows ---


def _prompt(row: Row, number: int) -> Prompt:
    if "instruction_id_list" in row.values:
        _check_keys(row, _IFEVAL_KEYS, _IFEVAL_KEYS[1:], "a prompt in IFEval's form")
        asked = tuple(instructions(row.values, row.where))
        return Prompt(str(row.values.get("key", number)), _text(row, "prompt"), instructions=asked)
    _check_keys(row, _PROMPT_KEYS, ("prompt",), "a prompt")
    checks = _mappings(row, "checks", "- {check: min_words, n: 50}") if row.values.get("checks") is not None else ()
    return Prompt(
        _id(row, number),
        _text(row, "prompt"),
        _code(row, "language") if row.values.get("language") is not None else None,
        _optional(row, "label"),
        tuple(map(_check, checks)),
    )


def _check(row: Row) -> tuple[str, dict[str, Any]]:
    if "check" not in row.values:
        raise InputError("a check has no key check", where=row.where, fix="write {check: min_words, n: 50}")
    name = _text(row, "check")
    if name not in CHECKS:
        raise InputError(f"there is no check {name!r}", where=row.at("check"), fix=_choose(name, list(CHECKS)))
    argument = CHECKS[name]
    keys = ("check", argument) if argument else ("check",)
    _check_keys(row, keys, keys, f"the check {name}")
    readers = {"n": _count, "words": _texts, "text": _text, "code": _code}
    return name, {argument: readers[argument](row, argument)} if argument else {}


def _question(row: Row, number: int, frame: tuple[str, str]) -> Question:
    keys = max((_OWN, _QUERY, _CONTEXTS), key=lambda known: len(row.values.keys() & set(known)))
    _check_keys(row, (*keys, "id", "topic"), keys, "a question")
    beginnings = keys is _CONTEXTS
    asked = "" if beginnings else _text(row, keys[0]).strip()
    if keys is _QUERY:
        bare = asked.removeprefix("Question:").strip()
        frame = _FRAME if bare != asked else ("", " ")  # the beginning of a sentence has no frame
        asked = bare
    where = keys[0] if beginnings else "choices"
    choices = tuple(choice.strip() for choice in _texts(row, where))
    answer = _answer(row, keys[2], where, choices)
    continuation = _text(row, "continuation").strip() if beginnings else None
    return Question(_id(row, number), asked, choices, answer, _optional(row, "topic"), continuation, frame)


def _answer(row: Row, key: str, where: str, choices: tuple[str, ...]) -> int:
    if len(choices) < 2:
        raise InputError("there is nothing to choose from", where=row.at(where), fix=f"give two or more {where}")
    answer = row.values[key]
    if not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(choices):
        fix = f"give the number of the right one, from 0 to {len(choices) - 1}"
        raise InputError(f"{key} is {_shown(answer)}, which is none of the {where}", where=row.at(key), fix=fix)
    if choices.count(choices[answer]) > 1:
        fix = "let it stand once, so that one is right"
        raise InputError(f"the right one, {_shown(choices[answer])}, is twice in {where}", where=row.at(where), fix=fix)
    return answer


def _check_keys(row: Row, known: Sequence[str], needed: Sequence[str], what: str) -> None:
    for key in row.values:
        if key not in known:
            raise InputError(f"there is no key {key} in {what}", where=row.at(key), fix=_choose(str(key), known))
    missing = [key for key in needed if key not in row.values]
    if missing:
        fix = f"{what} holds the keys {', '.join(needed)}"
        raise InputError(f"the key {missing[0]} is missing", where=row.where, fix=fix)


def _distinct(found: Iterable[tuple[Kind, Row]], path: Path) -> list[Kind]:
    seen: dict[str, Kind] = {}
    for one, row in found:
        if one.id in seen:
            raise InputError(
                f"the id {one.id!r} stands twice", where=row.at("id"), fix="give each row an id of its own"
            )
        seen[one.id] = one
    if not seen:
        raise InputError("the file holds nothing", where=str(path), fix="give a file with at least one row")
    return list(seen.values())


# --- values ---


def _id(row: Row, number: int) -> str:
    return _optional(row, "id") or str(number)


def _optional(row: Row, key: str) -> str | None:
    return _text(row, key) if row.values.get(key) is not None else None


def _text(row: Row, key: str) -> str:
    return _sound(row.values[key], key, row.at(key))


def _texts(row: Row, key: str) -> tuple[str, ...]:
    found = row.values[key]
    if not isinstance(found, list) or not found:
        raise InputError(f"{key} is {_shown(found)}, which is no list", where=row.at(key), fix="give a list of texts")
    return tuple(_sound(one, f"an entry of {key}", row.at(key)) for one in found)


def _sound(value: Any, what: str, where: str) -> str:
    if not isinstance(value, str):
        fix = "give a text; what YAML and JSON read as something else goes in quotes"
        raise InputError(f"{what} is {_shown(value)}, which is no text", where=where, fix=fix)
    if not value.strip():
        raise InputError(f"{what} is empty", where=where, fix="give a text")
    try:
        # YAML reads a character that is written as two escapes as two characters
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise InputError(f"{what} holds half a character", where=where, fix="write the character itself") from None


def _code(row: Row, key: str) -> str:
    value = row.values[key]
    if not isinstance(value, str) or not re.fullmatch("[a-z]{2}", value):
        fix = "give the ISO 639-1 code, such as en, sv or fr"
        raise InputError(f"{key} is {_shown(value)}, which is no code of a language", where=row.at(key), fix=fix)
    return str(value)


def _count(row: Row, key: str) -> int:
    value = row.values[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        fix = "give a whole number from 1 on"
        raise InputError(f"{key} is {_shown(value)}, which is no number of them", where=row.at(key), fix=fix)
    return int(value)


def _choose(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"use one of {', '.join(known)}"


def _shown(value: Any) -> str:
    text = "nothing" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
