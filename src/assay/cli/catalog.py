"""`assay new`, `assay models` and `assay recipes`: where experiments come from."""

from __future__ import annotations

import difflib
import shlex
from dataclasses import asdict
from pathlib import Path

from assay.cli.tables import table
from assay.core.cache import cache_dir
from assay.core.console import Console, size
from assay.core.errors import InputError
from assay.core.files import write_text
from assay.core.recipes import find_recipes, recipes_dir


def new(file: Path, target: Path | None, console: Console) -> None:
    """Write a starter experiment for `file`; an existing file is never overwritten.

    Raises:
        InputError: `target` exists, or `file` holds nothing that can be learned.
    """
    from assay.starter import starter, stem

    target = target or Path(f"{stem(file)}.yaml")
    text = starter(file, target)
    if target.exists():
        raise InputError(
            "exists already, and is not overwritten",
            where=str(target),
            fix=f"name another: assay new {file} OTHER.yaml",
        )
    write_text(target, text)
    console.result(f"wrote {target}\nnext: assay run {shlex.quote(str(target))}")


def models(as_json: bool, console: Console) -> None:
    """List the base models with a name of their own."""
    from assay.model.registry import model_rows

    rows = model_rows(cache_dir())
    if as_json:
        console.json(rows)
        return
    header = ("name", "kind", "licence", "here", "download", "note")
    lines = [
        (
            row["name"],
            row["kind"],
            row["licence"] or "-",
            "yes" if row["downloaded"] else "no",
            size(row["download_bytes"]) if row["download_bytes"] else "-",
            row["note"],
        )
        for row in rows
    ]
    console.result(table(header, lines))
    console.result("\nA base is also any causal model of the Hugging Face Hub (owner/name@revision), or a folder.")


def recipes(name: str | None, as_json: bool, console: Console) -> None:
    """List the recipes, or print the path of one.

    Raises:
        InputError: there is no recipe of that name.
    """
    found = find_recipes(recipes_dir())
    if name is not None:
        chosen = next((recipe for recipe in found if recipe.name == name), None)
        if chosen is None:
            names = [recipe.name for recipe in found]
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.4)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"there is no recipe {name!r}", fix=f"{hint}Recipes: {', '.join(names) or 'none'}")
        found = [chosen]
    if as_json:
        console.json([asdict(recipe) for recipe in found])
    elif name is not None:
        console.result(found[0].path)
    else:
        console.result(table(("name", "path", "description"), [(r.name, r.path, r.description) for r in found]))
        console.result("\nnext: assay run PATH")
