from __future__ import annotations

import pytest

from assay.core.errors import InputError
from assay.data.languages import Languages
from assay.text.metrics.language import Identifier, checked_code, told

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


def test_a_language_is_told(languages: Identifier) -> None:
    texts = [FRENCH, ENGLISH, ENGLISH.upper(), SWEDISH, "Oui.", "", "1234567890 " * 9]
    assert [told(text, languages) for text in texts] == ["fr", "en", "en", "sv", None, None, None]


def test_letters_are_what_a_language_is_told_by() -> None:
    assert told("a" * 20, Fixed("en")) == "en"
    assert told("a" * 19 + "1" * 50, Fixed("en")) is None


def test_an_unknown_language_is_named() -> None:
    assert checked_code("PT_br".replace("PT", "FR"), Fixed(None)) == "fr"
    with pytest.raises(InputError, match=r"^here: 'english' is no language.*\n.*did you mean 'en'\?.*en, fr, sv"):
        checked_code("english", Fixed(None), "here")
    with pytest.raises(InputError, match=r"'xx'.*\n  fix: known are"):
        checked_code("xx", Fixed(None))
