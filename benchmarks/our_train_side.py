"""Our side of `train_vs_trl.py`: what both sides start from, our training, and the scoring of both results.

    python benchmarks/our_train_side.py gpu
    python benchmarks/our_train_side.py base SHAPE FOLDER
    python benchmarks/our_train_side.py task EXPERIMENT FOLDER [--set KEY=VALUE ...]
    python benchmarks/our_train_side.py train RUN
    python benchmarks/our_train_side.py score RUN [--weights FOLDER]

`gpu` names the GPU that torch sees, or null; `base` writes a model with random weights of a known shape; `task`
prepares a run and writes all that a peer needs for the same training; `train` trains that run as `assay train` does;
`score` gives each held-out group's nats and bytes under the base, or with the weights in a folder, with the same code
for both sides. The last line of output is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LENGTH = 190  # tokens of a chunk, about: attention's share of the operations depends on it
TOKENIZER = "smollm2-135m-instruct-q4"  # whose tokenizer the random models get
SHAPES: dict[str, dict[str, Any]] = {
    "tiny": {"hidden_size": 64, "intermediate_size": 172, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "tie_word_embeddings": True, "max_position_embeddings": 2048},
    "llama-3.2-1b": {"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
                     "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "rope_theta": 500000.0,
                     "tie_word_embeddings": True, "max_position_embeddings": 131072},
    "mistral-7b": {"model_type": "mistral", "vocab_size": 32768, "hidden_size": 4096, "intermediate_size": 14336,
                   "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
                   "sliding_window": None, "tie_word_embeddings": False, "max_position_embeddings": 32768},
}  # fmt: skip


def gpu() -> dict[str, Any]:
    """The GPU's name."""
    from assay.model import probe

    return {"gpu": probe.gpu_name("cuda") if probe.available("cuda") else None}


def base(shape: str, folder: Path) -> dict[str, Any]:
    """A model of random weights in bf16, with the embedded base's tokenizer."""
    import shutil

    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from assay.core.cache import cache_dir
    from assay.core.console import Console
    from assay.model.load import fetch
    from assay.model.registry import locate

    given = fetch(locate(TOKENIZER, cache_dir()), cache_dir(), Console(quiet=True))
    ours = json.loads((given / "config.json").read_text(encoding="utf-8"))
    special = {key: ours[key] for key in ("vocab_size", "bos_token_id", "eos_token_id", "pad_token_id")}
    settings = {"model_type": "llama", **special, **SHAPES[shape]}
    # a token that the model has no row for would be read from beyond its embeddings
    settings["vocab_size"] = max(settings["vocab_size"], special["vocab_size"])
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(settings.pop("model_type"), **settings), dtype=torch.bfloat16
    )
    model.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copyfile(given / name, folder / name)
    return {"parameters": sum(weight.numel() for weight in model.parameters())}


def task(experiment: Path, folder: Path, overrides: Sequence[str]) -> dict[str, Any]:
    """Prepare a run, and write beside it what a peer needs: the same rows, steps, numbers and first weights."""
    import numpy as np

    import assay
    from assay.core.cache import cache_dir
    from assay.core.console import Console
    from assay.core.files import read_json, write_json
    from assay.model import adapters
    from assay.model.load import fetch, load_base
    from assay.model.registry import locate
    from assay.stages.train.batches import Corpus, schedule_steps
    from assay.text.tokens import Tokens

    run = assay.prepare(experiment, overrides=list(overrides), runs_dir=folder / "runs").run
    known = assay.load_experiment(run.resolved).experiment
    t = known.train
    tokens = Tokens.open(run.tokens)
    truncate = bool(read_json(run.tokens_profile)["turns"])
    corpus = Corpus(tokens.ids, tokens.learn, tokens.starts, max_length=t.max_length, truncate=truncate)
    steps = schedule_steps(corpus.lengths, seed=known.seed, batch_tokens=t.batch_tokens, steps=t.steps, epochs=t.epochs)
    used = sorted({row for step in steps for row in step})
    number = {row: place for place, row in enumerate(used)}
    rows = [
        {"input_ids": ids.tolist(), "labels": np.where(learn, ids, -100).tolist()}
        for ids, learn in (corpus[row] for row in used)
    ]
    ref, quiet = locate(known.base, cache_dir()), Console(quiet=True)
    settings = known.adapter.model_dump()
    if known.adapter.kind != "full":
        model, _ = load_base(ref, cache_dir(), dtype="fp32", device="cpu", console=quiet)
        settings["modules"] = adapters.target_names(model, known.adapter.targets)
        adapters.attach(model, seed=known.seed, **known.adapter.model_dump()).save_pretrained(str(folder / "init"))
    write_json(
        folder / "task.json",
        {
            "base": str(fetch(ref, cache_dir(), quiet)), "kind": known.adapter.kind, "adapter": settings,
            "learning_rate": t.learning_rate, "weight_decay": t.weight_decay, "max_grad_norm": t.max_grad_norm,
            "max_length": t.max_length, "seed": known.seed, "device": t.device,
            "steps": [[number[row] for row in step] for step in steps], "rows": rows,
        },
    )  # fmt: skip
    return {"run": str(run.path), "tokens": [sum(corpus.lengths[row] for row in step) for step in steps]}


