"""Downloads: what lies in the cache is used and checked; what does not, and cannot be had, is said."""

from __future__ import annotations

import hashlib
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from assay.core.errors import InputError, MachineError
from assay.data.download import download_book, download_url, download_wheel, fetch
from assay.data.sources import SourceFile, SourceInfo, locate, source_fingerprint

SPEC = "plays==1.0"


def put_wheel(cache: Path, members: dict[str, str]) -> Path:
    wheel = cache / "pypi" / "plays-1.0" / "plays-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return wheel


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read(file: SourceFile) -> bytes:
    with file.open() as stream:
        return stream.read()


def test_members_of_a_wheel_are_read_by_glob(tmp_path: Path) -> None:
    wheel = put_wheel(
        tmp_path,
        {
            "plays/text/tragedies/hamlet.md": "Who's there?",
            "plays/text/comedies/tempest.md": "Boatswain!",
            "plays/text/index.md": "index",
            "plays/code.py": "raise SystemExit",
            "../escape.md": "never written anywhere",
        },
    )
    spec = f"pypi:{SPEC}/plays/text/*/*.md"
    located = locate([spec], sha256=sha256(wheel), cache=tmp_path)
    texts = [(file.name, read(file)) for file in located.files]
    assert texts == [("tempest.md", b"Boatswain!"), ("hamlet.md", b"Who's there?")]
    info = SourceInfo.of([located])
    assert info.public
    assert info.archives == [{"spec": spec, "name": wheel.name, "sha256": sha256(wheel), "bytes": wheel.stat().st_size}]
    assert [file["name"] for file in info.files] == ["tempest.md", "hamlet.md"]
    deep = locate([f"pypi:{SPEC}/plays/**/*.md"], sha256=None, cache=tmp_path).files
    assert [file.name for file in deep] == ["tempest.md", "index.md", "hamlet.md"]
    assert source_fingerprint([spec], sha256=None, cache=tmp_path) == {
        "files": [],
        "packages": [{"spec": spec, "sha256": sha256(wheel)}],
    }


def test_no_member_matches(tmp_path: Path) -> None:
    put_wheel(tmp_path, {"plays/text/hamlet.md": "x"})
    with pytest.raises(InputError, match=r"no file in plays==1\.0 matches 'plays/texts/\*\.md'") as caught:
        locate([f"pypi:{SPEC}/plays/texts/*.md"], sha256=None, cache=tmp_path)
    assert "plays/text/hamlet.md" in str(caught.value)


def test_a_cached_wheel_is_hashed_again(tmp_path: Path) -> None:
    wheel = put_wheel(tmp_path, {"a.md": "x"})
    first = sha256(wheel)
    assert download_wheel(SPEC, sha256=None, cache=tmp_path) == wheel
    with pytest.raises(InputError) as wrong:
        download_wheel(SPEC, sha256="0" * 64, cache=tmp_path)
    assert first in str(wrong.value)
    assert "0" * 64 in str(wrong.value)
    put_wheel(tmp_path, {"a.md": "changed"})
    with pytest.raises(InputError, match="has changed") as changed:
        download_wheel(SPEC, sha256=None, cache=tmp_path)
    assert first in str(changed.value)
    assert sha256(wheel) in str(changed.value)


def test_damaged_and_missing_wheels(tmp_path: Path) -> None:
    wheel = put_wheel(tmp_path, {"a.md": "x"})
    wheel.write_bytes(b"not a zip")
    with pytest.raises(InputError, match="is not a wheel"):
        locate([f"pypi:{SPEC}/*.md"], sha256=None, cache=tmp_path)
    wheel.unlink()
    with pytest.raises(InputError, match="holds 0 wheels"):
        download_wheel(SPEC, sha256=None, cache=tmp_path)


