"""The same documents give the same gradient, however they are packed, accumulated, cut into chunks or computed."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from assay.model import adapters, loss, memory
from assay.model.attention import packed
from assay.model.kernels import speed_up
from assay.model.load import _random
from assay.model.registry import PRESETS
from assay.model.score import hidden_states

KINDS = ["lora", "dora", "full"]
random = np.random.default_rng(7)
DOCUMENTS = [random.integers(0, 257, n + 1) for n in (9, 30, 17, 2, 25, 12, 40, 8)]


def model_for(preset, kind, *, fast=True, dtype=torch.float32):
    """A random model with its adapter off its start, where B is zero and A gets no gradient."""
    model = _random(PRESETS[preset])
    model.requires_grad_(False)
    model.to(dtype)
    model = adapters.attach(
        model, kind=kind, rank=4, alpha=8.0, dropout=0.0, targets="all-linear", rslora=False, seed=1
    )
    generator = torch.Generator().manual_seed(2)
    for name, p in model.named_parameters():
        if "lora_B" in name:
            p.data = (0.05 * torch.randn(p.shape, generator=generator)).to(dtype)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # GPT-2 brings dropout of its own, which other rows would draw otherwise
    if fast:
        speed_up(model)
    return model.train()


def gradients(model, rows):
    """The loss in nats summed over all rows, and its gradient, one backward pass per row, as the loop does it."""
    model.zero_grad()
    head = adapters.causal(model).get_output_embeddings().weight
    total = 0.0
    with packed(adapters.causal(model)):
        for row in rows:
            documents = [DOCUMENTS[i] for i in row]
            hidden = hidden_states(model, [d[:-1] for d in documents], torch.device("cpu"))
            nats = loss.summed_nll(hidden, head, torch.from_numpy(np.concatenate([d[1:] for d in documents])))
            nats.backward()
            total += float(nats.detach())
    return {"loss": torch.tensor(total)} | {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


def plain(model):
    """One document at a time, transformers' attention, whole logits, torch's loss."""
    model.zero_grad()
    total = 0.0
    for document in map(torch.from_numpy, DOCUMENTS):
        logits = model(input_ids=document[None, :-1]).logits[0]
        nats = functional.cross_entropy(logits, document[1:], reduction="sum")
        nats.backward()
        total += float(nats.detach())
    return {"loss": torch.tensor(total)} | {n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad}


def distance(found, expected):
    """The largest relative difference in norm over all tensors."""
    assert found.keys() == expected.keys()
    return max(float((found[n].float() - e.float()).norm() / e.float().norm()) for n, e in expected.items())


ONE_ROW = [list(range(8))]
EACH_ALONE = [[i] for i in range(8)]
FP32 = 2e-5  # relative: sums of some hundred terms in another order


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("preset", ["llama-tiny", "gpt2-tiny"])
def test_everything_of_ours_equals_nothing_of_ours(preset, kind):
    """Packing, documents' attention, chunks, fast layers against transformers, PEFT and torch alone."""
    expected = plain(model_for(preset, kind, fast=False))
    assert distance(gradients(model_for(preset, kind), ONE_ROW), expected) < FP32


@pytest.mark.parametrize("kind", KINDS)
def test_eight_rows_of_one_equal_one_row_of_eight(kind):
    model = model_for("llama-tiny", kind)
    assert distance(gradients(model, EACH_ALONE), gradients(model, ONE_ROW)) < FP32


MODEL = model_for("llama-tiny", "lora")


@given(
    st.permutations(range(8)).flatmap(
        lambda order: st.sets(st.integers(1, 7)).map(
            lambda cuts: [list(part) for part in np.split(np.array(order), sorted(cuts)) if len(part)]
        )
    )
)
@settings(max_examples=6)
def test_any_rows_in_any_order_give_the_same(rows):
    assert distance(gradients(MODEL, rows), gradients(MODEL, ONE_ROW)) < FP32


@pytest.mark.parametrize("kind", KINDS)
def test_small_chunks_of_the_loss_equal_one(kind, monkeypatch):
    model = model_for("llama-tiny", kind)
    whole = gradients(model, ONE_ROW)
    monkeypatch.setitem(memory.CHUNK_BYTES, "cpu", 4 * 257 * 7)
    assert memory.chunk_rows(257, "cpu") == 7
    assert distance(gradients(model, ONE_ROW), whole) < FP32


@pytest.mark.parametrize("kind", KINDS)
def test_bf16_stays_within_five_percent_of_fp32(kind):
    """From the same weights (rounded to bf16 once): 2^-8 per product, through two layers and back."""
    half = model_for("llama-tiny", kind, dtype=torch.bfloat16)
    exact = model_for("llama-tiny", kind, dtype=torch.bfloat16).float()
    found, expected = gradients(half, ONE_ROW), gradients(exact, ONE_ROW)
    assert abs(found["loss"] / expected["loss"] - 1) < 0.002
    assert distance(found, expected) < 0.05
