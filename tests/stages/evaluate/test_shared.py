"""What is measured of the base is measured once, and by the next run taken as it was, or refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from fixture_sample import encoder_of, lively, measured_by, prepared, texts
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.core.console import Console
from assay.core.errors import GuardError
from assay.core.store import Store
from assay.model.generate import Generation
from assay.model.registry import locate
from assay.stages.evaluate import models
from assay.stages.evaluate.generations import Arm
from assay.stages.evaluate.harness import Metric
from assay.stages.evaluate.models import Measured, Setting, of_base, probe_base, shared_of
from assay.stages.evaluate.sample import Sample, take
from assay.stages.evaluate.shared import CONTINUATIONS, RECITAL, SCORES, TASKS, Shared

ENCODER = encoder_of()
PLAN: dict[str, Any] = {
    "decisions": {"precision": {"value": "fp32"}, "device": "cpu", "threads": 1},
    "machine": {"processor": "some", "gpu": None},
}


class Watched:
    """A model that counts the tokens that it is shown."""

    def __init__(self) -> None:
        self.model, self.shown = lively(), 0
        self.model.get_input_embeddings().register_forward_pre_hook(self._count)

    def _count(self, module: Any, given: tuple[Any, ...]) -> None:
        self.shown += given[0].numel()

    def of(self, at: Setting, sample: Sample) -> tuple[Measured, float | None, int]:
        """The base's results, the noise, and how many tokens were shown for them."""
        before = self.shown
        shared = shared_of(at, ENCODER.tokenizer)
        probe_base(at, self.model, sample, shared)
        return *of_base(at, self.model, sample, shared), self.shown - before


Made = Callable[..., tuple[Setting, Sample]]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A function that gives setting and sample of one more run that measures the same base."""

    def make(name: str, *, train: int = 9, plan: dict[str, Any] = PLAN, **evaluate: Any) -> Any:
        run = prepared(tmp_path / name, texts("train", train), texts("dev", 3), ENCODER)
        asked = {"prompts": ["To be", "O Romeo"], "examples": 1} | evaluate
        base, console = locate("scratch:llama-tiny", tmp_path), Console(quiet=True)
        at = Setting(run, measured_by(**asked), base, plan, tmp_path, Store(tmp_path), console, None)
        sample = take(run, texts("test", 7), at.protocol, ENCODER, tmp_path)
        few = replace(sample.remembered, readings=sample.remembered.readings[:2])
        return at, replace(sample, remembered=few)

    return make


def kinds(found: Measured) -> list[str]:
    return [one["what"] for one in found.earlier]


ALL = [
    "scores of probe texts",
    "scores (held-out texts)", "scores (generic texts and questions)", "continuations (prompts)",
    "continuations (prompts behind examples)", "recital (training texts)", "recital (held-out texts)",
]  # fmt: skip


def test_the_next_run_measures_nothing_again_but_a_few_texts_as_a_check(made: Made) -> None:
    base = Watched()
    first, noise, whole = base.of(*made("one"))
    assert (noise, kinds(first)) == (None, [])
    again, noise, check = base.of(*made("two"))
    assert kinds(again) == ALL
    assert {one["run"] for one in again.earlier} == {"one"}
    assert noise == pytest.approx(0.0, abs=1e-6)
    assert 0 < check < whole / 3  # the probe texts, packed, and the shortest held-out and generic ones
    for one, other in zip([*first.scores, *first.remembered], [*again.scores, *again.remembered], strict=True):
        np.testing.assert_array_equal(one, other)
    assert again.recited == first.recited
    for name, arm in first.arms.items():
        assert again.arms[name].generations == arm.generations
        # the cost is what it was, when it was
        assert again.arms[name].cost == arm.cost | {"run": "one"}
        assert arm.cost["run"] is None
        assert {"measured", "others", "cores", "tokens_per_s"} <= arm.cost.keys()


@pytest.mark.parametrize(
    ("changed", "anew"),
    [
        ({"train": 12}, {"continuations (prompts behind examples)", "recital (training texts)"}),
        ({"prompts": ["To be", "My lord"]}, {"continuations (prompts)", "continuations (prompts behind examples)"}),
        ({"examples": 2}, {"continuations (prompts behind examples)"}),
        ({"decoding": {"max_new_tokens": 9, "temperature": 0.0}}, {p for p in ALL if p.startswith("continuations")}),
        ({"continuations": 3}, {p for p in ALL if p.startswith("recital")}),
        ({"window": 64}, {p for p in ALL if p.startswith("scores")}),
        ({"smallest_effect": 0.3}, set()),
        ({"plan": PLAN | {"steps": 7}}, set()),
        ({"plan": PLAN | {"machine": {"processor": "other", "gpu": None}}}, set()),  # where it was planned is no matter
        ({"plan": PLAN | {"decisions": PLAN["decisions"] | {"threads": 2}}}, set(ALL)),
    ],
    ids=["rows", "prompts", "examples", "decoding", "stretches", "window", "judgement", "steps", "machine", "threads"],
)
def test_what_was_not_asked_before_is_measured_anew(made: Made, changed: dict[str, Any], anew: set[str]) -> None:
    base = Watched()
    base.of(*made("one"))
    assert set(ALL) - set(kinds(base.of(*made("two", **changed))[0])) == anew


@pytest.mark.parametrize("which", ["processor", "gpu_name"])
def test_another_machine_measures_anew(made: Made, monkeypatch: pytest.MonkeyPatch, which: str) -> None:
    """A runs directory may be shared by machines: times, and the last digits of scores, are each machine's own."""
    base = Watched()
    base.of(*made("one"))
    monkeypatch.setattr(models, which, lambda *device: "another")
    assert kinds(base.of(*made("two"))[0]) == []


