"""The tables of a comparison as plain values: a header and rows of words, the same for terminal, page and files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay.core.console import duration, size
from assay.core.words import OUTCOMES, listed
from assay.stages.compare.costs import Cost
from assay.stages.compare.measured import Quality
from assay.stages.compare.runs import Compared, Comparison
from assay.stages.compare.words import count, decimals_for, fixed, interval, short
from assay.stats.verdict import p_text

NONE = "–"
SHOWN = ("train_seconds", "train_tokens_per_s", "peak_memory", "saved_bytes")  # costs beside each entry
UNSURE = {True: "", False: " *", None: " ?"}  # behind a cost that may not, or perhaps not, be held against others


@dataclass(frozen=True)
class Table:
    """A header and rows of words; `notes` are sentences below it."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def overview(c: Comparison) -> Table:
    """Entry, quality, difference, what may be said, and what it cost: one row for each entry, then what failed."""
    header = (
        "entry", "seeds", "bits per byte", "gain over its own base", f"fewer bits than {c.entries[0].name}", "p (Holm)",
        "outcome", "training", "tokens/s", "memory", "saved",
    )  # fmt: skip
    pairs: list[Compared | None] = [None, *c.pairs]
    rows = [
        (
            entry.name,
            str(len(own.seeds)),
            bits(own),
            gain(own),
            NONE if pair is None else difference(pair),
            NONE if pair is None else p_text(pair.p_holm).removeprefix("p = ").removeprefix("p "),
            "reference" if pair is None else OUTCOMES.get(pair.outcome, pair.outcome),
            *(cost(spent[key]) for key in SHOWN),
        )
        for entry, own, pair, spent in zip(c.entries, c.qualities, pairs, c.costs, strict=True)
    ]
    rows += [(one.name, NONE, NONE, NONE, NONE, NONE, "failed", NONE, NONE, NONE, NONE) for one in c.failed]
    return Table(header, tuple(rows), tuple(_marks(c)))


def _marks(c: Comparison) -> list[str]:
    """What the signs behind costs mean, where they stand."""
    found = {spent[key].comparable for spent in c.costs for key in SHOWN if spent[key].value is not None}
    said = []
    if False in found:
        said.append("* not comparable with the first entry's: under Costs it says why")
    if None in found:
        said.append("? not known to be comparable: under Costs it says why")
    return said


def bits(own: Quality) -> str:
    """An entry's bits per byte with its interval."""
    return _with_interval(own.tuned, own.low, own.high)


def gain(own: Quality) -> str:
    """An entry's gain over its own base with the interval, over seeds where there are several."""
    wide = own.gain_over_seeds or own.gain
    return _with_interval(wide.mean, wide.low, wide.high, sign=True)


def difference(pair: Compared) -> str:
    """A pair's difference with the interval that decides."""
    return _with_interval(pair.difference.mean, pair.low, pair.high, sign=True)


def _with_interval(value: float | None, low: float | None, high: float | None, *, sign: bool = False) -> str:
    if value is None:
        return NONE
    if low is None or high is None:
        return f"{fixed(value, 4, sign=sign)} (no interval)"
    digits = decimals_for((high - low) / 2)
    return f"{fixed(value, digits, sign=sign)} ({interval(low, high, digits)})"


def cost(one: Cost) -> str:
    """A cost in words with its unit, and the sign of what may not be compared."""
    if one.value is None:
        return NONE
    return amount(one.value, one.unit) + UNSURE[one.comparable]


def amount(value: float, unit: str) -> str:
    """A cost's value in words."""
    if unit == "bytes":
        return size(value)
    if unit == "s":
        return duration(value) if value >= 10 else f"{short(value, 2)} s"
    if unit == "count":
        return count(value)
    return short(value, 3)


def changes(c: Comparison) -> Table:
    """In what the entries differ: a row for each key, a column for each entry."""
    rows = [(row.key, *(NONE if value is None else value for value in row.values)) for row in c.changes.rows]
    return Table(("", *(entry.name for entry in c.entries)), tuple(rows))


