"""Every way in which a person's file can be wrong is named, with its place and a fix."""

from __future__ import annotations

import csv
import datetime
import gzip
import io
import json
import tracemalloc
import zipfile
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.readers import Row, is_table, json_rows, read_rows, stream, strip_frame
from assay.data.sources import SourceFile


def read(raw: bytes, name: str) -> list[Row]:
    return list(read_rows(SourceFile(name, f"data/{name}", lambda: io.BytesIO(raw))))


def columns(raw: bytes, name: str = "a.csv") -> list[dict[str, Any]]:
    return [row.columns for row in read(raw, name)]


def refused(raw: bytes, name: str, *parts: str) -> None:
    with pytest.raises(InputError) as caught:
        read(raw, name)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert f"data/{name}" in message
    assert "fix: " in message
    for part in parts:
        assert part in message


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


# Texts


def test_text_keeps_everything_but_mark_and_newlines() -> None:
    (row,) = read(b"\xef\xbb\xbfOne\r\n two \r\n\r\nthr\xc3\xa9e\rfour", "a.txt")
    assert row == Row(0, {"text": "One\n two \n\nthrée\nfour"}, "data/a.txt")


def test_gutenberg_frame_is_stripped() -> None:
    body = "CHAPTER I\n\nIt began.\n"
    framed = (
        "The Project Gutenberg eBook of X\n\n*** START OF THE PROJECT GUTENBERG EBOOK X;\nOR, Y ***\n"
        f"{body}*** END OF THE PROJECT GUTENBERG EBOOK X ***\nLicence\n"
    )
    assert strip_frame(framed) == body
    assert columns(framed.encode(), "a.txt") == [{"text": body}]
    assert strip_frame(body) == body
    refused(b"*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n", "a.txt", "is empty between")


@pytest.mark.parametrize(
    ("name", "table"),
    [("a.txt", False), ("README", False), ("a.MD", False), ("a.txt.gz", False), ("a.CSV", True), ("b/a.jsonl.gz", True)]
    + [(f"a{ending}", True) for ending in (".tsv", ".jsonl", ".ndjson", ".json", ".parquet")],
)
def test_what_is_a_table(name: str, table: bool) -> None:
    assert is_table(name) is table


# CSV


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_separators_are_found(delimiter: str) -> None:
    raw = f'id{delimiter}text{delimiter}note\n1{delimiter}"a, b; c|d"{delimiter}x\n'.encode()
    assert columns(raw) == [{"id": "1", "text": "a, b; c|d", "note": "x"}]


def test_a_separator_splits_the_rows_like_the_header() -> None:
    assert columns(b"id;title, long\n1;x\n2;y\n") == [{"id": "1", "title, long": "x"}, {"id": "2", "title, long": "y"}]
    assert columns(b"a,b;c,d\n1,2;3,4\n") == [{"a": "1", "b;c": "2;3", "d": "4"}]
    assert columns(b"a, b\tc, d\n1\t2\n", "a.tsv") == [{"a, b": "1", "c, d": "2"}]


def test_csv_as_spreadsheets_write_it() -> None:
    raw = b'\xef\xbb\xbfid;text\r\n1;"first line\r\nsecond ""quoted"" line"\r\n\r\n2;plain\r\n'
    assert read(raw, "a.csv") == [
        Row(1, {"id": "1", "text": 'first line\nsecond "quoted" line'}, "data/a.csv:2"),
        Row(2, {"id": "2", "text": "plain"}, "data/a.csv:5"),
    ]


def test_csv_of_an_old_macintosh() -> None:
    assert read(b"id,text\r1,a\r2,b\r", "a.csv")[1] == Row(2, {"id": "2", "text": "b"}, "data/a.csv:3")


def test_csv_with_one_column_and_with_a_huge_cell() -> None:
    assert columns(b"text\none\n\ntwo\n  \n") == [{"text": "one"}, {"text": "two"}, {"text": "  "}]
    huge = "x, " * 1_000_000
    assert columns(f'id,text\n1,"{huge}"\n'.encode()) == [{"id": "1", "text": huge}]


