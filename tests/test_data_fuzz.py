"""Whatever a user's files hold, `assay prepare` ends in counted rows or in one message that names file and row."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.cli.main import main
from assay.core.files import read_json
from assay.core.ledger import resolve_run

EXPERIMENT = "schema: 1\nname: fuzz\nbase: scratch:llama-tiny\ntrain: {steps: 1}\n"
COUNT = 12  # sound rows of each file, so that there are groups for each split
few = settings(max_examples=8)
pytestmark = pytest.mark.usefixtures("no_page")


@dataclass
class Outcome:
    """What the command said: its exit code, its messages, and the manifest where there is one."""

    code: int
    said: str
    manifest: dict[str, Any]

    @property
    def dropped(self) -> dict[str, int]:
        found: dict[str, int] = self.manifest["rows"]["dropped"]
        return found


def prepare(name: str, raw: bytes, **data: Any) -> Outcome:
    """Write a file and prepare it, in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(raw)
        return prepare_in(Path(folder), name, **data)


def prepare_in(folder: Path, name: str, **data: Any) -> Outcome:
    """Prepare what stands in a folder: no traceback, and of what was read every row is accounted for."""
    (folder / "fuzz.yaml").write_text(EXPERIMENT + f"data: {json.dumps({'source': name} | data)}\n")
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()) as errors:
        code = main(["prepare", str(folder / "fuzz.yaml"), "--runs-dir", str(folder / "runs"), "--quiet"])
    said = errors.getvalue()
    assert code in (0, 2, 3), said
    assert "Traceback" not in said
    if code:
        assert said.startswith("error: ")
        assert "\n  fix: " in said
        return Outcome(code, said, {})
    manifest = read_json(resolve_run("fuzz", folder / "runs").manifest)
    for counted in (manifest["rows"], manifest["items"]):
        assert counted["in"] == counted["kept"] + sum(counted["dropped"].values())
    assert manifest["items"]["kept"] == sum(split["items"] for split in manifest["splits"].values())
    return Outcome(code, said, manifest)


def sentence(number: int) -> str:
    return " ".join(random.Random(number).choices([f"w{n}" for n in range(900)], k=12))


def chat(number: int) -> list[dict[str, Any]]:
    return [{"role": "user", "content": f"Say {number}."}, {"role": "assistant", "content": sentence(number)}]


def as_lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows: list[list[str]]) -> bytes:
    sink = io.StringIO()
    csv.writer(sink).writerows(rows)
    return sink.getvalue().encode()


# Rows that real exports hold are dropped and counted by reason, up to max_bad_rows


MALFORMED: dict[str, Callable[[int], Any]] = {
    "unknown-role": lambda n: [{"role": "wizard", "content": f"I am {n}."}, *chat(n)],
    "assistant-first": lambda n: chat(n)[::-1],
    "tool-first": lambda n: [{"role": "tool", "content": "{}"}, *chat(n)],
    "empty-turn": lambda n: [chat(n)[0], {"role": "assistant", "content": " \n"}],
    "no-assistant-turn": lambda n: chat(n)[:1],
    "no-turns": lambda n: [{"role": "system", "content": "Be kind."}] if n % 2 else [],
    "system-not-first": lambda n: [chat(n)[0], {"role": "system", "content": "Be kind."}, chat(n)[1]],
    "not-text": lambda n: [{"role": "user", "content": [{"type": "image_url", "image_url": "a.png"}]}, chat(n)[1]],
}


