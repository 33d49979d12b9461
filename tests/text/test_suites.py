from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import assay
from assay.config.values import LANGUAGES
from assay.config.values import QUESTIONS as NAMED_QUESTIONS
from assay.config.values import SUITES as NAMED_PROMPTS
from assay.core.errors import InputError
from assay.text.metrics.asked import ASKED
from assay.text.suites import CHECKS, GENERIC, Prompt, Question, generic_texts, prompt_suite, questions

SUITES = Path(assay.__file__).parent / "suites"
PROMPTS = ("anime", "assistant", "gothic", "greentext", "stories")
QUESTIONS = {"general": 80, "sv": 20}
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


# --- what ships ---


def test_the_files_are_those_named_here_and_the_readme_tells_of_each() -> None:
    assert tuple(sorted(one.stem for one in (SUITES / "prompts").iterdir())) == PROMPTS
    assert tuple(sorted(one.stem for one in (SUITES / "generic").iterdir())) == tuple(GENERIC)
    assert sorted(one.stem for one in (SUITES / "questions").iterdir()) == sorted(QUESTIONS)
    assert (PROMPTS, tuple(GENERIC), tuple(QUESTIONS)) == (NAMED_PROMPTS, LANGUAGES, NAMED_QUESTIONS)
    readme = (SUITES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in (*PROMPTS, *GENERIC, *QUESTIONS, *CHECKS))


def test_each_check_can_be_made() -> None:
    assert {*ASKED, "language"} == set(CHECKS)


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts(name: str) -> None:
    found = prompt_suite(name)
    assert len({one.id for one in found}) == len({one.text for one in found}) == 10
    assert all(SLUG.fullmatch(one.id) and one.text == one.text.strip() for one in found)
    assert (name == "assistant") == all(one.label is None for one in found)


def test_what_some_prompts_ask_for() -> None:
    found = {one.id: one for one in prompt_suite("assistant")}
    assert [one.id for one in found.values() if one.language] == ["translate"]
    assert found["translate"].language == "fr"
    assert found["bullets"].checks == (("bullets", {"n": 5}),)
    assert found["json"].checks == (("json", {}),)
    assert found["summary"].text.startswith("Summarise the following paragraph in one or two sentences.\n\nThe town")
    stories = prompt_suite("stories")
    parts = re.compile(r"\[GENRE\] (.+) \[CHARACTERS\] .+ \[PROMPT\] .+ \[STORY\]")
    structured = [(one.label, match) for one in stories if (match := parts.fullmatch(one.text))]
    assert [label for label, _ in structured] == [match[1] for _, match in structured]
    assert set(Counter((one.label, "[" in one.text) for one in stories).values()) == {1}
    assert all(re.fullmatch(r"(>[^\n]+\n){3,}>", one.text) for one in prompt_suite("greentext"))


@pytest.mark.parametrize("code", GENERIC)
def test_generic_texts(code: str) -> None:
    found, english = rows(SUITES / "generic" / f"{code}.jsonl"), rows(SUITES / "generic" / "en.jsonl")
    assert generic_texts(code) == [(row["id"], row["text"]) for row in found]
    assert [row["topic"] for row in found] == [row["topic"] for row in english]
    assert [row["id"] for row in found] == [f"{code}-{row['topic']}" for row in found]
    assert len({row["text"] for row in found}) == 12
    assert all(set(row) == {"id", "topic", "text"} for row in found)
    assert all(500 <= len(row["text"].encode()) <= 800 for row in found)
    assert not any(re.search(r"\s\s|^\s|\s$", row["text"]) for row in found)


def test_the_generic_texts_are_in_their_languages() -> None:
    pytest.importorskip("py3langid")
    from assay.data.languages import Languages

    languages = Languages()
    assert {code: {languages.of(text) for _, text in generic_texts(code)} for code in GENERIC} == {
        code: {code} for code in GENERIC
    }


