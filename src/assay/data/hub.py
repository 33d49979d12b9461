"""Datasets of the Hugging Face Hub: a revision pinned to its commit, and the files of a split, in the Hub's own cache.

No code of a repository ever runs. Without a network, what was asked for once is found again: the list of a commit's
files is kept in our cache, the files themselves in the Hub's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote

from assay.core.errors import AssayError, InputError, MachineError
from assay.core.files import disk_errors, read_json, write_json
from assay.data.hub_files import Choice, by_glob, choose, read_card

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_PART = r"[A-Za-z0-9][A-Za-z0-9._-]*"
_SPEC = re.compile(
    rf"hub:(?P<name>{_PART}/{_PART}|{_PART}(?=[@?]|$))(?:@(?P<revision>refs/[^/?@]+/[^/?@]+|[^/?@]+))?"
    r"(?:/(?P<glob>[^?]+))?(?:\?(?P<query>.*))?"
)
_GRAMMAR = "write hub:<owner>/<name>[@<revision>][/<glob>] or hub:<owner>/<name>[@<revision>][?config=<c>&split=<s>]"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_TIMEOUT = 30.0  # seconds without an answer
_TELLING = re.compile(r"https?:|…")  # an address in a message may be a signed one


@dataclass(frozen=True)
class HubDataset:
    """The files of a dataset that a spec names.

    Args:
        files: path in the repository and file in the Hub's cache, in order.
        commit: the commit that they belong to.
        archive: spec, name, sha256 (the commit), bytes (of all files together), commit, config and split; the last two
            are None where the repository has none, or files were chosen by a glob.
        public: whether the dataset is one that others, and so the base model, may have read: it is not private.
    """

    files: list[tuple[str, Path]]
    commit: str
    archive: dict[str, Any]
    public: bool


@dataclass(frozen=True)
class _Spec:
    """A spec in its parts."""

    text: str
    name: str
    revision: str
    glob: str | None
    config: str | None
    split: str | None


@dataclass(frozen=True)
class _Listing:
    """What a commit holds."""

    commit: str
    files: list[str]
    public: bool


def download_dataset(spec: str, *, cache: Path) -> HubDataset:
    """The files of one split of a dataset on the Hub, downloaded where the Hub's cache has them not.

    Args:
        spec: ``hub:<owner>/<name>[@<revision>][/<glob>][?config=<c>&split=<s>]``. The revision is a branch, a tag, a
            commit or ``refs/...`` (a slash in a branch's name is written %2F), main unless given. Of the glob only
            ``**`` crosses slashes.
        cache: our cache's root; lists of files are kept in ``<cache>/hub/``.

    Raises:
        InputError: no such dataset, revision, configuration, split or file; it is private or gated; it has only a
            loading script, or nothing that can be read.
        MachineError: the Hub cannot be reached, and the cache does not have it; or no room.
    """
    from huggingface_hub import HfApi, constants

    parsed = _parse(spec)
    # The client reads HF_ENDPOINT when it is imported; a program may set it later.
    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT", "").rstrip("/") or None)
    listing = _listing(api, parsed, cache)

    def file(path: str) -> Path:
        with _said(parsed), disk_errors(Path(constants.HF_HUB_CACHE)):
            return Path(api.hf_hub_download(parsed.name, path, repo_type="dataset", revision=listing.commit))

    chosen = _choose(parsed, listing.files, file)
    files = [(path, file(path)) for path in chosen.files]
    archive = {
        "spec": spec,
        "name": parsed.name,
        "sha256": listing.commit,
        "bytes": sum(local.stat().st_size for _, local in files),
        "commit": listing.commit,
        "config": chosen.config,
        "split": chosen.split,
    }
    return HubDataset(files, listing.commit, archive, listing.public)


def _parse(spec: str) -> _Spec:
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InputError(f"{spec!r} does not name a dataset on the Hub", fix=_GRAMMAR)
    query = dict(parse_qsl(match["query"] or "", keep_blank_values=True))
    unknown = sorted(set(query) - {"config", "split"}) or [key for key, value in query.items() if not value]
    if unknown or (match["query"] is not None and not query):
        raise InputError(f"{spec!r} has a part after the ? that is not understood", fix=_GRAMMAR)
    if match["glob"] and query:
        raise InputError(f"{spec!r} chooses its files twice: by a glob and by {', '.join(query)}", fix=_GRAMMAR)
    revision = unquote(match["revision"] or "main")
    return _Spec(spec, match["name"], revision, match["glob"], query.get("config"), query.get("split"))


def _listing(api: HfApi, spec: _Spec, cache: Path) -> _Listing:
    """What the revision holds: as the Hub says, or as it said before when it cannot be asked or the commit is given."""
    folder = cache / "hub" / spec.name.replace("/", "--")

    def kept(revision: str) -> Path:
        return folder / f"{quote(revision, safe='')}.json"

    if _COMMIT.fullmatch(spec.revision) and kept(spec.revision).is_file():
        return _Listing(**read_json(kept(spec.revision)))
    try:
        with _said(spec):
            info = api.dataset_info(spec.name, revision=spec.revision, timeout=_TIMEOUT)
            commit = str(info.sha)
            files = sorted(api.list_repo_files(spec.name, repo_type="dataset", revision=commit))
    except MachineError:
        if not kept(spec.revision).is_file():
            raise
        return _Listing(**read_json(kept(spec.revision)))
    listing = _Listing(commit, files, public=not info.private)
    for revision in {spec.revision, commit}:
        write_json(kept(revision), asdict(listing))
    return listing


def _choose(spec: _Spec, files: list[str], file: Callable[[str], Path]) -> Choice:
    if spec.glob:
        return Choice(by_glob(files, spec.glob, where=spec.text))
    card = read_card(file("README.md"), where=spec.text) if "README.md" in files else {}
    return choose(files, card, revision=spec.revision, config=spec.config, split=spec.split, where=spec.text)


@contextmanager
def _said(spec: _Spec) -> Iterator[None]:
    """Say what the Hub's client raises in our words. Its own hold addresses that may be signed, so they stay out."""
    from huggingface_hub import errors

    login = "log in with `hf auth login`, or set HF_TOKEN"
    try:
        yield
    except AssayError:
        raise
    except errors.GatedRepoError as error:
        raise InputError(
            "this dataset is gated: its owner wants to know who reads it",
            where=spec.text,
            fix=f"ask for access on the page of {spec.name} on the Hub, then {login}",
        ) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise InputError(
            f"the Hub has no dataset {spec.name}, or it is private",
            where=spec.text,
            fix=f"check the spelling; for a private one, {login}",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise InputError(
            f"{spec.name} has no revision {spec.revision!r}",
            where=spec.text,
            fix="name a branch, a tag or a commit of it after the @, or leave @ out for the newest",
        ) from error
    # what fails on the way has no common base: HTTP, the disk, the Hub's own transfer library
    except Exception as error:
        status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
        if status in (401, 403):
            raise InputError(f"the Hub refuses access to {spec.name}", where=spec.text, fix=login) from error
        raise MachineError(
            f"{spec.name} is not in the local cache, and cannot be downloaded: {_why(error)}",
            where=spec.text,
            fix="connect to the network and try again; for a machine without one, prepare once on a machine that has "
            "one and shares ASSAY_CACHE and HF_HUB_CACHE with it, or do there "
            f"`hf download --repo-type dataset {spec.name} --local-dir DIR` and set data.source to the files",
        ) from error


def _why(error: Exception) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.LocalEntryNotFoundError) and isinstance(error.__cause__, Exception):
        return _why(error.__cause__)
    if isinstance(error, errors.OfflineModeIsEnabled):
        return "HF_HUB_OFFLINE is set"
    if isinstance(error, errors.HfHubHTTPError):
        return f"the Hub answered {error.response.status_code}"
    line = next(iter(str(error).splitlines()), "")
    return type(error).__name__ if not line or _TELLING.search(line) else line
