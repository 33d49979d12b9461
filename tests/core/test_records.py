"""How a way to choose tokens is named, and which ways contradict themselves."""

from __future__ import annotations

import pytest

from assay.core.records import Decoding, Setting

GREEDY = Decoding(8, 0.0, 1.0)


@pytest.mark.parametrize(
    ("decoding", "words", "given"),
    [
        (GREEDY, "greedy", {"max_new_tokens": 8, "temperature": 0.0}),
        (Decoding(8, 0.0, 0.9, top_k=5, min_p=0.1), "greedy", {"max_new_tokens": 8, "temperature": 0.0}),
        (Decoding(8, 0.8, 0.95), "temperature 0.8, top-p 0.95",
         {"max_new_tokens": 8, "temperature": 0.8, "top_p": 0.95}),
        (Decoding(8, 1.0, 1.0, typical_p=0.9, no_repeat_ngram=3), "temperature 1, typical-p 0.9, no repeated 3-gram",
         {"max_new_tokens": 8, "temperature": 1.0, "typical_p": 0.9, "no_repeat_ngram": 3}),
        (Decoding(8, 0.0, 1.0, beams=4, repetition_penalty=1.2), "4 beams, penalty 1.2",
         {"max_new_tokens": 8, "temperature": 0.0, "beams": 4, "repetition_penalty": 1.2}),
        (Decoding(8, 0.0, 1.0, top_k=4, penalty_alpha=0.6), "contrastive 0.6 of 4",
         {"max_new_tokens": 8, "temperature": 0.0, "top_k": 4, "penalty_alpha": 0.6}),
    ],
)  # fmt: skip
def test_words_name_what_has_an_effect(decoding: Decoding, words: str, given: dict[str, float]) -> None:
    assert str(decoding) == words
    assert decoding.given() == given
    assert decoding.mistake() is None


def test_what_is_drawn_keeps_its_filters() -> None:
    drawn = Decoding(8, 0.5, 0.9, top_k=5)
    assert drawn.plain == drawn
    assert Decoding(8, 0.0, 0.9, top_k=5).plain == GREEDY


def test_a_prompt_stands_once_in_its_template_whatever_it_holds() -> None:
    assert Setting("a", GREEDY, "x", "Say: {prompt}").put("{prompt}?") == "Say: {prompt}?"
