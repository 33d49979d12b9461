from __future__ import annotations

from typing import Any

import pytest
import yaml
from fixture_guards import sound

from assay.core.guard import GuardRecord
from assay.guards.comparison import Length, Rows, common_currency, one_change, selection_hygiene

HOW = {"window": 512, "stride": 512, "bos_rule": "own prefix", "dtype": "fp32", "tokenizer_sha256": "a"}


@pytest.mark.parametrize(
    ("looks", "chosen", "shared", "status"),
    [
        (1, [], 0, "pass"),
        (1, ["the best checkpoint"], 0, "pass"),
        (3, ["the best checkpoint"], 0, "warn"),
        (1, [], 2, "warn"),
        (1, ["the early stop"], 1, "fail"),
        (5, ["the best checkpoint", "the early stop"], 4, "fail"),
    ],
)
def test_selection_hygiene(looks: int, chosen: list[str], shared: int, status: str) -> None:
    assert sound(selection_hygiene(looks, chosen=chosen, shared=shared)).status == status


@pytest.mark.parametrize(
    ("other", "same", "lossy", "status"),
    [
        ({}, True, 0.0, "pass"),
        ({"tokenizer_sha256": "b"}, True, 0.0, "pass"),
        ({"window": 256}, True, 0.0, "fail"),
        ({"dtype": "bf16"}, True, 0.0, "warn"),
        ({"stride": 256}, True, 0.0, "fail"),
        ({"bos_rule": "none"}, True, 0.0, "fail"),
        ({}, False, 0.0, "fail"),
        ({}, True, 0.001, "warn"),
        ({}, True, 0.002, "fail"),
    ],
)
def test_common_currency(other: dict[str, Any], same: bool, lossy: float, status: str) -> None:
    record = sound(common_currency(HOW, HOW | other, same_texts=same, lossy=lossy))
    assert record.status == status
    if "tokenizer_sha256" in other:
        assert "perplexities are not" in record.why


NESTED, OTHER, SLICES = Rows((100, 300), 100), Rows((100, 300), 20), Rows((100, 100), 0)
AT_STEPS = (Length(30, 1.0), Length(30, 1 / 3))
AT_EPOCHS = (Length(30, 1.0), Length(90, 1.0))


@pytest.mark.parametrize(
    ("changes", "harmless", "data", "status"),
    [
        ([], [], None, "pass"),
        (["adapter.rank"], [], None, "pass"),
        (["adapter.rank"], ["seed"], None, "warn"),
        (["adapter.rank", "adapter.alpha"], [], None, "fail"),
        ([], [], NESTED, "warn"),
        ([], [], OTHER, "fail"),
        ([], [], SLICES, "fail"),
        (["adapter.rank"], [], NESTED, "fail"),
    ],
)
def test_one_change(changes: list[str], harmless: list[str], data: Rows | None, status: str) -> None:
    record = sound(one_change(changes, harmless, data=data, lengths=AT_STEPS))
    assert record.status == status
    assert all(key in record.why for key in changes)


@pytest.mark.parametrize("changes", [[], ["train.steps"], ["train.epochs"]])
@pytest.mark.parametrize(
    ("lengths", "said"),
    [
        (AT_STEPS, "both at 30 steps"),
        (AT_EPOCHS, "both at 1 epoch, in 30 and 90 steps"),
        ((Length(30, 2.04), Length(88, 1.96)), "both at 2.04 epochs, in 30 and 88 steps"),  # within a twentieth
    ],
)
def test_more_rows_at_equal_steps_or_epochs_are_one_change_however_it_is_written(
    changes: list[str], lengths: tuple[Length, Length], said: str
) -> None:
    record = sound(one_change(changes, [], data=NESTED, lengths=lengths))
    assert (record.status, record.measured["changes"]) == ("warn", [])
    assert f"the number of training rows (100 and 300), {said}:" in record.why


@pytest.mark.parametrize("second", [Length(60, 2 / 3), Length(60, None), Length(90, 1.06)])
def test_more_rows_for_another_time_are_two_changes(second: Length) -> None:
    record = sound(one_change(["train.steps"], [], data=NESTED, lengths=(Length(30, 1.0), second)))
    assert record.status == "fail"
    assert "2 things differ: train.steps, the training data (30 and " in record.why
    assert "neither equal steps nor equal epochs" in record.why


def test_how_long_is_a_change_of_its_own_where_the_rows_are_the_same() -> None:
    record = sound(one_change(["train.steps"], [], data=None, lengths=(Length(30, 1.0), Length(90, 3.0))))
    assert (record.status, record.measured["changes"]) == ("pass", ["train.steps"])


def offered(record: GuardRecord) -> Any:
    """The lines for the experiment file that a record's fix gives."""
    assert record.fix is not None
    return yaml.safe_load(record.fix[record.fix.index("    data:") :])


@pytest.mark.parametrize("swapped", [False, True])
def test_rows_of_another_slice_are_told_and_the_design_that_would_do_is_offered(swapped: bool) -> None:
    data, lengths = (Rows((300, 100), 20), AT_STEPS[::-1]) if swapped else (OTHER, AT_STEPS)
    record = sound(one_change([], [], data=data, lengths=lengths))
    first, second = data.counts
    assert f"({first} and {second} rows, of which 20 stand in both)" in record.why
    assert "which rows they are, and not their number" in record.why
    assert offered(record) == {
        "data": {"split": {"train_rows": 100}},
        "train": {"steps": 30},
        "ablations": {
            "equal-steps": {"data.split.train_rows": [300]},
            "equal-epochs": {"data.split.train_rows": [300], "train.epochs": [1]},
        },
    }


