from __future__ import annotations

import math

import pytest
from fixture_guards import sound as any_sound
from hypothesis import given
from hypothesis import strategies as st

from assay.core.guard import GuardRecord
from assay.data.leakage import Leak
from assay.guards.data import power, split_leak

GROUPS = {"t": "Hamlet", **{f"h{n}": f"exam {n}" for n in range(50)}}


def sound(record: GuardRecord) -> GuardRecord:
    assert record.stage == "prepare"
    return any_sound(record)


def leaks(count: int, kind: str = "run") -> list[Leak]:
    return [Leak(f"h{n}", "t", kind, 60, f"passage  {n}\nthat is shared") for n in range(count)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "held", "status"),
    [
        (leaks(0), 100, "pass"),
        (leaks(1), 100, "warn"),
        (leaks(2), 199, "fail"),
        (leaks(2), 200, "warn"),
        (leaks(1), 99, "fail"),
        (leaks(1, "hash"), 1000, "warn"),
        (leaks(1, "group"), 1000, "fail"),
        ([*leaks(1), *leaks(1, "jaccard")], 100, "warn"),  # one text, by two definitions
    ],
)
def test_split_leak(found: list[Leak], held: int, status: str) -> None:
    record = sound(split_leak(found, held, GROUPS, emptied=False))
    assert (record.cls, record.status) == ("V", status)
    leaking = len({leak.held_id for leak in found})
    assert (record.measured["leaking"], record.measured["held_out"]) == (leaking, held)
    assert record.measured["share"] == leaking / held
    if found:
        assert f"{leaking} of {held} held-out texts ({leaking / held:.2%})" in record.why
        assert "'exam 0' (held out) against 'Hamlet' (training)" in record.why
        assert '"passage 0 that is shared"' in record.why
        assert ("dropped" in record.why) == (status == "warn")
    else:
        assert record.why == "none of 100 dev and test texts also stands in training"


def test_a_split_may_not_be_emptied() -> None:
    record = sound(split_leak(leaks(1), 1000, GROUPS, emptied=True))
    assert record.status == "fail"
    assert "dropped" not in record.why


def test_kinds_are_counted_and_a_few_leaks_are_shown() -> None:
    found = [*leaks(30), *leaks(7, "jaccard")]
    record = split_leak(found, 10_000, GROUPS, emptied=False)
    assert record.measured["kinds"] == {"jaccard": 7, "run": 30}
    assert len(record.measured["examples"]) == 20
    assert record.measured["examples"][3] == {
        "held_id": "h3", "train_id": "t", "kind": "run", "amount": 60, "passage": "passage  3\nthat is shared",
        "held_group": "exam 3", "train_group": "Hamlet",
    }  # fmt: skip


def test_a_long_passage_is_cut_in_the_sentence() -> None:
    found = [Leak("h0", "t", "run", 99, "word " * 40)]
    said = split_leak(found, 1000, GROUPS, emptied=False).why.partition('"')[2].rstrip('"')
    assert said == ("word " * 40)[:77] + "..."


@pytest.mark.parametrize(
    ("test", "status"), [(1, "fail"), (5, "fail"), (6, "warn"), (29, "warn"), (30, "pass"), (99, "pass")]
)
def test_power(test: int, status: str) -> None:
    record = sound(power(test, 100))
    assert (record.cls, record.status) == ("O", status)
    assert record.measured == {"test_groups": test, "groups": 100}
    assert str(test) in record.why
    assert ("no verdict can be reached with fewer than 6" in record.why) == (status == "fail")


@given(st.integers(3, 400), st.data())
def test_the_fix_that_is_offered_is_enough(every: int, data: st.DataObject) -> None:
    test = data.draw(st.integers(1, min(5, every - 2)))
    fix = power(test, every).fix or ""
    share, found, _ = fix.partition(" gives 6")
    if not found:
        assert every < 12
        assert f"{every} are too few to hold 6 out" in fix
        return
    held = float(share.rpartition("--set data.split.test=")[2])
    assert held <= 0.51
    assert math.floor(held * every + 0.5) >= 6  # as the split takes a share
