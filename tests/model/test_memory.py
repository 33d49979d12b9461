"""The arithmetic against what torch, transformers, PEFT and bitsandbytes really hold."""

import os
import subprocess
import sys

import bitsandbytes
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from assay.core.errors import InputError
from assay.model import adapters, loss, memory
from assay.model.memory import Work, predict
from assay.model.registry import PRESETS
from assay.model.shape import shape, trainable_parameters
from assay.stages.train.optim import OPTIMIZERS

LLAMA = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "vocab_size": 97, "max_position_embeddings": 64, "pad_token_id": 0,
    "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PLAIN = {key: LLAMA[key] for key in LLAMA if key not in ("num_key_value_heads", "intermediate_size")}
FAMILIES = {
    "llama": LLAMA | {"tie_word_embeddings": False},
    "mistral": LLAMA,
    "qwen2": LLAMA,
    "qwen3": LLAMA | {"head_dim": 16},
    "gemma": LLAMA | {"head_dim": 16},
    "gemma2": LLAMA | {"head_dim": 16},
    "phi3": LLAMA,
    "gpt2": {
        "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 97, "n_positions": 64, "bos_token_id": 1,
        "eos_token_id": 2,
    },
    "gpt_neox": PLAIN | {"intermediate_size": 48},
    "opt": PLAIN | {"word_embed_proj_dim": 32, "ffn_dim": 48},
}  # fmt: skip


def empty(family, settings):
    """A model of the family without storage: its sizes are all that counts."""
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings))


@pytest.mark.parametrize("family", FAMILIES)
def test_parameters_are_counted_exactly(family):
    assert (
        shape(FAMILIES[family] | {"model_type": family}).parameters == empty(family, FAMILIES[family]).num_parameters()
    )


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_of_presets_are_counted_exactly(preset):
    settings = {key: value for key, value in PRESETS[preset].items() if key != "model_type"}
    assert shape(PRESETS[preset]).parameters == empty(PRESETS[preset]["model_type"], settings).num_parameters()


def attached(model, kind, rank, targets):
    model.requires_grad_(False)
    return adapters.attach(model, kind=kind, rank=rank, alpha=8.0, dropout=0.0, targets=targets, rslora=False, seed=1)


@pytest.mark.parametrize("kind", ["lora", "dora"])
@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_are_counted_as_peft_makes_them(family, kind):
    s = shape(FAMILIES[family] | {"model_type": family})
    first, last = s.linears[0].name.split(".")[-1], s.linears[-1].name
    for targets in ("all-linear", "attention", [first], [first, last]):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **FAMILIES[family]))
        made = sum(p.numel() for p in adapters.trainable(attached(model, kind, 3, targets)).values())
        assert trainable_parameters(s, kind=kind, rank=3, targets=targets) == made, targets


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": None}, "config.json has none of num_hidden_layers, n_layer"),
        ({"hidden_size": "wide"}, "config.json has hidden_size: 'wide'"),
        ({"num_attention_heads": 0}, "config.json has num_attention_heads: 0"),
        ({"num_local_experts": 8}, "mixtures of experts cannot be planned"),
    ],
)
def test_a_config_that_cannot_be_planned_is_the_users_fault(change, words):
    with pytest.raises(InputError, match=words) as error:
        shape(PRESETS["llama-tiny"] | change)
    assert error.value.fix


def test_four_bits_take_what_bitsandbytes_takes():
    linear = bitsandbytes.nn.Linear4bit(1024, 2048, bias=False, quant_type="nf4", compress_statistics=True).to("cpu")
    held = linear.weight
    if held.quant_state is None:
        held = held._quantize("cpu")
    state = held.quant_state
    assert state.nested
    taken = held.nbytes + state.absmax.nbytes + state.state2.absmax.nbytes
    assert taken == pytest.approx(1024 * 2048 * memory.NF4, rel=1e-6)


@pytest.mark.parametrize("kind", ["full", "lora"])
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor"])
def test_the_optimizers_state_is_counted_exactly(kind, optimizer):
    s = shape(PRESETS["llama-tiny"])
    settings = {key: value for key, value in PRESETS["llama-tiny"].items() if key != "model_type"}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **settings))
    weights = list(adapters.trainable(attached(model, kind, 4, "all-linear")).values())
    for weight in weights:
        weight.grad = torch.ones_like(weight)
    made = OPTIMIZERS[optimizer](weights, 0.0)
    made.param_groups[0]["lr"] = 1e-4
    made.step()
    taken = sum(v.nbytes for entry in made.state.values() for v in entry.values() if torch.is_tensor(v) and v.dim())
    work = Work(kind, 4, "all-linear", 64, 64, "fp32", optimizer=optimizer)
    trained = trainable_parameters(s, kind=kind, rank=4, targets="all-linear")
    assert memory.optimizer(s, work, trained) == taken
    if optimizer == "adamw":
        assert taken == 8 * trained


