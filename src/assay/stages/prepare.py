"""Stage prepare: read the sources, split them by group, look for leaks, and freeze the result."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from assay.core.console import Console, size
from assay.core.files import directory_atomic, sha256_text, write_json
from assay.core.guard import GuardRecord, limits, record
from assay.core.rundir import RunDir
from assay.data.items import Item, write_items
from assay.data.leakage import Leak, find_leaks
from assay.data.profile import profile
from assay.data.sources import read_source
from assay.data.split import SPLITS, GroupRule, make_items, split_groups

_EXAMPLES = 20  # leaks shown in the guard's record
Splits = dict[str, list[Item]]


def prepare(
    *, sources: list[str], text_field: str, sha256: str | None, max_rows: int | None, group: GroupRule,
    dev: float, test: float, seed: int, out: RunDir, cache: Path, console: Console,
) -> None:  # fmt: skip
    """Write data/{train,dev,test}.parquet, data/manifest.json and data/profile.json, and record two guards.

    The folder appears as a whole or not at all; equal input gives equal bytes.

    Args:
        sources: see `read_source`.
        text_field: the column that holds the text, for tables.
        sha256: expected hash of the one source, or None.
        max_rows: keep only the first so many documents, or None.
        group: see `make_items`.
        dev: share of groups, in (0, 1).
        test: share of groups, in (0, 1).
        seed: of the split.
        out: the run.
        cache: where downloads are kept.
        console: for notes.

    Raises:
        InputError: the sources are missing, malformed or too few.
        MachineError: a download failed, or there is no room.
        GuardError: more than 1 % of the held-out items also stand in training (`split-leak`); no data is written.
    """
    documents, source, dropped = read_source(sources, text_field, sha256=sha256, max_rows=max_rows, cache=cache)
    rows_in = len(documents) + sum(dropped.values()) - dropped.get("file-named-twice", 0)
    items, rule = make_items(documents, group)
    dropped = dropped | rule["dropped"]
    del documents
    assigned = split_groups((item.group for item in items), dev, test, seed)
    splits: Splits = {name: [item for item in items if assigned[item.group] == name] for name in SPLITS}
    _say(console, splits, rule["reason"], dropped)

    leaks = find_leaks(splits["train"], splits["dev"] + splits["test"])
    splits, leak_summary, leak_record = _judge_leaks(splits, leaks)
    power = _power(splits)
    out.guards.check(leak_record, power)
    for result in (leak_record, power):
        if result.status != "pass":
            console.note(f"prepare: {result.guard}: {result.why}")

    manifest = {
        "schema": 1,
        "group_rule": {"rule": rule["rule"], "reason": rule["reason"]},
        "split_seed": seed,
        "source": asdict(source),
        "dropped": dropped,
        "rows_in": rows_in,
        "splits": {
            name: [
                {"id": item.id, "group": item.group, "sha256": sha256_text(item.text), "bytes": item.size}
                for item in members
            ]
            for name, members in splits.items()
        },
        "leaks": leak_summary,
    }
    with directory_atomic(out.data) as folder:
        for name, members in splits.items():
            write_items(folder / out.split(name).name, members)
        write_json(folder / out.profile.name, profile(splits))
        write_json(folder / out.manifest.name, manifest)


def _say(console: Console, splits: Splits, reason: str, dropped: dict[str, int]) -> None:
    parts = ", ".join(
        f"{name} {len({item.group for item in members})} ({size(sum(item.size for item in members))})"
        for name, members in splits.items()
    )
    console.note(f"prepare: groups: {parts}; {reason}")
    if dropped:
        console.note("prepare: dropped " + ", ".join(f"{count} x {why}" for why, count in dropped.items()))


def _judge_leaks(splits: Splits, leaks: Sequence[Leak]) -> tuple[Splits, dict[str, Any], GuardRecord]:
    """Drop leaking held-out items where they are few enough, and say what was found."""
    held = len(splits["dev"]) + len(splits["test"])
    leaking = {leak.held_id for leak in leaks}
    share = len(leaking) / held
    bound = limits("split-leak.share")
    shared = sorted({leak.passage for leak in leaks if leak.kind == "group"})
    kept: Splits = {
        name: members if name == "train" else [item for item in members if item.id not in leaking]
        for name, members in splits.items()
    }
    status = "fail" if shared or not all(kept.values()) else bound.status(share)
    groups = {item.id: item.group for members in splits.values() for item in members}
    measured = {
        "share": share,
        "leaking": len(leaking),
        "held_out": held,
        "kinds": dict(sorted(Counter(leak.kind for leak in leaks).items())),
        "examples": [
            asdict(leak) | {"held_group": groups[leak.held_id], "train_group": groups[leak.train_id]}
            for leak in leaks[:_EXAMPLES]
        ],
    }
    result = record(
        "split-leak", status, _leak_sentence(status, leaks, len(leaking), held, groups),
        measured=measured, threshold={"pass": bound.passes, "warn": bound.warns, "unit": "share of held-out items"},
    )  # fmt: skip
    summary = {"share": share, "count": len(leaking), "dropped_ids": sorted(leaking)}
    return kept, summary, result


def _leak_sentence(status: str, leaks: Sequence[Leak], leaking: int, held: int, groups: dict[str, str]) -> str:
    if not leaks:
        return f"none of {held} held-out texts also stands in training"
    first = leaks[0]
    passage = " ".join(first.passage.split())
    example = (
        f"{groups[first.held_id]!r} (held out) against {groups[first.train_id]!r} (training), by {first.kind}: "
        f'"{passage[:77] + "..." if len(passage) > 80 else passage}"'
    )
    found = f"{leaking} of {held} held-out texts ({leaking / held:.2%}) also stand in training"
    if status == "warn":
        return f"{found}; dropped from the held-out texts, {held - leaking} are left; for example {example}"
    return f"{found}; for example {example}"


def _power(splits: Splits) -> GuardRecord:
    """How many independent test groups there are; the detectable effect is known only with the verdict."""
    count = len({item.group for item in splits["test"]})
    every = len({item.group for members in splits.values() for item in members})
    bound = limits("power.groups")
    status = bound.status(count)
    needed = math.ceil(bound.warns)
    if status == "fail":
        why = (
            f"{count} test group{'' if count == 1 else 's'} of {every}: no verdict can be reached with fewer than "
            f"{needed}, whatever the model does"
        )
    else:
        why = f"{count} independent test groups of {every}"
        why += "" if status == "pass" else f"; {bound.passes:g} would show smaller effects"
    share = needed / every
    fix = None
    if status == "fail":
        fix = (
            f"hold out a larger share (--set data.split.test={math.ceil(share * 100) / 100:g} gives {needed}), "
            "or bring more groups"
            if share <= 0.5
            else f"bring more groups: {every} are too few to hold {needed} out and learn from the rest; "
            "data.group={blocks: 40} cuts a text finer, but neighbouring blocks are less independent"
        )
    return record(
        "power", status, why, fix=fix, measured={"test_groups": count, "groups": every},
        threshold={"pass": bound.passes, "warn": bound.warns, "unit": "independent test groups"},
    )  # fmt: skip
