"""lm-evaluation-harness's side of `score_vs_lm_eval.py`; runs where lm_eval (0.4.13) is, without Assay.

    python benchmarks/lm_eval_side.py run TASK BATCH_SIZE [--adapter FOLDER]
    python benchmarks/lm_eval_side.py grid TASK BATCH_SIZE ...
    python benchmarks/lm_eval_side.py pairs TASK

`run` is what its command line does, from the import to the results: `simple_evaluate` on a task of one's own, here of
whole texts. `grid` times batch sizes one after another in one process. `pairs` gives the likelihood of continuations.
TASK is the JSON file that `our_score_side.py task` writes. The last line of output is a JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def settings(task: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `HFLM` for this task: our window, and a tokenizer that adds nothing to a text."""
    return {
        "pretrained": task["base"], "dtype": DTYPES[task["dtype"]], "max_length": task["window"],
        "add_bos_token": False,
    }  # fmt: skip


def run(task: dict[str, Any], batch_size: int, adapter: str | None) -> dict[str, Any]:
    """The log-likelihood of each text, and the seconds between requests and answers."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    spent = []
    rolling = HFLM.loglikelihood_rolling

    def timed(self: Any, *args: Any, **kwargs: Any) -> Any:
        start = time.perf_counter()
        found = rolling(self, *args, **kwargs)
        spent.append(time.perf_counter() - start)
        return found

    HFLM.loglikelihood_rolling = timed
    with tempfile.TemporaryDirectory() as work:
        data = Path(work) / "texts.jsonl"
        data.write_text("".join(json.dumps({"text": text}) + "\n" for text in task["texts"]), encoding="utf-8")
        config = {
            "task": "texts", "dataset_path": "json", "output_type": "loglikelihood_rolling", "test_split": "test",
            "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": work}, "doc_to_text": "",
            "doc_to_target": "text", "metric_list": [{"metric": "bits_per_byte"}],
        }  # fmt: skip
        found = simple_evaluate(
            model="hf", model_args=settings(task) | ({"peft": adapter} if adapter else {}), tasks=[config],
            batch_size=batch_size, device=task["device"],
        )  # fmt: skip
    samples = sorted(found["samples"]["texts"], key=lambda sample: sample["doc_id"])
    return {"logs": [sample["filtered_resps"][0] for sample in samples], "score": sum(spent)}


def model_of(task: dict[str, Any], batch_size: int) -> Any:
    """Its wrapped model."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(device=task["device"], batch_size=batch_size, **settings(task))


def requests(kind: str, arguments: list[Any]) -> list[Any]:
    """Requests as its tasks make them."""
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, tuple(each), number) for number, each in enumerate(arguments)]


def grid(task: dict[str, Any], batch_sizes: list[int]) -> dict[str, Any]:
    """Seconds of each batch size; the first is tried twice, and counts the second time."""
    lm, seconds = model_of(task, 1), dict[int, float]()
    asked = requests("loglikelihood_rolling", [[text] for text in task["texts"]])
    for size in [batch_sizes[0], *batch_sizes]:
        lm.batch_size_per_gpu = size
        start = time.perf_counter()
        lm.loglikelihood_rolling(asked, disable_tqdm=True)
        seconds[size] = time.perf_counter() - start
    return {"seconds": seconds}


def pairs(task: dict[str, Any]) -> dict[str, Any]:
    """The log-likelihood of each continuation after its context."""
    found = model_of(task, 4).loglikelihood(requests("loglikelihood", task["pairs"]), disable_tqdm=True)
    return {"logs": [log for log, _ in found], "greedy": [greedy for _, greedy in found]}


def main() -> int:
    """Do one of the three and print what came of it."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    running = commands.add_parser("run")
    running.add_argument("task", type=Path)
    running.add_argument("batch_size", type=int)
    running.add_argument("--adapter")
    trying = commands.add_parser("grid")
    trying.add_argument("task", type=Path)
    trying.add_argument("batch_sizes", type=int, nargs="+")
    commands.add_parser("pairs").add_argument("task", type=Path)
    given = vars(parser.parse_args())
    task = json.loads(given.pop("task").read_text(encoding="utf-8"))

    import torch

    torch.set_num_threads(task["threads"])
    function: Any = {"run": run, "grid": grid, "pairs": pairs}[given.pop("command")]
    found = function(task, **given)
    print(f"\n{json.dumps(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
