"""The kinds of values that stand in an experiment file, with their checks and the sentences that say what is wrong."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, PlainValidator
from pydantic_core import PydanticCustomError

SCHEMES = ("gutenberg:", "pypi:", "hub:", "https:", "http:")
# keys whose texts name files
SOURCE_KEYS = {
    "data.source", "data.against", "data.split.dev", "data.split.test", "decode.confirm", "decode.prompts",
    "evaluate.harness", "evaluate.prompts", "evaluate.questions", "evaluate.retain",
}  # fmt: skip
HELD_OUT = "held-out"
SUITES = ("anime", "assistant", "gothic", "greentext", "stories")  # prompts that ship
LANGUAGES = ("de", "en", "es", "fr", "sv")  # generic texts that ship
QUESTIONS = ("general", "sv")  # question suites that ship
TEXTS = {"decode.confirm", "decode.prompts", "evaluate.prompts"}  # keys whose lists are lists of texts
# keys that may name what ships, or what another package knows, instead of a file
NAMED = {
    "decode.confirm",
    "decode.prompts",
    "evaluate.harness",
    "evaluate.prompts",
    "evaluate.questions",
    "evaluate.retain",
}
TARGETS = ("attention", "all-linear")
RULES = ("heading", "file", "row", "blocks")  # what groups can be made by, beside a column
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?")
_SOURCE = re.compile(
    r"gutenberg:[1-9]\d*|pypi:[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.!+_-]*/\S.*"
    r"|https?://[^\s/]+(/\S*)?|hub:[A-Za-z0-9][\w.-]*(/[\w.-]+)?(@[\w./-]+?)?(/\S+?)?(\?\S+)?"
)


def problem(reason: str, *keys: str, fix: str = "") -> PydanticCustomError:
    """What is wrong, for the loader to put in its place.

    Args:
        reason: how the sentence goes on after the key's name; a whole sentence where `keys` are given.
        keys: the dotted keys it is about, when it is about several; the first that was given is the place.
        fix: what to do; without it the loader says what the key may hold.
    """
    return PydanticCustomError("assay", "{reason}", {"reason": reason, "keys": " ".join(keys), "fix": fix})


def near(value: object, choices: Sequence[str]) -> str:
    """``did you mean x?`` for the choice nearest to `value`, or nothing."""
    found = difflib.get_close_matches(value, choices, 1) if isinstance(value, str) else []
    return f"did you mean {found[0]}?" if found else ""


def flow(value: object) -> str:
    """A value on one line of YAML. JSON is YAML's flow style, but for characters that YAML refuses unescaped."""
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]", lambda found: f"\\u{ord(found.group()):04x}", text)


def number_like(value: str) -> bool:
    """Whether a text is a number: YAML 1.1 reads 2e-4 as text, where the number is meant."""
    return _NUMBER.fullmatch(value) is not None


def _number(value: Any) -> Any:
    return float(value) if isinstance(value, str) and number_like(value) else value


def _filled(value: str) -> str:
    if not value.strip():
        raise problem("is empty")
    try:
        # JSON writes a character beyond the basic plane as two escapes; YAML reads them as two characters.
        return value.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise problem(f"is {value!r}, which holds half a character", fix="write the character itself") from None


