"""Guards on what is compared with what: looks at the test texts, units of the numbers, and the change between runs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.core.guard import GuardRecord, Status, limits, record, worst
from assay.core.words import listed
from assay.guards.wording import bounds, count, named, sentence


def selection_hygiene(looks: int, *, chosen: Sequence[str], shared: int) -> GuardRecord:
    """Were the choices made on dev, and were the test texts fresh?

    Args:
        looks: how many different weights were measured on these test texts, these included.
        chosen: what was chosen by the dev texts (the best checkpoint, the early stop); none: nothing was.
        shared: how many test texts also stand among the dev texts.
    """
    bound = limits("selection-hygiene.looks")
    measured = {"looks": looks, "chosen": list(chosen), "shared": shared}
    threshold = {"looks": bound.passes, "shared": 0}
    if shared and chosen:
        why = f"{named(chosen)} was chosen on the test texts: {count(shared, 'test text')} also stand in the dev split"
        return record("selection-hygiene", "fail", why, measured=measured, threshold=threshold)
    found = [f"chosen on dev: {named(chosen)}" if chosen else "nothing was chosen by these texts"]
    status: Status = bound.status(looks)
    if shared:
        status = "warn"
        found.append(f"{count(shared, 'test text')} also stand in the dev split, by which nothing was chosen")
    found.append(
        "the first weights measured on these test texts"
        if looks == 1
        else f"{looks} different weights were measured on these test texts, so p is multiplied by {looks}"
    )
    return record("selection-hygiene", status, sentence(found), measured=measured, threshold=threshold)


def common_currency(one: Mapping[str, Any], other: Mapping[str, Any], *, same_texts: bool, lossy: float) -> GuardRecord:
    """May the numbers of two runs stand beside each other?

    Args:
        one: how a run was measured: `window`, `stride`, `bos_rule`, `dtype`, `tokenizer_sha256`.
        other: likewise.
        same_texts: whether both were measured on the same test texts.
        lossy: the larger of both tokenizers' shares of bytes that do not survive encoding and decoding.
    """
    bound = limits("common-currency.lossy")
    differing = [key for key in ("window", "stride", "bos_rule") if one[key] != other[key]]
    tokenizers = one["tokenizer_sha256"] != other["tokenizer_sha256"]
    measured = {
        "same_texts": same_texts,
        "differing": differing,
        "dtypes": [one["dtype"], other["dtype"]],
        "tokenizers_differ": tokenizers,
        "lossy": lossy,
    }
    wrong = [f"{key} is {one[key]} and {other[key]}" for key in differing]
    precision = one["dtype"] != other["dtype"]
    if not same_texts:
        wrong.insert(0, "the test texts are not the same")
    status: Status = "fail" if wrong else worst([bound.status(lossy), "warn" if precision else "pass"])
    if precision:
        wrong.append(f"products in {one['dtype']} and {other['dtype']}, which round differently")
    if lossy:
        wrong.append(f"{100 * lossy:.2g} % of the bytes do not survive encoding and decoding")
    why = sentence(wrong) or "the same test texts, window, stride and beginning of texts" + (
        "; two tokenizers, so bits per byte are compared and perplexities are not" if tokenizers else ""
    )
    return record("common-currency", status, why, measured=measured, threshold=bounds(bound))


@dataclass(frozen=True)
class Rows:
    """The training rows of two runs: how many each has, and how many stand in both."""

    counts: tuple[int, int]
    common: int

    @property
    def nested(self) -> bool:
        """Whether the rows of one are a part of the other's."""
        return self.common == min(self.counts)

    @property
    def as_many(self) -> bool:
        """Whether both have as many."""
        return self.counts[0] == self.counts[1]

    def said(self) -> str:
        """``100 and 300 rows, of which 20 stand in both``."""
        return f"{self.counts[0]:,} and {self.counts[1]:,} rows, of which {self.common or 'none'} stand in both"


@dataclass(frozen=True)
class Length:
    """How long a run was trained; `epochs` is None where it is not recorded.

    `asked` are the epochs that its experiment asks for; None where it asks for steps.
    """

    steps: int
    epochs: float | None
    asked: float | None = None


LENGTH = {"train.steps", "train.epochs"}  # keys that say how long to train
DATA = "the training data"


