"""The fresh-reload check's other process: load what was saved, score a few texts, print their NLL.

Run as ``python -m assay.stages.evaluate.reload PARENT`` with a JSON request on standard input; it ends with its parent.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from assay.core.console import Console
from assay.core.errors import AssayError
from assay.core.signals import end_with


def in_new_process(request: dict[str, Any]) -> list[float] | str:
    """The NLL of each text by the saved model in a process of its own, or why it could not be loaded."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "-m", "assay.stages.evaluate.reload", str(os.getpid())],
        input=json.dumps(request), capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return lines[-1] if lines else f"the process ended with {done.returncode}"
    nll: list[float] = json.loads(done.stdout)
    return nll


def main() -> int:
    """Answer one request from standard input."""
    end_with(int(sys.argv[1]))
    import torch

    from assay.model import adapters
    from assay.model.kernels import speed_up
    from assay.model.load import load_base, load_tokenizer
    from assay.model.registry import locate
    from assay.model.score import Scorer

    request = json.load(sys.stdin)
    torch.set_num_threads(request["threads"])
    cache, folder, console = Path(request["cache"]), Path(request["folder"]), Console(quiet=True)
    base = locate(request["base"], cache)
    if base.hash != request["base_hash"]:
        console.error("the base changed while the run was under way")
        return 1
    try:
        if request["kind"] == "full":
            model: Any = adapters.load_tuned(folder, dtype=request["dtype"], device=request["device"])
            tokenizer = load_tokenizer(base, cache, console)
        else:
            bare, tokenizer = load_base(
                base, cache, dtype=request["dtype"], device=request["device"], console=console,
                four_bit=request["kind"] == "qlora",
            )  # fmt: skip
            model = adapters.load_adapter(bare, folder)
        # by training's kernels, as the model in memory was: others round elsewhere, in bf16 by 0.006 nats per token
        speed_up(model, liger=request["liger"])
    except AssayError as error:
        console.error(error.what)
        return 1
    window = request["window"]
    nats = Scorer(model, tokenizer, window=window, stride=window).score(request["texts"])
    json.dump([float(n.sum()) for n in nats], sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
