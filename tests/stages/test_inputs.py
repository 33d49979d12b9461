"""What an evaluation reads is found before anything is trained; whatever of it changes, changes the record of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.config.evaluate import EvaluateConfig
from assay.config.values import LANGUAGES, QUESTIONS, SUITES
from assay.core.errors import InputError, MachineError
from assay.core.files import sha256_text
from assay.stages.inputs import evaluation_content

CONTENTS = {
    "prompts": ("own.txt", "To be\nO Romeo\n"),
    "questions": ("own.jsonl", '{"question": "How?", "choices": ["so", "thus"], "answer": 0}\n'),
    "retain": ("kept.txt", "What must not be forgotten.\n\nNor this.\n"),
    "harness": ("task.yaml", "task: mine\n"),
}

EDITS = {"prompts": ("be", "be,"), "questions": ("thus", "ill"), "retain": ("Nor", "And"), "harness": ("mine", "ours")}


def content(cache: Path, **evaluate: Any) -> dict[str, Any]:
    found = evaluation_content(EvaluateConfig.model_validate({"questions": []} | evaluate), cache)
    json.dumps(found, allow_nan=False)  # it is a part of a run's key
    return found


@pytest.fixture
def lm_eval(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if lm-evaluation-harness were installed; none of it is called."""
    monkeypatch.setitem(sys.modules, "lm_eval", type(sys)("lm_eval"))
    sys.modules["lm_eval"].__spec__ = sys.__spec__


def written(folder: Path, key: str) -> Any:
    """A file for a key, and the key's value that names it."""
    name, text = CONTENTS[key]
    (folder / name).write_text(text)
    return str(folder / name) if key == "prompts" else [str(folder / name)]


def test_what_ships_goes_by_its_name(tmp_path: Path) -> None:
    found = content(tmp_path, prompts="gothic", questions=["general", "sv"], retain=["de", "sv"])
    assert found == {"prompts": "gothic", "questions": ["general", "sv"], "retain": None, "harness": []}


@pytest.mark.parametrize("name", SUITES)
def test_every_suite_that_an_experiment_may_name_is_there(tmp_path: Path, name: str) -> None:
    assert content(tmp_path, prompts=name)["prompts"] == name


def test_every_language_and_question_suite_that_an_experiment_may_name_is_there(tmp_path: Path) -> None:
    assert content(tmp_path, retain=list(LANGUAGES), questions=list(QUESTIONS))["questions"] == list(QUESTIONS)


@pytest.mark.parametrize("prompts", ["held-out", [], ["To be", "gone.txt"]])
def test_held_out_prompts_and_texts_are_no_files(tmp_path: Path, prompts: Any) -> None:
    assert "prompts" not in content(tmp_path, prompts=prompts)


@pytest.mark.usefixtures("lm_eval")
@pytest.mark.parametrize("key", CONTENTS)
def test_a_changed_file_is_another_content_and_its_place_is_not(tmp_path: Path, key: str) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    before = content(tmp_path, **{key: written(here, key)})
    assert content(tmp_path, **{key: written(there, key)}) == before
    file = here / CONTENTS[key][0]
    if key in ("prompts", "questions", "harness"):
        assert sha256_text(file.read_text()) in json.dumps(before[key])
    text = file.read_text()
    file.write_text(text.replace(*EDITS[key]))
    assert file.read_text() != text
    after = content(tmp_path, **{key: str(file) if key == "prompts" else [str(file)]})
    assert after[key] != before[key]
    assert {name: one for name, one in after.items() if name != key} == {
        name: one for name, one in before.items() if name != key
    }


@pytest.mark.usefixtures("lm_eval")
def test_the_order_of_what_is_asked_is_kept(tmp_path: Path) -> None:
    for key, some in (("questions", ["sv", "general"]), ("harness", ["b", "a"])):
        assert content(tmp_path, **{key: some})[key] == some
        assert content(tmp_path, **{key: some[::-1]})[key] == some[::-1]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("prompts", "gothik", ["gothik", "gothic"]),
        ("prompts", "gone.txt", ["gone.txt"]),
        ("questions", ["genral"], ["genral", "general"]),
        ("questions", ["general", "gone.jsonl"], ["gone.jsonl"]),
        ("retain", ["xx"], ["xx"]),
        ("retain", ["en", "gone.txt"], ["gone.txt"]),
    ],
)
def test_what_is_missing_is_named(tmp_path: Path, key: str, value: Any, words: list[str]) -> None:
    evaluate = EvaluateConfig().model_copy(update={"questions": [], key: value})
    with pytest.raises(InputError) as caught:
        evaluation_content(evaluate, tmp_path)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("key", "text"), [("prompts", ""), ("questions", "{}\n"), ("questions", "How?\n"), ("retain", "")]
)
def test_a_file_that_is_not_what_it_should_be_is_named(tmp_path: Path, key: str, text: str) -> None:
    value = written(tmp_path, key)
    (tmp_path / CONTENTS[key][0]).write_text(text)
    if key == "retain":  # texts may be anything: an empty file is found out when it is read
        assert content(tmp_path, **{key: value})["retain"]["files"][0]["name"] == "kept.txt"
        return
    with pytest.raises(InputError) as caught:
        content(tmp_path, **{key: value})
    assert CONTENTS[key][0] in str(caught.value)


@pytest.mark.parametrize(
    ("package", "key", "value", "extra"),
    [("lm_eval", "harness", ["arc_easy"], "harness"), ("sklearn", "adherence", 60, "metrics")],
)
def test_a_missing_package_is_told_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, key: str, value: Any, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MachineError, match="not installed") as caught:
        content(tmp_path, **{key: value})
    assert (caught.value.where, caught.value.fix) == (f"evaluate.{key}", f"pip install 'assay[{extra}]'")
    content(tmp_path, **{key: type(value)()})  # 0 or none of them needs no package


@pytest.mark.parametrize("url", ["https://user:word@host/v1", "https://host/v1?api-key=SECRET"])
def test_a_judges_address_with_a_key_is_refused_before_it_is_written_down(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="holds a password or key") as raised:
        evaluation_content(EvaluateConfig.model_validate({"judge": {"url": url, "model": "m"}}), tmp_path)
    assert "SECRET" not in str(raised.value)
    assert "word" not in str(raised.value).replace("password", "")