def one_change(
    changes: Collection[str],
    harmless: Collection[str],
    *,
    data: Rows | None,
    lengths: tuple[Length, Length],
    along: Mapping[str, str] | None = None,
    besides: Mapping[str, str] | None = None,
    fix: str | None = None,
    declared: Mapping[str, Collection[str]] | None = None,
) -> GuardRecord:
    """Do two runs differ in one thing, so that the difference can be put down to it?

    More data is one thing where the rows of one run are a part of the other's, and both were trained for as many steps
    or for as many epochs, however that was written. Another number of other rows is two things.

    Args:
        changes: keys of the experiment that differ and may have moved the result.
        harmless: keys that differ and cannot have.
        data: the training rows, where they differ.
        lengths: how long each was trained.
        along: keys that follow another one of `changes` by a rule, and the rule in words; they are no change of their
            own.
        besides: what was computed otherwise, as by another version of a library, with both values in words: it should
            move the result by rounding alone, and so is no change, but a warning.
        fix: what to do about one of `changes`, where that is known.
        declared: factors in which the two were declared to differ, and the keys that each changes. Where all that
            differs is theirs it fails only for more rows that no declaration makes comparable: other ones, or at
            neither equal steps nor equal epochs.
    """
    held = _held(lengths) if data else None
    counted = set(changes) - (LENGTH if data and held else set())
    what = [*sorted(counted), *([DATA] if data else [])]
    factors = _factors(what, data, held, declared or {})
    measured = {
        "changes": sorted(counted), "harmless": sorted(harmless), "along": dict(along or {}),
        "besides": dict(besides or {}),
        "data": data and {"rows": list(data.counts), "common": data.common, "nested": data.nested},
        "steps": [one.steps for one in lengths], "epochs": [one.epochs for one in lengths], "held": held,
        "factors": factors,
    }  # fmt: skip

    def found(status: Status, why: str, fix: str | None = None) -> GuardRecord:
        if besides:
            status, why = worst([status, "warn"]), why + _rounded(besides)
        return record("one-change", status, why, measured=measured, threshold={"changes": 1}, fix=fix)

    if factors:
        return found("warn", *_as_declared(factors, what, data))
    if data and not data.nested:
        return found("fail", _other_rows(data, sorted(counted)), more_data(data, lengths))
    if len(what) > limits("one-change.changes").passes:
        return found("fail", *_several(what, data, lengths, fix))
    if not what:
        what_else = "their training seed alone" if "seed" in harmless else "nothing that decides the result"
        return found("pass", f"the runs differ in {what_else}")
    if data:
        return found("warn", _rows_alone(data, lengths), more_data(data, lengths))
    beside = "".join(f", with {key} {rule}" for key, rule in (along or {}).items())
    beside += f", and harmlessly in {named(sorted(harmless))}" if harmless else ""
    return found("warn" if harmless else "pass", f"the runs differ in {what[0]}{beside}")


def _other_rows(data: Rows, besides: Sequence[str]) -> str:
    why = f"the training data are not a part of each other ({data.said()}): {_rows_or_number(data)}"
    return why + (f"; besides, {named(besides)} differ" if besides else "")


def _several(
    what: Sequence[str], data: Rows | None, lengths: tuple[Length, Length], fix: str | None
) -> tuple[str, str | None]:
    """That too much differs, and what to do: about that for which there is a fix, and about the rest."""
    why = f"{count(len(what), 'thing')} differ: {named(what, most=6)}"
    if data and LENGTH & set(what):
        why += f" ({_lengths(lengths)}: neither equal steps nor equal epochs)"
    rest = more_data(data, lengths) if data else "change one key at a time" if fix and len(what) > 2 else None
    return why, "; ".join(filter(None, (fix, rest))) or None


def _factors(
    what: Sequence[str], data: Rows | None, held: str | None, declared: Mapping[str, Collection[str]]
) -> list[str]:
    """The declared factors that between them change all of this; none where it is one change, something is no factor's,
    or no declaration could make the rows comparable."""
    if data and not data.as_many and (not data.nested or held is None):
        return []
    if len(what) < 2 and (data is None or data.nested):
        return []
    if any(not any(_changes(keys, change) for keys in declared.values()) for change in what):
        return []
    return [factor for factor, keys in declared.items() if any(_changes(keys, change) for change in what)]


def _changes(keys: Collection[str], change: str) -> bool:
    """Whether a factor of these keys makes a change: that of a key or a part of it, of the length, of the data."""
    if change == DATA:
        return any(key.startswith("data.") for key in keys)
    if change in LENGTH:
        return bool(LENGTH & set(keys))
    return any(change == key or change.startswith(f"{key}.") for key in keys)


