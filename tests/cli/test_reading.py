"""The commands that read runs, for people and as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.cli.main import main
from assay.cli.outcome import outcome_text
from assay.core.files import read_json, write_json
from assay.core.guard import GUARDS, record
from assay.core.rundir import STAGES, RunDir

Make = Callable[..., RunDir]


@pytest.fixture
def call(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Call a command that must succeed; gives what it printed."""
    monkeypatch.setenv("ASSAY_RUNS_DIR", str(tmp_path / "runs"))

    def do(*argv: str, code: int = 0) -> str:
        assert main(list(argv)) == code
        out, err = capsys.readouterr()
        return out if code == 0 else err

    return do


def test_runs_lists_the_newest_first_with_interval_and_unit(make_run: Make, call: Callable[..., str]) -> None:
    make_run(number=1)
    make_run(number=2, until="plan")
    header, newest, oldest = call("runs").splitlines()
    assert "gain in bits per byte" in header
    assert newest.startswith("02bc1234")
    assert "unfinished after plan" in newest
    for word in ("01bc1234", "finished", "better", "+0.0970 [+0.0850, +0.1090]", "3 min 28 s", "3.1 GB"):
        assert word in oldest


def test_runs_as_json(make_run: Make, call: Callable[..., str]) -> None:
    assert json.loads(call("runs", "--json")) == []
    run = make_run()
    (row,) = json.loads(call("runs", "--json"))
    assert row["path"] == str(run.path)
    assert (row["outcome"], row["difference"], row["low"], row["high"]) == ("better", 0.097, 0.085, 0.109)


def test_a_gain_whose_guard_failed_is_not_in_the_list(make_run: Make, call: Callable[..., str]) -> None:
    make_run().guards.add(record("adapter-effect", "fail", "the adapter does nothing"))
    line = call("runs").splitlines()[1]
    assert "failed (adapter-effect)" in line
    assert "0.097" not in line
    shown = call("show", "bard")
    assert "no verdict: the validity guard adapter-effect failed" in shown
    assert "It learned." not in shown
    assert "+0.0970 [+0.0850, +0.1090]" in shown
    assert json.loads(call("show", "bard", "--json"))["verdict"] is None


def test_show(make_run: Make, call: Callable[..., str]) -> None:
    make_run()
    shown = call("show", "01bc")
    for words in (
        "bard 01bc1234: finished",
        "verdict: It learned.",
        "base 1.25, tuned 1.153 bits per byte; gain +0.0970 [+0.0850, +0.1090] over 8 held-out groups",
        "adapter.rank",
        "--set",
        "memory predicted: 2.0 MB",
        "memory measured: 3.1 GB at the peak",
        "training: 61,440 tokens in 3 min 28 s (295 tokens/s)",
        "guards: 1 passed, 1 warned (power), 0 failed, 0 skipped, 22 not run",
        "report.html",
    ):
        assert words in shown
    assert "seed: 42" not in shown  # a default


def test_a_timing_that_shared_the_machine_is_marked(make_run: Make, call: Callable[..., str]) -> None:
    run = make_run()
    assert "not comparable" not in call("show", "bard")  # of who else was there nothing is known
    stages = read_json(run.stages)
    stages["train"] |= {"others": 0.9, "cores": 2}
    stages["evaluate"] |= {"others": 0.1, "cores": 2}
    write_json(run.stages, stages)
    told = "not comparable: it shared the machine, other work kept 0.9 of 2 cores busy"
    lines = [line for line in call("show", "bard").splitlines() if "not comparable" in line]
    assert [line.split("  ")[0] for line in lines] == ["train", ""]  # the stage's time, and the pace
    assert all(line.endswith(told) for line in lines)


