"""What base and tuned make of one sample, each number beside one that is got without the stage."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_sample import chats, encoder_of, lively, measured_by, prepared, texts

from assay.core.console import Console
from assay.core.files import write_json
from assay.core.records import Decoding, Turn
from assay.core.rundir import RunDir
from assay.core.store import Store
from assay.model.generate import generate
from assay.model.load import silent
from assay.model.registry import locate
from assay.model.score import Nats, Scorer, item_readings
from assay.stages.evaluate import measure, models
from assay.stages.evaluate.memorisation import LONGEST, PROMPT, probes
from assay.stages.evaluate.models import Measured, Setting, _setting, of_tuned, shared_of
from assay.stages.evaluate.sample import Sample, take
from assay.text.tokenizer import TextTokenizer, byte_tokenizer
from assay.text.tokens import Encoder, chat_template

PLAN = {
    "decisions": {"precision": {"value": "fp32"}, "kernels": {"value": "own"}, "device": "cpu", "threads": 1},
    "machine": {"processor": "some", "gpu": None},
}
ENCODER = encoder_of()


@pytest.fixture(scope="module")
def model() -> Any:
    return lively()


def setting(run: RunDir, folder: Path, **evaluate: Any) -> Setting:
    base, console = locate("scratch:llama-tiny", folder), Console(quiet=True)
    return Setting(run, measured_by(**evaluate), base, PLAN, folder, Store(folder), console, None)


@pytest.fixture
def plain(tmp_path: Path) -> Any:
    """A function that gives setting and sample of a run on plain texts."""
    run = prepared(tmp_path / "run", texts("train", 9), texts("dev", 3), ENCODER)

    def made(**evaluate: Any) -> tuple[Setting, Sample]:
        at = setting(run, tmp_path, **{"prompts": ["To be", "O Romeo"]} | evaluate)
        return at, fewer(take(run, texts("test", 7), at.protocol, ENCODER, tmp_path))

    return made


def of_base(at: Setting, model: Any, sample: Sample) -> tuple[Measured, float | None]:
    return models.of_base(at, model, sample, shared_of(at, sample.asking.encoder.tokenizer))


def fewer(sample: Sample) -> Sample:
    """With two of the generic texts only, which is quicker."""
    return replace(sample, remembered=replace(sample.remembered, readings=sample.remembered.readings[:2]))


def same(one: list[Nats], other: list[Nats]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def judge(of: Any, tokenizer: TextTokenizer = ENCODER.tokenizer) -> Scorer:
    return Scorer(of, tokenizer, window=128, stride=128)


# the base


def test_the_bases_results_are_the_scorers(plain: Any, model: Any) -> None:
    at, sample = plain()
    found, noise = of_base(at, model, sample)
    assert noise is None
    same(found.scores, judge(model).score([item.text for item in sample.test]))
    same(found.remembered, judge(model).score_readings(sample.remembered.readings))
    assert tuple(map(len, found.recited)) == (4, 4)
    assert (found.ear, found.template, found.tasks, found.train_bpb) == (None, "none", [], None)
    again, noise = of_base(at, model, sample)
    assert noise == pytest.approx(0.0, abs=1e-6)
    same(again.scores, found.scores)
    assert {name: arm.generations for name, arm in again.arms.items()} == {
        name: arm.generations for name, arm in found.arms.items()
    }


def test_the_noise_is_the_worse_of_texts_and_generic_texts(plain: Any, model: Any) -> None:
    at, sample = plain(prompts=[], continuations=0)
    of_base(at, model, sample)
    other = lively(seed=6)
    _, noise = of_base(at, other, sample)
    alone = [
        of_base(at, other, replace(sample, **part))[1]
        for part in ({"readings": []}, {"remembered": replace(sample.remembered, readings=[])})
    ]
    assert alone[0] is not None
    assert alone[1] is not None
    assert noise == max(alone)
    assert min(alone) > 0


def test_the_prompt_only_arm_really_shows_the_examples(plain: Any, model: Any) -> None:
    at, sample = plain(examples=2)
    arms = of_base(at, model, sample)[0].arms
    assert list(arms) == ["base", "prompt_only"]
    before = "".join(f"{item.text}\n\n" for item in sample.shown)
    assert len(sample.shown) == 2
    for name, prefix in (("base", ""), ("prompt_only", before)):
        asked = [ENCODER.prompt([Turn("prompt", prefix + prompt)]) for prompt in ("To be", "O Romeo")]
        expected = generate(
            model, ENCODER.tokenizer, asked, stops=ENCODER.stops, decoding=at.protocol.decoding, seeds=[0, 1]
        )
        assert arms[name].generations == expected
    assert arms["base"].generations != arms["prompt_only"].generations


def test_a_short_window_of_scores_does_not_blind_the_look_for_recital(plain: Any, model: Any) -> None:
    at, sample = plain(prompts=[], window=16)
    prompt = ENCODER.tokenizer.encode("To be, or not to be: that is the question; whether 'tis nobler")[:PROMPT]
    long = Decoding(LONGEST - PROMPT, 0.0, 1.0)
    (one,) = generate(model, ENCODER.tokenizer, [prompt], stops=(), decoding=long, seeds=[0])
    stretches = probes(np.array([[0, 0, LONGEST]]), np.array([*prompt, *one.ids]), 1, seed=0)
    assert (len(prompt), len(stretches.readings)) == (PROMPT, 1)
    assert of_base(at, model, replace(sample, train_stretches=stretches))[0].recited[0] == [True]


@pytest.mark.parametrize(
    ("evaluate", "arms"), [({"examples": 0}, ["base"]), ({"prompts": []}, []), ({"prompts": [], "adherence": 4}, [])]
)
def test_what_is_not_asked_for_is_not_made(plain: Any, model: Any, evaluate: dict[str, Any], arms: list[str]) -> None:
    at, sample = plain(**evaluate)
    found = of_base(at, model, sample)[0]
    assert list(found.arms) == arms
    assert found.ear is None


def test_what_may_move_a_score_is_part_of_its_key() -> None:
    def changed(**values: Any) -> dict[str, Any]:
        return _setting(PLAN["decisions"] | values, four_bit=False)

    found = [changed(), changed(precision={"value": "bf16"}), changed(device="cuda"), changed(threads=2)]
    assert all(one != other for i, one in enumerate(found) for other in found[:i])
    # whatever else was decided does not: the same base is not scored twice for it
    assert changed(micro_batch_tokens={"value": 3}) == changed()


# a base that has a template of its own

LINES = (
    "{% for m in messages %}{{ m['role'] ~ WORD ~ m['content'] ~ eos_token ~ '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant' ~ WORD }}{% endif %}"
)
REFUSES = "{{ raise_exception('not like this') if messages[0]['content'] != 'x' }}"


def template(word: str) -> str:
    return LINES.replace("WORD", f"'{word}'")


def talk(tmp_path: Path, own: str, given: str) -> tuple[Setting, Sample]:
    bare = byte_tokenizer()
    tokenizer = TextTokenizer(bare.backend, bare.bos, bare.eos, own, bare.named)
    encoder = Encoder(tokenizer, chat_template(tokenizer, given))
    run = prepared(tmp_path / "run", chats("train", 9), chats("dev", 3), encoder)
    at = setting(run, tmp_path, examples=0, continuations=0, max_bytes_per_group=None)
    return at, fewer(take(run, chats("test", 7), at.protocol, encoder, tmp_path))


def total(nats: list[Nats]) -> float:
    return sum(float(one.sum()) for one in nats)


def test_a_base_is_held_to_the_better_of_its_own_template_and_the_experiments(tmp_path: Path, model: Any) -> None:
    better = set()
    for word in (": ", " says ", "=", "!!!"):
        folder = tmp_path / str(len(word)) / word.strip()
        at, sample = talk(folder, template(word), template(" > "))
        found = of_base(at, model, sample)[0]
        assert found.template == "own"
        ways = [
            total(judge(model).score_readings(item_readings(sample.test, asking.encoder)))
            for asking in (sample.asking, sample.base_asking)
        ]
        assert ways[0] != ways[1]
        assert total(found.scores) == pytest.approx(min(ways))
        # what is counted is counted in the words of the template that the scores are of
        assert (found.readings is sample.readings) == (ways.index(min(ways)) == 0)
        better.add(ways.index(min(ways)))
        encoder = sample.base_asking.encoder
        asked = [encoder.prompt([Turn("user", prompt.text)]) for prompt in sample.prompts]
        assert word.strip() in encoder.tokenizer.decode(asked[0])
        assert found.arms["base"].generations == generate(
            model, encoder.tokenizer, asked, stops=encoder.stops, decoding=at.protocol.decoding, seeds=range(7)
        )
    assert better == {0, 1}  # of these some are better and some are not


def test_a_template_that_refuses_these_chats_leaves_the_experiments(tmp_path: Path, model: Any) -> None:
    at, sample = talk(tmp_path, REFUSES + template(": "), template(" > "))
    found = of_base(at, model, sample)[0]
    assert found.template == "other"
    same(found.scores, judge(model).score_readings(sample.readings))
    ids = sample.asking.encoder.prompt([Turn("user", sample.prompts[0].text)])
    assert " > " in sample.asking.encoder.tokenizer.decode(ids)
    encoder = sample.asking.encoder
    (first,) = generate(model, encoder.tokenizer, [ids], stops=encoder.stops, decoding=at.protocol.decoding, seeds=[0])
    assert found.arms["base"].generations[0] == first


# the tuned model


def saved(at: Setting, model: Any) -> None:
    """As training leaves it."""
    with silent():
        model.save_pretrained(at.run.model)
    nats = judge(model).score(["To be, or not to be", "that is the question"])
    write_json(
        at.run.reference,
        {
            "window": 128, "texts": ["To be, or not to be", "that is the question"],
            "nll": [float(n.sum()) for n in nats], "tokens": [len(n) for n in nats],
        },
    )  # fmt: skip


def test_the_tuned_models_results_are_the_scorers(plain: Any, model: Any) -> None:
    at, sample = plain()
    trained = lively(seed=6)
    saved(at, trained)
    found = of_tuned(at, trained, sample, measure.probe(model, ENCODER.tokenizer, 128, sample.probes))
    assert {record.guard: record.status for record in at.run.guards.records()} == {
        "fresh-reload": "pass", "adapter-effect": "pass",
    }  # fmt: skip
    same(found.scores, judge(trained).score([item.text for item in sample.test]))
    bits = total(judge(trained).score([item.text for item in sample.train])) / math.log(2)
    assert found.train_bpb == pytest.approx(bits / sum(len(item.text.encode()) for item in sample.train))
    assert list(found.arms) == ["tuned"]
    asked = [ENCODER.prompt([Turn("prompt", prompt.text)]) for prompt in sample.prompts]
    assert found.arms["tuned"].generations == generate(
        trained, ENCODER.tokenizer, asked, stops=ENCODER.stops, decoding=at.protocol.decoding, seeds=[0, 1]
    )
