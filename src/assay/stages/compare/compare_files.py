"""The files of a comparison: compare.html, compare.md, compare.json and compare.csv, each written atomically."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.core.files import sha256_json, write_json, write_text
from assay.core.find import COMPARISONS
from assay.core.spreadsheet import text_cell
from assay.stages.compare import compare_page, compare_tables
from assay.stages.compare.compare_tables import Table
from assay.stages.compare.entries import label
from assay.stages.compare.markup import markdown_table, plain
from assay.stages.compare.runs import Comparison
from assay.stages.compare.selection_page import section_markdown


def default_folder(c: Comparison) -> Path:
    """``runs/<experiment of the first run>/comparisons/<hash of what is compared>``: the same runs, the same folder."""
    runs = [[label(run) for run in entry.runs] for entry in c.entries]
    return c.entries[0].runs[0].path.parent / COMPARISONS / sha256_json(runs)[:8]


def write_comparison(c: Comparison, folder: Path) -> list[Path]:
    """Write the page, the text, the data and the table, over older ones of the same comparison; their paths.

    Raises:
        MachineError: the disk is full or not writable.
    """
    files = {kind: folder / f"compare.{kind}" for kind in ("html", "md", "json", "csv")}
    write_text(files["html"], compare_page.render(c))
    write_text(files["md"], markdown(c))
    write_json(files["json"], c.as_json())
    write_text(files["csv"], spreadsheet(*compare_tables.plain_rows(c)))
    return list(files.values())


def markdown(c: Comparison) -> str:
    """The comparison as Markdown: what may be said, and every table of the page."""
    parts = [
        f"# {plain(c.title)}",
        f"**{plain(c.note)}.**" if c.note else "",
        c.summary + ".",
        _list(f"**{plain(p.name)}**: {plain(p.sentence)}" for p in c.pairs),
    ]
    sections = [
        ("The entries", compare_tables.overview(c)),
        ("What differs", compare_tables.changes(c)),
        ("Costs", compare_tables.spent(c)),
        ("Perplexity", compare_tables.perplexities(c)),
        ("Failed", compare_tables.failures(c) if c.failed else None),
    ]
    for heading, table in sections:
        if table is not None:
            parts += [f"## {heading}", _table(table), _list(map(plain, table.notes))]
    if c.selection:
        parts += ["## Model selection", section_markdown(c.selection)]
    if c.not_concluded:
        parts += ["## What may not be concluded", _list(map(plain, c.not_concluded))]
    loud = [(pair.name, r) for pair in c.pairs for r in pair.guards if r.status in ("warn", "fail")]
    if loud:
        parts += ["## Guards", _list(f"{plain(name)}: {r.guard} ({r.status}): {plain(r.why)}" for name, r in loud)]
    parts += ["## How it was measured", "\n\n".join(compare_page.method(c))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _list(lines: Any) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(table: Table) -> str:
    return markdown_table([*map(plain, table.header)], [[*map(plain, row)] for row in table.rows])


def spreadsheet(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """CSV that spreadsheets open as it is meant: numbers as numbers, and no text as a formula."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\r\n")
    writer.writerow(header)
    writer.writerows([[_cell(value) for value in row] for row in rows])
    return stream.getvalue()


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return text_cell(value)
    return "" if value is None else value
