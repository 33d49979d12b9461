"""Two runs and more on the same texts, written by hand: the numbers beside their definitions, and what is refused."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fixture_compare import FLAT, GROUPS, IDENTITY, TRAIN, write_run
from statsmodels.stats.multitest import multipletests

from assay.core.errors import GuardError, InputError
from assay.core.files import read_json, write_json
from assay.core.guard import record
from assay.core.ledger_rows import read_run
from assay.core.records import Item
from assay.core.rundir import RunDir
from assay.data.items import write_items
from assay.data.manifest import write_manifest
from assay.stages.compare.entries import Failed, entries
from assay.stages.compare.runs import Compared, comparison
from assay.stages.compare.runs import compare as compared
from assay.stats.seeds import SeedVariance, seed_p, seed_variance
from assay.stats.verdict import bpb_text

Make = Callable[..., RunDir]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that writes an evaluated run of an experiment of this name."""

    def made(name: str, bits: Sequence[float], *, folder: str = "20260101-120000-0a0a0a0a", **how: Any) -> RunDir:
        return write_run(tmp_path / "runs" / name / folder, bits, **how)

    return made


def draw(seed: int, mean: float, sd: float = 0.02, count: int = GROUPS) -> list[float]:
    generator = random.Random(seed)
    return [2.0 - generator.gauss(mean, sd) for _ in range(count)]


def compare(runs: Sequence[RunDir]) -> tuple[Compared, ...]:
    return compared(runs).pairs


def minus(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]


def sign_flip(differences: Sequence[float]) -> float:
    flips = list(product((1, -1), repeat=len(differences)))
    least = abs(sum(differences)) - 1e-12
    return sum(abs(sum(s * d for s, d in zip(flip, differences, strict=True))) >= least for flip in flips) / len(flips)


def only(found: Sequence[Compared]) -> Compared:
    (one,) = found
    assert one.sentence == f"{one.found}; {one.claim}; {one.cause}"
    json.dumps(one.as_json(), allow_nan=False)
    return one


# the numbers


@pytest.mark.parametrize(("mean", "outcome"), [(0.1, "better"), (-0.01, "not-shown"), (-0.1, "worse")])
def test_a_difference_is_that_of_the_groups_bits(make: Make, mean: float, outcome: str) -> None:
    bits = draw(4, mean)
    found = only(compare([make("one", FLAT), make("two", bits)]))
    differences = minus(FLAT, bits)
    assert found.difference.mean == pytest.approx(sum(differences) / GROUPS)
    assert found.difference.base_mean == pytest.approx(sum(FLAT) / GROUPS)
    assert found.difference.p == pytest.approx(sign_flip(differences))
    assert found.p_holm == found.difference.p
    assert found.outcome == outcome
    said, amount = f"{outcome} by ", abs(found.difference.mean or 0)
    if outcome == "not-shown":
        said, amount = "not shown: the difference is ", found.difference.mean or 0
    assert found.sentence.startswith(said)
    assert float(found.sentence.removeprefix(said).split()[0]) == pytest.approx(amount, abs=0.0006)
    assert (found.name, found.against) == ("two", "one")


@pytest.mark.parametrize(("smallest", "outcome"), [(0.05, "better"), (0.2, "better-but-small")])
def test_what_is_less_than_the_effect_that_was_named_is_said(make: Make, smallest: float, outcome: str) -> None:
    runs = [make("one", FLAT), make("two", draw(4, 0.1))]
    summary = read_json(runs[1].summary)
    write_json(runs[1].summary, summary | {"verdict": {"smallest_effect": smallest}})
    stages = read_json(runs[1].stages)
    stages["evaluate"]["outputs"] = {}
    write_json(runs[1].stages, stages)
    found = only(compare(runs))
    assert found.outcome == outcome
    assert ("better, but less than the effect you named (0.2): by " in found.sentence) == (smallest == 0.2)