def test_blank_lines_are_no_rows() -> None:
    assert [row.place for row in read(b"\n  \nid,text\n\n1,a\n \t\n2,b\n\n", "a.csv")] == [
        "data/a.csv:5",
        "data/a.csv:7",
    ]


def test_columns_without_a_name_are_called_by_their_number() -> None:
    assert columns(b",text,\n0,one,\n") == [{"column 1": "0", "text": "one", "column 3": ""}]


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b"id,text\n", ["has a header and no rows"]),
        (b",,\n1,2,3\n", ["data/a.csv:1", "names no column"]),
        (b"text,id,text\na,1,b\n", ["data/a.csv:1", "'text' more than once"]),
        (b",column 1\na,b\n", ["data/a.csv:1", "'column 1' more than once"]),
        (b'id,text\n1,a\n2,"b\nc",d\n', ["data/a.csv:3", "row 2 has 3 cells", "names 2 columns", "double quotes"]),
        (b"id,text\n1\n", ["data/a.csv:2", "row 1 has 1 cell,"]),
        (b"text\nhello, world\n", ["data/a.csv:2", "row 1 has 2 cells", "names 1 column"]),
        (b'id,text\n1,a\n2,"never closed\n', ["data/a.csv:3", "row 2 is not valid CSV"]),
        (b'id,text\n1,"a"b\n', ["data/a.csv:2", "row 1 is not valid CSV"]),
        (b'id,"text\n1,a\n', ["data/a.csv:1", "the header is not valid CSV"]),
    ],
)
def test_csv_faults(raw: bytes, parts: list[str]) -> None:
    refused(raw, "a.csv", *parts)


# JSON


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b'{"text": "a"}\n{"text": "b",}\n', ["data/a.jsonl:2:14", "row 2 is not valid JSON"]),
        (b'{"text": "a"}\n"b"\n', ["data/a.jsonl:2", "row 2 is a JSON string, not an object"]),
        (b'[{"text": "a"}]\n', ["row 1 is a JSON array", "must end in .json"]),
        (b'{"text": "a"}\n\nnull', ["data/a.jsonl:3", "row 2 is a JSON null"]),
        (b'{"text": "a"', ["row 1 is not valid JSON", "data/a.jsonl:1:13"]),
        (b'{"text": "a\\u0000b"}\n', ["row 1, column 'text' holds a NUL character"]),
        (b'{"text": "a\\ud83d"}\n', ["row 1, column 'text' holds half of a surrogate pair (\\ud83d)"]),
        (b'{"text": "a", "g": [{"\\uD83d": 1}]}\n', ["row 1, column 'g' holds half of a surrogate pair"]),
        (b'{"n": ' + b"9" * 5000 + b"}", ["row 1 is not valid JSON", "limit"]),
        (b'{"text": ' + b"[" * 200_000 + b"\n", ["row 1 is nested too deeply"]),
        (b'{"text": ' + b"[" * 100 + b"]" * 100 + b"}\n", ["row 1 is nested too deeply (more than 100 levels)"]),
    ],
)
def test_jsonl_faults(raw: bytes, parts: list[str]) -> None:
    refused(raw, "a.jsonl", *parts)


def test_json_values_are_kept_as_they_are() -> None:
    raw = (
        '\ufeff{"text": "a\\r\\nb\u2028", "n": 3, "o": {"y": [1.5, true], "x": "é\\ud83d\\ude00"}, "none": null}\r\n'
        '\r\n \t\n{"text": "x", "id": 123456789012345678901234567890, "text": "y", "nan": NaN, "e": "\\\\u0000"}'
    ).encode()
    assert read(raw, "a.ndjson") == [
        Row(1, {"text": "a\r\nb\u2028", "n": 3, "o": {"y": [1.5, True], "x": "é😀"}, "none": None}, "data/a.ndjson:1"),
        Row(2, {"text": "y", "id": 123456789012345678901234567890, "nan": None, "e": "\\u0000"}, "data/a.ndjson:4"),
    ]


