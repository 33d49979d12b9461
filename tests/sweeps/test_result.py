"""What a sweep is concluded with: what all are held against, and what is said where that has no numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixture_compare import FLAT, write_run
from fixture_sweep import sweep_record

from assay.cli.comparing import text
from assay.core.files import read_json
from assay.sweeps.result import conclude
from assay.sweeps.roster import Failure, Record

WHY = "no space left on the disk, or a limit on the size of files"


@pytest.fixture
def record(tmp_path: Path) -> Record:
    """A sweep's record with runs by hand: the baseline with two seeds, and two other ranks with one."""
    made = sweep_record(tmp_path, ["baseline-0", "baseline-1", "rank=8", "rank=16"])
    for n, (row, name) in enumerate(zip(made.rows, ["baseline", "baseline", "rank=8", "rank=16"], strict=True)):
        bits = [bpb - 0.05 * n + 0.002 * (g % 3) for g, bpb in enumerate(FLAT)]
        rank = {"baseline": 4, "rank=8": 8, "rank=16": 16}[name]
        changed = {"adapter": {"kind": "lora", "rank": rank}, "seed": 2 if n == 1 else 1, "short": f"{n}0aabbcc"}
        run = write_run(made.runs_dir / "e" / f"2026010{n + 1}-120000-{n}0aabbcc", bits, changed=changed)
        row.name, row.state, row.run = name, "done", run.path.relative_to(made.runs_dir).as_posix()
    return made


def fail(record: Record, *numbers: int) -> None:
    for number in numbers:
        record.rows[number].state, record.rows[number].failure = "failed", Failure(WHY, None, None, 4)


def test_all_are_held_against_the_baseline_also_where_one_of_its_seeds_failed(record: Record) -> None:
    fail(record, 0)
    found = conclude(record)
    assert found is not None
    assert found.note is None
    assert [pair.against for pair in found.pairs] == ["baseline", "baseline"]
    assert read_json(record.folder / "compare.json")["note"] is None
    assert text(found).startswith("3 entries")
    assert "said bad" not in (record.folder / "compare.html").read_text()


def test_where_the_baseline_failed_it_is_said_first_what_stands_in_for_it(record: Record) -> None:
    fail(record, 0, 1)
    found = conclude(record)
    assert found is not None
    note = f"baseline has no numbers ({WHY}): every difference is against rank=8 instead"
    assert found.note == note
    assert [pair.against for pair in found.pairs] == ["rank=8"]
    assert read_json(record.folder / "compare.json")["note"] == note
    assert text(found).startswith(f"NOTE: {note}\n\n2 entries")
    title, said, *_ = (record.folder / "compare.md").read_text().split("\n\n")
    assert title == "# rank=16 against rank=8"
    assert said == f"**{note}.**"
    page = (record.folder / "compare.html").read_text()
    assert page.index(f"<b>{note}.</b>") < page.index("better than rank=8")


def test_one_entry_alone_stands_in_for_nothing(record: Record) -> None:
    fail(record, 0, 1, 2)
    found = conclude(record)
    assert found is not None
    assert found.note == f"baseline has no numbers ({WHY}): no difference is given"
