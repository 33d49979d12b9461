"""The criteria of model selection, from hand-written runs: numbers by hand, and what is not comparable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixture_compare import FLAT, IDENTITY
from fixture_selection import DECODING, PROMPTS, rate, varied, write_selectable

from assay.core.files import read_json, write_json
from assay.core.records import Item
from assay.core.rundir import RunDir
from assay.data.items import write_items
from assay.stages.compare.criteria import KINDS, alike, measure, measure_all
from assay.stages.compare.criterion import Criterion
from assay.stages.compare.entries import Entry
from assay.stats.intervals import t_interval

Make = Callable[..., RunDir]
# twelve words of which the last four repeat the first: of nine runs of four words one repeats another
REPEATING = f"{varied(8)} {varied(4)}"


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that writes a run of its own folder, with what is said of it."""

    def made(name: str = "one", texts: list[str] | None = None, **how: Any) -> RunDir:
        folder, bits = tmp_path / "runs" / name / "run", how.pop("bits", FLAT)
        return write_selectable(folder, bits, texts or [varied(12)] * PROMPTS, **how)

    return made


def entry(*runs: RunDir, name: str = "one") -> Entry:
    return Entry(name, runs)


def only(make: Make, **how: Any) -> dict[str, Criterion]:
    found = measure(entry(make(**how)))
    json.dumps({name: one.as_json() for name, one in found.items()}, allow_nan=False)
    return found


def test_every_criterion_is_measured_and_says_where_it_came_from(make: Make) -> None:
    found = only(make, checks=0.5)
    assert list(found) == list(KINDS)
    assert all(one.value is not None and one.source for one in found.values())
    values = {name: one.value for name, one in found.items()}
    assert values == pytest.approx(
        {
            "coherence": 1.0, "adherence": 0.8, "instructions": 0.5, "creativity": 1.0, "vocabulary": 1.0,
            "copying": 20, "quality": sum(FLAT) / len(FLAT), "forgetting": 0.01, "training-time": 60.0, "speed": 20.0,
            "latency": 0.05, "memory": 1e9, "inference-memory": 5e8, "size": 1000,
        }
    )  # fmt: skip


# texts


def test_texts_are_cut_to_one_length_and_held_against_held_out_ones(make: Make) -> None:
    one, two = make("one", [varied(12)] * PROMPTS), make("two", [f"{REPEATING} {varied(30)}"] * PROMPTS)
    first, second = measure_all([entry(one), entry(two, name="two")])
    # both in 12 words: 8 of 9 runs of four words are new
    assert (first["coherence"].value, second["coherence"].value) == (1.0, pytest.approx(8 / 9))
    # of 11 pairs of words 3 come again
    assert second["creativity"].value == pytest.approx(8 / 11)
    assert second["vocabulary"].value == pytest.approx(8 / 12)
    assert first["creativity"].enough == 1.0  # the held-out texts have twelve different words
    assert "first 12 words" in first["coherence"].source
    assert "a stand-in" in first["coherence"].source
    assert "distinct-1" in first["vocabulary"].source
    assert alike([first["coherence"], second["coherence"]]) is None


def test_vocabulary_is_mtld_where_the_texts_are_long_enough(make: Make) -> None:
    run = make("one", [f"{varied(40)} {varied(20)}"] * PROMPTS)
    write_items(run.split("test"), [[Item("h", "h", f"{varied(50)} {varied(10)}")]])
    found = measure(entry(run))["vocabulary"]
    assert (found.kind.unit, "MTLD" in found.source) == ("words", True)
    assert found.value is not None
    assert found.value > 12


def test_texts_of_other_prompts_or_decoding_may_not_stand_beside_each_other(make: Make) -> None:
    one, two = make("one"), make("two", decoding=DECODING | {"temperature": 0.2})
    found = measure_all([entry(one), entry(two)])
    for name in ("coherence", "creativity", "vocabulary", "adherence", "speed", "latency"):
        assert alike([side[name] for side in found]) == "the entries have other decoding", name
    assert alike([side["quality"] for side in found]) is None


