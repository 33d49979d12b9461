"""Bases in 4 bit: quantised here or in their files already, the same either way; other quantisations refused."""

import json
from dataclasses import replace

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit, get_4bit_type
from bitsandbytes.nn import Linear4bit
from transformers import AutoModelForCausalLM

from assay.core import optional
from assay.core.console import Console
from assay.core.errors import InputError, MachineError
from assay.model import quantise
from assay.model.load import DTYPES, _random, load_base
from assay.model.registry import PRESETS, BaseRef, in_four_bit, locate, trainable_as
from assay.text.tokenizer import byte_tokenizer

QUIET = Console(quiet=True)
IDS = torch.arange(40)[None] % 257


def _load(spec, tmp_path, dtype="fp32", four_bit=True):
    ref = locate(str(spec), tmp_path / "cache")
    return load_base(ref, tmp_path / "cache", dtype=dtype, device="cpu", console=QUIET, four_bit=four_bit)[0]


def _logits(model):
    with torch.no_grad():
        return model(input_ids=IDS).logits


def _saved(model, folder):
    model.save_pretrained(folder)
    byte_tokenizer().backend.save(str(folder / "tokenizer.json"))
    return folder


def _layers(model):
    return {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("preset", ["llama-tiny", "gpt2-tiny"])
def test_quantised_in_memory_from_files_and_in_the_files_already_are_one_model(preset, dtype, tmp_path):
    here = _load(f"scratch:{preset}", tmp_path, dtype)
    wide = _saved(_random(PRESETS[preset]), tmp_path / "wide")
    narrow = _saved(here, tmp_path / "narrow")
    assert in_four_bit(locate(str(narrow), tmp_path))
    assert not in_four_bit(locate(str(wide), tmp_path))
    expected = _logits(here)
    assert torch.equal(_logits(_load(wide, tmp_path, dtype)), expected)
    for four_bit in (True, False):
        assert torch.equal(_logits(_load(narrow, tmp_path, dtype, four_bit)), expected)
    unquantised = _logits(_load(wide, tmp_path, dtype, four_bit=False))
    assert 0.01 < (unquantised - expected).std() / unquantised.std() < 0.2


@pytest.mark.parametrize("preset", ["llama-tiny", "gpt2-tiny"])
def test_every_linear_layer_but_the_head_is_nf4_with_its_scales_in_8_bit(preset, tmp_path):
    model, wide = _load(f"scratch:{preset}", tmp_path), _random(PRESETS[preset])
    layers = _layers(model)
    assert len(layers) == 4 * (7 if preset == "llama-tiny" else 4)
    assert type(model.get_output_embeddings()) is torch.nn.Linear
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    for name, layer in layers.items():
        state = layer.weight.quant_state
        assert (state.quant_type, state.blocksize, state.nested, state.absmax.dtype) == ("nf4", 64, True, torch.uint8)
        original = wide.get_submodule(name).weight.detach()
        original = original.T if preset == "gpt2-tiny" else original
        assert state.shape == original.shape
        # the farthest that a value may lie from its nearest of the 16, in shares of its block's largest
        blocks = original.reshape(-1, 64)
        far = (dequantize_4bit(layer.weight, state).reshape(-1, 64) - blocks).abs() / blocks.abs().amax(1, keepdim=True)
        gap = get_4bit_type("nf4", device="cpu").diff().max() / 2
        assert far.max() < gap + 0.02


def test_a_checkpoint_computes_in_this_runs_dtype_forward_and_backward(tmp_path):
    folder = _saved(_load("scratch:llama-tiny", tmp_path, "bf16"), tmp_path / "narrow")
    model = _load(folder, tmp_path, "fp32")
    layer = model.model.layers[1].mlp.up_proj
    assert (layer.compute_dtype, layer.weight.quant_state.dtype) == (torch.float32, torch.float32)
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    layer(x).sum().backward()
    whole = dequantize_4bit(layer.weight, layer.weight.quant_state)
    assert torch.equal(layer(x), x @ whole.T)
    assert torch.equal(x.grad, torch.ones(3, 172) @ whole)


def test_a_look_without_gradients_leaves_the_weights_where_gradients_pass(tmp_path):
    model = _load("scratch:llama-tiny", tmp_path, "bf16")
    layers = _layers(model).values()
    assert not any(layer.support_avx512bf16_for_cpu for layer in layers)
    before = [layer.weight.clone() for layer in layers]
    _logits(model)
    assert all(torch.equal(a, layer.weight) for a, layer in zip(before, layers, strict=True))


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_weights_have_the_runs_dtype_and_rotary_frequencies_their_own(dtype, tmp_path):
    for four_bit in (True, False):
        model = _load("scratch:llama-tiny", tmp_path, dtype, four_bit)
        floating = {p.dtype for p in model.parameters() if p.is_floating_point()}
        assert floating == {DTYPES[dtype]}
        assert {b.dtype for b in model.buffers()} == {torch.float32}
        assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ({"quant_method": "gptq", "bits": 4}, "gptq"),
        ({"quant_method": "awq", "bits": 4}, "awq"),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, "bitsandbytes, 8 bit"),
        ({"quant_method": "compressed-tensors"}, "compressed-tensors"),
    ],
)
def test_another_quantisation_is_named_and_refused(said, named, tmp_path):
    config = PRESETS["llama-tiny"] | {"quantization_config": said}
    ref = BaseRef("org/other", "folder", "0", config, tmp_path)
    for refused in (
        lambda: trainable_as(ref, "qlora"),
        lambda: load_base(ref, tmp_path, dtype="fp32", device="cpu", console=QUIET, four_bit=True),
    ):
        with pytest.raises(InputError, match=rf"\({named}\)") as error:
            refused()
        assert error.value.where == "base: org/other"
        assert "adapter.kind: qlora" in str(error.value.fix)