ROWS = [{"text": 'ä, "b" [{', "n": [1, {"x": None}]}, {"text": "\\", "n": []}, {"text": "", "n": {}}]


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("ascii_only", [True, False])
def test_json_arrays_bare_and_wrapped(indent: int | None, ascii_only: bool) -> None:
    expected = [Row(index, row, f"data/a.json (row {index})") for index, row in enumerate(ROWS, start=1)]
    for value in (ROWS, {"da\\ta": ROWS}):
        raw = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
        assert read(raw, "a.json") == expected
        assert read(b"\xef\xbb\xbf \n" + raw + b"\r\n", "a.json") == expected


def test_a_json_array_of_texts() -> None:
    assert columns(b'["a", "\\"b, "]', "a.json") == [{"text": "a"}, {"text": '"b, '}]


def test_json_lines_in_a_json_file() -> None:
    lines = b'{"text": "a"}\n{"text": "b"}\n'
    assert [row.place for row in read(lines, "a.json")] == ["data/a.json:1", "data/a.json:2"]
    # one key that holds an array, on each line: rows, not an object around the rows
    listed = b'{"tags": ["a"]}\n{"tags": ["b", "c"]}\n'
    assert columns(listed, "a.json") == [{"tags": ["a"]}, {"tags": ["b", "c"]}]
    # a single conversation is one row, not a table of turns
    chat = b'{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}'
    assert len(read(chat, "a.json")) == 1
    # and so is an object of several keys
    assert len(read(b'{"d": [{"a": 1}], "x": 2}', "a.json")) == 1


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b'[{"a": 1}, {"a": 2}', ["data/a.json:1:20", "the file ends after row 2", "']'"]),
        (b'[{"a": 1},\n {"a": ', ["data/a.json:2:", "row 2 is not valid JSON"]),
        (b'[{"a": 1},\n {"a": "bc', ["data/a.json:2:8", "row 2 is not valid JSON: Unterminated string"]),
        (b'[{"a": 1},\n {"a" 2}, {"a": 3}]' + b" " * 50, ["data/a.json:2:7", "row 2 is not valid JSON"]),
        (b'[{"a": 1} {"a": 2}]', ["data/a.json:1:11", "'{' follows after row 1"]),
        (b'[{"a": 1}, ]', ["row 2 is not valid JSON"]),
        (b'[{"a": 1}]\n[{"a": 2}]', ["data/a.json:2:1", "goes on after the array, which ends with row 1"]),
        (b'{"d": [{"a":\n 1}], "x": 2}', ["data/a.json:2:", "',' follows after row 1, where '}'", "leave only"]),
        (b'[{"a": 1}, "b"]', ["data/a.json (row 2)", "row 2 is a JSON string, not an object"]),
        (b'["a", {"a": 1}]', ["data/a.json (row 2)", "row 2 is a JSON object, not a string"]),
        (b'[{"a": 1}, null]', ["row 2 is a JSON null"]),
        (b"[3]", ["row 1 is a JSON number"]),
        (b"[]", ["an array without rows"]),
        (b'{"data": []}', ["an array without rows"]),
        (b"{\n}", ["row 1 is not valid JSON", "as one array"]),
        (b'[{"a": "\\u0000"}]', ["data/a.json (row 1)", "row 1, column 'a' holds a NUL"]),
        (b'["a", "\\udc00"]', ["row 2, column 'text' holds half"]),
        (b'[{"a": 1}, ' + b"[" * 100_000, ["row 2 is nested too deeply"]),
        (b'[{"a": 1}, {"n": ' + b"1" * 5000 + b"}]", ["row 2 is not valid JSON", "limit"]),
        (b'[{"a": 1},\n{"a": "\xe9"}]', ["data/a.json:2:8", "row 2 is not UTF-8: byte 0xe9 at offset 18"]),
        (b'[{"a": 1},\n{"a": "\xc3', ["data/a.json:2:8", "row 2 is not UTF-8: byte 0xc3 at offset 18"]),
        (b"[\xff", ["data/a.json:1:2", "row 1 is not UTF-8"]),
        (b'[{"a": 1},\n{"a": "\0"}]', ["data/a.json:2:8", "row 2 holds a NUL byte (offset 18)"]),
    ],
)
def test_json_faults(raw: bytes, parts: list[str]) -> None:
    refused(raw, "a.json", *parts)


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_characters="\0")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0")), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.dictionaries(st.text(st.characters(exclude_characters="\0")), values, max_size=3), min_size=1, max_size=6
    ),
    st.integers(1, 9),
    st.sampled_from([None, 2]),
    st.booleans(),
)
def test_an_array_is_read_in_pieces_as_it_is_whole(
    rows: list[dict[str, Any]], piece: int, indent: int | None, ascii_only: bool
) -> None:
    raw = json.dumps(rows, indent=indent, ensure_ascii=ascii_only).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_rows, "_PIECE", piece)
        assert columns(raw, "a.json") == rows


