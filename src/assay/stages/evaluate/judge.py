"""Pairwise judging by a language model behind an OpenAI-compatible address: both orders, resumable, costs counted."""

from __future__ import annotations

import http.client
import json
import os
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from string import Template
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

from assay.core.console import Console
from assay.core.errors import InputError, Interrupted, MachineError
from assay.core.files import append_line, read_lines, sha256_json, sha256_text, write_json
from assay.core.rundir import RunDir, now
from assay.data.urls import refuse_secret, shown_url
from assay.stages.evaluate.pairs import TUNED, Pair, compare, read_pairs
from assay.stats.preference import Choice, Judgement

Verdict = Literal["A", "B", "tie"]
_CHOICE: dict[Verdict, Choice] = {"A": "first", "B": "second", "tie": "tie"}

_LOCAL = ("localhost", "127.0.0.1", "::1")
_AGAIN = (408, 409, 429, 500, 502, 503, 504)  # passing troubles: the same request may do a little later
_LONGEST_WAIT = 60.0  # seconds, whatever the server asks for
_MOST_BYTES = 4_000_000  # of an answer
_SHOWN = 300  # characters of a server's message
_DECORATION = re.compile(r"[*_`\[\](){}<>#\"'.!]")
_VERDICT = re.compile(r"verdict\s*:\s*(a|b|tie)")
_LAST = re.compile(r"(?:verdict\s*:\s*)?(a|b|tie)")


@dataclass(frozen=True)
class Judge:
    """A language model that says which of two texts is better.

    Args:
        url: of an OpenAI-compatible server, as far as ``/v1``; ``/chat/completions`` is added.
        model: the model's name there.
        api_key_env: the environment variable that holds the key; None sends none.
        seed: sent with each request, beside temperature 0.
        max_tokens: longest answer, in tokens.
        timeout: seconds without an answer after which a request is given up.
        retries: how often a request is repeated that met a passing trouble.
        backoff: seconds before the first repetition; each further one waits twice as long.
        concurrency: requests under way at a time.
    """

    url: str
    model: str
    api_key_env: str | None = None
    seed: int = 0
    max_tokens: int = 1024
    timeout: float = 120.0
    retries: int = 5
    backoff: float = 1.0
    concurrency: int = 4

    @property
    def identity(self) -> dict[str, Any]:
        """What of the judge may change an answer, as plain JSON and without secrets."""
        return {
            "model": self.model, "url": shown_url(self.url), "seed": self.seed, "max_tokens": self.max_tokens,
            "prompt_version": prompt_version(),
        }  # fmt: skip


@cache
def _template() -> str:
    return Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")


def prompt_version() -> str:
    """Names the text of the question: the first 12 hex digits of its SHA-256."""
    return sha256_text(_template())[:12]


def question(prompt: str, first: str, second: str) -> str:
    """What the judge is asked. The mark around the texts depends on them, so that no text can hold its own."""
    mark = sha256_json([prompt, first, second])[:16]
    return Template(_template()).substitute(mark=mark, prompt=prompt, first=first, second=second)


def parse_verdict(answer: str) -> Verdict | None:
    """The verdict on the last line of an answer: ``Verdict: A``, ``B`` or ``tie``, or that word alone.

    None for anything else, and where lines contradict each other. What a reasoning model thinks aloud is passed over.
    """
    spoken = answer.rpartition("</think>")[2]
    lines = [_DECORATION.sub("", line).strip().casefold() for line in spoken.splitlines()]
    filled = [line for line in lines if line]
    last = _LAST.fullmatch(filled[-1]) if filled else None
    if last is None:
        return None
    said = {match[1] for line in filled if (match := _VERDICT.fullmatch(line))} | {last[1]}
    if len(said) > 1:
        return None
    verdicts: dict[str, Verdict] = {"a": "A", "b": "B", "tie": "tie"}
    return verdicts[last[1]]


@dataclass(frozen=True)
class _Question:
    """A pair in one order; `key` says whether it has been answered before."""

    key: str
    pair: Pair
    first: str
    second: str


