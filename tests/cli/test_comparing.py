"""`assay compare` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from fixture_compare import FLAT, write_run

import assay
from assay.cli.main import main
from assay.core.files import write_json
from assay.core.rundir import RunDir

BETTER = [bpb - 0.1 + 0.002 * (g % 3) for g, bpb in enumerate(FLAT)]
RANK_8 = {"adapter": {"kind": "lora", "rank": 8}, "short": "bbbbbbbb"}


@pytest.fixture
def runs(tmp_path: Path) -> list[RunDir]:
    """Two runs of an experiment, of which the newer is better."""
    folder = tmp_path / "runs" / "bard"
    return [
        write_run(folder / "20260101-120000-aaaaaaaa", changed={"short": "aaaaaaaa"}),
        write_run(folder / "20260102-120000-bbbbbbbb", BETTER, changed=RANK_8),
    ]


@pytest.fixture
def other(tmp_path: Path) -> RunDir:
    """A run of another experiment, a little better."""
    bits = [bpb - 0.05 + 0.002 * (g % 2) for g, bpb in enumerate(FLAT)]
    changed = {"adapter": {"kind": "lora", "rank": 16}, "short": "cccccccc"}
    return write_run(tmp_path / "runs" / "ode" / "20260103-120000-cccccccc", bits, changed=changed)


def call(tmp_path: Path, *args: str) -> int:
    return main(["compare", *args, "--runs-dir", str(tmp_path / "runs")])


def test_a_table_a_sentence_for_each_and_where_the_files_are(tmp_path, runs, capsys) -> None:
    assert call(tmp_path, "aaaa", "bbbb") == 0
    said = capsys.readouterr()
    assert said.out.startswith("2 entries, 8 held-out groups; each is held against rank=4")
    assert "rank=8: better by 0.09" in said.out
    assert "the runs differ in adapter.rank" in said.out
    (folder,) = (tmp_path / "runs" / "bard" / "comparisons").iterdir()
    assert f"written to {folder}: compare.html, compare.md, compare.json, compare.csv" in said.err
    assert main(["runs", "--runs-dir", str(tmp_path / "runs"), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_an_experiments_name_is_its_newest_run(tmp_path, runs, other, capsys) -> None:
    assert call(tmp_path, "ode", "bard", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [entry["runs"] for entry in found["entries"]] == [
        ["ode/20260103-120000-cccccccc"], ["bard/20260102-120000-bbbbbbbb"]
    ]  # fmt: skip
    assert (found["against"], found["pairs"][0]["outcome"]) == ("ode", "better")


def test_where_the_files_go_may_be_chosen(tmp_path, runs, capsys) -> None:
    assert call(tmp_path, "aaaa", "bbbb", "--out", str(tmp_path / "out")) == 0
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".html", ".md", ".json", ".csv"}
    assert not (tmp_path / "runs" / "bard" / "comparisons").exists()


def test_where_nothing_can_be_written_the_result_is_printed_all_the_same(tmp_path, runs, capsys) -> None:
    (tmp_path / "file").touch()
    assert call(tmp_path, "aaaa", "bbbb", "--out", str(tmp_path / "file")) == 2
    said = capsys.readouterr()
    assert "rank=8: better by" in said.out
    assert "is a file" in said.err
    assert "--out" in said.err


def test_weights_are_kept_with_the_comparison(tmp_path, runs, capsys) -> None:
    assert call(tmp_path, "aaaa", "bbbb", "--json", "--weights", "quality=3", "--weights", "memory=0.5") == 0
    found = json.loads(capsys.readouterr().out)["selection"]
    assert found["weights"] == {"quality": 3.0, "memory": 0.5}
    assert found["choice"]["chosen"] == "rank=8"
    assert call(tmp_path, "aaaa", "bbbb") == 0
    assert "model selection:" in capsys.readouterr().out


def test_a_weight_that_is_none_stops_before_anything_is_written(tmp_path, runs, capsys) -> None:
    for weights, words in (("quality", "'quality' is no weight"), ("qualty=1", "did you mean quality?")):
        assert call(tmp_path, "aaaa", "bbbb", "--weights", weights) == 2
        assert words in capsys.readouterr().err
    assert not (tmp_path / "runs" / "bard" / "comparisons").exists()


def test_several_changes_are_shown_and_end_with_3(tmp_path, runs, capsys) -> None:
    changed = RANK_8 | {"train": {"steps": 60}, "short": "dddddddd"}
    write_run(tmp_path / "runs" / "bard" / "20260104-120000-dddddddd", BETTER, changed=changed)
    assert call(tmp_path, "aaaa", "dddd") == 3
    said = capsys.readouterr()
    assert "no cause may be named" in said.out
    assert "guard one-change failed" in said.err
    assert list((tmp_path / "runs" / "bard" / "comparisons").glob("*/compare.html"))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["aaaa"], "a comparison needs two different runs"),
        (["aaaa", "aaaa"], "a comparison needs two different runs"),
        (["aaaa", "bbbb", "aaaa"], "a run is given twice"),
        (["aaaa", "bart"], "nearest: bard"),
    ],
)
def test_wrong_runs_are_told_with_what_to_do(tmp_path, runs, capsys, names: list[str], words: str) -> None:
    assert call(tmp_path, *names) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "fix:" in said


def test_a_run_that_is_not_evaluated_is_told_with_the_command_that_does_it(tmp_path, runs, capsys) -> None:
    write_json(runs[1].stages, {})
    assert call(tmp_path, "aaaa", "bbbb") == 2
    said = capsys.readouterr().err
    assert "has not been evaluated" in said
    assert f"fix: assay run {runs[1].path}" in said


def test_an_evaluation_that_was_changed_by_hand_is_refused(tmp_path, runs, capsys) -> None:
    pl.read_parquet(runs[1].texts).with_columns(pl.col("nll_tuned") * 0.9).write_parquet(runs[1].texts)
    assert call(tmp_path, "aaaa", "bbbb") == 3
    assert "evaluate/texts.parquet changed after the evaluation wrote it" in capsys.readouterr().err


def test_the_api_gives_what_the_file_holds(tmp_path, runs) -> None:
    found = assay.compare(runs, out=tmp_path / "out")
    assert found == json.loads((tmp_path / "out" / "compare.json").read_text())
    assert found["pairs"][0]["outcome"] == "better"
    assert assay.compare(runs) == found
