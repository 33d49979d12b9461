"""In what two runs differ: keys of their identities, training rows, and how long they were trained."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from assay.core.files import read_json
from assay.core.guard import GuardRecord
from assay.core.rundir import RunDir
from assay.data.manifest import read_manifest
from assay.guards import comparison
from assay.guards.comparison import Length, Rows
from assay.stages.compare.measured import Measured

Json = dict[str, Any]
_LIBRARIES = ("torch", "transformers")
# Keys that say how to compute and not what, and the plan's decision that came of each.
_COMPUTED = {"train.device": "device", "train.kernels": "kernels"}


@dataclass(frozen=True)
class Declared:
    """What a sweep's experiment declares: the keys of each factor, and by entry its level of each.

    The experiment as it stands has no level; nor have runs that were chosen by hand.
    """

    keys: Mapping[str, Collection[str]] = field(default_factory=dict)
    levels: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def between(self, one: str, other: str) -> dict[str, Collection[str]]:
        """The factors in which two entries were declared to differ, with their keys."""
        if one not in self.levels or other not in self.levels:
            return {}
        a, b = self.levels[one], self.levels[other]
        return {factor: keys for factor, keys in self.keys.items() if a.get(factor) != b.get(factor)}


def one_change(
    first: Measured,
    other: Measured,
    *,
    seeds_differ: bool = False,
    declared: Mapping[str, Collection[str]] | None = None,
) -> GuardRecord:
    """The guard's record of two entries, each told by one of its runs: do they differ in one thing?

    Args:
        first: a run of the one.
        other: a run of the other.
        seeds_differ: whether the entries were trained with other seeds.
        declared: factors in which a sweep declares the two to differ, with their keys.

    Raises:
        InputError: a file of one of the runs is missing or damaged.
    """
    one, two = (dict(flat(run.identity)) for run in (first, other))
    along = _along(one, two)
    precisions, besides = _precisions(first, other), _besides(first, other)
    differing = differences(one, two) - along.keys()
    wishes = differing & _COMPUTED.keys()  # what came of them counts
    differing = (differing - wishes) | ({"train.precision (auto, chosen otherwise)"} if precisions else set())
    of_data = {key for key in differing if key.startswith("data.")}
    same = first.identity["data"]["content"] == other.identity["data"]["content"] and not of_data
    data = None if same else rows(first.run, other.run)
    # keys of the data section matter by what they made of the texts, and that is looked at itself
    harmless = {key for key in of_data if data is None} | (wishes - besides.keys())
    # a chat template leaves the texts alone, and changes what the model reads
    template = {"data.chat_template"} & differing
    return comparison.one_change(
        (differing - of_data) | template, (harmless - template) | ({"seed"} if seeds_differ else set()), data=data,
        lengths=(length(first), length(other)), along=along, besides=besides,
        fix=f"set train.precision to {' or '.join(precisions)} and run the other one again" if precisions else None,
        declared=declared,
    )  # fmt: skip


def _precisions(first: Measured, other: Measured) -> list[str]:
    """The precisions, where the plans chose other ones: by the machine's speed, so that no setting need differ."""
    found = [_value(_decisions(run).get("precision")) for run in (first, other)]
    wished = [run.identity["train"].get("precision") for run in (first, other)]
    apart = None not in found and found[0] != found[1] and wished[0] == wished[1]
    return [str(value) for value in found] if apart else []


def _besides(first: Measured, other: Measured) -> dict[str, str]:
    """What computed the runs, where it is on record for both and not the same: libraries, device and kernels."""
    receipts = [read_json(run.run.receipt) if run.run.receipt.is_file() else {} for run in (first, other)]
    plans = [_decisions(run) for run in (first, other)]
    found = {name: [(own.get("versions") or {}).get(name) for own in receipts] for name in _LIBRARIES}
    found |= {key: [_value(own.get(decision)) for own in plans] for key, decision in _COMPUTED.items()}
    return {key: f"{a} and {b}" for key, (a, b) in found.items() if None not in (a, b) and a != b}


def _decisions(run: Measured) -> Json:
    found: Json = read_json(run.run.plan)["decisions"] if run.run.plan.is_file() else {}
    return found


def _value(decision: Any) -> Any:
    """What was decided, whether or not a reason stands beside it."""
    return decision.get("value") if isinstance(decision, Mapping) else decision


def differences(one: Json, two: Json) -> set[str]:
    """Keys of two flat identities that differ, less those that differ because another one does.

    A full fine-tune has no rank; steps stand in for epochs.
    """
    differing = {key for key in one.keys() | two.keys() if one.get(key) != two.get(key)}
    only_one = {key for key in one.keys() ^ two.keys() if key.startswith("adapter.")}
    sides = [(one.get(key), two.get(key)) for key in ("train.steps", "train.epochs")]
    swapped = all(a != b for a, b in sides) and all(None in pair for pair in sides)
    return differing - only_one - ({"train.epochs"} if swapped else set())


def _along(one: Json, two: Json) -> dict[str, str]:
    """Alpha that was changed with the rank so that the adapter's scale, alpha ÷ rank (rsLoRA: ÷ √rank), is the same."""
    before, after = scale(one), scale(two)
    changed = all(one.get(key) != two.get(key) for key in ("adapter.rank", "adapter.alpha"))
    if not changed or before is None or after is None or not math.isclose(before, after):
        return {}
    return {"adapter.alpha": f"in proportion, so that the adapter's scale stays {before:g}"}


def scale(identity: Mapping[str, Any]) -> float | None:
    """What an adapter's output is multiplied by, from a flat identity; None without an adapter."""
    rank, alpha = identity.get("adapter.rank"), identity.get("adapter.alpha")
    if rank is None or alpha is None:
        return None
    return float(alpha) / (math.sqrt(rank) if identity.get("adapter.rslora") else float(rank))


def flat(identity: Json) -> Iterator[tuple[str, Any]]:
    """The keys of an identity but the seed, dotted, with their values; what the data hold is left out."""
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


def rows(one: RunDir, other: RunDir) -> Rows | None:
    """The training rows of two runs, told apart by their content; None where they are the same."""
    a, b = (
        Counter(row["sha256"] for row in read_manifest(run.manifest_rows, ["train"])["train"]) for run in (one, other)
    )
    return None if a == b else Rows((a.total(), b.total()), (a & b).total())


def length(run: Measured) -> Length:
    """How long a run was trained: its steps, and the tokens that it learned from ÷ those of its training rows."""
    tokens, each = run.training.get("tokens"), (run.training.get("corpus") or {}).get("tokens_per_epoch")
    wish = run.identity["train"]
    asked = wish.get("epochs") if wish.get("steps") is None else None
    return Length(run.training["steps"], tokens / each if tokens and each else None, asked)