@pytest.mark.parametrize(("name", "count"), QUESTIONS.items())
def test_questions(name: str, count: int) -> None:
    found = questions(name)
    assert len({one.id for one in found}) == len({one.question for one in found}) == count
    assert set(Counter(one.answer for one in found).values()) == {count // 4}
    assert all(SLUG.fullmatch(one.id) and one.topic and len(set(one.choices)) == 4 for one in found)
    keys = {"id", "question", "choices", "answer", "topic"}
    assert all(set(row) == keys for row in rows(SUITES / "questions" / f"{name}.jsonl"))


@pytest.mark.parametrize("pick", [min, max])
def test_lengths_do_not_give_the_answer_away(pick: Any) -> None:
    found = questions("general")
    right = 0.0
    for one in found:
        lengths = [len(choice) for choice in one.choices]
        best = [number for number, length in enumerate(lengths) if length == pick(lengths)]
        right += (one.answer in best) / len(best)
    assert right / len(found) < 0.35


# --- the user's files ---


def test_prompts_of_the_user_in_three_forms(tmp_path: Path) -> None:
    yaml = written(
        tmp_path, "own.yaml",
        "about: mine\nprompts:\n  - {id: a, prompt: 'Say hej.', language: sv}\n"
        "  - prompt: |-\n      two\n      lines\n    label: odd\n    checks:\n"
        "      - {check: keywords, words: [x, y z]}\n      - {check: no_comma}\n"
        "      - {check: ends_with, text: the end}\n      - {check: language, code: no}\n",
    )  # fmt: skip
    checks = (
        ("keywords", {"words": ("x", "y z")}), ("no_comma", {}), ("ends_with", {"text": "the end"}),
        ("language", {"code": "no"}),
    )  # fmt: skip
    expected = [Prompt("a", "Say hej.", "sv"), Prompt("2", "two\nlines", None, "odd", checks)]
    assert prompt_suite(yaml) == prompt_suite(str(yaml)) == expected
    as_rows = [
        {"id": "a", "prompt": "Say hej.", "language": "sv", "label": None},
        {"prompt": "two\nlines", "label": "odd", "checks": [{"check": name, **given} for name, given in checks]},
    ]
    lines = "\n".join(map(json.dumps, as_rows))
    assert prompt_suite(written(tmp_path, "own.jsonl", f"\ufeff{lines}\n\n")) == expected
    text = written(tmp_path, "own.txt", "\ufeffone  \r\n\r\n two, three\r\n")
    assert prompt_suite(text) == [Prompt("1", "one"), Prompt("2", "two, three")]


def test_a_character_written_as_two_escapes_is_one(tmp_path: Path) -> None:
    path = written(tmp_path, "p.yaml", 'prompts: [{prompt: "a \\ud83d\\ude00"}]')
    assert prompt_suite(path)[0].text == "a \U0001f600"


CHECK = "prompts:\n- prompt: a\n  checks:\n  - {check: no_comma}\n  - "
WRONG_YAML = {
    "": ("", "holds no keys", "prompts:"),
    "- a": ("", "holds no keys", "prompts:"),
    "promts: []": (":1", "no key promts in a file of prompts", "did you mean prompts?"),
    "about: x": (":1", "the key prompts is missing", "prompts"),
    "prompts: []": ("", "holds nothing", "at least one"),
    "about: x\nprompts:\n": (":2", "prompts is not a list of mappings", "id: a-name"),
    "prompts: [just text]": (":1", "prompts is not a list of mappings", "id: a-name"),
    "prompts:\n- id: a\n  promt: b": (":3", "no key promt in a prompt", "did you mean prompt?"),
    "prompts:\n- prompt: b\n  7: c": (":3", "no key 7 in a prompt", "use one of prompt, id"),
    "prompts:\n- id: a": (":2", "the key prompt is missing", "holds the keys prompt"),
    "prompts:\n- id: a\n  prompt: 12": (":3", "prompt is 12, which is no text", "quotes"),
    "prompts:\n- id: a\n  prompt: ''": (":3", "prompt is empty", "give a text"),
    "prompts:\n- id: a\n  prompt:": (":3", "prompt is nothing", "quotes"),
    "prompts:\n- id: 5\n  prompt: b": (":2", "id is 5, which is no text", "quotes"),
    "prompts:\n- {id: a, prompt: b}\n- {id: a, prompt: c}": (":3", "the id 'a' stands twice", "of its own"),
    "prompts:\n- prompt: a\n- {id: '1', prompt: b}": (":3", "the id '1' stands twice", "of its own"),
    "prompts:\n- prompt: a\n  language: Swedish": (":3", "language is 'Swedish', which is no code", "such as en, sv"),
    "prompts:\n- prompt: \"\\ud83d\"": (":2", "prompt holds half a character", "the character itself"),
    "prompts:\n- prompt: a\n  checks: json": (":3", "checks is not a list of mappings", "check: min_words"),
    f"{CHECK}{{n: 3}}": (":5", "a check has no key check", "check: min_words"),
    f"{CHECK}{{check: min_word, n: 3}}": (":5", "no check 'min_word'", "did you mean min_words?"),
    f"{CHECK}{{check: min_words, m: 3}}": (":5", "no key m in the check min_words", "use one of check, n"),
    f"{CHECK}{{check: min_words}}": (":5", "the key n is missing", "the check min_words holds the keys check, n"),
    f"{CHECK}{{check: min_words, n: 0}}": (":5", "n is 0, which is no number of them", "from 1 on"),
    f"{CHECK}{{check: min_words, n: true}}": (":5", "n is true, which is no number of them", "from 1 on"),
    f"{CHECK}{{check: json, n: 1}}": (":5", "no key n in the check json", "use one of check"),
    f"{CHECK}{{check: keywords, words: one}}": (":5", "words is 'one', which is no list", "list of texts"),
    f"{CHECK}{{check: keywords, words: [36]}}": (":5", "an entry of words is 36", "quotes"),
    "prompts:\n- prompt: a: b": (":2", "this is not YAML", "quotes"),
    "prompts:\n- prompt: a\n  prompt: b": (":3", "this is not YAML", "check the indentation"),
    "prompts: \x01": ("", "this is not YAML", "check the file"),
}  # fmt: skip


@pytest.mark.parametrize("text", WRONG_YAML)
def test_a_wrong_file_of_prompts(tmp_path: Path, text: str) -> None:
    place, what, fix = WRONG_YAML[text]
    path = written(tmp_path, "p.yaml", text)
    with pytest.raises(InputError) as caught:
        prompt_suite(path)
    assert caught.value.where == f"{path}{place}"
    assert what in caught.value.what
    assert fix in str(caught.value.fix)


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ('{"prompt": "a"}\nb', ":2", "this line is not JSON: Expecting value"),
        ('{"prompt": "a"}\n\n["b"]', ":3", "this line is not a JSON object"),
        ('{"prompt": "a"}\n{"text": "b"}', ":2", "there is no key text in a prompt"),
        ('{"prompt": "a", "checks": [{"check": "jsn"}]}', ":1", "there is no check 'jsn'"),
        ('{"prompt": "\\ud800"}', ":1", "prompt holds half a character"),
        ("[" * 100_000, ":1", "this line is not JSON: it cannot be read"),
        ("\n", "", "the file holds nothing"),
    ],
    ids=str,
)
def test_wrong_lines_of_prompts(tmp_path: Path, text: str, place: str, what: str) -> None:
    path = written(tmp_path, "p.jsonl", text)
    with pytest.raises(InputError, match=re.escape(what)) as caught:
        prompt_suite(path)
    assert caught.value.where == f"{path}{place}"


