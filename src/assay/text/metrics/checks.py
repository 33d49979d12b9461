"""Instructions that a program can verify, by the names and arguments of IFEval (arXiv 2311.07911), and a few more.

A check takes a text and its arguments, and says whether the text follows. What IFEval's published code does is done
here, with these differences: sentences are `words.sentences`; words in capitals are cut by a rule instead of NLTK's
tokenizer; keywords are plain text, not regular expressions; a text in no clear language does not follow; ``NaN`` is no
JSON.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from assay.core.errors import InputError
from assay.text.metrics.language import Identifier, checked_code, told
from assay.text.metrics.words import sentences

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": operator.ge,
    "less than": operator.lt,
    "at most": operator.le,
    "exactly": operator.eq,
}
OPTIONS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_CAPITAL = re.compile(r"\w+(?:[-.]\w+)*")
_FENCE = re.compile(r"^```(?:json)?|```$", re.IGNORECASE)
_POSTSCRIPTS = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "number": (int, float), "boolean": (bool,), "array": (list,),
    "object": (dict,), "null": (type(None),),
}  # fmt: skip


def _holds(count: int, relation: str, wanted: int) -> bool:
    if relation not in RELATIONS:
        raise InputError(f"unknown relation {relation!r}", fix=f"use one of {', '.join(map(repr, RELATIONS))}")
    return RELATIONS[relation](count, wanted)


def number_words(text: str, *, num_words: int, relation: str) -> bool:
    r"""Words (``\w+``, as IFEval counts them), in one of `RELATIONS` to the number."""
    return _holds(len(re.findall(r"\w+", text)), relation, num_words)


def number_sentences(text: str, *, num_sentences: int, relation: str) -> bool:
    """Sentences, in one of `RELATIONS` to the number."""
    return _holds(len(sentences(text)), relation, num_sentences)


def number_paragraphs(text: str, *, num_paragraphs: int, relation: str = "exactly", divider: str = "***") -> bool:
    r"""Paragraphs between dividers; an empty one between two fails, unless these are blank lines (``\n\n``)."""
    parts = [part.strip() for part in text.split(divider)]
    hole = bool(divider.strip()) and not all(parts[1:-1])
    return _holds(sum(map(bool, parts)), relation, num_paragraphs) and not hole


def nth_paragraph_first_word(text: str, *, num_paragraphs: int, nth_paragraph: int, first_word: str) -> bool:
    """As many paragraphs between blank lines, and the first word of the n-th (from 1), whatever its case."""
    parts = [part.strip() for part in text.split("\n\n")]
    if sum(map(bool, parts)) != num_paragraphs or not 1 <= nth_paragraph <= num_paragraphs:
        return False
    start = parts[nth_paragraph - 1].split(maxsplit=1)[:1]
    word = re.split(r"[.,?!'\"]", "".join(start).lstrip("'").lstrip('"'))[0]
    return word.lower() == first_word.lower()


def existence(text: str, *, keywords: Sequence[str]) -> bool:
    """Each keyword is somewhere in the text, whatever its case."""
    return all(keyword.lower() in text.lower() for keyword in keywords)


def forbidden_words(text: str, *, forbidden_words: Sequence[str]) -> bool:
    """None of the words stands in the text as a whole word."""
    return not any(re.search(rf"\b{re.escape(word)}\b", text, re.IGNORECASE) for word in forbidden_words)


def frequency(text: str, *, keyword: str, frequency: int, relation: str) -> bool:
    """How often the keyword stands in the text, whatever its case."""
    return _holds(text.lower().count(keyword.strip().lower()), relation, frequency)


def letter_frequency(text: str, *, letter: str, let_frequency: int, let_relation: str) -> bool:
    """How often the letter stands in the text, whatever its case."""
    return _holds(text.lower().count(letter.lower()), let_relation, let_frequency)


def capital_word_frequency(text: str, *, capital_frequency: int, capital_relation: str) -> bool:
    """Words all in capitals; words with hyphens or dots inside count once."""
    return _holds(sum(word.isupper() for word in _CAPITAL.findall(text)), capital_relation, capital_frequency)


def number_bullet_lists(text: str, *, num_bullets: int) -> bool:
    """Exactly so many lines that begin with ``*`` or ``-``."""
    stars, dashes = (re.findall(rf"^\s*{mark}.*$", text, re.MULTILINE) for mark in (r"\*[^*]", "-"))
    return len(stars) + len(dashes) == num_bullets


def number_highlighted_sections(text: str, *, num_highlights: int) -> bool:
    """At least so many passages between ``*`` or ``**``."""
    single = [found for found in re.findall(r"\*([^\n*]*)\*", text) if found.strip()]
    double = [found for found in re.findall(r"\*\*([^\n*]*)\*\*", text) if found.strip()]
    return len(single) + len(double) >= num_highlights


def multiple_sections(text: str, *, section_spliter: str, num_sections: int) -> bool:
    """At least so many headings of the word and a number, such as ``SECTION 1``."""
    return len(re.findall(rf"{re.escape(section_spliter.strip())}\s?\d+", text)) >= num_sections


def title(text: str) -> bool:
    """A title in double angular brackets, on one line."""
    return any(found.lstrip("<").rstrip(">").strip() for found in re.findall(r"<<([^\n]+)>>", text))


def number_placeholders(text: str, *, num_placeholders: int) -> bool:
    """At least so many placeholders in square brackets."""
    return len(re.findall(r"\[.*?\]", text)) >= num_placeholders


def postscript(text: str, *, postscript_marker: str) -> bool:
    """The marker of a postscript (``P.S.`` and ``P.P.S`` with or without blanks), whatever its case."""
    marker = postscript_marker.strip()
    return re.search(_POSTSCRIPTS.get(marker, re.escape(marker.lower())), text.lower()) is not None


def constrained_response(text: str, *, options: Sequence[str] = OPTIONS) -> bool:
    """One of the options is in the text."""
    return any(option in text for option in options)


def english_capital(text: str, *, languages: Identifier) -> bool:
    """All letters are capitals, and the text is English."""
    return text.isupper() and told(text, languages) == "en"


def english_lowercase(text: str, *, languages: Identifier) -> bool:
    """No letter is a capital, and the text is English."""
    return text.islower() and told(text, languages) == "en"


def response_language(text: str, *, language: str, languages: Identifier) -> bool:
    """The text is in the language of this code."""
    return told(text, languages) == checked_code(language, languages)


def no_comma(text: str) -> bool:
    """No comma anywhere."""
    return "," not in text


def start_checker(text: str, *, start_phrase: str) -> bool:
    """The text begins with the phrase, whatever the case, after blanks and quotation marks."""
    return text.strip().lstrip('"').lower().startswith(start_phrase.strip().lower())


def end_checker(text: str, *, end_phrase: str) -> bool:
    """The text ends with the phrase, whatever the case, before blanks and quotation marks."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def quotation(text: str) -> bool:
    """The whole text stands in double quotation marks."""
    inside = text.strip()
    return len(inside) > 1 and inside[0] == inside[-1] == '"'


