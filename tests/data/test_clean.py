"""What each step changes and leaves alone, what each filter drops, and that both are counted."""

from __future__ import annotations

import pickle
import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError, MachineError
from assay.core.records import Turn
from assay.data.clean import STEPS, Cleaner, fix_mojibake, length_drop
from assay.data.formats import Draft
from assay.data.tally import Drop
from assay.data.turns import content

normalise_unicode, straighten_quotes, tidy_whitespace = (STEPS[name] for name in ("unicode", "quotes", "whitespace"))
ENGLISH = "It was a dark and stormy night, and the rain fell in torrents upon the roofs of the town."
GERMAN = "Es war eine dunkle und stürmische Nacht, und der Regen fiel in Strömen auf die Dächer der Stadt."
# letters, marks, joiners, controls, quotes, spaces and line ends: what the steps look at
texts = st.text(
    st.sampled_from("ab e\u0301\u00e9\u1100\u1161\u0915\u094d\u0644\u2764\ufe0f\U0001f469\U0001f52c\u200b\u200c\u200d")
    | st.sampled_from(
        "\ufeff\u2060\x00\x07\x0b\x0c\x1c\x7f\x85\u2028\u2029\u00a0\u3000\u2003 \t\n\n'\"\u2018’“”„«\u2126\ufb1d"
    )
    | st.characters(),
    max_size=30,
)


def cleaned(draft: Draft, **settings: Any) -> Draft | Drop:
    return Cleaner(**settings).apply(draft)


@given(texts)
def test_steps_done_twice_change_nothing_more(text: str) -> None:
    for step in (normalise_unicode, straighten_quotes, tidy_whitespace):
        assert step(step(text)) == step(text)


@given(texts)
def test_unicode_is_composed_and_has_no_control_characters(text: str) -> None:
    done = normalise_unicode(text)
    assert unicodedata.is_normalized("NFC", done)
    assert not [c for c in done if unicodedata.category(c) == "Cc" and c not in "\n\t"]
    assert not set(done) & set("\u200b\u2060\ufeff")


@given(texts)
def test_whitespace_is_plain_and_nothing_else_changes(text: str) -> None:
    done = tidy_whitespace(text)
    assert "\n\n\n" not in done
    assert " \n" not in done
    assert not [c for c in done if unicodedata.category(c) in ("Zs", "Zl", "Zp") and c != " "]
    kept = [c for c in text if not c.isspace()]
    assert [c for c in done if not c.isspace()] == kept


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("e\u0301", "\u00e9"),
        ("a\x00b\x07c\x1bd\x9fe", "abcde"),
        ("\ufeffzero\u200bwidth\u2060", "zerowidth"),
        ("page\x0cpage\x85line\tcell\n", "page\npage\nline\tcell\n"),
        (
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
            "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",
        ),  # Persian
        ("\u0d28\u0d4d\u200d", "\u0d28\u0d4d\u200d"),  # Malayalam, at a word's end
        (
            "\U0001f469\u200d\U0001f52c \u2764\ufe0f\u200d\U0001f525",
            "\U0001f469\u200d\U0001f52c \u2764\ufe0f\u200d\U0001f525",
        ),
        ("Auf\u200clage\u200d \u200d", "Auflage "),
        ("\ufb01ne \uff28 1\u00b2 caf\u00e9", "\ufb01ne \uff28 1\u00b2 caf\u00e9"),  # no compatibility forms
    ],
)
def test_unicode(text: str, expected: str) -> None:
    assert normalise_unicode(text) == expected