def judge_run(
    run: RunDir, judge: Judge, *, console: Console, people: Sequence[Judgement] | None = None
) -> dict[str, Any]:
    """Ask the judge about every pair of a run's texts in both orders, and write judged/judge.json.

    Answers are kept in judged/judgements.jsonl as they come, and never asked for twice.

    Args:
        run: with evaluate/generations.jsonl.
        judge: whom to ask.
        console: for progress.
        people: ratings by people of the same pairs (`rating.rated`), to hold the judge's answers against.

    Returns:
        The record, as it stands in the file: wins, ties, losses, win rate, consistency, bias and agreement of each
        comparison, answers that could not be read, and the tokens that the answers took.

    Raises:
        InputError: no texts; the address, the key or the model is refused.
        MachineError: the server cannot be reached, or does not answer.
    """
    pairs = read_pairs(run)
    orders = [_order(pair, judge, *arms) for pair in pairs if not pair.equal
              for arms in ((TUNED, pair.against), (pair.against, TUNED))]  # fmt: skip
    log = run.judgements
    answered = {row["key"]: row for row in read_lines(log)}
    waiting = [asked for asked in orders if asked.key not in answered]
    if waiting:
        _ask_all(_Client(judge), waiting, log, console, done=len(orders) - len(waiting))
    answered = {row["key"]: row for row in read_lines(log)}
    rows = [answered[asked.key] for asked in orders]
    judgements = [_judgement(asked, row, judge) for asked, row in zip(orders, rows, strict=True)]
    record = {
        "schema": 1, "judge": judge.identity,
        **compare(run, pairs, judgements, shown=[(asked.first, asked.second) for asked in orders], people=people),
        "tokens": {"in": _total(rows, "tokens_in"), "out": _total(rows, "tokens_out"),
                   "uncounted_answers": sum(row["tokens_in"] is None or row["tokens_out"] is None for row in rows)},
    }  # fmt: skip
    write_json(run.judge, record)
    return record


def _order(pair: Pair, judge: Judge, first: str, second: str) -> _Question:
    return _Question(sha256_json([pair.id, first, second, judge.identity]), pair, first, second)


def _judgement(asked: _Question, row: dict[str, Any], judge: Judge) -> Judgement:
    choice = None if row["verdict"] is None else _CHOICE[row["verdict"]]
    return Judgement(judge.model, asked.pair.id, asked.pair.group, asked.first, asked.second, choice)


def _total(rows: Sequence[dict[str, Any]], name: str) -> int | None:
    """The tokens of the answers that say how many they took; None where none does."""
    counted = [row[name] for row in rows if row[name] is not None]
    return sum(counted) if counted else None


def _ask_all(client: _Client, waiting: Sequence[_Question], log: Path, console: Console, *, done: int) -> None:
    """Ask, and append each answer as it comes, those under way when another request fails among them."""
    lock = threading.Lock()

    def work(asked: _Question) -> None:
        if client.stop.is_set():
            return
        texts = asked.pair.texts
        try:
            answer = client.ask(question(asked.pair.prompt, texts[asked.first], texts[asked.second]))
        except BaseException:
            client.stop.set()  # at once: what fails for one would fail for the next, and cost
            raise
        row = {"key": asked.key, "pair": asked.pair.id, "first": asked.first, "second": asked.second}
        with lock:
            append_line(log, {**row, "judge": client.judge.model, **answer, "time": now()})

    total = done + len(waiting)
    with (
        console.progress("judging", total, "answers", start=done) as bar,
        ThreadPoolExecutor(client.judge.concurrency) as pool,
    ):
        try:
            for count, future in enumerate(as_completed([pool.submit(work, asked) for asked in waiting]), done + 1):
                future.result()
                bar.update(count)
        except BaseException:
            client.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Texts and key go to the server that was named, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


