"""The table of an evaluation: which texts go into it, and what of it the guard on repetition is given."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from scipy.stats import sem, t

from assay.core.records import Item, Turn
from assay.model.generate import Generation
from assay.stages.evaluate.generations import Arm
from assay.stages.evaluate.style import REFERENCE, compare, repetition, vocabulary_use
from assay.text.metrics.summary import Measured
from assay.text.suites import Prompt

PROMPTS = [Prompt(str(n), f"Prompt {n}") for n in range(4)]
HELD = [Item(f"h{n}", f"held {n}", f"one two three four held number {n} " * 3) for n in range(4)]
KNOWN = frozenset(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"])


def arm(texts: Sequence[str], stopped: Sequence[bool]) -> Arm:
    return Arm([Generation(text, text, (), end) for text, end in zip(texts, stopped, strict=True)], {})


ARMS = {
    "base": arm(["one two three four"] * 3 + ["zero"], [True, False, False, False]),
    "tuned": arm(["one zero zero four five six seven eight"] * 4, [True, True, False, True]),
}


def sample_of(
    prompts: Sequence[Prompt] = PROMPTS, test: Sequence[Item] = HELD, vocabulary: frozenset[str] = KNOWN,
    chat: bool = False,
) -> Any:  # fmt: skip
    return SimpleNamespace(prompts=prompts, test=test, vocabulary=vocabulary, asking=SimpleNamespace(chat=chat))


def table(
    arms: Mapping[str, Arm] = ARMS, prompts: Sequence[Prompt] = PROMPTS, test: Sequence[Item] = HELD,
    vocabulary: frozenset[str] = KNOWN, chat: bool = False, ear: Any = None,
) -> Any:  # fmt: skip
    found = compare(sample_of(prompts, test, vocabulary, chat), arms, ear)
    json.dumps(found, allow_nan=False)
    return found


def means(metric: Mapping[str, Any]) -> dict[str, Any]:
    return {name: cell["mean"] for name, cell in metric["arms"].items()}


def test_nothing_was_generated() -> None:
    assert table(arms={}) is None
    assert repetition(sample_of(), []) == {"generated": None, "reference": None, "low": None, "texts": 0, "words": None}


@pytest.mark.parametrize(("chat", "better"), [(True, "higher"), (False, "none")])
def test_stops_are_counted_and_are_good_in_a_chat_only(chat: bool, better: str) -> None:
    row = table(chat=chat)["metrics"]["stop rate"]
    assert means(row) == {"base": 0.25, "tuned": 0.75}
    # pairs of prompts: 0, 1, 0, 1
    assert (row["difference"]["mean"], row["difference"]["units"], row["better"]) == (0.5, 4, better)


def test_known_words_are_those_of_the_training_texts() -> None:
    row = table()["metrics"]["known words"]
    # base: three texts of known words and an unknown one; tuned: six words of eight; held out: "held", "number", n of 7
    assert means(row) == pytest.approx({"base": 3 / 4, "tuned": 6 / 8, "reference": 4 / 7})


@pytest.mark.parametrize("chat", [True, False], ids=["chat", "pair"])
def test_the_reference_is_what_was_answered(chat: bool) -> None:
    roles: Any = ("user", "assistant") if chat else ("prompt", "completion")
    asked = "a question of very many words that nobody has answered yet"
    items = [
        Item(f"i{n}", f"g{n}", asked, (Turn(roles[0], asked), Turn(roles[1], "five words and no more"))) for n in "abc"
    ]
    row = table(test=items, chat=chat)["metrics"]["words"]
    assert row["arms"]["reference"]["mean"] == 5
    assert row["arms"]["reference"]["units"] == 3


def test_the_unit_of_a_reference_is_its_group_and_there_are_at_most_so_many() -> None:
    long = [Item(f"a{n}", "one", "a b c d e f g h") for n in range(3)]
    short = [Item("b", "other", "a b")]
    cell = table(test=[*long, *short])["metrics"]["words"]["arms"]["reference"]
    assert (cell["mean"], cell["units"]) == ((8 + 2) / 2, 2)
    # of 70 groups 64 are looked at, and the others' thousand words are not
    many = [Item(f"m{n}", f"m{n}", "a b" if n < REFERENCE else "a " * 1000) for n in range(REFERENCE + 6)]
    cell = table(test=many)["metrics"]["words"]["arms"]["reference"]
    assert (cell["mean"], cell["units"]) == (2, REFERENCE)


def test_what_a_suite_asks_is_checked() -> None:
    prompts = [
        Prompt("0", "p", checks=(("min_words", {"n": 5}), ("no_comma", {}))),
        Prompt("1", "p", checks=(("max_words", {"n": 5}),)),
        Prompt("2", "p"),
        Prompt("3", "p", checks=(("lowercase", {}),)),
    ]
    found = table(prompts=prompts)["metrics"]
    # base: too short (½), short enough, -, lower case; tuned: all of two, too long, -, lower case
    assert means(found["checks passed"]) == pytest.approx({"base": (0.5 + 1 + 1) / 3, "tuned": (1 + 0 + 1) / 3})
    assert means(found["all checks passed"]) == pytest.approx({"base": 2 / 3, "tuned": 2 / 3})
    assert found["checks passed"]["arms"]["base"]["left_out"] == 1
    assert means(found["asked language"]) == {"base": None, "tuned": None}
    assert not any("checks" in name or "asked" in name for name in table()["metrics"])


ENGLISH = "It was a dark night and the wind went around the old house, where nobody had lived for many years. " * 2
SWEDISH = "Det var en mörk natt och vinden gick runt det gamla huset, där ingen hade bott på många långa år. " * 2


def test_the_language_that_is_asked_for() -> None:
    pytest.importorskip("py3langid")
    prompts = [Prompt(str(n), "p", language=code) for n, code in enumerate(["sv", "en", "sv", None])]
    arms = {"base": arm([ENGLISH] * 4, [True] * 4), "tuned": arm([SWEDISH] * 4, [True] * 4)}
    row = table(arms, prompts)["metrics"]["asked language"]
    assert means(row) == pytest.approx({"base": 1 / 3, "tuned": 2 / 3})
    assert row["arms"]["base"]["left_out"] == 1


def test_without_the_package_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "py3langid", None)
    row = table(prompts=[Prompt(str(n), "p", language="sv") for n in range(4)])["metrics"]["asked language"]
    assert means(row) == {"base": None, "tuned": None}
    assert "assay[clean]" in row["arms"]["base"]["reason"] or "clean" in row["arms"]["base"]["reason"]


class Ear:
    """Hears whether a text says zero."""

    def measured(self, texts: Mapping[str, Sequence[str]]) -> dict[str, Measured]:
        values = {name: [float("zero" in text) for text in some] for name, some in texts.items()}
        return {"like the data": Measured(values, "share", "higher", "deaf")}


def test_what_the_classifier_hears_stands_in_the_table() -> None:
    found = table(ear=Ear())["metrics"]
    assert means(found["like the data"]) == {"base": 0.25, "tuned": 1.0}
    assert "like the data" not in table()["metrics"]


# what the guard on repetition is given

FRESH = "one two three four five six seven eight nine ten eleven twelve"
LOOP = "la la la la la la la la la la la la"


def test_repetition_by_hand() -> None:
    texts = [FRESH, FRESH, FRESH, LOOP]
    told = repetition(sample_of(test=[Item(f"h{n}", f"h{n}", FRESH) for n in range(4)]), texts)
    # of a loop's nine runs of four words all but the first come again
    shares = [0, 0, 0, 8 / 9]
    assert told["generated"] == pytest.approx(8 / 9 / 4)
    assert told["low"] == pytest.approx(t.interval(0.95, 3, 8 / 9 / 4, sem(shares))[0])
    assert told["reference"] == 0.0
    assert (told["texts"], told["words"]) == (4, 12)


def test_a_text_without_words_hides_no_loop() -> None:
    """Nor does what other arms wrote: the guard is about the tuned model's texts."""
    held = [Item(f"h{n}", f"h{n}", FRESH) for n in range(5)]
    prompts = [Prompt(str(n), f"Prompt {n}") for n in range(5)]
    told = repetition(sample_of(prompts, held), ["*" * 99, LOOP, LOOP, LOOP, LOOP])
    assert told["generated"] == pytest.approx(8 / 9)
    assert told["texts"] == 4


def test_words_beside_those_of_held_out_texts() -> None:
    held = [Item(f"h{n}", f"h{n}", FRESH) for n in range(4)]
    found = vocabulary_use(sample_of(test=held), [LOOP] * 4)
    assert found is not None
    assert [(use["word"], use["count"], use["reference_count"]) for use in found["over"]] == [("la", 48, 0)]
    assert {use["word"] for use in found["under"]} == set(FRESH.split())
    assert vocabulary_use(sample_of(), []) is None
