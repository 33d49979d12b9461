"""The command line's surface is frozen: a new command or option is a decision, and is written down here first."""

from __future__ import annotations

import typer

from assay.cli.main import app

STAGE = {"target", "--runs-dir", "--set", "--new", "--quiet"}
SURFACE = {
    "new": {"file", "target"},
    "run": STAGE,
    "prepare": STAGE | {"--show"},
    "plan": STAGE | {"--device", "--json"},
    "train": STAGE,
    "evaluate": STAGE,
    "report": STAGE | {"--history"},
    "sweep": {"experiment", "--runs-dir", "--set", "--plan", "--quiet", "--json"},
    "generate": {"run", "prompts", "--runs-dir", "--set", "--quiet"},
    "chat": {"run", "--runs-dir", "--set", "--quiet"},
    "decode": {"run", "--runs-dir", "--set", "--quiet", "--json"},
    "show": {"run", "--runs-dir", "--json"},
    "guards": {"run", "--runs-dir", "--json"},
    "compare": {"runs", "--runs-dir", "--out", "--weights", "--json"},
    "judge": {"run", "--runs-dir", "--set", "--quiet"},
    "rate": {"run", "--write", "--read", "--stars", "--anchors", "--runs-dir"},
    "models": {"--json"},
    "recipes": {"name", "--json"},
    "doctor": {"--runs-dir", "--json"},
    "runs": {"--runs-dir", "--json"},
    "runs list": {"filters", "--runs-dir", "--sort", "--reverse", "--limit", "--columns", "--csv", "--json"},
    "runs reindex": {"--runs-dir", "--quiet"},
    "runs rm": {"runs", "--runs-dir"},
    "runs du": {"--runs-dir", "--json"},
}


def surface(command: object, path: str = "") -> dict[str, set[str]]:
    """The arguments' names and the options of each command, but --help."""
    found: dict[str, set[str]] = {}
    for name, child in getattr(command, "commands", {}).items():
        own = f"{path} {name}".strip()
        found[own] = {
            text
            for parameter in child.params
            for text in (parameter.opts + parameter.secondary_opts)
            if text != "--help"
        }
        found |= surface(child, own)
    return found


def test_commands_and_options() -> None:
    assert surface(typer.main.get_command(app)) == SURFACE


def test_everything_has_help() -> None:
    def check(command: object, path: str) -> None:
        assert getattr(command, "help", None), path
        for parameter in getattr(command, "params", []):
            assert getattr(parameter, "help", None), f"{path} {parameter.name}"
        for name, child in getattr(command, "commands", {}).items():
            check(child, f"{path} {name}")

    check(typer.main.get_command(app), "assay")
