"""Whether an answer does what its prompt's suite asks of it: each check by the name that suites give it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assay.text.metrics import checks
from assay.text.metrics.language import Identifier, checked_code, told
from assay.text.suites import Prompt

ASKED: dict[str, Callable[..., bool]] = {
    "min_words": lambda text, n: checks.number_words(text, num_words=n, relation="at least"),
    "max_words": lambda text, n: checks.number_words(text, num_words=n, relation="at most"),
    "min_sentences": lambda text, n: checks.number_sentences(text, num_sentences=n, relation="at least"),
    "max_sentences": lambda text, n: checks.number_sentences(text, num_sentences=n, relation="at most"),
    "paragraphs": lambda text, n: checks.number_paragraphs(text, num_paragraphs=n, divider="\n\n"),
    "bullets": lambda text, n: checks.number_bullet_lists(text, num_bullets=n),
    "keywords": lambda text, words: checks.existence(text, keywords=words),
    "forbidden_words": lambda text, words: checks.forbidden_words(text, forbidden_words=words),
    "starts_with": lambda text, text_: checks.start_checker(text, start_phrase=text_),
    "ends_with": lambda text, text_: checks.end_checker(text, end_phrase=text_),
    "lowercase": lambda text: text == text.lower(),
    "uppercase": lambda text: text == text.upper(),
    "no_comma": checks.no_comma,
    "json": checks.json_format,
    "title": checks.title,
}


def followed(prompt: Prompt, answer: str, languages: Identifier | None) -> float | None:
    """The share of a prompt's checks that an answer passes; None where it has none, or none that can be made.

    Args:
        prompt: with its checks.
        answer: the new text.
        languages: what tells languages apart; None: languages are not checked.
    """
    results = [_passes(name, arguments, answer, languages) for name, arguments in prompt.checks]
    results += [
        None if one.needs_languages and languages is None else one.followed(answer, languages)
        for one in prompt.instructions
    ]
    known = [result for result in results if result is not None]
    return sum(known) / len(known) if known else None


def _passes(name: str, arguments: Mapping[str, Any], answer: str, languages: Identifier | None) -> bool | None:
    if name == "language":
        return in_language(arguments["code"], answer, languages)
    return ASKED[name](answer, *arguments.values())


def in_language(code: str | None, answer: str, languages: Identifier | None) -> bool | None:
    """Whether an answer is in the language asked for; None where that cannot be told, or none was asked for."""
    if code is None or languages is None:
        return None
    found = told(answer, languages)
    return None if found is None else found == checked_code(code, languages)


def shares(
    prompts: Sequence[Prompt], answers: Sequence[str], languages: Identifier | None
) -> dict[str, list[float | None]]:
    """Per answer the share of its checks that it passes; 1 or 0 for all of them, and for the language asked for."""
    pairs = list(zip(prompts, answers, strict=True))
    passed = [followed(prompt, answer, languages) for prompt, answer in pairs]
    spoken = [in_language(prompt.language, answer, languages) for prompt, answer in pairs]
    return {
        "checks passed": passed,
        "all checks passed": [None if one is None else float(one == 1) for one in passed],
        "asked language": [None if one is None else float(one) for one in spoken],
    }
