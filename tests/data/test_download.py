"""Downloads: what lies in the cache is used and checked; what does not, and cannot be had, is said."""

from __future__ import annotations

import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from assay.core.errors import InputError, MachineError
from assay.data.download import download_book, download_wheel, fetch
from assay.data.sources import read_source, source_fingerprint

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
    docs, info, dropped = read_source([spec], "text", sha256=sha256(wheel), max_rows=None, cache=tmp_path)
    assert [(doc.name, doc.text) for doc in docs] == [("tempest.md", "Boatswain!"), ("hamlet.md", "Who's there?")]
    assert info.public
    assert info.archives == [{"spec": spec, "name": wheel.name, "sha256": sha256(wheel), "bytes": wheel.stat().st_size}]
    assert [file["name"] for file in info.files] == ["tempest.md", "hamlet.md"]
    assert dropped == {}
    deep = read_source([f"pypi:{SPEC}/plays/**/*.md"], "text", sha256=None, max_rows=None, cache=tmp_path)[0]
    assert [doc.name for doc in deep] == ["tempest.md", "index.md", "hamlet.md"]
    assert source_fingerprint([spec], sha256=None, cache=tmp_path) == {
        "files": [],
        "packages": [{"spec": spec, "sha256": sha256(wheel)}],
    }


def test_no_member_matches(tmp_path: Path) -> None:
    put_wheel(tmp_path, {"plays/text/hamlet.md": "x"})
    with pytest.raises(InputError, match=r"no file in plays==1\.0 matches 'plays/texts/\*\.md'") as caught:
        read_source([f"pypi:{SPEC}/plays/texts/*.md"], "text", sha256=None, max_rows=None, cache=tmp_path)
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
        read_source([f"pypi:{SPEC}/*.md"], "text", sha256=None, max_rows=None, cache=tmp_path)
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
    docs, info, _ = read_source(["gutenberg:84"], "text", sha256=sha256(path), max_rows=None, cache=tmp_path)
    assert docs[0].text == "Text.\n"
    assert info.public
    assert info.spec == "gutenberg:84"
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


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
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
    thread = threading.Thread(target=own.serve_forever)
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