def test_the_other_way_round_it_is_the_opposite(make: Make) -> None:
    one, two = make("one", FLAT), make("two", draw(4, 0.1))
    there, back = only(compare([one, two])), only(compare([two, one]))
    assert (there.outcome, back.outcome) == ("better", "worse")
    assert there.difference.mean is not None
    assert there.difference.low is not None
    assert there.difference.high is not None
    assert back.difference.mean == pytest.approx(-there.difference.mean)
    assert (back.difference.low, back.difference.high) == pytest.approx((-there.difference.high, -there.difference.low))
    assert back.difference.p == there.difference.p
    amounts = [said.partition(" bits")[0].partition(" by ")[2] for said in (there.sentence, back.sentence)]
    assert amounts[0] == amounts[1] != ""


def test_several_runs_are_one_family(make: Make) -> None:
    first = make("one", FLAT)
    others = {f"run-{n}": draw(n, mean) for n, mean in enumerate([0.01, 0.1, 0.0, -0.03, -0.02])}
    found = compare([first, *(make(name, bits) for name, bits in others.items())])
    assert [one.name for one in found] == list(others)
    raw = [one.difference.p for one in found]
    assert raw == pytest.approx([sign_flip(minus(FLAT, bits)) for bits in others.values()])
    reject, adjusted, _, _ = multipletests(raw, 0.05, "holm")
    assert [one.p_holm for one in found] == pytest.approx(adjusted.tolist())
    assert [one.outcome != "not-shown" for one in found] == reject.tolist()
    assert 0 < sum(reject) < 5
    # alone, more of them would have been shown
    assert sum(p < 0.05 for p in raw) > sum(reject)


def test_too_few_groups_show_nothing_however_large_the_difference(make: Make) -> None:
    found = only(compare([make("one", [2.0, 2.01, 2.02, 2.0, 2.01]), make("two", draw(1, 1.0, count=5))]))
    assert (found.outcome, found.difference.p) == ("cannot-conclude", 2 / 2**5)
    assert "cannot conclude: 6 groups could conclude; measured:" in found.sentence


def test_more_comparisons_take_more_groups(make: Make) -> None:
    runs = [make(f"run {n}", draw(n, 0.5 * n, count=6)) for n in range(3)]
    assert only(compare(runs[:2])).outcome == "better"
    for found in compare(runs):  # 2 · 2 ÷ 2⁶ = .0625
        assert found.outcome == "cannot-conclude"
        assert "7 groups could conclude" in found.sentence


def test_what_was_not_shown_is_told_with_what_could_have_been(make: Make) -> None:
    one, two = make("one", FLAT), make("two", draw(4, -0.01))
    found = only(compare([one, two]))
    assert found.difference.mde is not None
    assert f"and the smallest that could have been found {bpb_text(found.difference.mde)}" in found.sentence


def test_a_run_that_broke_on_one_text_is_not_shown_and_counts_in_the_family(make: Make) -> None:
    runs = make("one", FLAT), make("two", draw(4, 0.1)), make("broken", [math.inf, *draw(5, 0.1)[1:]])
    fine, broken = compare(runs)
    assert (broken.outcome, broken.p_holm, broken.difference.mean) == ("cannot-conclude", None, None)
    assert fine.difference.p is not None
    assert fine.p_holm == min(1.0, 2 * fine.difference.p)
    assert "has no score" in broken.sentence


def test_the_order_of_a_runs_texts_does_not_matter(make: Make) -> None:
    one, two = make("one", FLAT), make("two", draw(4, 0.1))
    expected = only(compare([one, two])).difference
    pl.read_parquet(two.texts).reverse().write_parquet(two.texts)
    two.finish("evaluate", key="k", outputs=[two.texts], seconds=1.0)
    found = only(compare([one, two])).difference
    assert (found.mean, found.p, found.n_groups) == (pytest.approx(expected.mean), expected.p, GROUPS)


# what is refused


def test_one_run_is_not_two(make: Make) -> None:
    run = make("one", FLAT)
    for runs in ([], [run], [run, run], [run, RunDir(run.path / ".." / run.path.name)]):
        with pytest.raises(InputError, match="two different runs"):
            compare(runs)


def test_a_run_that_is_given_twice_would_count_twice(make: Make) -> None:
    one, other = make("one", FLAT), make("other", FLAT)
    for runs in ([one, one, other], [one, other, other]):
        with pytest.raises(InputError, match="given twice"):
            compare(runs)


