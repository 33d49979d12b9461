"""What may not be concluded: each sentence is there where its fact is, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from fixture_compare import FLAT, IDENTITY, write_run

from assay.core.records import Item
from assay.core.rundir import RunDir
from assay.guards.comparison import selection_hygiene
from assay.stages.compare.entries import Failed, entries
from assay.stages.compare.runs import comparison

BETTER = [bits - 0.1 - 0.001 * g for g, bits in enumerate(FLAT)]
ADAPTER = {"kind": "lora", "rank": 4, "alpha": 16.0, "rslora": False}
TRAIN = {"steps": 30, "learning_rate": 5e-4}
Make = Callable[..., RunDir]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that writes a run whose identity differs in these sections."""

    def made(name: str, bits: list[float] = FLAT, *, seed: int = 1, **changed: Any) -> RunDir:
        how = {key: changed.pop(key) for key in ("settings", "machine", "others", "train_rows") if key in changed}
        if "train_rows" in how:
            how["train"] = [Item(f"t{n}", f"g{n}", f"text {n}") for n in how.pop("train_rows")]
            changed["data"] = IDENTITY["data"] | {"content": str(how["train"][0].id) + str(len(how["train"]))}
        sections = {"adapter": ADAPTER, "train": TRAIN, "seed": seed} | changed
        return write_run(tmp_path / "runs" / name / f"seed-{seed}", bits, changed=sections, **how)

    return made


def said(*runs: RunDir, failed: tuple[Failed, ...] = ()) -> list[str]:
    found = list(comparison(entries(runs), failed).not_concluded)
    assert len(set(found)) == len(found)
    assert all(sentence.endswith(".") for sentence in found)
    return found


def that(found: list[str], *pieces: str) -> str:
    """The one sentence that holds all pieces."""
    (sentence,) = [one for one in found if all(piece in one for piece in pieces)]
    return sentence


def none(found: list[str], piece: str) -> bool:
    return not any(piece in one for one in found)


def test_one_entry_leaves_nothing_to_conclude(make: Make) -> None:
    assert said(make("a")) == []


def test_another_rank(make: Make) -> None:
    found = said(make("a"), make("b", BETTER, adapter=ADAPTER | {"rank": 64}))
    that(found, "the rank goes from 4 to 64", "from 4 to 0.25", "rank and scale are not told apart")
    that(found, "one learning rate, 0.0005", "another value of the rank", "none is shown at its own best")
    that(found, "8 held-out groups, fewer than 30")
    that(found, "best of 2 entries")
    assert none(found, "bases")
    assert none(found, "rows")
    assert none(found, "equal")


def test_rank_with_alpha_in_proportion_keeps_its_scale(make: Make) -> None:
    found = said(make("a"), make("b", BETTER, adapter=ADAPTER | {"rank": 64, "alpha": 256.0}))
    assert none(found, "told apart")
    that(found, "another value of the rank")


def test_another_learning_rate_is_what_was_varied(make: Make) -> None:
    found = said(make("a"), make("b", BETTER, train=TRAIN | {"learning_rate": 1e-3}))
    assert none(found, "one learning rate")


def test_only_those_that_share_a_rate_are_said_to(make: Make) -> None:
    """Rank crossed with the learning rate: two of four were trained at another one."""
    other, fast = ADAPTER | {"rank": 64}, TRAIN | {"learning_rate": 0.01}
    worse = [[bits + 0.01 * n for bits in BETTER] for n in range(3)]
    runs = [
        make("a", train=fast),
        make("slow", worse[0]),
        make("rank", worse[1], adapter=other, train=fast),
        make("both", worse[2], adapter=other),
    ]
    sentence = that(said(*runs), "one learning rate")
    assert sentence.startswith("a and rank were trained at one learning rate, 0.01: with another value of the rank")
    alike = that(said(runs[0], runs[2]), "one learning rate")
    assert alike.startswith("All were trained at one learning rate, 0.01:")


def test_another_base(make: Make) -> None:
    other = {"base": {"spec": "scratch:gpt2-tiny", "hash": "1"}}
    second = make("b", BETTER, settings={"tokenizer_sha256": "u"}, **other)
    pl.read_parquet(second.texts).with_columns(pl.col("tokens") + 1).write_parquet(second.texts)
    second.finish("evaluate", key="k", outputs=[second.texts], seconds=1.0)
    found = said(make("a"), second)
    that(found, "have other bases, scratch:gpt2-tiny and a:", "trained on before and tokenizer change together")
    that(found, "scratch:gpt2-tiny begins with random weights")
    that(found, "another value of the base")
    same = said(make("c"), make("d", BETTER, base={"spec": "d", "hash": "1"}))
    that(same, "architecture and what it was trained on before change together")
    assert none(same, "random weights")


