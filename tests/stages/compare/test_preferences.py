"""What answers about pairs of texts come to, in words: each way that a number can be missing, and who is preferred."""

from __future__ import annotations

from typing import Any

import fixture_evaluation as fixture
import pytest
from fixture_evaluation import comparison, share
from hypothesis import given
from hypothesis import strategies as st

from assay.core.files import read_json, write_json
from assay.core.rundir import RunDir
from assay.stages.compare.evidence import gather
from assay.stages.compare.preferences import _said, preferences, rate_text

NONE = share(None, None, None, "no groups")


@pytest.fixture
def run(tmp_path: Any) -> RunDir:
    found = fixture.write_evaluation(tmp_path)
    fixture.write_judged(found)
    return found


def told(run: RunDir, kind: str = "judge", **changed: Any) -> dict[str, Any]:
    """What is said of a source with some keys of its record changed."""
    file = {"judge": run.judge, "people": run.ratings}[kind]
    write_json(file, read_json(file) | changed)
    (found,) = [one for one in preferences(gather(run)) if one["kind"] == kind]
    return found


def row(run: RunDir, kind: str = "judge", **changed: Any) -> dict[str, Any]:
    """What is said of one comparison with some keys changed."""
    one = comparison("base", share(0.5, 0.2, 0.8), (3, 2, 3), 1.0) | changed
    (found,) = told(run, kind, comparisons=[one])["rows"]
    return found


# sources


def test_nobody_was_asked(tmp_path: Any) -> None:
    assert preferences(gather(fixture.write_evaluation(tmp_path))) == []


def test_the_judge_stands_before_the_people(run: RunDir) -> None:
    found = preferences(gather(run))
    assert [one["kind"] for one in found] == ["judge", "people"]
    assert [one["who"] for one in found] == ["A language model as judge: a-judge", "People: first, second"]
    assert not any(one["stale"] for one in found)
    run.judge.unlink()
    assert [one["kind"] for one in preferences(gather(run))] == ["people"]


def test_answers_about_other_texts_are_marked(run: RunDir) -> None:
    assert told(run, generations_sha256="0" * 64)["stale"]
    run.generations.unlink()
    assert all(one["stale"] for one in preferences(gather(run)))


def test_the_plot_has_a_line_for_each_rate_that_there_is(run: RunDir) -> None:
    one = comparison("base", share(0.75, 0.5, 0.9), (6, 0, 2), 0.1)
    plot = told(run, comparisons=[one, one | {"rate": NONE, "against": "prompt_only"}])["plot"]
    assert "against Base" in plot
    assert "against Base with examples" not in plot
    assert told(run, comparisons=[one | {"rate": NONE}])["plot"] is None
    # a rate without an interval is drawn without a bar
    alone = told(run, comparisons=[one | {"rate": share(0.75, None, None, "one prompt")}])["plot"]
    assert plot.count("mean-bar") == 1
    assert "mean-bar" not in alone
    assert "against Base" in alone


# who is preferred


@given(
    st.floats(0, 1), st.floats(0, 0.5), st.floats(0, 0.5),
    st.one_of(st.none(), st.floats(0, 1)),
)  # fmt: skip
def test_a_preference_takes_the_test_and_the_interval(mean: float, below: float, above: float, p: float | None) -> None:
    low, high = max(0.0, mean - below), min(1.0, mean + above)
    said = _said({"rate": {"mean": mean, "low": low, "high": high}, "p": p})
    mirrored = _said({"rate": {"mean": 1 - mean, "low": 1 - high, "high": 1 - low}, "p": p})
    other = {"the tuned text is preferred": "the other text is preferred"}
    other |= {value: key for key, value in other.items()}
    if p is None:
        assert said == mirrored == "cannot be told"
    elif p >= 0.05 or low <= 0.5 <= high:
        assert said == "no preference beyond chance"
    else:
        assert said == ("the tuned text is preferred" if low > 0.5 else "the other text is preferred")
        if not (1 - high <= 0.5 <= 1 - low):
            assert mirrored == other[said]