@pytest.mark.parametrize("place", [0, 1])
def test_a_run_that_is_not_evaluated_is_named(make: Make, place: int) -> None:
    runs = [make("one", FLAT), make("two", FLAT)]
    write_json(runs[place].stages, {})
    with pytest.raises(InputError, match="has not been evaluated") as caught:
        compare(runs)
    assert caught.value.where == str(runs[place].path)


@pytest.mark.parametrize("place", [0, 1])
def test_a_run_whose_numbers_cannot_be_trusted_is_refused(make: Make, place: int) -> None:
    runs = [make("one", FLAT), make("two", draw(4, 0.1))]
    runs[place].guards.add(record("forgetting", "fail", "unwelcome, and true"))
    assert only(compare(runs)).outcome == "better"
    runs[place].guards.add(record("adapter-effect", "fail", "the adapter does nothing"))
    with pytest.raises(GuardError, match="the adapter does nothing") as caught:
        compare(runs)
    assert (caught.value.guard, caught.value.where) == ("adapter-effect", str(runs[place].path))


def test_a_changed_file_is_refused(make: Make) -> None:
    one, two = make("one", FLAT), make("two", draw(4, 0.1))
    pl.read_parquet(two.texts).with_columns(pl.col("nll_tuned") * 0.9).write_parquet(two.texts)
    with pytest.raises(GuardError, match=r"texts\.parquet changed") as caught:
        compare([one, two])
    assert caught.value.guard == "unit-counting"


@pytest.mark.parametrize(
    "changed",
    [
        {"settings": {"window": 256}},
        {"settings": {"stride": 128}},
        {"settings": {"bos_rule": "other"}},
        {"settings": {"lossy_share": 0.5}},
        {"ids": "other"},
    ],
    ids=lambda changed: str(*changed.values()),
)
def test_what_was_measured_otherwise_is_no_common_currency(make: Make, changed: dict[str, Any]) -> None:
    for runs in (
        [make("one", FLAT), make("two", draw(4, 0.1), **changed)],
        [make("three", FLAT, **changed), make("four", draw(4, 0.1))],
    ):
        with pytest.raises(GuardError) as caught:
            compare(runs)
        assert caught.value.guard == "common-currency"


def test_the_first_has_a_group_less(make: Make) -> None:
    with pytest.raises(GuardError, match="test texts are not the same"):
        compare([make("one", FLAT[:-1]), make("two", FLAT)])


def test_equal_scores_of_other_weights_are_impossible(make: Make) -> None:
    with pytest.raises(GuardError) as caught:
        compare([make("one", FLAT), make("two", FLAT)])
    assert caught.value.guard == "impossible-equality"
    assert caught.value.where is not None
    assert "one/" in caught.value.where
    assert "two/" in caught.value.where
    # of the same weights they are what is to be expected
    same = only(compare([make("three", FLAT, weights="w"), make("four", FLAT, weights="w")]))
    assert (same.outcome, same.difference.mean, same.difference.p) == ("not-shown", 0.0, 1.0)


def test_two_tokenizers_never_have_the_same_counts_everywhere(make: Make) -> None:
    with pytest.raises(GuardError, match="tokenizers differ") as caught:
        compare([make("one", FLAT), make("two", draw(4, 0.1), settings={"tokenizer_sha256": "u"})])
    assert caught.value.guard == "impossible-equality"


# what the difference may be put down to


def cause(make: Make, **changed: Any) -> Compared:
    return only(compare([make("one", FLAT), make("two", draw(4, 0.1), **changed)]))


def status(found: Compared, guard: str = "one-change") -> str:
    return next(one.status for one in found.guards if one.guard == guard)


@pytest.mark.parametrize(
    ("changed", "key"),
    [
        ({"base": {"spec": "b", "hash": "1"}}, "base"),
        ({"adapter": {"kind": "lora", "rank": 8}}, "adapter.rank"),
        ({"train": {"steps": 30, "schedule": {"kind": "cosine"}}}, "train.schedule.kind"),
        ({"train": {"steps": 30, "schedule": {"kind": "linear"}, "neftune": 5}}, "train.neftune"),
    ],
)
def test_one_change_is_named(make: Make, changed: dict[str, Any], key: str) -> None:
    found = cause(make, changed=changed)
    assert (found.causal, status(found)) == (True, "pass")
    assert found.sentence.endswith(f"the runs differ in {key}")


