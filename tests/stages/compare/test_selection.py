"""Choosing a model: weights as they are written, what takes part, and what is said of the choice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixture_compare import FLAT
from fixture_selection import PROMPTS, rate, varied, write_selectable

from assay.core.errors import InputError
from assay.core.files import read_json, write_json
from assay.stages.compare.criteria import KINDS
from assay.stages.compare.entries import Entry
from assay.stages.compare.selection import Selection, check_weights, parse_weights, select
from assay.stages.compare.selection_page import section_html, section_markdown

Make = Callable[..., Entry]
NOISY = [1.9 + 0.01 * (g % 4) for g in range(len(FLAT))]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that writes an entry of one run."""

    def made(name: str, bits: list[float] | None = None, **how: Any) -> Entry:
        folder = tmp_path / "runs" / re.sub(r"\W", "-", name) / "run"
        return Entry(name, (write_selectable(folder, bits or FLAT, [varied(12)] * PROMPTS, **how),))

    return made


def chosen(entries: list[Entry], weights: dict[str, float] | None = None) -> Selection:
    found = select(entries, weights)
    json.dumps(found.as_json(), allow_nan=False)
    assert section_html(found)
    assert section_markdown(found)
    return found


# weights


def test_weights_as_they_are_written() -> None:
    assert parse_weights([]) is None
    assert parse_weights(["quality=3,memory=1"]) == parse_weights(["quality=3", " memory = 1 "])
    assert parse_weights(["quality=3,memory=1"]) == {"quality": 3.0, "memory": 1.0}
    assert parse_weights(["quality=1,speed=0"]) == {"quality": 1.0, "speed": 0.0}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("qualty=3", "'qualty' is no criterion.*did you mean quality"),
        ("quality=many", "'quality=many' is no weight"),
        ("quality", "'quality' is no weight"),
        ("", "'' is no weight"),
        ("quality=-1", "the weight -1.*a number from 0 up"),
        ("quality=nan", "the weight nan"),
        ("quality=inf", "the weight inf"),
        ("quality=1,quality=2", "quality has two weights"),
        ("quality=0,memory=0", "all weights are 0"),
    ],
)
def test_weights_that_are_none(given: str, said: str) -> None:
    with pytest.raises(InputError, match=re.compile(said, re.DOTALL)) as caught:
        parse_weights([given])
    assert caught.value.where == "--weights"


def test_weights_from_elsewhere_are_checked_too() -> None:
    with pytest.raises(InputError, match="no criterion"):
        check_weights({"beauty": 1.0})


# what takes part


def test_without_weights_nothing_is_chosen(make: Make) -> None:
    found = chosen([make("a"), make("b", NOISY)])
    assert found.sentences[0].startswith("no entry is chosen: what each criterion is worth is yours to say")
    assert (found.chosen, found.as_json()["choice"]) == (None, None)
    assert found.as_json()["in_weightings"] == {"a": 0.0, "b": 1.0}
    for said in (section_html(found), section_markdown(found)):
        assert "Overall" not in said
        assert "100 %" in said.replace("\u00a0", " ")
    assert {row.name for row in found.rows} == KINDS.keys() - {"instructions"}
    assert found.left_out == (("instructions", "the prompts ask for nothing that can be checked"),)
    assert found.choice is not None
    assert found.choice.dominated == {"a": ("b",)}  # b is better in quality, and alike in everything else
    assert any("a is chosen under no weights: b is as good or better in everything" in s for s in found.sentences)


def test_what_one_entry_lacks_counts_for_none(make: Make) -> None:
    one, two = make("a", checks=0.9), make("b")
    write_json(two.runs[0].stages, {n: s | {"others": 2.0} for n, s in read_json(two.runs[0].stages).items()})
    found = chosen([one, two])
    left = dict(found.left_out)
    assert left.keys() == {"instructions", "training-time", "speed", "latency"}
    assert left["instructions"].startswith("b: the prompts ask for nothing")
    assert left["training-time"].startswith("b: not comparable: the machine was shared")


def test_what_was_measured_otherwise_is_left_out(make: Make) -> None:
    found = chosen([make("a"), make("b", learned="b")])
    assert dict(found.left_out)["adherence"] == "the entries have other classifier"


def test_weighed_criteria_that_nobody_has(make: Make) -> None:
    found = chosen([make("a"), make("b")], {"instructions": 1.0})
    assert found.choice is None
    assert found.sentences == ["none of the weighed criteria (instructions) could be measured for all entries alike"]
    assert "could be measured" in section_markdown(found)


# the choice


def test_the_weights_decide(make: Make) -> None:
    # a predicts better, b needs less memory
    entries = [make("a", NOISY), make("b", cost={"peak_memory": 5e8})]
    by_quality = chosen(entries, {"quality": 3.0, "memory": 1.0})
    assert by_quality.choice is not None
    assert (by_quality.choice.chosen, by_quality.choice.overall) == ("a", (0.75, 0.25))
    assert by_quality.sentences[0] == "a is chosen under your weights: overall 0.75 of 1; next is b with 0.25"
    # of two criteria each decides half of all weightings, and the other beyond a half
    said = "it stays chosen in 50 % of all possible weightings of these 2 criteria (b 50 %)"
    assert said in [sentence.replace("\u00a0", " ") for sentence in by_quality.sentences]
    turns = next(sentence for sentence in by_quality.sentences if sentence.startswith("it would be"))
    assert "b if training memory counted more than 0.50 (now 0.25)" in turns
    assert any("confirm it on texts that had no part in it" in sentence for sentence in by_quality.sentences)
    by_memory = chosen(entries, {"quality": 1.0, "memory": 3.0})
    assert by_memory.choice is not None
    assert by_memory.choice.chosen == "b"
    alone = chosen(entries, {"memory": 1.0})
    assert "training memory alone is weighed" in alone.sentences
    assert not any("confirm it" in sentence for sentence in alone.sentences)


