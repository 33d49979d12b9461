from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.text import copied
from assay.text.copied import Copied, Span, copied_spans

few = st.integers(0, 3)  # so that long matches, and many of them, come by chance
texts = st.lists(st.lists(few, max_size=14), max_size=5)


def arrays(rows: Sequence[Sequence[int]], dtype: type = np.int64) -> list[np.ndarray]:
    return [np.array(row, dtype) for row in rows]


def dynamic_programme(text: Sequence[int], rows: Sequence[Sequence[int]]) -> list[int]:
    """The longest string that ends with each token and stands in a row, by comparing each with each."""
    longest = [0] * len(text)
    for row in rows:
        before = [0] * (len(row) + 1)
        for number, token in enumerate(text):
            here = [0] + [before[k] + 1 if other == token else 0 for k, other in enumerate(row)]
            longest[number] = max(longest[number], *here)
            before = here
    return longest


def covered(lengths: Sequence[int], least: int) -> float:
    inside = {at for end, size in enumerate(lengths) if size >= least for at in range(end + 1 - size, end + 1)}
    return len(inside) / len(lengths)


@settings(max_examples=300, deadline=None)
@given(texts, texts, st.integers(1, 6))
def test_as_a_dynamic_programme_finds_them(generated: list[list[int]], rows: list[list[int]], least: int) -> None:
    found = copied_spans(generated, iter(arrays(rows)))
    assert len(found) == len(generated)
    for text, one in zip(generated, found, strict=True):
        expected = dynamic_programme(text, rows)
        assert one.lengths.tolist() == expected
        if one.longest is None:
            assert not any(expected)
        else:
            span = one.longest
            assert span.length == max(expected)
            assert span.start == expected.index(span.length) + 1 - span.length
            stretch = text[span.start : span.start + span.length]
            assert rows[span.row][span.row_start : span.row_start + span.length] == stretch
        assert one.covered(least) == (pytest.approx(covered(expected, least)) if text else None)


@settings(max_examples=60, deadline=None)
@given(st.lists(few, max_size=300), texts, st.integers(2, 40))
def test_however_rows_are_cut_and_gathered(row: list[int], generated: list[list[int]], batch: int) -> None:
    rows = [row[:7], row, [], row[3:90]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copied, "_PIECE", 16)
        patch.setattr(copied, "_BATCH", batch)
        found = copied_spans(generated, arrays(rows, np.int32))
    assert [one.lengths.tolist() for one in found] == [dynamic_programme(text, rows) for text in generated]


def test_a_span_ends_with_its_row_and_is_told_with_its_place() -> None:
    rows = arrays([[5, 6], [7, 8, 9, 10], [1, 2, 3, 7, 8]])
    (found,) = copied_spans([[6, 7, 8, 9, 0, 1, 2]], rows)
    assert found.longest == Span(3, 1, 1, 0)
    assert found.lengths.tolist() == [1, 1, 2, 3, 0, 1, 2]
    assert found.covered(1) == 6 / 7
    assert found.covered(2) == 5 / 7
    assert found.covered(3) == 3 / 7
    assert found.covered(4) == 0.0


def test_what_is_not_there() -> None:
    assert copied_spans([], arrays([[1, 2]])) == []
    nothing, strange = copied_spans([[], [70_000, 4]], arrays([[1, 2], []]))
    assert nothing.longest is None
    assert nothing.covered(1) is None
    assert strange.longest is None
    assert strange.covered(1) == 0.0
    assert copied_spans([[1]], [])[0].longest is None
    with pytest.raises(ValueError, match="at most 1048575"):
        copied_spans([range(1 << 20)], [])


def test_rows_are_read_as_they_come_in_any_kind_of_integer() -> None:
    generator = np.random.default_rng(0)
    generated = generator.integers(0, 50_000, (3, 60))

    def rows() -> object:
        for number in range(3):
            row = generator.integers(0, 50_000, 200).astype(np.uint16)
            row[20 + number : 60 + number] = generated[number][5:45]
            yield row

    found = copied_spans(generated.tolist(), rows())  # type: ignore[arg-type]
    assert [one.longest for one in found] == [Span(40, 5, number, 20 + number) for number in range(3)]


def test_a_loop_in_a_generation_costs_no_more() -> None:
    (found,) = copied_spans([[4] * 3000], arrays([[4] * 500, [4] * 1200 + [3], [4] * 90]))
    assert found.longest is not None
    assert (found.longest.length, found.longest.start, found.longest.row) == (1200, 0, 1)
    assert found.lengths.tolist() == [*range(1, 1201), *[1200] * 1800]
    assert found.covered(50) == 1.0


def test_equal_generations_find_the_same() -> None:
    one, two, other = copied_spans([[1, 2, 3], [1, 2, 3], [2, 3]], arrays([[9, 2, 3, 1]]))
    assert isinstance(one, Copied)
    assert one.longest == two.longest == Span(2, 1, 0, 1)
    assert other.longest == Span(2, 0, 0, 1)