def test_show_as_json(make_run: Make, call: Callable[..., str]) -> None:
    make_run()
    found = json.loads(call("show", "bard", "--json"))
    assert set(found) == {
        "run", "verdict", "settings", "stages", "plan", "training", "evaluation", "receipt", "preset",
        "guards",
    }  # fmt: skip
    assert found["verdict"]["outcome"] == "better"
    assert list(found["stages"]) == list(STAGES)
    values = {setting["key"]: (setting["value"], setting["origin"]) for setting in found["settings"]}
    assert values["adapter.rank"] == ("4", "--set")
    assert values["evaluate.prompts"] == ('["To be: or not # to be"]', "file")
    assert values["evaluate.decoding.max_new_tokens"] == ("7", "file")
    assert values["seed"] == ("42", "default")


@pytest.mark.parametrize("until", [None, *STAGES])
def test_a_run_at_any_stage_can_be_shown(make_run: Make, call: Callable[..., str], until: str | None) -> None:
    make_run(until=until)
    assert ("verdict: It learned." in call("show", "bard")) == (until == "report")
    assert json.loads(call("show", "bard", "--json"))["run"]["stage"] == until
    call("guards", "bard")


def test_guards_in_plain_language(make_run: Make, call: Callable[..., str]) -> None:
    run = make_run()
    run.guards.add(record("adapter-effect", "fail", "the adapter does nothing"))
    shown = call("guards", "bard")
    for words in (
        "FAILED  adapter-effect (validity)\n"
        f"  asked:    {GUARDS['adapter-effect'].meaning}\n"
        "  measured: the adapter does nothing (at evaluate)\n"
        "  means:    the numbers cannot be trusted, so there is no verdict\n"
        f"  to do:    {GUARDS['adapter-effect'].fix}\n",
        "warning  power (outcome)\n",
        f"passed  split-leak (validity): {GUARDS['split-leak'].meaning}\n"
        "  measured: no held-out text also stands in the training texts\n"
        "What this means: passed (validity): this has not spoiled the numbers.\n",
        "not recorded so far: supervision, ",
        "guards: 1 passed, 1 warned (power), 1 failed (adapter-effect), 0 skipped, 21 not run",
    ):
        assert words in shown
    assert shown.index("FAILED") < shown.index("warning") < shown.index("passed  ")
    rows = json.loads(call("guards", "bard", "--json"))
    assert [row["status"] for row in rows] == ["pass", "warn", "fail"]
    assert all(row["meaning"] for row in rows)


def test_a_guard_of_two_stages_is_explained_once(make_run: Make, call: Callable[..., str]) -> None:
    run = make_run()
    run.guards.add(
        record("power", "pass", "enough after all", stage="report"),
        record("output-hygiene", "skip", "no text was generated"),
    )
    shown = call("guards", "bard")
    assert shown.count("warning  power") == 1
    assert "8 groups are held out; 30 would be enough for any effect (at prepare)" in shown
    assert "measured: passed: enough after all (at report)" in shown
    assert "skipped: this was not asked here" in shown
    assert len(json.loads(call("guards", "bard", "--json"))) == 4


def test_rm_deletes_what_is_named_and_nothing_if_one_is_wrong(make_run: Make, call: Callable[..., str]) -> None:
    first, second, third = (make_run(number=n) for n in (1, 2, 3))
    assert "there is no run 'no'" in call("runs", "rm", "01bc1234", "no", code=2)
    with second.lock():
        assert "another process" in call("runs", "rm", "01bc1234", "02bc1234", code=2)
    assert first.path.is_dir()
    out = call("runs", "rm", "01bc1234", str(second.path), "01bc1234")
    assert [line.split()[1] for line in out.splitlines()] == [str(first.path), str(second.path)]
    assert not first.path.exists()
    assert not second.path.exists()
    assert third.path.is_dir()
    assert len(json.loads(call("runs", "--json"))) == 1


