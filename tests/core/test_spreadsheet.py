"""No cell is a formula, and no text is lost."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.spreadsheet import is_formula, plain, text_cell


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\uff1d", " =", "\t@", "\r\n-", "\r="])
def test_a_formula_gets_an_apostrophe(start: str) -> None:
    assert text_cell(f"{start}cmd").startswith("'")


@given(st.text())
def test_no_cell_is_a_formula_and_its_text_is_kept(text: str) -> None:
    found = text_cell(text)
    assert not is_formula(found)
    assert found in (plain(text), f"'{plain(text)}")
    assert len(plain(text)) == len(text.replace("\r\n", "\n"))


def test_what_stays() -> None:
    assert text_cell("a = b\tc") == "a = b\tc"
    assert plain("a\r\nb\rc\x00d") == "a\nb\nc\ufffdd"
