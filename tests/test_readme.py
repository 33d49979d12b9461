"""What the README tells a reader to type exists: commands, options, make targets, public names, linked files."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import assay
from assay.cli.main import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^\$ assay (\w+)", README, re.MULTILINE))))
def test_every_command_is_there(command, capsys):
    assert main([command, "--help"]) == 0
    assert "Usage: assay" in capsys.readouterr().out


def test_every_public_name_is_there():
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        compile(block, "README.md", "exec")
        for name in re.findall(r"assay\.(\w+)", block):
            assert hasattr(assay, name), name
    assert all(hasattr(assay, name) for name in assay.__all__)


def test_every_make_target_is_there():
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^    make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_linked_file_is_there():
    for link in re.findall(r"\]\(([^)#]+)", README):
        assert (ROOT / link).is_file(), link


def test_the_number_of_guards_is_the_registrys():
    from assay.core.guard import GUARDS

    assert len(GUARDS) == 27
    assert "Twenty-seven guards" in README
