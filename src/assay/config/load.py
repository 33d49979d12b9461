"""From a YAML file and `--set a.b=c` to an `Experiment`, with errors that name file, line and the nearest valid key."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MantissaNoDotYAML1_1Warning, MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent
from ruamel.yaml.reader import ReaderError

from assay.config.paths import absolute_paths
from assay.config.problems import (
    LEAVES,
    SECTIONS,
    Other,
    Problem,
    children,
    explained,
    one_message,
    place_of,
    shown,
    unfit,
    unknown_key,
)
from assay.config.schema import Experiment, leaves
from assay.config.section import Section
from assay.config.sweep import Matrix
from assay.config.train import LORA_ONLY
from assay.config.values import flow
from assay.core.errors import InputError

MAX_DEPTH = 12  # an experiment has six levels
# of two keys that exclude each other, the one given takes the place of the other
EXCLUDE = (
    ("train.steps", "train.epochs"), ("train.epochs", "train.steps"), ("seed", "seeds"), ("seeds", "seed"),
)  # fmt: skip
_Model = TypeVar("_Model", bound=Section)


@dataclass(frozen=True)
class Loaded:
    """An experiment as read: the values, the file (absolute), its text, and where each value came from.

    `origins` has every key of the experiment that holds a value: "file", "--set" or "default". `matrix` says which
    other runs belong to it; it is no part of the run itself.
    """

    experiment: Experiment
    path: Path
    text: str
    origins: dict[str, str]
    matrix: Matrix = field(default_factory=Matrix)


@dataclass
class Given:
    """The values one origin gives, with the place of each key; problems are collected, not raised."""

    values: dict[str, Any] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def over(self, lower: Given) -> Given:
        """These values in the place of those of `lower` with the same keys, and of those that they exclude."""
        left = dict(lower.values)
        for key, other in EXCLUDE:
            if self.values.get(key) is not None:
                left.pop(other, None)
        if self.values.get("adapter.kind") == "full":
            for name in LORA_ONLY:
                left.pop(f"adapter.{name}", None)
        return Given({**left, **self.values}, {**lower.places, **self.places}, lower.problems + self.problems)


def load_experiment(path: Path | str, overrides: Sequence[str] = ()) -> Loaded:
    """Read an experiment file; `overrides` are ``a.b=c``, the value written as YAML.

    Raises:
        InputError: all problems of the file in one message, each with its place, value and nearest valid key.
    """
    path = Path(path).expanduser()
    return load_text(read_text(path), path, overrides)


def read_text(path: Path) -> str:
    """The text of an experiment file.

    Raises:
        InputError: there is no such file, or it is no text.
    """
    if path.is_dir():
        raise InputError("this is a folder, not an experiment file", where=str(path), fix="name the .yaml file in it")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"there is no file {path}", where=str(path), fix=_nearest_file(path)) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise InputError("the file is not UTF-8 text", where=f"{path}:{line}", fix="save it as UTF-8") from None
    except OSError as error:
        raise InputError(f"cannot read the file: {error.strerror}", where=str(path), fix="check the path") from None


def load_text(text: str, path: Path, overrides: Sequence[str] = ()) -> Loaded:
    """The same from text; the folder of `path` is where relative paths in the text count from.

    Relative paths given by an override count from the working directory. An override also takes the place of what
    excludes it in the file: `train.steps` of `train.epochs` and the reverse, `adapter.kind=full` of the LoRA keys,
    `seed` of `seeds` and the reverse.

    Raises:
        InputError: as `load_experiment`.
    """
    return assembled(from_file(text, path), from_overrides(overrides), text, path)


def assembled(written: Given, given: Given, text: str, path: Path) -> Loaded:
    """The experiment of a file's values and of others over them.

    Raises:
        InputError: as `load_experiment`.
    """
    both = given.over(written)
    values, problems = both.values, both.problems
    tree = _nested(values)

    def checked(model: type[_Model], part: Mapping[str, Any]) -> _Model | None:
        try:
            return model.model_validate(part)
        except ValidationError as error:
            problems.extend(explained(dict(one), both.places, values, path) for one in error.errors(include_url=False))
            return None

    matrix = checked(Matrix, {key: tree.pop(key) for key in Matrix.model_fields if key in tree})
    if matrix and matrix.seeds:
        problems += _two_seeds(matrix.seeds, both)
        tree["seed"] = matrix.seeds[0]
    experiment = checked(Experiment, tree)
    if experiment and matrix:
        problems += unfit(matrix, experiment, both.places)
    if problems or not experiment or not matrix:
        raise one_message(problems, path)
    origins = {}
    for key, _ in leaves():
        # An empty key (`epochs:`) that a default fills has the default's origin.
        chosen = key in values and not (values[key] is None and _value(experiment, key) is not None)
        origins[key] = ("--set" if key in given.values else "file") if chosen else "default"
    if matrix.seeds:
        origins["seed"] = "--set" if "seeds" in given.values else "file"
    return Loaded(experiment, Path(os.path.abspath(path)), text, origins, matrix)


def resolved_yaml(loaded: Loaded) -> str:
    """Every value used, as a file that loads to the same experiment; behind each its origin as a comment."""
    lines: list[tuple[str, str]] = []
    opened: list[str] = []
    for key, _ in leaves():
        *parents, name = key.split(".")
        for depth, parent in enumerate(parents):
            if opened[depth : depth + 1] != [parent]:
                lines.append((f"{'  ' * depth}{parent}:", ""))
                opened = [*parents[:depth], parent]
        opened = opened[: len(parents)]
        indent = "  " * len(parents)
        if loaded.experiment.adapter.kind == "full" and parents == ["adapter"] and name in LORA_ONLY:
            lines.append((f"{indent}# {name}: not used with kind: full", ""))
        else:
            lines.append((f"{indent}{name}: {flow(_value(loaded.experiment, key))}", loaded.origins[key]))
    width = min(max(len(text) for text, _ in lines), 60)
    return "".join(f"{text:<{width}}  # {origin}\n" if origin else f"{text}\n" for text, origin in lines)


# --- reading ---


def from_file(text: str, path: Path) -> Given:
    """What a file's text gives, relative paths counted from the folder of `path`.

    Raises:
        InputError: it is no YAML, or holds no keys.
    """
    given = Given()
    tree = _parsed(text, str(path))
    if tree is None:
        raise InputError("the file is empty", where=f"{path}:1:1", fix="`assay new FILE` writes one to start from")
    if not isinstance(tree, CommentedMap):
        raise InputError(
            f"the file holds {shown(_plain(tree))}, not keys", where=f"{path}:1:1", fix="write `key: value` lines"
        )
    _collect(tree, "", f"{path}:1:1", str(path), given)
    absolute_paths(given.values, Path(os.path.abspath(path)).parent)
    return given


def from_overrides(overrides: Sequence[str]) -> Given:
    """What ``a.b=c`` give, relative paths counted from the working folder; of two for one key the later counts."""
    given = Given()
    for override in overrides:
        key, equals, text = override.partition("=")
        key, where = key.strip(), f"--set {override}"
        if not equals or not key:
            given.problems.append(Problem(where, "there is no key=value", "write --set section.key=value"))
            continue
        try:
            value = _set_value(text)
        except InputError as error:
            given.problems.append(Problem(where, error.what, "put the value in quotes"))
            continue
        head, _, last = key.rpartition(".")
        if head in SECTIONS and last:
            _collect({last: value}, head, where, None, given)
        else:
            given.problems.append(unknown_key(key, where))
    absolute_paths(given.values, Path.cwd())
    return given


def _set_value(text: str) -> Any:
    try:
        return _plain(_parsed(text, "--set"))
    except InputError:
        # *.txt, @name and the like are no YAML, but on a command line it is plain what they mean.
        if text.lstrip()[:1] in ("{", "[", '"', "'"):
            raise
        return text


def _parsed(text: str, name: str) -> Any:
    """The round-trip tree, which knows the line and column of every key."""
    try:
        _refuse_odd_forms(text, name)
        with warnings.catch_warnings():
            # A file that declares YAML 1.1 may still write 2e-4.
            warnings.simplefilter("ignore", MantissaNoDotYAML1_1Warning)
            return YAML(typ="rt").load(text)
    except DuplicateKeyError as error:
        mark, key = error.problem_mark, re.search(r'key "(.*?)"', str(error.problem))
        twice = f"the key {key.group(1)}" if key else "a key"
        raise InputError(
            f"{twice} stands twice in its section", where=place_of(name, mark.line, mark.column), fix="keep one of them"
        ) from None
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = place_of(name, mark.line, mark.column) if mark else name
        reason = str(error.problem or error.context).replace("'<stream end>'", "the end")
        raise InputError(
            f"this is not YAML: {reason}", where=place,
            fix="check indentation, colons and closing brackets on this line and the one before; "
            "put texts with a colon, # or a tab in quotes",
        ) from None  # fmt: skip
    except ReaderError as error:
        before = text[: error.position]
        place = place_of(name, before.count("\n"), len(before) - before.rfind("\n") - 1)
        raise InputError(
            f"the character {text[error.position : error.position + 1]!r} may not stand in YAML", where=place,
            fix="delete it, or write it as an escape in double quotes",
        ) from None  # fmt: skip
    except (YAMLError, ValueError) as error:
        raise InputError(f"this is not YAML: {error}", where=name, fix="check the file") from None


def _refuse_odd_forms(text: str, name: str) -> None:
    """Refuse aliases, which can repeat without end, and a depth that no experiment has."""
    depth = 0
    for event in YAML(typ="rt").parse(StringIO(text)):
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if isinstance(event, AliasEvent):
            what, fix = "a YAML alias (*name) has no place here", "write the value out, in quotes if it begins with *"
        elif depth > MAX_DEPTH:
            what, fix = "this is nested too deeply", "check the brackets and the indentation"
        else:
            continue
        raise InputError(what, where=place_of(name, event.start_mark.line, event.start_mark.column), fix=fix)


def _collect(tree: Mapping[Any, Any], prefix: str, place: str, file: str | None, given: Given) -> None:
    """Put each key of `tree` that the schema knows into `given`; what it does not know is a problem.

    `file` is the file's name where places are known by line, None for an override, whose place is `place`.
    """
    for name, node in tree.items():
        key = f"{prefix}.{name}" if prefix else str(name)
        here = there = place
        if file is not None and isinstance(tree, CommentedMap) and name in tree.lc.data:
            key_line, key_column, line, column = tree.lc.data[name]
            here, there = (f"{place_of(file, *at)} ({key})" for at in ((key_line, key_column), (line, column)))
        given.places[key] = here if node is None else there
        if key in LEAVES:
            given.values[key] = _plain(node)
            if file is not None:
                given.places |= dict(_places(node, key, key, file))
        elif key not in SECTIONS:
            given.problems.append(unknown_key(key, here))
        elif isinstance(node, Mapping):
            given.places[key] = here
            _collect(node, key, here, file, given)
        elif node is not None:
            what = f"{key} is {shown(_plain(node))}, and must be a section"
            given.problems.append(Problem(there, what, f"it holds the keys {', '.join(children(key))}"))


def _places(node: Any, path: str, key: str, file: str) -> Iterator[tuple[str, str]]:
    """The places of what stands in a key's value: entries of mappings by their own names, items of lists by `key`."""
    for name, spot in (node.lc.data or {}).items() if isinstance(node, CommentedMap | CommentedSeq) else ():
        inner = f"{path}.{name}"
        shown_as = inner if isinstance(node, CommentedMap) else key
        yield inner, f"{place_of(file, *spot[:2])} ({shown_as})"
        yield from _places(node[name], inner, shown_as, file)


