"""A small Hub on this machine: the wire protocol that the client reads datasets with, so that it runs unmodified."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 2  # entries of a listing in one answer: more follow


def commit_of(number: int) -> str:
    return hashlib.sha1(str(number).encode()).hexdigest()


@dataclass
class Repo:
    """A dataset: the files of each commit, and the commit of each branch.

    Args:
        large: endings of the files that are stored elsewhere: the client is sent on to them.
        private: its existence is hidden without a token.
        gated: anyone sees what there is, and only those with a token read it.
    """

    commits: dict[str, dict[str, bytes]]
    refs: dict[str, str]
    large: tuple[str, ...] = (".parquet",)
    private: bool = False
    gated: bool = False

    @classmethod
    def of(cls, files: dict[str, bytes], **flags: bool) -> Repo:
        return cls({commit_of(1): files}, {"main": commit_of(1)}, **flags)  # type: ignore[arg-type]


@dataclass
class Hub:
    url: str = ""
    repos: dict[str, Repo] = field(default_factory=dict)
    token: str = "hf_the_right_one"
    requests: list[str] = field(default_factory=list)
    broken: int | None = None  # a status that every answer has


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: apart they wait for an acknowledgement
    hub: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        address = urlsplit(self.path)
        self.hub.requests.append(f"{self.command} {unquote(address.path)}")
        if self.hub.broken:
            return self.send(self.hub.broken, b"out of order", {})
        parts = [unquote(part) for part in address.path.strip("/").split("/")]
        match parts:
            case ["api", "datasets", *rest]:
                found = self.repo(rest)
                if found:
                    self.api(*found, parse_qs(address.query))
            case ["datasets", *rest]:
                found = self.repo(rest)
                if found:
                    self.resolve(*found)
            case ["storage", digest] if "Authorization" not in self.headers:
                blobs = [blob for repo in self.hub.repos.values() for c in repo.commits.values() for blob in c.values()]
                self.send(200, next(b for b in blobs if hashlib.sha256(b).hexdigest() == digest), {})
            case _:
                self.error(404, "RepoNotFound")

    def repo(self, parts: list[str]) -> tuple[Repo, list[str]] | None:
        words = ("revision", "tree", "resolve")
        end = next((i for i, part in enumerate(parts) if part in words), len(parts))
        repo = self.hub.repos.get("/".join(parts[:end]))
        if repo is None or (repo.private and not self.known()):
            self.error(401, "RepoNotFound")
            return None
        return repo, parts[end:]

    def known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {self.hub.token}"

    def api(self, repo: Repo, parts: list[str], query: dict[str, list[str]]) -> None:
        commit = self.commit(repo, parts[1] if parts else "main")
        if commit is None:
            return
        files = sorted(repo.commits[commit])
        name = next(name for name, other in self.hub.repos.items() if other is repo)
        if not parts or parts[0] == "revision":
            siblings = [{"rfilename": path} for path in files]
            info = {"id": name, "sha": commit, "siblings": siblings, "private": repo.private, "gated": repo.gated}
            return self.send(200, json.dumps(info).encode(), {})
        entries = [
            {"type": "file", "path": path, "size": len(repo.commits[commit][path]), "oid": commit_of(i)}
            for i, path in enumerate(files)
        ]
        folders = sorted({path.rpartition("/")[0] for path in files} - {""})
        entries += [{"type": "directory", "path": path, "oid": commit_of(0), "size": 0} for path in folders]
        start = int(query.get("cursor", ["0"])[0])
        headers = {}
        if start + PAGE < len(entries):
            here = f"{self.hub.url}{urlsplit(self.path).path}"
            headers["Link"] = f'<{here}?recursive=true&cursor={start + PAGE}>; rel="next"'
        self.send(200, json.dumps(entries[start : start + PAGE]).encode(), headers)

    def resolve(self, repo: Repo, parts: list[str]) -> None:
        commit, path = self.commit(repo, parts[1]), "/".join(parts[2:])
        if commit is None:
            return
        headers = {"X-Repo-Commit": commit}
        if path not in repo.commits[commit]:
            return self.error(404, "EntryNotFound", headers)
        if repo.gated and not self.known():
            return self.error(403 if "Authorization" in self.headers else 401, "GatedRepo", headers)
        blob = repo.commits[commit][path]
        if path.endswith(repo.large):
            digest = hashlib.sha256(blob).hexdigest()
            # another host, as the Hub's storage is; the client sends no token there
            elsewhere = self.hub.url.replace("127.0.0.1", "localhost")
            headers |= {"Location": f"{elsewhere}/storage/{digest}?Signature=x", "X-Linked-Size": str(len(blob))}
            return self.send(302, b"", headers | {"X-Linked-Etag": f'"{digest}"'})
        git = hashlib.sha1(f"blob {len(blob)}\0".encode() + blob).hexdigest()
        self.send(200, blob, headers | {"ETag": f'"{git}"'})

    def commit(self, repo: Repo, revision: str) -> str | None:
        commit = repo.refs.get(revision, revision)
        if commit not in repo.commits:
            self.error(404, "RevisionNotFound")
            return None
        return commit

    def error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self.send(status, json.dumps({"error": code}).encode(), {"X-Error-Code": code} | (headers or {}))

    def send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@contextmanager
def serve() -> Iterator[Hub]:
    """A Hub without datasets; put them into `repos`."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
