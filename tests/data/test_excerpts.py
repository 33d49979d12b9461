from hypothesis import given
from hypothesis import strategies as st

from assay.data.excerpts import excerpts, pieces
from assay.data.items import Item

TEXTS = st.lists(st.tuples(st.sampled_from("abc"), st.text(max_size=300)), min_size=1, max_size=12)


def items_of(pairs):
    return [Item(f"{i:03}", group, text) for i, (group, text) in enumerate(pairs)]


@given(TEXTS, st.integers(200, 500), st.integers(0, 5), st.randoms())
def test_excerpts_are_spans_within_the_limit_whatever_the_order(pairs, most, seed, random):
    items = items_of(pairs)
    found = excerpts(items, most, seed=seed)
    whole = {item.id: item for item in items}
    assert all(e.text in whole[e.id].text and e.group == whole[e.id].group for e in found)
    for group in {item.group for item in items}:
        assert sum(len(e.text.encode()) for e in found if e.group == group) <= most
    assert {e.group for e in found} == {item.group for item in items}
    shuffled = list(items)
    random.shuffle(shuffled)
    assert excerpts(shuffled, most, seed=seed) == found


def test_without_a_limit_all_texts_are_whole():
    items = items_of([("a", "x" * 900), ("b", "y")])
    assert excerpts(items, None, seed=0) == items


def test_a_long_text_is_cut_at_a_lines_start_that_the_seed_chooses():
    text = "".join(f"line {i:04}\n" for i in range(500))
    starts = {excerpts([Item("i", "g", text)], 300, seed=seed)[0].text[:9] for seed in range(20)}
    assert len(starts) > 5
    assert all(start.startswith("line ") for start in starts)


def test_a_character_is_never_cut():
    found = excerpts([Item("i", "g", "☃" * 500)], 200, seed=0)[0].text
    assert found == "☃" * 66


def test_pieces_come_from_each_text_in_turn():
    items = items_of([("a", "a" * 1000), ("b", "b" * 1000)])
    assert pieces(items, 3, 100) == ["a" * 100, "b" * 100, "a" * 100]
    assert pieces(items_of([("a", "short"), ("b", "  ")]), 16, 100) == ["short"]
