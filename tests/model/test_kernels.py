"""Each fast layer against PEFT's own: outputs and every gradient, for all kinds of weights and methods."""

from copy import deepcopy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from assay.model import kernels

IN, OUT, TOKENS = 12, 20, 15


class Base(nn.Module):
    def __init__(self, layer):
        super().__init__()
        self.proj = layer

    def forward(self, x):
        return self.proj(x)


def dense(bias):
    return nn.Linear(IN, OUT, bias=bias)


def transposed(bias):
    layer = Conv1D(OUT, IN)
    layer.weight.data.normal_()
    layer.bias.data.normal_() if bias else layer.bias.data.zero_()
    return layer


def four_bit(bias):
    bitsandbytes = pytest.importorskip("bitsandbytes")
    layer = bitsandbytes.nn.Linear4bit(64, 128, bias=bias, compute_dtype=torch.float32, quant_type="nf4")
    return layer.to("cpu")  # quantises


def adapted(layer, *, dtype=torch.float32, rank=4, seed=0, **settings):
    """The layer under PEFT, with A, B and the magnitude away from their starts."""
    generator = torch.Generator().manual_seed(seed)
    model = get_peft_model(
        Base(layer), LoraConfig(r=rank, lora_alpha=6, target_modules=["proj"], fan_in_fan_out=isinstance(layer, Conv1D),
                                **settings),
        autocast_adapter_dtype=False,
    )  # fmt: skip
    for name, p in model.named_parameters():
        if "lora_" in name:
            p.data += 0.3 * torch.randn(p.shape, generator=generator).to(p.dtype)
    return model.to(dtype).train()


def results(model, x, slope, seed=5):
    """Output and gradients of x and of every trained parameter, dropout drawn from one seed."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    torch.manual_seed(seed)
    y = model(x)
    y.backward(slope)
    return {"y": y.detach(), "x": x.grad} | {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def both(model, dtype=torch.float32):
    fast = deepcopy(model)
    kernels.speed_up(fast)
    generator = torch.Generator().manual_seed(1)
    layer = model.base_model.model.proj
    x = torch.randn(3, 5, layer.in_features, generator=generator).to(dtype)
    slope = torch.randn(3, 5, layer.out_features, generator=generator).to(dtype)
    assert fast.base_model.model.proj.forward.func is kernels._forward
    return results(fast, x, slope), results(model, x, slope)


METHODS = {"lora": {}, "rslora": {"use_rslora": True}, "dora": {"use_dora": True}}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("share", [0.0, 0.4], ids=["", "dropout"])
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("rank", [1, 4, IN], ids=["1", "4", "full"])
@pytest.mark.parametrize("weight", [dense, transposed, four_bit])
def test_output_and_gradients_equal_pefts(weight, rank, bias, share, method):
    torch.manual_seed(0)
    found, expected = both(adapted(weight(bias), rank=rank, lora_dropout=share, **METHODS[method]))
    assert found.keys() == expected.keys()
    assert len(found) == (5 if method == "dora" else 4)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4 * float(value.abs().max()))


def test_full_rank_reaches_every_direction():
    """With A the identity and s = 1, B's gradient is that of the full weight: gᵀ x."""
    model = adapted(dense(False), rank=IN)
    kernels.speed_up(model)
    layer = model.base_model.model.proj
    layer.lora_A["default"].weight.data.copy_(torch.eye(IN))
    layer.scaling["default"] = 1.0
    x, slope = torch.randn(TOKENS, IN), torch.randn(TOKENS, OUT)
    found = results(model, x, slope)
    torch.testing.assert_close(found["base_model.model.proj.lora_B.default.weight"], slope.t() @ x)


