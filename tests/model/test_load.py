"""The embedded base and its tokenizer; what PEFT makes of a saved adapter; full fine-tunes saved and loaded."""

import json

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from assay.core.console import Console
from assay.core.errors import GuardError, InputError, MachineError
from assay.model import adapters
from assay.model.load import _random, fetch, load_base, load_tokenizer, missing_shards
from assay.model.registry import PRESETS, BaseRef, locate
from assay.text.tokenizer import byte_tokenizer

QUIET = Console(quiet=True)

# The ids of the upstream tokenizer: digits stand alone, and split white space before them from what follows.
PINNED = {
    "Hello, world!": [19556, 28, 905, 17],
    "In 1818 she wrote 3 letters.": [788, 216, 33, 40, 33, 40, 1041, 4150, 216, 35, 5073, 30],
    "Act  2\n\n3": [6868, 256, 34, 1116, 35],
    "x 12 345": [104, 216, 33, 34, 216, 35, 36, 37],
    "<|im_start|>user\n": [1, 4093, 198],
}


@pytest.fixture(scope="module")
def embedded(cache):
    return locate("smollm2-135m-instruct-q4", cache)


def test_the_embedded_tokenizer_gives_the_right_ids(embedded, cache):
    tokenizer = load_tokenizer(embedded, cache, QUIET)
    assert {text: tokenizer.encode(text) for text in PINNED} == PINNED
    assert (tokenizer.prefix, tokenizer.bos, tokenizer.eos) == ((), 1, 2)
    assert "<|im_start|>" in (tokenizer.chat_template or "")


def test_transformers_reads_the_same_tokenizer_from_the_folder(embedded):
    theirs = AutoTokenizer.from_pretrained(embedded.folder)
    assert {text: theirs(text)["input_ids"] for text in PINNED} == PINNED


def test_the_embedded_model_is_trainable_and_tied(embedded, cache):
    model, _ = load_base(embedded, cache, dtype="bf16", device="cpu", console=QUIET)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert not hasattr(model.config, "quantization_config")
    assert next(model.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize("preset", ["llama-tiny", "gpt2-tiny"])
def test_random_weights_are_the_same_every_time_and_leave_the_global_generator_alone(preset):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    one, two = _random(PRESETS[preset]), _random(PRESETS[preset])
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_bytes_are_their_own_tokens():
    tokenizer = byte_tokenizer()
    for text in ("", "plain", "Ünïcode ☃\n\n"):
        assert len(tokenizer.encode(text)) == len(text.encode())
        assert tokenizer.decode(tokenizer.encode(text)) == text


def _trained(preset, kind="lora", targets="all-linear"):
    model = _random(PRESETS[preset])
    model.requires_grad_(False)
    adapted = adapters.attach(model, kind=kind, rank=4, alpha=8.0, dropout=0.0, targets=targets, rslora=False, seed=1)
    generator = torch.Generator().manual_seed(2)
    for parameter in adapters.trainable(adapted).values():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return adapted.eval()


IDS = torch.tensor([[1, 2, 3, 4, 5, 6]])


# what PEFT itself calls of transformers, in a user's hands
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("preset", ["llama-tiny", "gpt2-tiny"])
def test_a_peft_user_gets_the_same_logits(preset, tmp_path):
    ours = _trained(preset)
    adapters.save(ours, byte_tokenizer(), tmp_path / "adapter", base=f"scratch:{preset}")
    theirs = PeftModel.from_pretrained(_random(PRESETS[preset]), tmp_path / "adapter").eval()
    with torch.no_grad():
        assert torch.equal(ours(input_ids=IDS).logits, theirs(input_ids=IDS).logits)
    assert sorted(p.name for p in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        adapters.save(_trained("llama-tiny"), byte_tokenizer(), tmp_path / name, base="x")
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize("preset", ["llama-tiny", "gpt2-tiny"])
def test_a_full_fine_tune_is_a_whole_model_folder(preset, tmp_path):
    ours = _trained(preset, kind="full")
    adapters.save(ours, byte_tokenizer(), tmp_path / "model", base="x")
    loaded = adapters.load_tuned(tmp_path / "model", dtype="fp32", device="cpu")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        for other in (loaded, theirs):
            assert torch.equal(ours(input_ids=IDS).logits, other(input_ids=IDS).logits)
    assert AutoTokenizer.from_pretrained(tmp_path / "model")("abc")["input_ids"] == byte_tokenizer().encode("abc")
    assert sorted(adapters.saved_tensors(tmp_path / "model" / "model.safetensors")) == adapters.expected_keys(ours)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ("attention", {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"}),
        (["q_proj"], {"q_proj"}),
    ],
)
def test_targets(targets, expected):
    assert set(adapters.target_names(_random(PRESETS["llama-tiny"]), targets)) == expected


def test_gpt2s_attention_is_told_from_its_feed_forward():
    names = adapters.target_names(_random(PRESETS["gpt2-tiny"]), "attention")
    assert names == ["attn.c_attn", "attn.c_proj"]


def test_a_misspelt_target_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="did you mean q_proj") as error:
        adapters.target_names(_random(PRESETS["llama-tiny"]), ["q_porj"])
    assert error.value.where == "adapter.targets"


def test_a_broken_adapter_is_a_guards_matter(tmp_path):
    adapters.save(_trained("llama-tiny"), byte_tokenizer(), tmp_path / "adapter", base="x")
    (tmp_path / "adapter" / "adapter_model.safetensors").write_bytes(b"no")
    with pytest.raises(GuardError) as error:
        adapters.load_adapter(_random(PRESETS["llama-tiny"]), tmp_path / "adapter")
    assert error.value.guard == "adapter-integrity"


def test_a_folder_that_is_no_language_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "nothing-known"}')
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    byte_tokenizer().backend.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="is not a causal language model"):
        load_base(locate(str(tmp_path), tmp_path / "cache"), tmp_path, dtype="fp32", device="cpu", console=QUIET)