def two_responses(text: str) -> bool:
    """Two different responses, separated by six asterisks."""
    parts = [part.strip() for part in text.split("******")]
    found = [part for part in parts if part]
    return all(parts[1:-1]) and len(found) == 2 and found[0] != found[1]


def repeat_prompt(text: str, *, prompt_to_repeat: str) -> bool:
    """The text begins with the prompt, whatever the case."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def json_format(text: str) -> bool:
    """The whole text is one JSON value, in a Markdown fence or not."""
    return _parsed(text) is not None


def json_keys(text: str, *, keys: Mapping[str, str]) -> bool:
    """The text is a JSON object that has, among others, each key with a value of its type (as JSON Schema names it)."""
    unknown = sorted(set(keys.values()) - _TYPES.keys())
    if unknown:
        raise InputError(f"unknown JSON type {unknown[0]!r}", fix=f"use one of {', '.join(_TYPES)}")
    found = _parsed(text)
    value = found[0] if found else None
    return isinstance(value, dict) and all(key in value and _is_a(value[key], kind) for key, kind in keys.items())


def _parsed(text: str) -> tuple[Any] | None:
    bare = _FENCE.sub("", text.strip()).strip()
    try:
        return (json.loads(bare, parse_constant=_no_json),)
    except (ValueError, RecursionError):  # a model in a loop may open ten thousand brackets
        return None


def _no_json(name: str) -> None:
    raise ValueError(name)


def _is_a(value: Any, kind: str) -> bool:
    # Python's booleans are integers
    return isinstance(value, _TYPES[kind]) and (kind == "boolean" or not isinstance(value, bool))


CHECKS: dict[str, Callable[..., bool]] = {
    "change_case:capital_word_frequency": capital_word_frequency,
    "change_case:english_capital": english_capital,
    "change_case:english_lowercase": english_lowercase,
    "combination:repeat_prompt": repeat_prompt,
    "combination:two_responses": two_responses,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": postscript,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:json_format": json_format,
    "detectable_format:json_keys": json_keys,
    "detectable_format:multiple_sections": multiple_sections,
    "detectable_format:number_bullet_lists": number_bullet_lists,
    "detectable_format:number_highlighted_sections": number_highlighted_sections,
    "detectable_format:title": title,
    "keywords:existence": existence,
    "keywords:forbidden_words": forbidden_words,
    "keywords:frequency": frequency,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": response_language,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_words": number_words,
    "punctuation:no_comma": no_comma,
    "startend:end_checker": end_checker,
    "startend:quotation": quotation,
    "startend:start_checker": start_checker,
}
