"""Figures that others published, from the plan's arithmetic. Sizes are the public models' own config.json."""

import pytest

from assay.model.choose import Limits, changes, choose
from assay.model.devices import DEVICES
from assay.model.memory import RUNTIME, Work, predict
from assay.model.shape import shape

GIB = 2**30  # the peers' notebooks divide torch's reserved bytes by 1024³ and write GB
LLAMA_32 = {"model_type": "llama", "tie_word_embeddings": True, "vocab_size": 128256, "max_position_embeddings": 131072}
MODELS = {
    "Llama-3.2-1B": LLAMA_32 | {
        "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64,
    },
    "Llama-3.2-3B": LLAMA_32 | {
        "hidden_size": 3072, "intermediate_size": 8192, "num_hidden_layers": 28, "num_attention_heads": 24,
        "num_key_value_heads": 8, "head_dim": 128,
    },
    "Llama-3-8B": {
        "model_type": "llama", "tie_word_embeddings": False, "vocab_size": 128256, "max_position_embeddings": 8192,
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "Mistral-7B": {
        "model_type": "mistral", "tie_word_embeddings": False, "vocab_size": 32000, "max_position_embeddings": 32768,
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8,
    },
    "GPT-2": {
        "model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "n_positions": 1024,
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("Llama-3.2-1B", 1_235_814_400),
        ("Llama-3.2-3B", 3_212_749_824),
        ("Llama-3-8B", 8_030_261_248),
        ("Mistral-7B", 7_241_732_096),
        ("GPT-2", 124_439_808),
    ],
)
def test_the_sizes_are_the_published_ones(name, parameters):
    assert shape(MODELS[name]).parameters == parameters


def peers(name, rank):
    """The peer's setting: batch 2 at the limit of 2048, 4-bit base, 8-bit AdamW, activations offloaded, fp16."""
    work = Work(
        "qlora", rank, "all-linear", 2 * 2048, 2048, "fp16", optimizer="adamw_8bit", checkpointing=True, offload=True,
        four_bit=True, peer=True, device="cuda",
    )  # fmt: skip
    terms, _, low, high = predict(shape(MODELS[name]), work)
    # torch's reserved bytes do not hold the context
    return tuple((value - RUNTIME["cuda"]) / GIB for value in (low, terms["total"], high))


@pytest.mark.parametrize(
    ("name", "rank", "published"),
    [("Llama-3.2-1B", 16, 2.56), ("Llama-3.2-1B", 64, 2.96), ("Llama-3.2-1B", 64, 3.37), ("Llama-3.2-3B", 64, 4.43)],
)
def test_peaks_on_a_t4_within_fifteen_percent(name, rank, published):
    low, point, high = peers(name, rank)
    assert point == pytest.approx(published, rel=0.15)
    assert low < published < high


def test_an_8b_takes_six_to_eight():
    low, point, high = peers("Llama-3-8B", 16)
    assert low < 8 < high
    assert 6 * 0.85 < point < 8 * 1.15


def test_mistral_fits_a_t4():
    work = Work(
        "qlora", 8, ("q_proj", "k_proj", "v_proj", "o_proj"), 512, 512, "fp16", optimizer="paged_adamw_8bit",
        four_bit=True, device="cuda",
    )  # fmt: skip
    s, t4 = shape(MODELS["Mistral-7B"]), DEVICES["t4"]
    found = predict(s, work)
    assert found.high < t4.budget
    limits = Limits(
        longest=512, best=8192, text=None, budget=t4.budget, checkpointing="auto", offloads=True, batch=8192
    )
    assert choose(s, work, limits).fits
    full = Work("full", 0, "all-linear", 512, 512, "fp16", device="cuda")
    assert not choose(s, full, limits).fits
    found = changes(s, full, limits)
    assert [change.what for change in found][-1] == "adapter.kind=qlora"
    assert [change.fits for change in found] == [False] * (len(found) - 1) + [True]


def test_gpt2_on_an_m2():
    """785.27 MiB were asked for at once: whole logits in fp32 of 4,096 positions, and 4 × 512 are 2,048."""
    s, m2 = shape(MODELS["GPT-2"]), DEVICES["m2-16gb"]
    assert 4096 * s.vocabulary * 4 == pytest.approx(785.27 * 2**20, rel=1e-5)
    assert 2048 * s.vocabulary * 4 == pytest.approx(392.63 * 2**20, rel=1e-5)
    work = Work("full", 0, "all-linear", 2048, 512, "fp32", device="mps")
    whole = predict(s, Work("full", 0, "all-linear", 2048, 512, "fp32", device="mps", peer=True)).terms
    own = s.vocabulary * s.width * 4  # the gradient of the tied embedding
    assert whole["logits"] - own == 2048 * s.vocabulary * 4
    limits = Limits(
        longest=512, best=2048, text=None, budget=m2.budget, checkpointing="auto", offloads=False, batch=2048
    )
    chosen = choose(s, work, limits)
    assert chosen.fits
    assert chosen.work.tokens == 2048
    assert chosen.prediction.terms["logits"] - own <= 2 * 256 * 2**20  # whatever the batch
