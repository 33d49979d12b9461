"""Costs from the runs' files, and which may be held against each other; what differs; the curves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixture_compare import FLAT, IDENTITY, TRAIN, write_run

from assay.core.files import read_json, write_json, write_lines
from assay.stages.compare.changes import changes
from assay.stages.compare.costs import Cost, costs
from assay.stages.compare.curves import MOST_POINTS, Point, curves
from assay.stages.compare.measured import Measured, measured

Make = Callable[..., Measured]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A function that writes one more run and reads it."""
    count = iter(range(100))

    def made(**how: Any) -> Measured:
        return measured(write_run(tmp_path / "runs" / "e" / f"run-{next(count)}", FLAT, **how))

    return made


def cost(key: str, *sides: list[Measured]) -> Cost:
    return costs(sides)[-1][key]


# costs


def test_costs_are_means_over_seeds(make: Make) -> None:
    two = [make(cost={"train_seconds": 60.0, "first": 0.1}), make(cost={"train_seconds": 80.0, "first": 0.3})]
    found = costs([two])[0]
    assert (found["train_seconds"].value, found["train_seconds"].by_seed) == (70.0, (60.0, 80.0))
    assert found["first_token_s"].value == pytest.approx(0.2)
    assert found["saved_bytes"].value == 1000  # what the fixture writes
    assert found["trainable_parameters"].value == 10_000
    assert found["evaluate_seconds"].value == 90.0
    assert [one.comparable for one in found.items] == [True] * len(found.items)
    assert found.hardware == {
        "cpu": "a processor", "cores": 2, "memory": 8_000_000_000, "gpu": None, "device": "cpu", "threads": 2,
    }  # fmt: skip


def test_memory_is_the_gpus_where_it_trained_on_one(make: Make) -> None:
    run = make()
    assert cost("peak_memory", [run]).value == 1_000_000_000
    write_json(run.run.training, run.training | {"peak_gpu_memory": 5})
    assert cost("peak_memory", [measured(run.run)]).value == 5


def test_what_was_not_measured_is_none_with_the_reason(make: Make) -> None:
    run = make(cost={"alone": None, "train_tokens_per_s": None})
    assert cost("tokens_per_s", [run]).value is None
    assert cost("tokens_per_s", [run]).reason == "no texts were generated (evaluate.prompts)"
    assert cost("train_tokens_per_s", [run]).reason == "the training left no record of it"
    # of one seed it is not known: then there is no mean over both
    assert cost("tokens_per_s", [run, make()]).value is None


@pytest.mark.parametrize(
    ("others", "comparable", "caution"),
    [
        (0.0, True, None),
        (0.25, True, None),
        (0.3, False, "the machine was shared: others kept 0.3 cores busy meanwhile (its one run)"),
        (None, None, "whether the machine was shared is not recorded (its one run)"),
    ],
)
def test_a_timing_on_a_shared_machine_is_marked(
    make: Make, others: float | None, comparable: bool | None, caution: str | None
) -> None:
    found = costs([[make()], [make(others=others)]])[1]
    timings = ("train_seconds", "train_tokens_per_s", "tokens_per_s", "first_token_s", "evaluate_seconds")
    assert {(found[key].comparable, found[key].caution) for key in timings} == {(comparable, caution)}
    assert [found[key].comparable for key in ("peak_memory", "saved_bytes", "trainable_parameters")] == [True] * 3


def test_only_the_stage_that_was_disturbed_is_marked_and_the_seed_is_named(make: Make) -> None:
    one, two = make(), make(changed={"seed": 7})
    stages = read_json(two.run.stages)
    write_json(two.run.stages, stages | {"train": stages["train"] | {"others": 1.0}})
    found = costs([[one, two]])[0]
    assert (found["train_seconds"].comparable, found["evaluate_seconds"].comparable) == (False, True)
    assert str(found["train_seconds"].caution).endswith("(seed 7)")


def test_generation_has_a_record_of_its_own(make: Make) -> None:
    run = make(others=1.0)
    run.summary["generation"]["cost"]["tuned"]["others"] = 0.1
    found = costs([[run]])[0]
    assert (found["tokens_per_s"].comparable, found["evaluate_seconds"].comparable) == (True, False)


def test_evaluations_that_took_unlike_parts_from_earlier_runs_took_unlike_work(make: Make) -> None:
    first, other = make(), make()
    other.summary["from_earlier_runs"] = [{"what": "scores"}]
    found = costs([[first], [other]])[1]
    assert (found["evaluate_seconds"].comparable, found["tokens_per_s"].comparable) == (False, True)
    assert costs([[other], [other]])[1]["evaluate_seconds"].comparable is True


def test_a_training_that_was_interrupted_is_no_timing(make: Make) -> None:
    run = make()
    run.run.event("training resumed", step=3)
    assert (cost("train_seconds", [run]).comparable, cost("tokens_per_s", [run]).comparable) == (False, True)
    assert "interrupted" in str(cost("train_seconds", [run]).caution)


@pytest.mark.parametrize(
    "machine",
    [{"processor": "another"}, {"gpu": "H100"}, {"cores": 1}, {"threads": 1}],
    ids=lambda machine: str(*machine),
)
def test_another_machine_than_the_first_entrys_is_marked(make: Make, machine: dict[str, Any]) -> None:
    first, other = costs([[make()], [make(machine=machine)]])
    assert first["train_seconds"].comparable is True
    for key in ("train_seconds", "peak_memory", "tokens_per_s"):
        assert other[key].comparable is False
        assert "another machine than the first entry's" in str(other[key].caution)
    assert other["saved_bytes"].comparable is True


# what differs