def test_the_design_is_written_in_epochs_where_the_fewer_rows_run_was() -> None:
    """Its own epochs give its own steps again; those that the tokens come to may give one more."""
    record = one_change([], [], data=OTHER, lengths=(Length(30, 1.97, 2.0), Length(60, 1.3)))
    assert offered(record) == {
        "data": {"split": {"train_rows": 100}},
        "train": {"epochs": 2},
        "ablations": {
            "equal-epochs": {"data.split.train_rows": [300]},
            "equal-steps": {"data.split.train_rows": [300], "train.steps": [30]},
        },
    }


def test_without_epochs_on_record_there_is_no_design_to_fill_in() -> None:
    record = sound(one_change([], [], data=OTHER, lengths=(Length(30, None), Length(30, None))))
    assert "ablations" not in str(record.fix)


def test_as_many_other_rows_are_no_matter_of_their_number() -> None:
    record = sound(one_change([], [], data=SLICES, lengths=AT_STEPS))
    assert "100 and 100 rows, of which none stand in both" in record.why
    assert "ablations" not in str(record.fix)


def test_what_follows_the_change_by_a_rule_is_told() -> None:
    record = sound(
        one_change(["adapter.rank"], [], data=None, lengths=AT_STEPS, along={"adapter.alpha": "in proportion"})
    )
    assert (record.status, record.why) == (
        "pass", "the runs differ in adapter.rank, with adapter.alpha in proportion",
    )  # fmt: skip


# what a sweep declares

TWO_KEYS = {"rank": ["adapter.rank", "adapter.alpha"]}
CROSSED = {"rank": ["adapter.rank"], "rate": ["train.learning_rate"]}


@pytest.mark.parametrize(
    ("changes", "declared", "factors", "why"),
    [
        (
            ["adapter.rank", "adapter.alpha"], TWO_KEYS, ["rank"],
            "the factor rank changes adapter.alpha and adapter.rank together: which of the two did it cannot be told",
        ),
        (
            ["train.schedule.kind", "train.schedule.part", "train.steps"], {"how": ["train.schedule", "train.epochs"]},
            ["how"],
            "the factor how changes train.schedule.kind, train.schedule.part and train.steps together: which of them "
            "did it cannot be told",
        ),
        (
            ["adapter.rank", "train.learning_rate"], CROSSED, ["rank", "rate"],
            "the runs differ in the factors rank and rate, as declared: which of them did it cannot be told from this "
            "pair",
        ),
    ],
    ids=["two keys", "parts of keys, and the length", "crossed"],
)  # fmt: skip
def test_what_was_declared_warns(
    changes: list[str], declared: dict[str, list[str]], factors: list[str], why: str
) -> None:
    record = sound(one_change(changes, [], data=None, lengths=AT_STEPS, declared=declared))
    assert (record.status, record.measured["factors"], record.why) == ("warn", factors, why)
    assert one_change(changes, [], data=None, lengths=AT_STEPS).status == "fail"  # undeclared


def test_one_key_of_a_factor_is_one_change() -> None:
    record = sound(one_change(["adapter.rank"], [], data=None, lengths=AT_STEPS, declared=CROSSED))
    assert (record.status, record.why) == ("pass", "the runs differ in adapter.rank")


@pytest.mark.parametrize("declared", [TWO_KEYS, CROSSED])
def test_a_change_beside_what_was_declared_fails(declared: dict[str, list[str]]) -> None:
    changes = [*(key for keys in declared.values() for key in keys), "train.neftune"]
    record = sound(one_change(changes, [], data=None, lengths=AT_STEPS, declared=declared))
    assert (record.status, record.measured["factors"]) == ("fail", [])
    assert record.why.startswith("3 things differ: ")
    # a key that only begins like the declared one is another
    declared = {"s": ["train.schedule", "adapter.rank"]}
    other = one_change(["adapter.rank", "train.scheduler"], [], data=None, lengths=AT_STEPS, declared=declared)
    assert other.status == "fail"


def test_more_rows_that_are_no_fair_question_fail_declared_or_not() -> None:
    rows = {"rows": ["data.split.train_rows", "train.steps"]}
    apart = (Length(30, 1.0), Length(60, 2 / 3))
    record = sound(one_change(["train.steps"], [], data=NESTED, lengths=apart, declared=rows))
    assert record.status == "fail"
    assert "30 and 60 steps, 1 and 0.667 epochs: neither equal steps nor equal epochs" in record.why
    assert "equal-epochs: {data.split.train_rows: [300], train.epochs: [1]}" in str(record.fix)
    # more rows of another part, at equal steps
    texts = {"texts": ["data.source"]}
    other = sound(one_change([], [], data=OTHER, lengths=AT_STEPS, declared=texts))
    assert (other.status, "data.split.train_rows: [300]" in str(other.fix)) == ("fail", True)


def test_declared_texts_of_one_number_warn() -> None:
    texts = {"texts": ["data.source"]}
    as_many = Rows((100, 100), 20)
    record = sound(one_change([], [], data=as_many, lengths=AT_STEPS, declared=texts))
    assert record.status == "warn"
    assert record.why.startswith("the factor texts changes the training data (")
    assert one_change([], [], data=as_many, lengths=AT_STEPS).status == "fail"  # undeclared


def test_crossed_rows_warn() -> None:
    crossed = {"rows": ["data.split.train_rows"], **CROSSED}
    both = one_change(["adapter.rank"], [], data=NESTED, lengths=AT_STEPS, declared=crossed)
    assert (both.status, both.measured["factors"]) == ("warn", ["rows", "rank"])
    assert "rows and rank, as declared: which of them" in both.why
