"""Runs are found by what people call them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from assay.core.errors import InputError
from assay.core.find import existing_run, is_run, resolve_run, run_dirs
from assay.core.ledger import Ledger
from assay.core.rundir import RunDir

Make = Callable[..., RunDir]


def test_runs_are_found_by_path_hash_and_name(make_run: Make, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    old, new, other = make_run(number=1), make_run(number=2), make_run("frankenstein", number=1, short="ffee0011")
    assert resolve_run(str(old.path), runs).path == old.path
    assert resolve_run(f"bard/{old.path.name}", runs).path == old.path
    assert resolve_run("01bc1234", runs).path == old.path
    assert resolve_run("01", runs).path == old.path
    assert resolve_run("FF", runs).path == other.path
    assert resolve_run("bard", runs).path == new.path


def test_of_runs_with_one_identity_the_newest_is_found(make_run: Make, tmp_path: Path) -> None:
    make_run(number=1, short="abcd0000")
    newest = make_run(number=2, short="abcd0000")
    assert resolve_run("abcd", tmp_path / "runs").path == newest.path


def test_a_run_that_is_not_there_is_told_with_the_nearest(make_run: Make, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds none"):
        resolve_run("bard", tmp_path / "runs")
    make_run(number=1, short="abcd0000")
    make_run(number=2, short="abcd1111")
    with pytest.raises(InputError, match="nearest: bard"):
        resolve_run("brad", tmp_path / "runs")
    with pytest.raises(InputError, match="abcd0000, abcd1111"):
        resolve_run("abcd", tmp_path / "runs")
    with pytest.raises(InputError):
        resolve_run("", tmp_path / "runs")


def test_a_folder_with_an_experiment_is_no_run_but_one_in_the_runs_directory_is_listed(tmp_path: Path) -> None:
    recipe = tmp_path / "recipes" / "bard"
    recipe.mkdir(parents=True)
    (recipe / "experiment.yaml").write_text("schema: 1")
    assert not is_run(recipe)
    killed = tmp_path / "runs" / "bard" / "20260101-120000-abcd0000"
    killed.mkdir(parents=True)
    (killed / "experiment.yaml").write_text("schema: 1")
    (tmp_path / "runs" / ".store" / "prepare" / "key").mkdir(parents=True)
    assert [run.path for run in run_dirs(tmp_path / "runs")] == [killed]
    assert Ledger(tmp_path / "runs").rows()[0]["id"] == "abcd0000"


def test_an_experiment_file_is_no_run(make_run: Make, tmp_path: Path) -> None:
    run = make_run()
    assert existing_run(str(run.experiment), tmp_path / "runs") is None
    assert existing_run("missing.yaml", tmp_path / "runs") is None
    found = existing_run("bard", tmp_path / "runs")
    assert found is not None
    assert found.path == run.path
