"""The arithmetic against the real models' own counts."""

import pytest

from assay.core.errors import InputError
from assay.model import adapters, memory
from assay.model.load import _random
from assay.model.registry import PRESETS


@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_are_counted_exactly(preset):
    model = _random(PRESETS[preset])
    assert memory.shape(PRESETS[preset]).parameters == model.num_parameters()


@pytest.mark.parametrize("preset", ["llama-tiny", "gpt2-tiny"])
@pytest.mark.parametrize("targets", ["all-linear", "attention"])
def test_adapters_are_counted_exactly(preset, targets):
    model = _random(PRESETS[preset])
    model.requires_grad_(False)
    adapted = adapters.attach(model, kind="lora", rank=5, alpha=8.0, dropout=0.0, targets=targets, seed=1)
    found = sum(p.numel() for p in adapters.trainable(adapted).values())
    shape = memory.shape(PRESETS[preset])
    assert memory.trainable_parameters(shape, kind="lora", rank=5, targets=targets) == found
    assert (
        memory.trainable_parameters(shape, kind="full", rank=5, targets=targets)
        == model.base_model.num_parameters() - found
    )


def test_the_total_is_the_sum_and_grows_with_the_row():
    shape = memory.shape(PRESETS["distilgpt2"])
    arguments = {"kind": "full", "trained": shape.parameters, "precision": "fp32"}
    small, large = (memory.predict(shape, **arguments, micro_tokens=n) for n in (256, 1024))
    assert small["total"] == sum(v for k, v in small.items() if k != "total")
    assert small["total"] < large["total"]
    assert small["optimizer"] == 8 * shape.parameters  # two fp32 moments
    assert (
        memory.predict(shape, **(arguments | {"precision": "bf16"}), micro_tokens=256)["optimizer"]
        == 12 * shape.parameters
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"num_hidden_layers": None}, "config.json has none of num_hidden_layers, n_layer"),
        ({"hidden_size": "wide"}, "config.json has hidden_size: 'wide'"),
        ({"num_attention_heads": 0}, "config.json has num_attention_heads: 0"),
    ],
)
def test_a_config_without_its_sizes_is_the_users_fault(change, words):
    with pytest.raises(InputError, match=words) as error:
        memory.shape(PRESETS["llama-tiny"] | change)
    assert error.value.fix
