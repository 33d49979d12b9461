"""Anchors of a file, and what is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from assay.core.errors import InputError
from assay.stages.evaluate.anchors import Anchor, read_anchors


def test_anchors_are_read(tmp_path: Path) -> None:
    file = tmp_path / "anchors.jsonl"
    file.write_text('{"text": "Poor.", "stars": 1}\n\n{"stars": 3.5, "text": "Fair."}\n')
    assert read_anchors(file) == [Anchor("Poor.", 1.0), Anchor("Fair.", 3.5)]


@pytest.mark.parametrize(
    "line",
    ['{"text": "a"}', '{"text": "a", "stars": "3"}', '{"text": " ", "stars": 3}', '{"text": "a", "stars": true}',
     '{"text": "a", "stars": 3, "id": 1}', "[1]", "text"],
)  # fmt: skip
def test_what_is_no_anchor_is_named_with_its_line(tmp_path: Path, line: str) -> None:
    file = tmp_path / "anchors.jsonl"
    file.write_text(f'{{"text": "a", "stars": 3}}\n{line}\n')
    with pytest.raises(InputError) as raised:
        read_anchors(file)
    assert raised.value.where == f"{file}:2"


def test_a_file_without_anchors_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(InputError, match="holds no anchors"):
        read_anchors(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match="no such file"):
        read_anchors(tmp_path / "missing.jsonl")