@pytest.mark.parametrize("damage", ["weights", "config", "gone"])
def test_a_broken_full_fine_tune_is_a_guards_matter(damage, tmp_path):
    folder = tmp_path / "model"
    adapters.save(_trained("llama-tiny", kind="full"), byte_tokenizer(), folder, base="x")
    if damage == "weights":
        (folder / "model.safetensors").write_bytes(b"no")
    elif damage == "config":
        (folder / "config.json").write_text("{")
    else:
        (folder / "model.safetensors").unlink()
    with pytest.raises(GuardError) as error:
        adapters.load_tuned(folder, dtype="fp32", device="cpu")
    assert (error.value.guard, error.value.where) == ("adapter-integrity", str(folder))


def test_memory_that_runs_out_while_loading_is_no_damage(tmp_path, monkeypatch):
    def fails(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", fails)
    with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
        adapters.load_tuned(tmp_path, dtype="fp32", device="cpu")


def _sharded(folder, there):
    """A Hub base in the cache whose index names two shards, of which some are there."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(PRESETS["llama-tiny"]))
    shards = {"a.weight": "model-1.safetensors", "b.weight": "model-2.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    for name in there:
        (folder / name).write_bytes(b"weights")
    return BaseRef("org/sharded", "hub", "0" * 40, PRESETS["llama-tiny"], folder, revision="0" * 40)


@pytest.mark.parametrize("there", [[], ["model-1.safetensors"]])
def test_a_sharded_base_is_completed(there, tmp_path, monkeypatch):
    ref, asked = _sharded(tmp_path / "base", there), []

    def download(name, *, revision, allow_patterns):
        asked.append((name, revision))
        for shard in missing_shards(ref.folder):
            (ref.folder / shard).write_bytes(b"weights")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert fetch(ref, tmp_path, QUIET) == ref.folder
    assert fetch(ref, tmp_path, QUIET) == ref.folder
    assert asked == [("org/sharded", "0" * 40)]  # once


def test_shards_that_cannot_be_had_are_named(tmp_path, monkeypatch):
    ref = _sharded(tmp_path / "base", ["model-1.safetensors"])
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *args, **kwargs: str(ref.folder))
    with pytest.raises(MachineError, match=r"not all here: model-2\.safetensors"):
        fetch(ref, tmp_path, QUIET)
