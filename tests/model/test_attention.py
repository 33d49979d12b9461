"""Packed documents against the same documents alone, on random models of both embedded shapes."""

import pytest
import torch

from assay.model.attention import NAME, packed, packed_attention, packed_inputs
from assay.model.load import _random
from assay.model.registry import PRESETS


@pytest.fixture(params=["llama-tiny", "gpt2-tiny"])
def model(request):
    return _random(PRESETS[request.param]).eval()


DOCUMENTS = [[5, 6, 7, 8, 9], [10], list(range(20, 50)), [3, 3, 3]]


def test_packed_documents_equal_documents_alone(model):
    with packed(model), torch.no_grad():
        together = model(**packed_inputs(DOCUMENTS, torch.device("cpu"))).logits[0]
    with torch.no_grad():
        alone = torch.cat([model(input_ids=torch.tensor([d])).logits[0] for d in DOCUMENTS])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_no_document_sees_another(model):
    changed = [*DOCUMENTS[:2], [99, *DOCUMENTS[2][1:]], DOCUMENTS[3]]
    with packed(model), torch.no_grad():
        before = model(**packed_inputs(DOCUMENTS, torch.device("cpu"))).logits[0]
        after = model(**packed_inputs(changed, torch.device("cpu"))).logits[0]
    same = torch.ones(39, dtype=torch.bool)
    same[6:36] = False
    assert torch.equal(before[same], after[same])
    assert not torch.equal(before[~same], after[~same])


def test_the_attention_in_use_comes_back(model):
    before = model.config._attn_implementation
    with packed(model):
        assert model.config._attn_implementation == NAME
    assert model.config._attn_implementation == before


def test_a_sliding_window_is_the_band_of_a_full_mask():
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 12, 4) for _ in range(3))
    module = torch.nn.Module()
    found, _ = packed_attention(module, q, k, v, None, document_lengths=[12], sliding_window=3)
    distance = torch.arange(12)[:, None] - torch.arange(12)[None]
    weights = (q @ k.transpose(-1, -2) / 2).masked_fill((distance < 0) | (distance >= 3), -torch.inf).softmax(-1)
    torch.testing.assert_close(found, (weights @ v).transpose(1, 2))


def test_grouped_key_heads_are_repeated():
    torch.manual_seed(0)
    q, k, v = torch.randn(1, 4, 6, 8), torch.randn(1, 2, 6, 8), torch.randn(1, 2, 6, 8)
    grouped, _ = packed_attention(torch.nn.Module(), q, k, v, None, document_lengths=[2, 4])
    repeated, _ = packed_attention(
        torch.nn.Module(), q, k.repeat_interleave(2, 1), v.repeat_interleave(2, 1), None, document_lengths=[2, 4]
    )
    torch.testing.assert_close(grouped, repeated)
