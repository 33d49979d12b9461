from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

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
    guard = records(run)["power"]
    assert (guard.cls, guard.status) == ("O", "fail")
    said = capsys.readouterr().err
    assert "4 test groups of 20: no verdict can be reached with fewer than 6" in said
    assert guard.fix is not None
    assert "--set data.split.test=0.3 gives 6" in guard.fix
    better = do(source, tmp_path / "better", split={"test": 0.3})
    assert records(better)["power"].measured["test_groups"] == 6
    assert "bring more groups" in (records(do(source, tmp_path / "few", max_rows=50))["power"].fix or "")


def test_enough_groups_pass(tmp_path: Path) -> None:
    run = do(table(tmp_path / "a.jsonl", healthy(150, 1)), tmp_path / "run")
    assert records(run)["power"].status == "pass"


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


def test_prepare_imports_no_torch() -> None:
    script = "import sys, assay.stages.prepare; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", script], env=environment).returncode == 0
