from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.stages.train.batches import Corpus, micro_batches, order, schedule_steps

LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=30)


ROWS = st.lists(st.lists(st.booleans(), max_size=60), min_size=1, max_size=8)  # of each row's tokens, which count


def corpus_of(rows, max_length, truncate):
    learn = np.array([flag for row in rows for flag in row], dtype=bool)
    starts = np.cumsum([0, *map(len, rows)])
    return Corpus(np.arange(len(learn), dtype=np.int32), learn, starts, max_length=max_length, truncate=truncate)


@given(ROWS, st.integers(1, 40))
def test_every_learned_token_of_a_cut_row_is_predicted_exactly_once(rows, max_length):
    corpus = corpus_of(rows, max_length, truncate=False)
    predicted = [
        int(t) for segment in corpus for t, learn in zip(segment.ids[1:], segment.learn[1:], strict=True) if learn
    ]
    first = np.cumsum([0, *map(len, rows)])[:-1]
    expected = [
        int(start) + i for start, row in zip(first, rows, strict=True) for i, learn in enumerate(row) if learn and i
    ]
    assert predicted == expected
    assert corpus.learned == [int(segment.learn[1:].sum()) for segment in corpus]
    assert corpus.lengths == [len(segment.ids) - 1 for segment in corpus]
    assert all(1 <= length <= max_length for length in corpus.lengths)


@given(ROWS, st.integers(1, 40))
def test_a_truncated_row_gives_its_beginning(rows, max_length):
    corpus = corpus_of(rows, max_length, truncate=True)
    first = np.cumsum([0, *map(len, rows)])[:-1]
    kept = [(int(s), row[: max_length + 1]) for s, row in zip(first, rows, strict=True) if any(row[1 : max_length + 1])]
    assert [(int(segment.ids[0]), segment.learn.tolist()) for segment in corpus] == kept


@given(ROWS, st.integers(1, 40), st.booleans(), st.lists(st.lists(st.integers(0, 1000), max_size=4), max_size=4))
def test_what_steps_read_is_told_once_and_as_far_as_it_hangs_together(rows, max_length, truncate, drawn):
    corpus = corpus_of(rows, max_length, truncate)
    steps = [[index % len(corpus) for index in step] for step in drawn if len(corpus)]
    stretches = corpus.read_in(steps)
    places = [place for _, begin, end in stretches.tolist() for place in range(begin, end)]
    # each token's id is its place
    assert places == sorted({int(t) for step in steps for index in step for t in corpus[index].ids})
    starts = np.cumsum([0, *map(len, rows)])
    assert all(starts[row] <= begin < end <= starts[row + 1] for row, begin, end in stretches)
    # a token that two neighbours share is the only seam: no two stretches of a row could be one
    assert all(a[2] < b[1] or a[0] != b[0] for a, b in pairwise(stretches))


@given(LENGTHS, st.integers(40, 100), st.integers(0, 3))
def test_an_epoch_holds_every_segment_once(lengths, batch, seed):
    steps = schedule_steps(lengths, seed=seed, batch_tokens=batch, steps=None, epochs=1.0)
    assert sorted(i for step in steps for i in step) == list(range(len(lengths)))
    assert all(sum(lengths[i] for i in step) <= batch for step in steps)


@given(LENGTHS, st.integers(40, 100), st.integers(1, 8))
def test_steps_are_the_beginning_of_a_longer_training(lengths, batch, count):
    short = schedule_steps(lengths, seed=1, batch_tokens=batch, steps=count, epochs=None)
    assert len(short) == count
    assert schedule_steps(lengths, seed=1, batch_tokens=batch, steps=count + 3, epochs=None)[:count] == short


def test_the_order_depends_on_seed_and_epoch_alone():
    assert order(1, 0, 50) == order(1, 0, 50)
    assert order(1, 0, 50) != order(1, 1, 50) != order(2, 1, 50)
    assert sorted(order(3, 4, 50)) == list(range(50))


@given(LENGTHS, st.integers(1, 60))
def test_micro_batches_keep_the_order(lengths, most):
    step = list(range(len(lengths)))
    rows = micro_batches(step, lengths, most)
    assert [i for row in rows for i in row] == step
    assert all(sum(lengths[i] for i in row) <= most for row in rows if len(row) > 1)
