"""A judge over HTTP: a small server on this machine plays good and bad ones."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.console import Console
from assay.core.errors import AssayError, InputError, MachineError
from assay.core.files import read_json, read_lines, write_lines
from assay.core.rundir import RunDir
from assay.stages.evaluate.judge import Judge, judge_run, parse_verdict, prompt_version, question
from assay.stages.evaluate.pairs import check_rating, read_pairs
from assay.stats.preference import Judgement

KEY = "sk-very-secret-0123456789"
QUIET = Console(quiet=True)


@dataclass
class Asked:
    """A request as the server met it."""

    body: dict[str, Any]
    key: str | None

    @property
    def texts(self) -> tuple[str, str]:
        """Text A and text B."""
        content = self.body["messages"][0]["content"]
        a, b = (re.search(rf"BEGIN TEXT {x} (\w+)\n(.*)\nEND TEXT {x} \1", content, re.DOTALL) for x in "AB")
        assert a is not None
        assert b is not None
        return a[2], b[2]


@dataclass
class Server:
    """A judge: `reply` gives the answer's text, or (status, headers, body)."""

    reply: Callable[[Asked], Any]
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    most_at_once: int = 0
    usage: dict[str, int] | None = field(default_factory=lambda: {"prompt_tokens": 100, "completion_tokens": 7})
    finish: str = "stop"


