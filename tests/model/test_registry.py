import json
import socket

import pytest
from safetensors.torch import save_file
from torch import zeros

from assay.core.errors import InputError, MachineError
from assay.model.registry import ALIASES, PRESETS, locate, model_rows


def test_the_alias_names_its_package_by_hash(tmp_path):
    found = locate("smollm2-135m-instruct-q4", tmp_path)
    assert found.kind == "alias"
    assert found.hash.startswith(ALIASES["smollm2-135m-instruct-q4"].sha256)
    assert found.folder is None
    assert "not the upstream" in found.note


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_found_and_listed(preset, tmp_path):
    assert locate(f"scratch:{preset}", tmp_path).config["model_type"] in ("llama", "gpt2", "mistral")
    assert f"scratch:{preset}" in [row["name"] for row in model_rows(tmp_path)]


def test_a_scratch_model_may_take_a_real_tokenizer(tmp_path):
    plain = locate("scratch:gpt2-tiny", tmp_path)
    real = locate("scratch:gpt2-tiny@smollm2-135m-instruct-q4", tmp_path)
    assert real.config["vocab_size"] == 49152
    assert real.hash != plain.hash


def test_a_misspelt_preset_is_answered_with_the_nearest(tmp_path):
    with pytest.raises(InputError, match="did you mean scratch:distilgpt2"):
        locate("scratch:distillgpt2", tmp_path)


def test_a_folders_hash_is_of_its_content(tmp_path):
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_file({"a": zeros(3)}, folder / "model.safetensors")
    first = locate(str(folder), tmp_path / "cache").hash
    assert locate(str(folder), tmp_path / "cache").hash == first
    save_file({"a": zeros(4)}, folder / "model.safetensors")
    assert locate(str(folder), tmp_path / "cache").hash != first


def test_folders_that_are_no_models_are_refused(tmp_path):
    with pytest.raises(InputError, match="is not there"):
        locate(str(tmp_path / "nowhere"), tmp_path)
    with pytest.raises(InputError, match=r"holds no config\.json"):
        locate(str(tmp_path), tmp_path)
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(InputError, match=r"pickled weights .* are never read"):
        locate(str(tmp_path), tmp_path)


def test_a_hub_id_without_a_network_is_the_machines_fault(tmp_path, no_network):
    with pytest.raises(MachineError, match="not in the local cache, and the Hub cannot be reached"):
        locate("some-org/some-model-that-is-not-here", tmp_path)
    with pytest.raises((MachineError, InputError), match="Did you mean smollm2-135m-instruct-q4"):
        locate("smollm2-135m-instruct", tmp_path)


def test_a_name_that_cannot_be_a_hub_id_is_the_users_fault(tmp_path):
    with pytest.raises(InputError, match="is not the name of a base model"):
        locate("not a/model/id", tmp_path)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """The Hub client pointed at a port where nothing listens, with an empty cache of its own."""
    import huggingface_hub.constants as constants

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.parametrize("content", [b"", b'{"model_type": ', b"[1]", b"null", b"\xff\xfe"])
def test_a_broken_config_is_named_with_the_fix(content, tmp_path):
    (tmp_path / "config.json").write_bytes(content)
    save_file({"a": zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match=r"its config\.json cannot be read") as error:
        locate(str(tmp_path), tmp_path / "cache")
    assert str(tmp_path / "config.json") in error.value.where
    assert error.value.fix


@pytest.mark.parametrize("content", [None, b'{"model_type": '])
def test_a_hub_repository_without_a_usable_config(content, tmp_path, monkeypatch):
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(tmp_path))
    with pytest.raises(InputError, match=r"config\.json") as error:
        locate("org/only-an-adapter", tmp_path / "cache")
    assert error.value.where.startswith("base: org/only-an-adapter")
    assert error.value.fix


def test_a_tokenizer_for_a_scratch_model_needs_its_size(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llama", "text_config": {"vocab_size": 5}}')
    save_file({"a": zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(InputError, match="has no vocab_size"):
        locate(f"scratch:llama-tiny@{tmp_path}", tmp_path / "cache")
