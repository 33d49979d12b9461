"""Our side of `score_vs_lm_eval.py`: what both sides score, our scores, and the rates of matrix products here.

    python benchmarks/our_score_side.py task SETTINGS FOLDER
    python benchmarks/our_score_side.py score TASK [--adapter FOLDER]
    python benchmarks/our_score_side.py pairs TASK
    python benchmarks/our_score_side.py products

`task` cuts texts and writes one JSON file per piece of work, with the base's folder, and an adapter of random weights;
`score` gives the log-likelihood of each text under the base, and with `--adapter` under both from one loaded model;
`pairs` those of continuations; `products` the rate of a matrix product by precision. The last line of output is a JSON
object.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from pathlib import Path
from typing import Any

SHORTEST, LONGEST = 5, 400  # tokens of a short text
BYTES = (300, 3000)  # of a document: some fit into a window, some take several
RANK, SPREAD = 8, 0.005  # of the adapter: large enough to move each text's score by some tenths of a percent


def documents(text: str, count: int, draw: random.Random) -> list[str]:
    """`count` stretches of a text, far apart, of lengths drawn evenly in their logarithm, from one blank to another."""
    found = []
    for number in range(count):
        start = text.index(" ", number * len(text) // count) + 1
        size = round(math.exp(draw.uniform(*map(math.log, BYTES))))
        found.append(text[start : start + size].rpartition(" ")[0].strip())
    return found


def short_texts(text: str, count: int, encode: Any, draw: random.Random) -> list[str]:
    """`count` stretches of 5 to 400 tokens, of lengths drawn evenly in their logarithm."""
    found: list[str] = []
    while len(found) < count:
        start = text.index(" ", draw.randrange(len(text) // 2)) + 1
        wanted = round(math.exp(draw.uniform(math.log(SHORTEST), math.log(LONGEST))))
        stretch = text[start : start + 8 * wanted]
        while len(encode(stretch)) > wanted:
            stretch = stretch.rpartition(" ")[0]
        if SHORTEST <= len(encode(stretch)) <= LONGEST:
            found.append(stretch)
    return found


def task(given: Path, folder: Path) -> dict[str, Any]:
    """Write the work: of each base `<number>-documents.json` and `-pairs.json`, of the first also the short texts."""
    from assay.core.files import read_json, write_json
    from assay.text.suites import questions

    wish, draw = read_json(given), random.Random(0)
    whole = [Path(file).read_text(encoding="utf-8") for file in wish["texts"]]
    cut = [document for text in whole for document in documents(text, wish["documents"], draw)]
    asked = questions(wish["choices"])[: wish["questions"]] if wish["choices"] else []
    work: dict[str, Any] = {"documents": len(cut), "questions": len(asked)}
    for number, spec in enumerate(wish["bases"]):
        where, tokenizer = _saved(spec, folder / f"base-{number}")
        common = {key: wish[key] for key in ("window", "dtype", "device", "threads")} | {"base": str(where)}
        write_json(folder / f"{number}-documents.json", common | {"texts": cut})
        pairs = [pair for one in asked for pair in one.pairs]
        sizes = [[len(choice) for choice in one.choices] for one in asked]
        write_json(folder / f"{number}-pairs.json", common | {"pairs": pairs, "sizes": sizes})
        if number == 0:
            some = [document for start in range(0, len(cut), wish["documents"]) for document in cut[start : start + 10]]
            write_json(folder / "together.json", common | {"texts": some})
            mixed = short_texts("\n".join(whole), wish["short"], tokenizer.encode, draw)
            for part in range(wish["rounds"]):
                write_json(folder / f"short-{part}.json", common | {"texts": mixed[part :: wish["rounds"]]})
            work["short_tokens"] = sorted(len(tokenizer.encode(text)) for text in mixed)
            work["together_tokens"] = sum(len(tokenizer.encode(text)) for text in some)
    _adapter(wish["bases"][0], folder / "adapter")
    return work


def _saved(spec: str, folder: Path) -> tuple[Path, Any]:
    """A base's folder and tokenizer; random weights are written to one first."""
    ref, cache, quiet = _located(spec)
    from assay.model import adapters
    from assay.model.load import fetch, load_base, load_tokenizer

    if ref.kind != "scratch":
        return fetch(ref, cache, quiet), load_tokenizer(ref, cache, quiet)
    model, tokenizer = load_base(ref, cache, dtype="fp32", device="cpu", console=quiet)
    adapters.save(model, tokenizer, folder, base=spec)
    return folder, tokenizer