@pytest.mark.parametrize("name", ["scores.parquet", "generations.parquet", "cost.json", "recital.json", "about.json"])
def test_what_is_not_what_was_stored_is_refused(made: Made, tmp_path: Path, name: str) -> None:
    base = Watched()
    base.of(*made("one"))
    file = next((tmp_path / ".store").rglob(name))
    file.write_bytes(file.read_bytes() + b" ")
    with pytest.raises(GuardError, match="not what was stored") as caught:
        base.of(*made("two"))
    assert (caught.value.guard, caught.value.where) == ("a-a-control", str(file.parent))


def test_a_classifier_learns_from_the_same_texts_again(made: Made) -> None:
    pytest.importorskip("sklearn")
    base = Watched()
    how = {"adherence": 6, "decoding": {"max_new_tokens": 40, "temperature": 1.0}}
    first, _, _ = base.of(*made("one", **how))
    again, _, _ = base.of(*made("two", **how))
    assert kinds(again) == [*ALL[:5], "continuations (training and development texts)", *ALL[5:]]
    assert first.ear is not None
    assert again.ear is not None
    assert again.ear.as_json() == first.ear.as_json()


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
GENERATIONS = st.lists(
    st.builds(Generation, TEXT, TEXT, st.lists(st.integers(0, 300)).map(tuple), st.booleans()), max_size=4
)
VALUES = st.dictionaries(st.integers(0, 99), st.none() | st.floats(allow_nan=False, allow_infinity=False), max_size=4)
METRICS = st.lists(
    st.builds(
        Metric, TEXT, TEXT, TEXT, st.floats(allow_nan=False, allow_infinity=False), VALUES, st.none() | st.booleans(),
        st.none() | TEXT, st.none() | st.integers(0, 5),
    ),
    max_size=3,
)  # fmt: skip


@settings(max_examples=20)
@given(GENERATIONS, METRICS, st.lists(st.booleans()), st.lists(st.lists(st.floats(allow_nan=False), max_size=5)))
def test_what_is_read_is_what_was_written(
    said: list[Generation], metrics: list[Metric], hits: list[bool], nats: list[list[float]]
) -> None:
    with TemporaryDirectory() as folder:
        shared = Shared(Store(Path(folder)), "run", {}, Console(quiet=True))
        assert shared.once(CONTINUATIONS, 0, lambda: Arm(said, {"batch": 1})).value == Arm(said, {"batch": 1})
        assert shared.once(TASKS, 0, lambda: metrics).value == metrics
        assert shared.once(RECITAL, 0, lambda: hits).value == hits
        scores = shared.once(SCORES, 0, lambda: [np.array(some) for some in nats]).value
        assert [some.tolist() for some in scores] == nats
        assert shared.taken == []


def test_a_value_that_is_not_finite_stays_none(tmp_path: Path) -> None:
    shared = Shared(Store(tmp_path), "run", {}, Console(quiet=True))
    one = Metric("quiz", "acc", "none", math.nan, {0: 1.0, 1: None}, True, "1.0", 2)
    (found,) = shared.once(TASKS, 0, lambda: [one]).value
    assert math.isnan(found.value)
    assert replace(found, value=0.0) == replace(one, value=0.0)
