"""What is trained: low-rank adapters in PEFT's format, or all weights. The difference lies here alone."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from assay.core.errors import GuardError, InputError, first_line
from assay.core.files import directory_atomic, write_text
from assay.core.machine import out_of_memory
from assay.model.load import DTYPES, settled, silent
from assay.text.tokenizer import TextTokenizer

ADAPTER_FILE = "adapter_model.safetensors"
MODEL_FILE = "model.safetensors"


def attach(
    model: PreTrainedModel,
    *,
    kind: str,
    rank: int,
    alpha: float,
    dropout: float,
    targets: str | Sequence[str],
    rslora: bool,
    seed: int,
) -> PreTrainedModel | PeftModel:
    """Make a loaded base trainable: add adapters to it while it stays frozen, or thaw all of it (`full`).

    The output of a pair A, B is scaled by alpha ÷ rank (LoRA, arXiv 2106.09685), with `rslora` by alpha ÷ √rank (arXiv
    2312.03732). `qlora` is the same beside weights in 4 bit; `dora` trains the length of each output's weights, too
    (arXiv 2402.09353). Adapters take the base's dtype; the optimizer keeps fp32 master weights (`stages/train/optim`).

    Raises:
        InputError: a named target is no linear layer of this model.
    """
    if kind == "full":
        model.requires_grad_(True)
        return model
    names = target_names(model, targets)
    config = LoraConfig(
        r=rank,
        lora_alpha=cast(int, alpha),  # PEFT divides it by the rank: any number will do
        lora_dropout=dropout,
        target_modules=names,
        fan_in_fan_out=any(isinstance(m, Conv1D) for _, m in _linears(model)),
        use_rslora=rslora,
        use_dora=kind == "dora",
        task_type="CAUSAL_LM",
    )
    with torch.random.fork_rng(devices=[]), silent():
        torch.manual_seed(seed)
        adapted = cast(PeftModel, get_peft_model(model, config, autocast_adapter_dtype=False))
    return _in_dtype_of(model, adapted)


def _in_dtype_of(model: PreTrainedModel, adapted: PeftModel) -> PeftModel:
    """Adapters in the base's dtype: beside weights in 4 bit, which have none, PEFT leaves them in fp32."""
    dtype = cast(Tensor, model.get_input_embeddings().weight).dtype
    for name, parameter in adapted.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(dtype)
    return adapted


def _linears(model: PreTrainedModel) -> list[tuple[str, nn.Module]]:
    head = model.get_output_embeddings()
    return [(n, m) for n, m in model.named_modules() if isinstance(m, (nn.Linear, Conv1D)) and m is not head]


def target_names(model: PreTrainedModel, targets: str | Sequence[str]) -> list[str]:
    """The layers to adapt, as PEFT's name endings: `all-linear`, `attention`, or names to look up.

    Raises:
        InputError: no layer is meant by them.
    """
    names = [name for name, _ in _linears(model)]
    others = {name for name, _ in model.named_modules()} - set(names)
    everything = _endings(names, others)
    if targets == "all-linear":
        return everything
    if targets == "attention":
        # a fused projection stands in the attention's module as well: qkv_proj, query_key_value, c_attn, Wqkv
        chosen = [name for name in names if re.search(r"attn|attention", name.rpartition(".")[0])]
        if chosen:
            return _endings(chosen, others | set(names) - set(chosen))
        raise InputError(
            "this model has no layer with attention in its name",
            where="adapter.targets: attention",
            fix=f"name the layers: some of {', '.join(everything)}",
        )
    known = set(everything) | {end.rpartition(".")[2] for end in everything}
    for target in targets:
        if target not in known:
            near = difflib.get_close_matches(target, sorted(known), n=1, cutoff=0.0)[0]
            raise InputError(
                f"the base has no linear layer named {target!r}",
                where="adapter.targets",
                fix=f"did you mean {near}? Layers: {', '.join(sorted(known))}",
            )
    return sorted(targets)