def test_names_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no suite of prompts 'asistant'(.|\n)*did you mean assistant\?"):
        prompt_suite("asistant")
    with pytest.raises(InputError, match=r"no suite of questions 'zzz'(.|\n)*use one of general, sv .*\.jsonl"):
        questions("zzz")
    with pytest.raises(InputError, match=r"no generic texts in 'se'(.|\n)*use one of de, en, es, fr, sv"):
        generic_texts("se")
    written(tmp_path, "mine.yaml", "prompts: [{prompt: a}]")
    with pytest.raises(InputError, match=r"no such file(.|\n)*did you mean .*mine\.yaml\?"):
        prompt_suite(tmp_path / "mein.yaml")
    with pytest.raises(InputError, match=r"no such file(.|\n)*check the path"):
        prompt_suite(tmp_path / "nowhere" / "a.yaml")
    with pytest.raises(InputError, match=r"suffix(.|\n)*\.yaml or \.yml or \.jsonl or \.txt"):
        prompt_suite(tmp_path / "mine.csv")
    with pytest.raises(InputError, match=r"suffix(.|\n)*give one in \.jsonl"):
        questions(tmp_path)
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(InputError, match="cannot be read"):
        prompt_suite(tmp_path / "folder.txt")
    (tmp_path / "latin.txt").write_bytes(b"one\ntv\xe5\n")
    with pytest.raises(InputError, match=r"latin\.txt:2: the file is not UTF-8"):
        prompt_suite(tmp_path / "latin.txt")
    with pytest.raises(InputError, match="holds nothing"):
        prompt_suite(written(tmp_path, "empty.txt", "\n \n"))


