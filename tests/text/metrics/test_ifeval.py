from __future__ import annotations

from typing import Any

import pytest

from assay.core.errors import InputError
from assay.text.metrics.ifeval import Instruction, instructions


class English:
    known = frozenset({"en"})

    def of(self, text: str) -> str | None:
        return "en"


# Three rows in the form of the published prompts; the third as copies of them write it, every argument in every row.
ROWS: list[dict[str, Any]] = [
    {
        "key": 1000,
        "prompt": "Write a 300+ word summary ... Do not use any commas and highlight at least 3 sections ...",
        "instruction_id_list": [
            "punctuation:no_comma",
            "detectable_format:number_highlighted_sections",
            "length_constraints:number_words",
        ],
        "kwargs": [{}, {"num_highlights": 3}, {"relation": "at least", "num_words": 300}],
    },
    {"key": 1019, "prompt": "...", "instruction_id_list": ["change_case:english_lowercase"], "kwargs": [{}]},
    {
        "key": 1, "prompt": "...", "instruction_id_list": ["keywords:existence", "startend:quotation"],
        "kwargs": [{"keywords": ["sea"], "num_words": None, "relation": None}, None],
    },
]  # fmt: skip


def test_rows_are_read_and_scored() -> None:
    first, second, third = (instructions(row, f"prompts.jsonl:{number}") for number, row in enumerate(ROWS, 1))
    assert first[2] == Instruction("length_constraints:number_words", {"relation": "at least", "num_words": 300})
    good = "*a* *b* *c* " + "word " * 300
    assert [each.followed(good) for each in first] == [True, True, True]
    assert [each.followed("*a*, *b*") for each in first] == [False, False, False]
    assert third[0].arguments == {"keywords": ["sea"]}
    assert [each.followed('"the sea"') for each in third] == [True, True]
    assert [each.needs_languages for each in (*first, *second)] == [False, False, False, True]
    assert second[0].followed("a small letter after another", English())
    with pytest.raises(ValueError, match="looks at the language"):
        second[0].followed("a small letter")


def test_an_empty_output_follows_nothing() -> None:
    (no_comma, *_) = instructions(ROWS[0], "here")
    assert not no_comma.followed(" \n")


@pytest.mark.parametrize(
    ("names", "arguments", "message"),
    [
        (
            ["punctuation:no_commas"],
            [{}],
            r"unknown instruction 'punctuation:no_commas'\n.*mean 'punctuation:no_comma'\?",
        ),
        (["rhyme"], [{}], r"unknown instruction 'rhyme'\n  fix: known are change_case"),
        ([3], [{}], "unknown instruction 3"),
        (["punctuation:no_comma"], [], "not two lists of one length"),
        ([], [], "not two lists of one length"),
        ("punctuation:no_comma", [{}], "not two lists of one length"),
        (
            ["punctuation:no_comma"],
            [{"num_words": 3}],
            r"unexpected keyword argument 'num_words'\n  fix: .* no arguments",
        ),
        (
            ["length_constraints:number_words"],
            [{"num_words": 3}],
            r"missing.*'relation'\n.*num_words \(int\), relation",
        ),
        (["length_constraints:number_words"], [{"num_words": "3", "relation": "at least"}], "num_words is '3'"),
        (["length_constraints:number_words"], [{"num_words": 3, "relation": "over"}], "unknown relation 'over'"),
        (["detectable_format:number_bullet_lists"], [{"num_bullets": True}], "num_bullets is True"),
        (["keywords:existence"], [{"keywords": "sea"}], "keywords is 'sea'"),
        (["detectable_format:json_keys"], [{"keys": ["a"]}], r"keys is \['a'\]"),
        (["detectable_format:json_keys"], [{"keys": {"a": "text"}}], "unknown JSON type 'text'"),
        (["startend:end_checker"], [{"end_phrase": 3}], "end_phrase is 3"),
    ],
)
def test_what_cannot_be_checked_is_named(names: object, arguments: object, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        instructions({"instruction_id_list": names, "kwargs": arguments}, "prompts.jsonl:7")
    assert caught.value.where == "prompts.jsonl:7"
