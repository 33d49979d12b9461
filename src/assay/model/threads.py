"""Rows of one model side by side on a CPU: each on threads of its own, which never wait for one another.

One row on all cores waits at the end of every operation for the slowest core, some thousand times a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from assay.core.usage import share_heap
from assay.model.memory import SIDE_BY_SIDE

Each = Callable[[Callable[..., Any], Iterable[Any]], Iterator[Any]]


@contextmanager
def side_by_side(model: nn.Module, rows: int) -> Iterator[Each]:
    """Like `map`, for a function that reads `model`: on a CPU several calls at once, each on its share of the threads.

    Results come in order, and an error ends the rest. Gradient modes are those of the calls' own threads.
    """
    threads = torch.get_num_threads()
    workers = min(rows, threads, SIDE_BY_SIDE)
    if workers < 2 or not _independent(model):
        yield map
        return
    own = threads // workers
    share_heap()
    with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(own,)) as pool:
        try:
            yield pool.map
        finally:
            torch.set_num_threads(threads)  # what new threads would start with


def _independent(model: nn.Module) -> bool:
    """Whether one call leaves another alone: on a CPU, but for rotary embeddings that fit themselves to each input."""
    kinds = [getattr(module, "rope_type", "") for module in model.modules()]
    named = {kind for one in kinds for kind in (one.values() if isinstance(one, dict) else [one])}
    on_cpu = next(model.parameters()).device.type == "cpu"
    return on_cpu and not any("dynamic" in kind or kind == "longrope" for kind in named)
