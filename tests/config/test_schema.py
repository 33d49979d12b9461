"""The schema: every key is documented, and the reference page says what the code does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from assay.config.schema import Experiment, field_docs, leaves, markdown_reference, sections

MINIMAL = {"schema": 1, "name": "a", "base": "b", "data": {"source": "c.txt"}}
PAGE = Path(__file__).parents[2] / "docs" / "experiment-file.md"


def test_every_key_and_section_is_described() -> None:
    docs = field_docs()
    assert len(docs) > 30
    for key, may_hold, default, meaning in docs:
        assert len(meaning) > 10, key
        assert meaning.endswith("."), key
        assert may_hold, key
        assert default, key
    for name, model in sections():
        assert model.__doc__, name


def test_bounds_and_defaults_come_from_the_schema() -> None:
    docs = {key: (may_hold, default) for key, may_hold, default, _ in field_docs()}
    assert docs["schema"] == ("1", "required")
    assert docs["adapter.rank"] == ("an integer ≥ 1", "8")
    assert docs["adapter.dropout"] == ("a number ≥ 0 and < 1", "0.0")
    assert docs["train.epochs"] == ("a number > 0", "null")
    assert docs["train.schedule"] == ("one of constant, linear, cosine", '"linear"')
    assert docs["data.clean.keep"] == ("a list of regular expressions", "[]")
    assert docs["evaluate.prompts"][1] == '"held-out"'


def test_reference_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == markdown_reference(), "write markdown_reference() to this file"


def test_defaults_are_the_documented_ones() -> None:
    experiment = Experiment.model_validate(MINIMAL)
    assert experiment.schema_version == 1
    assert experiment.train.epochs == 1.0
    assert experiment.train.steps is None
    assert (experiment.data.split.dev, experiment.data.split.test, experiment.data.split.seed) == (0.1, 0.2, 0)
    assert experiment.evaluate.stride is None


def test_models_are_frozen_and_closed() -> None:
    experiment = Experiment.model_validate(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        experiment.seed = 3
    with pytest.raises(ValidationError, match="Extra inputs"):
        Experiment.model_validate({**MINIMAL, "optimizer": "adam"})


def test_every_leaf_has_one_key() -> None:
    keys = [key for key, _ in leaves()]
    assert len(keys) == len(set(keys))
    assert "schema" in keys
    assert "data.fields.text" in keys
    assert "data.fields" not in keys


def test_import_needs_nothing_heavy() -> None:
    code = (
        "import sys, assay.config.load\n"
        "heavy = {'torch', 'numpy', 'scipy', 'polars', 'pyarrow', 'transformers', 'rich', 'typer'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
