"""What a suite asks of an answer, checked."""

from __future__ import annotations

import json
from pathlib import Path

from assay.text.metrics.asked import followed, shares
from assay.text.suites import Prompt, prompt_suite


class English:
    known = frozenset({"en", "fr"})

    def of(self, text: str) -> str | None:
        return "en"


TALK = "The old house stood on the hill, and nobody knew who had built it."


def test_the_share_of_the_checks_that_an_answer_passes() -> None:
    prompt = Prompt("a", "?", checks=(("min_words", {"n": 3}), ("max_words", {"n": 4}), ("no_comma", {})))
    assert followed(prompt, "one two three four five", None) == 2 / 3
    assert followed(Prompt("b", "?"), "anything", None) is None


def test_a_translation_that_is_answered_in_english_is_found() -> None:
    prompts = [Prompt("a", "?", language="fr"), Prompt("b", "?", language="en"), Prompt("c", "?")]
    assert shares(prompts, [TALK] * 3, English())["asked language"] == [0.0, 1.0, None]
    assert shares(prompts, [TALK] * 3, None)["asked language"] == [None] * 3


def test_prompts_in_the_form_of_ifeval(tmp_path: Path) -> None:
    rows = [
        {"key": 1, "prompt": "No commas, in small letters.", "kwargs": [{}, None],
         "instruction_id_list": ["punctuation:no_comma", "change_case:english_lowercase"]},
        {"key": 2, "prompt": "Say sea.", "kwargs": [{"keywords": ["sea"]}],
         "instruction_id_list": ["keywords:existence"]},
    ]  # fmt: skip
    file = tmp_path / "prompts.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    prompts = prompt_suite(file)
    assert [(prompt.id, prompt.text) for prompt in prompts] == [("1", rows[0]["prompt"]), ("2", rows[1]["prompt"])]
    found = shares(prompts, ["no Comma", "the sea"], English())
    assert (found["checks passed"], found["all checks passed"]) == ([0.5, 1.0], [0.0, 1.0])
    # without a way to tell languages, the instruction on English small letters is no evidence either way
    assert shares(prompts, ["no Comma", "the sea"], None)["checks passed"] == [1.0, 1.0]