def _endings(chosen: Sequence[str], others: Collection[str]) -> list[str]:
    """The shortest endings, of two parts at least, that `chosen` have and no other module, the head among them, has."""
    for parts in range(2, 3 + max((name.count(".") for name in chosen), default=0)):
        endings = {".".join(name.split(".")[-parts:]) for name in chosen}
        if not any(f".{other}".endswith(f".{end}") for end in endings for other in others):
            break
    return sorted(endings)


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters by name, in the model's order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def module_of(parameter: str) -> str:
    """The module that a parameter belongs to: a LoRA pair counts as one, with DoRA's magnitudes."""
    return re.sub(r"\.lora_(A|B|magnitude_vector)\.default\.weight$|\.(weight|bias)$", "", parameter)


def causal(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The transformers model itself, with its adapters in it where there are any."""
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model


def save(model: PreTrainedModel | PeftModel, tokenizer: TextTokenizer, folder: Path, *, base: str) -> Path:
    """Save what was trained, atomically: an adapter as PEFT does, or the whole model with its tokenizer.

    Returns:
        The safetensors file with the weights.
    """
    with directory_atomic(folder) as target, silent():
        if isinstance(model, PeftModel):
            model.peft_config["default"].base_model_name_or_path = base
            model.save_pretrained(str(target), save_embedding_layers=False)
            config = json.loads((target / "adapter_config.json").read_text(encoding="utf-8"))
            config["target_modules"] = sorted(config["target_modules"])  # PEFT writes a set, in any order
            write_text(target / "adapter_config.json", json.dumps(config, indent=2, sort_keys=True) + "\n")
            (target / "README.md").unlink(missing_ok=True)  # PEFT's empty model card
        else:
            model.save_pretrained(target, max_shard_size="1TB")
            tokenizer.backend.save(str(target / "tokenizer.json"))
            write_text(target / "tokenizer_config.json", _tokenizer_config(tokenizer))
    return folder / (ADAPTER_FILE if isinstance(model, PeftModel) else MODEL_FILE)


def _tokenizer_config(tokenizer: TextTokenizer) -> str:
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None if tokenizer.bos is None else tokenizer.backend.id_to_token(tokenizer.bos),
        "eos_token": None if tokenizer.eos is None else tokenizer.backend.id_to_token(tokenizer.eos),
        "chat_template": tokenizer.chat_template,
    }
    return json.dumps({key: value for key, value in settings.items() if value is not None}, indent=2) + "\n"


def load_adapter(model: PreTrainedModel, folder: Path) -> PeftModel:
    """Put a saved adapter on its base, switched on and frozen.

    Raises:
        GuardError: `adapter-integrity`: the files are not a whole adapter of this base.
    """
    with _integrity("adapter", folder), silent():
        loaded = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
    loaded.eval()
    loaded.requires_grad_(False)
    return _in_dtype_of(model, loaded)


@contextmanager
def _integrity(what: str, folder: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        if out_of_memory(error):
            raise
        raise GuardError(
            "adapter-integrity",
            f"the saved {what} cannot be loaded: {first_line(error)}",
            where=str(folder),
            fix=f"restore the run's {what} files from a backup, or train again with --new",
        ) from error


def load_tuned(folder: Path, *, dtype: str, device: str) -> PreTrainedModel:
    """A fully fine-tuned model of a run.

    Raises:
        GuardError: `adapter-integrity`: the files are not a whole model.
    """
    from transformers import AutoModelForCausalLM

    with _integrity("model", folder), silent():
        model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
            folder, dtype=DTYPES[dtype], attn_implementation="sdpa", use_safetensors=True, local_files_only=True
        )
    return settled(model, dtype, device)


def saved_tensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file; empty where it is damaged."""
    try:
        return load_file(file)
    except (OSError, SafetensorError):
        return {}


def zero_b(tensors: dict[str, Tensor]) -> list[str]:
    """The LoRA B matrices that are all zero, as they are before the first step."""
    return [name for name, tensor in tensors.items() if "lora_B" in name and not bool(tensor.any())]


def expected_keys(model: PreTrainedModel | PeftModel) -> list[str]:
    """The names that a whole save of this model holds."""
    if isinstance(model, PeftModel):
        # "auto" would ask the Hub for the base by name
        return sorted(get_peft_model_state_dict(model, save_embedding_layers=False))
    return sorted(_untied(model))


def _untied(model: PreTrainedModel) -> list[str]:
    state = model.state_dict()
    tied = set(getattr(model, "all_tied_weights_keys", {}) or {})
    return [name for name in state if name not in tied]
