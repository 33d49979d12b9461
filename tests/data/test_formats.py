"""Every way in which a person's file can be wrong is named, with its place and a fix."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.formats import parse, strip_frame


def rows(raw: bytes, name: str = "a.csv", field: str = "text") -> list[str]:
    return [doc.text for doc in parse(raw, name, name, field)]


def refused(raw: bytes, name: str, *parts: str, field: str = "text") -> None:
    with pytest.raises(InputError) as caught:
        parse(raw, name, f"data/{name}", field)
    message = str(caught.value)
    assert caught.value.exit_code == 2
    assert "fix: " in message
    for part in parts:
        assert part in message


def test_text_keeps_everything_but_mark_and_newlines() -> None:
    (doc,) = parse(b"\xef\xbb\xbfOne\r\n two \r\n\r\nthr\xc3\xa9e\rfour", "a.txt", "a.txt", "text")
    assert doc.text == "One\n two \n\nthrée\nfour"
    assert (doc.kind, doc.index, doc.columns, doc.name) == ("file", 0, {}, "a.txt")


def test_gutenberg_frame_is_stripped() -> None:
    body = "CHAPTER I\n\nIt began.\n"
    framed = (
        "The Project Gutenberg eBook of X\n\n*** START OF THE PROJECT GUTENBERG EBOOK X;\nOR, Y ***\n"
        f"{body}*** END OF THE PROJECT GUTENBERG EBOOK X ***\nLicence\n"
    )
    assert strip_frame(framed) == body
    assert parse(framed.encode(), "a.txt", "a.txt", "text")[0].text == body
    assert strip_frame(body) == body
    refused(b"*** START OF THE PROJECT GUTENBERG EBOOK X ***\n\n", "a.txt", "is empty between")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_separators_are_found(delimiter: str) -> None:
    raw = f'id{delimiter}text{delimiter}note\n1{delimiter}"a, b; c|d"{delimiter}x\n'.encode()
    (doc,) = parse(raw, "a.csv", "a.csv", "text")
    assert doc.text == "a, b; c|d"
    assert doc.columns == {"id": "1", "note": "x"}


def test_csv_as_spreadsheets_write_it() -> None:
    raw = b'\xef\xbb\xbfid;text\r\n1;"first line\r\nsecond ""quoted"" line"\r\n\r\n2;plain\r\n'
    assert rows(raw) == ['first line\nsecond "quoted" line', "plain"]
    assert [doc.index for doc in parse(raw, "a.csv", "a.csv", "text")] == [1, 2]


def test_csv_with_one_column_and_with_a_huge_cell() -> None:
    assert rows(b"text\none\ntwo\n") == ["one", "two"]
    huge = "x" * 1_000_000
    assert rows(f"text\n{huge}\n".encode()) == [huge]


def test_unnamed_index_column_is_no_fault() -> None:
    assert rows(b",text,\n0,one,\n1,two,\n") == ["one", "two"]


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b"id,story\n1,x\n", ["data/a.csv:1", "no column 'text'", "'id', 'story'", "--set data.fields.text=id"]),
        (b"id,a text\n1,x\n", ["--set data.fields.text=a text"]),
        (b"id,text\n", ["has a header and no rows"]),
        (b"text,id,text\na,1,b\n", ["data/a.csv:1", "'text' more than once"]),
        (b'id,text\n1,a\n2,"b\nc",d\n', ["data/a.csv:3", "row 2 has 3 cells", "names 2 columns", "double quotes"]),
        (b"text\nhello, world\n", ["data/a.csv:2", "row 1 has 2 cells", "names 1 column"]),
        (b'id,text\n1,a\n2,"never closed\n', ["data/a.csv:3", "row 2 is not valid CSV"]),
        (b'id,text\n1,"a"b\n', ["data/a.csv:2", "row 1 is not valid CSV"]),
    ],
)
def test_csv_faults(raw: bytes, parts: list[str]) -> None:
    refused(raw, "a.csv", *parts)


@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b'{"text": "a"}\n{"text": "b",}\n', ["data/a.jsonl:2:", "row 2 is not valid JSON"]),
        (b'{"text": "a"}\n"b"\n', ["data/a.jsonl:2", "row 2 is a JSON string, not an object"]),
        (b'[{"text": "a"}]\n', ["row 1 is a JSON array"]),
        (b'{"text": "a"}\n\n{"body": "b"}\n', ["data/a.jsonl:3", "row 2", "no column 'text'", "'body'"]),
        (b'{"text": "a"}\n{"text": 17}\n', ["data/a.jsonl:2", "row 2", "'text' is a JSON number", "17"]),
        (b'{"text": ["a"]}\n', ["row 1", "JSON array"]),
        (b'{"text": true}\n', ["row 1", "JSON boolean"]),
        (b'{"text": "a\\u0000b"}\n', ["row 1 holds a NUL character"]),
        (b'{"text": "a\\ud83d"}\n', ["row 1 holds half of a surrogate pair"]),
        (b'{"text": "a", "g": "\\ud83d"}\n', ["row 1 holds half of a surrogate pair"]),
        (b'{"text": ' + b"[" * 200_000 + b"\n", ["row 1"]),
    ],
)
def test_jsonl_faults(raw: bytes, parts: list[str]) -> None:
    refused(raw, "a.jsonl", *parts)


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl"])
@pytest.mark.parametrize(
    ("raw", "parts"),
    [
        (b"", ["is empty"]),
        (b" \r\n\t\n", ["is empty"]),
        (b"\xef\xbb\xbf\n", ["is empty"]),
        ("text\nun café\n".encode("latin-1"), [":2", "byte 0xe9 at offset 11", "iconv -f LATIN1"]),
        (b"\xef\xbb\xbfab\n\xe9\n", [":2", "byte 0xe9 at offset 6"]),
        ("text\n".encode("utf-16"), ["UTF-16", "iconv -f UTF-16"]),
        (b"text\na\0b\n", [":2", "NUL byte (offset 6)"]),
        (b"\x1f\x8b\x08\0\0", ["compressed files are not read", "gunzip"]),
    ],
)
def test_bytes_that_are_no_text(raw: bytes, parts: list[str], name: str) -> None:
    refused(raw, name, f"data/{name}", *parts)


@pytest.mark.parametrize(("name", "part"), [("a.txt.gz", "compressed"), ("a.pdf", "'.pdf'"), ("a.json", "'.json'")])
def test_unknown_formats(name: str, part: str) -> None:
    refused(b"anything", name, part)


def test_jsonl_columns_become_text() -> None:
    raw = '{"text": "a\\r\\nb", "n": 3, "o": {"y": 1, "x": "é"}, "none": null, "s": "t"}\r\n{"text": null}\n'.encode()
    first, second = parse(raw, "a.jsonl", "a.jsonl", "text")
    assert first.columns == {"n": "3", "o": '{"x": "é", "y": 1}', "none": "", "s": "t"}
    assert (first.text, second.text) == ("a\nb", "")


printable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r"), min_size=1)


@given(st.lists(printable.filter(str.strip), min_size=1, max_size=5))
def test_any_text_survives_jsonl_and_csv(texts: list[str]) -> None:
    as_json = "".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    assert rows(as_json.encode(), "a.jsonl") == texts
    as_csv = "".join('{},"{}"\n'.format("x", text.replace('"', '""')) for text in texts)
    assert rows(("id,text\n" + as_csv).encode()) == texts
