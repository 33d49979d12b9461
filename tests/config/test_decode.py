"""The section `decode`: which settings it stands for, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config.decode import DecodingConfig, expand, references
from assay.config.load import Loaded, load_text, resolved_yaml
from assay.core.errors import InputError
from assay.core.records import BARE, Decoding, Setting

HEAD = "schema: 1\nname: a\nbase: scratch:llama-tiny\ndata: {source: x.txt}\n"
HERE = Path("/nowhere/e.yaml")


def load(section: str, *overrides: str) -> Loaded:
    return load_text(f"{HEAD}decode: {section}\n", HERE, overrides)


def settings(section: str, *overrides: str) -> dict[str, Setting]:
    experiment = load(section, *overrides).experiment
    return {one.name: one for one in expand(experiment.decode, experiment.evaluate.decoding.decoding())}


def test_without_a_grid_the_usual_settings_are_tried_and_greedy_and_the_default_come_first() -> None:
    found = settings("{}")
    assert list(found) == [
        "greedy", "default", "temperature 0.6", "temperature 1", "top-p 0.9", "min-p 0.1", "penalty 1.1", "penalty 1.2",
    ]  # fmt: skip
    assert found["greedy"].decoding == Decoding(96, 0.0, 1.0)
    assert found["default"].decoding == Decoding(96, 0.8, 0.95)
    assert found["top-p 0.9"].decoding == Decoding(96, 0.8, 0.9)


def test_one_factor_at_a_time_moves_one_key_away_from_the_default() -> None:
    found = settings("{grid: {top_k: [5, 40], typical_p: [0.9]}}", "evaluate.decoding.temperature=0.5")
    default = Decoding(96, 0.5, 0.95)
    moved = [one.decoding for one in found.values() if one.name not in ("greedy", "default")]
    assert moved == [Decoding(96, 0.5, 0.95, top_k=5), Decoding(96, 0.5, 0.95, top_k=40),
                     Decoding(96, 0.5, 0.95, typical_p=0.9)]  # fmt: skip
    assert found["default"].decoding == default


def test_crossed_all_combinations_are_tried_and_none_twice() -> None:
    found = settings("{cross: true, grid: {temperature: [0, 0.7], top_p: [0.9, 1], repetition_penalty: [1, 1.2]}}")
    tried = [one.decoding for one in found.values()]
    assert len(set(tried)) == len(tried)
    # greedy knows no top-p: of its four points two are left, one of which is plain greedy; then the default
    assert len(tried) == 2 + 4 + 1
    assert list(found)[-1] == "temperature 0.7, penalty 1.2"


@given(
    temperatures=st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, unique=True),
    shares=st.lists(st.sampled_from([0.5, 0.9, 1.0]), min_size=1, unique=True),
    cross=st.booleans(),
)
def test_names_are_of_one_setting_each(temperatures: list[float], shares: list[float], cross: bool) -> None:
    section = f"{{cross: {str(cross).lower()}, grid: {{temperature: {temperatures}, top_p: {shares}}}}}"
    experiment = load(section).experiment
    found = expand(experiment.decode, experiment.evaluate.decoding.decoding())
    assert len({one.name for one in found}) == len(found)
    assert len({(one.decoding, one.template) for one in found}) == len(found)
    assert all(one.decoding.plain == one.decoding for one in found)


def test_named_settings_and_templates_join_in() -> None:
    found = settings(
        "{settings: {careful: {temperature: 0, repetition_penalty: 1.2}, wide: {beams: 4, temperature: 0}}, "
        'templates: {asked: "Go on: {prompt}"}, max_new_tokens: 20}'
    )
    assert list(found) == ["greedy", "default", "template asked", "careful", "wide"]
    assert found["careful"].decoding == Decoding(20, 0.0, 1.0, repetition_penalty=1.2)
    assert found["template asked"].put("Once") == "Go on: Once"
    assert found["careful"].template == BARE
    assert found["careful"].put("{prompt} and {more}") == "{prompt} and {more}"


def test_a_setting_keeps_the_name_that_it_was_given() -> None:
    """Where the grid has it too, or it is what the choice is held against, it is tried once, under the user's name."""
    section = "{grid: {temperature: [0.5, 1]}, settings: {warm: {temperature: 1}, sure: {temperature: 0}}}"
    assert list(settings(section)) == ["sure", "default", "temperature 0.5", "warm"]
    experiment = load(section).experiment
    default = experiment.evaluate.decoding.decoding()
    assert references(experiment.decode, default, expand(experiment.decode, default)) == ["sure", "default"]
    frozen = load("{}", "evaluate.decoding.temperature=0").experiment
    default = frozen.evaluate.decoding.decoding()
    assert references(frozen.decode, default, expand(frozen.decode, default)) == ["greedy"]