# --- questions of the user ---

# as the rows of the evaluation files of llm-foundry, with other words
ARC = {"query": "Question: What do cows drink as calves?", "choices": ["milk", "mud", "tea", "mud"], "gold": 0}
PIQA = {"choices": ["dig a hole first", "pour it away"], "gold": 0, "query": "Question: How to plant a tree?\n"}
OPENBOOK = {"query": "A candle gives", "choices": ["cold", "light", "rain", "coins"], "gold": 1}
WINOGRANDE = {"context_options": ["The cup fell on the rug and the cup", "The cup fell on the rug and the rug"],
              "continuation": "broke.", "gold": 0}  # fmt: skip


def test_four_known_forms(tmp_path: Path) -> None:
    own = {"id": "x", "question": "1 + 1?", "choices": ["2", "3"], "answer": 0, "topic": "sums"}
    path = written(tmp_path, "q.jsonl", "\n".join(map(json.dumps, [own, ARC, PIQA, OPENBOOK, WINOGRANDE])))
    mine, arc, piqa, openbook, winogrande = questions(path)
    assert mine == Question("x", "1 + 1?", ("2", "3"), 0, "sums")
    assert mine.pairs == (("Question: 1 + 1?\nAnswer: ", "2"), ("Question: 1 + 1?\nAnswer: ", "3"))
    assert (arc.id, arc.question, arc.answer, arc.topic) == ("2", "What do cows drink as calves?", 0, None)
    assert arc.pairs[0] == ("Question: What do cows drink as calves?\nAnswer: ", "milk")
    assert piqa.pairs[1] == ("Question: How to plant a tree?\nAnswer: ", "pour it away")
    assert openbook.pairs[1] == ("A candle gives ", "light")
    assert (winogrande.question, winogrande.choices) == ("", tuple(WINOGRANDE["context_options"]))
    assert winogrande.pairs == tuple((f"{choice} ", "broke.") for choice in winogrande.choices)


def test_shipped_questions_are_asked_in_their_language() -> None:
    (first, *_), (swedish, *_) = questions("general"), questions("sv")
    assert first.pairs[0] == (f"Question: {first.question}\nAnswer: ", first.choices[0])
    assert swedish.pairs[3] == (f"Fråga: {swedish.question}\nSvar: ", swedish.choices[3])


@pytest.mark.parametrize(
    ("change", "what", "fix"),
    [
        ({"anwser": 0}, "there is no key anwser in a question", "did you mean answer?"),
        ({"answer": 2}, "answer is 2, which is none of the choices", "from 0 to 1"),
        ({"answer": "A"}, "answer is 'A', which is none of the choices", "from 0 to 1"),
        ({"answer": True}, "answer is true, which is none of the choices", "from 0 to 1"),
        ({"answer": None}, "answer is nothing, which is none of the choices", "from 0 to 1"),
        ({"choices": ["a"]}, "there is nothing to choose from", "two or more choices"),
        ({"choices": "ab"}, "choices is 'ab', which is no list", "list of texts"),
        ({"choices": ["a", ""]}, "an entry of choices is empty", "give a text"),
        ({"choices": ["a", "a "]}, "the right one, 'a', is twice in choices", "once"),
        ({"question": " "}, "question is empty", "give a text"),
    ],
)
def test_wrong_questions(tmp_path: Path, change: dict[str, Any], what: str, fix: str) -> None:
    row = {"question": "q", "choices": ["a", "b"], "answer": 0}
    path = written(tmp_path, "q.jsonl", f"{json.dumps(row)}\n{json.dumps(row | change)}")
    with pytest.raises(InputError, match=re.escape(what)) as caught:
        questions(path)
    assert caught.value.where == f"{path}:2"
    assert fix in str(caught.value.fix)


def test_a_question_without_a_key_is_told_which(tmp_path: Path) -> None:
    path = written(tmp_path, "q.jsonl", '{"query": "q", "choices": ["a", "b"]}')
    with pytest.raises(InputError, match=r"q\.jsonl:1: the key gold is missing(.|\n)*query, choices, gold"):
        questions(path)
