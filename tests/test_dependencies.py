"""The declared dependencies are those that the package imports, no more and no fewer."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import assay

PACKAGE = Path(assay.__file__).parent
ROOT = PACKAGE.parents[1]
MODULE_OF = {"ruamel.yaml": "ruamel"}
# imported, and always there with another
BROUGHT = {"markupsafe": "jinja2", "pydantic_core": "pydantic", "annotated_types": "pydantic"}
NOT_IMPORTED = {"gguf"}  # transformers needs it to read the embedded base
TRACKERS = {"mlflow", "tensorboard", "trackio", "wandb"}
# imported by a name in a text, only when needed
BY_NAME = TRACKERS | {
    "bitsandbytes", "evalica", "fastokens", "ftfy", "liger-kernel", "lm_eval", "matplotlib", "optuna", "py3langid",
    "pyphen", "scikit-learn",
}  # fmt: skip


def imported() -> set[str]:
    found: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
    return found - set(sys.stdlib_module_names) - {"assay"}


def declared() -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = (names for extra, names in project["optional-dependencies"].items() if extra != "dev")
    names = [*project["dependencies"], *(name for names in extras for name in names)]
    plain = [re.split(r"[<>=!~\[; ]", name)[0] for name in names]
    return {MODULE_OF.get(name, name) for name in plain}


def test_what_is_declared_is_imported_and_what_is_imported_is_declared() -> None:
    assert {BROUGHT.get(name, name) for name in imported()} == declared() - NOT_IMPORTED - BY_NAME


def test_runs_are_read_without_the_extras(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "sys.modules.update(dict.fromkeys(('matplotlib', 'ftfy', 'py3langid')))  # an import of any of them fails\n"
        "import polars as pl\n"
        "from assay.stages.compare.evidence import within_group\n"
        "file = Path('texts.parquet')\n"
        "nlls = {'nll_base': [9.0, 8, 7, 9], 'nll_tuned': [8.0, 7, 7, 8]}\n"
        "columns = {'group': ['a'] * 4, 'bytes': [9, 8, 7, 9], **nlls}\n"
        "pl.DataFrame(columns).write_parquet(file)\n"
        "assert within_group(file)['a'].items == 4\n"
        "nats = pl.DataFrame({'nats': [[1.0, 2.0], [3.0]]}, schema={'nats': pl.List(pl.Float64)})\n"
        "nats.write_parquet('nats.parquet')\n"
        "rows = [row.to_numpy() for row in pl.read_parquet('nats.parquet')['nats']]\n"
        "assert [row.tolist() for row in rows] == [[1.0, 2.0], [3.0]]\n"
        "from assay.cli.main import main\n"
        "Path('story.txt').write_text('\\n\\n'.join(f'Paragraph {n} tells of thing {n}.' for n in range(300)))\n"
        "Path('e.yaml').write_text('schema: 1\\nname: e\\nbase: scratch:llama-tiny\\ndata: {source: story.txt}\\n')\n"
        "sys.exit(main(['prepare', 'e.yaml', '--quiet']))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
