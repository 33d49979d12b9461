"""The list of looks at test texts counts weights, not looks."""

from __future__ import annotations

import json
from pathlib import Path

from assay.core.files import read_lines
from assay.data.looks import note_look

TEST = [{"id": "1", "sha256": "a"}, {"id": "2", "sha256": "b"}]


def test_the_same_weights_count_once_however_they_looked(tmp_path: Path) -> None:
    looks = tmp_path / "looks.jsonl"
    assert note_look(looks, TEST, run="r1", weights="w1", what="evaluate") == 1
    assert note_look(looks, TEST, run="r1", weights="w1", what="decode") == 1
    assert note_look(looks, TEST, run="r2", weights="w2", what="decode") == 2
    assert note_look(looks, TEST[:1], run="r3", weights="w3", what="evaluate") == 1
    assert [line["what"] for line in read_lines(looks)] == ["evaluate", "decode", "decode", "evaluate"]


def test_a_line_of_an_older_version_counts_by_its_run(tmp_path: Path) -> None:
    looks = tmp_path / "looks.jsonl"
    note_look(looks, TEST, run="r1", weights="w1", what="evaluate")
    (line,) = read_lines(looks)
    del line["weights"]
    looks.write_text(json.dumps(line | {"run": "old"}) + "\n")
    assert note_look(looks, TEST, run="r1", weights="w1", what="evaluate") == 2