def test_another_method(make: Make) -> None:
    found = said(make("a"), make("b", BETTER, adapter={"kind": "full"}))
    that(found, "another value of what is trained another rate may be the best")


def test_more_rows_take_two_designs(make: Make) -> None:
    few = {"train_rows": range(3)}
    found = said(make("a", **few), make("b", BETTER, train_rows=range(6)))
    that(found, "What 6 rows do that 3 do not is compared at equal steps only", "at equal epochs the answer")
    that(found, "one draw from the more")


def test_rows_of_another_slice(make: Make) -> None:
    found = said(make("a", train_rows=range(3)), make("b", BETTER, train_rows=range(4, 9)))
    that(found, "What makes b differ from a cannot be told", "3 and 5 rows, of which none stand in both")
    assert none(found, "one draw")


def test_two_changes(make: Make) -> None:
    found = said(make("a"), make("b", BETTER, adapter=ADAPTER | {"rank": 8}, train=TRAIN | {"learning_rate": 1e-3}))
    that(found, "What makes b differ from a cannot be told: 2 things differ")


def test_seeds(make: Make) -> None:
    one = [make("a", [bits + 0.01 * s for bits in FLAT], seed=s) for s in range(3)]
    two = [make("b", [bits + 0.01 * s for bits in BETTER], seed=s, adapter=ADAPTER | {"rank": 8}) for s in range(3)]
    that(said(one[0], two[0]), "Every entry has one training seed")
    found = said(*one, two[0])
    that(found, "b has one training seed")
    that(found, "Between b and a seeds 1 and 2 have no part")
    that(said(*one[:2], *two[:2]), "Every entry has fewer than 3 training seeds")
    found = said(*one, *two)
    assert none(found, "checkpoints")
    assert none(found, "have no part")


def test_no_difference_shown_is_no_equality(make: Make) -> None:
    near = [bits + (-1) ** g * 0.02 for g, bits in enumerate(FLAT)]
    sentence = that(said(make("a"), make("b", near)), "b and a are not shown to be equal")
    assert "anything from -0.0" in sentence
    assert sentence.endswith("bits per byte.")


def test_timings(make: Make) -> None:
    found = said(make("a"), make("b", BETTER, others=1.5))
    that(found, "How fast b is says nothing beside the others", "the machine was shared")
    found = said(make("c"), make("d", BETTER, machine={"processor": "another"}))
    that(found, "How fast d is says nothing", "another machine")
    found = said(make("e", others=None), make("f", BETTER, others=None))
    that(found, "How fast e and f are may say nothing", "not recorded")
    assert none(said(make("g"), make("h", BETTER)), "How fast")


def test_timings_with_one_reason_have_one_sentence_however_many_cores_were_busy(make: Make) -> None:
    changed: list[dict[str, Any]] = [{"others": busy} for busy in (0.5, 1.1, 2.0)]
    changed += [{"machine": {"cores": cores}} for cores in (4, 8)]
    runs = [
        make(name, [bits - 0.01 * n for bits in BETTER], **own)
        for n, (name, own) in enumerate(zip("bcdef", changed, strict=True))
    ]
    found = said(make("a"), *runs)
    that(found, "How fast b, c and d are says nothing beside the others", "the machine was shared")
    that(found, "How fast e and f are says nothing beside the others", "another machine")
    assert sum("How fast" in sentence for sentence in found) == 2


def test_precisions_and_failures(make: Make) -> None:
    found = said(make("a"), make("b", BETTER, settings={"dtype": "bf16"}), failed=(Failed("c", "out of memory"),))
    that(found, "a in fp32; b in bf16", "may be rounding")
    that(found, "Nothing can be said of c, which failed")


def test_an_entry_whose_other_seed_failed_stands_there_without_it(make: Make) -> None:
    found = said(make("a"), make("b", BETTER), failed=(Failed("b", "a NaN loss"), Failed("c", "out of memory")))
    that(found, "b stands here without 1 run that failed")
    that(found, "Nothing can be said of c,")


def test_weights_that_were_measured_on_these_texts_and_do_not_stand_here(make: Make) -> None:
    one, two = make("a"), make("b", BETTER)
    for looks, run in enumerate((one, two), 1):
        run.guards.check(selection_hygiene(looks, chosen=[], shared=0))
    assert none(said(one, two), "different weights")
    two.guards.check(selection_hygiene(12, chosen=[], shared=0))
    that(said(one, two), "12 different weights were measured on these held-out texts, and 2 of them stand here")