def test_quotes() -> None:
    assert (
        straighten_quotes("\u2018a’ \u201ab\u201b “c” „d‟ it’s «e» 5\u2032 – `f`")
        == "'a' 'b' \"c\" \"d\" it's «e» 5\u2032 – `f`"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a \t\nb\n\n\n\n\nc", "a\nb\n\nc"),
        ("def f():\n    return\u00a01\n\tx", "def f():\n    return 1\n\tx"),
        ("a\u3000b\u2009c\u202fd\u2028e\u2029f", "a b c d\ne\nf"),
        ("a\n \n \u00a0\n\t\nb", "a\n\nb"),
        ("two  spaces stay", "two  spaces stay"),
    ],
)
def test_whitespace(text: str, expected: str) -> None:
    assert tidy_whitespace(text) == expected


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Café für Özgür", "cp1252"), ("Café für Özgür", "latin-1"), ("naïve — “quot…", "cp1252"),
        ("naïve — “quoted” …", "latin-1"), ("Это русский текст", "latin-1"), ("日本語の本", "latin-1"),
    ],
)  # fmt: skip
def test_mojibake_is_repaired(text: str, encoding: str) -> None:
    spoilt = text.encode().decode(encoding)
    assert fix_mojibake(f"Sound: “é”.\n{spoilt}\n") == f"Sound: “é”.\n{text}\n"


@pytest.mark.parametrize("text", ["“Curly” ﬁne \uff28 &amp; e\u0301 \x1b[1m\u2028", "Größe: 5 µm – ½", "ÀÉ", "plain"])
def test_sound_text_is_not_repaired(text: str) -> None:
    assert fix_mojibake(text) == text


def test_white_space_where_a_pair_is_joined_stays() -> None:
    draft = Draft(" Q: \n  A ", (Turn("prompt", " Q: "), Turn("completion", "  A ")))
    done = (Turn("prompt", "Q: "), Turn("completion", "  A"))
    assert cleaned(draft, whitespace=True) == Draft("Q: \n  A", done)
    assert cleaned(Draft("\n  Hi \n"), whitespace=True) == Draft("Hi")


def test_turns_and_text_are_changed_alike() -> None:
    turns = (Turn("system", "“S”"), Turn("user", " “Hi” "), Turn("assistant", "“Yo”\n"))
    done = (Turn("system", '"S"'), Turn("user", '"Hi"'), Turn("assistant", '"Yo"'))
    cleaner = Cleaner(whitespace=True, quotes=True, unicode=True)
    assert cleaner.apply(Draft(content(turns), turns)) == Draft('"Hi"\n"Yo"', done)
    assert cleaner.apply(Draft("plain")) == Draft("plain")
    assert cleaner.apply(Draft("it’s")) == Draft("it's")
    assert cleaner.changed == {"whitespace": 1, "quotes": 2}


def test_the_text_of_a_template_keeps_its_values_without_labels() -> None:
    draft = Draft("sad\n“Once”", (Turn("prompt", "[GENRE] sad [STORY] "), Turn("completion", "“Once”")))
    done = (Turn("prompt", "[GENRE] sad [STORY] "), Turn("completion", '"Once"'))
    assert cleaned(draft, quotes=True, whitespace=True) == Draft('sad\n"Once"', done)


@given(st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), texts.filter(str.strip)), max_size=4))
def test_the_text_stays_the_content_of_the_turns(said: list[tuple[Any, str]]) -> None:
    turns = tuple(Turn(role, text) for role, text in [*said, ("user", "a")])
    done = cleaned(Draft(content(turns), turns), unicode=True, quotes=True, whitespace=True)
    expected = [
        Turn(turn.role, tidy_whitespace(straighten_quotes(normalise_unicode(turn.text))).strip()) for turn in turns
    ]
    if any(not turn.text for turn in expected if turn.role != "system"):
        assert done == Drop("empty-after-cleaning")
    else:
        kept = tuple(turn for turn in expected if turn.text)
        assert done == Draft(content(kept), kept)


def test_what_is_empty_after_cleaning_is_dropped() -> None:
    assert cleaned(Draft("\u200b\ufeff"), unicode=True) == Drop("empty-after-cleaning")
    turns = (Turn("system", "\u200b"), Turn("user", "a"), Turn("assistant", "b"))
    assert cleaned(Draft("a\nb", turns), unicode=True) == Draft("a\nb", turns[1:])
    empty = (Turn("user", "a"), Turn("assistant", "\u200b"))
    assert cleaned(Draft(content(empty), empty), unicode=True) == Drop("empty-after-cleaning")


def test_without_settings_nothing_changes() -> None:
    draft = Draft(" “x”\u200b\n\n\n ", ())
    cleaner = Cleaner()
    assert cleaner.apply(draft) is draft
    assert not cleaner.changed