@pytest.mark.parametrize(
    ("rate", "p", "said"),
    [
        (share(0.2, 0.1, 0.4), 0.01, "the other text is preferred"),
        (share(0.8, 0.6, 0.9), 0.01, "the tuned text is preferred"),
        (share(0.8, 0.6, 0.9), 0.06, "no preference beyond chance"),
        (share(0.6, 0.4, 0.8), 0.01, "no preference beyond chance"),
        (share(1.0, None, None, "1 of at least 2 groups"), 1.0, "cannot be told"),
        (NONE, None, "cannot be told"),
    ],
)
def test_what_is_said_of_a_comparison(run: RunDir, rate: dict[str, Any], p: float | None, said: str) -> None:
    found = row(run, rate=rate, p=p)
    assert found["said"] == said
    assert found["p"] == ("none" if p is None else f"{p:g}")


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (share(0.625, 0.475, 0.749), "62\u00a0% (48 to 75\u00a0%)"),
        (share(1.0, 0.0, 1.0), "100\u00a0% (0 to 100\u00a0%)"),
        (share(0.5, None, None, "one prompt"), "50\u00a0% (no interval: one prompt)"),
        (NONE, "none (no groups)"),
    ],
)
def test_a_rate_in_one_line(rate: dict[str, Any], said: str) -> None:
    assert rate_text(rate) == said


# whether the answers can be relied on


@pytest.mark.parametrize(("kind", "again"), [("judge", "asked in both orders"), ("people", "shown twice")])
def test_consistency_is_told_as_it_was_asked(run: RunDir, kind: str, again: str) -> None:
    assert any(f"of 8 pairs {again}" in note for note in row(run, kind)["notes"])
    assert any(f"No pair was {again}" in note for note in row(run, kind, twice=0)["notes"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"blind": False}, "Not blind"),
        ({"equal": 1}, "1 pair of equal texts"),
        ({"equal": 3}, "3 pairs of equal texts"),
        ({"unparsable": 2}, "2 answers could not be read"),
        ({"people": {"share": share(0.75, 0.5, 0.9), "kappa": 0.5, "reason": None}}, "(Cohen’s kappa 0.50)"),
        ({"people": {"share": NONE, "kappa": None, "reason": "one winner only"}}, "none (no groups) of the cases"),
    ],
)
def test_a_note_is_there_only_where_it_applies(run: RunDir, changed: dict[str, Any], words: str) -> None:
    quiet = row(run, unparsable=0)["notes"]
    assert len(quiet) == 3
    assert not any(words in note for note in quiet)
    assert [words in note for note in row(run, **{"unparsable": 0} | changed)["notes"]].count(True) == 1


# strengths, stars, agreement


def test_the_names_of_arms_are_those_of_the_page(run: RunDir) -> None:
    found = told(run)
    assert [one["against"] for one in found["rows"]] == ["Base", "Base with examples"]
    assert found["strengths"]["against"] == "Base"
    assert found["strengths"]["rows"][0] == ("Tuned", "80\u00a0% (55 to 97\u00a0%)")
    assert told(run, "people")["strengths"] == {"reason": "only two arms were compared", "rows": []}


def test_one_rater_has_nobody_to_agree_with(run: RunDir) -> None:
    agree = {"alpha": 0.42, "reason": None}
    assert told(run, "people", raters=["first"], raters_agree=agree)["agree"] is None
    assert "Krippendorff’s alpha 0.42" in told(run, "people", raters=["first", "second"], raters_agree=agree)["agree"]
    unknown = {"alpha": None, "reason": "no unit was rated by two"}
    assert told(run, "people", raters_agree=unknown)["agree"] == (
        "How far the raters agree is not known: no unit was rated by two."
    )
    assert told(run)["agree"] is None  # a judge is alone


def test_stars_as_given_and_beyond_the_others(run: RunDir) -> None:
    given = read_json(run.ratings)["stars"]
    found = told(run, "people")["stars"]
    assert found["rows"] == [("Base", "3.00 (2.50 to 3.50)", None), ("Tuned", "3.75 (3.25 to 4.25)", None)]
    assert found["beyond"] == [("Base", "+0.75 (0.25 to 1.25)")]
    fair = {"base": share(2.5, None, None), "tuned": share(None, None, None, "no anchor")}
    corrected = told(run, "people", stars=given | {"corrected": fair})["stars"]["rows"]
    assert [corrected[0][2], corrected[1][2]] == ["2.50 (no interval)", "none: no anchor"]
    worse = {"base": share(-0.75, -1.25, -0.25)}
    beyond = told(run, "people", stars=given | {"beyond": worse})["stars"]["beyond"]
    assert beyond == [("Base", "−0.75 (−1.25 to −0.25)")]
    assert told(run, "people", stars=None)["stars"] is None
