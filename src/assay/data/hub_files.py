"""Which files of a dataset repository make up a split: as its card says, else by their names, as the Hub has it.

The rules for names are those of the Hub's documentation (File names and splits; Data files Configuration).
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from assay.core.errors import InputError

CONVERTED = "refs/convert/parquet"  # the branch where the Hub keeps its own Parquet: <config>/<split>/0000.parquet

_READ = re.compile(r"\.(?:parquet|(?:csv|tsv|json|jsonl|ndjson|txt)(?:\.gz)?)$")
_KINDS = "parquet, csv, tsv, json, jsonl, txt, and .gz of the text ones"
# data that other tools read: a split that holds them is not whole without them
_UNREAD = re.compile(r"\.(?:gz|tgz|zst|bz2|xz|lz4|7z|rar|zip|tar|arrow|feather|avro|orc|h5|hdf5|xlsx?|sqlite|db)$")
_NO_DATA = ("config.json", "dataset_info.json", "dataset_infos.json", "dataset_dict.json", "dummy_data.zip")

_SHARD = re.compile(r"data/(?P<split>\w+(?:\.\w+)*)-\d{5}-of-\d{5}[^/]*\.[^/]*")
_SEPARATOR = "[-._ 0-9]"
_WORDS = {
    "train": "train|training",
    "validation": "validation|valid|dev|val",
    "test": "test|testing|eval|evaluation",
}
_IN_FOLDER = {
    split: re.compile(rf"(?:.*{_SEPARATOR})?(?:{words})(?:{_SEPARATOR}.*)?") for split, words in _WORDS.items()
}
_IN_NAME = {split: re.compile(rf"(?:.*{_SEPARATOR})?(?:{words}){_SEPARATOR}.*") for split, words in _WORDS.items()}
_FRONT = re.compile(r"\s*---[ \t]*\r?\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_BY_GLOB = "name its files by a glob: hub:<owner>/<name>/<glob>"
_SHOWN = 20  # names in a message


@dataclass(frozen=True)
class Choice:
    """The files to read, in order, and the configuration and split that they are; None where there is none."""

    files: list[str]
    config: str | None = None
    split: str | None = None


def by_glob(files: Sequence[str], pattern: str, *, where: str) -> list[str]:
    """The files whose path matches; only ``**`` crosses slashes, and hidden files are named as such.

    Raises:
        InputError: none matches.
    """
    chosen = [path for path in files if matches(path, pattern)]
    if not chosen:
        near = difflib.get_close_matches(pattern, files, n=3, cutoff=0.2) or files[:3]
        raise InputError(
            f"no file matches {pattern!r}", where=where, fix=f"it holds such files as {', '.join(near) or 'none'}"
        )
    return chosen


def matches(path: str, pattern: str) -> bool:
    """Whether a path matches a glob part by part: ``*`` crosses no slash, ``**`` does, neither takes a hidden part."""
    return _matches(path.split("/"), pattern.removeprefix("./").split("/"))


def _matches(parts: list[str], pattern: list[str]) -> bool:
    if not pattern:
        return not parts
    if pattern[0] == "**":
        taken = next((i for i, part in enumerate(parts) if part.startswith(".")), len(parts))
        return any(_matches(parts[skip:], pattern[1:]) for skip in range(taken + 1))
    if not parts or parts[0].startswith(".") > pattern[0].startswith("."):
        return False
    return fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def read_card(path: Path, *, where: str) -> dict[str, Any]:
    """The YAML metadata at the head of a dataset's card; empty without any.

    Raises:
        InputError: it is not valid.
    """
    front = _FRONT.match(path.read_text(encoding="utf-8-sig", errors="replace"))
    if front is None:
        return {}
    yaml = YAML(typ="safe", pure=True)
    yaml.allow_duplicate_keys = True
    try:
        metadata = yaml.load(front[1])
    except YAMLError as error:
        line = next(iter(str(error).splitlines()), "")
        raise InputError(f"the metadata of its README.md cannot be read: {line}", where=where, fix=_BY_GLOB) from error
    return metadata if isinstance(metadata, dict) else {}


def choose(
    files: Sequence[str],
    card: Mapping[str, Any],
    *,
    revision: str,
    config: str | None,
    split: str | None,
    where: str,
) -> Choice:
    """The files of one split.

    Args:
        files: all paths of the repository.
        card: the metadata of its card, of which ``configs`` counts.
        revision: as asked for; the Hub's own Parquet branch has a layout of its own.
        config: a configuration's name; None takes the default one, or the only one.
        split: a split's name; None takes train, or the only one.
        where: what errors call it.

    Raises:
        InputError: which one is meant cannot be told (the message lists them), or nothing in it can be read.
    """
    candidates = [path for path in files if _is_data(path)]
    if not candidates:
        raise _nothing(files, where)
    configs = _configs(card, candidates, revision, config, where)
    name = None
    if configs:
        named = [name for name, entry in configs.items() if entry.get("default") is True]
        name = _pick("config", list(configs), config, (named or ["default"])[0], where)
        splits = _splits(configs[name], files, candidates, where)
    else:
        splits = _infer(candidates)
    chosen = _pick("split", list(splits), split, "train", where)
    return Choice(_of_one_format(splits[chosen], chosen, where), name, chosen)


def _is_data(path: str) -> bool:
    parts = path.split("/")
    if any(part.startswith((".", "__")) for part in parts) or parts[-1] in _NO_DATA:
        return False
    return bool(_READ.search(path) or _UNREAD.search(path))


def _nothing(files: Sequence[str], where: str) -> InputError:
    if any("/" not in path and path.endswith(".py") for path in files):
        return InputError(
            "it holds only a loading script, and no code of a dataset is run",
            where=where,
            fix=f"use the Parquet files that the Hub made of it: hub:<owner>/<name>@{CONVERTED}",
        )
    endings = sorted({PurePosixPath(path).suffix for path in files} - {""})
    return InputError(
        f"it holds no file of a format that is read ({_KINDS}), only {_listed(endings) or 'none'}",
        where=where,
        fix="choose another dataset, or convert its files and set data.source to them",
    )


def _configs(
    card: Mapping[str, Any], candidates: Sequence[str], revision: str, config: str | None, where: str
) -> dict[str, dict[str, Any]]:
    """The configurations by name, each as a card writes it; empty where the repository has none."""
    if revision == CONVERTED:
        return _converted(candidates)
    if entries := card.get("configs"):
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise _malformed("configs is no list of configurations", where)
        return {str(entry.get("config_name", "default")): entry for entry in entries}
    if config is not None and any(path.startswith(f"{config}/") for path in candidates):
        return {config: {"data_dir": config}}
    if config not in (None, "default"):
        raise InputError(
            f"has no config {config!r}: its card names none, and there is no such folder",
            where=where,
            fix=f"leave config= out, or {_BY_GLOB}",
        )
    return {}


def _converted(candidates: Sequence[str]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for path in candidates:
        match path.split("/"):
            case [config, split, _]:
                entries = found.setdefault(config, {"data_files": []})["data_files"]
                if not any(entry["split"] == split for entry in entries):
                    entries.append({"split": split, "path": f"{config}/{split}/*"})
    return found


def _pick(kind: str, names: list[str], wanted: str | None, default: str, where: str) -> str:
    if wanted in names:
        return wanted
    if wanted is None and default in names:
        return default
    if wanted is None and len(names) == 1:
        return names[0]
    what = f"has no {kind} {wanted!r}" if wanted is not None else f"has several {kind}s, and none is the default"
    raise InputError(what, where=where, fix=f"its {kind}s are {_listed(names)}: add ?{kind}={names[0]} to the source")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _malformed(what: str, where: str) -> InputError:
    return InputError(f"the metadata of its README.md is malformed: {what}", where=where, fix=_BY_GLOB)


def _splits(
    entry: Mapping[str, Any], files: Sequence[str], candidates: Sequence[str], where: str
) -> dict[str, list[str]]:
    """The files of each split of a configuration."""
    folder = str(entry.get("data_dir") or "").removeprefix("./").strip("/")
    prefix = f"{folder}/" if folder else ""
    if not entry.get("data_files"):
        inside = [path.removeprefix(prefix) for path in candidates if path.startswith(prefix)]
        splits = _infer(inside)
        if not splits:
            raise _malformed(f"data_dir {folder!r} holds no data", where)
        return {split: [prefix + path for path in paths] for split, paths in splits.items()}
    found = {}
    for split, patterns in _patterns(entry["data_files"], where).items():
        globs = [prefix + pattern.removeprefix("./") for pattern in patterns]
        found[split] = [path for path in files if any(_named(path, glob) for glob in globs)]
        if not found[split]:
            raise _malformed(f"no file matches {_listed(patterns)}, of split {split!r}", where)
    return found


def _named(path: str, pattern: str) -> bool:
    """Whether a card's glob means a file: one that describes the data is not meant unless it is named."""
    last = path.rpartition("/")[2]
    return matches(path, pattern) and (last not in _NO_DATA or last == pattern.rpartition("/")[2])


