"""Two runs and more on the same texts, written by hand: the numbers beside their definitions, and what is refused."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from statsmodels.stats.multitest import multipletests

from assay.core.errors import GuardError, InputError
from assay.core.files import sha256_text, write_atomic, write_json
from assay.core.guard import record
from assay.core.records import Item
from assay.core.rundir import RunDir
from assay.data.items import write_items
from assay.data.manifest import write_manifest
from assay.stages.compare.runs import Compared, compare
from assay.stats.verdict import bpb_text

GROUPS, EACH, SIZE = 8, 2, 1000  # groups, texts of each, bytes of each
SETTINGS = {
    "window": 512,
    "stride": 512,
    "bos_rule": "none",
    "tokenizer_sha256": "t",
    "dtype": "fp32",
    "lossy_share": 0.0,
}
IDENTITY: dict[str, Any] = {
    "base": {"spec": "a", "hash": "0"}, "seed": 1, "adapter": {"kind": "lora", "rank": 4},
    "train": {"steps": 30, "schedule": {"kind": "linear"}}, "data": {"content": "c", "clean": {"min_bytes": 10}},
}  # fmt: skip
TRAIN = [Item(f"t{n}", f"g{n}", f"text {n}") for n in range(6)]
Make = Callable[..., RunDir]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that writes an evaluated run whose groups have these bits per byte under the tuned model."""

    def made(
        name: str, bits: Sequence[float], *, changed: Mapping[str, Any] | None = None, train: Sequence[Item] = TRAIN,
        settings: Mapping[str, Any] | None = None, weights: str | None = None, ids: str = "",
    ) -> RunDir:  # fmt: skip
        run = RunDir(tmp_path / "runs" / name / "20260101-120000-0a0a0a0a")
        write_json(run.identity, IDENTITY | dict(changed or {}))
        sides = {"train": train, "dev": [Item("d", "dev", "a dev text")], "test": [Item("x", "test", "a test text")]}
        for side, items in sides.items():
            write_items(run.split(side), [items])
        write_manifest(run.manifest_rows, {side: run.split(side) for side in sides})
        write_json(run.training, {"steps": 30, "weights": {"sha256": weights or sha256_text(name)}})
        write_json(run.summary, {"settings": SETTINGS | dict(settings or {})})
        rows = [
            # of a group's two texts one is so much better as the other is worse
            (f"{ids}{g}-{n}", f"group {g}", 250, SIZE, 0.0, (bpb + (-1) ** n * 0.01) * math.log(2) * SIZE)
            for g, bpb in enumerate(bits)
            for n in range(EACH)
        ]
        names = ["id", "group", "tokens", "bytes", "nll_base", "nll_tuned"]
        write_atomic(run.texts, pl.DataFrame(rows, schema=names, orient="row").write_parquet)
        run.finish("evaluate", key="k", outputs=[run.texts, run.summary], seconds=1.0)
        return run

    return made


def draw(seed: int, mean: float, sd: float = 0.02, count: int = GROUPS) -> list[float]:
    generator = random.Random(seed)
    return [2.0 - generator.gauss(mean, sd) for _ in range(count)]


FLAT = [2.0 + 0.01 * (g % 3) for g in range(GROUPS)]


def minus(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [a - b for a, b in zip(one, other, strict=True)]


def sign_flip(differences: Sequence[float]) -> float:
    flips = list(product((1, -1), repeat=len(differences)))
    least = abs(sum(differences)) - 1e-12
    return sum(abs(sum(s * d for s, d in zip(flip, differences, strict=True))) >= least for flip in flips) / len(flips)


def only(found: Sequence[Compared]) -> Compared:
    (one,) = found
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
    assert (found.run, found.against) == ("two/20260101-120000-0a0a0a0a", "one/20260101-120000-0a0a0a0a")


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
    assert [one.run.partition("/")[0] for one in found] == list(others)
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


@pytest.mark.parametrize(
    ("changed", "key"),
    [({"seed": 2}, "seed"), ({"data": {"content": "d", "clean": {"min_bytes": 0}}}, "data.clean.min_bytes")],
)
def test_another_seed_and_keys_that_made_the_same_texts_are_harmless(
    make: Make, changed: dict[str, Any], key: str
) -> None:
    alone = cause(make, changed=changed)
    assert (alone.causal, status(alone)) == (True, "pass")
    what = "their training seed alone" if key == "seed" else "nothing that decides the result"
    assert alone.sentence.endswith(f"the runs differ in {what}")
    more = changed | {"adapter": {"kind": "lora", "rank": 8}}
    beside = only(compare([make("three", FLAT), make("four", draw(4, 0.1), changed=more)]))
    assert (beside.causal, status(beside)) == (True, "warn")
    assert beside.sentence.endswith(f"the runs differ in adapter.rank, and harmlessly in {key}")


@pytest.mark.parametrize(
    ("one", "two", "how"),
    [(TRAIN[:4], TRAIN, True), (TRAIN, TRAIN[2:], True), (TRAIN[:4], TRAIN[2:], False), (TRAIN, TRAIN[::-1], None)],
)
def test_training_texts_that_are_a_part_of_the_others_are_one_change(
    make: Make, one: list[Item], two: list[Item], how: bool | None
) -> None:
    runs = make("one", FLAT, train=one), make("two", draw(4, 0.1), train=two, changed={"data": {"content": "d"}})
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
    changed = {"data": {"content": "d"}, "adapter": {"kind": "lora", "rank": 8}}
    found = only(compare([make("one", FLAT, train=TRAIN[:4]), make("two", draw(4, 0.1), changed=changed)]))
    assert not found.causal
    assert "2 things differ: adapter.rank, the training data" in found.sentence