@few
@given(
    reasons=st.lists(st.sampled_from(sorted(MALFORMED)), max_size=24),
    copies=st.integers(0, 3),
    most=st.sampled_from([0, 0.01, 0.1, 0.5, 1]),
    rng=st.randoms(use_true_random=False),
)
def test_malformed_chats_are_dropped_and_counted(
    reasons: list[str], copies: int, most: float, rng: random.Random
) -> None:
    sound = [chat(n) for n in range(COUNT)]
    rows = [*sound, *sound[:copies], *(MALFORMED[reason](n) for n, reason in enumerate(reasons))]
    first = {"messages": chat(1000)}  # what `auto` guesses by
    rng.shuffle(rows)
    found = prepare("a.jsonl", as_lines([first, *({"messages": row} for row in rows)]), max_bad_rows=most)
    share = len(reasons) / (len(rows) + 1)
    if share > most:
        assert found.code == 2
        assert f"{len(reasons)} of {len(rows) + 1} rows are malformed" in found.said
        assert all(f"x {reason} (first: a.jsonl:" in found.said for reason in reasons)
    else:
        assert found.code == 0
        assert found.manifest["rows"]["in"] == len(rows) + 1
        assert found.dropped == dict(Counter(reasons))
        assert found.manifest["rows"]["bad"] == len(reasons)
        assert found.manifest["items"]["dropped"] == ({"duplicate": copies} if copies else {})
        assert set(found.manifest["rows"]["examples"]) == set(reasons)


def test_a_place_of_each_reason_is_shown() -> None:
    rows = [*(chat(n) for n in range(COUNT)), MALFORMED["unknown-role"](1), MALFORMED["empty-turn"](2)]
    refused = prepare("a.jsonl", as_lines([{"messages": row} for row in rows]))
    assert refused.code == 2
    assert "2 of 14 rows are malformed (14.3%), more than data.max_bad_rows = 1.0%" in refused.said
    assert f'unknown-role (first: a.jsonl:{COUNT + 1}, "wizard")' in refused.said
    assert f"empty-turn (first: a.jsonl:{COUNT + 2}, assistant)" in refused.said


# Files that cannot be read are refused by file and row


def _texts(count: int = COUNT) -> list[dict[str, Any]]:
    return [{"text": sentence(n)} for n in range(count)]


def _after_row_5(bad: bytes) -> bytes:
    lines = as_lines(_texts()).splitlines(keepends=True)
    return b"".join([*lines[:5], bad, *lines[5:]])


def _table(row: list[str]) -> bytes:
    rows = [["title", "text"], *([f"t{n}", sentence(n)] for n in range(COUNT))]
    return as_csv([*rows[:6], row, *rows[6:]])