class _Again(Exception):
    """A passing trouble, and after how many seconds the server would be asked again."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


class _Client:
    """Asks one judge. Safe to use from several threads; `stop` ends the waiting for another try."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.stop = threading.Event()
        self._key = _api_key(judge)
        self._address = _address(judge.url, has_key=self._key is not None)
        self._opener = urllib.request.build_opener(_NoRedirects)

    def ask(self, text: str) -> dict[str, Any]:
        """The verdict with the answer's raw text and its tokens.

        Raises:
            InputError: the server refuses the request.
            MachineError: it cannot be reached, or failed too often.
        """
        for tried in range(self.judge.retries + 1):
            try:
                return self._once(text)
            except _Again as again:
                trouble = again
            wait = self.judge.backoff * 2**tried if trouble.wait is None else trouble.wait
            if tried < self.judge.retries and self.stop.wait(min(wait, _LONGEST_WAIT)):
                raise Interrupted("stopped while waiting for the judge")
        raise MachineError(
            f"the judge did not answer in {self.judge.retries + 1} tries: {trouble}",
            where=shown_url(self.judge.url),
            fix="give the same command again: answers so far are kept. If it goes on, lower "
            "evaluate.judge.concurrency or raise evaluate.judge.timeout",
        )

    def _once(self, text: str) -> dict[str, Any]:
        body = {
            "model": self.judge.model, "messages": [{"role": "user", "content": text}],
            "temperature": 0, "seed": self.judge.seed, "max_tokens": self.judge.max_tokens,
        }  # fmt: skip
        request = urllib.request.Request(self._address, json.dumps(body).encode(), method="POST")
        request.add_header("Content-Type", "application/json")
        request.add_header("User-Agent", "assay")
        if self._key is not None:
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")
        try:
            with self._opener.open(request, timeout=self.judge.timeout) as answer:
                raw = answer.read(_MOST_BYTES)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refused(error) from None
        except TimeoutError:
            raise _Again(f"no answer in {self.judge.timeout:g} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise self._unreachable(error) from None
        return _read(raw, shown_url(self.judge.url))

    def _unreachable(self, error: Exception) -> Exception:
        reason = getattr(error, "reason", error)
        if isinstance(reason, TimeoutError):
            return _Again(f"no answer in {self.judge.timeout:g} s")
        if isinstance(reason, ConnectionResetError | BrokenPipeError | http.client.HTTPException):
            return _Again(f"the connection broke: {type(reason).__name__}")
        return MachineError(
            f"the judge cannot be reached: {reason}",
            where=shown_url(self.judge.url),
            fix="start the server, or correct evaluate.judge.url; answers so far are kept",
        )

    def _refused(self, error: urllib.error.HTTPError) -> Exception:
        where, code = shown_url(self.judge.url), error.code
        if code in _AGAIN:
            asked = error.headers.get("Retry-After", "")
            return _Again(f"status {code}", float(asked) if re.fullmatch(r"\d{1,6}(\.\d+)?", asked) else None)
        if code in (401, 403):
            name = self.judge.api_key_env
            what = f"the key in the environment variable {name}" if name else "a request without a key"
            fix = (
                f"put a valid key into {name}"
                if name
                else "name the variable that holds it in evaluate.judge.api_key_env"
            )
            return InputError(f"the judge refuses {what} (status {code})", where=where, fix=fix)
        if 300 <= code < 400:
            elsewhere = shown_url(error.headers.get("Location", ""))
            return InputError(
                f"the server sends the request on to {elsewhere}, which is not followed", where=where,
                fix="set evaluate.judge.url to the address itself",
            )  # fmt: skip
        said = _message(error)
        said = (said.replace(self._key, "***") if self._key else said)[:_SHOWN]
        return InputError(
            f"the judge refuses the request (status {code}): {said or error.reason}", where=where,
            fix=f"check evaluate.judge.url and that the model {self.judge.model!r} exists there and takes temperature, "
            "seed and max_tokens",
        )  # fmt: skip


def _message(error: urllib.error.HTTPError) -> str:
    """What the server says about a refusal, on one line."""
    with suppress(OSError, http.client.HTTPException):
        return " ".join(error.read(_MOST_BYTES).decode("utf-8", "replace").split())
    return ""


def _read(raw: bytes, where: str) -> dict[str, Any]:
    """An answer as a row of the log. One that was cut off, or holds no text, has no verdict."""
    try:
        reply = json.loads(raw)
        choice = reply["choices"][0]
        content = choice["message"].get("content")
        finish, usage = choice.get("finish_reason"), reply.get("usage") or {}
        tokens = [usage.get(name) for name in ("prompt_tokens", "completion_tokens")]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            "the server's answer is not that of an OpenAI-compatible /chat/completions",
            where=where,
            fix="set evaluate.judge.url to the server's address as far as /v1",
        ) from error
    text = content if isinstance(content, str) else ""
    tokens_in, tokens_out = (n if isinstance(n, int) and not isinstance(n, bool) else None for n in tokens)
    return {
        "verdict": None if finish == "length" else parse_verdict(text), "raw": text, "finish": finish,
        "tokens_in": tokens_in, "tokens_out": tokens_out,
    }  # fmt: skip


def _api_key(judge: Judge) -> str | None:
    if judge.api_key_env is None:
        return None
    key = os.environ.get(judge.api_key_env, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        state = "holds a character that no key has" if key else "is empty or not set"
        raise InputError(
            f"the environment variable {judge.api_key_env} {state}",
            where="evaluate.judge.api_key_env",
            fix=f"export {judge.api_key_env}=... in the shell that assay is started from",
        )
    return key


def _address(url: str, *, has_key: bool) -> str:
    """The address of /chat/completions on a server.

    Raises:
        InputError: no http(s) address, one with a password in it, or one that would carry the key in the clear.
    """
    where = "evaluate.judge.url"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https") or not url.isascii() or re.search(r"[\0- \x7f]", url):
        raise InputError(
            f"{shown_url(url)} is not an address of a server",
            where=where,
            fix="write https:// (or http://) and the host",
        )
    refuse_secret(
        url, where=where, fix="put the key into an environment variable, and name it in evaluate.judge.api_key_env"
    )
    if has_key and parts.scheme == "http" and host not in _LOCAL:
        raise InputError(
            "http:// is not encrypted: anyone on the way could read the key", where=where,
            fix="write https://, or ask without a key (no evaluate.judge.api_key_env)",
        )  # fmt: skip
    path = parts.path.rstrip("/")
    path = path if path.endswith("/chat/completions") else f"{path}/chat/completions"
    return urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
