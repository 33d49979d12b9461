"""The peers' side of `train_vs_trl.py`: one training by TRL (or Unsloth), in a process of its own.

    python benchmarks/trl_train_side.py TASK SETTING [--steps N] [--out FOLDER]

TASK is a folder that `our_train_side.py task` has written: the base, the adapter's first weights, the rows as ids, and
which rows each optimizer step takes. SETTING is a JSON object of `Setting`'s fields. Runs in an environment with TRL
1.16; our package is not needed. The last line of output is a JSON object: the seconds of each step, and the tokens
that were predicted (padding is none). With `--out` the trained weights are saved there.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")


@dataclass(frozen=True)
class Setting:
    """What a user of TRL can choose without changing what is computed.

    Args:
        precision: `fp32`; `bf16` (autocast over fp32 weights); or `bf16-weights` (autocast, the frozen base in bf16).
        layout: `padded`, or `packed`: a micro-batch's rows behind one another in one, without padding. (`packing=True`
            would also choose which rows stand in which step; here that is given, and is the same for all.)
        parts: micro-batches per step, as far as a step has rows.
        attention: a name that transformers knows.
        checkpointing: compute activations again in the backward pass.
        compiled: torch.compile, as the trainer does it.
        library: `trl` or `unsloth`.
        liger: Liger's Triton kernels (CUDA).
    """

    precision: str = "fp32"
    layout: str = "padded"
    parts: int = 1
    attention: str = "sdpa"
    checkpointing: bool = False
    compiled: bool = False
    library: str = "trl"
    liger: bool = False


def parts_of(rows: Sequence[int], count: int) -> list[list[int]]:
    """The rows in their order, in `count` parts whose numbers of rows differ by one at most."""
    edges = [len(rows) * part // count for part in range(count + 1)]
    return [list(rows[start:end]) for start, end in pairwise(edges)]


def _transformers_model(task: dict[str, Any], folder: Path, setting: Setting) -> tuple[Any, Any]:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = torch.bfloat16 if setting.precision == "bf16-weights" else torch.float32
    model: Any = AutoModelForCausalLM.from_pretrained(task["base"], dtype=dtype, attn_implementation=setting.attention)
    if task["kind"] != "full":
        model = PeftModel.from_pretrained(model, folder / "init", is_trainable=True)
    return model, AutoTokenizer.from_pretrained(task["base"])


def _unsloth_model(task: dict[str, Any], folder: Path, setting: Setting) -> tuple[Any, Any]:
    import torch
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file
    from unsloth import FastLanguageModel

    full, longest = task["kind"] == "full", task["max_length"] + 1
    checkpointing = "unsloth" if setting.checkpointing else False
    model, tokenizer = FastLanguageModel.from_pretrained(
        model_name=task["base"], max_seq_length=longest, dtype=torch.bfloat16, load_in_4bit=False,
        full_finetuning=full, use_gradient_checkpointing=checkpointing,
    )  # fmt: skip
    if not full:
        adapter = task["adapter"]
        model = FastLanguageModel.get_peft_model(
            model, r=adapter["rank"], lora_alpha=adapter["alpha"], lora_dropout=adapter["dropout"], bias="none",
            target_modules=adapter["modules"], use_gradient_checkpointing=checkpointing, random_state=task["seed"],
        )  # fmt: skip
        set_peft_model_state_dict(model, load_file(folder / "init" / "adapter_model.safetensors"))
    return model, tokenizer


def _config(task: dict[str, Any], setting: Setting, parts: int, work: str) -> Any:
    from trl import SFTConfig

    return SFTConfig(
        output_dir=work, max_steps=len(task["steps"]), gradient_accumulation_steps=parts,
        per_device_train_batch_size=max(-(-len(step) // parts) for step in task["steps"]),
        learning_rate=task["learning_rate"], lr_scheduler_type="constant", weight_decay=task["weight_decay"],
        max_grad_norm=task["max_grad_norm"], seed=task["seed"], bf16=setting.precision != "fp32", fp16=False,
        gradient_checkpointing=setting.checkpointing, torch_compile=setting.compiled, use_liger_kernel=setting.liger,
        padding_free=setting.layout == "packed", max_length=None, dataset_kwargs={"skip_prepare_dataset": True},
        use_cpu=task["device"] == "cpu", dataloader_pin_memory=task["device"] != "cpu", save_strategy="no",
        report_to="none", disable_tqdm=True, logging_strategy="no",
    )  # fmt: skip


def train(task: dict[str, Any], folder: Path, setting: Setting, out: Path | None) -> dict[str, Any]:
    """Train as the task says; the clock runs from the first batch to the last update."""
    load = _unsloth_model if setting.library == "unsloth" else _transformers_model
    model, tokenizer = load(task, folder, setting)
    import torch
    from datasets import Dataset
    from torch.utils.data import DataLoader
    from transformers import TrainerCallback
    from trl import SFTTrainer

    ends: list[float] = []

    class Clock(TrainerCallback):
        def on_train_begin(self, *given: Any, **named: Any) -> None:
            ends.append(time.perf_counter())

        def on_step_end(self, *given: Any, **named: Any) -> None:
            if task["device"] == "cuda":
                torch.cuda.synchronize()
            ends.append(time.perf_counter())

    parts = min(setting.parts, min(len(step) for step in task["steps"]))
    micro_batches = [part for step in task["steps"] for part in parts_of(step, parts)]

    class InOrder(SFTTrainer):
        """The given rows in the given steps, where the trainer would take a fixed number of rows at random."""

        def get_train_dataloader(self) -> Any:
            loader = DataLoader(self.train_dataset, batch_sampler=micro_batches, collate_fn=self.data_collator)
            return self.accelerator.prepare(loader)

    with tempfile.TemporaryDirectory() as work:
        trainer = InOrder(
            model, args=_config(task, setting, parts, work), train_dataset=Dataset.from_list(task["rows"]),
            processing_class=tokenizer, callbacks=[Clock()],
        )  # fmt: skip
        loss = trainer.train().training_loss
        if out:
            trainer.save_model(str(out))
    seconds = [end - start for start, end in pairwise(ends)]
    tokens = [sum(len(task["rows"][row]["input_ids"]) - 1 for row in step) for step in task["steps"]]
    gpu = torch.cuda.max_memory_reserved() if task["device"] == "cuda" else None
    return {"step_seconds": seconds, "step_tokens": tokens, "loss": loss, "gpu_memory": gpu}


def main() -> int:
    """Train once and print what it took."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("task", type=Path)
    parser.add_argument("setting", type=json.loads)
    parser.add_argument("--steps", type=int, help="only the first so many steps")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    task = json.loads((given.task / "task.json").read_text(encoding="utf-8"))
    task["steps"] = task["steps"][: given.steps]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL advises attention kernels that a processor does not have
        print(json.dumps(train(task, given.task, Setting(**given.setting), given.out)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