def _as_declared(factors: Sequence[str], what: Sequence[str], data: Rows | None) -> tuple[str, str | None]:
    """What a difference of several things that was declared can tell, and what could tell more."""
    rows = f" ({data.said()})" if data and not data.nested else ""
    if len(factors) > 1:
        why = f"the runs differ in the factors {listed(factors)}, as declared{rows}"
        fix = "hold it against the runs that differ from it in one factor alone: assay compare RUN RUN"
        return f"{why}: which of them did it cannot be told from this pair", fix
    if data and len(what) == 1:
        return f"the factor {factors[0]} changes {DATA}{rows}: {_rows_or_number(data)}", None
    which = "the two" if len(what) == 2 else "them"
    why = f"the factor {factors[0]} changes {listed(what)} together{rows}: which of {which} did it cannot be told"
    split = "make a factor of each key, and let sweep.cross make every combination"
    return why, split


def _rounded(besides: Mapping[str, str]) -> str:
    """What was computed otherwise, to stand behind the rest of the sentence."""
    told = named([f"{key} ({values})" for key, values in besides.items()], most=len(besides))
    return f"; {told} {'differs' if len(besides) == 1 else 'differ'} too, which should be no more than rounding"


def _rows_alone(data: Rows, lengths: tuple[Length, Length]) -> str:
    """That the number of rows is all that differs, and at what."""
    why = f"the runs differ in the number of training rows ({data.counts[0]:,} and {data.counts[1]:,}), "
    why += {"steps": f"both at {count(lengths[0].steps, 'step')}", "epochs": f"both at {_lengths(lengths)}"}.get(
        str(_held(lengths)), f"at {_lengths(lengths)}"
    )
    return f"{why}: what more data do takes the comparison at equal steps and the one at equal epochs"


def _held(lengths: tuple[Length, Length]) -> str | None:
    """What is equal in how long two runs were trained: `steps`, `epochs`, or neither."""
    one, other = lengths
    if one.steps == other.steps:
        return "steps"
    if one.epochs is None or other.epochs is None:
        return None
    apart = abs(one.epochs - other.epochs) / max(one.epochs, other.epochs)
    return "epochs" if limits("one-change.epochs").status(apart) == "pass" else None


def _lengths(lengths: tuple[Length, Length]) -> str:
    """``1 epoch, in 30 and 90 steps``, or what else there is to say."""
    steps = f"{lengths[0].steps} and {lengths[1].steps} steps"
    one, other = (one.epochs for one in lengths)
    if one is None or other is None:
        return steps
    if _held(lengths) == "epochs":
        return f"{_epochs(one)} epoch{'' if _epochs(one) == '1' else 's'}, in {steps}"
    return f"{steps}, {_epochs(one)} and {_epochs(other)} epochs"


def _epochs(number: float) -> str:
    return f"{number:.3g}"


def _rows_or_number(data: Rows) -> str:
    if data.as_many:
        return "they are as many, so that the difference is one of rows alone, and which rows cannot be told"
    return "which rows they are, and not their number, may make the difference"


def more_data(data: Rows, lengths: tuple[Length, Length]) -> str | None:
    """The design that shows what more data do, with the numbers of these runs; None where both have as many rows, or
    the epochs are not recorded.

    At equal steps the run with more rows sees each of them less often; at equal epochs it is trained for longer. What
    more data do takes both, each held against the fewer rows: they are the experiment as it stands, with their length
    as their run's experiment has it, which gives the same steps again.
    """
    fewer = lengths[data.counts.index(min(data.counts))]
    if data.as_many or fewer.epochs is None:
        return None
    epochs = _epochs(fewer.epochs) if fewer.asked is None else f"{fewer.asked:g}"
    values = {"steps": str(fewer.steps), "epochs": epochs}
    own, other = ("steps", "epochs") if fewer.asked is None else ("epochs", "steps")
    rows = f"data.split.train_rows: [{max(data.counts)}]"
    return (
        "let data.source hold all rows; data.split.train_rows then chooses the fewer among the more. In the experiment "
        "file, for `assay sweep`, which holds both against the fewer rows:\n"
        f"    data: {{split: {{train_rows: {min(data.counts)}}}}}\n"
        f"    train: {{{own}: {values[own]}}}\n"
        "    ablations:\n"
        f"      equal-{own}: {{{rows}}}\n"
        f"      equal-{other}: {{{rows}, train.{other}: [{values[other]}]}}"
    )
