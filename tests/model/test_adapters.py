"""Which layers are adapted in each family of models, and what PEFT makes of each kind of adapter once saved."""

import json
import math

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from assay.core.console import Console
from assay.core.errors import InputError
from assay.model import adapters, quantise
from assay.model.load import DTYPES, _random, load_base, settled
from assay.model.registry import PRESETS, locate
from assay.text.tokenizer import byte_tokenizer

QUIET = Console(quiet=True)
IDS = torch.arange(24)[None]
_SMALL = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GROUPED = _SMALL | {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64, "head_dim": 8}
_LLAMA = {f"self_attn.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")}
_GATED = {f"mlp.{name}" for name in ("gate_proj", "up_proj", "down_proj")}
_FUSED = {"query_key_value", "dense"}
_TWO = {"mlp.dense_h_to_4h", "mlp.dense_4h_to_h"}

# model type: its settings, its attention's projections, its other linear layers
FAMILIES = {
    "llama": (_GROUPED, _LLAMA, _GATED),
    "mistral": (_GROUPED, _LLAMA, _GATED),
    "qwen2": (_GROUPED, _LLAMA, _GATED),
    "qwen3": (_GROUPED, _LLAMA, _GATED),
    "gemma": (_GROUPED, _LLAMA, _GATED),
    "gemma3_text": (_GROUPED, _LLAMA, _GATED),
    "phi3": (
        _GROUPED | {"pad_token_id": 0},
        {"self_attn.qkv_proj", "self_attn.o_proj"},
        {"mlp.gate_up_proj", "mlp.down_proj"},
    ),
    "gpt2": (
        {"vocab_size": 97, "n_embd": 32, "n_layer": 2, "n_head": 4, "bos_token_id": 0, "eos_token_id": 0},
        {"attn.c_attn", "attn.c_proj"},
        {"mlp.c_fc", "mlp.c_proj"},
    ),
    "gpt_neox": (_SMALL | {"intermediate_size": 48}, {f"attention.{name}" for name in _FUSED}, _TWO),
    "falcon": (_SMALL | {"bos_token_id": 0, "eos_token_id": 0}, {f"self_attention.{name}" for name in _FUSED}, _TWO),
    "mpt": (
        {"vocab_size": 97, "d_model": 32, "n_layers": 2, "n_heads": 4},
        {"attn.Wqkv", "attn.out_proj"},
        {"ffn.up_proj", "ffn.down_proj"},
    ),
}


def _model(family, four_bit=False):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family][0]))
    if four_bit:
        model = quantise.quantised(model, torch.float32, "cpu")
    return settled(model, "fp32", "cpu")


def _attach(model, **settings):
    plain = {"kind": "lora", "rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": "all-linear", "rslora": False}
    return adapters.attach(model, **plain | {"seed": 1} | settings)


def _adapted(model):
    """The last two parts of the name of each layer that has an adapter, and how many there are."""
    names = [name for name, module in model.named_modules() if hasattr(module, "lora_A")]
    return {".".join(name.split(".")[-2:]) for name in names}, len(names)


@pytest.mark.parametrize("four_bit", [False, True])
@pytest.mark.parametrize("targets", ["attention", "all-linear"])
@pytest.mark.parametrize("family", list(FAMILIES))
def test_a_familys_layers(family, targets, four_bit):
    _, attention, others = FAMILIES[family]
    expected = attention if targets == "attention" else attention | others
    model = _attach(_model(family, four_bit), targets=targets, kind="qlora" if four_bit else "lora")
    assert _adapted(model) == (expected, 2 * len(expected))
    head = model.get_base_model().get_output_embeddings()
    assert type(head) is nn.Linear
    if targets == "all-linear":
        plain = [m for n, m in model.named_modules() if isinstance(m, nn.Linear | Conv1D) and ".lora_" not in n]
        assert len(plain) - len(expected) * 2 == 1  # the head alone is left