def test_repeated_turns_stay_are_merged_or_dropped() -> None:
    said = [("system", "s"), ("user", "a"), ("user", "b"), ("assistant", "c"), ("tool", "1"), ("tool", "2"),
            ("assistant", "d"), ("assistant", "e"), ("assistant", "f")]  # fmt: skip
    turns = tuple(Turn(role, text) for role, text in said)
    draft = Draft(content(turns), turns)
    assert Cleaner().apply(draft) == draft
    cleaner = Cleaner(repeated_turns="merge")
    merged = cleaner.apply(draft)
    assert [tuple(turn) for turn in merged.turns] == [
        ("system", "s"), ("user", "a\nb"), ("assistant", "c"), ("tool", "1"), ("tool", "2"), ("assistant", "d\ne\nf"),
    ]  # fmt: skip
    assert merged.text == content(merged.turns)
    assert cleaner.apply(merged) == merged
    assert cleaner.changed == {"repeated-turns": 1}
    assert Cleaner(repeated_turns="drop").apply(draft) == Drop("repeated-turns", "user")
    assert Cleaner(repeated_turns="drop").apply(merged) == merged


def test_patterns_keep_and_drop() -> None:
    settings: dict[str, Any] = {"keep": ["dragon", "^Once"], "drop": [r"\bTODO\b", "lorem"]}
    assert cleaned(Draft("Once more"), **settings) == Draft("Once more")
    assert cleaned(Draft("a dragon"), **settings) == Draft("a dragon")
    assert cleaned(Draft("a worm"), **settings) == Drop("no-keep-match")
    assert cleaned(Draft("a dragon lorem TODO"), **settings) == Drop("drop-match", r"\bTODO\b")


@pytest.mark.parametrize("key", ["keep", "drop"])
def test_an_invalid_pattern_is_named(key: str) -> None:
    with pytest.raises(InputError, match=rf"data.clean.{key}: '\(x' is not a regular expression.*\n.*backslash"):
        Cleaner(**{key: ["fine", "(x"]})  # type: ignore[arg-type]


def test_languages() -> None:
    cleaner = Cleaner(languages=["en"])
    assert cleaner.apply(Draft(ENGLISH)) == Draft(ENGLISH)
    assert cleaner.apply(Draft(GERMAN)) == Drop("language", "de")
    assert cleaned(Draft(GERMAN), languages=["en", "de"]) == Draft(GERMAN)
    assert not cleaner.changed
    assert cleaner.apply(Draft("Ja, 12345678901234567890!")) == Draft("Ja, 12345678901234567890!")
    assert cleaner.changed == {"language-not-judged": 1}
    # the start decides, however long the text is
    assert cleaner.apply(Draft(ENGLISH * 30 + GERMAN * 300)) == Draft(ENGLISH * 30 + GERMAN * 300)


def test_an_unknown_language_is_named() -> None:
    with pytest.raises(
        InputError, match=r"data.clean.languages: 'english' is no language.*\n.*did you mean 'en'\?.*de, "
    ):
        Cleaner(languages=["english"])


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("ftfy", "py3langid"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MachineError, match=r"ftfy.*\n.*pip install 'assay\[clean\]'"):
        fix_mojibake("cafÃ©")
    with pytest.raises(MachineError, match=r"py3langid.*\n.*pip install 'assay\[clean\]'"):
        Cleaner(languages=["en"])


def test_a_cleaner_travels_to_another_process() -> None:
    cleaner = Cleaner(mojibake=True, whitespace=True, drop=["x"])
    assert pickle.loads(pickle.dumps(cleaner)).apply(Draft(" cafÃ© ")) == Draft("café")


@given(st.text(max_size=12), st.integers(0, 20) | st.none(), st.integers(0, 20) | st.none())
def test_lengths_are_in_bytes_and_bounds_are_kept(text: str, least: int | None, most: int | None) -> None:
    size = len(text.encode())
    if least is not None and size < least:
        assert length_drop(text, least, most) == Drop("too-short", f"{size} bytes")
    elif most is not None and size > most:
        assert length_drop(text, least, most) == Drop("too-long", f"{size} bytes")
    else:
        assert length_drop(text, least, most) is None
