from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config.data import DataConfig
from assay.core.console import Console
from assay.core.errors import GuardError, InputError
from assay.core.files import sha256_text
from assay.core.rundir import RunDir
from assay.data.items import read_items
from assay.data.manifest import read_manifest
from assay.stages.prepare import prepare

VOCABULARY = [f"w{n}" for n in range(5000)]


def prose(rng: random.Random, count: int = 60) -> str:
    return " ".join(rng.choices(VOCABULARY, k=count))


def table(path: Path, rows: list[tuple[str, str]]) -> Path:
    path.write_text("".join(json.dumps({"group": g, "text": t}) + "\n" for g, t in rows), encoding="utf-8")
    return path


def healthy(groups: int = 40, each: int = 5) -> list[tuple[str, str]]:
    rng = random.Random(0)
    return [(f"g{n}", prose(rng)) for n in range(groups) for _ in range(each)]


def do(source: Path, run: Path, *, console: Console | None = None, **changes: Any) -> RunDir:
    """Prepare `source` with these keys of `data`, those of `data.split` given as `split`."""
    run.mkdir(exist_ok=True)
    data = DataConfig.model_validate({"source": str(source), "group": "group"} | changes)
    prepare(data, RunDir(run), run / "cache", console or Console(quiet=True))
    return RunDir(run)


def records(run: RunDir) -> dict[str, Any]:
    return {entry.guard: entry for entry in run.guards.records()}


def manifest(run: RunDir) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run.manifest.read_text(encoding="utf-8"))
    return found


def rows_of(run: RunDir) -> dict[str, list[dict[str, Any]]]:
    return read_manifest(run.manifest_rows)


def test_what_is_written(tmp_path: Path) -> None:
    source = table(tmp_path / "a.jsonl", [*healthy(), ("g1", " "), ("g2", "")])
    run = do(source, tmp_path / "run")
    found = manifest(run)
    assert found["schema"] == 2
    assert found["format"]["name"] == "text"
    assert found["group_rule"] == {"rule": "group", "reason": "named in the experiment"}
    assert {key: found["rows"][key] for key in ("in", "kept", "dropped")} == {
        "in": 202, "kept": 200, "dropped": {"empty": 2},
    }  # fmt: skip
    assert [example["where"] for example in found["rows"]["examples"]["empty"]] == ["a.jsonl:201", "a.jsonl:202"]
    assert {key: found["items"][key] for key in ("in", "kept", "dropped")} == {"in": 200, "kept": 200, "dropped": {}}
    assert found["source"]["files"][0]["name"] == "a.jsonl"
    assert str(tmp_path) not in run.manifest.read_text(encoding="utf-8")
    assert found["leaks"] == {"share": 0.0, "count": 0, "dropped_ids": []}
    rows = rows_of(run)
    groups = {name: {entry["group"] for entry in entries} for name, entries in rows.items()}
    assert [len(groups[name]) for name in ("train", "dev", "test")] == [28, 4, 8]
    assert not groups["train"] & (groups["dev"] | groups["test"])
    assert not groups["dev"] & groups["test"]
    for name, entries in rows.items():
        items = read_items(run.split(name))
        assert found["splits"][name]["items"] == len(items)
        assert found["splits"][name]["bytes"] == sum(item.size for item in items)
        assert entries == [
            {"id": item.id, "group": item.group, "sha256": sha256_text(item.text), "bytes": item.size} for item in items
        ]
    texts = {item.text for name in rows for item in read_items(run.split(name))}
    assert texts == {text for _, text in healthy()}
    assert json.loads(run.profile.read_text())["splits"]["train"]["groups"] == 28
    assert records(run)["split-leak"].status == "pass"
    assert records(run)["power"].status == "warn"
    assert records(run)["power"].measured == {"test_groups": 8, "groups": 40}


