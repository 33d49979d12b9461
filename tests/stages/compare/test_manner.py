"""How each model writes, in words: which way is better, what has no interval, and which texts a page can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fixture_evaluation as fixture
import pytest
from fixture_evaluation import interval, metric
from fixture_run import edit, make_run
from hypothesis import given
from hypothesis import strategies as st

from assay.core.files import read_json, write_lines
from assay.core.rundir import RunDir
from assay.stages.compare.evidence import gather
from assay.stages.compare.manner import FIRST, PLAIN, SHOWN_PROMPTS, TEXT_LIMIT, generations, manner, visible

CLEAR = interval(0.2, 0.01)  # far beyond chance


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return fixture.write_evaluation(tmp_path)


def table(run: RunDir, **metrics: dict[str, Any]) -> dict[str, Any]:
    """The section on these metrics, by name with blanks for underscores."""
    generation = read_json(run.summary)["generation"]
    named = {name.replace("_", " "): one for name, one in metrics.items()}
    edit(run.summary, {"generation": generation | {"manner": generation["manner"] | {"metrics": named}}})
    return manner(gather(run))


def row(run: RunDir, one: dict[str, Any]) -> dict[str, Any]:
    return table(run, commas=one)["others"][0]


# which way is better


@pytest.mark.parametrize(
    ("better", "arms", "mean", "said"),
    [
        ("higher", [0.4, 0.5, 0.6], 0.2, "higher, which is better"),
        ("higher", [0.6, 0.5, 0.4], -0.2, "lower, which is worse"),
        ("lower", [0.4, 0.5, 0.6], 0.2, "higher, which is worse"),
        ("lower", [0.6, 0.5, 0.4], -0.2, "lower, which is better"),
        ("none", [0.4, 0.5, 0.6], 0.2, "higher"),
        ("reference", [0.4, 0.5, 0.6, 0.9], 0.2, "higher, nearer to the held-out texts"),
        ("reference", [0.4, 0.5, 0.6, 0.45], 0.2, "higher, further from the held-out texts"),
        ("reference", [0.6, 0.5, 0.4, 0.3], -0.2, "lower, nearer to the held-out texts"),
        ("reference", [0.4, 0.5, 0.6], 0.2, "higher"),
    ],
)
def test_a_clear_difference(run: RunDir, better: str, arms: list[float], mean: float, said: str) -> None:
    found = row(run, metric("words", better, arms, interval(mean, 0.01)))
    assert (found["said"], found["marked"]) == (said, True)


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (interval(0.2, 0.5), "no difference beyond chance"),
        (interval(0.2, 0.01, units=5), "too few prompts to tell"),
        (interval(None, units=0, reason="there is no comma"), "not measured: there is no comma"),
    ],
)
def test_no_clear_difference(run: RunDir, difference: dict[str, Any], said: str) -> None:
    found = row(run, metric("words", "higher", [0.4, 0.5, 0.6], difference))
    assert (found["said"], found["marked"]) == (said, False)


def test_the_answer_names_what_differs_and_counts_the_rest(run: RunDir) -> None:
    clear = metric("words", "none", [1, 1, 2], CLEAR)
    same = metric("words", "none", [1, 1, 1], interval(0.0, 0.5))
    lost = metric("words", "none", [1, 1, 1], interval(None, units=0, reason="-"))
    assert table(run, a=clear, b=same, c=lost)["answer"] == ["1 of 2 metrics differ beyond chance. a: higher."]
    assert table(run, b=same, c=lost)["answer"] == [
        "No difference in style beyond chance, in any of 1 metrics over 8 prompts."
    ]
    (answer,) = table(run, c=lost)["answer"]
    assert answer.startswith("0 prompts: too few to tell a difference in style from chance, which takes 6 prompts.")


# cells


def test_shares_are_per_cent_and_their_differences_points(run: RunDir) -> None:
    found = row(run, metric("share of outputs", "none", [0.5, 0.5, 0.7], interval(0.2, 0.1)))
    assert found["cells"][0] == ("50\u00a0%", "45 to 55")
    assert found["difference"] == ("+20\u00a0points", "10 to 30")
    plain = row(run, metric("words", "none", [50, 50, 70], interval(20, 10)))
    assert plain["cells"][0] == ("50", "45 to 55")
    assert plain["difference"] == ("+20", "10 to 30")


def test_the_interval_of_a_share_ends_where_shares_end(run: RunDir) -> None:
    one = metric("share of outputs", "none", [0.02, 0.5, 0.98], interval(-0.9, 0.3))
    one["arms"]["base"] = interval(0.02, 0.1)
    one["arms"]["tuned"] = interval(0.98, 0.1)
    found = row(run, one)
    assert found["cells"][0] == ("2\u00a0%", "0 to 12")
    assert found["cells"][2] == ("98\u00a0%", "88 to 100")
    assert found["difference"] == ("−90\u00a0points", "−100 to −60")


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ({}, ("–", "does not apply")),
        (interval(None, units=0, reason="no comma"), ("none", "no comma")),
        (interval(3.0, 0.0), ("3", "all alike")),
        (interval(3.0, 1.0, units=6), ("3", "2 to 4, 6 of 8")),
        (interval(3.0) | {"low": None, "high": None}, ("3", "no interval")),
        (interval(3.0, units=1) | {"low": None, "high": None}, ("3", "no interval, 1 of 8")),
    ],
)
def test_a_cell_says_what_it_lacks(run: RunDir, cell: dict[str, Any], shown: tuple[str, str]) -> None:
    one = metric("words", "none", [10, 10, 10], interval(1.0, 20.0))
    one["arms"]["base"] = cell
    assert row(run, one)["cells"][0] == shown


def test_the_reason_is_said_once_where_the_whole_row_has_none(run: RunDir) -> None:
    found = row(run, fixture.METRICS["MTLD"])
    assert set(found["cells"]) == {("none", "")}
    assert "fewer than 50 words" in found["said"]


def test_what_a_newcomer_looks_at_first(run: RunDir) -> None:
    one = metric("words", "none", [1, 1, 1], CLEAR)
    found = table(run, commas=one, stop_rate=one, words=one, dashes=one)
    assert [row["name"] for row in found["first"]] == ["words", "stop rate"]
    assert [row["name"] for row in found["others"]] == ["commas", "dashes"]
    assert [row["plain"] for row in found["first"]] == [PLAIN["words"], PLAIN["stop rate"]]
    assert found["others"][0]["plain"] == "words"  # its unit, where it has no plain words
    assert set(FIRST) <= set(PLAIN)


def test_arms_that_nobody_made_have_no_column(run: RunDir) -> None:
    one = metric("words", "none", [1, 1, 2], CLEAR)
    del one["arms"]["prompt_only"]
    found = table(run, commas=one)
    assert (found["arms"], found["examples"]) == (["Base", "Tuned"], None)
    assert [row["label"] for row in found["together"]["rows"]] == ["Base", "Tuned"]


# the texts


@given(st.text())
def test_no_control_character_reaches_a_page_and_nothing_is_lost(text: str) -> None:
    shown = visible(text)
    assert len(shown) == len(text)
    for before, after in zip(text, shown, strict=True):
        if (before < " " and before not in "\t\n") or before == "\x7f":
            assert "\u2400" <= after <= "\u2421"
        else:
            assert after == before
    assert visible(shown) == shown


def test_each_control_character_has_a_sign_of_its_own() -> None:
    controls = [chr(code) for code in (*range(0x20), 0x7F) if chr(code) not in "\t\n"]
    assert len(set(map(visible, controls))) == len(controls)
    assert visible("\x00\x1b\x7f") == "␀␛␡"


def line(number: int, **texts: str) -> dict[str, Any]:
    found: dict[str, Any] = {"prompt": f"prompt {number}", "seed": number}
    for arm, text in texts.items():
        found |= {arm: text, f"tokens_{arm}": len(text), f"stopped_{arm}": arm == "tuned"}
    return found


@pytest.mark.parametrize("count", [1, SHOWN_PROMPTS, SHOWN_PROMPTS + 3])
def test_so_many_prompts_are_shown_and_the_others_counted(run: RunDir, count: int) -> None:
    write_lines(run.generations, [line(n, base="b", tuned="t") for n in range(count)])
    found = generations(gather(run))
    assert len(found["rows"]) + found["cut"] == count
    assert [one["prompt"] for one in found["rows"]] == [f"prompt {n}" for n in range(min(count, SHOWN_PROMPTS))]
    assert [side["label"] for side in found["rows"][0]["sides"]] == ["Base", "Tuned"]
    assert [side["end"] for side in found["rows"][0]["sides"]] == ["cut at the limit", "ended by itself"]
    assert found["examples"] is None


@pytest.mark.parametrize("length", [TEXT_LIMIT, TEXT_LIMIT + 1, TEXT_LIMIT + 70])
def test_a_long_text_is_cut_and_says_so(run: RunDir, length: int) -> None:
    write_lines(run.generations, [line(0, base="x" * length, tuned="t", prompt_only="p")])
    found = generations(gather(run))
    base, shown, tuned = found["rows"][0]["sides"]
    more = length - TEXT_LIMIT
    assert base["text"] == "x" * TEXT_LIMIT + (f" … ({more} more characters)" if more else "")
    assert (base["tokens"], tuned["text"], shown["css"]) == (f"{length:,}", "t", "prompt-only")
    assert found["examples"] == "2 training texts"


def test_without_texts_it_is_said_why(tmp_path: Path, run: RunDir) -> None:
    run.generations.write_text("")
    assert generations(gather(run)) == {"missing": "the experiment names no prompts"}
    unfinished = make_run(tmp_path / "other", until="train")
    assert generations(gather(unfinished))["missing"].startswith("the stage evaluate has not finished")