def test_a_value_alone_is_a_list_of_one() -> None:
    assert settings("{grid: {temperature: 1}}") == settings("{grid: {temperature: [1]}}")


@pytest.mark.parametrize(
    ("section", "what"),
    [
        ("{grid: {beams: [4]}}", "4 beams search for the likeliest text, and temperature 0.8 draws one"),
        ("{settings: {a: {temperature: 0, penalty_alpha: 0.6}}}", "chooses among top_k candidates, and top_k is 0"),
        ("{settings: {a: {penalty_alpha: 0.6, top_k: 4}}}", "takes neither a temperature above 0 nor beams"),
        ("{settings: {a: {temperature: 0, beams: 2, penalty_alpha: 0.6, top_k: 4}}}", "nor beams"),
        ("{settings: {a: {temprature: 0}}}", "decode.settings has no key a.temprature"),
        ("{settings: {a: {temperature: -1}}}", "decode.settings has a.temperature: -1, which is not allowed"),
        ("{settings: {greedy: {temperature: 0}}}", "has the name 'greedy'"),
        ("{settings: {a: {}}}", "holds no keys"),
        ("{settings: {temperature 1: {temperature: 0.5}}, grid: {temperature: [1]}}", "are called 'temperature 1'"),
        ("{settings: {a: {temperature: 0}, b: {temperature: 0, top_p: 0.5}}}", "under two names, 'a' and 'b'"),
        ("{grid: {temperature: []}}", "decode.grid.temperature is an empty list"),
        ("{grid: {temperature: [-1]}}", "decode.grid.temperature holds -1, which is not allowed"),
        ("{grid: {beams: [1.5]}}", "decode.grid.beams holds 1.5, which is not allowed"),
        ("{grid: {min_p: [1]}}", "decode.grid.min_p holds 1, which is not allowed"),
        ("{grid: {beam: [1]}}", "there is no key decode.grid.beam"),
        ("{templates: {a: hello}}", "in which the prompt has no place"),
        ("{templates: {bare: '{prompt}'}}", "has the name 'bare'"),
        ("{prompts: []}", "decode.prompts is an empty list"),
        ("{prompts: [a, b], confirm: [b]}", "share prompts"),
        ("{prompts: stories, confirm: stories}", "share prompts"),
        ("{max_loops: 2}", "decode.max_loops is 2, which is not allowed"),
    ],
)
def test_what_does_not_stand_is_refused_with_its_place(section: str, what: str) -> None:
    with pytest.raises(InputError) as error:
        load(section)
    assert what in error.value.what
    assert str(error.value.where).startswith("/nowhere/e.yaml:5:")
    assert error.value.fix


def test_decoding_of_an_evaluation_is_held_to_the_same_rules() -> None:
    with pytest.raises(InputError, match="3 beams search"):
        load("{}", "evaluate.decoding.beams=3")
    assert load("{}", "evaluate.decoding.beams=3", "evaluate.decoding.temperature=0")


def test_resolved_values_load_to_the_same_settings() -> None:
    section = '{grid: {top_k: [5]}, settings: {careful: {temperature: 0}}, templates: {x: "{prompt}!"}, confirm: []}'
    loaded = load(section)
    again = load_text(resolved_yaml(loaded), HERE)
    assert again.experiment == loaded.experiment


def test_files_count_from_the_experiment_and_names_and_texts_stay(tmp_path: Path) -> None:
    (tmp_path / "small").mkdir()
    text = f"{HEAD}decode: {{prompts: p.txt, confirm: [say it.txt], assistant: small}}\n"
    found = load_text(text, tmp_path / "e.yaml").experiment.decode
    assert found.prompts == str(tmp_path / "p.txt")
    assert found.confirm == ["say it.txt"]
    assert found.assistant == str(tmp_path / "small")
    assert load_text(f"{HEAD}decode: {{prompts: stories}}", HERE).experiment.decode.prompts == "stories"


def test_every_key_of_decoding_is_one_of_the_record_with_its_default() -> None:
    assert DecodingConfig().decoding() == Decoding(60, 0.8, 0.95)