def _located(spec: str) -> tuple[Any, Path, Any]:
    from assay.core.cache import cache_dir
    from assay.core.console import Console
    from assay.model.registry import locate

    return locate(spec, cache_dir()), cache_dir(), Console(quiet=True)


def _adapter(spec: str, folder: Path) -> None:
    """A LoRA on all linear layers; its second matrices, zero at first, are drawn too."""
    import torch

    from assay.model import adapters
    from assay.model.load import load_base

    ref, cache, quiet = _located(spec)
    model, tokenizer = load_base(ref, cache, dtype="fp32", device="cpu", console=quiet)
    adapted = adapters.attach(
        model, kind="lora", rank=RANK, alpha=2 * RANK, dropout=0.0, targets="all-linear", rslora=False, seed=0
    )
    generator = torch.Generator().manual_seed(0)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=SPREAD, generator=generator)
    adapters.save(adapted, tokenizer, folder, base=spec)


def score(given: Path, adapter: Path | None) -> dict[str, Any]:
    """Log-likelihoods of each text: of the base, then of the tuned; and the seconds from texts to scores."""
    model, tokenizer, work = _loaded(given)
    from assay.model.adapters import load_adapter
    from assay.model.kernels import speed_up
    from assay.model.score import Scorer

    logs, seconds = [], 0.0
    for which in ("base", "tuned")[: 2 if adapter else 1]:
        if which == "tuned":
            model = load_adapter(model, adapter)
        speed_up(model)
        start = time.perf_counter()
        nats = Scorer(model, tokenizer, window=work["window"], stride=work["window"]).score(work["texts"])
        seconds += time.perf_counter() - start
        logs.append([-float(each.sum()) for each in nats])
    return {"logs": logs, "score": seconds}


def _loaded(given: Path) -> tuple[Any, Any, dict[str, Any]]:
    import torch

    from assay.core.files import read_json
    from assay.model.load import load_base

    work = read_json(given)
    torch.set_num_threads(work["threads"])
    ref, cache, quiet = _located(work["base"])
    model, tokenizer = load_base(ref, cache, dtype=work["dtype"], device=work["device"], console=quiet)
    return model, tokenizer, work


def pairs(given: Path) -> dict[str, Any]:
    """Log-likelihoods of continuations, as the evaluation reads questions: pairs of a prompt and a completion."""
    model, tokenizer, work = _loaded(given)
    from assay.core.records import Item, Turn
    from assay.model.score import Scorer, item_readings
    from assay.text.tokens import Encoder, chat_template

    items = [
        Item(str(number), str(number), said, (Turn("prompt", asked), Turn("completion", said)))
        for number, (asked, said) in enumerate(work["pairs"])
    ]
    readings = item_readings(items, Encoder(tokenizer, chat_template(tokenizer, None), "completion"))
    scorer = Scorer(model, tokenizer, window=work["window"], stride=work["window"])
    return {
        "logs": [-float(nats.sum()) for nats in scorer.score_readings(readings)],
        "greedy": [bool(counts.all()) for counts in scorer.greedy(readings)],
        "bytes": [reading.size for reading in readings],
    }


def products() -> dict[str, Any]:
    """Billions of operations a second of a product of 512 x 576 x 1536 by precision, the best of three."""
    import torch

    rates = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        x, w = torch.ones(512, 576, dtype=dtype), torch.ones(1536, 576, dtype=dtype)
        best = math.inf
        for _ in range(3):
            start = time.perf_counter()
            torch.nn.functional.linear(x, w)
            best = min(best, time.perf_counter() - start)
        rates[name] = 2e-9 * 512 * 576 * 1536 / best
    return rates


def main() -> int:
    """Do one of the four and print what came of it."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("task")
    making.add_argument("given", type=Path)
    making.add_argument("folder", type=Path)
    scoring = commands.add_parser("score")
    scoring.add_argument("given", type=Path)
    scoring.add_argument("--adapter", type=Path)
    commands.add_parser("pairs").add_argument("given", type=Path)
    commands.add_parser("products")
    given = vars(parser.parse_args())
    function: Any = {"task": task, "score": score, "pairs": pairs, "products": products}[given.pop("command")]
    print(json.dumps(function(**given)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