def spent(c: Comparison) -> Table:
    """All costs: a row for each kind, a column for each entry; the notes say what may not be compared, and why."""
    rows = []
    said: dict[str, dict[str, list[str]]] = {}  # what is to be said → kind of cost → entries
    for item in c.costs[0].items:
        own = [costs[item.key] for costs in c.costs]
        unit = f", {item.unit}" if item.unit == "tokens/s" else ""
        rows.append((f"{item.label}{unit}", *(cost(one) for one in own)))
        for entry, one in zip(c.entries, own, strict=True):
            if words := one.reason or one.caution:
                said.setdefault(words, {}).setdefault(item.label, []).append(entry.name)
    notes = tuple(_note(words, kinds, len(c.entries)) for words, kinds in said.items())
    return Table(("", *(entry.name for entry in c.entries)), tuple(rows), notes)


def _note(words: str, kinds: dict[str, list[str]], entries: int) -> str:
    """``not recorded: Training, Evaluation of rank=4 and rank=8``; entries that share the kinds are told together."""
    together: dict[tuple[str, ...], list[str]] = {}
    for kind, names in kinds.items():
        together.setdefault(tuple(names), []).append(kind)
    of = [
        f"{', '.join(own)} of {'all entries' if len(names) == entries > 1 else listed(names)}"
        for names, own in together.items()
    ]
    return f"{words}: {'; '.join(of)}"


def perplexities(c: Comparison) -> Table | None:
    """Perplexity of each entry; None where it may not be shown."""
    if not c.one_tokenizer or all(own.perplexity is None for own in c.qualities):
        return None
    rows = [(entry.name, short(own.perplexity)) for entry, own in zip(c.entries, c.qualities, strict=True)]
    return Table(("entry", "perplexity per token"), tuple(rows))


def failures(c: Comparison) -> Table:
    """What has no numbers, and why."""
    return Table(("entry", "run", "why"), tuple((one.name, one.run or NONE, one.why) for one in c.failed))


def plain_rows(c: Comparison) -> tuple[list[str], list[list[Any]]]:
    """The comparison as one flat table of numbers, for a spreadsheet: a row for each entry, then what failed."""
    kinds = [item.key for item in c.costs[0].items]
    header = [
        "entry", "status", "seeds", "bits_per_byte", "low", "high", "base_bits_per_byte", "gain", "gain_low",
        "gain_high", "against", "fewer_bits", "fewer_bits_low", "fewer_bits_high", "p", "p_holm", "outcome", "scope",
        "one_change", *kinds, *(f"{kind}_comparable" for kind in kinds),
        "runs", "reason",
    ]  # fmt: skip
    rows = [_plain_row(c, n) for n in range(len(c.entries))]
    for one in c.failed:
        row: list[Any] = [None] * len(header)
        row[0], row[1], row[-2], row[-1] = one.name, "failed", one.run, one.why
        rows.append(row)
    return header, rows


def _plain_row(c: Comparison, n: int) -> list[Any]:
    entry, own, costs = c.entries[n], c.qualities[n], c.costs[n]
    wide, pair = own.gain_over_seeds or own.gain, c.pairs[n - 1] if n else None
    against: Sequence[Any] = [None] * 9
    if pair is not None:
        against = (
            pair.against, pair.difference.mean, pair.low, pair.high, pair.p, pair.p_holm, pair.outcome, pair.scope,
            pair.causal,
        )  # fmt: skip
    return [
        entry.name, "measured", " ".join(map(str, own.seeds)), own.tuned, own.low, own.high, own.base, wide.mean,
        wide.low, wide.high, *against, *(item.value for item in costs.items),
        *(item.comparable for item in costs.items), " ".join(run.path.name for run in entry.runs), own.reason,
    ]  # fmt: skip
