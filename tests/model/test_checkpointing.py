"""Recomputed layers against kept ones: the same bits, less memory, and nothing left behind."""

from contextlib import nullcontext

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from assay.core.errors import InputError
from assay.model import adapters, checkpointing
from assay.model.attention import packed, packed_inputs
from assay.model.checkpointing import recompute
from assay.model.kernels import speed_up
from assay.model.load import _random
from assay.model.registry import PRESETS

DOCUMENTS = [[5, 6, 7, 8, 9], list(range(20, 50)), [3, 3, 3]]
CPU = torch.device("cpu")


def model_for(preset, kind="lora"):
    model = _random(PRESETS[preset])
    model.requires_grad_(False)
    model = adapters.attach(
        model, kind=kind, rank=4, alpha=8.0, dropout=0.3 if kind != "full" else 0.0, targets="all-linear",
        rslora=False, seed=1,
    )  # fmt: skip
    speed_up(model)
    return model.train()


def gradients(model, how):
    for p in model.parameters():
        p.grad = None
    torch.manual_seed(4)
    with packed(adapters.causal(model)), how:
        hidden = adapters.causal(model).base_model(**packed_inputs(DOCUMENTS, CPU)).last_hidden_state
        hidden.square().sum().backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("offload", [False, True], ids=["", "offload"])
@pytest.mark.parametrize("kind", ["lora", "dora", "full"])
@pytest.mark.parametrize("preset", ["llama-tiny", "gpt2-tiny"])
def test_gradients_have_the_same_bits_dropout_included(preset, kind, offload):
    model = model_for(preset, kind)
    kept = gradients(model, nullcontext())
    again = gradients(model, recompute(model, offload=offload))
    assert kept.keys() == again.keys()
    assert all(torch.equal(kept[name], again[name]) for name in kept)


def saved(model, how):
    """Numbers kept between the passes, weights aside."""
    weights = {p.data_ptr() for p in model.parameters()}
    kept = {}

    def pack(tensor):
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor
        return tensor

    with packed(adapters.causal(model)), saved_tensors_hooks(pack, lambda t: t), how:
        adapters.causal(model).base_model(**packed_inputs(DOCUMENTS, CPU))
    return sum(t.numel() for t in kept.values())


def test_one_hidden_state_per_layer_is_kept():
    model = model_for("llama-tiny")
    all_of_it, inputs_only = saved(model, nullcontext()), saved(model, recompute(model))
    assert inputs_only < all_of_it / 4


def test_offloaded_inputs_pass_through_main_memory(monkeypatch):
    moved = []

    class Spy(saved_tensors_hooks):
        def __init__(self, pin_memory):
            assert pin_memory is False
            super().__init__(lambda t: moved.append(t.shape) or t, lambda t: t)

    monkeypatch.setattr(checkpointing, "save_on_cpu", Spy)
    model = model_for("llama-tiny")
    gradients(model, recompute(model, offload=True))
    width = PRESETS["llama-tiny"]["hidden_size"]
    layers = PRESETS["llama-tiny"]["num_hidden_layers"]
    assert moved.count((1, sum(map(len, DOCUMENTS)), width)) == layers


def test_layers_run_once_more_only_inside_the_block_and_only_in_training():
    model = model_for("llama-tiny")
    layer = adapters.causal(model).base_model.layers[0]
    calls = []
    layer.mlp.register_forward_pre_hook(lambda *_: calls.append(1))
    gradients(model, recompute(model))
    assert len(calls) == 2
    gradients(model, nullcontext())
    assert len(calls) == 3
    with packed(adapters.causal(model)), recompute(model.eval()):
        adapters.causal(model).base_model(**packed_inputs(DOCUMENTS, CPU))
    assert len(calls) == 4
    assert not layer.gradient_checkpointing


def test_a_model_without_such_layers_is_refused():
    with pytest.raises(InputError, match=r"train\.checkpointing"), recompute(torch.nn.Linear(2, 2)):
        pass
