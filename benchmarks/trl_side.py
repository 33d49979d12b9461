"""TRL's own preparation of conversations for assistant-only loss, as its SFTTrainer does it."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

TEMPLATE = Path(__file__).with_name("chatml.jinja").read_text(encoding="utf-8")

ROLES = {"human": "user", "gpt": "assistant", "system": "system"}


def _messages(row: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": ROLES[said["from"]], "content": said["value"]} for said in row["conversations"]]}


def loaded(rows: Path, work: Path, limit: int | None, processes: int) -> Any:
    """The rows as TRL takes them: with assistant-only loss it refuses from/value, and it never maps human/gpt."""
    from datasets import load_dataset

    split = "train" if limit is None else f"train[:{limit}]"
    dataset = load_dataset("json", data_files=str(rows), split=split, cache_dir=str(work / "datasets"))
    return dataset.map(_messages, remove_columns=dataset.column_names, num_proc=processes)


def prepared(
    rows: Path,
    tokenizer_folder: Path,
    work: Path,
    *,
    max_length: int | None,
    limit: int | None = None,
    processes: int = 2,
) -> Any:
    """The dataset that TRL would train on: `input_ids` and `labels`; with a `max_length` cut and packed (bfd).

    The trainer wants a model; it gets a tiny one with random weights.
    """
    from datasets.utils.logging import disable_progress_bar
    from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig
    from transformers.utils import logging
    from trl import SFTConfig, SFTTrainer

    disable_progress_bar()
    logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    tokenizer.chat_template = TEMPLATE
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1,
    )  # fmt: skip
    settings = SFTConfig(
        output_dir=str(work / "out"), assistant_only_loss=True, packing=max_length is not None, max_length=max_length,
        dataset_num_proc=processes, report_to="none", use_cpu=True, bf16=False, shuffle_dataset=False,
    )  # fmt: skip
    dataset = loaded(rows, work, limit, processes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # attention kernels for packed rows do not matter here
        trainer = SFTTrainer(
            AutoModelForCausalLM.from_config(config), args=settings, train_dataset=dataset, processing_class=tokenizer
        )
    return trainer.train_dataset