def test_the_table_of_differences(make: Make) -> None:
    small = make(train=TRAIN[:4])
    large = make(changed={"adapter": {"kind": "lora", "rank": 8}, "seed": 5, "base": {"spec": "b", "hash": "1" * 64}},
                 machine={"threads": 1})  # fmt: skip
    found = {row.key: (row.kind, row.values, row.differs) for row in changes([[small], [large]]).rows}
    assert found["adapter.rank"] == ("setting", ("4", "8"), True)
    assert found["base"] == ("setting", ("a", "b"), True)
    assert found["weights of the base"] == ("setting", ("0", "1" * 12), True)
    assert found["threads (decided)"] == ("decided", ("2", "1"), True)
    assert found["rows of training"] == ("data", ("4", "6"), True)
    assert found["groups of training"] == ("data", ("4", "6"), True)
    assert found["size of training"] == ("data", ("24 B", "36 B"), True)
    assert found["optimizer steps"] == ("done", ("30", "30"), False)
    assert found["epochs"] == ("done", ("2", "2"), False)
    assert not {"adapter.kind", "seed", "device (decided)"} & found.keys()


# curves


def test_lines_are_means_over_seeds_with_their_range(make: Make) -> None:
    one = make(curve=((3.0, 2.4), (2.0, 2.0)), cost={"train_seconds": 10.0})
    two = make(curve=((4.0, 2.6), (2.5, 2.2), (9.0, 9.0)), cost={"train_seconds": 30.0})
    found = curves([[one, two]])
    assert found.loss == ((Point(10, 1000, 7.5, 3.5, 3.0, 4.0), Point(20, 2000, 15.0, 2.25, 2.0, 2.5)),)
    assert found.dev[0][0] == Point(0, 0, 0, 2.6, 2.6, 2.6)
    last = found.dev[0][-1]  # the third look of the second has no fellow
    assert (last.step, last.value, last.low, last.high) == (20, pytest.approx(2.1), 2.0, 2.2)
    assert (found.no_dev, found.no_loss) == (None, None)


def test_long_lines_are_drawn_from_means_over_stretches(make: Make) -> None:
    run = make(curve=[(float(n), 1.0) for n in range(3 * MOST_POINTS)])
    line = curves([[run]]).loss[0]
    assert len(line) == MOST_POINTS
    assert (line[0].step, line[0].value, line[0].low, line[0].high) == (20, 1.0, 1.0, 1.0)


def test_a_value_that_is_not_finite_is_no_point(make: Make) -> None:
    run = make()
    write_lines(run.run.metrics, [{"step": 1, "loss": None, "tokens": 5, "seconds": 1}, {"step": 1, "dev_bpb": None}])
    found = curves([[run]])
    assert (found.loss, found.dev) == (((),), ((),))


def test_lines_of_other_development_texts_are_not_laid_over_each_other(make: Make) -> None:
    one, two = make(), make()
    manifest = read_json(two.run.manifest)
    manifest["splits"]["dev"]["sha256"] = "other"
    write_json(two.run.manifest, manifest)
    found = curves([[one], [two]])
    assert (found.dev, found.no_dev) == (((), ()), "the development texts are not the same")
    assert all(found.loss)


def test_losses_on_other_training_texts_are_not_laid_over_each_other(make: Make) -> None:
    """The rows of one are a part of the other's; both have the same development texts."""
    found = curves([[make(train=TRAIN[:3])], [make()]])
    assert (found.loss, found.no_loss) == (((), ()), "the training texts are not the same")
    assert all(found.dev)


def in_windows_of(length: int) -> dict[str, Any]:
    return {"train": IDENTITY["train"] | {"max_length": length}}


def test_lines_of_texts_read_in_other_windows_are_not_laid_over_each_other(make: Make) -> None:
    """The looks read the development texts in the training's windows, whatever the evaluation's are."""
    found = curves([[make(changed=in_windows_of(128))], [make(changed=in_windows_of(16))]])
    assert (found.dev, found.loss) == (((), ()), ((), ()))
    assert found.no_dev == "the development texts were read in other windows (train.max_length is 128 and 16)"
    assert found.no_loss == "the training texts were read in other windows (train.max_length is 128 and 16)"
    same = curves([[make(changed=in_windows_of(128))], [make(changed=in_windows_of(128))]])
    assert (same.no_dev, same.no_loss) == (None, None)
    assert all(same.dev)
    assert all(same.loss)


def test_lines_of_other_parts_of_the_development_texts_are_not_laid_over_each_other(make: Make) -> None:
    """`evaluate.max_bytes_per_group` cuts them too, and is no part of the identity: two seeds may differ in it."""
    one, two = make(), make(changed={"seed": 7})
    for run, size in ((one, 800), (two, 400)):
        write_lines(run.run.metrics, [{"step": 0, "dev_bpb": 2.6, "dev_groups": 2, "dev_bytes": size}])
    assert curves([[one], [one]]).no_dev is None
    found = curves([[one, two]])
    assert (found.dev, found.no_dev) == (((),), "other parts of the development texts were read")


def test_losses_of_other_tokens_are_not_laid_over_each_other(make: Make) -> None:
    found = curves([[make()], [make(changed={"train": IDENTITY["train"] | {"loss_on": "all"}})]])
    assert (found.loss, found.no_loss) == (((), ()), "the loss is not of the same tokens (train.loss_on)")
    assert all(found.dev)


def test_another_template_is_among_the_differences(make: Make) -> None:
    other = make(changed={"data": IDENTITY["data"] | {"chat_template": '"x"'}})
    assert [row.key for row in changes([[make()], [other]]).rows if row.kind == "setting"] == ["data.chat_template"]
