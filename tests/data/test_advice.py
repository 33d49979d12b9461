"""Each piece of advice on data that calls for it, with its numbers, and none on data that does not."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.advice import advise
from assay.data.facts import listed, percent
from assay.data.signs import SIGNS

Json = dict[str, Any]

MANIFEST: Json = {
    "format": {"name": "messages", "fields": {}, "reason": "named in the experiment", "unused": []},
    "group_rule": {"rule": {"row": True}, "reason": "a table with no group named: each row stands for itself"},
    "rows": {"in": 1010, "kept": 1000, "bad": 1, "dropped": {"empty": 10}, "examples": {}},
    "items": {"in": 1000, "kept": 1000, "dropped": {}, "examples": {}},
    "max_bad_rows": 0.01,
    "splits": {
        "train": {"items": 700, "groups": 700},
        "dev": {"items": 100, "groups": 100},
        "test": {"items": 200, "groups": 200},
    },
    "leaks": {"share": 0.0, "count": 0, "dropped_ids": []},
    "against": {"files": ["bench.jsonl"], "rows": 50, "touched": 0, "matches": []},
    "repeating_columns": [],
}
PROFILE: Json = {
    "splits": {
        name: {
            "rows": rows,
            "exact_duplicates": 0,
            "quantiles": {"bytes": {"0.0": 90, "0.25": 400, "0.5": 800, "1.0": 4000}},
        }
        for name, rows in (("train", 700), ("dev", 100), ("test", 200))
    },
    "groups": {"count": 1000, "largest": {"group": None, "bytes": 4000, "share": 0.004}},
    "turns": {"rows": 1000, "system": {"rows": 1000, "distinct": 1, "largest": {"text": "Hi", "share": 1.0}}},
    "signs": {"sample": 1000, "found": {"straight-quotes": {"rows": 700, "share": 0.7, "example": {}}}},
    "languages": {"sample": 500, "judged": 480, "shares": {"en": 0.98, "fr": 0.02}, "reason": None},
}
TOKENS: Json = {
    "max_length": 512,
    "loss_on": "completion",
    "splits": {
        "train": {
            "rows": 700,
            "learned_share": 0.55,
            "cut": {"max_length": 0.004, "by_length": {"256": 0.2, "512": 0.004, "768": 0.0}},
            "packing_efficiency": 0.97,
            "without_learned": 0,
            "special_tokens_in_text": {},
            "round_trip": {"sample": 200, "exact": 200, "lossy_bytes_share": 0.0},
        }
    },
}


def seen(name: str, rows: int, match: str = "Ã©") -> Json:
    example = {"id": "1", "group": "g", "before": "we had caf", "match": match, "after": " au lait"}
    return {name: {"rows": rows, "share": rows / 1000, "example": example}}


def advice(change: Callable[[Json, Json, Json], object]) -> list[dict[str, str]]:
    parts = copy.deepcopy((MANIFEST, PROFILE, TOKENS))
    change(*parts)
    return advise(*parts)


def test_good_data_gets_no_advice() -> None:
    assert advise(MANIFEST, PROFILE, TOKENS) == []
    assert advise(MANIFEST, PROFILE) == []
    assert advise({}, {}, {}) == []


def set_signs(**found: Json) -> Callable[[Json, Json, Json], object]:
    return lambda m, p, t: p["signs"]["found"].update({k: v for part in found.values() for k, v in part.items()})


def train(t: Json) -> Json:
    found: Json = t["splits"]["train"]
    return found


CASES: dict[str, tuple[Callable[[Json, Json, Json], object], list[str]]] = {
    "benchmark": (
        lambda m, p, t: m["against"].update(touched=3),
        ["3 training texts shared passages with bench.jsonl", "dropped from training already"],
    ),
    "leaks": (
        lambda m, p, t: m["leaks"].update(count=1, share=0.0033),
        ["1 held-out text (0.33 %) also stood in training", "data.group"],
    ),
    "a repeating column": (
        lambda m, p, t: m.update(repeating_columns=[{"column": "book", "values": 232, "largest": 61}]),
        ["the column 'book' has 232 values, one of them in 61 rows", "data.group=book"],
    ),
    "the model's own tokens": (
        lambda m, p, t: train(t).update(special_tokens_in_text={"<|im_end|>": 12, "<s>": 1}),
        ["<|im_end|> is written out in 12 training texts, and 1 other", r'data.clean.drop=["<\\|im_end\\|>"]'],
    ),
    "tokens of some template": (
        set_signs(a=seen("template-token", 5, "[INST]")),
        ["tokens such as [INST] are written out in 5 of 1,000 texts (0.5 %)", r'data.clean.drop=["\\[INST\\]"]'],
    ),
    "rows without a learned token": (
        lambda m, p, t: train(t).update(without_learned=7),
        ["7 of 700 training rows (1 %) have no token that is learned", "train.max_length=768"],
    ),
    "truncation": (
        lambda m, p, t: train(t).update(cut={"max_length": 0.12, "by_length": {"256": 0.4, "768": 0.008, "1024": 0.0}}),
        ["12 % of the training rows are cut at train.max_length=512; 768 would cut 0.8 %", "train.max_length=768"],
    ),
    "truncation whatever the length": (
        lambda m, p, t: train(t).update(cut={"max_length": 0.5, "by_length": {"768": 0.4, "1024": 0.3}}),
        ["50 % of the training rows are cut at train.max_length=512; 1024 would cut 30 %"],
    ),
    "few test groups of many": (
        lambda m, p, t: m["splits"]["test"].update(groups=12),
        ["12 groups of 812 are held out for the test", "data.split.test=30 holds 30 of them out"],
    ),
    "few groups": (
        lambda m, p, t: [part.update(groups=n) for part, n in zip(m["splits"].values(), (12, 1, 4), strict=True)],
        ["4 groups of 17 are held out", "bring more groups: 17 are too few to hold 30 out"],
    ),
    "one large group": (
        lambda m, p, t: p["groups"].update(largest={"group": "Misc", "bytes": 10, "share": 0.41}),
        ["one group of 1,000, 'Misc', holds 41 % of the text", "data.group"],
    ),
    "a small test split": (
        lambda m, p, t: m["splits"]["test"].update(items=5),
        ["the test split holds 5 of 805 texts (0.62 %)", "data.split.test, such as 0.1"],
    ),
    "nearly too many bad rows": (
        lambda m, p, t: m["rows"].update(bad=8),
        ["8 of 1,010 rows (0.79 %) are malformed; above 1 % they would be refused"],
    ),
    "a large drop": (
        lambda m, p, t: m["items"].update({"in": 1200, "dropped": {"too-short": 200}}),
        ["200 of 1,200 texts (17 %) were dropped as too-short", "data.clean"],
    ),
    "dropped copies": (
        lambda m, p, t: m["items"].update({"in": 1100, "dropped": {"duplicate": 60, "near-duplicate": 40}}),
        ["100 of 1,100 texts (9.1 %) repeat another one and were dropped: 60 equal, 40 nearly equal"],
    ),
    "kept copies": (
        lambda m, p, t: p["splits"]["train"].update(exact_duplicates=70),
        ["70 of 1,000 texts (7 %) are equal to another one of their split", "data.clean.duplicates=drop"],
    ),
    "mojibake": (
        set_signs(a=seen("mojibake", 2)),
        ["2 of 1,000 texts (0.2 %) were decoded wrongly, as in “we had cafÃ© au lait”", "data.clean.mojibake=true"],
    ),
    "lost characters": (set_signs(a=seen("replacement-character", 1)), ["lost characters in decoding", "UTF-8"]),
    "little to learn": (
        lambda m, p, t: train(t).update(learned_share=0.041),
        ["4.1 % of the training tokens are learned (train.loss_on=completion)", "train.loss_on=all"],
    ),
    "loose packing": (
        lambda m, p, t: train(t).update(packing_efficiency=0.71),
        ["packing fills 71 % of each sequence of 512 tokens", "train.max_length=1024"],
    ),
    "a lossy tokenizer": (
        lambda m, p, t: train(t).update(round_trip={"sample": 200, "exact": 197, "lossy_bytes_share": 0.0002}),
        ["3 of 200 texts do not come back from the tokenizer as they were (0.02 % of the bytes)"],
    ),
    "markup": (set_signs(a=seen("html-tag", 30, "<br>")), ["30 of 1,000 texts (3 %) hold HTML tags", "<br>"]),
    "no words": (set_signs(a=seen("no-words", 3)), ["3 of 1,000 texts (0.3 %) hold no letter", "data.clean.keep=["]),
    "blanks": (set_signs(a=seen("trailing-space", 90)), ["90 of 1,000 texts (9 %)", "data.clean.whitespace=true"]),
    "invisible characters": (set_signs(a=seen("zero-width", 10)), ["10 of 1,000 texts", "data.clean.unicode=true"]),
    "two kinds of quotes": (
        set_signs(a=seen("curly-quotes", 200)),
        ["curly quotes stand in 20 % of the texts, straight ones in 70 %", "data.clean.quotes=true"],
    ),
    "two languages": (
        lambda m, p, t: p["languages"].update(shares={"en": 0.8, "sv": 0.17, "da": 0.03}),
        ["several languages: en 80 %, sv 17 % (of 480 judged)", "data.clean.languages=[en]"],
    ),
    "two system prompts": (
        lambda m, p, t: p["turns"]["system"].update(distinct=2, largest={"text": "Hi", "share": 0.6}),
        ["2 different system prompts; the most frequent stands in 60 %"],
    ),
    "some without a system prompt": (
        lambda m, p, t: p["turns"]["system"].update(rows=400),
        ["400 of 1,000 rows have a system prompt, the others have none", "data.system_prompt"],
    ),
    "short texts": (
        lambda m, p, t: p["splits"]["train"]["quantiles"]["bytes"].update({"0.25": 12}),
        ["a quarter of the training texts have 12 bytes or fewer", "data.clean.min_bytes=20"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_each_finding_gives_one_piece_of_advice_with_its_numbers(name: str) -> None:
    change, words = CASES[name]
    found = advice(change)
    assert len(found) == 1
    assert set(found[0]) == {"what", "why", "fix"}
    said = " | ".join(found[0].values())
    for word in words:
        assert word in said
    assert re.search(r"\d", found[0]["what"])


def test_plain_texts_may_be_cut_into_chunks() -> None:
    def long(m: Json, p: Json, t: Json) -> None:
        m["format"]["name"] = "text"
        p["splits"]["train"]["quantiles"]["bytes"]["1.0"] = 900_000
        train(t)["cut"]["max_length"] = 0.3

    first, second = advice(long)
    assert first["fix"] == "train.max_length=768, or data.chunk.by=paragraph cuts between paragraphs instead"
    assert second["what"] == "the longest training text has 900,000 bytes, the median one 800"


def test_what_makes_a_result_wrong_comes_before_what_is_untidy() -> None:
    def change(m: Json, p: Json, t: Json) -> None:
        p["signs"]["found"] |= seen("trailing-space", 500) | seen("mojibake", 500)
        m["against"]["touched"] = 1
        train(t)["cut"]["max_length"] = 0.3

    words = ("benchmark", "cut off", "learns to write it", "costs tokens")
    assert [word in found["why"] for word, found in zip(words, advice(change), strict=True)] == [True] * 4


def test_a_sampled_table_is_said_to_be_sampled() -> None:
    def change(m: Json, p: Json, t: Json) -> None:
        p["splits"]["train"]["rows"] = 100_000
        p["signs"]["found"] |= seen("mojibake", 2)

    assert "2 of 1,000 texts looked at (0.2 %)" in advice(change)[0]["what"]


@given(st.sampled_from(list(SIGNS)), st.integers(0, 1000))
def test_no_sign_breaks_the_sentences(name: str, rows: int) -> None:
    for found in advice(set_signs(a=seen(name, rows) if rows else {})):
        assert all(found.values())
        assert "{" not in "".join(found.values())


@pytest.mark.parametrize(
    ("share", "words"),
    [(0.0, "0 %"), (0.12, "12 %"), (0.008, "0.8 %"), (0.00031, "0.031 %"), (0.997, "99.7 %"), (0.9996, "99.96 %"),
     (1.0, "100 %"), (0.5, "50 %")],
)  # fmt: skip
def test_shares_in_words(share: float, words: str) -> None:
    assert percent(share) == words


def test_lists_in_words() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed(["a", "b", "c", "d", "e"]) == "a, b, c and 2 more"
