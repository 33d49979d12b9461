"""The import rule: which part of the package may import which, and which of them never import torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import assay

PACKAGE = Path(assay.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# A part imports parts of a lower rank, and itself. Parts of one rank do not import each other.
RANK = {
    "core": 0,
    "suites": 0,
    "config": 1,
    "data": 2,
    "text": 2,
    "stats": 2,
    "guards": 3,
    "model": 4,
    "stages": 5,
    "pipeline": 6,
    "starter": 6,
    "byhand": 6,
    "fetch": 6,
    "sweeps": 7,
    "api": 8,
    "cli": 8,
    "__init__": 9,
    "__main__": 9,
}
# Only these know the experiment file. Below a stage's entry function everything takes plain arguments.
KNOW_THE_CONFIG = ("stages", "pipeline", "starter", "byhand", "sweeps", "api", "cli", "__init__")

HEAVY = ("torch", "transformers", "peft", "accelerate", "gguf")
# The base install has none of HEAVY: with it a laptop prepares, plans, reports and reads runs.
WITHOUT_TORCH = (
    "assay.__main__", "assay.cli", "assay.pipeline", "assay.starter", "assay.byhand", "assay.sweeps", "assay.api",
    "assay.config", "assay.core", "assay.stats", "assay.text", "assay.data", "assay.guards", "assay.model.registry",
    "assay.stages.prepare", "assay.stages.plan", "assay.stages.compare",
)  # fmt: skip

BLOCK = f"""
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in {HEAVY!r}:
            raise ModuleNotFoundError('not in the base install: ' + name, name=name)
sys.meta_path.insert(0, Block())
"""


def module_name(path: Path) -> str:
    parts = ("assay", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part(module: str) -> str:
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


MODULES = {module_name(path) for path in FILES}


def imports(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every module that a file imports, at its top or in a function, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: write the import in full"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield (whole if whole in MODULES else str(node.module)), node.lineno


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imports_at_load(node: ast.AST) -> Iterator[tuple[str, int]]:
    """The modules that importing a file imports: not those in functions, nor those for the type checker."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) or is_type_checking(child):
            continue
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield from imports(child)
        yield from imports_at_load(child)


def allowed(importer: str, imported: str) -> str | None:
    """Why one module may not import another; None if it may."""
    upper, lower = part(importer), part(imported)
    if lower == "config" and upper not in ("config", *KNOW_THE_CONFIG):
        return f"{upper} takes plain arguments, not the configuration"
    if upper != lower:
        return None if RANK[lower] < RANK[upper] else f"{upper} is not above {lower}"
    stages = [name.split(".")[2] for name in (importer, imported) if name.count(".") >= 2]
    if upper == "stages" and len(stages) == 2 and stages[0] != stages[1]:
        return "stages talk through files, never by import"
    return None


def needs_no_torch(module: str) -> bool:
    return module == "assay" or any(f"{module}.".startswith(f"{name}.") for name in WITHOUT_TORCH)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_a_module_imports_downwards_only(path: Path) -> None:
    importer = module_name(path)
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {imported}: {reason}"
        for imported, line in imports(ast.parse(path.read_text(encoding="utf-8")))
        if imported.split(".")[0] == "assay" and (reason := allowed(importer, imported))
    ]
    assert found == []


@pytest.mark.parametrize("path", [path for path in FILES if needs_no_torch(module_name(path))], ids=module_name)
def test_the_base_install_loads_it(path: Path) -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {imported}"
        for imported, line in imports_at_load(ast.parse(path.read_text(encoding="utf-8")))
        if imported.split(".")[0] in HEAVY
    ]
    assert found == []


def test_the_rule_itself_catches_what_it_forbids() -> None:
    assert allowed("assay.model.load", "assay.stages.plan")
    assert allowed("assay.data.split", "assay.stats.tests")
    assert allowed("assay.stages.plan", "assay.stages.train.loop")
    assert allowed("assay.model.load", "assay.config.schema")
    assert allowed("assay.core.files", "assay.config.load")
    assert allowed("assay.stages.train.loop", "assay.stages.train.optim") is None
    assert allowed("assay.guards.outcome", "assay.stats.power") is None
    tree = ast.parse(
        "import torch\nclass A:\n  import peft\nif TYPE_CHECKING:\n  import gguf\ndef f():\n  import accelerate"
    )
    assert [name for name, _ in imports_at_load(tree)] == ["torch", "peft"]
    assert {name for name, _ in imports(tree)} == {"torch", "peft", "gguf", "accelerate"}


def test_only_the_console_prints() -> None:
    calls = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in FILES
        if path != PACKAGE / "core" / "console.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("print", "sys.stdout.write", "sys.stderr.write")
    ]
    assert calls == []


def test_every_part_has_a_rank() -> None:
    assert {part(module) for module in MODULES} <= set(RANK)
    assert len(FILES) > 50


def test_without_torch_everything_of_the_base_install_imports_and_the_reading_commands_run(tmp_path: Path) -> None:
    modules = sorted(module for module in MODULES if needs_no_torch(module) and module != "assay.__main__")
    script = BLOCK + (
        "from importlib import import_module\n"
        f"for name in {modules!r}: import_module(name)\n"
        "from assay.cli.main import main\n"
        "codes = [main(argv) for argv in (['--help'], ['runs'], ['recipes'], ['models'], ['doctor'])]\n"
        f"assert not set(sys.modules) & set({HEAVY!r}), sorted(set(sys.modules) & set({HEAVY!r}))\n"
        "assert codes == [0] * 5, codes\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_training_without_torch_says_which_extra_brings_it(tmp_path: Path) -> None:
    (tmp_path / "story.txt").write_text("\n\n".join(f"Paragraph {n} tells of thing number {n}." for n in range(300)))
    (tmp_path / "e.yaml").write_text("schema: 1\nname: e\nbase: scratch:llama-tiny\ndata: {source: story.txt}\n")
    script = BLOCK + (
        "from assay.cli.main import main\n"
        "assert main(['prepare', 'e.yaml', '--quiet']) == 0\n"
        "assert main(['plan', 'e.yaml', '--quiet']) == 0\n"
        "sys.exit(main(['train', 'e.yaml', '--quiet']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 4, done.stderr
    assert "pip install 'assay[train]'" in done.stderr
    assert "Traceback" not in done.stderr