def _patterns(data_files: Any, where: str) -> dict[str, list[str]]:
    """Globs by split, of what a card may write: a path, a list of paths, or a list of splits with paths."""
    entries = data_files if isinstance(data_files, list) else [data_files]
    if not all(isinstance(entry, dict) for entry in entries):
        entries = [{"split": "train", "path": entries}]
    found: dict[str, list[str]] = {}
    for entry in entries:
        split, path = entry.get("split"), entry.get("path")
        paths = path if isinstance(path, list) else [path]
        if split is None or str(split) in found or not paths or not all(isinstance(p, str) for p in paths):
            raise _malformed("data_files is neither paths nor a list of split and path", where)
        if outside := next((p for p in paths if "://" in p), None):
            raise InputError(
                f"its card takes data from outside of the repository: {outside.partition('://')[0]}://...",
                where=where,
                fix="set data.source to those files",
            )
        found[str(split)] = paths
    return found


def _infer(files: Sequence[str]) -> dict[str, list[str]]:
    """Splits by the names of files: numbered shards, then folders, then file names; else all are train."""
    shards = _grouped((match["split"], path) for path in files if (match := _SHARD.fullmatch(path)))
    if shards:
        return shards
    tests: tuple[Callable[[str, str], bool], ...] = (
        lambda split, path: any(_IN_FOLDER[split].fullmatch(part) for part in path.split("/")[:-1]),
        lambda split, path: bool(_IN_NAME[split].fullmatch(path.rpartition("/")[2])),
    )
    for test in tests:
        found = _grouped((split, path) for split in _WORDS for path in files if test(split, path))
        if found:
            return found
    return {"train": list(files)} if files else {}


