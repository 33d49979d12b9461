"""What docs/decoding.md says is so: its keys exist, its settings are those of the code, its example stands."""

from __future__ import annotations

import re
from pathlib import Path

from assay.config.decode import DecodingConfig, expand
from assay.config.load import load_text
from assay.config.problems import LEAVES, SECTIONS

PAGE = (Path(__file__).parents[1] / "docs" / "decoding.md").read_text(encoding="utf-8")


def test_every_key_exists() -> None:
    named = set(re.findall(r"\b(?:decode|evaluate)\.[a-z_.]*[a-z_]", PAGE)) - {"decode.html"}
    assert len(named) > 8
    assert named <= {*LEAVES, *SECTIONS}


def test_the_table_has_every_setting() -> None:
    rows = re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE)
    told = {key for row in rows for key in re.findall(r"`(\w+)`", row)}
    assert told == set(DecodingConfig.model_fields)


def test_the_example_stands() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    head = "schema: 1\nname: a\nbase: scratch:llama-tiny\ndata: {source: x.txt}\n"
    experiment = load_text(head + block, Path("/nowhere/e.yaml")).experiment
    found = [one.name for one in expand(experiment.decode, experiment.evaluate.decoding.decoding())]
    assert found[-1] == "careful"
    assert len(found) == 2 + 6 + 1 + 1
