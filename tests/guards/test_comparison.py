from __future__ import annotations

from typing import Any

import pytest
from fixture_guards import sound

from assay.guards.comparison import common_currency, one_change, selection_hygiene

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


@pytest.mark.parametrize(
    ("changes", "harmless", "data", "status"),
    [
        ([], [], None, "pass"),
        (["adapter.rank"], [], None, "pass"),
        (["adapter.rank"], ["seed"], None, "warn"),
        (["adapter.rank", "adapter.alpha"], [], None, "fail"),
        ([], [], "nested", "warn"),
        (["train.steps"], [], "nested", "fail"),
        ([], [], "other", "fail"),
    ],
)
def test_one_change(changes: list[str], harmless: list[str], data: str | None, status: str) -> None:
    record = sound(one_change(changes, harmless, data=data, steps=(30, 30)))
    assert record.status == status
    assert all(key in record.why for key in changes)


def test_more_data_are_told_with_the_steps_that_they_took() -> None:
    assert "both at 30 steps" in one_change([], [], data="nested", steps=(30, 30)).why
    assert "at 30 and 60 steps" in one_change([], [], data="nested", steps=(30, 60)).why
