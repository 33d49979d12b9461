"""Whatever bytes a file holds: rows, or one message that names the file. And what others write, is read back."""

from __future__ import annotations

import csv
import gzip
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.readers import Row, read_rows
from assay.data.sources import SourceFile

ENDINGS = (".txt", ".csv", ".tsv", ".jsonl", ".json", ".parquet")
names = st.sampled_from([f"a{ending}{packed}" for ending in ENDINGS for packed in ("", ".gz")] + ["a", "a.gz", "a.pdf"])


def read(raw: bytes, name: str) -> list[Row]:
    return list(read_rows(SourceFile(name, f"data/{name}", lambda: io.BytesIO(raw))))


def read_or_refuse(raw: bytes, name: str) -> list[Row]:
    """The rows, all of them sound; or none, when the file was refused with a message that names it and a fix."""
    rows: list[Row] = []
    refused = None
    try:
        rows = read(raw, name)
    except InputError as error:
        refused = error
    if refused is not None:
        assert f"data/{name}" in str(refused)
        assert refused.fix
        return []
    assert rows
    assert [row.index for row in rows] in ([0], list(range(1, len(rows) + 1)))
    for row in rows:
        assert row.place.startswith(f"data/{name}")
        text = json.dumps(row.columns, ensure_ascii=False)
        text.encode()
        assert "\\u0000" not in text.replace("\\\\", "")
    return rows


# Sound files of each kind, that the faults are planted in


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), max_size=12)
cells = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | texts
json_values = st.recursive(
    cells, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)
json_rows = st.lists(st.dictionaries(texts, json_values, min_size=1, max_size=4), min_size=1, max_size=5)
headers = st.lists(texts.map(str.strip).filter(bool), min_size=2, max_size=4, unique=True)


@st.composite
def text_tables(draw: st.DrawFn) -> list[dict[str, str]]:
    header = draw(headers)
    rows = draw(st.lists(st.tuples(*[texts] * len(header)), min_size=1, max_size=5))
    return [dict(zip(header, row, strict=True)) for row in rows]


@st.composite
def typed_tables(draw: st.DrawFn) -> pa.Table:
    count = draw(st.integers(1, 6))
    columns: dict[str, pa.Array] = {}
    for name in draw(headers):
        kind, type_ = draw(
            st.sampled_from(
                [
                    (texts, pa.string()),
                    (st.integers(-(2**63), 2**63 - 1), pa.int64()),
                    (st.floats(allow_nan=False), pa.float64()),
                    (st.booleans(), pa.bool_()),
                    (st.lists(st.none() | texts, max_size=3), pa.list_(pa.string())),
                    (
                        st.lists(st.fixed_dictionaries({"role": texts, "n": st.none() | st.just(1)}), max_size=3),
                        pa.list_(pa.struct([("role", pa.string()), ("n", pa.int32())])),
                    ),
                ]
            )
        )
        columns[name] = pa.array(draw(st.lists(st.none() | kind, min_size=count, max_size=count)), type_)
    return pa.table(columns)


def as_csv(rows: list[dict[str, str]], delimiter: str = ",", quoting: Any = csv.QUOTE_ALL) -> bytes:
    sink = io.StringIO()
    writer = csv.writer(sink, delimiter=delimiter, quoting=quoting)
    writer.writerows([list(rows[0]), *(list(row.values()) for row in rows)])
    return sink.getvalue().encode()


def as_jsonl(rows: list[dict[str, Any]], ascii_only: bool = False) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=ascii_only) + "\n" for row in rows).encode()


def as_parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


