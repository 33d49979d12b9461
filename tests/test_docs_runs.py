"""What docs/runs.md says is so: its columns are the ledger's, and every filter that it shows can be asked."""

from __future__ import annotations

import re
from pathlib import Path

from assay.config.problems import LEAVES
from assay.core.ledger import CLOSELY, COLUMNS
from assay.core.ledger_query import OPERATORS, Query, where

PAGE = (Path(__file__).parents[1] / "docs" / "runs.md").read_text(encoding="utf-8")


def test_the_columns_are_those_of_the_ledger() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.*?) \| (.*) \|$", PAGE.partition("## Columns")[2], re.MULTILINE)
    assert {name: meaning for name, meaning, _ in rows} == {name: c.meaning for name, c in COLUMNS.items()}
    for name, _, kind in rows:
        assert tuple(re.findall(r"`(.*?)`", kind)) == COLUMNS[name].choices


def test_every_filter_that_is_shown_can_be_asked() -> None:
    filters = re.findall(r"^    assay runs.* '(.*?)'", PAGE, re.MULTILINE)
    filters += [
        text
        for line in re.findall(r"^    assay runs (.*)$", PAGE, re.MULTILINE)
        for text in re.findall(r"'(.*?)'", line)
    ]
    filters += [text for text in re.findall(r"`([\w.]+(?:!=|[=<>])[\w.:-]+)`", PAGE)]
    assert len(set(filters)) > 10
    for text in filters:
        assert where(Query([text]), lambda: set(LEAVES)).sql


def test_the_operators_are_all_there() -> None:
    table = PAGE.partition("| operator |")[2].partition("\n\n")[0]
    assert set(OPERATORS) == {
        sign for row in table.splitlines()[2:] for sign in re.findall(r"`(.*?)`", row.split("|")[1])
    }


def test_the_number_of_runs_that_are_looked_at_closely() -> None:
    assert f"Up to {CLOSELY:,} runs" in PAGE
