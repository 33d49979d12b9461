"""In what two runs differ, from hand-written runs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assay.core.files import write_json
from assay.core.records import Item
from assay.core.rundir import RunDir
from assay.data.items import write_items
from assay.data.manifest import write_manifest
from assay.guards.comparison import Length, Rows
from assay.stages.compare.measured import Measured
from assay.stages.compare.one_change import differences, flat, length, one_change, rows, scale

ADAPTER = {"kind": "lora", "rank": 4, "alpha": 8.0, "rslora": False}
TRAIN = {"steps": 30, "epochs": None}
EACH = 1000  # tokens of a row
Make = Callable[..., Measured]


def item(number: int) -> Item:
    return Item(f"t{number}", f"g{number}", f"text {number}")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that writes a trained run with these rows and sections of its identity."""
    made: list[Measured] = []

    def write(numbers: range = range(6), *, tokens: int = 12_000, steps: int = 30, **sections: Any) -> Measured:
        run = RunDir(tmp_path / str(len(made)))
        identity = {"base": {"hash": "0"}, "seed": 1, "adapter": ADAPTER, "train": TRAIN}
        identity |= {"data": {"content": [numbers.start, numbers.stop]}} | sections
        write_items(run.split("train"), [[item(n) for n in numbers]])
        write_manifest(run.manifest_rows, {"train": run.split("train")})
        corpus = {"tokens_per_epoch": EACH * len(numbers)}
        training = {"steps": steps, "tokens": tokens, "corpus": corpus}
        made.append(Measured(run, identity, {}, training, pl.DataFrame()))
        return made[-1]

    return write


def test_epochs_are_the_tokens_learned_over_those_of_the_rows(make: Make) -> None:
    assert length(make()) == Length(30, 2.0)
    assert length(make(train={"steps": None, "epochs": 1.5})) == Length(30, 2.0, 1.5)
    assert length(make(tokens=0)) == Length(30, None)


def test_rows_are_counted_by_their_content(make: Make) -> None:
    few, more, other = (make(own).run for own in (range(2), range(6), range(4, 9)))
    assert rows(few, make(range(2)).run) is None
    assert rows(few, more) == Rows((2, 6), 2)
    assert rows(more, other) == Rows((6, 5), 2)
    assert [found.nested for found in (Rows((2, 6), 2), Rows((6, 5), 2))] == [True, False]
    # one text twice is not one text
    twice = make(range(2)).run
    write_items(twice.split("train"), [[item(0), item(0), item(1)]])
    write_manifest(twice.manifest_rows, {"train": twice.split("train")})
    assert rows(few, twice) == Rows((2, 3), 2)


@pytest.mark.parametrize(
    ("train", "tokens", "steps", "status"),
    [
        (TRAIN, 12_000, 30, "warn"),  # the same steps
        ({"steps": 90, "epochs": None}, 36_000, 90, "warn"),  # the same two epochs, written as steps
        ({"steps": None, "epochs": 6.0}, 36_000, 90, "warn"),  # or as epochs
        ({"steps": 60, "epochs": None}, 24_000, 60, "fail"),
        ({"steps": None, "epochs": 1.0}, 6_000, 15, "fail"),
    ],
)
def test_nested_rows(make: Make, train: dict[str, Any], tokens: int, steps: int, status: str) -> None:
    few = make(range(2), tokens=12_000)
    more = make(range(6), tokens=tokens, steps=steps, train=train)
    assert one_change(few, more).status == one_change(more, few).status == status


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"rank": 16}, "pass"),
        ({"rank": 16, "alpha": 32.0}, "pass"),  # 8 ÷ 4 = 32 ÷ 16
        ({"rank": 16, "alpha": 16.0}, "fail"),
        ({"alpha": 16.0}, "pass"),
        ({"rank": 16, "alpha": 32.0, "rslora": True}, "fail"),
    ],
)
def test_alpha_that_follows_the_rank_is_no_change_of_its_own(make: Make, changed: dict[str, Any], status: str) -> None:
    found = one_change(make(), make(adapter=ADAPTER | changed))
    assert found.status == status
    assert found.measured["along"].keys() == ({"adapter.alpha"} if changed == {"rank": 16, "alpha": 32.0} else set())