def test_without_texts_there_is_a_reason(make: Make) -> None:
    run = make("one")
    run.generations.unlink()
    found = measure(entry(run))
    assert {found[name].reason for name in ("coherence", "creativity", "vocabulary")} == {
        "no texts were generated (evaluate.prompts)"
    }


# style


def test_another_classifier_is_another_measure(make: Make) -> None:
    first, second = measure_all([entry(make("one", learned="a")), entry(make("two", learned="b"))])
    assert alike([first["adherence"], second["adherence"]]) == "the entries have other classifier"
    assert "it told 90\u00a0% of 60 passages right" in first["adherence"].source


def test_a_classifier_that_is_not_recorded_or_refused_gives_no_value(make: Make) -> None:
    assert only(make, heard=None)["adherence"].reason == "it refused"
    run = make("old")
    summary = read_json(run.summary)
    del summary["generation"]["adherence"]["learned_sha256"]
    write_json(run.summary, summary)
    assert "not recorded" in str(measure(entry(run))["adherence"].reason)


# ratings


def test_a_rating_outranks_the_stand_in(make: Make) -> None:
    one, two = make("one"), make("two")
    rate(one, 0.7)
    rate(two, 0.4)
    first, second = measure_all([entry(one), entry(two)])
    assert [side["coherence"].value for side in (first, second)] == [0.7, 0.4]
    assert first["coherence"].rated
    assert first["coherence"].source.startswith("blind ratings of 50 pairs by 2 raters")
    assert (first["coherence"].low, first["coherence"].high) == pytest.approx((0.6, 0.8))
    assert first["creativity"].rated is False


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"blind": False}, "they were not blind"),
        ({"consistency": {"mean": 0.5}}, "50\u00a0% named the same winner again"),
        ({"raters": ("third",)}, "the entries have other raters"),
    ],
)
def test_ratings_that_cannot_be_used_are_told(make: Make, change: dict[str, Any], why: str) -> None:
    one, two = make("one"), make("two")
    rate(one, 0.7)
    rate(two, 0.4, **change)
    for side in measure_all([entry(one), entry(two)]):
        assert not side["coherence"].rated
        assert why in side["coherence"].source


def test_ratings_of_one_entry_alone_or_of_older_texts_do_not_count(make: Make) -> None:
    one, two = make("one"), make("two")
    rate(one, 0.7)
    first, _ = measure_all([entry(one), entry(two)])
    assert (first["coherence"].rated, "nobody rated the texts" in first["coherence"].source) == (False, True)
    assert measure(entry(one))["coherence"].rated
    one.generations.write_text(one.generations.read_text() + "\n")
    assert "generated anew since" in measure(entry(one))["coherence"].source


# costs


def test_timings_that_shared_the_machine_have_no_value(make: Make) -> None:
    run = make("one")
    write_json(run.stages, {name: stage | {"others": 1.5} for name, stage in read_json(run.stages).items()})
    found = measure(entry(run))
    for name in ("training-time", "speed", "latency"):
        assert "the machine was shared" in str(found[name].reason), name
    assert found["memory"].value == 1e9


def test_another_machines_costs_are_not_held_against_the_first_ones(make: Make) -> None:
    one, two = make("one"), make("two", machine={"processor": "another"})
    first, second = measure_all([entry(one), entry(two)])
    assert first["memory"].value == 1e9
    for name in ("memory", "inference-memory", "training-time", "speed"):
        assert "another machine" in str(second[name].reason), name
    assert second["size"].value == 1000


def test_speed_is_in_bytes_where_tokenizers_differ(make: Make) -> None:
    one = make("one", [varied(12)] * PROMPTS)
    two = make("two", [varied(12)] * PROMPTS, settings={"tokenizer_sha256": "u"})
    found = measure_all([entry(one), entry(two)])
    each = len(varied(12)) / 60  # bytes of a text ÷ its tokens
    assert [side["speed"].value for side in found] == pytest.approx([20 * each] * 2)
    assert {side["speed"].kind.unit for side in found} == {"bytes/s"}
    assert alike([side["copying"] for side in found]) == "the entries have other tokenizer"