def test_the_same_base_by_another_name_is_no_change(make: Make) -> None:
    found = cause(make, changed={"base": {"spec": "./copy", "hash": "0"}})
    assert found.sentence.endswith("the runs differ in nothing that decides the result")


def test_of_two_changes_no_cause_may_be_named(make: Make) -> None:
    found = cause(make, changed={"adapter": {"kind": "lora", "rank": 8}, "train": {"steps": 60}})
    assert (found.outcome, found.causal, status(found)) == ("better", False, "fail")
    assert "no cause may be named: 3 things differ: adapter.rank, train.schedule.kind, train.steps" in found.sentence


OTHER_KEY = {"data": IDENTITY["data"] | {"content": "d", "clean": {"min_bytes": 0}}}


def test_keys_that_made_the_same_texts_are_harmless(make: Make) -> None:
    alone = cause(make, changed=OTHER_KEY)
    assert (alone.causal, status(alone)) == (True, "pass")
    assert alone.sentence.endswith("the runs differ in nothing that decides the result")


@pytest.mark.parametrize(("changed", "key"), [({"seed": 2}, "seed"), (OTHER_KEY, "data.clean.min_bytes")])
def test_beside_one_change_they_and_another_seed_are_harmless(make: Make, changed: dict[str, Any], key: str) -> None:
    beside = cause(make, changed=changed | {"adapter": {"kind": "lora", "rank": 8}})
    assert (beside.causal, status(beside)) == (True, "warn")
    assert beside.sentence.endswith(f"the runs differ in adapter.rank, and harmlessly in {key}")


@pytest.mark.parametrize(
    ("one", "two", "how"),
    [(TRAIN[:4], TRAIN, True), (TRAIN, TRAIN[2:], True), (TRAIN[:4], TRAIN[2:], False), (TRAIN, TRAIN[::-1], None)],
)
def test_training_texts_that_are_a_part_of_the_others_are_one_change(
    make: Make, one: list[Item], two: list[Item], how: bool | None
) -> None:
    runs = (
        make("one", FLAT, train=one),
        make("two", draw(4, 0.1), train=two, changed={"data": IDENTITY["data"] | {"content": "d"}}),
    )
    found = only(compare(runs))
    assert found.causal is (how is not False)
    measured = next(record.measured for record in found.guards if record.guard == "one-change")
    assert (measured["data"] and measured["data"]["nested"]) is how
    if how:
        assert f"of training rows ({len(one)} and {len(two)}), both at 30 steps" in found.sentence


def test_another_chat_template_is_a_change(make: Make) -> None:
    data = IDENTITY["data"] | {"chat_template": "{{ messages }}"}
    found = cause(make, changed={"data": data})
    assert (found.causal, status(found)) == (True, "pass")
    assert found.sentence.endswith("the runs differ in data.chat_template")


def test_a_full_fine_tune_beside_lora_is_one_change(make: Make) -> None:
    found = cause(make, changed={"adapter": {"kind": "full"}})
    assert found.sentence.endswith("the runs differ in adapter.kind")


def test_another_precision_is_told(make: Make) -> None:
    found = only(compare([make("one", FLAT), make("two", draw(4, 0.1), settings={"dtype": "bf16"})]))
    record = next(record for record in found.guards if record.guard == "common-currency")
    assert (record.status, "fp32 and bf16" in record.why) == ("warn", True)


def test_other_texts_and_another_rank_are_two_changes(make: Make) -> None:
    changed = {"data": IDENTITY["data"] | {"content": "d"}, "adapter": {"kind": "lora", "rank": 8}}
    found = only(compare([make("one", FLAT, train=TRAIN[:4]), make("two", draw(4, 0.1), changed=changed)]))
    assert not found.causal
    assert "2 things differ: adapter.rank, the training data" in found.sentence


# several seeds


