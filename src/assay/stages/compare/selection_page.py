"""The section on model selection, as HTML and as Markdown: the choice, the table with its sources, other weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from assay.stages.compare.criteria import KINDS
from assay.stages.compare.criterion import Criterion
from assay.stages.compare.markup import markdown_table, plain, template
from assay.stages.compare.selection import Row, Selection, column_of
from assay.stages.compare.selection_words import told, turns
from assay.stages.compare.words import fixed, share
from assay.stats.choice import Choice, counted

Json = dict[str, Any]
HOW = (
    "Every criterion is scaled from 0, the worst of these entries, to 1, the best; where all are alike, all have 1. "
    "The overall score is the weighted mean. So the choice depends on what is compared: another entry may move the "
    "scale. Weights are the reader’s; no measurement says what they should be."
)


def section_html(selection: Selection) -> Markup:
    """The section as HTML, to stand below a heading of the page."""
    return Markup(template("selection.html.j2").render(context(selection)))


def context(selection: Selection) -> Json:
    """Everything that the template needs, as words."""
    sources: dict[str, int] = {}
    rows = [_row(selection, row, sources) for row in selection.rows]
    choice, weighed = selection.choice, selection.given is not None
    return {
        "sentences": [f"{_capital(said, selection.names)}." for said in selection.sentences],
        "names": selection.names,
        "chosen": selection.chosen,
        "rows": rows,
        "totals": _totals(choice, weighed=weighed) if choice and len(choice.names) > 1 else [],
        "turns": _turning(choice) if choice and weighed else [],
        "left_out": [(KINDS[name].label, reason) for name, reason in selection.left_out],
        "sources": [(number, f"{_capital(said)}.") for said, number in sources.items()],
        "how": HOW if weighed else "",
    }


def _capital(said: str, names: Sequence[str] = ()) -> str:
    """A sentence with a capital; a name at its beginning stays as it is."""
    return said if said.startswith(tuple(names)) else f"{said[:1].upper()}{said[1:]}"


def _row(selection: Selection, row: Row, sources: dict[str, int]) -> Json:
    kind = row.cells[0].kind
    best = _best(row)
    unit = "" if kind.unit in ("share", "bytes", "s") else f"{kind.unit}, "
    numbers = [sources.setdefault(cell.source, len(sources) + 1) for cell in row.cells]
    cells = []
    for cell, number in zip(row.cells, numbers, strict=True):
        value, under = told(cell)
        own = None if len(set(numbers)) == 1 else number
        cells.append({"value": value, "under": under, "source": own, "rated": cell.rated, "best": cell is best})
    return {
        "label": kind.label,
        "name": row.name,
        "unit": f"{unit}{'more' if kind.higher else 'less'} is better",
        "weight": fixed(row.weight, 2) if selection.choice and selection.given is not None else "–",
        "counts": row.weight > 0,
        "source": numbers[0] if len(set(numbers)) == 1 else None,
        "cells": cells,
    }


def _best(row: Row) -> Criterion | None:
    """The cell with the best value, as far as it counts; None where several have it."""
    amounts = counted(column_of(row.name, row.cells), np.array([cell.value or 0.0 for cell in row.cells]))
    best = np.flatnonzero(amounts == amounts.max())
    return row.cells[int(best[0])] if len(best) == 1 < len(amounts) else None


def _totals(choice: Choice, *, weighed: bool) -> list[tuple[str, str, list[str]]]:
    how = "worked out" if choice.exact else "drawn evenly"
    by_weights = f"share of all weightings, {how}", [share(value) for value in choice.in_weightings]
    if not weighed:
        return [("Best, by weights", *by_weights)]
    return [
        ("Overall", "of 1", [fixed(value, 2) for value in choice.overall]),
        ("Chosen, by chance", "share of redrawn measurements", [share(value) for value in choice.in_draws]),
        ("Chosen, by weights", *by_weights),
    ]


def _turning(choice: Choice) -> list[tuple[str, str, str, str]]:
    """Of each weighed criterion what another weight would lead to, where it would."""
    rows = []
    for flip in choice.flips:
        under, over = turns(flip)
        if under or over:
            rows.append((KINDS[flip.criterion].label, fixed(flip.weight, 2), under or "–", over or "–"))
    return rows


def section_markdown(selection: Selection) -> str:
    """The section as Markdown, without a heading."""
    c = context(selection)
    parts = ["\n".join(f"- {plain(said)}" for said in c["sentences"])]
    if c["rows"]:
        header = ["criterion", "weight", *map(plain, c["names"])]
        body = [
            [f"{plain(row['label'])} ({plain(row['unit'])}){_note(row)}", row["weight"], *map(_cell, row["cells"])]
            for row in c["rows"]
        ]
        body += [[f"{label} ({unit})", "", *values] for label, unit, values in c["totals"]]
        parts += [markdown_table(header, body), "\n".join(f"{number}. {plain(said)}" for number, said in c["sources"])]
    if c["turns"]:
        rows = [list(map(plain, row)) for row in c["turns"]]
        parts.append(markdown_table(["criterion", "weight now", "if it counted less", "if it counted more"], rows))
    if c["left_out"]:
        lines = "\n".join(f"- {label}: {plain(reason)}" for label, reason in c["left_out"])
        parts.append(f"Left out, for all entries:\n\n{lines}")
    return "\n\n".join([*parts, *([c["how"]] if c["how"] else [])])


def _cell(cell: Json) -> str:
    value = f"**{plain(cell['value'])}**" if cell["best"] else plain(cell["value"])
    return f"{value} ({plain(cell['under'])}){_note(cell)}"


def _note(of: Json) -> str:
    return f" [{of['source']}]" if of["source"] else ""
