from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.tally import EXAMPLES, Drop, Tally

reasons = st.sampled_from(["empty", "too-short", "unknown-role"])


@given(st.lists(st.one_of(st.none(), st.tuples(st.sampled_from(["drop", "unkeep", "many"]), reasons, st.booleans()))))
def test_all_that_came_is_kept_or_dropped_for_a_reason(steps: list[tuple[str, str, bool] | None]) -> None:
    tally, kept = Tally("rows"), 0
    dropped: Counter[str] = Counter()
    bad = came = 0
    for step in steps:
        if step is None:
            tally.keep(3)
            kept, came = kept + 3, came + 3
            continue
        how, reason, is_bad = step
        if how == "drop":
            tally.drop(Drop(reason, "why", is_bad), "a.csv:7", "said")
            came += 1
        elif how == "unkeep" and kept:
            tally.unkeep(Drop(reason, "why", is_bad), "a.csv:7", "said")
            kept -= 1
        elif how == "many" and kept:
            tally.unkeep_many(reason, kept)
            dropped[reason] += kept
            kept = 0
            continue
        else:
            continue
        dropped[reason] += 1
        bad += is_bad
    tally.check()
    found = tally.as_json()
    assert (found["in"], found["kept"], found["bad"], found["dropped"]) == (came, kept, bad, dict(dropped))
    assert list(found["dropped"].values()) == sorted(dropped.values(), reverse=True)
    for reason, shown in found["examples"].items():
        assert 1 <= len(shown) <= min(EXAMPLES, dropped[reason])
        assert shown[0] == {"where": "a.csv:7", "detail": "why", "text": "said"}


def test_what_is_lost_is_noticed() -> None:
    tally = Tally("rows")
    tally.keep(5)
    tally.kept -= 1
    with pytest.raises(AssertionError, match="rows: 5 in, 4 kept"):
        tally.as_json()


def test_nothing_of_a_reason_is_no_reason() -> None:
    tally = Tally("items")
    tally.keep(2)
    tally.unkeep_many("not-in-train-rows", 0)
    assert tally.as_json() == {"in": 2, "kept": 2, "bad": 0, "dropped": {}, "examples": {}}


def test_a_long_text_is_shown_by_its_start() -> None:
    tally = Tally("rows")
    tally.drop(Drop("too-long"), "a.csv:2", "one \n\n two " * 1000)
    tally.drop(Drop("too-long"), "a.csv:3", "x" * 160)
    texts = [example["text"] for example in tally.examples["too-long"]]
    assert [len(text) for text in texts] == [160, 160]
    assert texts[0].startswith("one two one two")
    assert texts[0].endswith("…")
    assert texts[1] == "x" * 160


@pytest.mark.parametrize(("bad", "refused"), [(0, False), (10, False), (11, True), (1000, True)])
def test_more_malformed_rows_than_allowed_are_refused(bad: int, refused: bool) -> None:
    tally = Tally("rows")
    tally.keep(990 - min(bad, 990))
    for number in range(bad):
        tally.drop(Drop("empty-turn", "assistant", bad=True), f"a.jsonl:{number + 5}")
    for _ in range(10):
        tally.drop(Drop("empty"), "a.jsonl:1")  # not malformed
    if not refused:
        tally.judge_bad(0.01, fix="look at these rows")
        return
    with pytest.raises(InputError, match="malformed") as caught:
        tally.judge_bad(0.01, fix="look at these rows")
    assert f"{bad} of {tally.came} rows are malformed" in caught.value.what
    assert "more than data.max_bad_rows = 1.0%" in caught.value.what
    assert f"{bad} x empty-turn (first: a.jsonl:5, assistant)" in caught.value.what
    assert caught.value.fix == "look at these rows"


def test_of_nothing_nothing_is_malformed() -> None:
    Tally("rows").judge_bad(0, fix="")