def test_a_tie_is_said_and_not_broken(make: Make) -> None:
    found = chosen([make("a", NOISY), make("b", cost={"peak_memory": 5e8})], {"quality": 1.0, "memory": 1.0})
    assert found.choice is not None
    assert found.choice.chosen is None
    assert (
        "a and b are equally good under your weights (overall 0.50 of 1), so that none is chosen" in found.sentences[0]
    )
    said = found.sentences[1].replace("\u00a0", " ")
    assert re.match(r"measured values redrawn within their uncertainty choose [ab] in \d+ % of the cases \([ab] ", said)
    assert said.endswith("(measured once: training memory within 3 %)")


def test_a_difference_that_chance_could_make_is_told(make: Make) -> None:
    one = [2.0 + 0.1 * (g % 2) for g in range(8)]
    other = [2.1 - 0.1 * (g % 2) - 0.001 for g in range(8)]
    found = chosen([make("a", one), make("b", other)], {"quality": 1.0})
    assert found.choice is not None
    assert found.choice.chosen == "b"
    assert 0.4 < found.choice.in_draws[1] < 0.6
    assert any("does not tell it from the others for sure" in sentence for sentence in found.sentences)
    sure = chosen(
        [make("c", FLAT), make("d", [bits - 0.1 for bits in FLAT[:-1]] + [FLAT[-1] - 0.11])], {"quality": 1.0}
    )
    assert sure.choice is not None
    assert sure.choice.in_draws == (0.0, 1.0)


def test_what_was_measured_once_is_said(make: Make) -> None:
    found = chosen([make("a"), make("b", cost={"train_seconds": 30.0})], {"training-time": 1.0, "size": 1.0})
    told = "(measured once: training time within 10 %, size of what is saved as measured)"
    assert any(told in sentence.replace("\u00a0", " ") for sentence in found.sentences)


def test_noise_of_a_cost_decides_nothing(make: Make) -> None:
    # b predicts worse, and its 4 MB less of 662 are what two runs of one thing differ by
    a, b = make("a", NOISY, cost={"peak_memory": 662e6}), make("b", cost={"peak_memory": 658e6})
    found = chosen([a, b], {"quality": 1.0, "memory": 3.0})
    assert found.choice is not None
    assert (found.choice.chosen, found.choice.scores) == ("a", ((1.0, 1.0), (0.0, 1.0)))
    assert found.choice.dominated == {"b": ("a",)}
    row = next(line for line in section_markdown(found).splitlines() if line.startswith("| Training memory"))
    assert "**" not in row
    # half the memory is a difference
    b = make("c", cost={"peak_memory": 331e6})
    assert chosen([a, b], {"quality": 1.0, "memory": 3.0}).chosen == "c"


def test_one_entry_is_no_choice(make: Make) -> None:
    assert chosen([make("a")]).sentences == ["a is the only entry: there is nothing to choose from"]


def test_the_same_measurements_give_the_same_choice(make: Make) -> None:
    entries = [make("a"), make("b", NOISY, cost={"peak_memory": 2e9}), make("c", cost={"train_seconds": 30.0})]
    assert chosen(entries).as_json() == chosen(entries).as_json()


# the section


def test_the_section_shows_each_value_with_its_interval_and_source(make: Make) -> None:
    one, two = make("a <b>", NOISY), make("b", cost={"peak_memory": 5e8})
    for entry, mean in ((one, 0.7), (two, 0.4)):
        rate(entry.runs[0], mean)
    found = chosen([one, two], {"quality": 1.0, "coherence": 1.0, "adherence": 1.0, "memory": 1.0})
    page, text = section_html(found), section_markdown(found)
    assert "<b>" not in re.sub(r"<b>[^<]*</b>", "", page)
    assert "a &lt;b&gt;" in page
    for said in ("blind ratings of 50 pairs by 2 raters", "a classifier’s opinion"):
        assert said in page.lower()
        assert said in text.lower()
    assert "60.0\u00a0% to 80.0\u00a0%" in page
    assert "rated</small>" in page
    numbers = re.findall(r'<li id="source-(\d+)"', page)
    assert {*re.findall(r'href="#source-(\d+)"', page)} == {*numbers}
    assert "| Overall (of 1) |" in text
    assert "Left out, for all entries" in text


def test_the_best_is_marked_as_far_as_it_counts(make: Make) -> None:
    lines = section_markdown(chosen([make("a", NOISY, span=20, lost=0.05), make("b", span=12)])).splitlines()
    rows = {line.split(" (")[0].removeprefix("| "): line for line in lines if line.startswith("| ")}
    assert "**" in rows["Forgetting"].split("|")[4]
    assert "**" in rows["Quality of prediction"].split("|")[3]
    assert "**" not in rows["Longest copied passage"]  # both are below what counts as copied


# the documentation


def test_the_documentation_names_every_criterion_and_its_direction() -> None:
    page = (Path(__file__).parents[3] / "docs" / "selection.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \|.*\| (more|less) \|$", page, re.MULTILINE)
    assert dict(rows) == {name: "more" if kind.higher else "less" for name, kind in KINDS.items()}


def test_a_weighed_criterion_that_could_not_be_weighed_is_told(make: Make) -> None:
    found = chosen([make("a"), make("b", NOISY, heard=None)], {"quality": 3, "adherence": 1})
    assert "under your weights without genre adherence, which could not be weighed" in found.sentences[0]
    assert "without" not in chosen([make("c"), make("d", NOISY)], {"quality": 3, "adherence": 1}).sentences[0]