# Parquet


def test_parquet_types() -> None:
    day = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC)
    table = pa.table(
        {
            "text": pa.array(["a", None]),
            "turns": pa.array([[{"role": "user", "n": 1.5}, None], []]),
            "when": pa.array([day, None], pa.timestamp("us", "UTC")),
            "day": pa.array([day.date(), None]),
            "price": pa.array([Decimal("1.50"), None]),
            "old text": pa.array(["é".encode(), None], pa.binary()),
            "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
            "score": pa.array([float("nan"), 0.5]),
            "label": pa.array(["x", "y"]).dictionary_encode(),
        }
    )
    assert read(parquet(table), "a.parquet") == [
        Row(
            1,
            {
                "text": "a", "turns": [{"role": "user", "n": 1.5}, None], "when": "2024-02-29T12:30:00+00:00",
                "day": "2024-02-29", "price": "1.50", "old text": "é", "map": {"k": 1}, "score": None, "label": "x",
            },
            "data/a.parquet (row 1)",
        ),
        Row(
            2,
            {
                "text": None, "turns": [], "when": None, "day": None, "price": None, "old text": None, "map": None,
                "score": 0.5, "label": "y",
            },
            "data/a.parquet (row 2)",
        ),
    ]  # fmt: skip


def test_parquet_in_batches_and_row_groups() -> None:
    rows = [{"id": index, "text": "x" * (index % 7)} for index in range(5000)]
    for options in ({"row_group_size": 999}, {}):
        assert columns(parquet(pa.Table.from_pylist(rows), **options), "a.parquet") == rows


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        (pa.array([b"a", b"\xff"]), ["(row 2)", "row 2, column 'c'", "utf-8"]),
        (pa.array([[b"a"], [b"b"]]), ["row 1, column 'c' holds a value of the type bytes"]),
        (pa.array(["a", "b\0"]), ["row 2, column 'c' holds a NUL"]),
        (pa.array([{"x": ["b\0"]}]), ["row 1, column 'c' holds a NUL"]),
        (pa.array([], pa.string()), ["holds no rows"]),
    ],
)
def test_parquet_faults(values: pa.Array, parts: list[str]) -> None:
    refused(parquet(pa.table({"c": values})), "a.parquet", *parts)


def test_parquet_files_that_are_damaged() -> None:
    whole = parquet(pa.table({"c": ["a" * 100] * 1000}))
    refused(whole[:-9], "a.parquet", "is not a Parquet file")
    refused(b"PAR1", "a.parquet", "is not a Parquet file")
    refused(b"", "a.parquet", "is not a Parquet file")
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["c", "c"])
    refused(parquet(twice), "a.parquet", "'c' more than once")


# Packed files, and bytes that are no text


PLAIN = {
    "a.txt": b"A text.\n",
    "a.csv": b"id,text\n1,a\n",
    "a.jsonl": b'{"text": "a"}\n',
    "a.json": b'[{"text": "a"}]',
    "a.parquet": parquet(pa.table({"text": ["a"]})),
}