@pytest.mark.parametrize(
    ("name", "raw", "words"),
    [
        ("a.jsonl", _after_row_5(b'{"text": "caf\xe9"}\n'), ["a.jsonl:6:14", "row 6", "not UTF-8", "0xe9"]),
        ("a.jsonl", _after_row_5(b'{"text": "a\0b"}\n'), ["a.jsonl:6:12", "row 6", "NUL"]),
        ("a.jsonl", _after_row_5(b'{"text": "a\\u0000b"}\n'), ["a.jsonl:6", "row 6"]),
        ("a.jsonl", _after_row_5(b'{"text": "a}\n'), ["a.jsonl:6:", "row 6", "not valid JSON"]),
        ("a.jsonl", _after_row_5(b'["a"]\n'), ["a.jsonl:6", "row 6", "JSON array"]),
        ("a.jsonl", _after_row_5(b'{"text": 7}\n'), ["a.jsonl:6", "'text'", "7"]),
        ("a.jsonl", _after_row_5(b'{"body": "a"}\n'), ["a.jsonl:6", "'text'"]),
        ("a.json", json.dumps([*_texts(5), 7, *_texts()]).encode(), ["a.json (row 6)", "row 6", "JSON number"]),
        ("a.json", json.dumps(_texts()).encode()[:-20], ["a.json:1:", "row 12"]),
        ("a.csv", _table(["only one cell"]), ["a.csv:7", "row 6", "1 cell", "2 columns"]),
        ("a.csv", _table(["one", "two", "three"]), ["a.csv:7", "row 6", "3 cells", "2 columns"]),
        ("a.csv", _table(["one", "two"]).replace(b"one,", b'"one,'), ["a.csv:7", "row 6", "not valid CSV"]),
        ("a.csv", _table(["one", "two"]).replace(b"one", b"on\xff"), ["a.csv:7:3", "row 6", "not UTF-8", "0xff"]),
        ("a.csv", b"", ["a.csv", "empty"]),
        ("a.csv", b"title,text\n", ["a.csv", "no rows"]),
        ("a.parquet", b"PAR1" + b"\0" * 50 + b"PAR1", ["a.parquet", "not a Parquet file"]),
        ("a.txt", b"one\n\ntwo\n\nth\x00ree\n", ["a.txt:5:3", "NUL"]),
        ("a.txt", b" \n \n", ["a.txt"]),
        ("a.jsonl.gz", gzip.compress(as_lines(_texts()))[:-40], ["a.jsonl.gz", "row"]),
        ("a.jsonl.gz", b"\x1f\x8bnothing that was ever packed", ["a.jsonl.gz"]),
        ("a.pdf", b"%PDF-1.7", ["a.pdf", ".pdf"]),
    ],
)  # fmt: skip
def test_unreadable_files(name: str, raw: bytes, words: list[str]) -> None:
    found = prepare(name, raw)
    assert found.code == 2
    assert all(word in found.said for word in words), found.said


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv"])
def test_a_byte_order_mark_is_no_text(name: str) -> None:
    raw = _table(["t", "one more"]) if name == "a.csv" else as_lines(_texts())
    raw = b"\xef\xbb\xbf" + raw
    found = prepare(name, gzip.compress(raw) if name.endswith(".gz") else raw)
    assert found.code == 0
    assert found.manifest["format"]["fields"] == {"text": "text"}
    assert found.manifest["rows"]["in"] == COUNT + (name == "a.csv")


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.symlink_to(path.name), "leads back to itself"),
        (lambda path: path.symlink_to("gone.jsonl"), "a link to a file that is not there"),
        (lambda path: os.mkfifo(path), "is a pipe or a device"),
    ],
)
@pytest.mark.parametrize("named", ["data.jsonl", "*.jsonl"])
def test_what_is_no_file(tmp_path: Path, plant: Callable[[Path], None], words: str, named: str) -> None:
    plant(tmp_path / "data.jsonl")
    found = prepare_in(tmp_path, named)
    assert found.code == 2
    # a pattern passes over folders
    assert ("no file matches" if named == "*.jsonl" and words == "is a folder" else words) in found.said
    assert named in found.said or "data.jsonl" in found.said


@few
@given(cut=st.integers(1, 400), kind=st.sampled_from(["a.jsonl.gz", "a.csv.gz", "a.txt.gz"]))
def test_a_gzip_file_cut_short_is_never_half_read(cut: int, kind: str) -> None:
    raw = {"a.csv.gz": _table(["a", "b"]), "a.txt.gz": b"A line of prose.\n\n" * 99}.get(kind, as_lines(_texts(40)))
    packed = gzip.compress(raw)
    found = prepare(kind, packed[: max(0, len(packed) - cut)])
    assert found.code == 2
    assert kind in found.said


# Mixes of everything


pieces = st.one_of(
    st.binary(max_size=8),
    st.sampled_from([b"\xff", b"\xc3", b"\xed\xa0\x80", b"\0", b"\xef\xbb\xbf", b'"', b"\n", b"\r", b",", b"[", b"{}"]),
    st.sampled_from(
        [b"null", b"NaN", b"1e999", b"\\ud800", b"\\u0000", b'{"text": null}\n', b'{"text": []}\n', b"\n\n"]
    ),
)
SOUND = {
    "a.jsonl": as_lines(_texts()),
    "b.jsonl": as_lines([{"messages": chat(n)} for n in range(COUNT)]),
    "c.jsonl": as_lines([{"instruction": f"Say {n}.", "input": "", "output": sentence(n)} for n in range(COUNT)]),
    "a.json": json.dumps(_texts()).encode(),
    "a.csv": _table(["a", "b"]),
    "a.tsv": _table(["a", "b"]).replace(b",", b"\t"),
    "a.txt": "\n\n".join(sentence(n) for n in range(60)).encode(),
    "a.jsonl.gz": gzip.compress(as_lines(_texts()), mtime=0),
}


