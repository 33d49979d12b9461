"""Terminal and report count and name the guards, and call the outcomes, the same way."""

from __future__ import annotations

import typing
from collections.abc import Callable

from assay.cli.outcome import guard_line as of_terminal
from assay.core import words
from assay.core.guard import OF_A_RUN, record
from assay.core.rundir import RunDir
from assay.stages.compare import headline
from assay.stages.compare.evidence import gather
from assay.stats.verdict import Outcome

RECORDS = [
    record("split-leak", "pass", "w"),
    record("adapter-integrity", "pass", "w", stage="train"),
    record("adapter-integrity", "fail", "w"),
    record("power", "warn", "w"),
    record("power", "skip", "w", stage="report"),
    record("output-hygiene", "skip", "w"),
]


def test_a_guard_counts_once_by_its_worst_record() -> None:
    missing = len(OF_A_RUN) - 4
    said = f"1 passed, 1 warned (power), 1 failed (adapter-integrity), 1 skipped (output-hygiene), {missing} not run"
    assert words.guard_line(RECORDS) == said
    assert words.guard_line(RECORDS, names=False) == f"1 passed, 1 warned, 1 failed, 1 skipped, {missing} not run"
    assert "not run" not in words.guard_line([record(guard, "pass", "w") for guard in OF_A_RUN])


def test_the_terminal_and_the_report_say_the_same(make_run: Callable[..., RunDir]) -> None:
    run = make_run()
    run.guards.add(*RECORDS)
    assert of_terminal(run) == f"guards: {headline.guard_line(gather(run))}"


def test_failed_validity_guards_are_named_once() -> None:
    failed = words.failed_validity([*RECORDS, record("adapter-integrity", "fail", "w", stage="report")])
    assert words.no_verdict(failed) == "no verdict: the validity guard adapter-integrity failed"
    failed.append(record("split-leak", "fail", "w"))
    assert words.no_verdict(failed).endswith("guards adapter-integrity and split-leak failed")


def test_every_outcome_has_its_word_and_its_badge() -> None:
    assert set(words.OUTCOMES) == set(headline.BADGES) == set(typing.get_args(Outcome))


def test_amounts_and_names_as_a_reader_says_them() -> None:
    assert [words.count(n, "entry", "entries") for n in (0, 1, 1200)] == ["0 entries", "1 entry", "1,200 entries"]
    assert [words.count(n, "text") for n in (1, 2)] == ["1 text", "2 texts"]
    assert [words.listed(list("abc")[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
