"""What report.html must hold, for healthy, failed and unfinished runs."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any

import fixture_run
import polars as pl
import pytest
from fixture_data import HOSTILE
from fixture_page import page_of
from fixture_run import edit, make_run
from scipy import stats

from assay.core.errors import InputError
from assay.core.files import read_json, write_json
from assay.core.guard import GUARDS, OF_A_RUN, record
from assay.core.rundir import RunDir
from assay.stages.compare.evidence import within_group
from assay.stages.compare.plots import MAX_POINTS, curve, thin, tick_text, ticks
from assay.stages.compare.report import render, write_report
from assay.stages.compare.words import chance, decimals_for, fixed, interval, short, value_text

FAILED = record(
    "adapter-effect",
    "fail",
    "16 of 16 texts score <exactly> the same with and without the adapter.",
    measured={"r": 1.0, "m": 0.0},
    threshold={"r": 3, "m": 0.001},
)


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    found: RunDir = make_run(tmp_path)
    return found


def between(page: Any, start: str, end: str) -> str:
    return page.text.split(start, 1)[1].split(end, 1)[0]


def test_the_verdict_stands_first_with_its_interval(run: RunDir) -> None:
    page, summary = page_of(run), json.loads(run.summary.read_text())
    sentence = summary["verdict"]["sentence"]
    sentence = f"{sentence[0].upper()}{sentence[1:]}."
    assert sentence in page.text
    assert page.text.index(sentence) < page.text.index("Base against tuned")
    low, high = (fixed(summary["difference"][end], 3) for end in ("low", "high"))
    first = between(page, sentence, "Base against tuned")
    assert f"95\u00a0% interval: {low} to {high} bits per byte" in first.replace("95 %", "95\u00a0%")
    for words in (
        summary["verdict"]["plain"],
        "lower is better",
        "This checkpoint only",
        "the base may have read this text",
    ):
        assert words in first
    passed = (
        f"No guard failed: {len(GUARDS) - 3} passed, 2 warned (power, seeds), 0 failed, 1 skipped (output-hygiene)."
    )
    assert passed in first
    assert any("Mean difference" in (a.get("aria-label") or "") for tag, a in page.tags if tag == "svg")


def test_the_everyday_share_is_the_mean_over_the_base(run: RunDir) -> None:
    found = json.loads(run.summary.read_text())["difference"]
    share = 100 * found["mean"] / found["base_mean"]
    assert f"{share:.1f}\u00a0% fewer bits" in "".join(page_of(run).words)


def test_groups_guards_and_hashes_are_all_there(run: RunDir) -> None:
    page = page_of(run)
    for group in json.loads(run.summary.read_text())["groups"]:
        row = between(page, "Interval inside", "Training")
        assert re.sub(r"\s+", " ", group["group"]) in row
        assert fixed(group["difference"], 3, sign=True) in row
    for guard in GUARDS:
        assert ("li", {"id": f"guard-{guard}"}) in page.tags
    for entry in run.guards.records():
        assert entry.why in page.text
    receipt = run.receipt.read_text()
    hashes = re.findall(r"\b[0-9a-f]{64}\b", receipt)
    assert len(hashes) >= 8
    assert all(digest in page.text for digest in hashes)
    for words in ("empty", "before-first-heading", "several files were given", "Decoding: max new tokens: 60", "bf16"):
        assert words in page.text


def test_a_timing_that_shared_the_machine_is_marked(run: RunDir) -> None:
    told = "not comparable: it shared the machine, other work kept 0.9 of 2 cores busy"
    assert told not in render(run)
    stages = read_json(run.stages)
    stages["train"] |= {"others": 0.9, "cores": 2}
    write_json(run.stages, stages)
    assert render(run).count(told) == 2  # beside the pace, and beside the stage's time


def test_nothing_is_loaded_and_the_policy_forbids_it(run: RunDir) -> None:
    page = page_of(run)
    assert {tag for tag, _ in page.tags} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
    } == set()
    html = run.report.read_text()
    assert "@import" not in html
    assert "url(" not in html
    for _, attributes in page.tags:
        assert not {"src", "srcset", "data", "action", "background"} & set(attributes)
        assert not any(name.startswith("on") for name in attributes)
        assert (attributes.get("href") or "#").startswith("#")
    policy = next(a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")


def test_links_within_the_page_lead_somewhere(run: RunDir) -> None:
    page = page_of(run)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for _, a in page.tags if "href" in a} <= {f"#{name}" for name in ids}


def test_text_of_users_is_escaped(run: RunDir) -> None:
    run.guards.add(record("power", "warn", "<img src=x onerror=alert(1)>", stage="report"))
    page, html = page_of(run), run.report.read_text()
    assert "<script" not in html
    assert "<img" not in html
    assert "<b>deep</b>" not in html
    for words in (HOSTILE, fixture_run.HOSTILE_PROMPT, "<img src=x onerror=alert(1)>", "<b>deep</b>"):
        assert words in unescape(page.text)


def test_the_same_files_give_the_same_bytes_and_few(run: RunDir) -> None:
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first
    assert len(first) < 1_500_000


def test_a_large_run_stays_small(tmp_path: Path) -> None:
    run = make_run(tmp_path, groups=tuple(f"Block {i}" for i in range(1500)), excerpts=1)
    with run.metrics.open("a") as stream:
        for step in range(31, 5000):
            stream.write(json.dumps({"step": step, "loss": 3.0, "lr": 1e-4, "grad_norm": 1.0, "tokens": 2048}) + "\n")
    page = page_of(run)
    assert run.report.stat().st_size < 1_500_000
    assert "1440 groups between are in the table" in page.text
    assert "each point the mean of 13 steps" in page.text
    assert "Single groups carry no interval" in page.text


def test_a_failed_validity_guard_takes_the_verdict_away(tmp_path: Path) -> None:
    run = make_run(tmp_path, guards=[FAILED])
    page = page_of(run)
    verdict = json.loads(run.summary.read_text())["verdict"]
    assert "No verdict: the validity guard adapter-effect failed." in page.text
    assert verdict["sentence"][1:] not in page.text
    assert verdict["plain"] not in page.text
    assert "✓ Better" not in page.text
    assert FAILED.why in page.text
    assert str(FAILED.fix) in page.text
    # The numbers stay, and each of the three sections that hold them says what they are worth.
    assert page.text.count("Do not trust these numbers.") == 3
    assert fixed(json.loads(run.summary.read_text())["base"]["bpb"], 4) in page.text
    assert page.text.index("✕ Failed") < page.text.index("! Warned") < page.text.index("✓ Passed")


def test_a_guard_checked_twice_counts_once_by_its_worst(run: RunDir) -> None:
    run.guards.add(record("receipt", "warn", "one entry is missing", stage="evaluate"))
    page = page_of(run)
    assert f"{len(GUARDS) - 4} passed, 3 warned, 0 failed, 1 skipped" in page.text
    row = between(page, "one entry is missing", "– Skipped")
    assert "pass: As it should be." in row


def test_all_guards_passed_is_said(tmp_path: Path) -> None:
    run = make_run(tmp_path, guards=[record(g, "pass", "ok") for g in ("power", "seeds", "output-hygiene")])
    assert f"All {len(GUARDS)} guards passed." in page_of(run).text


def test_a_failed_outcome_guard_leaves_the_verdict(tmp_path: Path) -> None:
    run = make_run(tmp_path, guards=[record("output-hygiene", "fail", "2 of 2 outputs hold template tokens.")])
    page = page_of(run)
    assert "Better by" in page.text
    assert "Do not trust" not in page.text
    assert "1 failed (output-hygiene)" in page.text


@pytest.mark.parametrize(("effect", "word"), [(0.097, "✓ Better"), (0.004, "≈ Not shown"), (-0.06, "▼ Worse")])
def test_each_outcome_has_its_word_and_sign(tmp_path: Path, effect: float, word: str) -> None:
    page = page_of(make_run(tmp_path, effect=effect))
    assert word in page.text
    assert ("% more bits" in page.text.replace("\u00a0", " ")) == (effect < 0)


def test_no_mean_and_no_interval_are_said_not_drawn(run: RunDir) -> None:
    summary = json.loads(run.summary.read_text())
    nothing = dict.fromkeys(
        ("mean", "low", "high", "half_width", "method", "p", "sd", "mde", "groups_for_half", "base_mean")
    )
    summary["groups"][0] |= {"tuned_bpb": None, "difference": None, "reason": "tuned: not finite"}
    edit(
        run.summary,
        {
            "groups": summary["groups"],
            "difference": {**summary["difference"], **nothing, "reason": "group 'Cymbeline' has no score"},
            "verdict": {**summary["verdict"], "outcome": "cannot-conclude", "sentence": "cannot conclude: no score"},
            "base": {**summary["base"], "perplexity": None, "perplexity_reason": "the tokenizers differ"},
        },
    )
    page = page_of(run)
    for words in (
        "? Cannot conclude",
        "There is no mean difference: group 'Cymbeline' has no score.",
        "Cymbeline has no score: tuned: not finite",
        "Perplexity is not shown: the tokenizers differ",
    ):
        assert words in page.text
    assert re.search(r"\bnan\b", page.text) is None
    assert "None" not in page.text


def test_one_group_has_no_interval(tmp_path: Path, run: RunDir) -> None:
    found = json.loads(run.summary.read_text())["difference"]
    alone = {**found, "low": None, "high": None, "half_width": None, "p": None, "n_groups": 1, "reason": "one group"}
    edit(run.summary, {"difference": alone})
    assert "There is no interval from 1 held-out groups: one group." in page_of(run).text


@pytest.mark.parametrize("until", ["prepare", "plan", "train"])
def test_an_unfinished_run_says_what_is_missing(tmp_path: Path, until: str) -> None:
    page = page_of(make_run(tmp_path, until=until))
    following = {"prepare": "plan", "plan": "train", "train": "evaluate"}[until]
    prepared = "Prepared, not trained yet" in page.text
    assert prepared == (until != "train")
    assert ("No verdict: the held-out texts have not been scored." in page.text) == (until == "train")
    if until != "plan":
        assert f"Not measured, because the stage {following} has not finished" in page.text
        assert f"“finished {until}”" in page.text
    # Nothing is said of results that nobody expects yet.
    assert ("Side by side" in page.text) == ("Base against tuned" in page.text) == (not prepared)
    assert f"· Not run {len(OF_A_RUN)}" in page.text
    assert ("Training loss" in page.text) == (until == "train")


def test_a_leak_before_training_is_the_message(tmp_path: Path) -> None:
    leak = record(
        "split-leak", "fail", "12 of 32 held-out texts also stand in training.", measured=0.375, threshold=0.01
    )
    page = page_of(make_run(tmp_path, until="prepare", guards=[leak]))
    assert "No verdict: the validity guard split-leak failed." in page.text
    assert "Not measured, because the guard split-leak failed at the stage prepare." in page.text


def test_an_empty_directory_still_has_a_report(tmp_path: Path) -> None:
    page = page_of(RunDir(tmp_path / "empty" / "run"))
    assert "the stage prepare has not finished" in page.text


def test_a_damaged_file_is_named(run: RunDir) -> None:
    run.summary.write_text("{")
    with pytest.raises(InputError, match="not valid JSON") as caught:
        write_report(run)
    assert caught.value.where == str(run.summary)
    assert not run.report.exists()


def test_the_report_needs_no_torch() -> None:
    code = "import sys, assay.stages.compare.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_within_group_is_students_t_when_sizes_are_equal(tmp_path: Path) -> None:
    path, size, bits = tmp_path / "texts.parquet", 1000, [90.0, 110.0, 97.0, 121.0]
    rows = {
        "group": ["a"] * 4 + ["b"] * 2,
        "bytes": [size] * 6,
        "nll_base": [b * math.log(2) for b in [*bits, 5.0, 6.0]],
        "nll_tuned": [0.0] * 6,
    }
    pl.DataFrame(rows).write_parquet(path)
    found, per_byte = within_group(path), [b / size for b in bits]
    low, high = stats.t.interval(0.95, 3, loc=sum(per_byte) / 4, scale=stats.sem(per_byte))
    assert (found["a"].low, found["a"].high) == (pytest.approx(low), pytest.approx(high))
    assert (found["b"].items, found["b"].low) == (2, None)


def test_numbers_in_words() -> None:
    assert fixed(-0.0004, 2) == "0.00"
    assert fixed(-1.5, 1) == "\u22121.5"
    assert fixed(float("nan"), 2) == fixed(None, 2) == "not recorded"
    assert short(0.014) == "0.014"
    assert short(0.00000012) == "1.2 × 10^\u22127"
    assert short(1234567) == "1,234,567"
    assert interval(0.1, None, 2) == "no interval"
    assert [decimals_for(x) for x in (0.012, 0.0013, 0.4, None)] == [3, 4, 3, 4]
    assert chance(2 / 256) == "about 1 in 128"
    assert chance(0.81) == "81 in 100"
    assert value_text({"peak_memory": 3, "ok": True, "why": None}) == "peak memory: 3, ok: yes, why: none"


def test_axes_have_round_ticks() -> None:
    assert ticks(0, 30) == [0, 10, 20, 30]
    assert ticks(-0.006, 0.131) == [0.0, 0.05, 0.1]
    assert [tick_text(t, [0, 0.025, 0.05]) for t in (0, 0.025, 0.05)] == ["0", "0.025", "0.050"]
    assert ticks(1.0, 1.0) == [1.0]


def test_a_long_curve_keeps_its_mean() -> None:
    points = [(float(i), math.sin(i)) for i in range(4000)]
    drawn, k = thin(points)
    assert len(drawn) == MAX_POINTS
    assert k == 10
    assert sum(y for _, y in drawn) / len(drawn) == pytest.approx(sum(y for _, y in points) / 4000)


def test_a_look_at_the_development_texts_shows_its_interval() -> None:
    chart = curve(
        [(0, 1.5), (10, 1.4)], title="Development texts", unit="bits per byte", last_step=10, tokens_at=[],
        spans=[(0, 1.0, 2.0), (10, 0.9, 1.9)],
    )  # fmt: skip
    ends = [tuple(map(float, found)) for found in re.findall(r'M[\d.]+ ([\d.]+)V([\d.]+)" class="reach"', chart)]
    assert len(ends) == 2
    assert all(0 <= high < low <= 1000 for low, high in ends)
    assert "95 % over groups" in chart


def test_render_leaves_no_trace(run: RunDir) -> None:
    before = sorted(run.path.rglob("*"))
    assert render(run) == render(run)
    assert sorted(run.path.rglob("*")) == before
