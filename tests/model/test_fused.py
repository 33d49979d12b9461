"""Element-wise layers against transformers' own, and the list of types against their source."""

import importlib
import inspect
import sys

import pytest
import torch
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import LlamaMLP, LlamaRMSNorm

from assay.core.errors import MachineError
from assay.model.fused import GATED, RMS_NORMS, fuse


def gradients(layer, x, slope):
    x = x.clone().requires_grad_()
    layer.zero_grad()
    y = layer(x)
    y.backward(slope)
    return [y.detach(), x.grad, *(p.grad for p in layer.parameters())]


def pair(make, dtype):
    layers = []
    for _ in range(2):
        torch.manual_seed(0)
        layers.append(make().to(dtype))
        for p in layers[-1].parameters():
            p.data.normal_()
    layers[1].load_state_dict(layers[0].state_dict())
    fuse(layers[1])
    assert "forward" in vars(layers[1])
    return layers


WIDTH = 6
CONFIG = LlamaConfig(hidden_size=WIDTH, num_attention_heads=1, intermediate_size=9)
LAYERS = {"norm": lambda: LlamaRMSNorm(WIDTH, eps=1e-3), "gated": lambda: LlamaMLP(CONFIG)}


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_output_and_gradients_equal_transformers(layer, dtype):
    plain, fast = pair(LAYERS[layer], dtype)
    x, slope = torch.randn(2, 7, WIDTH, dtype=dtype), torch.randn(2, 7, WIDTH, dtype=dtype)
    for found, expected in zip(gradients(fast, x, slope), gradients(plain, x, slope), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


@pytest.mark.parametrize("layer", LAYERS)
def test_bf16_stays_near_fp32(layer):
    """Within 2 % in norm: bf16 rounds each of a handful of results by up to 2^-9."""
    _, fast = pair(LAYERS[layer], torch.bfloat16)
    exact, _ = pair(LAYERS[layer], torch.float32)
    exact.load_state_dict(fast.state_dict())
    x, slope = torch.randn(2, 7, WIDTH).bfloat16(), torch.randn(2, 7, WIDTH).bfloat16()
    for found, expected in zip(gradients(fast, x, slope), gradients(exact, x.float(), slope.float()), strict=True):
        assert found.dtype == torch.bfloat16
        assert (found.float() - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize("layer", LAYERS)
def test_gradcheck(layer):
    _, fast = pair(LAYERS[layer], torch.float64)
    x = torch.randn(2, WIDTH, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, *weights: fast(x), (x, *fast.parameters()))


@pytest.mark.parametrize("name", [*RMS_NORMS, *GATED])
def test_every_listed_type_has_llamas_formula(name):
    family = name.removesuffix("RMSNorm").removesuffix("MLP").lower()
    layer = getattr(importlib.import_module(f"transformers.models.{family}.modeling_{family}"), name)
    reference = LlamaMLP if name in GATED else LlamaRMSNorm

    def body(cls):
        lines = inspect.getsource(cls.forward).splitlines()
        return [line.strip() for line in lines if not line.strip().startswith(("def ", "@"))]

    assert body(layer) == body(reference)


def test_another_activation_keeps_its_forward():
    layer = LlamaMLP(LlamaConfig(hidden_size=8, num_attention_heads=1, intermediate_size=8, hidden_act="gelu"))
    fuse(layer)
    assert "forward" not in vars(layer)


class LikeLigers:
    """Functions with the signatures of liger_kernel.ops (0.8), in torch's own operations."""

    class LigerRMSNormFunction:
        @staticmethod
        def apply(x, w, eps, offset=0.0, casting_mode="llama", in_place=True, row_mode=None):
            assert (offset, casting_mode, in_place) == (0.0, "llama", False)
            return w * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps))

    class LigerSiLUMulFunction:
        @staticmethod
        def apply(a, b, gate_multiplier=1.0, down_multiplier=1.0):
            return torch.nn.functional.silu(a) * b


@pytest.mark.parametrize("layer", LAYERS)
def test_ligers_kernels_are_given_what_they_take(layer, monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", LikeLigers)
    monkeypatch.setitem(sys.modules, "liger_kernel.ops", LikeLigers)
    torch.manual_seed(0)
    plain = LAYERS[layer]()
    x, slope = torch.randn(2, 7, WIDTH), torch.randn(2, 7, WIDTH)
    expected = gradients(plain, x, slope)
    fuse(plain, liger=True)
    for found, wanted in zip(gradients(plain, x, slope), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_missing_kernels_are_named_with_their_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "liger_kernel", None)
    with pytest.raises(MachineError, match="the package liger_kernel, which is not installed") as error:
        fuse(LlamaMLP(CONFIG), liger=True)
    assert error.value.fix == "pip install 'assay[cuda]'"
