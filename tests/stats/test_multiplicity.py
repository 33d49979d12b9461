from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from assay.stats.intervals import Undefined
from assay.stats.multiplicity import benjamini_hochberg, holm

BOTH = [(holm, "holm"), (benjamini_hochberg, "fdr_bh")]
some_p = st.floats(0, 1) | st.sampled_from([0.0, 0.01, 0.04, 1.0])  # ties are common: few groups reach few p-values
families = st.lists(some_p | st.none(), min_size=1, max_size=12)


@pytest.mark.parametrize(("function", "theirs"), BOTH)
@settings(max_examples=20, deadline=None)  # theirs calls the garbage collector each time
@given(ps=families)
def test_adjusted_p_is_statsmodels(function: Callable[..., list[float | None]], theirs: str, ps: list[float | None]):
    got = function(ps)
    wanted = multipletests([1.0 if p is None else p for p in ps], method=theirs)[1]
    assert [value is None for value in got] == [p is None for p in ps]
    assert [value for value in got if value is not None] == pytest.approx(
        [float(value) for value, p in zip(wanted, ps, strict=True) if p is not None], rel=1e-12
    )


def test_by_hand() -> None:
    # Sorted .01, .02, .03, .04. Holm: × 4, 3, 2, 1, none below the one before it.
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    # Benjamini-Hochberg: × 4/1, 4/2, 4/3, 4/4 give .04 each.
    assert benjamini_hochberg([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.04] * 4)


def test_a_comparison_without_p_still_counts() -> None:
    assert holm([0.02, None, 0.03]) == [pytest.approx(0.06), None, pytest.approx(0.06)]
    assert holm([0.02, 0.03]) == pytest.approx([0.04, 0.04])
    assert benjamini_hochberg([None, 0.02]) == [None, pytest.approx(0.04)]
    assert holm([None, None]) == [None, None]


@given(ps=families)
def test_adjusting_never_helps_and_holm_is_the_stricter(ps: list[float | None]) -> None:
    by_holm, by_share = holm(ps), benjamini_hochberg(ps)
    assert isinstance(by_holm, list)
    assert isinstance(by_share, list)
    for p, strict, lenient in zip(ps, by_holm, by_share, strict=True):
        if p is not None:
            assert strict is not None
            assert lenient is not None
            assert p <= lenient * (1 + 1e-12)
            assert lenient <= strict * (1 + 1e-12)
            assert strict <= 1


@pytest.mark.parametrize("function", [holm, benjamini_hochberg])
def test_edges(function: Callable[..., object]) -> None:
    assert function([]) == []
    assert function([0.03]) == [0.03]
    for bad in (-0.1, 1.1, float("nan")):
        got = function([0.5, bad])
        assert isinstance(got, Undefined)
        assert got.reason == "p-value 2 of 2 is not in [0, 1]"