def seeds(make: Make, name: str, bits: Sequence[Sequence[float]], **changed: Any) -> list[RunDir]:
    """A run for each seed from 0 on."""
    return [
        make(name, own, folder=f"2026010{seed + 1}-120000-0{seed}0a0a0a", changed=changed | {"seed": seed})
        for seed, own in enumerate(bits)
    ]


RANK_8 = {"adapter": {"kind": "lora", "rank": 8}}


def test_runs_of_several_seeds_are_one_entry_whose_interval_is_over_seeds_and_groups(make: Make) -> None:
    bits = [[draw(10 * side + seed, 0.1 * side) for seed in range(3)] for side in range(2)]
    runs = [seeds(make, "one", bits[0]), seeds(make, "two", bits[1], **RANK_8)]
    found = only(compare([*runs[0], *runs[1]]))
    rows = [minus(a, b) for a, b in zip(*bits, strict=True)]
    expected = seed_variance(rows)
    assert isinstance(expected, SeedVariance)
    assert found.over_seeds is not None
    assert found.over_seeds.as_json() == pytest.approx(expected.as_json())
    assert (found.low, found.high) == (found.over_seeds.low, found.over_seeds.high)
    assert found.difference.mean == pytest.approx(expected.mean)
    over = seed_p(rows)
    assert isinstance(over, float)
    means = [sum(own) / 3 for own in zip(*rows, strict=True)]
    assert found.p == pytest.approx(max(over, sign_flip(means)), rel=1e-3)
    assert (found.outcome, found.scope, found.seeds) == ("better", "recipe", (0, 1, 2))
    assert "8 held-out groups, 3 seeds, p = .0" in found.sentence
    assert "; the recipe (3 seeds); the runs differ in adapter.rank" in found.sentence


def test_seeds_that_differ_more_than_the_entries_show_nothing_of_the_recipe(make: Make) -> None:
    one = [[bpb + shift for bpb in FLAT] for shift in (-0.1, 0.0, 0.1)]
    two = [[bpb - 0.05 + 0.3 * (seed - 1) for bpb in draw(seed, 0.0, 0.001)] for seed in range(3)]
    alone = only(compare([seeds(make, "a", one[1:2])[0], seeds(make, "b", two[1:2], **RANK_8)[0]]))
    assert (alone.outcome, alone.scope) == ("better", "checkpoint")
    found = only(compare([*seeds(make, "one", one), *seeds(make, "two", two, **RANK_8)]))
    assert (found.outcome, found.scope) == ("not-shown", "recipe")


def test_two_seeds_are_not_yet_a_recipe(make: Make) -> None:
    runs = [seeds(make, "one", [FLAT, draw(1, 0)]), seeds(make, "two", [draw(2, 0.1), draw(3, 0.1)], **RANK_8)]
    found = only(compare([*runs[0], *runs[1]]))
    assert found.over_seeds is not None
    assert (found.scope, found.seeds) == ("checkpoint", (0, 1))
    assert "these checkpoints only (2 seeds, and a claim about the recipe takes 3)" in found.sentence


def test_only_seeds_that_both_have_are_paired(make: Make) -> None:
    bits = [draw(seed, 0.0) for seed in range(4)]
    first = seeds(make, "one", bits[:3])
    other = make("two", bits[3], changed=RANK_8 | {"seed": 2})
    found = only(compare([*first, other]))
    assert (found.seeds, found.over_seeds) == ((2,), None)
    assert found.difference.mean == pytest.approx(sum(minus(bits[2], bits[3])) / GROUPS)
    assert status(found) == "warn"


def test_without_a_shared_seed_the_means_are_compared_and_the_claim_is_of_checkpoints(make: Make) -> None:
    bits = [draw(seed, 0.0) for seed in range(5)]
    first = seeds(make, "one", bits[:3])
    others = [
        make("two", bits[seed], folder=f"2026010{seed}-120000-0b0a0a0a", changed=RANK_8 | {"seed": seed})
        for seed in (3, 4)
    ]
    found = only(compare([*first, *others]))
    assert (found.seeds, found.over_seeds, found.scope) == ((), None, "checkpoint")
    means = [[sum(own) / len(own) for own in zip(*part, strict=True)] for part in (bits[:3], bits[3:])]
    assert found.difference.mean == pytest.approx(sum(minus(*means)) / GROUPS)
    assert found.difference.p == pytest.approx(sign_flip(minus(*means)))
    assert "these checkpoints only (no seed that both have)" in found.sentence