def test_du_adds_up(make_run: Make, call: Callable[..., str]) -> None:
    run = make_run()
    found: dict[str, Any] = json.loads(call("runs", "du", "--json"))
    assert [part["name"] for part in found["parts"]] == [f"bard/{run.path.name}"]
    assert found["total"] == sum(path.stat().st_size for path in run.path.rglob("*") if path.is_file())
    assert call("runs", "du").splitlines()[-1].startswith("total")


@pytest.mark.parametrize(
    ("until", "words"),
    [
        ("prepare", ["rows: 33 in, 31 kept; dropped: 2 empty", "texts: 31 in, 31 kept",
                     "train: 20 texts in 20 groups, 20 kB", "test: 8 texts in 8 groups",
                     "advice 1 of 1: 8 groups of 31"]),
        ("plan", ["2.0 MB predicted at the peak (weights 500 kB, logits 1.5 MB)", "30 steps of 2,048 tokens",
                  "precision: fp32 (no bf16 here)", "device: cpu"]),
        ("train", ["61,440 tokens in 3 min 28 s", "loss: 3.5 → 3.125 nats per token", "peak memory: 3.1 GB"]),
        ("evaluate", ["base: 1.25 bits per byte", "gain: +0.0970 [+0.0850, +0.1090] bits per byte (95 % interval"]),
        ("report", ["verdict: It learned.", "better by 0.097", "peak memory 3.1 GB", "report.html"]),
    ],
)  # fmt: skip
def test_what_a_stage_says_at_its_end(make_run: Make, until: str, words: list[str]) -> None:
    run = make_run(until=until)
    text = outcome_text(run, until)
    for word in [*words, f"run: {run.path}", "guards: 1 passed, 1 warned (power), 0 failed, 0 skipped, 22 not run"]:
        assert word in text
    assert ("verdict" in text) == (until == "report")


def test_the_three_most_important_pieces_of_advice_are_said(make_run: Make) -> None:
    run = make_run(until="prepare")
    example = {"id": "1", "group": "g", "before": "caf", "match": "Ã©", "after": ""}
    signs = {name: {"rows": 5, "share": 0.16, "example": example} for name in ("mojibake", "zero-width", "html-tag")}
    write_json(run.profile, {"schema": 2, "signs": {"sample": 31, "found": signs}})
    text = outcome_text(run, "prepare")
    assert "advice 2 of 4: 5 of 31 texts (16 %) were decoded wrongly, as in “cafÃ©”" in text
    assert "\n  → data.clean.mojibake=true repairs them\n" in text
    assert "advice 3 of 4" in text
    assert "advice 4 of 4" not in text
    assert "report:" not in text
    run.report.write_text("the page")
    assert f"report: {run.report}" in outcome_text(run, "prepare")


def test_good_data_is_said_to_be_good(make_run: Make) -> None:
    run = make_run(until="prepare")
    splits = {name: {"items": n, "groups": n, "bytes": n, "sha256": "0"} for name, n in (("train", 400), ("test", 99))}
    nothing = {"in": 499, "kept": 499, "dropped": {}, "examples": {}}
    write_json(run.manifest, {"schema": 2, "splits": splits, "rows": nothing, "items": nothing})
    text = outcome_text(run, "prepare")
    assert "Nothing to advise" in text
    assert "dropped" not in text


def test_the_end_of_a_run_gives_no_verdict_where_a_validity_guard_failed(make_run: Make) -> None:
    run = make_run()
    run.guards.add(record("adapter-effect", "fail", "the adapter does nothing"))
    text = outcome_text(run, "report")
    assert text.startswith("no verdict: the validity guard adapter-effect failed\n")
    assert "It learned." not in text
    assert "better by 0.097" not in text


def test_the_peak_memory_is_that_of_the_whole_run(make_run: Make) -> None:
    run = make_run()
    write_json(run.receipt, {"peak_memory": 4_200_000_000})
    assert "peak memory 4.2 GB" in outcome_text(run, "report")
    write_json(run.receipt, {"peak_memory": None})
    assert "peak memory 3.1 GB" in outcome_text(run, "report")
