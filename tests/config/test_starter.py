"""`assay new FILE`: what it writes loads, and fits the file."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.config.load import Loaded, load_text
from assay.config.starter import starter
from assay.core.errors import InputError

STORY = "The quick brown fox jumps over the lazy dog and goes home to sleep until morning. "


def made(file: Path, target: Path | None = None) -> tuple[str, Loaded]:
    target = target or file.parent / "experiment.yaml"
    text = starter(file, target)
    return text, load_text(text, target)


def table(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def test_a_text_file(tmp_path: Path) -> None:
    file = tmp_path / "My Novel (2nd).txt"
    file.write_text("\n\n".join(f"Part {n}. {STORY * 40}" for n in range(60)), encoding="utf-8")
    text, loaded = made(file)
    assert loaded.experiment.name == "My-Novel-2nd"
    assert loaded.experiment.data.source == str(file)
    assert loaded.experiment.data.group is None
    assert len(loaded.experiment.evaluate.prompts) == 2
    assert loaded.experiment.evaluate.prompts[0].startswith("Part 20. The quick")
    assert loaded.experiment.train.steps == 16
    assert text.startswith("# ")
    assert "heading" in text


def test_a_short_text_takes_fewer_steps(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_text(STORY * 20)
    _, loaded = made(file)
    assert loaded.experiment.train.steps == 4
    assert len(loaded.experiment.evaluate.prompts) == 1


def test_the_source_counts_from_the_experiments_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "a.txt"
    file.write_text(STORY)
    text, loaded = made(file, tmp_path / "experiments" / "e.yaml")
    assert 'source: "../data/a.txt"' in text
    assert loaded.experiment.data.source == str(file)


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_a_table_without_a_text_column(tmp_path: Path, delimiter: str) -> None:
    rows = [delimiter.join([str(n), f"writer {n % 40}", f'"{STORY}He said ""no""{delimiter} {n}"']) for n in range(300)]
    file = table(tmp_path / "my.csv", delimiter.join(["id", "author", "story"]), rows)
    text, loaded = made(file)
    assert loaded.experiment.data.fields.text == "story"
    assert (
        '# group: "author"   # a column: one group for each value (40 different values in the first 300 rows)' in text
    )
    assert loaded.experiment.data.group is None


def test_a_column_named_text_is_taken(tmp_path: Path) -> None:
    file = table(tmp_path / "my.csv", "text,notes", [f"a joke {n},{STORY}" for n in range(20)])
    text, loaded = made(file)
    assert loaded.experiment.data.fields.text == "text"
    assert "fields" not in text


def test_json_lines(tmp_path: Path) -> None:
    file = tmp_path / "q.jsonl"
    rows = [{"n": n, "body: all": STORY + "\U0001f600 \u2028", "half": "\ud83d"} for n in range(5)]
    file.write_text("\n\n".join(json.dumps(row) for row in rows))
    _, loaded = made(file)
    assert loaded.experiment.data.fields.text == "body: all"


@pytest.mark.parametrize("name", ["a:b.txt", "~x.txt", "[a]*.txt", 'q"uote.txt', "gutenberg:84.txt", "#.txt", "ü.txt"])
def test_odd_file_names(tmp_path: Path, name: str) -> None:
    file = tmp_path / name
    file.write_text(STORY)
    _, loaded = made(file)
    assert loaded.experiment.data.source == str(file)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30, deadline=None)
@given(content=st.text(min_size=1).filter(lambda text: text.strip()))
def test_any_text_gives_an_experiment_that_loads(tmp_path: Path, content: str) -> None:
    file = tmp_path / "any.txt"
    file.write_bytes(content.encode("utf-8", "replace"))
    if file.read_bytes().decode("utf-8-sig").strip():
        assert made(file)[1].experiment.evaluate.prompts


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.pdf", b"x", "no kind of text known here"),
        ("a", b"x", "no kind of text known here"),
        ("a.txt", b"", "the file is empty"),
        ("a.txt", b" \n\n \n", "white space only"),
        ("a.txt", b"caf\xe9", "not UTF-8"),
        ("a.csv", b"a,b\n", "no rows"),
        ("a.csv", b"a,b\n1,2\n", "its columns are a, b"),
        ("a.jsonl", b'{"a": "some words"}\n{', "this line is no JSON"),
        ("a.jsonl", b"[1]\n", "no JSON object"),
        ("a.jsonl", b'{"a": 1}\n', "no column holds text"),
    ],
)
def test_files_it_refuses(tmp_path: Path, name: str, content: bytes, what: str) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(InputError, match=what) as caught:
        starter(file, tmp_path / "e.yaml")
    assert caught.value.fix
    assert str(caught.value.where).startswith(str(file))


def test_missing_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "novel.txt").write_text(STORY)
    with pytest.raises(InputError, match="there is no file") as caught:
        starter(tmp_path / "nobel.txt", tmp_path / "e.yaml")
    assert caught.value.fix == f"did you mean {tmp_path / 'novel.txt'}?"
    with pytest.raises(InputError, match="folder"):
        starter(tmp_path, tmp_path / "e.yaml")


def test_the_target_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(STORY)
    _, loaded = made(Path("a.txt"), Path("e.yaml"))
    assert loaded.experiment.data.source == os.path.join(os.getcwd(), "a.txt")
