from __future__ import annotations

import pytest

from assay.core.errors import InputError
from assay.data.languages import Languages
from assay.text.metrics.language import Identifier, checked_code, language_share, told

ENGLISH = "The old house stood on the hill, and nobody knew who had built it or why it was left."
SWEDISH = "Det gamla huset stod på kullen, och ingen visste vem som hade byggt det eller varför."
FRENCH = "La vieille maison se dressait sur la colline, et personne ne savait qui l'avait construite."


@pytest.fixture(scope="module")
def languages() -> Identifier:
    pytest.importorskip("py3langid")
    return Languages()


class Fixed:
    """Tells what it was given."""

    known = frozenset({"en", "fr", "sv"})

    def __init__(self, code: str | None) -> None:
        self.code = code

    def of(self, text: str) -> str | None:
        return self.code


def test_a_translation_answered_in_english_is_found(languages: Identifier) -> None:
    found = language_share([FRENCH, ENGLISH, ENGLISH.upper(), SWEDISH, "Oui.", ""], "fr", languages)
    assert found.told == ["fr", "en", "en", "sv", None, None]
    assert found.share == 1 / 4
    assert found.others == {"en": 2, "sv": 1}
    assert (found.expected, found.undecided, found.reason) == ("fr", 2, None)
    assert language_share([SWEDISH], "sv-SE", languages).share == 1.0


def test_without_a_decided_output_there_is_no_share() -> None:
    for texts, code in ((["Oui.", "1234567890 " * 9], "fr"), ([ENGLISH], None), ([], "fr")):
        found = language_share(texts, "fr", Fixed(code))
        assert found.share is None
        assert found.undecided == len(texts)
        assert found.reason == f"none of {len(texts)} outputs is long enough and clearly in one language"


def test_letters_are_what_a_language_is_told_by() -> None:
    assert told("a" * 20, Fixed("en")) == "en"
    assert told("a" * 19 + "1" * 50, Fixed("en")) is None


def test_an_unknown_language_is_named() -> None:
    assert checked_code("PT_br".replace("PT", "FR"), Fixed(None)) == "fr"
    with pytest.raises(InputError, match=r"^here: 'english' is no language.*\n.*did you mean 'en'\?.*en, fr, sv"):
        checked_code("english", Fixed(None), "here")
    with pytest.raises(InputError, match=r"'xx'.*\n  fix: known are"):
        language_share([], "xx", Fixed(None))
