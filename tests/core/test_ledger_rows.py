"""What a row says, and from which of a run's files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from assay.core.files import append_line, read_json, write_json, write_lines, write_text
from assay.core.guard import record
from assay.core.ledger_rows import COLUMNS, Membership, read
from assay.core.rundir import RunDir

Make = Callable[..., RunDir]


def edit(path: Any, **change: Any) -> None:
    write_json(path, read_json(path) | change)


def test_costs_and_metrics(make_run: Make) -> None:
    run = make_run()
    edit(
        run.summary,
        settings={"window": 512, "stride": 512, "bos_rule": "none"},
        difference={"mean": 0.1, "low": 0.05, "high": 0.15, "p": 0.01, "n_groups": 8, "base_mean": 1.26},
        generation={"cost": {"tuned": {"tokens_per_s": 40.0, "tokens_per_s_alone": 9.5, "first_token_s": 0.25}}},
    )
    run.adapter.mkdir()
    (run.adapter / "adapter_model.safetensors").write_bytes(b"x" * 300)
    edit(run.training, peak_gpu_memory=7_000, result={"step": 30, "best_step": 30, "best_dev_bpb": 1.1})
    row = read(run).row
    assert list(row) == list(COLUMNS)
    found = {
        "generation_tokens_per_s": 40.0, "generation_tokens_per_s_alone": 9.5, "first_token_seconds": 0.25,
        "weights_bytes": 300, "peak_memory": 7_000, "dev_bpb": 1.1, "p": 0.01, "groups": 8, "base_mean": 1.26,
        "damaged": None,
    }  # fmt: skip
    assert {name: row[name] for name in found} == found


def test_the_dev_score_is_that_of_the_weights_that_were_kept(make_run: Make) -> None:
    run = make_run()
    edit(run.training, result={"step": 30, "best_step": 8, "best_dev_bpb": 1.1})
    assert read(run).row["dev_bpb"] is None  # nobody looked at step 30
    for step, score in ((8, 1.1), (30, 1.3)):
        append_line(run.metrics, {"step": step, "dev_bpb": score})
    append_line(run.metrics, {"step": 30, "loss": 3.0})
    assert read(run).row["dev_bpb"] == 1.3


@pytest.mark.parametrize(
    ("train", "evaluate", "comparable"),
    [(0.1, 0.2, 1), (0.1, 0.9, 0), (1.0, None, 0), (0.25, None, None), (None, 0.1, None), (None, None, None)],
)
def test_times_of_a_run_that_shared_the_machine_are_not_comparable(
    make_run: Make, train: float | None, evaluate: float | None, comparable: int | None
) -> None:
    run = make_run()
    stages = read_json(run.stages)
    stages["train"]["others"], stages["evaluate"]["others"] = train, evaluate
    write_json(run.stages, stages)
    row = read(run).row
    assert (row["train_others"], row["evaluate_others"], row["comparable"]) == (train, evaluate, comparable)


def test_the_scale_is_the_test_texts_and_how_they_were_scored(make_run: Make) -> None:
    def scale(**settings: Any) -> str | None:
        edit(run.summary, settings={"window": 512, "stride": 512, "bos_rule": "none", "dtype": "bf16"} | settings)
        return read(run).row["scale"]  # type: ignore[no-any-return]

    run = make_run()
    assert read(run).row["scale"] is None  # how they were scored is not recorded
    first = scale()
    assert first is not None
    assert scale(dtype="fp32") == first
    assert len({first, scale(window=256), scale(stride=256)}) == 3
    manifest = read_json(run.manifest)
    manifest["splits"]["test"]["sha256"] = "1" * 64
    write_json(run.manifest, manifest)
    assert scale() != first
    del manifest["splits"]["test"]["sha256"]
    write_json(run.manifest, manifest)
    assert scale() is None


def test_excerpts_that_were_drawn_otherwise_are_another_scale(make_run: Make) -> None:
    run = make_run()

    def scale(limit: int | None, seed: int) -> str | None:
        edit(run.summary, settings={"window": 512, "stride": 512, "bos_rule": "none", "max_bytes_per_group": limit})
        edit(run.identity, data={"split": {"seed": seed}})
        return read(run).row["scale"]  # type: ignore[no-any-return]

    rows = [("test", "a", 150), ("test", "a", 150), ("test", "b", 200), ("train", "c", 900)]
    pl.DataFrame(rows, schema=["split", "group", "bytes"], orient="row").write_parquet(run.manifest_rows)
    whole = scale(None, 0)
    assert whole is not None
    assert {scale(None, 1), scale(300, 0), scale(300, 1)} == {whole}  # no group is longer: nothing was drawn
    assert len({whole, scale(299, 0), scale(299, 1), scale(200, 0)}) == 4
    run.manifest_rows.write_bytes(b"torn")
    assert (scale(None, 1), scale(299, 0)) == (whole, None)
    assert "manifest.parquet" in read(run).row["damaged"]


def test_dev_scores_of_other_windows_or_other_texts_are_on_another_scale(make_run: Make) -> None:
    run = make_run()
    manifest = read_json(run.manifest)

    def scale(window: int = 128, size: int | None = 8000, texts: str = "0") -> str | None:
        edit(run.identity, train={"max_length": window})
        manifest["splits"]["dev"]["sha256"] = texts * 64
        write_json(run.manifest, manifest)
        write_lines(run.metrics, [{"step": 0, "dev_bpb": 2.0, "dev_groups": 8, "dev_bytes": size}] if size else [])
        return read(run).row["dev_scale"]  # type: ignore[no-any-return]

    first = scale()
    assert first is not None
    assert scale() == first
    assert len({first, scale(window=16), scale(size=7000), scale(texts="1")}) == 4
    assert scale(size=None) is None  # there was no look


def test_why_a_run_failed(make_run: Make) -> None:
    run = make_run(until="plan")
    run.event("stopped", kind="MachineError", why="no space left")
    run.event("joined", varied={"sweep": "s", "variant": "v", "factors": {}})  # says nothing of how it goes
    row = read(run).row
    assert (row["status"], row["guard"], row["why"]) == ("failed", None, "no space left")
    run.guards.add(record("split-leak", "fail", "3 of 9 texts leak"))
    row = read(run).row
    assert (row["status"], row["guard"], row["why"]) == ("failed", "split-leak", "3 of 9 texts leak")


def test_an_interrupted_run_has_not_failed(make_run: Make) -> None:
    run = make_run(until="plan")
    run.event("interrupted")
    row = read(run).row
    assert (row["status"], row["why"]) == ("unfinished", None)


def test_settings_are_values(make_run: Make) -> None:
    settings = read(make_run()).settings
    assert settings["adapter.rank"] == 4
    assert settings["evaluate.prompts"] == ["To be: or not # to be"]
    assert settings["evaluate.decoding.temperature"] == 0.5
    assert settings["name"] == "bard"


def test_sweeps(make_run: Make) -> None:
    run = make_run()
    assert read(run).sweeps == []
    assert read(run).row["sweep"] is None
    for sweep, rank in (("s1", "4"), ("s2", "8"), ("s1", "4")):
        run.event("joined", varied={"sweep": sweep, "variant": f"rank={rank}", "factors": {"rank": rank}})
    run.event("joined", varied={"sweep": None})
    run.event("joined", varied="torn")
    reading = read(run)
    assert reading.sweeps == [Membership("s2", "rank=8", {"rank": "8"}), Membership("s1", "rank=4", {"rank": "4"})]
    assert (reading.row["sweep"], reading.row["variant"], reading.row["factors"]) == ("s1", "rank=4", '{"rank": "4"}')


def test_what_cannot_be_read_is_named(make_run: Make) -> None:
    run = make_run()
    assert read(run).row["damaged"] is None
    run.summary.unlink()
    write_text(run.guards.path, "[{")
    write_text(run.training, "[]")
    damaged = read(run).row["damaged"]
    for words in ("evaluate/summary.json: this file is missing", "guards.json: cannot be read", "train/summary.json: "):
        assert words in damaged
    run.resolved.unlink()
    assert "resolved.yaml: is missing" in read(run).row["damaged"]


def test_a_stage_that_was_not_done_lacks_no_file(make_run: Make) -> None:
    assert read(make_run(until="prepare")).row["damaged"] is None


def test_a_number_too_large_for_the_table_is_undefined(make_run: Make) -> None:
    run = make_run()
    edit(run.training, peak_memory=1e300, tokens=float(2**62))
    row = read(run).row
    assert (row["peak_memory"], row["train_tokens"]) == (None, 2**62)
