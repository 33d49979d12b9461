"""What the report says of an evaluation: a newcomer's questions, and each way that a part of it can end."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import fixture_evaluation as fixture
import pytest
from fixture_page import Page, page_of
from fixture_run import edit, make_run
from ruamel.yaml import YAML
from scipy import stats
from statsmodels.stats.multitest import multipletests

from assay.core.guard import record
from assay.core.rundir import RunDir
from assay.stages.compare.manner import beyond_chance
from assay.stages.compare.report import write_report
from assay.stages.compare.words import saving, savings, share_digits
from assay.stats.intervals import Interval, t_interval

ROOT = Path(__file__).parents[2]
QUESTIONS: list[dict[str, Any]] = YAML(typ="safe").load(ROOT / "tests" / "questions" / "worked-example.yaml")


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    found = fixture.write_evaluation(tmp_path)
    fixture.write_judged(found)
    return found


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Page:
    found = fixture.write_evaluation(tmp_path_factory.mktemp("example"))
    fixture.write_judged(found)
    return page_of(found)


def change(run: RunDir, key: str, **values: Any) -> None:
    """Replace keys of one part of the summary."""
    edit(run.summary, {key: json.loads(run.summary.read_text())[key] | values})


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked["question"])
def test_the_page_answers_a_newcomers_question(example: Page, asked: dict[str, Any]) -> None:
    said = example.section(asked["section"])
    for answer in asked["answers"]:
        assert answer in said


def test_the_guide_asks_the_same_questions_and_names_the_section() -> None:
    guide = (ROOT / "docs" / "reading-a-report.md").read_text(encoding="utf-8")
    headings = [line.removeprefix("## ").split(". ", 1)[1] for line in guide.splitlines() if line.startswith("## ")]
    assert headings == [asked["question"] for asked in QUESTIONS]
    assert len(headings) == 12


@pytest.mark.parametrize("key", ["forgetting", "memorisation", "generation"])
def test_a_run_of_an_earlier_version_says_what_it_did_not_measure(tmp_path: Path, key: str) -> None:
    section = {"forgetting": "kept", "memorisation": "recited", "generation": "manner"}[key]
    page = page_of(make_run(tmp_path))
    assert "Not measured, because the run was evaluated by a version that did not measure this" in page.section(section)


@pytest.mark.parametrize("section", ["kept", "recited", "manner", "generations", "cost"])
def test_an_unfinished_run_says_why(tmp_path: Path, section: str) -> None:
    page = page_of(make_run(tmp_path, until="train"))
    assert "Not measured, because the stage evaluate has not finished" in page.section(section)


def test_a_failed_validity_guard_is_said_beside_all_numbers(run: RunDir) -> None:
    run.guards.add(record("adapter-effect", "fail", "the adapter does nothing"))
    page = page_of(run)
    for section in ("results", "groups", "kept", "recited", "manner", "generations"):
        assert "Do not trust these numbers." in page.section(section)


def test_what_a_failed_guard_means_is_said(example: Page) -> None:
    said = example.section("guards")
    assert "What it means: the numbers are right and unwelcome: this belongs to the verdict." in said


def test_three_models_stand_side_by_side_and_text_is_escaped(run: RunDir, example: Page) -> None:
    said = example.section("generations")
    for words in ("Base base says 0 <b>␇", "Base with examples prompt_only says 0", "Tuned tuned says 7 <b>␇"):
        assert words in said
    assert "the base was shown 2 training texts before the prompt" in said
    assert "says 0 <b>" not in write_report(run).read_text(encoding="utf-8")


def test_nothing_was_generated(run: RunDir) -> None:
    edit(run.summary, {"generation": {"cost": {}, "manner": None}})
    change(run, "memorisation", longest_span=None)
    run.generations.write_text("")
    page = page_of(run)
    assert "Not measured, because no prompts were continued" in page.section("manner")
    assert "Not measured, because no prompts were continued" in page.section("cost")
    assert "the experiment names no prompts" in page.section("generations")
    assert "No text was generated, so no copied piece can be looked for" in page.section("recited")


def test_what_an_earlier_run_measured_and_what_shared_the_machine_is_said(run: RunDir, example: Page) -> None:
    assert "earlier run" not in example.section("results")
    assert "not comparable" not in example.section("cost")
    at = "2026-01-02T03:04:05+00:00"
    parts = [{"what": what, "run": "r1", "measured": at} for what in ("scores (held-out texts)", "recital")]
    costs = json.loads(run.summary.read_text())["generation"]["cost"]
    costs["base"] |= {"measured": at, "run": "r1", "others": 0.0, "cores": 2}
    costs["tuned"] |= {"measured": at, "others": 0.9, "cores": 2}
    edit(run.summary, {"from_earlier_runs": parts})
    change(run, "generation", cost=costs)
    page = page_of(run)
    assert "earlier run" in page.section("results")
    assert f"scores (held-out texts), recital: by r1 ({at})." in page.section("results")
    said = page.section("cost")
    assert f"Base: measured on {at} by the run r1, which asked the base the same." in said
    assert "Tuned: not comparable: it shared the machine, other work kept 0.9 of 2 cores busy." in said
    assert said.count("not comparable") == said.count("measured on") == 1


def test_kept_texts_in_each_way(run: RunDir) -> None:
    better = fixture.text("fr", True, 2.0, 0.2, 0.18, 0.22, "not-worse")
    unclear = fixture.text("es", True, 2.0, 0.03, -0.02, 0.08, "not-worse")
    unasked = fixture.text("sv", False, 2.0, -0.1, -0.12, -0.08, "beyond")
    none = {"name": "own.txt", "named": True, "groups": 1, "base_bpb": 1.0, "tuned_bpb": 1.0, "outcome": None,
            "reason": "1 of at least 2 groups"}  # fmt: skip
    change(run, "forgetting", texts=[better, unclear, unasked, none], suites=[])
    said = page_of(run).section("kept")
    for words in (
        "Forgotten: Swedish. A loss of more than 2 % is shown.",
        "Kept: French, Spanish. A loss of more than 2 % is ruled out.",
        "Not measured: own.txt.",
        "kept, and predicted better than before",
        "kept: no loss of more than 2 %",
        "not measured: 1 of at least 2 groups",
        "12 texts, measured in any case",
        "10.0 % fewer bits",
    ):
        assert words in said
    assert "Questions with one right answer" not in said


def test_questions_that_show_nothing(run: RunDir) -> None:
    (suite,) = fixture.FORGETTING["suites"]
    same = suite | {"tuned": 0.5, "only_first": 10, "only_second": 10, "both": 30, "p": 1.0, "guessing": 0.25}
    lost = suite | {
        "name": "lost",
        "base": None,
        "tuned": None,
        "p": None,
        "reason": "of 80 items none was scored",
    }
    change(run, "forgetting", suites=[same, lost])
    said = page_of(run).section("kept")
    assert "no difference shown, which does not prove that there is none" in said
    assert "80 questions; guessing gets 25 %" in said
    assert "not measured: of 80 items none was scored" in said


def test_tasks_of_the_harness(run: RunDir) -> None:
    task = {
        "task": "arc_easy", "task_version": "1", "shots": 0, "metric": "acc", "filter": "none", "n": 200,
        "higher_is_better": True, "base": 0.61, "base_stderr": 0.0344, "tuned": 0.52, "tuned_stderr": 0.0353,
        "p": 0.004, "p_holm": 0.004,
    }  # fmt: skip
    group = {"p": None, "p_holm": None, "n": None, "base_stderr": None, "reason": "a group of tasks"}
    edit(run.summary, {"harness": {"lm_eval": "0.4.9", "chat_template": False, "metrics": [task, task | group]}})
    said = page_of(run).section("kept")
    assert "arc_easy acc, 0 examples, 200 questions 0.610 ± 0.034 0.520 ± 0.035 0.004 worse than before" in said
    assert "0.610 no standard error" in said
    assert "not tested: a group of tasks" in said


def test_no_sign_of_recital_says_what_could_have_been_missed(run: RunDir) -> None:
    nothing = {"train": {"base": 0.0, "tuned": 0.0}, "held_out": {"base": 0.0, "tuned": 0.0}}
    change(run, "memorisation", rates=nothing, excess=0.0, longest_span=4, rows={"train": 40, "held_out": 28})
    said = page_of(run).section("recited")
    assert "No sign of recital. 0 of 40 stretches of training text came back word for word" in said
    assert "a true share of up to 9 % would be in keeping with that" in said  # 1 - 0.025^(1/40) = 8.8 %
    assert "one stretch more or less would move it by up to 3.6 points" in said
    assert "It recites" not in said
    assert "could not be seen here" not in said


def test_texts_too_short_to_show_a_copied_piece_are_told(run: RunDir) -> None:
    change(run, "memorisation", longest_span=4, longest_text=48)
    assert "The longest generated text has 48 tokens, so a longer piece could not be seen here" in page_of(run).section(
        "recited"
    )


def test_rows_too_short_for_a_stretch(run: RunDir) -> None:
    none = {"base": None, "tuned": None}
    empty = {"train": 0, "held_out": 0}
    change(run, "memorisation", rates={"train": none, "held_out": none}, excess=None, rows=empty)
    said = page_of(run).section("recited")
    assert "Whether it recites could not be measured." in said
    assert "is not known: it takes stretches of training texts and of held-out ones" in said


def test_style_needs_six_prompts(run: RunDir) -> None:
    metrics = {name: one | {"difference": one["difference"] | {"units": 5}} for name, one in fixture.METRICS.items()}
    generation = json.loads(run.summary.read_text())["generation"]
    edit(run.summary, {"generation": generation | {"manner": generation["manner"] | {"metrics": metrics}}})
    said = page_of(run).section("manner")
    assert "5 prompts: too few to tell a difference in style from chance, which takes 6" in said
    assert "beyond chance. " not in said


def test_the_table_of_metrics(example: Page) -> None:
    said = example.section("manner")
    for words in (
        "words words in a text 100.0 90.0 to 110.0 110.0 99.0 to 121.0 120.0 108.0 to 132.0 150.0 135.0 to 165.0 +20.0",
        "+20.0 15.0 to 25.0 higher, nearer to the held-out texts",
        "not measured: fewer than 50 words, or none that comes twice",
        "50 % 45 to 55 75 % 68 to 82 – does not apply",
        "the first 40 words of each text only: 7 prompts, 1 left out as too short; 60 held-out texts",
        "1 more metric ",
        "commas per 1,000 characters",
        "Base 8 0.50 0.88 none 1.75",
    ):
        assert words in said


def test_words_are_shown_with_how_often_they_stand(run: RunDir) -> None:
    generation = json.loads(run.summary.read_text())["generation"]
    use = {"word": "sea <b>", "log_odds": 1.0, "z": 2.5, "count": 12, "reference_count": 3}
    edit(run.summary, {"generation": generation | {"vocabulary": {"over": [use], "under": []}}})
    said = page_of(run).section("manner")
    assert "More often: sea <b> (12 / 3)." in said
    assert "Less often: none." in said


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (
            None,
            "Of 60 dev passages, half of them continued by the base, it tells 90 % right (79 to 96 %; guessing: 50 %)",
        ),
        ("50% of 60 development texts are told right", "There is none: 50% of 60 development texts are told right."),
    ],
)
def test_a_classifier_is_shown_with_how_good_it_is(run: RunDir, reason: str | None, words: str) -> None:
    quality = {"texts": 60, "accuracy": 0.9, "low": 0.79, "high": 0.96, "chance": 0.5, "temperature": 1.0, "ece": 0.1}
    generation = json.loads(run.summary.read_text())["generation"]
    assert "Like the data" not in page_of(run).section("manner")
    edit(
        run.summary,
        {"generation": generation | {"adherence": {"words": 40, "reason": reason, "quality": quality}}},
    )
    assert words in page_of(run).section("manner")


def test_beyond_chance_is_the_paired_t_test_by_benjamini_and_hochberg() -> None:
    draw = random.Random(1)
    samples = {f"metric-{i}": [draw.gauss(i / 8, 1.0) for _ in range(9)] for i in range(20)}
    cells = {}
    for name, values in samples.items():
        ends = t_interval(values)
        assert isinstance(ends, Interval)
        cells[name] = {"mean": sum(values) / 9, "low": ends.low, "high": ends.high, "units": 9}
    expected = multipletests([stats.ttest_1samp(v, 0).pvalue for v in samples.values()], 0.05, "fdr_bh")[0]
    found = beyond_chance(cells)
    assert list(found.values()) == expected.tolist()
    assert 0 < sum(expected) < 20


def test_prompts_that_all_differ_alike_are_as_sure_as_their_number() -> None:
    same = {"mean": 1.0, "low": 1.0, "high": 1.0}
    assert beyond_chance({"a": same | {"units": 6}}) == {"a": True}  # 2 ÷ 2⁶ = .031
    assert beyond_chance({"a": same | {"units": 5}}) == {"a": None}  # 2 ÷ 2⁵ could never be below .05
    assert beyond_chance({"a": same | {"mean": 0.0, "low": 0.0, "high": 0.0, "units": 50}}) == {"a": False}


def test_answers_of_a_judge_and_of_people(example: Page) -> None:
    said = example.section("generations")
    for words in (
        "A language model as judge: a-judge",
        "81 % 60 to 95 %",
        "6 / 1 / 1",
        "the tuned text is preferred",
        "The same winner again in 88 % (47 to 99 %) of 8 pairs asked in both orders",
        "The text shown first won 55 % (40 to 70 %)",
        "1 answer could not be read",
        "the chance of being preferred to Base: Tuned 80 % (55 to 97 %); Base with examples 78 % (50 to 96 %)",
        "People: first, second",
        "No pair was shown twice: whether the answers would come out again is unknown",
        "Not blind: one model’s text always stood first",
        "none no groups",
        "cannot be told",
        "Krippendorff’s alpha 0.42",
        "Tuned 3.75 (3.25 to 4.25)",
        "Tuned − base +0.75 (0.25 to 1.25)",
        "scales cannot be aligned",
    ):
        assert words in said
    assert "about other texts" not in said


def test_answers_about_other_texts_are_said_to_be_so(run: RunDir) -> None:
    with run.generations.open("a") as stream:
        stream.write(json.dumps({"prompt": "And", "seed": 50, "base": "a", "tuned": "b"}) + "\n")
    assert page_of(run).section("generations").count("These answers are about other texts.") == 2


def test_nobody_was_asked(tmp_path: Path) -> None:
    said = page_of(fixture.write_evaluation(tmp_path)).section("generations")
    assert "Not measured, because nobody has compared the texts" in said


def test_several_looks_at_the_test_texts_are_counted(run: RunDir) -> None:
    run.guards.add(
        record("selection-hygiene", "warn", "3 weights", measured={"looks": 3, "chosen": ["the early stop"]})
    )
    page = page_of(run)
    assert "3 different trained models were measured on these texts" in page.section("verdict")
    assert "counts p 3 times over, as 0.023" in page.section("verdict")  # 3 · 2 ÷ 256
    assert "by which the early stop was chosen and which are not in the verdict" in page.section("training")


def test_the_same_files_give_the_same_bytes(run: RunDir) -> None:
    assert write_report(run).read_bytes() == write_report(run).read_bytes()


def test_changes_in_words() -> None:
    assert saving(0.0487, 1) == "4.9\u00a0% fewer"
    assert saving(-0.02, 0) == "2\u00a0% more"
    assert savings(0.043, 0.055, 1) == "4.3\u00a0% to 5.5\u00a0% fewer"
    assert savings(-0.055, -0.043, 1) == "4.3\u00a0% to 5.5\u00a0% more"
    assert savings(-0.011, 0.004, 1) == "1.1\u00a0% more to 0.4\u00a0% fewer"
    assert [share_digits(x) for x in (None, 3.0, 0.6, 0.09, 0.002)] == [1, 1, 1, 2, 3]