def test_equal_input_gives_equal_bytes(tmp_path: Path) -> None:
    source = table(tmp_path / "a.jsonl", healthy())
    first, second = do(source, tmp_path / "one"), do(source, tmp_path / "two")
    names = sorted(path.name for path in first.data.iterdir())
    assert names == [
        "dev.parquet", "manifest.json", "manifest.parquet", "profile.json", "test.parquet", "train.parquet",
    ]  # fmt: skip
    for name in names:
        assert (first.data / name).read_bytes() == (second.data / name).read_bytes()


def test_the_order_of_rows_changes_neither_ids_nor_split(tmp_path: Path) -> None:
    rows = healthy()
    first = do(table(tmp_path / "a.jsonl", rows), tmp_path / "one")
    random.Random(1).shuffle(rows)
    second = do(table(tmp_path / "a.jsonl", rows), tmp_path / "two")
    for name, entries in rows_of(first).items():
        assert {entry["id"] for entry in entries} == {entry["id"] for entry in rows_of(second)[name]}


def held_group(tmp_path: Path, rows: list[tuple[str, str]], split: str = "test") -> str:
    found = rows_of(do(table(tmp_path / "probe.jsonl", rows), tmp_path / "probe"))
    group: str = found[split][0]["group"]
    return group


def test_a_few_leaking_texts_are_dropped_from_the_held_out_ones(tmp_path: Path) -> None:
    rows = healthy(40, 10)  # 120 held-out rows: one is 0.8 %
    held, trained = held_group(tmp_path, rows), held_group(tmp_path, rows, "train")
    copied = next(text for group, text in rows if group == trained)
    position = next(n for n, (group, _) in enumerate(rows) if group == held)
    rows[position] = (held, f"{copied.upper()} indeed")
    run = do(table(tmp_path / "a.jsonl", rows), tmp_path / "run", clean={"near_duplicates": None})
    found = manifest(run)
    assert found["leaks"]["count"] == 1
    assert found["leaks"]["share"] == pytest.approx(1 / 120)
    (dropped,) = found["leaks"]["dropped_ids"]
    assert dropped not in {entry["id"] for entries in rows_of(run).values() for entry in entries}
    assert sum(split["items"] for split in found["splits"].values()) == found["items"]["kept"] == 399
    assert found["items"]["dropped"] == {"leak": 1}
    guard = records(run)["split-leak"]
    assert guard.status == "warn"
    assert "1 of 120" in guard.why
    assert "119 are left" in guard.why
    assert {example["train_group"] for example in guard.measured["examples"]} == {trained}


def test_many_leaking_texts_stop_the_run_and_no_data_is_written(tmp_path: Path) -> None:
    rows = healthy()
    held, trained = held_group(tmp_path, rows), held_group(tmp_path, rows, "train")
    copied = next(text for group, text in rows if group == trained)
    with pytest.raises(GuardError) as caught:
        do(
            table(tmp_path / "a.jsonl", [*rows, (held, copied.upper())]),
            tmp_path / "run",
            clean={"near_duplicates": None},
        )
    assert caught.value.exit_code == 3
    assert caught.value.guard == "split-leak"
    assert "1 of 61 held-out texts (1.64%)" in str(caught.value)
    assert copied[:70] in str(caught.value).lower()
    assert not (tmp_path / "run" / "data").exists()
    assert records(RunDir(tmp_path / "run"))["split-leak"].measured["kinds"] == {"hash": 1}


def test_too_few_test_groups_are_said_before_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = table(tmp_path / "a.jsonl", healthy(20))
    run = do(source, tmp_path / "run", console=Console())
    assert records(run)["power"].status == "fail"
    assert "4 test groups of 20: no verdict can be reached with fewer than 6" in capsys.readouterr().err
    better = do(source, tmp_path / "better", split={"test": 0.3})  # as the record says how
    assert records(better)["power"].measured["test_groups"] == 6


# Whatever the rows are


MORE = [f"extra{n}" for n in range(12)]  # groups of their own, so that there is always something to split


