from __future__ import annotations

import pytest
from fixture_guards import sound as any_sound

from assay.core.guard import GuardRecord, limits
from assay.guards.rating import Panel, rating


def sound(record: GuardRecord) -> GuardRecord:
    assert (record.guard, record.cls, record.stage) == ("rating", "O", "rate")
    return any_sound(record)


def panel(pairs: int = 60, consistency: float | None = 0.9, *, blind: bool = True, name: str = "judge") -> Panel:
    return Panel(name, pairs, consistency, 0 if consistency is None else pairs, blind)


def test_the_thresholds_are_those_of_the_specification() -> None:
    assert (limits("rating.consistency").passes, limits("rating.consistency").warns) == (0.8, 0.65)
    assert limits("rating.pairs").passes == 50


@pytest.mark.parametrize(
    ("pairs", "consistency", "blind", "status"),
    [
        (50, 0.8, True, "pass"),
        (200, 1.0, True, "pass"),
        (49, 1.0, True, "warn"),
        (1, 0.8, True, "warn"),
        (60, 0.799, True, "warn"),
        (60, 0.65, True, "warn"),
        (60, 0.649, True, "fail"),
        (10, 0.5, True, "fail"),
        (60, 1.0, False, "fail"),
        (10, None, False, "fail"),
        (60, None, True, "warn"),
        (0, None, True, "warn"),
        (0, None, False, "warn"),
    ],
)
def test_status(pairs: int, consistency: float | None, blind: bool, status: str) -> None:
    assert sound(rating([panel(pairs, consistency, blind=blind)])).status == status


def test_nobody_judged() -> None:
    assert sound(rating([])).status == "skip"


def test_the_worst_panel_counts_and_all_are_told() -> None:
    record = sound(rating([panel(name="judge, tuned against base"), panel(60, 0.6, name="people, tuned against base")]))
    assert record.status == "fail"
    assert "judge, tuned against base: 60 pairs; of 60 answered twice 90% named the same winner again" in record.why
    assert "people, tuned against base" in record.why
    assert [p["consistency"] for p in record.measured] == [0.9, 0.6]


def test_what_is_said_of_too_few_and_of_none() -> None:
    assert "12 pairs (fewer than 50)" in rating([panel(12)]).why
    assert "always stood first" in rating([panel(blind=False)]).why
    assert "no usable answer" in rating([panel(0, None)]).why
