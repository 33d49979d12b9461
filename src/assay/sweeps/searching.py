"""Carrying out a search: trials are trained and looked at on dev alone; the best is measured on the test texts, once.

The experiment as it stands is trained too, as one more candidate: a search that finds nothing better says so.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from assay.config.matrix import Variant, trial
from assay.config.sweep import SearchConfig
from assay.core.errors import GuardError, InputError
from assay.core.files import read_lines
from assay.core.words import count
from assay.sweeps.child import changed
from assay.sweeps.roster import Failure, Record, Row, look, recall, rows_of
from assay.sweeps.search import JOURNAL, Search, Trial, dev_score


@dataclass
class Candidate:
    """One combination of values, trained with each seed."""

    rows: list[Row]
    variants: Sequence[Variant]
    number: int | None = None  # of its trial; None for the experiment as it stands


@dataclass
class Searching:
    """A search under way. `take` and `ended` are what `carry_out` asks for.

    Args:
        record: the sweep's; its rows are those of the experiment as it stands, and each trial adds its own.
        asked: the variants of these rows.
        overrides: of the command.
        waiting: the runs that come before the first trial: those of the experiment as it stands that are not done.
        changed: whether the experiment file was seen to have another text; then no more trials are begun.
    """

    record: Record
    asked: Sequence[Variant]
    config: SearchConfig
    overrides: Sequence[str]
    candidates: list[Candidate] = field(default_factory=list)
    waiting: list[Row] = field(default_factory=list)
    changed: bool = False

    def __post_init__(self) -> None:
        self.search = Search(self.config, self.record.folder)
        first = Candidate(list(self.record.rows), self.asked)
        self.candidates.append(first)
        self._score(first)
        for number in sorted(self.search.told):
            self._add(Trial(number, self.search.asked[number]), again=False)
        self._note()

    def take(self, working: list[Row]) -> Row | None:
        """The next training: of a candidate that is begun, else of the next trial."""
        while not self.waiting:
            if self._other_text() or (proposed := self.search.ask()) is None:
                return None
            self._add(proposed, again=True)
        return self.waiting.pop(0)

    def _other_text(self) -> bool:
        if not self.changed and changed(self.record.experiment, self.record.text_sha256):
            self.changed = True
            self._note()
        return self.changed

    def ended(self, row: Row) -> None:
        """Tell the search what a trial came to, once all its seeds have ended.

        What failed for another reason than its values is not told, and so is tried again by the next command.
        """
        owner = next(one for one in self.candidates if any(row is own for own in one.rows))
        self._score(owner)
        self._tell(owner)

    def _add(self, proposed: Trial, *, again: bool) -> None:
        """A trial's rows, and what is known of them. `again`: what is not done of them is to be begun."""
        try:
            variants = trial(Path(self.record.experiment), proposed.number, proposed.values, self.overrides)
        except InputError as error:
            if again and not self._other_text():  # values that are no experiment together
                self.search.tell(proposed.number, None, error.what)
            return
        one = Candidate(rows_of(variants), variants, proposed.number)
        for row, variant in zip(one.rows, variants, strict=True):
            row.until, row.predicted = "train", self.record.rows[0].predicted
            recall(row, self.record.earlier)
            look(row, variant.loaded, self.record.runs_dir)
        self.candidates.append(one)
        self.record.rows += one.rows
        self._score(one)
        if again:
            self.waiting += [row for row in one.rows if row.state != "done"]
            self._tell(one)
        self.record.save()

    def _score(self, one: Candidate) -> None:
        for row in one.rows:
            run = row.directory(self.record.runs_dir)
            row.dev_bpb = dev_score(run) if run and row.state == "done" else None

    def _tell(self, one: Candidate) -> None:
        if any(row.state in ("to do", "unfinished", "running") or row in self.waiting for row in one.rows):
            return
        if one.number is not None and not self._from_outside(one):
            failure = next((row.failure for row in one.rows if row.failure and self._of_values(row.failure)), None)
            why = failure.what if failure else None if _value(one) is not None else "no look at the dev texts"
            self.search.tell(one.number, _value(one), why)
        self._note()

    def _from_outside(self, one: Candidate) -> bool:
        """Whether a candidate failed, and for nothing that lies in its values."""
        failures = [row.failure for row in one.rows if row.failure]
        return bool(failures) and not any(map(self._of_values, failures))

    def _of_values(self, failure: Failure) -> bool:
        """Whether a failure would come again: that of a validity guard, or of a value that cannot be.

        All else says nothing of the values: the machine, a signal, a file that was changed or is held. An input error
        is one of the values where its place is a key that is searched.
        """
        keys = "|".join(map(re.escape, self.config.space))
        named = re.search(rf"(?<![\w./-])({keys})(?![\w./-])", failure.where or "") is not None
        return failure.code == GuardError.exit_code or (failure.code == InputError.exit_code and named)

    def _note(self) -> None:
        best = self.best
        failed = [number for number, told in self.search.told.items() if told.value is None]
        begun = [one for one in self.candidates if one.number not in self.search.told]
        untold = [one.rows[0].name for one in begun if self._from_outside(one)]
        self.record.search = {
            "method": self.config.method, "trials": self.config.trials, "tried": len(self.search.told),
            "failed": len(failed), "best": None if best is None else best.rows[0].name,
            "dev_bpb": None if best is None else _value(best), "dev_bpb_as_it_stands": _value(self.candidates[0]),
            "untold": untold, "changed": self.changed,
        }  # fmt: skip
        self.record.save()

    @property
    def best(self) -> Candidate | None:
        """The candidate with the lowest bits per byte of the dev texts, over its seeds; None while none has any."""
        scored = [(value, number) for number, one in enumerate(self.candidates) if (value := _value(one)) is not None]
        return self.candidates[min(scored)[1]] if scored else None

    def choose(self) -> list[Row]:
        """The best candidate's runs, which are now to be measured on the test texts; those of them not done yet."""
        best = self.best
        if best is None:
            return []
        self._note()
        tried = count(len(self.search.told), "trial")
        for row, variant in zip(best.rows, best.variants, strict=True):
            row.until, row.chosen = "report", f"the values, as the best of {tried}"
            look(row, variant.loaded, self.record.runs_dir)
        self.record.save()
        return [row for row in best.rows if row.state != "done"]


def tried(folder: Path) -> int:
    """How many trials an earlier command has brought to an end; without Optuna."""
    return len({line["tell"] for line in read_lines(folder / JOURNAL) if "tell" in line})


def _value(one: Candidate) -> float | None:
    """The mean over the seeds; None where one of them has none."""
    values = [row.dev_bpb for row in one.rows]
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if len(known) == len(values) else None