@st.composite
def mixes(draw: st.DrawFn) -> list[tuple[str, str]]:
    """Rows of which some are empty, too short, equal or nearly equal to others, in a few groups."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    texts = [prose(rng, rng.choice([3, 20, 40])) for _ in range(15)]
    rows = [(f"{group} text", prose(rng, 40)) for group in MORE]
    for _ in range(draw(st.integers(0, 50))):
        text = rng.choice(["", " ", "short", *texts, *(f"{text} indeed" for text in texts)])
        rows.append((f"g{rng.randrange(10)}", text))
    return rows


def listed(run: RunDir) -> dict[str, list[tuple[str, str, str]]]:
    return {name: [(row["id"], row["group"], row["sha256"]) for row in rows] for name, rows in rows_of(run).items()}


@settings(max_examples=25)
@given(mixes(), st.sampled_from(["drop", "keep"]), st.sampled_from([None, 5]), st.booleans())
def test_every_row_is_in_a_file_or_counted(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    duplicates: str,
    train_rows: int | None,
    benchmark: bool,
) -> None:
    folder = tmp_path_factory.mktemp("a")
    table(folder / "bench.jsonl", [("", text) for _, text in rows[:3]])
    run = do(
        table(folder / "a.jsonl", rows), folder / "run", split={"train_rows": train_rows},
        clean={"duplicates": duplicates, "min_bytes": 10},
        against=[str(folder / "bench.jsonl")] if benchmark else [],
    )  # fmt: skip
    found = manifest(run)
    assert found["rows"]["in"] == len(rows) == found["rows"]["kept"] + sum(found["rows"]["dropped"].values())
    assert found["rows"]["dropped"].get("empty", 0) == sum(not text.strip() for _, text in rows)
    kept = found["items"]["kept"]
    assert found["items"]["in"] == found["rows"]["kept"] == kept + sum(found["items"]["dropped"].values())
    entries = rows_of(run)
    assert kept == sum(map(len, entries.values())) == sum(split["items"] for split in found["splits"].values())
    for name, own in entries.items():
        items = read_items(run.split(name))
        assert [(i.id, i.group, i.sha256, i.size) for i in items] == [tuple(entry.values()) for entry in own]
        assert found["splits"][name]["items"] == len(items)
        assert found["splits"][name]["groups"] == len({item.group for item in items})
        assert found["splits"][name]["bytes"] == sum(item.size for item in items)
    ids = [entry["id"] for own in entries.values() for entry in own]
    assert len(set(ids)) == len(ids)
    sides = [{entry["group"] for entry in own} for own in entries.values()]
    assert sum(map(len, sides)) == len(set.union(*sides))
    if duplicates == "drop":
        hashes = [entry["sha256"] for own in entries.values() for entry in own]
        assert len(set(hashes)) == len(hashes)


@settings(max_examples=15)
@given(mixes(), st.integers(0, 9), st.sampled_from(["drop", "keep"]), st.sampled_from([None, 0, 30]))
def test_subsets_are_nested_and_the_rest_is_the_same(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    seed: int,
    duplicates: str,
    overlap: int | None,
) -> None:
    folder = tmp_path_factory.mktemp("a")
    rows = rows + [(f"training {n}", prose(random.Random(n), 40)) for n in range(60)]
    source = table(folder / "a.jsonl", rows)
    chunk = {} if overlap is None else {"by": "length", "max_bytes": 100, "overlap_bytes": overlap}
    runs = [
        do(
            source, folder / str(count), split={"seed": seed, "train_rows": count}, clean={"duplicates": duplicates},
            chunk=chunk,
        )
        for count in (10, 30, None)
    ]  # fmt: skip
    small, large, every = (set(listed(run)["train"]) for run in runs)
    assert (len(small), len(large)) == (10, 30)
    assert small < large < every
    for name in ("dev", "test"):
        assert len({run.split(name).read_bytes() for run in runs}) == 1


# Chunks


@settings(max_examples=20)
@given(st.sampled_from(["paragraph", "length"]), st.integers(20, 100), st.integers(0, 9), st.sampled_from([0.0, 0.15]))
def test_only_training_chunks_repeat_what_stands_before_them(
    tmp_path_factory: pytest.TempPathFactory, by: str, overlap: int, seed: int, share: float
) -> None:
    folder = tmp_path_factory.mktemp("a")
    rng = random.Random(seed)
    texts = {f"g{n}": "\n\n".join(prose(rng, 40) for _ in range(5)) for n in range(20)}
    source = table(folder / "a.jsonl", list(texts.items()))
    chunk = {"by": by, "max_bytes": 250, "overlap_bytes": overlap}
    run = do(source, folder / "run", chunk=chunk, split={"seed": seed, "dev": 0.2 + share})
    alone = do(source, folder / "alone", chunk=chunk | {"overlap_bytes": 0}, split={"seed": seed, "dev": 0.2 + share})
    repeated = 0
    for name in ("train", "dev", "test"):
        by_group: dict[str, list[str]] = {}
        for item in read_items(run.split(name)):
            assert item.size <= 250
            by_group.setdefault(item.group, []).append(item.text)
        assert set(by_group) == {item.group for item in read_items(alone.split(name))}
        for group, chunks in by_group.items():
            if name != "train":
                assert "".join(chunks) == texts[group]
            else:
                joined = chunks[0]
                for before, text in pairwise(chunks):
                    over = next(n for n in range(overlap, -1, -1) if before.endswith(text[:n]))
                    joined += text[over:]
                    repeated += over
                assert joined == texts[group]
    assert repeated


def test_an_overlap_is_no_leak_and_no_copy(tmp_path: Path) -> None:
    rng = random.Random(0)
    texts = [(f"g{n}", prose(rng, 300)) for n in range(40)]
    chunk = {"by": "length", "max_bytes": 1000, "overlap_bytes": 500}
    run = do(table(tmp_path / "a.jsonl", texts), tmp_path / "run", chunk=chunk)
    assert manifest(run)["items"]["dropped"] == {}
    assert records(run)["split-leak"].status == "pass"


def test_a_fault_leaves_what_was_there(tmp_path: Path) -> None:
    run = do(table(tmp_path / "a.jsonl", healthy()), tmp_path / "run")
    before = run.manifest.read_bytes()
    with pytest.raises(InputError):
        do(table(tmp_path / "a.jsonl", healthy()), tmp_path / "run", group="genre")
    assert run.manifest.read_bytes() == before


KILLED = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from test_prepare import do
do(Path({source!r}), Path({run!r}))
print("done", flush=True)
"""


