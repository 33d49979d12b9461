"""Every key of the section `evaluate` reaches the measuring, and what was chosen on dev is named."""

from __future__ import annotations

from typing import Any

import pytest

from assay.config.schema import EvaluateConfig, Experiment
from assay.core.records import Decoding
from assay.stages.evaluate.protocol import Protocol, protocol

OTHER: dict[str, Any] = {  # than the default
    "window": 128, "stride": 64, "max_bytes_per_group": 500, "prompts": ["To be"], "examples": 5,
    "decoding": {"temperature": 0.0}, "retain": ["sv"], "retain_margin": 0.1, "questions": ["sv"], "adherence": 60,
    "harness": ["arc_easy"], "continuations": 3, "smallest_effect": 0.1, "claim": "recipe",
}  # fmt: skip
ELSEWHERE = {"judge"}  # which is asked by a command of its own


def of(**sections: Any) -> Protocol:
    experiment = {"schema": 1, "name": "a", "base": "scratch:llama-tiny", "data": {"source": "a.txt"}} | sections
    return protocol(Experiment.model_validate(experiment))


def test_no_key_is_left_out() -> None:
    assert set(OTHER) | ELSEWHERE == set(EvaluateConfig.model_fields)


@pytest.mark.parametrize("key", OTHER)
def test_each_key_changes_what_is_done(key: str) -> None:
    changed = of(evaluate={key: OTHER[key]})
    assert changed != of()
    expected = Decoding(**{**vars_of(of().decoding), **OTHER[key]}) if key == "decoding" else OTHER[key]
    assert getattr(changed, key) == expected


def vars_of(decoding: Decoding) -> dict[str, Any]:
    return {name: getattr(decoding, name) for name in ("max_new_tokens", "temperature", "top_p")}


@pytest.mark.parametrize(("given", "stride"), [({"window": 64}, 64), ({"window": 64, "stride": 16}, 16)])
def test_without_a_stride_windows_do_not_overlap(given: dict[str, int], stride: int) -> None:
    assert of(evaluate=given).stride == stride


@pytest.mark.parametrize(
    ("train", "chosen"),
    [
        ({}, []),
        ({"result": "best", "eval_every": 5}, ["the best checkpoint"]),
        ({"result": "best", "patience": 2, "eval_every": 5}, ["the best checkpoint", "the early stop"]),
    ],
)
def test_what_was_chosen_on_dev(train: dict[str, Any], chosen: list[str]) -> None:
    assert of(train=train).chosen_on_dev == chosen


@pytest.mark.parametrize(("kind", "four_bit"), [("qlora", True), ("lora", False), ("dora", False), ("full", False)])
def test_only_what_was_trained_in_4_bit_is_measured_in_4_bit(kind: str, four_bit: bool) -> None:
    assert (of(adapter={"kind": kind}).kind, of(adapter={"kind": kind}).four_bit) == (kind, four_bit)


def test_all_draws_go_by_the_splits_seed_which_runs_of_other_training_seeds_share() -> None:
    found = of(seed=3, data={"source": "a.txt", "split": {"seed": 5}, "system_prompt": "Be brief."})
    assert (found.split_seed, found.system) == (5, "Be brief.")
    assert found == of(seed=4, data={"source": "a.txt", "split": {"seed": 5}, "system_prompt": "Be brief."})