@pytest.mark.parametrize("name", PLAIN)
def test_gzip_with_and_without_its_ending(name: str) -> None:
    plain = read(PLAIN[name], name)
    for packed_name in (name, f"{name}.gz", f"{name}.GZ"):
        # several members, as `cat a.gz b.gz` makes, are one file
        cut = len(PLAIN[name]) // 2
        packed = gzip.compress(PLAIN[name][:cut]) + gzip.compress(PLAIN[name][cut:])
        assert [(row.index, row.columns) for row in read(packed, packed_name)] == [(r.index, r.columns) for r in plain]
    assert read(PLAIN[name], f"{name}.gz")[0].columns == plain[0].columns  # no gzip but for its name


@pytest.mark.parametrize("name", PLAIN)
def test_gzip_that_is_damaged(name: str) -> None:
    packed = gzip.compress(PLAIN[name], mtime=0)
    refused(packed[:-3], f"{name}.gz", "cannot be read", "cut short or damaged")
    refused(packed[:5], f"{name}.gz", "cannot be read")
    wrong = bytearray(packed)
    wrong[-5] ^= 0xFF
    refused(bytes(wrong), f"{name}.gz", "cannot be read", "CRC")


def test_gzip_that_is_cut_short_names_the_row_reached() -> None:
    lines = b"".join(b'{"text": "%032x"}\n' % (index * 2**100 // 7 % 2**128) for index in range(20_000))
    packed = gzip.compress(lines)
    rows = read_rows(SourceFile("a.jsonl.gz", "a.jsonl.gz", lambda: io.BytesIO(packed[: len(packed) // 2])))
    found: list[Row] = []
    with pytest.raises(InputError) as caught:
        found.extend(rows)
    assert f"beyond row {len(found)}: " in str(caught.value)
    assert len(found) > 9000


@pytest.mark.parametrize(
    ("raw", "name", "command"),
    [
        (b"x", "a.csv.bz2", "bunzip2 -k data/a.csv.bz2"),
        (b"x", "a.zip", "unzip data/a.zip"),
        (b"\xfd7zXZ\0abc", "a.csv", "unxz -k"),
        (b"\x28\xb5\x2f\xfdabc", "a.jsonl", "unzstd"),
    ],
)
def test_other_archives(raw: bytes, name: str, command: str) -> None:
    refused(raw, name, "is packed", command)


def test_files_within_an_archive_that_is_open(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.whl", "w") as archive:
        for name, raw in PLAIN.items():
            archive.writestr(name, raw)
            archive.writestr(f"{name}.gz", gzip.compress(raw))
    with zipfile.ZipFile(tmp_path / "a.whl") as archive:
        for name in archive.namelist():
            rows = list(read_rows(SourceFile(name, name, partial(archive.open, name))))  # type: ignore[arg-type]
            assert [row.columns for row in rows] == columns(PLAIN[name.removesuffix(".gz")], name.removesuffix(".gz"))


def test_a_zip_archive_by_its_bytes() -> None:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("a.csv", "text\nx\n")
    refused(sink.getvalue(), "a.csv", "unzip data/a.csv")


@pytest.mark.parametrize("name", ["a.pdf", "a.xlsx", "a.pdf.gz"])
def test_unknown_formats(name: str) -> None:
    refused(b"anything", name, "are not read: only .csv, .json,")


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.json"])
@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b"", ["is empty"]),
        (b" \r\n\t\n", ["is empty"]),
        (b"\xef\xbb\xbf\n", ["is empty"]),
        ("text\nun café\n".encode("latin-1"), [":2:7", "byte 0xe9 at offset 11", "iconv -f LATIN1"]),
        (b"\xef\xbb\xbfab\n\xe9\n", [":2:1", "byte 0xe9 at offset 6"]),
        ("text\n".encode("utf-16"), ["UTF-16", "iconv -f UTF-16"]),
        (b"text\na\0b\n", [":2:2", "NUL byte (offset 6)"]),
    ],
)
def test_bytes_that_are_no_text(raw: bytes, parts: list[str], name: str, packed: bool) -> None:
    if name.startswith("a.json") and not any(part in ("is empty", "UTF-16") for part in parts):
        raw, parts = b'{"text": "a"}\n{"text": "\xe9"}\n', [":2:11", "row 2 is not UTF-8: byte 0xe9 at offset 24"]
    refused(gzip.compress(raw) if packed else raw, f"{name}.gz" if packed else name, *parts)


def test_the_row_of_a_broken_byte() -> None:
    raw = b'id,text\n1,a\n2,"b\nc\xff"\n'
    refused(raw, "a.csv", "data/a.csv:4:2", "row 2 is not UTF-8: byte 0xff at offset 18")
    refused(b"id,te\xffxt\n1,a\n", "a.csv", "data/a.csv:1:6", "the header is not UTF-8")


def test_a_row_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (stream, json_rows):
        monkeypatch.setattr(module, "LONGEST", 1 << 16)
    monkeypatch.setattr(stream, "_BUFFER", 1 << 12)
    monkeypatch.setattr(json_rows, "_PIECE", 1 << 12)
    long = b"x" * (1 << 18)
    refused(b'{"a": "b"}\n{"a": "' + long, "a.jsonl", "row 2 is longer than")
    refused(b'[{"a": "b"},\n{"a": "' + long, "a.json", "data/a.json:2:1", "row 2 is longer than")
    refused(b"id,text\n1,a\n2,b" + long, "a.csv", "row 2 is longer than")


class _Endless(io.RawIOBase):
    """A file too large to hold, made as it is read."""

    def __init__(self, start: bytes, row: bytes, end: bytes, rows: int) -> None:
        self._pieces: Iterator[bytes] = iter([start, *[row] * rows, end])
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and (piece := next(self._pieces, None)) is not None:
            self._rest = piece
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


@pytest.mark.parametrize(
    ("name", "start", "row", "end"),
    [
        ("a.csv", b"id,text\n", b"1,%b\n", b""),
        ("a.jsonl", b"", b'{"text": "%b"}\n', b""),
        ("a.json", b'[{"text": ""}', b', {"text": "%b"}', b"]"),
        ("a.json", b'{"rows": [{"text": ""}', b', {"text": "%b"}', b"]}"),
    ],
)
def test_memory_is_bounded(name: str, start: bytes, row: bytes, end: bytes) -> None:
    row = row % (b"lorem ipsum " * 8000)  # 96 kB
    file = SourceFile(name, name, lambda: _Endless(start, row, end, 400))  # type: ignore[arg-type,return-value]
    tracemalloc.start()
    try:
        count = sum(1 for _ in read_rows(file))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count in (400, 401)
    assert peak < 12e6  # of 38 MB


def test_a_row_of_fifty_megabytes() -> None:
    text = "word, " * 8_500_000
    for name, raw in (
        ("a.jsonl", b'{"text": "%b"}\n'),
        ("a.json", b'[{"text": "a"}, {"text": "%b"}]'),
        ("a.csv", b'id,text\n1,"%b"\n'),
    ):
        assert columns(raw % text.encode(), name)[-1]["text"] == text


printable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"))
names = st.lists(printable.map(str.strip).filter(bool), min_size=2, max_size=4, unique=True)


@given(names, st.data(), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]))
def test_what_csv_writes_is_read_back(header: list[str], data: st.DataObject, quoting: Any) -> None:
    rows = data.draw(st.lists(st.tuples(*[printable] * len(header)), min_size=1, max_size=4))
    sink = io.StringIO()
    writer = csv.writer(sink, quoting=quoting)
    writer.writerows([header, *rows])
    read_back = [list(row.items()) for row in columns(sink.getvalue().encode())]
    assert read_back == [list(zip(header, row, strict=True)) for row in rows]