@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03])
def test_a_kill_leaves_whole_data_or_none(tmp_path: Path, delay: float) -> None:
    source = table(tmp_path / "a.jsonl", healthy(60, 10))
    script = KILLED.format(tests=str(Path(__file__).parent), source=str(source), run=str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    child = subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.DEVNULL)
    guards = tmp_path / "run" / "guards.json"
    # The guards are written just before the data, so the kill falls around the writing.
    while not guards.exists() and child.poll() is None:
        time.sleep(0.001)
    try:
        child.wait(delay)
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        child.wait()
    data = tmp_path / "run" / "data"
    if data.exists():
        assert {path.name for path in data.iterdir()} == {
            "train.parquet", "dev.parquet", "test.parquet", "manifest.json", "manifest.parquet", "profile.json",
        }  # fmt: skip
    run = do(source, tmp_path / "run")
    clean = do(source, tmp_path / "clean")
    assert run.manifest.read_bytes() == clean.manifest.read_bytes()


def test_more_training_rows_than_there_are_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"train_rows is 500, and there are \d+ training rows") as caught:
        do(table(tmp_path / "a.jsonl", healthy()), tmp_path / "run", split={"train_rows": 500})
    assert caught.value.where == "data.split.train_rows"


def test_prepare_imports_no_torch() -> None:
    script = "import sys, assay.stages.prepare; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 0