@pytest.mark.parametrize("weight", [dense, transposed])
@pytest.mark.parametrize("share", [0.0, 0.4])
def test_gradients_are_those_of_the_output(weight, share):
    model = adapted(weight(True), dtype=torch.float64, lora_dropout=share)
    kernels.speed_up(model)
    trained = [p for p in model.parameters() if p.requires_grad]

    def output(x, *weights):
        torch.manual_seed(3)
        return model(x)

    x = torch.randn(2, IN, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(output, (x, *trained))


def test_doras_gradients_are_those_of_the_output_where_the_norm_stands_still():
    model = adapted(dense(True), dtype=torch.float64, use_dora=True)
    kernels.speed_up(model)
    magnitude = model.base_model.model.proj.lora_magnitude_vector["default"].weight
    x = torch.randn(2, IN, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, m: model(x), (x, magnitude))


def test_doras_norms_are_those_of_the_whole_weight():
    generator = torch.Generator().manual_seed(2)
    w, a, b = (torch.randn(s, generator=generator) for s in ((OUT, IN), (4, IN), (OUT, 4)))
    found = kernels._row_norms(w, w.square().sum(1), a, b, 1.7)
    torch.testing.assert_close(found, (w + 1.7 * b @ a).norm(dim=1))


def test_norms_that_cancel_stay_positive():
    w = torch.randn(OUT, 4, generator=torch.Generator().manual_seed(2))
    assert (kernels._row_norms(w, w.square().sum(1), torch.eye(4), -w, 1.0) > 0).all()


@pytest.mark.parametrize("method", METHODS)
def test_bf16_is_as_near_to_fp32_as_pefts_path(method):
    """Every product is rounded to bf16 (relative 2^-8): within 2 % of fp32 in norm, and not behind PEFT by a tenth."""
    torch.manual_seed(0)
    half = adapted(dense(True), dtype=torch.bfloat16, lora_dropout=0.0, **METHODS[method])
    exact = results(deepcopy(half).float(), *(t.float() for t in inputs_of(half)))
    found, theirs = both(half, torch.bfloat16)
    for name, value in exact.items():
        error, reference = ((r[name].float() - value).norm() / value.norm() for r in (found, theirs))
        assert error < 0.02
        assert error < 1.1 * reference + 0.002


def inputs_of(model):
    generator = torch.Generator().manual_seed(1)
    layer = model.base_model.model.proj
    shapes = ((3, 5, layer.in_features), (3, 5, layer.out_features))
    return [torch.randn(s, generator=generator).bfloat16() for s in shapes]


def test_fp32_adapters_on_a_bf16_base_keep_their_dtype():
    model = adapted(dense(False))
    model.base_model.model.proj.base_layer.bfloat16()
    kernels.speed_up(model)
    found = results(model, torch.randn(TOKENS, IN).bfloat16(), torch.randn(TOKENS, OUT).bfloat16())
    assert found["y"].dtype == found["x"].dtype == torch.bfloat16
    assert all(found[n].dtype == torch.float32 for n in found if "lora_" in n)


def test_only_inputs_and_narrow_products_are_kept():
    model = adapted(dense(False), rank=2)
    kernels.speed_up(model)
    kept = {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.setdefault(t.data_ptr(), t), lambda t: t):
        model(torch.randn(TOKENS, IN, requires_grad=True))
    parameters = {p.data_ptr() for p in model.parameters()}
    assert sorted(t.numel() for p, t in kept.items() if p not in parameters) == [2 * TOKENS, IN * TOKENS]


@pytest.mark.parametrize("method", METHODS)
def test_switched_off_and_merged_layers_are_pefts(method):
    model = adapted(dense(True), **METHODS[method]).eval()
    x = torch.randn(TOKENS, IN)
    plain = model.base_model.model.proj.base_layer(x)
    kernels.speed_up(model)
    on = model(x)
    with model.disable_adapter():
        assert torch.equal(model(x), plain)
    assert not torch.allclose(on, plain)
    model.merge_adapter()
    torch.testing.assert_close(model(x), on, rtol=1e-4, atol=1e-5)
    model.unmerge_adapter()
    torch.testing.assert_close(model(x), on, rtol=1e-4, atol=1e-5)


def test_a_changed_scale_counts():
    model = adapted(dense(False)).eval()
    fast = deepcopy(model)
    kernels.speed_up(fast)
    x = torch.randn(TOKENS, IN)
    for m in (model, fast):
        m.base_model.model.proj.set_scale("default", 3.0)
    torch.testing.assert_close(fast(x), model(x))


def test_unknown_layers_keep_pefts_forward():
    trained_bias = adapted(dense(True), bias="lora_only")
    own_bias = adapted(dense(True), lora_bias=True)
    for model in (trained_bias, own_bias):
        kernels.speed_up(model)
        assert "forward" not in vars(model.base_model.model.proj)


def test_saved_names_do_not_change():
    model = adapted(dense(True), use_dora=True)
    before = list(model.state_dict())
    kernels.speed_up(model)
    assert list(model.state_dict()) == before


@torch.no_grad()
def test_a_weight_that_bitsandbytes_laid_out_anew_is_laid_out_back():
    functions = pytest.importorskip("bitsandbytes").functional
    model = adapted(four_bit(False)).eval()
    kernels.speed_up(model)
    weight = model.base_model.model.proj.base_layer.weight
    x = torch.randn(TOKENS, 64)
    before = model(x)
    weight.data, weight.quant_state = functions._convert_weight_packed_for_cpu(weight.data, weight.quant_state)
    assert weight.quant_state.packing_format_for_cpu
    assert (model(x) - before).norm() < 2**-7 * before.norm()  # its layout keeps the blocks' scales in bf16


def test_a_merged_layer_keeps_pefts_forward():
    model = adapted(dense(True), use_dora=True).eval()
    model.merge_adapter()
    kernels.speed_up(model)
    assert "forward" not in vars(model.base_model.model.proj)
