"""May these runs stand beside each other, and what may their difference be put down to? The guards of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from typing import Any

from assay.core.errors import GuardError
from assay.core.guard import GuardRecord
from assay.core.scales import drawn
from assay.core.words import count
from assay.data.manifest import read_manifest
from assay.guards import comparison, scoring
from assay.guards.wording import named, sentence
from assay.stages.compare.measured import Measured
from assay.stages.compare.one_change import leaves

Json = dict[str, Any]


def check_together(runs: Sequence[Measured]) -> None:
    """Nothing, where all these runs' numbers may stand beside each other.

    Raises:
        GuardError: two were not measured on the same texts in the same way, or have scores that cannot both be real.
    """
    for other in runs[1:]:
        _raise(currency(runs[0], other), runs[0], other, _other_texts(runs[0], other))
    for one, other in combinations(runs, 2):
        if _look_alike(one, other):  # of many runs there are very many pairs
            _raise(equality(one, other), one, other, None)


def _look_alike(one: Measured, other: Measured) -> bool:
    """Whether any text has the same score, or two tokenizers all the same counts: the guard says what that means."""
    return _same_counts(one, other) or bool((one.texts["nll_tuned"] == other.texts["nll_tuned"]).any())


def _same_counts(one: Measured, other: Measured) -> bool:
    two = one.settings["tokenizer_sha256"] != other.settings["tokenizer_sha256"]
    return two and one.texts["tokens"].equals(other.texts["tokens"])


def _raise(record: GuardRecord, one: Measured, other: Measured, difference: str | None) -> None:
    if record.status == "fail":
        why = record.why if difference is None else f"{record.why}; {difference}"
        raise GuardError(record.guard, why, where=f"{one.name} and {other.name}", fix=record.fix)


def currency(one: Measured, other: Measured) -> GuardRecord:
    """Both were measured on the same test texts, in the same windows."""
    settings = one.settings, other.settings
    found = comparison.common_currency(
        *settings, same_texts=_same_texts(one, other), lossy=max(s["lossy_share"] for s in settings)
    )
    return found if found.status == "pass" else replace(found, fix=_fix(one, other, found.measured) or found.fix)


def _fix(one: Measured, other: Measured, found: Json) -> str | None:
    """What makes the two comparable, from what the guard found to differ; None where there is nothing to be done."""
    fixes = [] if found["same_texts"] else _texts_fix(one, other)
    if keys := [f"evaluate.{key}" for key in found["differing"] if key in ("window", "stride")]:
        fixes.append(f"evaluate both with the same {' and '.join(keys)}")
    if "bos_rule" in found["differing"]:
        fixes.append("evaluate both with the same version of assay")
    if len(set(found["dtypes"])) > 1:
        fixes.append(f"set train.precision to {' or '.join(found['dtypes'])} and run the other one again")
    return "; ".join(fixes) or None


def _texts_fix(one: Measured, other: Measured) -> list[str]:
    """What makes the test texts the same: of other texts a file of them, of other excerpts what they were drawn by."""
    seeds_drew = _split_seed(one) != _split_seed(other) and bool(_draw(one) or _draw(other))
    if _test_rows(one) != _test_rows(other):
        ways = ["test files (data.split.test: held-out.csv)" + (" and data.split.seed" if seeds_drew else "")]
        if (keys := list(_differing_keys(one, other))) and not _files_differ(one, other):
            ways = [*([] if seeds_drew and keys == ["data.split.seed"] else ways), named(keys, most=4)]
        return ["give both the same " + ", or the same ".join(ways)]
    fixes = []
    if seeds_drew:
        fixes.append("give both one data.split.seed, or leave evaluate.max_bytes_per_group out of both")
    limits = [run.settings.get("max_bytes_per_group") for run in (one, other)]
    if limits[0] != limits[1]:
        fixes.append("evaluate both with the same evaluate.max_bytes_per_group")
    return fixes or ["evaluate both again: their test texts are the same, and what was scored of them is not"]


def _same_texts(one: Measured, other: Measured) -> bool:
    columns = ("id", "group", "bytes")
    return one.texts.select(columns).equals(other.texts.select(columns)) and _draw(one) == _draw(other)


def _draw(run: Measured) -> tuple[int, Any] | None:
    """How excerpts of long groups were drawn, limit and seed; None where no group is long enough for that."""
    return drawn(run.settings.get("max_bytes_per_group"), _split_seed(run), run.run.manifest_rows)


def _split_seed(run: Measured) -> Any:
    return run.identity["data"]["split"]["seed"]


def _test_rows(run: Measured) -> set[tuple[str, str]]:
    """The test texts, from before excerpts were drawn."""
    return {(row["id"], row["sha256"]) for row in read_manifest(run.run.manifest_rows, ["test"])["test"]}


def _other_texts(one: Measured, other: Measured) -> str | None:
    """Which test texts are one side's alone, and the keys that made it so; None where they are the same."""
    if _same_texts(one, other):
        return None
    groups = [set(run.texts["group"].to_list()) for run in (one, other)]
    both = groups[0] & groups[1]
    found = [f"{count(len(both), 'group')} in both"]
    for run, own in zip((one, other), groups, strict=True):
        if alone := sorted(own - both):
            found.append(f"{count(len(alone), 'group')} in {run.name} alone ({named(alone)})")
    texts = [
        set(run.texts.filter(run.texts["group"].is_in(list(both))).select("id", "bytes").rows()) for run in (one, other)
    ]
    if differing := len(texts[0] ^ texts[1]):
        found.append(f"{count(differing, 'text')} of the groups in both are one side's alone")
    if len(found) == 1 and not differing:
        found.append("other excerpts of their texts")
    made = _made_otherwise(one, other)
    return sentence([*found, f"made so by {named(made, most=8)}" if made else "by files that differ in nothing else"])