Start = Callable[..., Server]


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """A function that starts a judge which answers by a function."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    running: list[ThreadingHTTPServer] = []

    def begin(reply: Callable[[Asked], Any], **options: Any) -> Server:
        judge = Server(reply, **options)
        lock, under_way = threading.Lock(), [0]

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked = Asked(body, self.headers.get("Authorization"))
                with lock:
                    judge.asked.append(asked)
                    under_way[0] += 1
                    judge.most_at_once = max(judge.most_at_once, under_way[0])
                assert self.path == "/v1/chat/completions"
                said = judge.reply(asked)
                with lock:
                    under_way[0] -= 1
                if said is None:  # hang up
                    self.connection.close()
                    return
                status, headers, raw = said if isinstance(said, tuple) else (200, {}, self.completion(said))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(raw)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            def completion(self, text: str) -> bytes:
                choice = {"message": {"role": "assistant", "content": text}, "finish_reason": judge.finish}
                return json.dumps({"choices": [choice], "usage": judge.usage}).encode()

            def log_message(self, format: str, *args: object) -> None:
                pass

        class Listening(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                pass  # the client has hung up

        server = Listening(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        running.append(server)
        judge.url = f"http://127.0.0.1:{server.server_port}/v1"
        return judge

    yield begin
    for server in running:
        server.shutdown()
        server.server_close()


def make_run(folder: Path, prompts: int = 10, arms: tuple[str, ...] = ("base",)) -> RunDir:
    """A run whose tuned texts say "good" oftener than the others; from prompt 8 on they are all equal."""
    run = RunDir(folder / "run")
    rows = []
    for i in range(prompts):
        row = {
            "prompt": f"Tell of thing {i}.",
            "seed": 40 + i,
            "tuned": f"thing {i} is good good" + " and long" * (i % 3),
        }
        for arm in arms:
            row[arm] = row["tuned"] if i >= 8 else f"thing {i} is" + (" good good good" if i % 4 == 3 else f" {arm}")
        rows.append(row)
    write_lines(run.generations, rows)
    return run


def good(asked: Asked) -> str:
    """Consistent: prefers the text with more "good" in it."""
    a, b = (text.count("good") for text in asked.texts)
    return f"Some reasons.\n\nVerdict: {'A' if a > b else 'B' if b > a else 'tie'}"


def judge(server: Server, **options: Any) -> Judge:
    return Judge(server.url, "tiny-judge", **{"backoff": 0.01, "timeout": 5.0, **options})


# the question and the verdict


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("Verdict: A", "A"),
        ("A is better.\n\n**Verdict: B**", "B"),
        ("because\nverdict : TIE.\n\n", "tie"),
        ("reasons\n[[A]]", "A"),
        ("tie", "tie"),
        ("Verdict: [[B]]", "B"),
        ("<think>Verdict: A? Or\nVerdict: B\n</think>\nVerdict: B", "B"),
        ("", None),
        ("I cannot say.", None),
        ("Text A is better", None),
        ("Verdict: A or B", None),
        ("Verdict: A\nI hope this helps!", None),
        ("Verdict: A\nVerdict: B", None),
        ("Verdict: C", None),
        ("Verdict: A, B", None),
        ("<think>Verdict: A", None),
        ("A tie is a piece of clothing", None),
    ],
)
def test_the_last_line_is_the_verdict_or_there_is_none(answer: str, verdict: str | None) -> None:
    assert parse_verdict(answer) == verdict


@given(st.text())
def test_whatever_it_says_it_is_a_tie_only_in_that_word(answer: str) -> None:
    if parse_verdict(answer) == "tie":
        assert "tie" in answer.casefold()


@given(st.text(), st.text(), st.text())
def test_texts_stand_between_marks_that_they_cannot_hold(prompt: str, first: str, second: str) -> None:
    asked = question(prompt, first, second)
    mark = re.search(r"BEGIN PROMPT (\w+)", asked)
    assert mark is not None
    assert f"BEGIN TEXT A {mark[1]}\n{first}\nEND TEXT A {mark[1]}\n" in asked
    assert f"BEGIN TEXT B {mark[1]}\n{second}\nEND TEXT B {mark[1]}\n" in asked
    assert all(mark[1] not in text for text in (prompt, first, second))
    assert asked.rstrip().endswith("Verdict: tie")


def test_the_question_names_no_model() -> None:
    asked = question("Once", "one", "two")
    assert not re.search(r"tuned|base|baseline|prompt_only|model", asked)
    assert re.fullmatch(r"[0-9a-f]{12}", prompt_version())


# what comes of it


def test_a_consistent_judge(start: Start, tmp_path: Path) -> None:
    server, run = start(good), make_run(tmp_path)
    record = judge_run(run, judge(server), console=QUIET)
    assert record == read_json(run.judge)
    (found,) = record["comparisons"]
    # of prompts 0 to 7 the base wins 3 and 7; 8 and 9 are equal, and nobody is asked
    assert (found["wins"], found["ties"], found["losses"], found["equal"]) == (6, 2, 2, 2)
    assert found["rate"]["mean"] == pytest.approx(0.7)
    assert (found["pairs"], found["twice"], found["unparsable"], found["blind"]) == (8, 8, 0, True)
    assert found["consistency"]["mean"] == 1.0
    assert found["first_share"]["mean"] == 0.5
    assert found["people"] is None
    assert record["tokens"] == {"in": 1600, "out": 112, "uncounted_answers": 0}
    assert record["judge"]["model"] == "tiny-judge"
    assert record["strengths"]["chances"] is None
    assert len(server.asked) == 16
    assert all((a.body["temperature"], a.body["seed"], a.key) == (0, 0, None) for a in server.asked)
    rows = read_lines(run.judgements)
    assert len({row["key"] for row in rows}) == 16
    assert {(row["first"], row["second"]) for row in rows} == {("tuned", "base"), ("base", "tuned")}
    assert check_rating(run).status == "warn"  # too few
    assert run.guards.records()[0].guard == "rating"


def test_a_judge_that_takes_what_stands_first(start: Start, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (found,) = judge_run(run, judge(start(lambda asked: "Verdict: A")), console=QUIET)["comparisons"]
    assert (found["consistency"]["mean"], found["first_share"]["mean"], found["rate"]["mean"]) == (0.0, 1.0, 0.5)
    assert (found["wins"], found["ties"]) == (0, 10)
    assert check_rating(run).status == "fail"


def test_a_judge_that_takes_the_longer(start: Start, tmp_path: Path) -> None:
    def longer(asked: Asked) -> str:
        a, b = (len(text.split()) for text in asked.texts)
        return f"Verdict: {'A' if a > b else 'B' if b > a else 'tie'}"

    run = make_run(tmp_path)
    (found,) = judge_run(run, judge(start(longer)), console=QUIET)["comparisons"]
    assert found["longer_wins"]["mean"] == 1.0
    assert found["length_gap"]["mean"] > 0
    assert found["consistency"]["mean"] == 1.0


def test_garbage_is_no_tie(start: Start, tmp_path: Path) -> None:
    server, run = start(lambda asked: "Both are lovely!"), make_run(tmp_path)
    record = judge_run(run, judge(server), console=QUIET)
    (found,) = record["comparisons"]
    assert (found["pairs"], found["unparsable"], found["consistency"]["mean"]) == (0, 16, None)
    assert found["ties"] == found["equal"] == 2
    assert read_lines(run.judgements)[0]["raw"] == "Both are lovely!"
    assert check_rating(run).status == "warn"
    judge_run(run, judge(server), console=QUIET)
    assert len(server.asked) == 16  # an unreadable answer is an answer: it is not asked for again


def test_an_answer_that_was_cut_off_has_no_verdict(start: Start, tmp_path: Path) -> None:
    server = start(lambda asked: "Verdict: A", finish="length", usage=None)
    record = judge_run(make_run(tmp_path), judge(server), console=QUIET)
    assert record["comparisons"][0]["unparsable"] == 16
    assert record["tokens"] == {"in": None, "out": None, "uncounted_answers": 16}


def test_three_arms_have_strengths(start: Start, tmp_path: Path) -> None:
    run = make_run(tmp_path, arms=("base", "prompt_only"))
    record = judge_run(run, judge(start(good)), console=QUIET)
    assert [c["against"] for c in record["comparisons"]] == ["base", "prompt_only"]
    chances = record["strengths"]["chances"]
    assert chances["tuned"]["mean"] == pytest.approx(0.7, abs=1e-4)
    assert chances["prompt_only"]["mean"] == pytest.approx(0.5, abs=1e-4)


def test_people_are_held_against_the_judge(start: Start, tmp_path: Path) -> None:
    run = make_run(tmp_path)
    people = [
        Judgement("anna", pair.id, pair.group, "base", "tuned", "second" if i != 3 else "tie")
        for i, pair in enumerate(read_pairs(run)[:5])
    ]
    (found,) = judge_run(run, judge(start(good)), console=QUIET, people=people)["comparisons"]
    assert (found["people"]["pairs"], found["people"]["share"]["mean"]) == (5, 0.8)
    # of 5: the judge says tuned 4, base 1; anna tuned 4, tie 1: by chance 16/25
    assert found["people"]["kappa"] == pytest.approx((20 - 16) / (25 - 16))


# going on after an interruption


def test_what_was_answered_is_not_asked_again(start: Start, tmp_path: Path) -> None:
    refuse = threading.Event()

    def tired(asked: Asked) -> Any:
        if len(server.asked) > 5:
            refuse.set()
        return (400, {}, b"no more today") if refuse.is_set() else good(asked)

    server, run = start(tired), make_run(tmp_path)
    with pytest.raises(InputError, match="no more today"):
        judge_run(run, judge(server, concurrency=1), console=QUIET)
    log = run.judgements
    assert len(read_lines(log)) == 5
    assert not (run.judge).exists()
    with log.open("ab") as stream:
        stream.write(b'{"key": "torn')  # a kill in the middle of a line
    server.reply = good
    server.asked.clear()
    record = judge_run(run, judge(server), console=QUIET)
    assert len(server.asked) == 11
    whole = judge_run(make_run(tmp_path / "other"), judge(server), console=QUIET)
    assert record == whole


def test_a_finished_judging_needs_neither_key_nor_server(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    server, run = start(good), make_run(tmp_path)
    asking = judge(server, api_key_env="JUDGE_KEY")
    record = judge_run(run, asking, console=QUIET)
    monkeypatch.delenv("JUDGE_KEY")
    server.reply = lambda asked: (500, {}, b"")
    assert judge_run(run, asking, console=QUIET) == record


def test_another_judge_prompt_seed_or_text_is_asked_anew(start: Start, tmp_path: Path) -> None:
    server, run = start(good), make_run(tmp_path, prompts=2)
    judge_run(run, judge(server), console=QUIET)
    judge_run(run, judge(server, timeout=4.0, concurrency=2), console=QUIET)
    assert len(server.asked) == 4
    judge_run(run, judge(server, seed=1), console=QUIET)
    assert len(server.asked) == 8
    rows = read_lines(run.generations)
    rows[0]["tuned"] += " again"
    write_lines(run.generations, rows)
    judge_run(run, judge(server), console=QUIET)
    assert len(server.asked) == 10


def test_no_more_requests_at_once_than_allowed(start: Start, tmp_path: Path) -> None:
    def slow(asked: Asked) -> str:
        time.sleep(0.02)
        return good(asked)

    server = start(slow)
    judge_run(make_run(tmp_path), judge(server, concurrency=3), console=QUIET)
    assert 2 <= server.most_at_once <= 3


# troubles


@pytest.mark.parametrize("trouble", [(429, {"Retry-After": "0"}, b""), (503, {}, b"busy"), None])
def test_a_passing_trouble_is_waited_out(start: Start, tmp_path: Path, trouble: Any) -> None:
    seen: set[str] = set()

    def troubled(asked: Asked) -> Any:
        text = json.dumps(asked.body)
        if text in seen:
            return good(asked)
        seen.add(text)
        return trouble

    server, run = start(troubled), make_run(tmp_path, prompts=2)
    record = judge_run(run, judge(server), console=QUIET)
    assert record["comparisons"][0]["pairs"] == 2
    assert len(server.asked) == 8


def test_a_trouble_that_stays_is_told(start: Start, tmp_path: Path) -> None:
    server = start(lambda asked: (429, {}, b"slow down"))
    with pytest.raises(MachineError, match="did not answer in 3 tries: status 429") as caught:
        judge_run(make_run(tmp_path), judge(server, retries=2, concurrency=1), console=QUIET)
    assert "answers so far are kept" in str(caught.value)
    assert len(server.asked) == 3


def test_a_judge_that_never_answers(start: Start, tmp_path: Path) -> None:
    wait = threading.Event()
    server = start(lambda asked: wait.wait(5) and None)
    began = time.monotonic()
    try:
        with pytest.raises(MachineError, match=r"no answer in 0\.1 s"):
            judge_run(make_run(tmp_path, prompts=1), judge(server, timeout=0.1, retries=1), console=QUIET)
    finally:
        wait.set()
    assert time.monotonic() - began < 3


def test_nobody_listens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(MachineError, match="cannot be reached") as caught:
        judge_run(make_run(tmp_path), Judge("http://127.0.0.1:9/v1", "m"), console=QUIET)
    assert caught.value.exit_code == 4
    assert "start the server" in str(caught.value)


def secret_free(error: AssayError, folder: Path) -> None:
    seen: BaseException | None = error
    while seen is not None:
        assert KEY not in f"{seen} {seen!r}"
        seen = seen.__cause__
    for file in folder.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()


def test_a_key_is_sent_and_never_told(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", f" {KEY}\n")
    run, server = make_run(tmp_path), start(good)
    judge_run(run, judge(server, api_key_env="JUDGE_KEY"), console=QUIET)
    assert {asked.key for asked in server.asked} == {f"Bearer {KEY}"}
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and KEY.encode() in f.read_bytes()]
    for status, said in ((401, "Unauthorized"), (403, "Forbidden")):
        server.reply = lambda asked, status=status, said=said: (status, {}, f"{said}: wrong key {KEY}".encode())
        with pytest.raises(InputError, match="environment variable JUDGE_KEY") as caught:
            judge_run(run, judge(server, api_key_env="JUDGE_KEY", seed=status), console=QUIET)
        secret_free(caught.value, tmp_path)
    server.reply = lambda asked: (404, {}, f"no such model for {KEY}".encode())
    with pytest.raises(InputError, match=r"status 404\): no such model for \*\*\*") as caught:
        judge_run(run, judge(server, api_key_env="JUDGE_KEY", seed=1), console=QUIET)
    secret_free(caught.value, tmp_path)


@pytest.mark.parametrize("value", ["", "  ", "ключ", "two\nlines"])
def test_a_key_that_cannot_be_one(value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", value)
    with pytest.raises(InputError, match="JUDGE_KEY") as caught:
        judge_run(make_run(tmp_path), Judge("http://127.0.0.1:9/v1", "m", "JUDGE_KEY"), console=QUIET)
    assert not value.strip() or value not in str(caught.value)


def test_a_server_that_wants_a_key_and_gets_none(start: Start, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without a key") as caught:
        judge_run(make_run(tmp_path), judge(start(lambda asked: (401, {}, b""))), console=QUIET)
    assert "evaluate.judge.api_key_env" in str(caught.value)


def test_neither_texts_nor_key_are_sent_on(start: Start, tmp_path: Path) -> None:
    other = start(good)
    server = start(lambda asked: (307, {"Location": f"{other.url}/chat/completions?token=abc"}, b""))
    with pytest.raises(InputError, match="sends the request on to") as caught:
        judge_run(make_run(tmp_path), judge(server), console=QUIET)
    assert other.asked == []
    assert "abc" not in str(caught.value)


@pytest.mark.parametrize(
    "raw", [b"<html>welcome</html>", b"{}", b"[]", b'{"choices": []}', b'{"choices": [{"message": "A"}]}']
)
def test_what_is_no_such_server(start: Start, tmp_path: Path, raw: bytes) -> None:
    server = start(lambda asked: (200, {}, raw))
    with pytest.raises(InputError, match="OpenAI-compatible"):
        judge_run(make_run(tmp_path), judge(server), console=QUIET)


@pytest.mark.parametrize(
    "url",
    ["ftp://host/v1", "file:///etc/passwd", "localhost:8000/v1", "http://", "https://host:port/v1", "https://a b/v1",
     "https://höst/v1", "https://user:pass@host/v1"],
)  # fmt: skip
def test_an_address_that_is_none(url: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"evaluate\.judge\.url") as caught:
        judge_run(make_run(tmp_path), Judge(url, "m"), console=QUIET)
    assert "pass@" not in str(caught.value)


def test_a_key_does_not_travel_in_the_clear(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with pytest.raises(InputError, match="not encrypted"):
        judge_run(make_run(tmp_path), Judge("http://judge.example/v1", "m", "JUDGE_KEY"), console=QUIET)


def test_without_texts_nothing_is_asked(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"evaluate\.prompts"):
        judge_run(RunDir(tmp_path), Judge("http://127.0.0.1:9/v1", "m"), console=QUIET)
