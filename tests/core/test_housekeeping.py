"""What runs weigh, and how they go."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.core.errors import InputError
from assay.core.housekeeping import disk_usage, remove_run
from assay.core.ledger import Ledger, run_dirs
from assay.core.rundir import RunDir

Make = Callable[..., RunDir]


def share(run: RunDir, key: str, content: bytes) -> Path:
    """A file of the store that the run holds too."""
    entry = run.path.parent.parent / ".store" / "prepare" / key
    entry.mkdir(parents=True, exist_ok=True)
    kept = entry / "train.parquet"
    if not kept.exists():
        kept.write_bytes(content)
        (entry / "hashes.json").write_text("{}")
    run.data.mkdir(exist_ok=True)
    os.link(kept, run.split("train"))
    return entry


def test_shared_files_are_counted_once(make_run: Make, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first, second = make_run(number=1), make_run(number=2)
    plain = {usage.name: usage.bytes for usage in disk_usage(runs)}
    share(first, "k", b"x" * 5000)
    share(second, "k", b"x" * 5000)
    found = {usage.name: usage for usage in disk_usage(runs)}
    assert found[".store/prepare"].bytes == 5002
    for run in (first, second):
        usage = found[f"bard/{run.path.name}"]
        assert (usage.bytes, usage.shared) == (plain[f"bard/{run.path.name}"], 5000)
    files = [path.stat() for path in runs.rglob("*") if path.is_file()]
    assert sum(usage.bytes for usage in found.values()) == sum({s.st_ino: s.st_size for s in files}.values())


def test_an_empty_or_missing_runs_directory_weighs_nothing(tmp_path: Path) -> None:
    assert disk_usage(tmp_path) == []
    assert disk_usage(tmp_path / "none") == []


def test_a_run_goes_with_its_row_and_what_the_store_keeps_for_it_alone(make_run: Make, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    first, second = make_run(number=1), make_run(number=2)
    alone, both = share(first, "alone", b"a" * 1000), tmp_path / "runs/.store/prepare/both"
    first.split("train").rename(first.split("dev"))
    share(first, "both", b"b" * 1000)
    share(second, "both", b"b" * 1000)
    looks = runs / "test-looks.jsonl"
    looks.write_text("{}\n")
    assert len(Ledger(runs).rows()) == 2
    before = sum(usage.bytes for usage in disk_usage(runs))
    freed = remove_run(first, runs)
    assert before - freed == sum(usage.bytes for usage in disk_usage(runs))
    assert not first.path.exists()
    assert not alone.exists()
    assert both.is_dir()
    assert [run.path for run in run_dirs(runs)] == [second.path]
    assert [row["path"] for row in Ledger(runs).rows()] == [f"bard/{second.path.name}"]
    assert looks.read_text() == "{}\n"
    assert [path.name for path in first.path.parent.iterdir()] == [second.path.name]
    remove_run(second, runs)
    assert not (runs / "bard").exists()
    assert not both.exists()
    assert looks.exists()


def test_a_run_in_use_stays(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    with run.lock(), pytest.raises(InputError, match="another process is writing"):
        remove_run(run, tmp_path / "runs")
    assert run.summary.is_file()


def test_a_run_elsewhere_stays(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    with pytest.raises(InputError, match="outside the runs directory"):
        remove_run(run, tmp_path / "other")
    link = tmp_path / "other" / "bard" / run.path.name
    link.parent.mkdir(parents=True)
    link.symlink_to(run.path)
    with pytest.raises(InputError, match="outside the runs directory"):
        remove_run(RunDir(link), tmp_path / "other")
    assert run.summary.is_file()
