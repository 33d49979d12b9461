"""The ledger is an index of the runs: no run fails because it cannot be written."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from assay.core import ledger_table
from assay.core.console import Console
from assay.core.ledger import Ledger
from assay.core.rundir import RunDir
from assay.pipeline.order import _index


def test_a_ledger_that_others_hold_stops_no_run(
    make_run: Callable[..., RunDir], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs_dir = tmp_path / "runs"
    make_run(number=1)
    assert len(Ledger(runs_dir).rows()) == 1
    late = make_run(number=2)
    monkeypatch.setattr(ledger_table, "BUSY_SECONDS", 0.05)
    other = sqlite3.connect(runs_dir / "ledger.sqlite", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    _index(late, runs_dir, Console())
    assert "the ledger of the runs cannot be written: database is locked" in capsys.readouterr().err
    other.execute("ROLLBACK")
    other.close()
    assert len(Ledger(runs_dir).rows()) == 2  # it was read from its own files
