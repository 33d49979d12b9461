"""Packed documents against the same documents alone, on random models of both embedded shapes."""

import inspect

import pytest
import torch

from assay.model import attention
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


def varlen_reference(query, key, value, starts, key_starts, longest, longest_key, *, scale, window_size, enable_gqa):
    """What `torch.nn.attention.varlen.varlen_attn` documents, written out for a CPU."""
    assert starts.dtype == key_starts.dtype == torch.int32
    assert longest == longest_key == int(starts.diff().max())
    assert enable_gqa == (query.shape[1] != key.shape[1])
    out = torch.empty_like(query)
    groups = query.shape[1] // key.shape[1]
    for begin, end in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
        q = query[begin:end].transpose(0, 1)
        k, v = (t[begin:end].transpose(0, 1).repeat_interleave(groups, 0) for t in (key, value))
        behind = torch.arange(end - begin)[:, None] - torch.arange(end - begin)[None]
        hidden = behind < -window_size[1]
        if window_size[0] >= 0:
            hidden |= behind > window_size[0]
        scores = (q @ k.transpose(1, 2) * scale).masked_fill(hidden, -torch.inf)
        out[begin:end] = (scores.softmax(-1) @ v).transpose(0, 1)
    return out


@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
def test_flash_attention_gets_the_same_documents(monkeypatch, key_heads, window):
    torch.manual_seed(0)
    lengths = [5, 1, 8]
    shapes = [(1, heads, sum(lengths), 8) for heads in (4, key_heads, key_heads)]
    starts = packed_inputs([range(n) for n in lengths], torch.device("cpu"))["document_starts"]

    def results(**which):
        inputs = [torch.randn(s, generator=torch.Generator().manual_seed(7)).requires_grad_() for s in shapes]
        settings = {"scaling": 0.3, "document_lengths": lengths, "sliding_window": window}
        found, _ = packed_attention(torch.nn.Module(), *inputs, None, **settings, **which)
        found.square().sum().backward()
        return found, *(t.grad for t in inputs)

    loop = results(document_starts=starts)
    monkeypatch.setattr(attention, "varlen_attn", varlen_reference)
    monkeypatch.setattr(attention, "_flash_runs", lambda query, dropout: True)
    for found, expected in zip(results(document_starts=starts), loop, strict=True):
        torch.testing.assert_close(found, expected)


def test_the_reference_takes_what_torchs_function_takes():
    theirs = inspect.signature(attention.varlen_attn).parameters
    assert {"scale", "window_size", "enable_gqa"} <= theirs.keys()
    assert list(theirs)[3:7] == ["cu_seq_q", "cu_seq_k", "max_q", "max_k"]


def test_a_cpu_has_no_flash_attention_over_documents():
    assert not attention._flash_runs(torch.zeros(1, 2, 3, 8, dtype=torch.bfloat16), 0.0)


def test_the_result_lies_as_the_next_layer_wants_it():
    q = torch.randn(1, 5, 2, 8).transpose(1, 2)
    found, _ = packed_attention(torch.nn.Module(), q, q, q, None, document_lengths=[2, 3])
    assert found.is_contiguous()
    assert found.shape == (1, 5, 2, 8)
