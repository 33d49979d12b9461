"""What the doctor finds; nothing of it needs a network."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from assay.cli.main import main


def examine(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    assert main(["doctor", "--json"]) == 0
    return {row["what"]: row for row in json.loads(capsys.readouterr().out)}


def test_everything_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "not" / "there"))
    found = examine(capsys)
    assert {"python", "platform", "processor", "memory", "cache", "runs", "torch", "transformers", "peft"} <= set(found)
    assert found["python"]["found"].startswith(sys.version.split()[0])
    assert found["base smollm2-135m-instruct-q4"]["found"].startswith("not downloaded yet")
    assert not (tmp_path / "not").exists()
    assert all(row["fix"] for row in found.values() if row["ok"] is False)
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert all(what in text for what in found)


def test_a_missing_extra_is_told_with_its_fix() -> None:
    script = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('torch', 'transformers', 'peft', 'gguf'): raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from assay.cli.main import main\n"
        "sys.exit(main(['doctor']))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for name in ("torch", "transformers", "peft", "gguf"):
        assert f"{name}: pip install 'assay[train]'" in done.stdout
