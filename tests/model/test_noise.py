import math

import pytest
import torch

from assay.model.attention import packed, packed_inputs
from assay.model.load import _random
from assay.model.noise import neftune
from assay.model.registry import PRESETS

DOCUMENTS = [[5, 6, 7, 8] * 50, [3], [9, 9] * 20]
CPU = torch.device("cpu")


@pytest.fixture(params=["llama-tiny", "gpt2-tiny"])
def model(request):
    return _random(PRESETS[request.param]).train()


def seeded():
    return torch.Generator().manual_seed(11)


def embedded(model, alpha, generator):
    seen = []
    handle = model.get_input_embeddings().register_forward_hook(lambda m, i, out: seen.append(out))
    with packed(model), neftune(model, alpha, generator), torch.no_grad():
        # the hook above was there first, so it sees the embeddings before the noise: look again behind it
        late = model.get_input_embeddings().register_forward_hook(lambda m, i, out: seen.append(out))
        model.base_model(**packed_inputs(DOCUMENTS, CPU))
        late.remove()
    handle.remove()
    plain, noisy = seen
    return (noisy - plain)[0]


def test_noise_is_even_within_the_papers_bound_for_each_documents_own_length(model):
    alpha = 7.0
    noise = embedded(model, alpha, seeded()).split([len(d) for d in DOCUMENTS])
    for document, own in zip(DOCUMENTS, noise, strict=True):
        bound = alpha / math.sqrt(len(document) * own.shape[-1])
        assert own.abs().max() <= bound * (1 + 1e-4)
        assert own.abs().max() > 0.9 * bound
        assert abs(float(own.mean())) < 4 * bound / math.sqrt(3 * own.numel())
        assert float(own.square().mean()) == pytest.approx(bound**2 / 3, rel=0.5 if own.numel() < 500 else 0.1)


def test_the_generator_alone_decides(model):
    torch.manual_seed(0)
    one = embedded(model, 5.0, seeded())
    torch.manual_seed(1)
    two = embedded(model, 5.0, seeded())
    assert torch.equal(one, two)
    generator = seeded()
    assert torch.equal(embedded(model, 5.0, generator), one)
    assert not torch.equal(embedded(model, 5.0, generator), one)


def test_no_noise_in_evaluation_and_none_after_the_block(model):
    model.eval()
    with packed(model), torch.no_grad():
        plain = model.base_model(**packed_inputs(DOCUMENTS, CPU)).last_hidden_state
        with neftune(model, 5.0, seeded()):
            assert torch.equal(model.base_model(**packed_inputs(DOCUMENTS, CPU)).last_hidden_state, plain)
    assert not model.get_input_embeddings()._forward_hooks
    assert not model.base_model._forward_pre_hooks


def test_noise_reaches_the_trained_embeddings_as_their_own_gradient(model):
    """A sum: the gradient of an embedding is that of what comes out of it."""
    weight = model.get_input_embeddings().weight
    seen = []
    with packed(model), neftune(model, 5.0, seeded()):
        model.get_input_embeddings().register_forward_hook(lambda m, i, out: out.retain_grad() or seen.append(out))
        model.base_model(**packed_inputs([[1, 2, 3]], CPU)).last_hidden_state.square().sum().backward()
    torch.testing.assert_close(weight.grad[1:4], seen[0].grad[0])
