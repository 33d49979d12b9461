"""Rows side by side: the same numbers in the same order, errors that come through, and threads left as they were."""

import threading
import time

import numpy as np
import pytest
import torch

from assay.model.load import _random
from assay.model.memory import SIDE_BY_SIDE
from assay.model.registry import PRESETS
from assay.model.score import Scorer
from assay.model.threads import side_by_side
from assay.text.tokenizer import byte_tokenizer

TEXTS = [f"{number} times {number} is {number * number}, " * (1 + number % 4) for number in range(24)]


@pytest.fixture
def threads():
    """Four threads to share, whatever the machine has."""
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield 4
    torch.set_num_threads(before)


@pytest.fixture
def model():
    return _random(PRESETS["llama-tiny"]).eval()


def scores(model):
    return Scorer(model, byte_tokenizer(), window=64, stride=64, row_tokens=64).score(TEXTS)


@pytest.mark.parametrize("preset", ["llama-tiny", "gpt2-tiny"])
def test_scores_are_those_of_one_row_after_another(threads, preset):
    model = _random(PRESETS[preset]).eval()
    together = scores(model)
    torch.set_num_threads(1)
    for a, b in zip(together, scores(model), strict=True):
        np.testing.assert_array_equal(a, b)


def test_rows_really_run_at_once_and_share_the_threads(threads, model):
    meeting = threading.Barrier(SIDE_BY_SIDE, timeout=30)

    def row(number):
        meeting.wait()  # breaks unless all are there
        return number, torch.get_num_threads()

    with side_by_side(model, SIDE_BY_SIDE) as each:
        assert list(each(row, range(SIDE_BY_SIDE))) == [(number, threads // SIDE_BY_SIDE) for number in range(4)]
    assert torch.get_num_threads() == threads


def test_results_come_in_order(threads, model):
    with side_by_side(model, 12) as each:
        slow_first = each(lambda n: (time.sleep(0.02 * (n == 0)), n)[1], range(12))
        assert list(slow_first) == list(range(12))


def test_an_error_comes_through_and_leaves_the_threads_as_they_were(threads, model):
    def fails(number):
        raise torch.OutOfMemoryError(f"row {number}")

    with pytest.raises(torch.OutOfMemoryError, match="row 0"), side_by_side(model, 8) as each:
        list(each(fails, range(8)))
    assert torch.get_num_threads() == threads
    seen = []
    thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert seen == [threads]


@pytest.mark.parametrize("kind", ["dynamic", "longrope", {"full_attention": "default", "sliding_attention": "dynamic"}])
def test_embeddings_that_fit_themselves_to_each_input_are_read_one_after_another(threads, model, kind):
    next(module for module in model.modules() if hasattr(module, "rope_type")).rope_type = kind
    with side_by_side(model, 8) as each:
        assert each is map


@pytest.mark.parametrize(("rows", "threads_here"), [(1, 4), (8, 1)])
def test_one_row_or_one_thread_needs_no_others(threads, model, rows, threads_here):
    torch.set_num_threads(threads_here)
    with side_by_side(model, rows) as each:
        assert each is map
