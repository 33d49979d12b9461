"""Web addresses: which may be asked, how they are shown without their secrets, and what a downloaded file is called."""

from __future__ import annotations

import base64
import http.client
import re
import unicodedata
import urllib.request
from email.message import Message
from typing import IO
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit, urlunsplit

from assay.core.errors import InputError

_LOCAL = ("localhost", "127.0.0.1", "::1")
_SECRET = re.compile(r"token|key|sig|secret|pass|pwd|auth|cred|session|policy|jwt|code", re.IGNORECASE)
HIDDEN = "***"
_SAFE = "%/:?#[]@!$&'()*+,;=~"  # stands in a path or a query as it is written; anything else is percent-encoded

_ENDING = re.compile(r"\.(?:csv|tsv|json|jsonl|ndjson|parquet|txt|md)(?:\.gz)?$", re.IGNORECASE)
_ENDINGS = ".csv, .tsv, .json, .jsonl, .ndjson, .parquet, .txt or .md, each also with .gz"
_ENDING_OF_TYPE = {
    "text/csv": ".csv",
    "application/csv": ".csv",
    "text/tab-separated-values": ".tsv",
    "application/json": ".json",
    "application/jsonl": ".jsonl",
    "application/x-jsonlines": ".jsonl",
    "application/ndjson": ".jsonl",
    "application/x-ndjson": ".jsonl",
    "application/parquet": ".parquet",
    "application/x-parquet": ".parquet",
    "application/vnd.apache.parquet": ".parquet",
    "text/plain": ".txt",
    "text/markdown": ".md",
}
_LONGEST = 80  # characters of a file's name before its ending
_PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_PAGE_FIX = (
    ("docs.google.com/spreadsheets", "in Google Sheets, choose File > Share > Publish to web, the sheet and CSV, and "
     "give the link that it shows (it ends in output=csv)"),
    ("huggingface.co/datasets", "give a dataset on the Hub as hub:<owner>/<name>"),
    ("github.com", "give the link behind the button Raw"),
)  # fmt: skip


def check_url(url: str) -> None:
    """Refuse an address that is malformed, or that is asked without encryption over a network.

    Raises:
        InputError: with the reason.
    """
    parts = _parts(url)
    if parts is None:
        raise InputError(
            "is not a web address", where=shown_url(url), fix="write https://, the host and the path of the file"
        )
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in _LOCAL):
        raise InputError(
            f"{parts.scheme}:// is not encrypted: anyone on the way could read or change the data",
            where=shown_url(url),
            fix="write https://, or download the file yourself and set data.source to it",
        )


def _parts(url: str) -> SplitResult | None:
    """The parts of an address; None for a malformed one."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").encode("idna")
        # a port that is no number is an error only once it is asked for
        return parts if host and parts.port != 0 and not re.search(rb"[\0- \x7f]", host) else None
    except ValueError:
        return None


def refuse_secret(url: str, *, where: str, fix: str) -> None:
    """Refuse an address that would write a password or key into a run's files.

    Raises:
        InputError: it holds one.
    """
    if HIDDEN in shown_url(url):
        what = "the address holds a password or key, which would be written into the run's files"
        raise InputError(what, where=where, fix=fix)


def shown_url(url: str) -> str:
    """The address as it may be shown and written down: without user, password, and secrets in its query.

    A part of the query counts as a secret by its name (token, key, signature, ...).
    """
    parts = _parts(url)
    if parts is None:  # what of it is a secret cannot be told
        return f"{url.partition('://')[0]}://{HIDDEN}" if "://" in url else HIDDEN
    user, at, host = parts.netloc.rpartition("@")
    fields = [field.partition("=") for field in parts.query.split("&")]
    query = "&".join(
        f"{name}={HIDDEN}" if value and _SECRET.search(unquote(name)) else f"{name}{equals}{value}"
        for name, equals, value in fields
    )
    return urlunsplit((parts.scheme, f"{HIDDEN if user else ''}{at}{host}", parts.path, query, ""))


def request(url: str) -> urllib.request.Request:
    """A GET of `url`; its user and password go to its host alone, not where that redirects to."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    path, query = quote(parts.path, safe=_SAFE), quote(parts.query, safe=_SAFE)
    made = urllib.request.Request(urlunsplit((parts.scheme, host, path, query, "")), headers={"User-Agent": "assay"})
    if parts.username is not None:
        pair = unquote(f"{parts.username}:{parts.password or ''}")
        made.add_unredirected_header("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}")
    return made


class Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects, but never out of an encrypted connection."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: http.client.HTTPMessage,
        newurl: str,
    ) -> urllib.request.Request | None:  # fmt: skip
        """The request to make next.

        Raises:
            InputError: it would not be encrypted.
        """
        try:
            check_url(newurl)
            safe = urlsplit(newurl).scheme == "https" or req.type == "http"
        except InputError:
            safe = False
        if not safe:
            fp.close()
            raise InputError(
                "the server sends the download on to an address that is not encrypted",
                where=shown_url(req.full_url),
                fix="download the file yourself and set data.source to it",
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def refuse_page(url: str, answer: http.client.HTTPResponse) -> None:
    """Raise an InputError when a web page came where data were expected: a login, an error, a viewer."""
    if _type(answer.headers) in ("text/html", "application/xhtml+xml") or _PAGE.match(answer.peek(512)):
        raise InputError(
            "the server answered with a web page (HTML), not with data", where=shown_url(url), fix=page_fix(url)
        )


def page_fix(url: str) -> str:
    """What to do when `url` gives a web page or asks for a login."""
    parts = urlsplit(url)
    address = f"{parts.hostname}{parts.path}".removeprefix("www.")
    general = "give an address that downloads the file itself, without a login; or download the file yourself and set "
    return next((fix for start, fix in _PAGE_FIX if address.startswith(start)), f"{general}data.source to it")


def file_name(url: str, headers: Message) -> str:
    """What to call the file: as the server says, else as the address ends, made safe, with an ending of a known format.

    Raises:
        InputError: neither its name, the address nor its type tells a format.
    """
    parts = urlsplit(url)
    names = [name for name in (_last(headers.get_filename() or ""), _last(unquote(parts.path))) if name] or ["data"]
    name = next((name for name in names if _ENDING.search(name)), names[0])
    stem, ending = _ENDING.sub("", name), "".join(_ENDING.findall(name)).lower()
    ending = ending or _asked_ending(parts.query) or _ENDING_OF_TYPE.get(_type(headers), "")
    if not ending:
        kind = _type(headers) or "unknown"
        raise InputError(
            f"the format of the file cannot be told: it is called {name[:_LONGEST]!r}, of type {kind}",
            where=shown_url(url),
            fix=f"download it yourself and give it an ending that tells: {_ENDINGS}",
        )
    packed = headers.get("Content-Encoding", "").lower() == "gzip" and not ending.endswith(".gz")
    return f"{_plain(stem)}{ending}{'.gz' if packed else ''}"


def _type(headers: Message) -> str:
    """The media type of an answer; empty when it names none (Python would then say text/plain)."""
    return headers.get_content_type() if "Content-Type" in headers else ""


def _last(name: str) -> str:
    """The last part of a path."""
    return re.split(r"[/\\]", name)[-1].strip()


def _plain(name: str) -> str:
    """A file's name in plain characters, without a leading dot, and not too long."""
    ascii_only = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9._-]+", "_", ascii_only).strip("._-")[:_LONGEST] or "data"


def _asked_ending(query: str) -> str:
    """The ending of the format that an address asks for: ``output=csv``."""
    asked = {name.lower(): value for name, value in parse_qsl(query)}
    ending = "." + (asked.get("output") or asked.get("format") or "")
    return ending.lower() if _ENDING.fullmatch(ending) else ""
