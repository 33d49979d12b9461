"""`assay new FILE`: what it writes loads, fits the file, and is prepared as it stands."""

from __future__ import annotations

import csv
import gzip
import json
import os
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from assay.config.load import Loaded, load_text
from assay.core.console import Console
from assay.core.errors import InputError
from assay.core.files import read_json
from assay.core.rundir import RunDir
from assay.data.items import read_items
from assay.stages.prepare import prepare
from assay.starter import starter, stem

STORY = "The quick brown fox jumps over the lazy dog and goes home to sleep until morning. "
Row = dict[str, Any]


def made(file: Path, target: Path | None = None) -> tuple[str, Loaded]:
    target = target or file.parent / "experiment.yaml"
    text = starter(file, target)
    return text, load_text(text, target)


def table(path: Path, header: str, rows: list[str]) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def lines(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def prepared(loaded: Loaded, folder: Path) -> RunDir:
    run = RunDir(folder / "run")
    run.path.mkdir()
    prepare(loaded.experiment.data, run, folder / "cache", Console(quiet=True))
    return run


def prose(rng: random.Random, words: int = 30) -> str:
    return " ".join(f"{rng.choice('bdfgklmnprst')}{rng.choice('aeiou')}{rng.randrange(5000)}" for _ in range(words))


# --- texts ---


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
    assert loaded.experiment.train.max_length == 256
    assert text.startswith("# ")
    assert "heading" in text
    assert "format: text   # a text file is taken whole" in text


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


@pytest.mark.parametrize("name", ["a:b.txt", "~x.txt", "[a]*.txt", 'q"uote.txt', "gutenberg:84.txt", "#.txt", "ü.txt"])
def test_odd_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(STORY)
    _, loaded = made(Path(name), Path("experiment.yaml"))
    assert loaded.experiment.data.source == str(tmp_path / name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(content=st.text(st.characters(exclude_characters="\0"), min_size=1).filter(lambda text: text.strip()))
def test_any_text_gives_an_experiment_that_loads(tmp_path: Path, content: str) -> None:
    file = tmp_path / "any.txt"
    file.write_bytes(content.encode("utf-8", "replace"))
    if file.read_bytes().decode("utf-8-sig").strip():
        assert made(file)[1].experiment.evaluate.prompts


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(
    names=st.lists(
        st.text(st.characters(exclude_characters="\0"), min_size=1), min_size=1, max_size=4, unique=True
    ).filter(lambda names: any(name.strip() for name in names))
)
def test_any_columns_give_an_experiment_that_loads(tmp_path: Path, names: list[str]) -> None:
    names = [name.encode("utf-8", "replace").decode() for name in names]
    _, loaded = made(lines(tmp_path / "any.jsonl", [dict.fromkeys(names, f"{STORY} {n}") for n in range(3)]))
    assert loaded.experiment.data.fields.text in (None, *names)


# --- every kind of file, every format ---


def write(path: Path, rows: list[Row]) -> Path:
    """Rows as the ending of the path says; a text file has one paragraph for each row."""
    plain = path.with_suffix("") if path.suffix == ".gz" else path
    match plain.suffix:
        case ".txt" | ".md":
            plain.write_text("\n\n".join(row["text"] for row in rows), encoding="utf-8")
        case ".csv" | ".tsv":
            with plain.open("w", encoding="utf-8", newline="") as stream:
                writer = csv.DictWriter(stream, list(rows[0]), delimiter="\t" if plain.suffix == ".tsv" else ",")
                writer.writeheader()
                writer.writerows(rows)
        case ".jsonl":
            lines(plain, rows)
        case ".json":
            plain.write_text(json.dumps(rows, indent=1), encoding="utf-8")
        case ".parquet":
            pq.write_table(pa.Table.from_pylist(rows), plain)
    if plain != path:
        path.write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    return path


ENDINGS = [".txt", ".md", ".csv", ".tsv", ".jsonl", ".json", ".parquet"]


@pytest.mark.parametrize("ending", [*ENDINGS, *(f"{ending}.gz" for ending in ENDINGS)])
def test_each_kind_of_file_is_prepared_as_written(tmp_path: Path, ending: str) -> None:
    rng = random.Random(1)
    rows = [{"id": n, "text": prose(rng)} for n in range(60)]
    text, loaded = made(write(tmp_path / f"my rows{ending}", rows))
    assert loaded.experiment.name == "my-rows"
    assert "fields" not in text
    run = prepared(loaded, tmp_path)
    manifest = read_json(run.manifest)
    assert manifest["format"]["name"] == "text"
    assert manifest["rows"]["dropped"] == {}
    kept = sum(part["items"] for part in manifest["splits"].values())
    assert kept == (40 if ending.startswith((".txt", ".md")) else 60)


def asked(n: int, rng: random.Random) -> str:
    return f"Question {n}: {prose(rng, 8)}"


def pair(n: int, rng: random.Random) -> Row:
    return {"question": asked(n, rng), "answer": prose(rng)}


def own_pair(n: int, rng: random.Random) -> Row:
    return {"prompt": asked(n, rng), "completion": prose(rng)}


def alpaca(n: int, rng: random.Random) -> Row:
    return {"instruction": asked(n, rng), "input": prose(rng, 4) if n % 2 else "", "output": prose(rng)}


def sharegpt(n: int, rng: random.Random) -> Row:
    said = [
        ("system", "Be brief."),
        ("human", asked(n, rng)),
        ("gpt", prose(rng)),
        ("human", "And?"),
        ("gpt", prose(rng)),
    ]
    return {"conversations": [{"from": who, "value": what} for who, what in said]}


def messages(n: int, rng: random.Random) -> Row:
    return {"messages": [{"role": "user", "content": asked(n, rng)}, {"role": "assistant", "content": prose(rng)}]}


def dialogue(n: int, rng: random.Random) -> Row:
    return {"dialogue": messages(n, rng)["messages"]}


@pytest.mark.parametrize(
    ("row", "format", "fields"),
    [
        (pair, "prompt-completion", {"prompt": "question", "completion": "answer"}),
        (own_pair, "prompt-completion", {}),
        (alpaca, "alpaca", {}),
        (sharegpt, "sharegpt", {}),
        (messages, "messages", {}),
        (dialogue, "messages", {"messages": "dialogue"}),
    ],
)
@pytest.mark.parametrize("ending", [".json.gz", ".parquet"])
def test_each_format_is_prepared_as_written(
    tmp_path: Path, row: Any, format: str, fields: dict[str, str], ending: str
) -> None:
    rng = random.Random(2)
    rows = [row(n, rng) for n in range(45)]
    text, loaded = made(write(tmp_path / f"rows{ending}", rows))
    data, evaluate = loaded.experiment.data, loaded.experiment.evaluate
    assert data.format == format
    assert data.fields.model_dump(exclude_none=True) == fields
    manifest = read_json((run := prepared(loaded, tmp_path)).manifest)
    assert manifest["rows"]["dropped"] == manifest["items"]["dropped"] == {}
    assert sum(part["items"] for part in manifest["splits"].values()) == 45
    said = {turn.text for turn in read_items(run.split("train"))[0].turns}
    assert any(said <= {str(part) for part in flat(own)} | {joined(own)} for own in rows)
    first = [joined(own) if format == "alpaca" else next(q for q in flat(own) if q.startswith("Q")) for own in rows]
    assert evaluate.prompts == [first[15], first[30]]
    assert ("# template: " in text) == (format == "prompt-completion")


def flat(value: Any) -> list[str]:
    if isinstance(value, dict | list):
        inner = value.values() if isinstance(value, dict) else value
        return [text for part in inner for text in flat(part)]
    return [value]


def joined(row: Row) -> str:
    """What an alpaca row asks."""
    return "\n\n".join(filter(None, (row.get("instruction"), row.get("input"))))


def test_the_reason_for_the_format_stands_in_the_file(tmp_path: Path) -> None:
    text, _ = made(lines(tmp_path / "c.jsonl", [sharegpt(n, random.Random(n)) for n in range(5)]))
    assert "format: sharegpt   # the column 'conversations' holds a list of {from, value}" in text


def test_a_pair_may_be_joined_by_the_template_in_the_comment(tmp_path: Path) -> None:
    text, _ = made(lines(tmp_path / "p.jsonl", [pair(n, random.Random(n)) for n in range(40)]))
    rest = [line for line in text.splitlines() if not line.startswith(("  format:", "  fields:"))]
    loaded = load_text("\n".join(rest).replace("# template:", "template:"), tmp_path / "e.yaml")
    assert loaded.experiment.data.template == "{question}\n{answer}"
    assert read_json(prepared(loaded, tmp_path).manifest)["format"]["name"] == "template"


# --- columns ---


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
    assert loaded.experiment.data.fields.text is None
    assert "fields" not in text
    assert loaded.experiment.evaluate.prompts[0].startswith("a joke")


def test_json_lines(tmp_path: Path) -> None:
    rows = [{"n": n, "body: all": f"{STORY}\U0001f600 \u2028 {n}"} for n in range(5)]
    _, loaded = made(lines(tmp_path / "q.jsonl", rows))
    assert loaded.experiment.data.fields.text == "body: all"


def test_where_no_format_fits_the_longest_texts_are_taken(tmp_path: Path) -> None:
    rng = random.Random(3)
    rows = [{"title": prose(rng, 3), "plot": prose(rng), "year": 1990} for _ in range(40)]
    text, loaded = made(lines(tmp_path / "films.jsonl", rows))
    assert loaded.experiment.data.format == "text"
    assert loaded.experiment.data.fields.text == "plot"
    said = " ".join(line.strip(" #") for line in text.splitlines())
    assert "no format fits; the columns are 'title', 'plot', 'year'. Here the column with the longest texts is" in said
    assert "data.fields.prompt and data.fields.completion for pairs" in said
    assert read_json(prepared(loaded, tmp_path).manifest)["rows"]["kept"] == 40


def test_the_proposed_group_and_stratum_are_prepared_when_their_comments_are_opened(tmp_path: Path) -> None:
    rng = random.Random(4)
    rows = [
        {"text": prose(rng), "title": f"tale {n % 30}", "kind": ("old", "new")[n % 2], "note": "" if n % 9 else "yes",
         "label": n % 2}
        for n in range(240)
    ]  # fmt: skip
    text, _ = made(lines(tmp_path / "t.jsonl", rows))
    assert [part for part in ("note", "label") if f'"{part}"' in text] == []
    split = "split: {dev: 0.1, test: 0.2, seed: 0"
    opened = text.replace('# group: "title"', 'group: "title"')
    opened = opened.replace(f"  {split}}}", "", 1).replace(f'# {split}, stratify: "kind"', f'{split}, stratify: "kind"')
    loaded = load_text(opened, tmp_path / "e.yaml")
    assert (loaded.experiment.data.group, loaded.experiment.data.split.stratify) == ("title", "kind")
    manifest = read_json(prepared(loaded, tmp_path).manifest)
    assert [manifest["splits"][name]["groups"] for name in ("train", "dev", "test")] == [21, 3, 6]


def test_a_large_table_is_split_by_numbers(tmp_path: Path) -> None:
    rng = random.Random(5)
    rows = [{"text": prose(rng, 12), "title": f"tale {n % 500}"} for n in range(2001)]
    text, loaded = made(lines(tmp_path / "large.jsonl", rows))
    assert (loaded.experiment.data.split.dev, loaded.experiment.data.split.test) == (100, 200)
    assert "# With such a column, give the split in shares: {dev: 0.1, test: 0.2, seed: 0}" in text
    counts = read_json(prepared(loaded, tmp_path).manifest)["splits"]
    assert [counts[name]["groups"] for name in ("train", "dev", "test")] == [1701, 100, 200]
    # Repeated rows are dropped: what counts is how many are different.
    _, loaded = made(lines(tmp_path / "repeats.jsonl", rows[:200] * 20))
    assert loaded.experiment.data.split.test == 0.2


@pytest.mark.parametrize(
    ("words", "length"), [(10, 128), (100, 256), (200, 512), (400, 1024), (2000, 1024)]
)  # of 7 bytes, at 4 bytes per token
def test_the_longest_sequence_fits_most_rows(tmp_path: Path, words: int, length: int) -> None:
    rows = [{"text": f"{n} " + "letters" * words} for n in range(95)] + [{"text": "a " * 9000}] * 5
    _, loaded = made(lines(tmp_path / "a.jsonl", [{"text": "x y"}] * 5 + rows))
    assert loaded.experiment.train.max_length == loaded.experiment.evaluate.window == length


def test_long_prompts_are_passed_over_or_cut(tmp_path: Path) -> None:
    rows = [{"prompt": "why " * (400 if n % 2 else 3), "completion": f"{STORY}{n}"} for n in range(30)]
    assert made(lines(tmp_path / "a.jsonl", rows))[1].experiment.evaluate.prompts == ["why why why "]
    (prompt,) = made(lines(tmp_path / "a.jsonl", rows[1::2]))[1].experiment.evaluate.prompts
    assert len(prompt) == 300


# --- what it refuses ---


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.pdf", b"x", "files ending in '.pdf' are not read"),
        ("a.zip", b"x", "is packed"),
        ("a.txt", b"", "is empty"),
        ("a.txt", b" \n\n \n", "is empty"),
        ("a.txt", b"caf\xe9", "not UTF-8"),
        ("a.csv", b"a,b\n", "no rows"),
        ("a.csv", b"a,b\n1,2\n", "no column holds text; the columns are 'a', 'b'"),
        ("a.csv", b"text,b\n,2\n ,3\n", "nothing can be learned from its first 2 rows: 2 x empty"),
        ("a.jsonl", b'{"a": "some words"}\n{', "is not valid JSON"),
        ("a.jsonl", b'{"a": "some words \\ud83d"}\n', "half of a surrogate pair"),
        ("a.jsonl", b"[1]\n", "not an object"),
        ("a.jsonl", b'{"a": 1}\n', "no column holds text"),
        ("a.jsonl", b'{"messages": [{"role": "assistant", "content": "Hi"}]}\n', "1 x assistant-first"),
        ("a.parquet", b"PAR1", "not a Parquet file"),
        ("a.csv.gz", b"a,b\n1,2\n", "no column holds text"),  # not packed, whatever its name says
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
    with pytest.raises(InputError, match="there is no such file") as caught:
        starter(tmp_path / "nobel.txt", tmp_path / "e.yaml")
    assert caught.value.fix == f"did you mean {tmp_path / 'novel.txt'}?"
    with pytest.raises(InputError, match="folder"):
        starter(tmp_path, tmp_path / "e.yaml")
    with pytest.raises(InputError, match="no file matches"):  # a pattern is no file
        starter(tmp_path / "*.txt", tmp_path / "e.yaml")


def test_the_target_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a.txt").write_text(STORY)
    _, loaded = made(Path("a.txt"), Path("e.yaml"))
    assert loaded.experiment.data.source == os.path.join(os.getcwd(), "a.txt")


@pytest.mark.parametrize(
    ("name", "expected"), [("a.txt", "a"), ("a.b.jsonl.gz", "a.b"), ("A.CSV.GZ", "A"), ("notes", "notes")]
)
def test_the_stem_has_no_ending(name: str, expected: str) -> None:
    assert stem(Path("folder") / name) == expected