@settings(max_examples=12)
@given(
    name=st.sampled_from(sorted(SOUND)), planted=st.lists(st.tuples(st.floats(0, 1), pieces), min_size=1, max_size=3)
)
def test_bytes_put_in_anywhere(name: str, planted: list[tuple[float, bytes]]) -> None:
    raw = SOUND[name]
    for share, piece in planted:
        at = int(share * len(raw))
        raw = raw[:at] + piece + raw[at:]
    found = prepare(name, raw, max_bad_rows=0.5)
    if found.code == 0 and name.endswith(".jsonl"):
        assert found.manifest["rows"]["in"] == sum(
            1 for line in raw.decode("utf-8-sig").replace("\r", "\n").split("\n") if line.strip()
        )
    if found.code == 2:
        assert name in found.said


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | st.just("Some words of prose."),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["role", "content", "text"]), inner),
    max_leaves=5,
)
COLUMNS = ["text", "prompt", "completion", "instruction", "input", "output", "messages", "system"]
FORMATS = ["auto", "text", "prompt-completion", "alpaca", "sharegpt", "messages"]


@settings(max_examples=12)
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(COLUMNS), values, min_size=1), min_size=1, max_size=6),
    at=st.integers(0, COUNT),
    name=st.sampled_from(["a.jsonl", "a.json"]),
    form=st.sampled_from(FORMATS),
)
def test_rows_of_any_types(rows: list[dict[str, Any]], at: int, name: str, form: str) -> None:
    sound = [
        {"text": sentence(n), "prompt": f"{n}?", "completion": sentence(n), "messages": chat(n)}
        | {"instruction": f"Say {n}.", "input": "", "output": sentence(n), "system": "Be kind."}
        for n in range(COUNT)
    ]
    mixed = [*sound[:at], *(sound[0] | row for row in rows), *sound[at:]]
    raw = as_lines(mixed) if name == "a.jsonl" else json.dumps(mixed).encode()
    found = prepare(name, raw, format=form, max_bad_rows=1)
    if found.code == 0:
        assert found.manifest["rows"]["in"] == len(mixed)
    else:
        assert name in found.said


def test_one_row_of_50_megabytes_is_dropped_by_its_length() -> None:
    found = prepare("a.jsonl", as_lines([*_texts(), {"text": "long " * 10_000_000}]), clean={"max_bytes": 1_000_000})
    assert found.code == 0
    assert found.manifest["items"]["dropped"] == {"too-long": 1}
    assert found.manifest["items"]["examples"]["too-long"][0]["where"] == f"a.jsonl:{COUNT + 1}"


def test_one_very_long_row_is_prepared() -> None:
    # smaller than the one above, as here its 5-grams are compared and its tokens, which are bytes, written
    words = random.Random(0).choices([f"w{n}" for n in range(900)], k=400_000)
    found = prepare("a.jsonl", as_lines([*_texts(), {"text": " ".join(words)}]))
    assert found.code == 0
    assert found.manifest["rows"]["kept"] == COUNT + 1


# Shown


NASTY = [
    "<script>alert(1)</script>", "{{ 7 * 7 }} {% raw %}", "$x^2$ \\frac{1}{2}", "\x07 \x1b[31m", "\u202e\u202c", "😀",
    "a" * 5000, "日本語の文", "'\"`&lt;", "\ufdd0\ufffe",
]  # fmt: skip


def test_whatever_is_read_can_be_shown(tmp_path: Path, with_page: None) -> None:
    rows = [{"text": f"{sign} {sentence(n)}", "group": f"{sign} {n}", "kind": sign} for n, sign in enumerate(NASTY * 3)]
    rows += [{"text": f" {sign} ", "group": "g", "kind": sign} for sign in NASTY]  # too short
    (tmp_path / "a.jsonl").write_bytes(as_lines(rows))
    (tmp_path / "bench.jsonl").write_bytes(
        as_lines([{"text": f"{sign} {sentence(n)}"} for n, sign in enumerate(NASTY)])
    )
    data = {"group": "group", "split": {"stratify": "kind"}, "against": [str(tmp_path / "bench.jsonl")]}
    found = prepare_in(tmp_path, "a.jsonl", **data, clean={"min_bytes": 40})
    assert found.code == 0
    assert found.manifest["against"]["touched"] > 0
    page = resolve_run("fuzz", tmp_path / "runs").report.read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