def _plain(node: Any) -> Any:
    """Without ruamel's classes; what JSON has no form for (dates, tags) becomes its text in angle brackets."""
    match node:
        case Mapping():
            return {str(key): _plain(value) for key, value in node.items()}
        case list():
            return [_plain(value) for value in node]
        case bool() | None:
            return node
        case int() | float() | str():
            return next(kind(node) for kind in (int, float, str) if isinstance(node, kind))
        case _:
            return Other(str(getattr(node, "value", node)))


# --- small parts ---


def _nested(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {"data": {}}
    for key, value in values.items():
        *parents, name = key.split(".")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return tree


def _two_seeds(seeds: Sequence[int], given: Given) -> list[Problem]:
    seed = given.values.get("seed")
    if seed is None or seed == seeds[0]:
        return []
    what = f"seed is {shown(seed)} and seeds is {shown(list(seeds))}: both say which seed the experiment has"
    return [Problem(given.places["seed"], what, "remove seed; `assay run` takes the first of seeds")]


def _value(experiment: Experiment, key: str) -> Any:
    value: Any = experiment
    for part in key.split("."):
        value = getattr(value, "schema_version" if part == "schema" else part)
    return value


def _nearest_file(path: Path) -> str:
    folder = path.parent
    names = sorted(one.name for one in folder.glob("*.y*ml")) if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, 1)
    return f"did you mean {folder / near[0]}?" if near else "`assay new FILE` writes an experiment for your own text"