def test_a_base_in_4_bit_is_for_qlora_alone(tmp_path):
    said = {"quant_method": "bitsandbytes", "_load_in_4bit": True, "load_in_4bit": True}
    ref = BaseRef("org/model-bnb-4bit", "hub", "0", PRESETS["llama-tiny"] | {"quantization_config": said}, tmp_path)
    assert trainable_as(ref, "qlora") is ref
    for kind in ("lora", "dora", "full"):
        with pytest.raises(InputError, match=f"in 4 bit, and adapter.kind is {kind}") as error:
            trainable_as(ref, kind)
        assert "--set adapter.kind=qlora" in str(error.value.fix)
    wide = replace(ref, config=PRESETS["llama-tiny"])
    assert all(trainable_as(wide, kind) is wide for kind in ("full", "lora", "qlora", "dora"))


def test_without_bitsandbytes_the_extra_is_named(tmp_path, monkeypatch):
    real = optional.importlib.import_module

    def missing(name):
        if name == "bitsandbytes":
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(optional.importlib, "import_module", missing)
    with pytest.raises(MachineError, match="bitsandbytes") as error:
        _load("scratch:llama-tiny", tmp_path)
    assert (error.value.exit_code, error.value.fix) == (4, "pip install 'assay[qlora]'")


def test_transformers_reads_what_was_quantised_here(tmp_path):
    model = _load("scratch:llama-tiny", tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(_saved(model, tmp_path / "narrow"), attn_implementation="sdpa")
    for layer in _layers(theirs).values():
        layer.support_avx512bf16_for_cpu = False  # else repacked for another precision
    assert torch.equal(_logits(theirs.eval()), _logits(model))
    said = json.loads((tmp_path / "narrow" / "config.json").read_text())["quantization_config"]
    assert (said["bnb_4bit_quant_type"], said["bnb_4bit_use_double_quant"]) == ("nf4", True)
    assert quantise.is_quantised(model.model.layers[0].mlp.up_proj.weight)