@pytest.mark.parametrize(
    ("family", "name"), [("phi3", "qkv_proj"), ("gpt_neox", "query_key_value"), ("gpt2", "c_attn")]
)
def test_a_fused_layer_may_be_named(family, name):
    (ending,), count = _adapted(_attach(_model(family), targets=[name]))
    assert ending.endswith(f".{name}")
    assert count == 2


@pytest.mark.parametrize("family", ["llama", "gpt_neox"])
def test_the_head_cannot_be_named(family):
    model = _model(family)
    head = next(name for name, module in model.named_modules() if module is model.get_output_embeddings())
    with pytest.raises(InputError, match=f"no linear layer named '{head}'"):
        _attach(model, targets=[head])


class _Awkward(nn.Module):
    """Names that end alike inside and outside of the attention, and a head that ends like a layer."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.ModuleDict({"attention": _part(), "mlp": _part()}) for _ in range(2))
        self.top = nn.ModuleDict({"output": nn.ModuleDict({"dense": nn.Linear(4, 4)})})

    def get_output_embeddings(self):
        return self.top["output"]["dense"]


def _part():
    return nn.ModuleDict({"output": nn.ModuleDict({"dense": nn.Linear(4, 4)})})


def test_an_ending_is_as_long_as_it_must_be():
    assert adapters.target_names(_Awkward(), "attention") == ["attention.output.dense"]
    assert adapters.target_names(_Awkward(), "all-linear") == ["attention.output.dense", "mlp.output.dense"]


KINDS = [
    ("lora", False, False),
    ("lora", True, False),
    ("dora", False, False),
    ("dora", True, False),
    ("qlora", False, True),
    ("qlora", True, True),
]


def _trained(model, **settings):
    adapted = _attach(model, **settings)
    generator = torch.Generator().manual_seed(2)
    for parameter in adapters.trainable(adapted).values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return adapted.eval()


# what PEFT itself calls of transformers, in a user's hands
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("family", ["llama", "gpt2", "phi3"])
@pytest.mark.parametrize(("kind", "rslora", "four_bit"), KINDS)
def test_a_peft_user_gets_the_same_logits(family, kind, rslora, four_bit, tmp_path):
    ours = _trained(_model(family, four_bit), kind=kind, rslora=rslora)
    file = adapters.save(ours, byte_tokenizer(), tmp_path / "adapter", base="x")
    theirs = PeftModel.from_pretrained(_model(family, four_bit), tmp_path / "adapter").eval()
    again = adapters.load_adapter(_model(family, four_bit), tmp_path / "adapter")
    with torch.no_grad():
        expected = ours(input_ids=IDS).logits
        assert torch.equal(theirs(input_ids=IDS).logits, expected)
        assert torch.equal(again(input_ids=IDS).logits, expected)
        with ours.disable_adapter():
            assert not torch.equal(ours(input_ids=IDS).logits, expected)
    said = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (said["use_rslora"], said["use_dora"], said["r"], said["lora_alpha"]) == (rslora, kind == "dora", 4, 8.0)
    saved = load_file(file)
    assert sorted(saved) == adapters.expected_keys(ours) == adapters.expected_keys(again)
    assert sum("lora_magnitude_vector" in key for key in saved) == (len(saved) // 3 if kind == "dora" else 0)


@pytest.mark.parametrize(("rslora", "scale"), [(False, 8.0 / 4), (True, 8.0 / math.sqrt(4))])
@pytest.mark.parametrize(("kind", "four_bit"), [("lora", False), ("qlora", True), ("dora", False)])
def test_the_scale_is_alpha_over_the_rank_or_over_its_root(kind, four_bit, rslora, scale):
    model = _attach(_model("llama", four_bit), kind=kind, rslora=rslora)
    layer = model.get_base_model().model.layers[0].mlp.up_proj
    assert layer.scaling["default"] == pytest.approx(scale)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_doras_layer_has_the_papers_columns(family):
    """W' = m · (W + sBA) ÷ ‖W + sBA‖, the norm over the inputs of each output (arXiv 2402.09353, equation 5)."""
    model = _trained(_model(family), kind="dora")
    name = "model.layers.1.mlp.up_proj" if family == "llama" else "transformer.h.1.mlp.c_fc"
    layer = model.get_base_model().get_submodule(name)
    x = torch.randn(5, 32, generator=torch.Generator().manual_seed(3))
    weight, bias = layer.base_layer.weight, layer.base_layer.bias
    weight = weight.T if family == "gpt2" else weight
    a, b, m = layer.lora_A["default"].weight, layer.lora_B["default"].weight, layer.lora_magnitude_vector["default"]
    moved = weight + 2.0 * b @ a
    whole = m.weight[:, None] * moved / moved.norm(dim=1, keepdim=True)
    expected = x @ whole.T + (0 if bias is None else bias)
    torch.testing.assert_close(layer(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["lora", "qlora", "dora"])
def test_an_untrained_adapter_changes_nothing_and_its_b_is_zero(kind, tmp_path):
    four_bit = kind == "qlora"
    model = _attach(_model("llama", four_bit), kind=kind).eval()
    with torch.no_grad():
        logits = model(input_ids=IDS).logits
        torch.testing.assert_close(logits, _model("llama", four_bit)(input_ids=IDS).logits, rtol=1e-5, atol=1e-6)
    saved = adapters.saved_tensors(adapters.save(model, byte_tokenizer(), tmp_path / "adapter", base="x"))
    assert sorted(adapters.zero_b(saved)) == sorted(key for key in saved if "lora_B" in key)
    assert len(adapters.zero_b(saved)) == 14


@pytest.mark.parametrize(("kind", "tensors"), [("lora", 2), ("qlora", 2), ("dora", 3)])
def test_a_module_counts_once_whatever_it_trains(kind, tensors):
    model = _attach(_model("llama", kind == "qlora"), kind=kind)
    names = list(adapters.trainable(model))
    modules = {adapters.module_of(name) for name in names}
    assert (len(names), len(modules)) == (14 * tensors, 14)
    assert all("lora" not in module for module in modules)


@pytest.mark.parametrize("dtype", list(DTYPES))
def test_adapters_have_the_bases_dtype_beside_4_bit_too(dtype, tmp_path):
    base, cache = locate("scratch:llama-tiny", tmp_path), tmp_path
    for four_bit in (False, True):
        model, _ = load_base(base, cache, dtype=dtype, device="cpu", console=QUIET, four_bit=four_bit)
        adapted = _attach(model, kind="qlora" if four_bit else "lora")
        assert {p.dtype for p in adapters.trainable(adapted).values()} == {DTYPES[dtype]}
        folder = tmp_path / str(four_bit)
        adapters.save(adapted, byte_tokenizer(), folder, base="x")
        model, _ = load_base(base, cache, dtype=dtype, device="cpu", console=QUIET, four_bit=four_bit)
        again = adapters.load_adapter(model, folder)
        assert {p.dtype for name, p in again.named_parameters() if "lora_" in name} == {DTYPES[dtype]}


def test_the_same_seed_starts_the_same_adapter_beside_4_bit_and_beside_whole_weights():
    starts = [
        adapters.trainable(_attach(_model("llama", four_bit), kind=kind))
        for kind, four_bit in (("lora", False), ("qlora", True))
    ]
    assert list(starts[0]) == list(starts[1])
    assert all(torch.equal(a, b) for a, b in zip(*(start.values() for start in starts), strict=True))


def test_full_thaws_everything():
    model = adapters.attach(
        _random(PRESETS["llama-tiny"]).requires_grad_(False),
        kind="full", rank=8, alpha=16.0, dropout=0.0, targets="all-linear", rslora=False, seed=1,
    )  # fmt: skip
    assert all(parameter.requires_grad for parameter in model.parameters())