def test_forgetting_is_of_the_named_text_that_lost_most_at_95_per_cent(make: Make) -> None:
    run = make("one")
    summary = read_json(run.summary)
    text = summary["forgetting"]["texts"][0]
    summary["forgetting"]["texts"] += [
        text | {"name": "sv", "named": True, "base_bpb": 2.0, "mean": -0.1, "low": -0.12, "high": -0.08},
        text | {"name": "de", "named": True, "mean": 0.02, "low": 0.0, "high": 0.04},
    ]
    write_json(run.summary, summary)
    found = measure(entry(run))["forgetting"]
    assert (found.value, found.enough, found.n) == (pytest.approx(0.05), 0.0, 12)
    assert "(sv, what lost most)" in found.source
    # 0.02 at 90 % with 11 degrees of freedom is 0.02 · 2.201 ÷ 1.796 at 95 %, of 2 bits
    assert found.high == pytest.approx(0.05 + 0.02 * 2.200985 / 1.795885 / 2, abs=1e-5)


# seeds


def test_an_entrys_value_is_the_mean_over_its_seeds_with_their_spread(make: Make) -> None:
    runs = [
        make(f"seed{n}", changed={"seed": n}, bits=[b + n / 10 for b in FLAT], cost={"train_seconds": 50.0 + 10 * n})
        for n in range(3)
    ]
    assert {read_json(run.identity)["seed"] for run in runs} == {0, 1, 2}
    found = measure(entry(*runs))
    assert found["quality"].value == pytest.approx(sum(FLAT) / len(FLAT) + 0.1)
    assert found["quality"].seed_sd == pytest.approx(0.1)
    time, expected = found["training-time"], t_interval([50, 60, 70])
    assert (time.value, time.by_seed) == (60, (50, 60, 70))
    assert (time.low, time.high) == pytest.approx((expected.low, expected.high))  # type: ignore[union-attr]
    assert IDENTITY["seed"] == 1


def test_forgetting_is_of_one_text_for_all_seeds(make: Make) -> None:
    """Seeds lose 0.06 and 0.02 of en, 0 and 0.05 of sv: en lost most, 0.04; each seed's own worst would be 0.055."""
    runs = [make(f"seed{n}", changed={"seed": n}) for n in range(2)]
    for run, lost in zip(runs, ({"en": 0.06, "sv": 0.0}, {"en": 0.02, "sv": 0.05}), strict=True):
        summary = read_json(run.summary)
        text = summary["forgetting"]["texts"][0]
        summary["forgetting"]["texts"] = [
            text | {"name": name, "mean": -own, "low": -own - 0.01, "high": -own + 0.01} for name, own in lost.items()
        ]
        write_json(run.summary, summary)
    found = measure(entry(*runs))["forgetting"]
    assert (found.value, found.by_seed) == (pytest.approx(0.04), pytest.approx((0.06, 0.02)))
    assert "(en, what lost most)" in found.source


def test_forgetting_of_other_texts_may_not_stand_beside_each_other(make: Make) -> None:
    one, two = make("one"), make("two")
    summary = read_json(two.summary)
    summary["forgetting"]["texts"].append(summary["forgetting"]["texts"][0] | {"name": "sv", "named": True})
    write_json(two.summary, summary)
    found = measure_all([entry(one), entry(two)])
    assert alike([side["forgetting"] for side in found]) == "the entries have other general texts"


def test_a_classifier_of_unknown_quality_gives_no_value(make: Make) -> None:
    run = make("one")
    summary = read_json(run.summary)
    summary["generation"]["adherence"]["quality"] = None
    write_json(run.summary, summary)
    assert "not recorded" in str(measure(entry(run))["adherence"].reason)
