"""May these runs stand beside each other, and what may their difference be put down to? The guards of a comparison."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any

from assay.core.errors import GuardError
from assay.core.guard import GuardRecord
from assay.core.words import count
from assay.data.manifest import read_manifest
from assay.guards import comparison, scoring
from assay.guards.wording import named, sentence
from assay.stages.compare.measured import Measured

Json = dict[str, Any]


def check_together(runs: Sequence[Measured]) -> None:
    """Nothing, where all these runs' numbers may stand beside each other.

    Raises:
        GuardError: two were not measured on the same texts in the same way, or have scores that cannot both be real.
    """
    for other in runs[1:]:
        _raise(currency(runs[0], other), runs[0], other, _other_texts(runs[0], other))
    for one, other in combinations(runs, 2):
        _raise(equality(one, other), one, other, None)


def _raise(record: GuardRecord, one: Measured, other: Measured, difference: str | None) -> None:
    if record.status == "fail":
        why = record.why if difference is None else f"{record.why}; {difference}"
        raise GuardError(record.guard, why, where=f"{one.name} and {other.name}", fix=record.fix)


def currency(one: Measured, other: Measured) -> GuardRecord:
    """Both were measured on the same test texts, in the same windows."""
    settings = one.settings, other.settings
    return comparison.common_currency(
        *settings, same_texts=_same_texts(one, other), lossy=max(s["lossy_share"] for s in settings)
    )


def _same_texts(one: Measured, other: Measured) -> bool:
    columns = ("id", "group", "bytes")
    return one.texts.select(columns).equals(other.texts.select(columns)) and _draw(one) == _draw(other)


def _draw(run: Measured) -> tuple[int, int] | None:
    """How excerpts of long groups were drawn, limit and seed; None where no group is long enough for that."""
    limit = run.settings.get("max_bytes_per_group")
    if limit is None:
        return None
    sizes: dict[str, int] = {}
    for row in read_manifest(run.run.manifest_rows, ["test"])["test"]:
        sizes[row["group"]] = sizes.get(row["group"], 0) + row["bytes"]
    return (limit, run.identity["data"]["split"]["seed"]) if max(sizes.values(), default=0) > limit else None


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
    sides = [dict(leaves("data", run.identity["data"])) for run in (one, other)]
    found = [
        f"{key} ({_shown(sides[0].get(key))} and {_shown(sides[1].get(key))})"
        for key in dict.fromkeys([*sides[0], *sides[1]])
        if sides[0].get(key) != sides[1].get(key)
    ]
    files = [_files(run.identity["data"].get("content")) for run in (one, other)]
    if files[0] != files[1]:
        found.append(f"the source files ({files[0]} and {files[1]})")
    limits = [run.settings.get("max_bytes_per_group") for run in (one, other)]
    if limits[0] != limits[1]:
        found.append(f"evaluate.max_bytes_per_group ({_shown(limits[0])} and {_shown(limits[1])})")
    return found


def _files(content: Any) -> str:
    files = content.get("files", []) if isinstance(content, Mapping) else []
    return ", ".join(f"{file['name']} {file['sha256'][:8]}" for file in files[:3]) or "none"


def _shown(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def equality(one: Measured, other: Measured) -> GuardRecord:
    """Two different models do not give a long text exactly the same score, nor two tokenizers all the same counts."""
    columns = ("id", "tokens", "nll_tuned")
    ids, tokens, nats = (one.texts[name].to_list() for name in columns)
    other_tokens, other_nats = (other.texts[name].to_list() for name in columns[1:])
    return scoring.impossible_equality(
        zip(ids, tokens, nats, other_nats, strict=True),
        weights_differ=one.weights != other.weights,
        same_counts=one.settings["tokenizer_sha256"] != other.settings["tokenizer_sha256"] and tokens == other_tokens,
    )


def one_change(first: Measured, other: Measured, *, seeds_differ: bool) -> GuardRecord:
    """Do two entries differ in one thing? Each is told by one of its runs: these differ in their seeds alone."""
    one, two = (dict(_identity(run.identity)) for run in (first, other))
    differing = {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)} - _implied(one, two)
    data = None
    if first.identity["data"]["content"] != other.identity["data"]["content"] or any(
        key.startswith("data.") for key in differing
    ):
        data = _training_texts(first, other)
    # keys of the data section matter by what they made of the texts, and that is looked at itself
    harmless = {key for key in differing if key.startswith("data.") and data is None}
    # a chat template leaves the texts alone, and changes what the model reads
    template = {"data.chat_template"} & differing
    harmless -= template
    changes = {key for key in differing if not key.startswith("data.")} - harmless | template
    return comparison.one_change(
        changes, harmless | ({"seed"} if seeds_differ else set()), data=data,
        steps=(first.training["steps"], other.training["steps"]),
    )  # fmt: skip


def _implied(one: Json, two: Json) -> set[str]:
    """Keys that differ because another one does: a full fine-tune has no rank; steps stand in for epochs."""
    only_one = {key for key in one.keys() ^ two.keys() if key.startswith("adapter.")}
    length = ("train.steps", "train.epochs")
    sides = [(one.get(key), two.get(key)) for key in length]
    swapped = all(a != b for a, b in sides) and all(None in pair for pair in sides)
    return only_one | ({"train.epochs"} if swapped else set())


def _identity(identity: Json) -> Iterator[tuple[str, Any]]:
    yield "base", identity["base"]["hash"]
    for section in ("adapter", "train", "data"):
        yield from leaves(section, identity[section])


def leaves(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of one section of an identity; what the data files hold is not among them."""
    if prefix == "data.content":
        return
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from leaves(f"{prefix}.{key}", inner)
    else:
        yield prefix, value


def _training_texts(one: Measured, other: Measured) -> str | None:
    """How the training texts differ: not at all (None), one part of the other (`nested`), or otherwise (`other`)."""
    a, b = (_hashes(run) for run in (one, other))
    if a == b:
        return None
    return "nested" if a < b or b < a else "other"


def _hashes(run: Measured) -> set[str]:
    return {row["sha256"] for row in read_manifest(run.run.manifest_rows, ["train"])["train"]}