def _made_otherwise(one: Measured, other: Measured) -> list[str]:
    """The keys of the data that differ, with both values; of the files, the beginnings of their hashes."""
    keys = _differing_keys(one, other)
    found = [f"{key} ({_shown(values[0])} and {_shown(values[1])})" for key, values in keys.items()]
    if _files_differ(one, other):
        files = [_files(run.identity["data"].get("content")) for run in (one, other)]
        found.append(f"the source files ({files[0]} and {files[1]})")
    limits = [run.settings.get("max_bytes_per_group") for run in (one, other)]
    if limits[0] != limits[1]:
        found.append(f"evaluate.max_bytes_per_group ({_shown(limits[0])} and {_shown(limits[1])})")
    return found


def _differing_keys(one: Measured, other: Measured) -> dict[str, tuple[Any, Any]]:
    """The keys of the data section that differ, with both values."""
    mine, theirs = (dict(leaves("data", run.identity["data"])) for run in (one, other))
    both = {key: (mine.get(key), theirs.get(key)) for key in dict.fromkeys([*mine, *theirs])}
    return {key: values for key, values in both.items() if values[0] != values[1]}


def _files_differ(one: Measured, other: Measured) -> bool:
    contents = [run.identity["data"].get("content") for run in (one, other)]
    return _files(contents[0]) != _files(contents[1])


def _files(content: Any) -> str:
    files = content.get("files", []) if isinstance(content, Mapping) else []
    return ", ".join(f"{file['name']} {file['sha256'][:8]}" for file in files[:3]) or "none"


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def equality(one: Measured, other: Measured) -> GuardRecord:
    """Two different models do not give a long text exactly the same score, nor two tokenizers all the same counts."""
    ids, tokens, nats = (one.texts[name].to_list() for name in ("id", "tokens", "nll_tuned"))
    return scoring.impossible_equality(
        zip(ids, tokens, nats, other.texts["nll_tuned"].to_list(), strict=True),
        weights_differ=one.weights != other.weights,
        same_counts=_same_counts(one, other),
    )
