"""The experiments that ship with assay."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Recipe:
    """One of them: its name, its file, and what it is about."""

    name: str
    path: str
    description: str


def recipes_dir() -> Path:
    """Inside the installed package; in a checkout, at its top."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "recipes"
    return inside if inside.is_dir() else package.parents[1] / "recipes"


def find_recipes(root: Path) -> list[Recipe]:
    """Each YAML file under ``root/NAME/``: ``experiment.yaml`` is the recipe NAME, another file NAME/stem."""
    found = []
    for path in sorted(root.glob("*/*.yaml"), key=lambda one: (one.parent.name, one.stem != "experiment", one.stem)):
        folder = path.parent.name
        name = folder if path.stem == "experiment" else f"{folder}/{path.stem}"
        found.append(Recipe(name, str(path), _description(path)))
    return found


def _description(path: Path) -> str:
    """The comment that the file begins with, on one line, up to its first empty line."""
    words = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#") or line.strip() == "#":
            break
        words.append(line.lstrip("#").strip())
    return " ".join(words)