def _grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for split, path in pairs:
        found.setdefault(split, []).append(path)
    return found


def _of_one_format(files: Sequence[str], split: str, where: str) -> list[str]:
    """The files in the format to read: Parquet where it is there, else the only table, else plain text.

    Raises:
        InputError: it cannot be told which are the data, or they are not read.
    """
    formats = _grouped((match[0], path) for path in files if (match := _READ.search(path)))
    if ".parquet" in formats:
        return formats[".parquet"]
    unread = sorted({PurePosixPath(path).suffix for path in files if not _READ.search(path) and _UNREAD.search(path)})
    if unread or not formats:
        endings = unread or sorted({PurePosixPath(path).suffix for path in files})
        raise InputError(
            f"the split {split!r} holds {_listed(endings)} files, which are not read (only {_KINDS})",
            where=where,
            fix=f"use the Parquet files that the Hub may have made of it: hub:<owner>/<name>@{CONVERTED}; "
            f"or {_BY_GLOB}",
        )
    tables = {ending: paths for ending, paths in formats.items() if not ending.startswith(".txt")} or formats
    if len(tables) > 1:
        raise InputError(
            f"the split {split!r} is there in several formats: {_listed(sorted(tables))}", where=where, fix=_BY_GLOB
        )
    return next(iter(tables.values()))