@st.composite
def sound_files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A name and the bytes of a file that is read without a fault."""
    ending = draw(st.sampled_from(ENDINGS))
    if ending in (".csv", ".tsv"):
        raw = as_csv(draw(text_tables()), "\t" if ending == ".tsv" else ",")
    elif ending == ".parquet":
        raw = as_parquet(draw(typed_tables()), compression=draw(st.sampled_from(["none", "snappy", "zstd"])))
    elif ending == ".txt":
        raw = draw(texts.filter(str.strip)).encode()
    else:
        rows = draw(json_rows)
        raw = as_jsonl(rows) if ending == ".jsonl" else json.dumps(rows, ensure_ascii=False).encode()
    if draw(st.booleans()):
        return f"a{ending}.gz", gzip.compress(raw, mtime=0)
    return f"a{ending}", raw


# Malformed files


@given(names, st.binary(max_size=200))
def test_random_bytes(name: str, raw: bytes) -> None:
    read_or_refuse(raw, name)


SYNTAX = ['"text"', "null", "1", "-1e9", "NaN", "\ufeff", "é", "a\0", "\\ud83d", "\\u0000", *'{}[]",:;|\\\n\t ']


@given(names, st.lists(st.sampled_from(SYNTAX), max_size=30))
def test_random_syntax(name: str, pieces: list[str]) -> None:
    read_or_refuse("".join(pieces).encode(), name)


@given(sound_files())
def test_sound_files_are_read(file: tuple[str, bytes]) -> None:
    name, raw = file
    assert read_or_refuse(raw, name)


@given(sound_files(), st.data())
def test_files_cut_short(file: tuple[str, bytes], data: st.DataObject) -> None:
    name, raw = file
    rows = read_or_refuse(raw[: data.draw(st.integers(0, len(raw) - 1))], name)
    if name.endswith((".gz", ".parquet", ".json")):
        assert rows == []  # each of these says where it ends


BROKEN = (
    b"\xff",
    b"\xc3",
    b"\xed\xa0\x80",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b'"',
    b"\n",
    b"\r",
    b",",
    b"\\u0000",
    b"[",
)


@given(sound_files(), st.data())
def test_bytes_put_in(file: tuple[str, bytes], data: st.DataObject) -> None:
    name, raw = file
    at = data.draw(st.integers(0, len(raw)))
    bad = data.draw(st.sampled_from(BROKEN))
    rows = read_or_refuse(raw[:at] + bad + raw[at:], name)
    if bad in BROKEN[:4] and name in ("a.txt", "a.csv", "a.tsv", "a.jsonl", "a.json"):
        try:
            (raw[:at] + bad + raw[at:]).decode()
            whole = bad != b"\0"
        except UnicodeDecodeError:
            whole = False
        assert whole or rows == []  # never read around


@given(sound_files(), st.data())
def test_bytes_changed(file: tuple[str, bytes], data: st.DataObject) -> None:
    name, raw = file
    changed = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    read_or_refuse(bytes(changed), name)


@given(text_tables(), st.data())
def test_ragged_csv(rows: list[dict[str, str]], data: st.DataObject) -> None:
    width = data.draw(st.integers(1, 6).filter(lambda count: count != len(rows[0])))
    ragged = ",".join(f'"x{number}"' for number in range(width))
    with pytest.raises(InputError, match=rf"row {len(rows) + 1} has {width} cell"):
        read(as_csv(rows) + ragged.encode() + b"\n", "a.csv")


@given(json_rows, st.sampled_from([None, 1, 1.5, "text", True, [], [{}]]), st.data())
def test_mixed_types_of_rows(rows: list[Any], other: Any, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(rows)))
    mixed = [*rows[:at], other, *rows[at:]]
    wrong = f"row {2 if at == 0 and isinstance(other, str) else at + 1} is a JSON"
    with pytest.raises(InputError, match=wrong):
        read(json.dumps(mixed).encode(), "a.json")
    with pytest.raises(InputError, match=f"row {at + 1} is a JSON"):
        read(as_jsonl(mixed), "a.jsonl")


# What others write


def read_back(raw: bytes, name: str, packed: bool) -> list[dict[str, Any]]:
    rows = read(gzip.compress(raw) if packed else raw, f"{name}.gz" if packed else name)
    assert [row.index for row in rows] == list(range(1, len(rows) + 1))
    return [row.columns for row in rows]


@given(text_tables(), st.sampled_from(",;\t|"), st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]), st.booleans())
def test_csv_is_read_back(rows: list[dict[str, str]], delimiter: str, quoting: Any, packed: bool) -> None:
    assert read_back(as_csv(rows, delimiter, quoting), "a.csv", packed) == rows


@given(json_rows, st.booleans(), st.booleans())
def test_json_lines_are_read_back(rows: list[dict[str, Any]], ascii_only: bool, packed: bool) -> None:
    raw = as_jsonl(rows, ascii_only)
    assert read_back(raw, "a.jsonl", packed) == rows
    if len(rows) > 1:
        assert read_back(raw, "a.json", packed) == rows


@given(json_rows, st.sampled_from([None, 0, 2]), st.booleans())
def test_json_arrays_are_read_back(rows: list[dict[str, Any]], indent: int | None, packed: bool) -> None:
    assert read_back(json.dumps(rows, indent=indent).encode(), "a.json", packed) == rows


@given(typed_tables(), st.integers(1, 6), st.booleans())
def test_parquet_is_read_back(table: pa.Table, group: int, packed: bool) -> None:
    assert read_back(as_parquet(table, row_group_size=group), "a.parquet", packed) == table.to_pylist()