@pytest.mark.parametrize("spec", ["plays", "plays==", "--index-url==1", "plays>=1", "a/b==1"])
def test_a_spec_is_a_package_and_a_version(spec: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not a package and version"):
        download_wheel(spec, sha256=None, cache=tmp_path)


def test_without_network_a_package_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/")
    for name in ("PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_NO_INDEX"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MachineError, match="no connection to the package registry") as caught:
        download_wheel("assay-no-such-plays==1.0", sha256=None, cache=tmp_path)
    assert caught.value.exit_code == 4
    assert str(tmp_path / "pypi" / "assay-no-such-plays-1.0") in str(caught.value)
    assert not [path for path in (tmp_path / "pypi").iterdir() if not path.name.endswith(".lock")]


def test_a_package_that_no_registry_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    with pytest.raises(InputError, match="no package 'assay-no-such-plays'"):
        download_wheel("assay-no-such-plays==1.0", sha256=None, cache=tmp_path)


def test_a_wheel_from_a_local_folder_goes_into_the_cache_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    links = tmp_path / "links"
    links.mkdir()
    metadata = "Metadata-Version: 2.1\nName: plays\nVersion: 1.0\n"
    with zipfile.ZipFile(links / "plays-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("plays/hamlet.md", "Who's there?")
        archive.writestr("plays-1.0.dist-info/METADATA", metadata)
        archive.writestr("plays-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr("plays-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(links))
    cache = tmp_path / "cache"
    leftover = cache / "pypi" / ".plays-1.0.killed.tmp"
    leftover.mkdir(parents=True)
    wheel = download_wheel(SPEC, sha256=None, cache=cache)
    assert sha256(wheel) == sha256(links / wheel.name)
    assert (wheel.parent / f"{wheel.name}.sha256").read_text().strip() == sha256(wheel)
    assert not leftover.exists()
    (links / wheel.name).unlink()
    assert download_wheel(SPEC, sha256=sha256(wheel), cache=cache) == wheel


BOOK = "Header\n*** START OF THE PROJECT GUTENBERG EBOOK X ***\nText.\n*** END OF THE PROJECT GUTENBERG EBOOK X ***\n"


def test_a_cached_book_is_read(tmp_path: Path) -> None:
    path = tmp_path / "gutenberg" / "pg84.txt"
    path.parent.mkdir()
    path.write_text(BOOK, encoding="utf-8")
    located = locate(["gutenberg:84"], sha256=sha256(path), cache=tmp_path)
    assert read(located.files[0]) == BOOK.encode()
    assert located.files[0].public
    assert located.spec == "gutenberg:84"
    path.write_text("other", encoding="utf-8")
    with pytest.raises(InputError, match="has changed"):
        download_book(84, sha256=None, cache=tmp_path)


def test_without_network_a_book_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9/")
    with pytest.raises(MachineError, match="book 84 of Project Gutenberg could not be downloaded") as caught:
        download_book(84, sha256=None, cache=tmp_path)
    assert "set data.source to the file" in str(caught.value)


ROWS = b"text\na row\n" * 20_000
PAGE = b"\n<!DOCTYPE html><title>Sign in</title>"
# status, headers and body of what download_url meets
ANSWERS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "/rows.csv": (200, {"Content-Type": "text/csv"}, ROWS),
    "/pub": (200, {"Content-Type": "text/csv"}, ROWS),
    "/moved": (302, {"Location": "/rows.csv"}, b""),
    "/unencrypted": (302, {"Location": "http://example.com/rows.csv"}, b""),
    "/around": (302, {"Location": "/around"}, b""),
    "/login": (200, {"Content-Type": "text/html; charset=utf-8"}, PAGE),
    "/viewer.csv": (200, {"Content-Type": "text/csv"}, PAGE),
    "/empty.csv": (200, {"Content-Type": "text/csv"}, b""),
    "/private.csv": (401, {}, b"who are you?"),
    "/forbidden.csv": (403, {}, b"no"),
    "/gone.csv": (410, {}, b"gone"),
    "/short.csv": (200, {"Content-Length": "1000000"}, ROWS),
}


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.asked.append((path, self.headers.get("Authorization")))
        if path in ANSWERS:
            status, headers, body = ANSWERS[path]
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body)), "Connection": "close"} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            return
        status = {"/book": 200, "/short": 200, "/torn": 200, "/gone": 404}.get(self.path, 503)
        self.send_response(status)
        self.send_header("Connection", "close")
        if self.path == "/short":
            self.send_header("Content-Length", str(len(BOOK.encode()) + 1000))
        if self.path == "/torn":
            self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"fff\r\n" if self.path == "/torn" else b"")
        self.wfile.write(BOOK.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    own = HTTPServer(("127.0.0.1", 0), _Answer)
    _Answer.asked.clear()
    thread = threading.Thread(target=own.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{own.server_port}"
    own.shutdown()
    thread.join()
    own.server_close()


def test_fetch(server: str, tmp_path: Path) -> None:
    fetch(f"{server}/book", tmp_path / "book.txt", name="the book")
    assert (tmp_path / "book.txt").read_text() == BOOK
    with pytest.raises(InputError, match="the book does not exist"):
        fetch(f"{server}/gone", tmp_path / "gone.txt", name="the book")
    with pytest.raises(MachineError, match="answered 503"):
        fetch(f"{server}/broken", tmp_path / "broken.txt", name="the book")
    assert [path.name for path in tmp_path.iterdir()] == ["book.txt"]


@pytest.mark.parametrize("path", ["short", "torn"])
def test_a_download_that_ends_early_is_an_error_and_no_book(server: str, tmp_path: Path, path: str) -> None:
    with pytest.raises(MachineError, match="the book could not be downloaded") as caught:
        fetch(f"{server}/{path}", tmp_path / "book.txt", name="the book")
    assert caught.value.where == f"{server}/{path}"
    assert caught.value.fix
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_any_address_is_downloaded_once(server: str, tmp_path: Path) -> None:
    url = f"{server}/rows.csv"
    path = download_url(url, sha256=None, cache=tmp_path)
    assert path == tmp_path / "https" / hashlib.sha256(url.encode()).hexdigest()[:16] / "rows.csv"
    assert path.read_bytes() == ROWS
    assert download_url(url, sha256=sha256(path), cache=tmp_path) == path
    assert download_url(f"{url}#gid=0", sha256=None, cache=tmp_path) == path
    assert _Answer.asked == [("/rows.csv", None)]
    with pytest.raises(InputError, match=f"{'0' * 64} is expected"):
        download_url(url, sha256="0" * 64, cache=tmp_path)
    path.write_bytes(b"changed")
    with pytest.raises(InputError, match="has changed"):
        download_url(url, sha256=None, cache=tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="holds 0 files, not one"):
        download_url(url, sha256=None, cache=tmp_path)


def test_a_file_put_into_the_cache_by_hand_is_taken(tmp_path: Path) -> None:
    url = "https://nowhere.invalid/rows.csv"
    path = tmp_path / "https" / hashlib.sha256(url.encode()).hexdigest()[:16] / "mine.csv"
    path.parent.mkdir(parents=True)
    path.write_bytes(ROWS)
    assert download_url(url, sha256=None, cache=tmp_path) == path
    assert path.with_name("mine.csv.sha256").read_text().strip() == sha256(path)


def test_a_published_sheet_and_a_redirect(server: str, tmp_path: Path) -> None:
    assert download_url(f"{server}/pub?gid=0&single=true&output=csv", sha256=None, cache=tmp_path).name == "pub.csv"
    # the name is the address's that was given, and the password goes no further than its host's first answer
    secret = server.replace("//", "//me:word@")
    assert download_url(f"{secret}/moved?format=csv", sha256=None, cache=tmp_path).read_bytes() == ROWS
    assert _Answer.asked[1:] == [("/moved", "Basic bWU6d29yZA=="), ("/rows.csv", None)]


@pytest.mark.parametrize(
    ("path", "words", "fix"),
    [
        ("login", "answered with a web page (HTML), not with data", "without a login"),
        ("viewer.csv", "answered with a web page (HTML), not with data", "without a login"),
        ("private.csv", "the file is not public", "without a login"),
        ("forbidden.csv", "the file is not public", "without a login"),
        ("gone.csv", "the file does not exist", "check the address"),
        ("unencrypted", "an address that is not encrypted", "set data.source to it"),
    ],
)
def test_what_is_no_data_is_the_users_to_put_right(
    server: str, tmp_path: Path, path: str, words: str, fix: str
) -> None:
    with pytest.raises(InputError, match=re.escape(words)) as caught:
        download_url(f"{server}/{path}?token=word", sha256=None, cache=tmp_path)
    assert caught.value.where == f"{server}/{path}?token=***"
    assert fix in str(caught.value.fix)
    assert not [entry for entry in (tmp_path / "https").iterdir() if not entry.name.endswith(".lock")]


@pytest.mark.parametrize("path", ["short.csv", "broken.csv", "around"])
def test_a_download_that_fails_is_the_machines_fault(server: str, tmp_path: Path, path: str) -> None:
    with pytest.raises(MachineError, match="the file could not be downloaded") as caught:
        download_url(f"{server}/{path}?format=csv&key=word", sha256=None, cache=tmp_path)
    assert "word" not in str(caught.value)
    assert "set data.source to the file" in str(caught.value)
    assert not [entry for entry in (tmp_path / "https").iterdir() if not entry.name.endswith(".lock")]


def test_an_empty_file_is_whole(server: str, tmp_path: Path) -> None:
    assert download_url(f"{server}/empty.csv", sha256=None, cache=tmp_path).read_bytes() == b""


def test_an_unencrypted_address_is_refused_unasked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not encrypted"):
        download_url("http://example.com/rows.csv", sha256=None, cache=tmp_path)
    assert list(tmp_path.iterdir()) == []
