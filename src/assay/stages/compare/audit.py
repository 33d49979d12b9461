"""The last look before a verdict is shown: the evaluation's files against the frozen test split and each other."""

from __future__ import annotations

import math
from typing import Any

import polars as pl

from assay.core.errors import InputError
from assay.core.files import read_json
from assay.core.guard import GUARDS, OF_A_RUN, GuardRecord, record
from assay.core.receipt import write_receipt
from assay.core.rundir import RunDir
from assay.data.items import read_items
from assay.guards import outcome, scoring
from assay.stats.verdict import Difference, Verdict

PROSE_WORDS = 30  # in the median held-out row; shorter rows (questions, captions, jokes) are legitimately easier


def audit(run: RunDir) -> None:
    """Record the report stage's guards from the files of the evaluation.

    Raises:
        GuardError: a validity guard failed.
    """
    summary = read_json(run.summary)
    rows = _rows(run)
    difference = Difference(**summary["difference"])
    verdict = Verdict(**summary["verdict"])
    receipt = write_receipt(run)
    run.guards.check(
        scoring.impossible_equality(
            [(r["id"], r["tokens"], r["nll_base"], r["nll_tuned"]) for r in rows], weights_differ=True
        ),
        _plausibility(run, summary),
        outcome.receipt(receipt),
    )
    _unchanged(run, summary, rows)
    _all_recorded(run)
    run.guards.check(
        outcome.paired_verdict(verdict, difference),
        outcome.power(difference, verdict.smallest_effect, looks=verdict.looks),
        outcome.seeds(verdict.seeds, summary["settings"]["claim"]),
    )


def _all_recorded(run: RunDir) -> None:
    """A validity guard that never ran is no guard that passed."""
    there = {r.guard for r in run.guards.records()}
    validity = [name for name in OF_A_RUN if GUARDS[name].cls == "V"]
    run.guards.check(*(record(name, "fail", "this check has no record") for name in validity if name not in there))


def _rows(run: RunDir) -> list[dict[str, Any]]:
    try:
        return pl.read_parquet(run.texts).to_dicts()
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(
            f"cannot be read: {error}", where=str(run.texts), fix="`assay evaluate` on this run writes it anew"
        ) from error


def _plausibility(run: RunDir, summary: dict[str, Any]) -> GuardRecord:
    return outcome.plausibility(
        summary["base"]["bpb"],
        summary["tuned"]["bpb"],
        summary["train_sample"]["tuned_bpb"],
        leak_evidence=bool(read_json(run.manifest)["leaks"]["count"]),
        prose=_is_prose(run),
    )


def _is_prose(run: RunDir) -> bool:
    items = read_items(run.split("test"))
    kind = (read_json(run.manifest).get("format") or {}).get("name")
    if kind != "text" or any(item.turns for item in items):
        return False
    words = sorted(len(item.text.split()) for item in items)
    return bool(words) and words[len(words) // 2] >= PROSE_WORDS


def _unchanged(run: RunDir, summary: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """The numbers shown are the ones that were scored: the hashes recorded by the evaluation still hold."""
    changed = run.changed_outputs("evaluate")
    if not changed:
        return
    size, tokens = sum(r["bytes"] for r in rows), sum(r["tokens"] for r in rows)
    nats = sum(r["nll_base"] for r in rows)
    told = summary["base"]
    found = ", ".join(
        f"{name} {was:g} in the summary and {now:g} in the texts"
        for name, was, now in (
            ("bytes", told["bytes"], size),
            ("tokens", summary["tuned"]["tokens"], tokens),
            ("base bits per byte", told["bpb"], nats / math.log(2) / size if size else 0.0),
        )
        if not math.isclose(was, now, rel_tol=1e-9)
    )
    failed = record(
        "unit-counting", "fail",
        f"{', '.join(changed)} changed after the evaluation wrote {'it' if len(changed) == 1 else 'them'}"
        + (f": {found}" if found else ""),
        measured={"changed": changed}, threshold={"changed": 0}, stage="report",
    )  # fmt: skip
    run.guards.check(failed)
