"""Where the time of one training step goes, by kind of operation, and the floor that the matrix products set.

    python benchmarks/train_profile.py EXPERIMENT [--set KEY=VALUE ...] [--tokens 1024] [--documents 30 500]
        [--precision fp32] [--threads 2] [--plain] [--checkpointing]

The base, the adapter and the optimizer are the experiment's (after `--set`), so any model that it can name can be
looked at; the texts are random ids in documents of a length drawn between the two `--documents`, in one packed row of
`--tokens`. Runs on a CPU. `--plain` leaves PEFT's and transformers' own layers in place, for comparison.

Printed are, per kind, milliseconds and the share of the step (torch.profiler's self times; the profiler's own cost is
in them, so the step's true time stands above the table), then the floor: the operations of the model's own matrix
products (adapter aside, attention aside) divided by the speed that this machine shows for the costliest of them alone.

- `products`: matrix products with the base's weights, output head aside; `head`: those with the output embedding
- `adapter`: products with the rank as one side, and everything else in adapted layers
- `attention`: scaled dot products; `layout`: rotary embeddings, transposes and joins around them
- `loss`, `norm`, `activation`, `residual`, `optimizer` by name; `rest`: all else, recomputation not told apart
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from peft.tuners.lora import LoraLayer
from torch.profiler import ProfilerActivity, profile, record_function

from assay.config.load import load_experiment
from assay.core.cache import cache_dir
from assay.core.console import Console
from assay.model import adapters
from assay.model.attention import packed
from assay.model.checkpointing import recompute
from assay.model.kernels import speed_up
from assay.model.load import load_base
from assay.model.loss import summed_nll
from assay.model.registry import locate
from assay.model.score import hidden_states, output_weight
from assay.stages.train.optim import Optimizer

# Kinds by a part of the name of an operation or of one around it, the innermost first.
NAMES = {
    "_scaled_dot_product": "attention", "_SummedNLL": "loss", "_Lora": "adapter", "_Dora": "adapter",
    "_RMSNorm": "norm", "_Gated": "activation",
}  # fmt: skip
PRODUCTS = {"aten::mm": 0, "aten::addmm": 1, "aten::addmm_": 1}  # and which input is the left factor


def documents(tokens: int, shortest: int, longest: int, vocabulary: int) -> list[Any]:
    """Random documents, one token longer than what is predicted of them, that fill a row of `tokens`."""
    random = np.random.default_rng(0)
    lengths: list[int] = []
    while (left := tokens - sum(lengths)) > 0:
        lengths.append(min(left, int(random.integers(shortest, longest + 1))))
    return [random.integers(0, vocabulary, n + 1) for n in lengths]


def label(model: Any) -> None:
    """Put a named range around the forward of each module whose kind is known by its type."""
    for module in model.modules():
        name = type(module).__name__
        if isinstance(module, LoraLayer):
            kind = "adapter"
        elif name.endswith("Norm"):
            kind = "norm"
        elif name.endswith("Attention"):
            kind = "layout"
        elif name.endswith("MLP"):
            kind = "activation"
        elif name.endswith(("DecoderLayer", "Block")):
            kind = "residual"
        else:
            continue
        module.forward = _ranged(module.forward, f"kind:{kind}")


def _ranged(forward: Callable[..., Any], name: str) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        with record_function(name):
            return forward(*args, **kwargs)

    return run


def sides(event: Any) -> tuple[int, int, int] | None:
    """Rows, inner dimension and columns of a matrix product."""
    if event.name not in PRODUCTS:
        return None
    first = PRODUCTS[event.name]
    left, right = event.input_shapes[first : first + 2]
    return left[0], left[1], right[1]


class Kinds:
    """The kind of each operation, from its name, what is around it, and for the backward pass from the forward."""

    def __init__(self, events: list[Any], rank: int) -> None:
        self.rank = rank
        self.forward = {}
        for event in events:
            around = self._around(event)
            if event.sequence_nr >= 0 and around:
                self.forward.setdefault(event.sequence_nr, around)

    def _around(self, event: Any) -> str | None:
        while event is not None:
            if event.name.startswith("kind:"):
                return str(event.name.removeprefix("kind:"))
            for part, kind in NAMES.items():
                if part in event.name:
                    return kind
            event = event.cpu_parent
        return None

    def of(self, event: Any) -> str:
        """One of the kinds that the table shows."""
        around, above = self._around(event), event
        while around is None and above is not None:
            around = self.forward.get(above.sequence_nr) if above.sequence_nr >= 0 else None
            above = above.cpu_parent
        product = sides(event)
        if product and around != "attention":
            if self.rank and min(product) <= self.rank:
                return "adapter"
            return "head" if around == "loss" else "products"
        return around or "rest"


def speed(rows: int, inner: int, columns: int, dtype: torch.dtype) -> float:
    """Operations per second of one matrix product, the best of ten."""
    a, b = torch.randn(rows, inner).to(dtype), torch.randn(inner, columns).to(dtype)
    best = float("inf")
    for _ in range(10):
        start = time.perf_counter()
        a @ b
        best = min(best, time.perf_counter() - start)
    return 2 * rows * inner * columns / best


def report(events: list[Any], rank: int, dtype: torch.dtype) -> None:
    """Print the table and the floor."""
    kinds, spent, work = Kinds(events, rank), defaultdict(float), defaultdict(float)
    for event in events:
        kind = kinds.of(event)
        spent[kind] += event.self_cpu_time_total / 1e3
        if kind in ("products", "head") and (product := sides(event)):
            work[product] += 2.0 * product[0] * product[1] * product[2]
    whole = sum(spent.values())
    for kind, value in sorted(spent.items(), key=lambda entry: -entry[1]):
        print(f"{kind:12} {value:10.0f} ms {value / whole:7.1%}")
    total, costliest = sum(work.values()), max(work, key=lambda key: work[key])
    rate = speed(*costliest, dtype)
    print(f"floor: {total / 1e9:.0f} GFLOP ÷ {rate / 1e9:.0f} GFLOP/s = {total / rate * 1e3:.0f} ms")


def main() -> None:
    """Build the model, time the step, profile it once."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiment")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--documents", type=int, nargs=2, default=(30, 500), metavar=("SHORTEST", "LONGEST"))
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--plain", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    experiment = load_experiment(given.experiment, given.set).experiment
    ref, console, cpu = locate(experiment.base, cache_dir()), Console(quiet=True), torch.device("cpu")
    four_bit = experiment.adapter.kind == "qlora"
    base, _ = load_base(ref, cache_dir(), dtype=given.precision, device="cpu", console=console, four_bit=four_bit)
    model = adapters.attach(base, seed=experiment.seed, **experiment.adapter.model_dump()).train()
    if not given.plain:
        speed_up(model)
    head = output_weight(model)
    optimizer = Optimizer(adapters.trainable(model), weight_decay=0.0, kind=experiment.train.optimizer)
    texts = documents(given.tokens, *given.documents, head.shape[0])
    targets = torch.from_numpy(np.concatenate([t[1:] for t in texts]))

    def step() -> float:
        start = time.perf_counter()
        summed_nll(hidden_states(model, [t[:-1] for t in texts], cpu), head, targets).backward()
        with record_function("kind:optimizer"):
            optimizer.step(rate=1e-6, scale=1 / given.tokens)
            optimizer.zero()
        return time.perf_counter() - start

    with packed(adapters.causal(model)), recompute(model) if given.checkpointing else record_function("all"):
        step()
        true = statistics.median(step() for _ in range(3))
        print(f"step: {true * 1e3:.0f} ms, {given.tokens / true:.0f} tokens/s, {given.threads} threads")
        label(model)
        with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as measured:
            step()
    rank = 0 if experiment.adapter.kind == "full" else experiment.adapter.rank
    report(list(measured.events()), rank, head.dtype)


if __name__ == "__main__":
    main()
