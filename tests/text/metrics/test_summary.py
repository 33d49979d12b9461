from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from assay.core.optional import installed
from assay.stats.intervals import t_interval
from assay.text.metrics import diversity
from assay.text.metrics.summary import METRICS, Measured, table
from assay.text.metrics.words import Text, words

WORDS = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]


def prose(seed: int, size: int) -> str:
    draw = random.Random(seed)
    return " ".join(draw.choice(WORDS).capitalize() + "." if k % 9 == 8 else draw.choice(WORDS) for k in range(size))


def looping(seed: int, size: int) -> str:
    line = prose(seed, 7)
    return " ".join([prose(seed + 1, 20)] + [line] * (size // 7 + 1))


BASE = [prose(k, 120) for k in range(10)]
TUNED = [looping(100 + k, 150) for k in range(10)]
REFERENCE = [prose(200 + k, 140) for k in range(8)]
PROMPTS = [f"prompt {k}" for k in range(10)]


def made(**changes: Any) -> dict[str, Any]:
    arms = {"base": BASE, "prompt-only": BASE[::-1], "tuned": TUNED}
    return table(arms, PROMPTS, REFERENCE, interval=t_interval, **changes)


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return made()


def test_every_metric_has_every_arm_with_an_interval_or_a_reason(found: dict[str, Any]) -> None:
    assert list(found["metrics"]) == list(METRICS)
    for name, row in found["metrics"].items():
        assert (row["unit"], row["better"]) == (METRICS[name].unit, METRICS[name].better)
        assert set(row["arms"]) == {"base", "prompt-only", "tuned", "reference"}
        for cell in (*row["arms"].values(), row["difference"]):
            assert set(cell) == {"mean", "low", "high", "units", "left_out", "reason"}
            assert (cell["mean"] is None) == (cell["units"] == 0)
            assert (cell["reason"] is None) == (cell["low"] is not None)
            if cell["low"] is not None:
                assert cell["low"] <= cell["mean"] <= cell["high"]


def test_a_mean_and_a_difference_are_over_prompts(found: dict[str, Any]) -> None:
    row = found["metrics"]["words"]
    base, tuned = (np.array([len(words(text)) for text in some], float) for some in (BASE, TUNED))
    cell = row["arms"]["tuned"]
    assert cell["mean"] == pytest.approx(tuned.mean())
    expected = t_interval(list(tuned - base))
    assert (row["difference"]["low"], row["difference"]["high"]) == pytest.approx((expected.low, expected.high))
    assert row["difference"]["units"] == 10
    assert row["arms"]["reference"]["units"] == 8


def test_repetition_is_compared_at_equal_length(found: dict[str, Any]) -> None:
    assert found["equal_length"] == {"words": 120, "kept": 10, "too_short": 0, "reference": 8, "reference_too_short": 0}
    arms = found["metrics"]["repeated 4-grams"]["arms"]
    assert arms["tuned"]["mean"] > 0.5
    assert arms["base"]["mean"] == arms["prompt-only"]["mean"] < 0.01
    assert arms["reference"]["mean"] < 0.01
    assert found["metrics"]["repeated 4-grams"]["difference"]["low"] > 0.5
    first = [diversity.mtld(words(text)[:120]) for text in REFERENCE]
    assert found["metrics"]["MTLD"]["arms"]["reference"]["mean"] == pytest.approx(np.mean(first))
    assert found["metrics"]["loops"]["arms"]["tuned"]["mean"] == 1.0
    assert found["metrics"]["ends in a loop"]["arms"]["base"]["mean"] == 0.0


def test_outputs_of_one_prompt_are_one_unit() -> None:
    row = table(
        {"base": ["a", "a b c", "a b"], "tuned": ["a b", "a b", "a"]}, ["p", "p", "q"], interval=t_interval
    )["metrics"]["words"]  # fmt: skip
    assert row["arms"]["base"]["mean"] == 2.0
    assert row["arms"]["base"]["units"] == 2
    assert row["arms"]["tuned"]["mean"] == 1.5
    assert row["difference"]["mean"] == -0.5


def test_reference_texts_of_one_document_are_one_unit() -> None:
    found = made(reference_units=["one"] * 6 + ["two"] * 2)["metrics"]
    assert found["words"]["arms"]["reference"]["units"] == 2
    of_each = [diversity.mtld(words(text)[:120]) for text in REFERENCE]
    expected = (np.mean(of_each[:6]) + np.mean(of_each[6:])) / 2
    assert found["MTLD"]["arms"]["reference"]["mean"] == pytest.approx(expected)


def test_what_does_not_exist_has_a_reason() -> None:
    found = table({"base": ["", "a b."], "tuned": ["a", "b"]}, ["p", "q"], interval=t_interval)
    rows = found["metrics"]
    cell = rows["sentence length"]["arms"]["base"]
    assert (cell["mean"], cell["low"], cell["units"], cell["left_out"]) == (2.0, None, 1, 1)
    assert cell["reason"] == "1 of at least 2 groups"
    assert rows["sentence length"]["difference"]["units"] == 1
    assert rows["MTLD"]["arms"]["tuned"]["reason"] == "there are no texts to measure"
    assert rows["words"]["arms"]["reference"]["reason"] == "there are no texts to measure"
    assert rows["known words"]["arms"]["tuned"]["reason"].startswith("no vocabulary was given")
    assert found["equal_length"]["too_short"] == 2
    assert found["corpus"]["reference"]["distinct-1"] is None


@pytest.mark.parametrize("language", ["en", "sv", None])
def test_readability_is_english(language: str | None) -> None:
    cell = made(language=language)["metrics"]["reading ease"]["arms"]["tuned"]
    if not installed("pyphen"):
        assert cell["reason"] == "this needs the package pyphen: pip install 'assay[metrics]'"
    elif language == "en":
        assert cell["mean"] is not None
    else:
        assert (cell["mean"], cell["left_out"]) == (None, 10)
        assert cell["reason"].startswith("not known to be English")


def test_further_measurements_stand_beside_them() -> None:
    stops = {"base": [1.0] * 10, "tuned": [0.0] * 5 + [1.0] * 4 + [None]}
    row = made(measured={"stop rate": Measured(stops, "share of outputs", "higher", "no output")})["metrics"][
        "stop rate"
    ]
    assert row["arms"]["tuned"]["mean"] == pytest.approx(4 / 9)
    assert row["difference"]["mean"] == pytest.approx(-5 / 9)
    assert row["difference"]["left_out"] == 1


def test_without_a_base_there_is_no_difference() -> None:
    row = table({"tuned": TUNED}, PROMPTS, interval=t_interval)["metrics"]["words"]
    assert row["difference"]["mean"] is None
    assert row["difference"]["reason"] == "there are no texts to measure"


def test_outputs_that_are_all_alike_show_in_the_corpus() -> None:
    found = table({"base": BASE, "tuned": [BASE[0]] * 10}, PROMPTS, [*REFERENCE, *BASE], interval=t_interval)
    corpus = found["corpus"]
    assert corpus["tuned"]["distinct-2"] < corpus["base"]["distinct-2"] / 5
    assert corpus["tuned"]["compression ratio"] > 3 * corpus["base"]["compression ratio"]
    assert [corpus[arm]["texts"] for arm in ("base", "tuned", "reference")] == [10, 10, 10]


def test_a_vocabulary_is_held_against_whole_texts() -> None:
    rows = made(vocabulary=frozenset(words(" ".join(BASE))))["metrics"]
    assert rows["known words"]["arms"]["base"]["mean"] == 1.0


def test_arms_fit_the_prompts() -> None:
    for arms in ({"base": ["a"]}, {"reference": ["a", "b"]}):
        with pytest.raises(ValueError, match="one output per unit"):
            table(arms, ["p", "q"], interval=t_interval)


def test_every_metric_says_why_it_is_missing() -> None:
    for name, metric in METRICS.items():
        value = metric.of(Text("")) if metric.needs is None else None
        assert value is None or value == 0, name
        assert metric.missing


def test_without_the_extra_the_rest_is_measured_and_the_extra_is_named() -> None:
    script = (
        "import sys\n"
        "sys.modules.update(dict.fromkeys(('sklearn', 'pyphen', 'py3langid')))  # an import of any of them fails\n"
        "from assay.core.errors import MachineError\n"
        "from assay.stats.intervals import t_interval\n"
        "from assay.text.metrics import adherence, checks, ifeval, language, style\n"
        "from assay.text.metrics.summary import table\n"
        "from assay.text.metrics.words import Text\n"
        "found = table({'tuned': ['a b', 'c']}, ['p', 'q'], interval=t_interval, language='en')['metrics']\n"
        "assert found['words']['arms']['tuned']['mean'] == 1.5\n"
        "reason = found['reading ease']['arms']['tuned']['reason']\n"
        "assert reason == \"this needs the package pyphen: pip install 'assay[metrics]'\", reason\n"
        "for call in (\n"
        "    lambda: style.reading_ease(Text('A text.', 'en')),\n"
        "    lambda: adherence.train(['a', 'b'], ['x', 'y'], ['a'], ['x'], interval=t_interval),\n"
        "):\n"
        "    try:\n"
        "        call()\n"
        "        sys.exit('no error')\n"
        "    except MachineError as error:\n"
        "        assert error.fix == \"pip install 'assay[metrics]'\", error.fix\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