def _hash(value: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
        raise problem(f"is {value!r}, which is no SHA-256")
    return value.lower()


def _slug(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise problem(f"is {value!r}, which cannot name a folder everywhere")
    return value


def _source(value: Any) -> str | list[str]:
    specs = value if isinstance(value, list) else [value]
    if not specs or not all(isinstance(spec, str) for spec in specs):
        raise problem(f"is {value!r}, which is neither text nor a list of texts")
    for spec in specs:
        _filled(spec)
        if re.match(r"[a-z][a-z0-9+.-]+:", spec) and not _SOURCE.fullmatch(spec):
            raise problem(
                f"is {spec!r}, which is no source known here (a file with a colon in its name needs ./ first)"
            )
    return list(value) if isinstance(value, list) else str(value)


def as_list(source: str | list[str]) -> list[str]:
    """One or several sources as a list."""
    return [source] if isinstance(source, str) else list(source)


def _specs(value: Any) -> list[str]:
    return [] if value == [] else as_list(_source(value))


def _held(value: Any) -> int | float | str | list[str]:
    """What is held out: a share of the groups, a number of them, or sources of its own."""
    if isinstance(value, list):
        return _source(value)
    number = _number(value)
    if isinstance(number, str):
        return _source(number)
    if isinstance(number, bool) or not isinstance(number, int | float):
        raise problem(f"is {value!r}, which is neither a share, a number of groups nor a source")
    if isinstance(number, float) and not 0 < number < 1:
        raise problem(
            f"is {value!r}, and a share lies between 0 and 1", fix="give a share such as 0.2, or a whole number"
        )
    if isinstance(number, int) and number < 1:
        raise problem(f"is {value!r}, and at least one group is needed")
    return number


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise problem(
            f"is {value!r}, which is no regular expression: {error}", fix="write a backslash before signs meant as such"
        ) from None
    return value


def _group(value: Any) -> str | dict[str, str | int | bool]:
    if isinstance(value, str):
        return _filled(value)
    if not isinstance(value, dict) or len(value) != 1:
        raise problem(f"is {value!r}, which is no rule for groups")
    (rule, setting), *_ = value.items()
    if rule not in RULES:
        raise problem(f"has no rule {rule!r}", fix=near(rule, RULES))
    if rule in ("file", "row") and setting is not True:
        raise problem(f"has {rule}: {setting!r}", fix=f"give {{{rule}: true}}")
    if rule == "blocks" and (isinstance(setting, bool) or not isinstance(setting, int) or setting < 3):
        raise problem(f"has blocks: {setting!r}", fix="give an integer ≥ 3: each split needs a block")
    if rule == "heading":
        _heading(setting)
    return {rule: setting}


def _heading(pattern: Any) -> None:
    if not isinstance(pattern, str):
        raise problem(f"has heading: {pattern!r}, which is no regular expression", fix="put it in quotes")
    fix = "give one that matches the heading lines, such as '^Chapter [0-9]+'"
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise problem(f"has heading: {pattern!r}, which is no regular expression: {error}", fix=fix) from None
    if compiled.search(""):
        raise problem(f"has heading: {pattern!r}, which matches every empty line", fix=fix)


def _targets(value: Any) -> str | list[str]:
    if value in TARGETS:
        return str(value)
    if isinstance(value, list) and value and all(isinstance(name, str) and name.strip() for name in value):
        return list(value)
    raise problem(f"is {value!r}, which names no layers", fix=near(value, TARGETS))


def _prompts(value: Any) -> str | list[str]:
    if isinstance(value, str):
        return _filled(value)
    if not isinstance(value, list):
        raise problem(f"is {value!r}, which is neither a name nor a list of texts")
    for text in value:
        if not isinstance(text, str):
            raise problem(f"holds {text!r}, which is no text", fix="give a list of texts, numbers and dates in quotes")
    return [_filled(text) for text in value]


Number = Annotated[float, BeforeValidator(_number)]
Text = Annotated[str, AfterValidator(_filled)]
Slug = Annotated[str, AfterValidator(_slug)]
Hash = Annotated[str, AfterValidator(_hash)]
Pattern = Annotated[str, AfterValidator(_filled), AfterValidator(_pattern)]
Held = Annotated[int | float | str | list[str], PlainValidator(_held)]
Specs = Annotated[list[str], PlainValidator(_specs)]
Source = Annotated[str | list[str], PlainValidator(_source)]
Group = Annotated[str | dict[str, str | int | bool], PlainValidator(_group)]
Targets = Annotated[str | list[str], PlainValidator(_targets)]
Prompts = Annotated[str | list[str], PlainValidator(_prompts)]