def train(run: Path) -> dict[str, Any]:
    """Train a prepared run as the command line does."""
    import torch

    import assay
    from assay.core.cache import cache_dir
    from assay.core.files import read_json, read_lines
    from assay.core.rundir import RunDir
    from assay.model.registry import locate
    from assay.model.shape import flops_per_token, shape

    done = assay.train(RunDir(run)).run
    steps = [line for line in read_lines(done.metrics) if "tokens" in line]
    folder = done.adapter if done.adapter.is_dir() else done.model
    known = assay.load_experiment(done.resolved).experiment
    sizes = shape(locate(known.base, cache_dir()).config)
    return {
        "step_seconds": [line["seconds"] for line in steps], "step_tokens": [line["tokens"] for line in steps],
        "loss": steps[-1]["loss"], "weights": str(folder), "decisions": read_json(done.plan)["decisions"],
        "operations_per_token": flops_per_token(
            sizes, kind=known.adapter.kind, length=LENGTH, checkpointing=False
        ),
        "gpu_memory": torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None,
    }  # fmt: skip


def score(run: Path, weights: Path | None) -> dict[str, Any]:
    """Nats and bytes of each held-out group, in fp32, under the base or with trained weights (of whichever side)."""
    import assay
    from assay.core.cache import cache_dir
    from assay.core.console import Console
    from assay.core.rundir import RunDir
    from assay.data.excerpts import excerpts
    from assay.data.items import read_items
    from assay.model import adapters, probe
    from assay.model.load import load_base
    from assay.model.registry import locate
    from assay.model.score import Scorer, item_readings
    from assay.text.tokens import Encoder, chat_template

    here = RunDir(run)
    known = assay.load_experiment(here.resolved).experiment
    device = probe.pick_device(known.train.device)
    model: Any
    model, tokenizer = load_base(
        locate(known.base, cache_dir()), cache_dir(), dtype="fp32", device=device, console=Console(quiet=True)
    )
    if weights is not None and known.adapter.kind == "full":
        model = adapters.load_tuned(weights, dtype="fp32", device=device)
    elif weights is not None:
        model = adapters.load_adapter(model, weights)
    items = excerpts(read_items(here.split("test")), known.evaluate.max_bytes_per_group, seed=known.data.split.seed)
    encoder = Encoder(tokenizer, chat_template(tokenizer, known.data.chat_template), known.train.loss_on)
    readings = item_readings(items, encoder)
    window = known.evaluate.window
    scorer = Scorer(model, tokenizer, window=window, stride=known.evaluate.stride or window)
    groups: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])
    for item, reading, nats in zip(items, readings, scorer.score_readings(readings), strict=True):
        groups[item.group][0] += float(nats.sum())
        groups[item.group][1] += reading.size
    return {"groups": groups}


def main() -> int:
    """Do one of the five and print what came of it."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    making = commands.add_parser("base")
    making.add_argument("shape", choices=SHAPES)
    making.add_argument("folder", type=Path)
    preparing = commands.add_parser("task")
    preparing.add_argument("experiment", type=Path)
    preparing.add_argument("folder", type=Path)
    preparing.add_argument("--set", action="append", default=[], dest="overrides")
    commands.add_parser("gpu")
    commands.add_parser("train").add_argument("run", type=Path)
    scoring = commands.add_parser("score")
    scoring.add_argument("run", type=Path)
    scoring.add_argument("--weights", type=Path)
    given = vars(parser.parse_args())
    function: Any = {"gpu": gpu, "base": base, "task": task, "train": train, "score": score}[given.pop("command")]
    print(json.dumps(function(**given)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