def test_seeds_alone_are_one_entry_that_is_held_against_nothing(make: Make) -> None:
    found = compared(seeds(make, "one", [draw(seed, 0.1) for seed in range(3)]))
    assert (found.pairs, len(found.entries)) == ((), 1)
    own = found.qualities[0]
    assert own.seeds == (0, 1, 2)
    assert own.tuned == pytest.approx(sum(sum(draw(seed, 0.1)) for seed in range(3)) / 3 / GROUPS)
    assert own.gain_over_seeds is not None
    assert "nothing to hold one against" in found.summary


# the whole comparison


def test_an_entry_is_told_with_its_gain_over_its_own_base(make: Make) -> None:
    base = [2.5 + 0.01 * g for g in range(GROUPS)]
    found = compared([make("one", FLAT, base=base), make("two", draw(4, 0.1))])
    own = found.qualities[0]
    assert own.tuned == pytest.approx(sum(FLAT) / GROUPS)
    assert own.base == pytest.approx(sum(base) / GROUPS)
    assert own.gain.mean == pytest.approx(sum(minus(base, FLAT)) / GROUPS)
    assert own.low is not None
    assert own.high is not None
    assert own.low < own.tuned < own.high


def test_with_two_tokenizers_there_is_no_perplexity_and_no_loss(make: Make) -> None:
    one, two = make("one", FLAT), make("two", draw(4, 0.1), settings={"tokenizer_sha256": "u"})
    assert [own.perplexity for own in compared([one, make("three", draw(5, 0.1))]).qualities] == [9.5, 9.5]
    texts = pl.read_parquet(two.texts).with_columns(pl.col("tokens") + 1)
    texts.write_parquet(two.texts)
    two.finish("evaluate", key="k", outputs=[two.texts], seconds=1.0)
    found = compared([one, two])
    assert [own.perplexity for own in found.qualities] == [None, None]
    assert found.curves.loss == ((), ())
    assert "tokenizers differ" in str(found.curves.no_loss)
    assert all(found.curves.dev)
    assert found.pairs[0].outcome == "better"


def test_what_failed_counts_in_the_family(make: Make) -> None:
    runs = [make("one", FLAT), make("two", draw(4, 0.1))]
    alone, beside = comparison(entries(runs)), comparison(entries(runs), [Failed("third", "it broke")])
    p = alone.pairs[0].p
    assert p is not None
    assert (alone.pairs[0].p_holm, beside.pairs[0].p_holm) == (p, 2 * p)
    # another seed of an entry that is there is no comparison more
    again = comparison(entries(runs), [Failed("two", "its second seed broke", "two/x")])
    assert again.pairs[0].p_holm == p
    assert again.as_json()["failed"] == [{"name": "two", "why": "its second seed broke", "run": "two/x"}]


def test_there_is_no_comparison_of_nothing() -> None:
    with pytest.raises(InputError, match="no run has numbers"):
        comparison([], [Failed("one", "it broke")])


def test_the_whole_is_plain_json(make: Make) -> None:
    runs = [make("one", FLAT), make("broken", [math.inf, *draw(5, 0.1)[1:]])]
    found = compared(runs, {"quality": 2.0}).as_json()
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert [entry["runs"] for entry in found["entries"]] == [
        [f"{run.path.parent.name}/{run.path.name}"] for run in runs
    ]
    assert (found["against"], found["selection"]["weights"]) == ("one", {"quality": 2.0})


# the same test texts


def test_other_test_texts_are_refused_with_the_groups_and_the_keys_that_made_it(make: Make) -> None:
    other = IDENTITY["data"] | {"split": {"seed": 7}}
    one, two = make("one", FLAT[:-1]), make("two", FLAT, changed={"data": other})
    with pytest.raises(GuardError) as caught:
        compare([one, two])
    assert "7 groups in both; 1 group in two/20260101-120000-0a0a0a0a alone (group 7)" in caught.value.why
    assert "made so by data.split.seed (0 and 7)" in caught.value.why