def test_the_scale_is_alpha_over_the_rank_or_its_root() -> None:
    assert scale({"adapter.rank": 16, "adapter.alpha": 8.0}) == 0.5
    assert scale({"adapter.rank": 16, "adapter.alpha": 8.0, "adapter.rslora": True}) == 2.0
    assert scale({"adapter.kind": "full"}) is None


def test_keys_that_follow_from_another_are_no_differences() -> None:
    identity = {"base": {"hash": "0"}, "seed": 1, "adapter": ADAPTER, "train": TRAIN, "data": {"content": 1}}
    full = identity | {"adapter": {"kind": "full"}, "train": {"steps": None, "epochs": 1.0}}
    one, two = dict(flat(identity)), dict(flat(full))
    assert differences(one, two) == {"adapter.kind", "train.steps"}
    assert not any(key.startswith("data.content") for key in one)


def test_a_precision_that_the_plans_chose_otherwise_is_a_change(make: Make) -> None:
    """It is chosen by the machine's speed, so that no setting need differ."""
    one, same, other = make(), make(adapter=ADAPTER | {"rank": 16}), make(adapter=ADAPTER | {"rank": 16})
    for run, precision in ((one, "bf16"), (same, "bf16"), (other, "fp32")):
        write_json(run.run.plan, {"decisions": {"precision": {"value": precision}}})
    assert one_change(one, same).status == "pass"
    found = one_change(one, other)
    assert found.status == "fail"
    assert "adapter.rank, train.precision (auto, chosen otherwise)" in found.why
    assert found.fix == "set train.precision to bf16 or fp32 and run the other one again"
    # where it was asked for it is the key that differs
    asked = make(train=TRAIN | {"precision": "fp32"})
    write_json(asked.run.plan, {"decisions": {"precision": {"value": "fp32"}}})
    assert one_change(one, asked).measured["changes"] == ["train.precision"]


def computed(run: Measured, device: str, kernels: str, torch: str) -> Measured:
    write_json(run.run.plan, {"decisions": {"device": device, "kernels": {"value": kernels}}})
    write_json(run.run.receipt, {"versions": {"torch": torch, "transformers": "5.2"}})
    return run


def test_what_computed_the_runs_is_no_change_and_is_named_with_a_warning(make: Make) -> None:
    one = computed(make(), "cpu", "own", "2.12")
    changed = {"adapter": ADAPTER | {"rank": 16}, "train": TRAIN | {"kernels": "liger", "device": "cuda"}}
    found = one_change(one, computed(make(**changed), "cuda", "liger", "2.13"))
    assert (found.status, found.measured["changes"]) == ("warn", ["adapter.rank"])
    assert found.why == (
        "the runs differ in adapter.rank; torch (2.12 and 2.13), train.device (cpu and cuda), "
        "train.kernels (own and liger) differ too, which should be no more than rounding"
    )
    alone = one_change(one, computed(make(), "cpu", "own", "2.13"))
    assert alone.status == "warn"
    assert "nothing that decides the result; torch (2.12 and 2.13) differs too" in alone.why
    # another wish that came to the same
    same = one_change(one, computed(make(train=TRAIN | {"kernels": "own"}), "cpu", "own", "2.12"))
    assert (same.status, same.measured["harmless"]) == ("pass", ["train.kernels"])
    two = one_change(one, computed(make(adapter=ADAPTER | {"rank": 16, "kind": "x"}), "cuda", "own", "2.12"))
    assert two.status == "fail"
    assert "train.device (cpu and cuda)" in two.why
