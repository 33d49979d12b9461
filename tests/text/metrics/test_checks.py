"""Each check with texts that follow and texts that do not, by hand from the words of the instruction."""

from __future__ import annotations

from typing import Any

import pytest

from assay.core.errors import InputError
from assay.text.metrics.checks import CHECKS

ENGLISH = "the old house stood on the hill and nobody knew who had built it"


class English:
    """Tells English by its article."""

    known = frozenset({"en", "de"})

    def of(self, text: str) -> str | None:
        return "en" if "the" in text else "de"


# name, arguments, texts that follow, texts that do not
CASES: list[tuple[str, dict[str, Any], list[str], list[str]]] = [
    ("length_constraints:number_words", {"num_words": 3, "relation": "at least"}, ["a b c", "a, b! c d"], ["a b", ""]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "less than"}, ["a b"], ["a b c"]),
    ("length_constraints:number_words", {"num_words": 3, "relation": "at most"}, ["a b c"], ["a b c d"]),
    ("length_constraints:number_words", {"num_words": 2, "relation": "exactly"}, ["a b", "don't"], ["a", "a b c"]),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": "at least"},
        ["One. Two.", "Mr. X went. He ran! Why?"],
        ["One", "Mr. X went"],
    ),
    ("length_constraints:number_sentences", {"num_sentences": 2, "relation": "less than"}, ["One."], ["One. Two."]),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2},
        ["a\n***\nb", "***a *** b***"],
        ["a", "a\n\nb", "a***b***c", "a *** *** b"],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 2, "relation": "at most", "divider": "\n\n"},
        ["a", "a\n\nb", "a\n\n\n\nb\n\n"],
        ["a\n\nb\n\nc"],
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "President"},
        ["One.\n\npresident, he said", 'One\n\n"President\'s day"'],
        ["president\n\nother", "One\n\nTwo\n\npresident", "One\n\nThe president", "One", ""],
    ),
    ("keywords:existence", {"keywords": ["sea", "a+b"]}, ["The SEA is a+b.", "a+b overseas"], ["The sea", "aab sea"]),
    ("keywords:forbidden_words", {"forbidden_words": ["rock"]}, ["rocket", ""], ["A Rock!", "rock-hard"]),
    ("keywords:frequency", {"keyword": "Go ", "frequency": 2, "relation": "at least"}, ["go, GO", "gogo"], ["go"]),
    ("keywords:frequency", {"keyword": "go", "frequency": 2, "relation": "less than"}, ["go"], ["go go"]),
    ("keywords:letter_frequency", {"letter": "E", "let_frequency": 2, "let_relation": "at least"}, ["eE"], ["e"]),
    ("keywords:letter_frequency", {"letter": "#", "let_frequency": 1, "let_relation": "less than"}, ["a"], ["# a"]),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": "at least"},
        ["NASA and ESA", "I said NO", "WELL-KNOWN U.S. law"],
        ["NASA", "WELL-KNOWN", "Nasa And Esa", "2 3 4"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 1, "capital_relation": "less than"},
        ["no shout"],
        ["a SHOUT"],
    ),
    (
        "change_case:english_capital",
        {},
        [ENGLISH.upper()],
        [ENGLISH, ENGLISH.upper() + "x", "WIR GEHEN NACH HAUSE, KOMM MIT"],
    ),
    (
        "change_case:english_lowercase",
        {},
        [ENGLISH],
        [ENGLISH.upper(), ENGLISH + " I", "wir gehen nach hause, komm mit"],
    ),
    ("language:response_language", {"language": "en"}, [ENGLISH], ["wir gehen nach hause, komm mit uns", "the"]),
    ("language:response_language", {"language": "de-AT"}, ["wir gehen nach hause, komm mit uns"], [ENGLISH]),
    ("punctuation:no_comma", {}, ["No comma; none."], ["One, two", ","]),
    (
        "startend:start_checker",
        {"start_phrase": "I would say"},
        ['"I would say so', " i would say"],
        ["Well, I would say"],
    ),
    (
        "startend:end_checker",
        {"end_phrase": "Any questions? "},
        ["So. any questions?\n", 'x "Any questions?"'],
        ["Any questions? No."],
    ),
    ("startend:quotation", {}, ['"All of it."', ' "a" '], ['"', "“a”", 'He said "a"', ""]),
    (
        "combination:two_responses",
        {},
        ["a******b", "******\na\n******\nb"],
        ["a", "a******a", "a******b******c", "a************b"],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Write a poem. "},
        ["write a POEM. Roses"],
        ["Sure! Write a poem."],
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        ["[name], [my address]"],
        ["[name]", "[a\nb] [c]"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Bye.\nP. S. More", "p.s. more"],
        ["P.S more", "Bye"],
    ),
    ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, ["P.P.S. More", "P.P. S More"], ["P.S. More"]),
    ("detectable_content:postscript", {"postscript_marker": "N.B."}, ["n.b. more"], ["NOBO"]),
    (
        "detectable_format:constrained_response",
        {},
        ["I think: My answer is no."],
        ["my answer is no.", "My answer is, no"],
    ),
    ("detectable_format:constrained_response", {"options": ["A", "B"]}, ["B"], ["C"]),
    (
        "detectable_format:json_format",
        {},
        ['{"a": [1, 2]}', '```json\n{"a": 1}\n```', "```JSON\n[]```", "```\n3\n```", "null"],
        ['{"a": 1', '{"a": NaN}', 'Here: {"a": 1}', "{'a': 1}", "", "[" * 100_000],
    ),
    (
        "detectable_format:json_keys",
        {
            "keys": {
                "s": "string",
                "i": "integer",
                "n": "number",
                "b": "boolean",
                "l": "array",
                "o": "object",
                "z": "null",
            }
        },
        ['{"s": "", "i": 1, "n": 1.5, "b": false, "l": [], "o": {}, "z": null, "more": 1}'],
        [
            "[]",
            "no",
            '{"s": ""}',
            '{"s": 1, "i": 1, "n": 1.5, "b": false, "l": [], "o": {}, "z": null}',
            '{"s": "", "i": true, "n": 1.5, "b": false, "l": [], "o": {}, "z": null}',
            '{"s": "", "i": 1.0, "n": 1.5, "b": false, "l": [], "o": {}, "z": null}',
            '{"s": "", "i": 1, "n": 1.5, "b": 0, "l": [], "o": {}, "z": null}',
        ],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION ", "num_sections": 2},
        ["SECTION 1\na\nSECTION 2\nb", "SECTION1 a SECTION 2 b SECTION 3"],
        ["SECTION 1", "SECTION one SECTION two", "section 1 section 2"],
    ),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* a\n* b", "Points:\n- a\n  - b", "* a\n- b\nend"],
        ["* a", "* a\n* b\n* c", "**a**\n**b**", "1. a\n2. b"],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*a* and *b*", "**a**\n*b*"],
        ["*a*", "* a\n* b", "** and **", "a"],
    ),
    ("detectable_format:title", {}, ["<<A poem>>\nRoses", "x <<a>>"], ["<A poem>", "<<>>", "<< >>", "<<a\nb>>"]),
]


@pytest.mark.parametrize(("name", "arguments", "follow", "fail"), CASES, ids=[case[0] for case in CASES])
def test_a_check(name: str, arguments: dict[str, Any], follow: list[str], fail: list[str]) -> None:
    if name.startswith("language") or name in ("change_case:english_capital", "change_case:english_lowercase"):
        arguments = arguments | {"languages": English()}
    check = CHECKS[name]
    assert [text for text in follow if not check(text, **arguments)] == []
    assert [text for text in fail if check(text, **arguments)] == []


def test_every_check_is_tried() -> None:
    assert {case[0] for case in CASES} == set(CHECKS)


def test_unknown_words_in_arguments() -> None:
    with pytest.raises(InputError, match=r"unknown relation 'more than'\n  fix: use one of 'at least'"):
        CHECKS["length_constraints:number_words"]("a", num_words=1, relation="more than")
    with pytest.raises(InputError, match=r"unknown JSON type 'str'\n  fix: use one of string"):
        CHECKS["detectable_format:json_keys"]("a", keys={"a": "str"})
    with pytest.raises(InputError, match="'klingon' is no language"):
        CHECKS["language:response_language"]("a", language="klingon", languages=English())
