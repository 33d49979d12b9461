"""The recipes load, and hold out enough groups."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from assay.cli.main import main
from assay.config.load import load_experiment, load_text, resolved_yaml

RECIPES = Path(__file__).parents[2] / "recipes"
FILES = sorted(RECIPES.glob("*/*.yaml"))
HEADINGS = [
    *(f"Letter {n}" for n in range(1, 5)),
    *(f"Chapter {n}" for n in range(1, 25)),
    "CHAPTER XXIV.",
    "Chapter I",
]


def test_the_recipes_are_there() -> None:
    names = {str(file.relative_to(RECIPES)) for file in FILES}
    assert {"bard/experiment.yaml", "frankenstein/experiment.yaml", "frankenstein/distilgpt2-full.yaml"} <= names
    assert "frankenstein/gpu.yaml" in names


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_recipe_loads_and_its_resolved_form_is_the_same(file: Path) -> None:
    loaded = load_experiment(file)
    assert load_text(resolved_yaml(loaded), file).experiment == loaded.experiment
    assert loaded.experiment.name.startswith(file.parent.name)
    assert loaded.experiment.evaluate.prompts
    assert (file.parent / "README.md").is_file()


def test_bard_holds_out_whole_plays() -> None:
    data = load_experiment(RECIPES / "bard" / "experiment.yaml").experiment.data
    assert data.group == {"file": True}
    assert round(38 * data.split.test) >= 7
    assert data.sha256


@pytest.mark.parametrize("file", sorted((RECIPES / "frankenstein").glob("*.yaml")), ids=lambda file: file.stem)
def test_frankenstein_knows_its_chapters(file: Path) -> None:
    data = load_experiment(file).experiment.data
    assert isinstance(data.group, dict)
    pattern = re.compile(str(data.group["heading"]), re.MULTILINE)
    for heading in HEADINGS:
        assert pattern.search(heading), heading
    for line in ("Letter", "Chapter 1 was long", "the Chapter 1", "Letter to a friend", ""):
        assert not pattern.search(line), line
    assert round(28 * data.split.test) >= 6


def test_both_frankensteins_share_the_held_out_chapters() -> None:
    one, two = (
        load_experiment(RECIPES / "frankenstein" / name).experiment
        for name in ("experiment.yaml", "distilgpt2-full.yaml")
    )
    assert one.data == two.data
    assert one.evaluate == two.evaluate


MISTRAL = {
    "model_type": "mistral", "tie_word_embeddings": False, "vocab_size": 32000, "max_position_embeddings": 32768,
    "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8,
}  # fmt: skip
GPU = RECIPES / "frankenstein" / "gpu.yaml"


def test_the_gpu_recipe_keeps_the_settings_it_was_made_with() -> None:
    e = load_experiment(GPU).experiment
    a, t = e.adapter, e.train
    assert e.base == "mistralai/Mistral-7B-Instruct-v0.2"
    assert (a.kind, a.rank, a.alpha, a.dropout) == ("qlora", 8, 16.0, 0.05)
    assert a.targets == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert (t.epochs, t.steps, t.batch_tokens, t.max_length) == (1.0, None, 16 * 512, 512)
    assert (t.optimizer, t.learning_rate, t.precision) == ("paged_adamw_8bit", 2e-4, "bf16")
    assert e.data == load_experiment(RECIPES / "frankenstein" / "experiment.yaml").experiment.data


def test_the_gpu_recipe_fits_a_t4(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "mistral"
    base.mkdir()
    (base / "config.json").write_text(json.dumps(MISTRAL))
    save_file({"none": np.zeros(1, np.float32)}, base / "model.safetensors")  # the plan reads the sizes alone
    planned = ["plan", str(GPU), "--device", "t4", "--json", "--set", f"base={base}"]
    assert main(planned) == 4
    assert "T4 has no bf16" in capsys.readouterr().err
    assert main([*planned, "--set", "train.precision=auto"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["memory"]["fits"]
    assert found["decisions"]["precision"]["value"] == "fp16"
    assert found["decisions"]["four_bit"]
    assert found["model"]["parameters"] == 7_241_732_096
    assert found["model"]["trainable"] == 32 * 8 * (4 * 4096 + 2 * 4096 + 2 * 1024)  # r (in + out) of q, k, v, o


def test_a_table_of_ones_own_needs_no_headings(tmp_path: Path) -> None:
    own = tmp_path / "chunks.csv"
    loaded = load_experiment(
        RECIPES / "frankenstein" / "experiment.yaml", [f"data.source={own}", "data.group=null"]
    )  # as the recipe's comment says
    assert loaded.experiment.data.group is None
    assert loaded.experiment.data.source == str(own)