def fix_of(one: RunDir, other: RunDir) -> str:
    with pytest.raises(GuardError) as caught:
        compare([one, other])
    assert caught.value.guard == "common-currency"
    return caught.value.fix or ""


def test_the_fix_follows_from_what_differs(make: Make) -> None:
    count, cut = iter(range(100)), {"max_bytes_per_group": 5}
    seeded = {"data": IDENTITY["data"] | {"split": {"seed": 7}}}

    def made(**how: Any) -> RunDir:
        return make(f"run-{next(count)}", draw(4, 0.1), **how)

    def with_other_test_texts(run: RunDir) -> RunDir:
        write_items(run.split("test"), [[Item("y", "test", "another test text")]])
        write_manifest(run.manifest_rows, {side: run.split(side) for side in ("train", "dev", "test")})
        return run

    assert fix_of(made(), made(settings={"window": 256})) == "evaluate both with the same evaluate.window"
    assert fix_of(made(), made(settings={"window": 256, "stride": 128})) == (
        "evaluate both with the same evaluate.window and evaluate.stride"
    )
    # held-out files, and excerpts of them that other seeds drew
    assert fix_of(made(settings=cut), made(settings=cut, changed=seeded)) == (
        "give both one data.split.seed, or leave evaluate.max_bytes_per_group out of both"
    )
    assert fix_of(made(), made(settings=cut)) == "evaluate both with the same evaluate.max_bytes_per_group"
    # other test texts: the split's seed chose them, or other files hold them
    files = "give both the same test files (data.split.test: held-out.csv)"
    split = with_other_test_texts(made(changed=seeded, ids="other"))
    assert fix_of(made(), split) == f"{files}, or the same data.split.seed"
    # with excerpts, test files alone would be refused again
    split = with_other_test_texts(made(changed=seeded, settings=cut, ids="other"))
    assert fix_of(made(settings=cut), split) == "give both the same data.split.seed"
    content = {"data": IDENTITY["data"] | {"content": {"files": [{"name": "b.csv", "sha256": "1" * 64}]}}}
    seeded["data"] |= {"content": content["data"]["content"]}
    split = with_other_test_texts(made(changed=seeded, settings=cut, ids="other"))
    assert fix_of(made(settings=cut), split) == f"{files} and data.split.seed"
    assert fix_of(made(), with_other_test_texts(made(changed=content, ids="other"))) == files


def test_other_texts_of_the_same_groups_are_refused(make: Make) -> None:
    with pytest.raises(GuardError, match=r"8 groups in both; 32 texts of the groups in both are one side's alone"):
        compare([make("one", FLAT), make("two", draw(4, 0.1), ids="other")])


def test_excerpts_that_another_seed_drew_are_other_texts(make: Make) -> None:
    drawn = {"data": IDENTITY["data"] | {"split": {"seed": 3}}}
    whole = [make("one", FLAT), make("two", draw(4, 0.1), changed=drawn)]
    assert only(compare(whole)).outcome == "better"  # nothing was cut, and so nothing drawn
    limit = {"max_bytes_per_group": 5}
    cut = [make("three", FLAT, settings=limit), make("four", draw(4, 0.1), settings=limit, changed=drawn)]
    with pytest.raises(GuardError, match=r"other excerpts of their texts; made so by data\.split\.seed"):
        compare(cut)
    # the ledger says the same
    scales = [[read_run(run)["scale"] for run in runs] for runs in (whole, cut)]
    assert scales[0][0] == scales[0][1] is not None
    assert len({scales[0][0], *scales[1]}) == 3


def test_scores_copied_between_two_that_are_not_the_first_are_found(make: Make) -> None:
    bits = draw(4, 0.1)
    with pytest.raises(GuardError) as caught:
        compare([make("one", FLAT), make("two", bits), make("three", bits)])
    assert caught.value.guard == "impossible-equality"
    assert caught.value.where == "two/20260101-120000-0a0a0a0a and three/20260101-120000-0a0a0a0a"
