"""Several runs on the same held-out texts: which is better, by how much, and what the difference may be put down to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from assay.core.errors import GuardError, InputError
from assay.core.files import read_json
from assay.core.guard import GuardRecord, limits
from assay.core.rundir import RunDir
from assay.core.words import failed_validity
from assay.guards import comparison, scoring
from assay.stages.compare.changes import one_change
from assay.stats.intervals import Undefined
from assay.stats.multiplicity import holm
from assay.stats.tests import groups_needed
from assay.stats.verdict import Difference, amount_text, bpb_text, group_scores, p_text, summarise

Json = dict[str, Any]
STAGE = "compare"


@dataclass(frozen=True)
class Compared:
    """One run held against the first: above 0 it needs fewer bits than that. `p_holm` is over all pairs of the command.

    `outcome` is better, worse, not-shown or cannot-conclude; `causal` whether the difference may be put down to the
    one change.
    """

    run: str
    against: str
    difference: Difference
    p_holm: float | None
    outcome: str
    causal: bool
    sentence: str
    guards: list[GuardRecord]

    def as_json(self) -> Json:
        """All fields, as plain JSON values."""
        return {**asdict(self), "guards": [one.as_json() for one in self.guards]}


@dataclass(frozen=True)
class _Side:
    run: RunDir
    summary: Json
    texts: pl.DataFrame
    weights: str

    @property
    def name(self) -> str:
        return f"{self.run.path.parent.name}/{self.run.path.name}"


def compare(runs: Sequence[RunDir]) -> list[Compared]:
    """Hold every run against the first.

    Raises:
        InputError: fewer than two runs, or one is not evaluated.
        GuardError: a run's numbers cannot be trusted, or two runs were measured differently.
    """
    if len({run.path.resolve() for run in runs}) < 2:
        raise InputError("a comparison needs two different runs", fix="assay compare RUN RUN; `assay runs` lists them")
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise InputError("a run is given twice, which would count as one more comparison", fix="give each run once")
    first, *others = [_side(run) for run in runs]
    found = [(other, _records(first, other), _difference(first, other, len(others))) for other in others]
    adjusted = holm([difference.p for _, _, difference in found])
    ps = [None] * len(found) if isinstance(adjusted, Undefined) else adjusted
    return [
        _compared(first, other, records, difference, p, len(others))
        for (other, records, difference), p in zip(found, ps, strict=True)
    ]


def _side(run: RunDir) -> _Side:
    if run.finished("evaluate") is None:
        raise InputError("has not been evaluated", where=str(run.path), fix=f"assay run {run.path}")
    for failed in failed_validity(run.guards.records()):
        raise GuardError(failed.guard, failed.why, where=str(run.path), fix=failed.fix)
    if changed := run.changed_outputs("evaluate"):
        why = f"{', '.join(changed)} changed after the evaluation wrote it"
        raise GuardError("unit-counting", why, where=str(run.path), fix=f"assay evaluate {run.path}")
    return _Side(
        run, read_json(run.summary), pl.read_parquet(run.texts).sort("id"),
        read_json(run.training)["weights"]["sha256"],
    )  # fmt: skip


def _records(first: _Side, other: _Side) -> list[GuardRecord]:
    """The guards of one pair; a failure of validity that spoils the numbers themselves is raised."""
    same = first.texts.select("id", "group", "bytes").equals(other.texts.select("id", "group", "bytes"))
    settings = first.summary["settings"], other.summary["settings"]
    currency = comparison.common_currency(*settings, same_texts=same, lossy=max(s["lossy_share"] for s in settings))
    if currency.status == "fail":
        raise GuardError(currency.guard, currency.why, where=f"{first.name} and {other.name}", fix=currency.fix)
    pairs = list(zip(first.texts.to_dicts(), other.texts.to_dicts(), strict=True))
    equal = scoring.impossible_equality(
        [(a["id"], a["tokens"], a["nll_tuned"], b["nll_tuned"]) for a, b in pairs],
        weights_differ=first.weights != other.weights,
        same_counts=settings[0]["tokenizer_sha256"] != settings[1]["tokenizer_sha256"]
        and all(a["tokens"] == b["tokens"] for a, b in pairs),
    )
    if equal.status == "fail":
        raise GuardError(equal.guard, equal.why, where=f"{first.name} and {other.name}", fix=equal.fix)
    return [currency, equal, one_change(first.run, other.run)]


def _difference(first: _Side, other: _Side, comparisons: int) -> Difference:
    rows = first.texts.select("group", "tokens", "bytes", "nll_tuned").with_columns(other.texts["nll_tuned"].alias("b"))
    return summarise(group_scores(rows.iter_rows()), alpha=limits("paired-verdict.p").passes / comparisons)


def _compared(
    first: _Side, other: _Side, records: list[GuardRecord], d: Difference, p: float | None, comparisons: int
) -> Compared:
    alpha = limits("paired-verdict.p").passes
    outcome, needed = "not-shown", groups_needed(alpha, comparisons)
    if d.low is None or d.high is None or p is None or d.n_groups < needed:
        outcome = "cannot-conclude"
    elif p < alpha:
        outcome = "better" if d.low > 0 else "worse" if d.high < 0 else outcome
    change = next(one for one in records if one.guard == "one-change")
    causal = change.status != "fail"
    amount = amount_text(d, sign=-1 if outcome == "worse" else 1)
    said = f"{outcome} by {amount}"
    if outcome == "not-shown":
        said = f"not shown: the difference is {amount}"
        said += "" if d.mde is None else f", and the smallest that could have been found {bpb_text(d.mde)}"
    elif outcome == "cannot-conclude":
        reason = f"{needed} groups could conclude" if d.n_groups < needed else str(d.reason)
        said = f"cannot conclude: {reason}; measured: {amount}"
    why = f"{change.why}" if causal else f"no cause may be named: {change.why}"
    sentence = f"{said} ({d.n_groups} held-out groups, {p_text(p, alpha)} by Holm); {why}"
    return Compared(other.name, first.name, d, p, outcome, causal, sentence, records)