def test_what_is_not_fp32_has_a_master():
    s = shape(PRESETS["llama-tiny"])
    plain, short = (memory.optimizer(s, Work("full", 0, "all-linear", 64, 64, p), 1000) for p in ("fp32", "bf16"))
    assert short - plain == 4 * 1000
    assert memory.optimizer(s, Work("full", 0, "all-linear", 64, 64, "fp32", optimizer="adamw_8bit"), 2560) == 5200


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_a_chunk_of_logits_is_the_losss(device):
    s = shape(PRESETS["distilgpt2"])
    rows = loss.chunk_rows(s.vocabulary, device)
    short = Work("lora", 4, "all-linear", 8 * rows, 64, "bf16", device=device)
    assert memory._chunk(s, short, short.tokens) == rows * s.vocabulary * (4 + 2)


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
@pytest.mark.parametrize("kind", ["full", "lora", "qlora", "dora"])
@pytest.mark.parametrize("optimizer", ["adamw", "adamw_8bit", "paged_adamw_8bit", "adafactor"])
def test_terms_add_up_to_the_highest_phase_within_its_interval(device, kind, optimizer):
    s = shape(PRESETS["smollm2-135m"])
    for checkpointing in (False, True):
        work = Work(
            kind, 8, "all-linear", 1024, 512, "bf16", optimizer=optimizer, checkpointing=checkpointing,
            four_bit=kind == "qlora", device=device,
        )  # fmt: skip
        terms, phases, low, high = predict(s, work)
        assert terms["total"] == sum(v for k, v in terms.items() if k != "total") == max(phases.values())
        assert low < terms["total"] < high
        assert predict(s, work, least_tokens=1024).low >= low


def test_products_in_bf16_are_kept_ready_on_a_processor_alone():
    s = shape(PRESETS["smollm2-135m"])
    for device, precision, there in (("cpu", "bf16", True), ("cpu", "fp32", False), ("cuda", "bf16", False)):
        assert (
            "products" in predict(s, Work("lora", 8, "all-linear", 1024, 512, precision, device=device)).terms
        ) is there


@pytest.mark.parametrize(("given", "then"), [(None, "64"), ("1024", "1024")])
def test_few_products_are_kept_unless_the_user_says_otherwise(given, then):
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    env = {k: v for k, v in os.environ.items() if k != name} | ({name: given} if given else {})
    code = f"import os, assay.model; print(os.environ[{name!r}])"
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == then


def test_each_saving_saves():
    s = shape(PRESETS["smollm2-135m"])
    full = Work("full", 8, "all-linear", 4096, 512, "bf16", device="cuda")
    lora = Work("lora", 8, "all-linear", 4096, 512, "bf16", device="cuda")
    order = [
        full,
        lora,
        Work("lora", 8, "all-linear", 4096, 512, "bf16", device="cuda", checkpointing=True),
        Work("qlora", 8, "all-linear", 4096, 512, "bf16", device="cuda", checkpointing=True, four_bit=True),
        Work(
            "qlora", 8, "all-linear", 4096, 512, "bf16", device="cuda", checkpointing=True, four_bit=True, offload=True
        ),
    ]
    needs = [predict(s, work).terms["total"] for work in order]
    assert needs == sorted(needs, reverse=True)
    assert len(set(needs)) == len(needs)


TINY = {
    "llama": PRESETS["llama-tiny"],
    "gpt2": PRESETS["gpt2-tiny"],
}


@pytest.mark.parametrize("kind", ["full", "lora", "dora"])
@pytest.mark.parametrize("family", TINY)
def test_what_the_backward_pass_keeps_is_counted(family, kind):
    s = shape(TINY[family])
    tokens = 128
    work = Work(kind, 4, "all-linear", tokens, tokens, "fp32")
    held = kept(TINY[family], work, layers=3) - kept(TINY[family], work, layers=2)
    assert tokens * memory._kept(s, work, memory.KEPT[s.layout.gated]) * 4 == pytest.approx(held, rel=0.02)


def kept(config, work, *, layers):
    """Bytes of all tensors that the engine's forward pass keeps, weights and buffers aside."""
    from assay.model.attention import packed
    from assay.model.kernels import speed_up
    from assay.model.load import _random
    from assay.model.score import hidden_states

    model = _random(config | {"num_hidden_layers" if "num_hidden_layers" in config else "n_layer": layers})
    model = attached(model, work.kind, work.rank, work.targets)
    speed_up(model)
    model.train()
    own = {t.untyped_storage().data_ptr() for t in (*model.parameters(), *model.buffers())}
    found, alive = {}, []

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            found[storage.data_ptr()] = storage.nbytes()
        alive.append(tensor)  # so that no address is used twice
        return tensor

    with packed(adapters.causal(model)), torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        hidden_states(model, [[1] * work.tokens], torch.device("cpu"))
    return sum(found.values())
