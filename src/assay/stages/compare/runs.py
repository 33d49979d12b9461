"""Entries on the same held-out texts: which is better, by how much, and what the difference may be put down to."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from assay.core.errors import InputError
from assay.core.guard import GuardRecord, limits
from assay.core.rundir import RunDir
from assay.core.words import count, listed
from assay.stages.compare import checks
from assay.stages.compare.changes import Changes, changes
from assay.stages.compare.conclusions import not_concluded
from assay.stages.compare.costs import Costs, costs
from assay.stages.compare.curves import Curves, curves
from assay.stages.compare.entries import Entry, Failed, entries, label
from assay.stages.compare.measured import (
    Measured,
    Quality,
    averaged,
    difference_rows,
    measure,
    over_seeds,
    quality,
)
from assay.stages.compare.one_change import Declared, one_change
from assay.stages.compare.selection import Selection, check_weights, select
from assay.stats.intervals import Undefined
from assay.stats.multiplicity import holm
from assay.stats.seeds import SeedVariance, seed_p
from assay.stats.tests import groups_needed
from assay.stats.verdict import RECIPE_SEEDS, Claim, Difference, amount_text, bpb_text, p_text, summarise

Json = dict[str, Any]
_NAMED = 3  # so many entries are named in a title


@dataclass(frozen=True)
class Compared:
    """One entry held against the first: above 0 it needs fewer bits than that.

    `difference` is over groups, of the means over `seeds`; `over_seeds` takes the seeds as draws of many, and is None
    below two. `low`, `high` and `p` are those that decide: `over_seeds`'s where there is one. `p_holm` is over all
    pairs of the comparison, those that failed too. `outcome` is one of a verdict's; `scope` what it covers, the recipe
    or these checkpoints; `causal` whether it may be put down to the one change. `found`, `claim` and `cause` say so in
    words.
    """

    name: str
    against: str
    difference: Difference
    over_seeds: SeedVariance | None
    seeds: tuple[int, ...]
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    outcome: str
    scope: Claim
    causal: bool
    found: str
    claim: str
    cause: str
    guards: list[GuardRecord]

    @property
    def sentence(self) -> str:
        """What was found, what that covers, and what it may be put down to."""
        return f"{self.found}; {self.claim}; {self.cause}"

    def as_json(self) -> Json:
        """All fields and the sentence, as plain JSON values."""
        return {**asdict(self), "sentence": self.sentence, "guards": [one.as_json() for one in self.guards]}


@dataclass(frozen=True)
class Comparison:
    """All that a comparison of entries came to; the first is what the others are held against.

    `qualities`, `costs` and `curves` are in the order of `entries`; `pairs` has one for each entry but the first.
    `selection` is the choice of a model by weighed criteria, None of one entry alone. `not_concluded` are sentences on
    what may not be concluded from all this. `absent` names the entry that was to be the first and has no numbers.
    """

    entries: tuple[Entry, ...]
    qualities: tuple[Quality, ...]
    pairs: tuple[Compared, ...]
    changes: Changes
    costs: tuple[Costs, ...]
    curves: Curves
    failed: tuple[Failed, ...] = ()
    selection: Selection | None = None
    one_tokenizer: bool = True
    settings: Mapping[str, Any] = field(default_factory=dict)
    not_concluded: tuple[str, ...] = ()
    absent: str | None = None

    @property
    def guards(self) -> list[GuardRecord]:
        """The records of all pairs."""
        return [record for pair in self.pairs for record in pair.guards]

    @property
    def note(self) -> str | None:
        """That another than was meant is what the others are held against, and why; None where it is the one meant."""
        if self.absent is None:
            return None
        why = "; ".join(dict.fromkeys(one.why for one in self.failed if one.name == self.absent))
        instead = f"every difference is against {self.entries[0].name} instead"
        return f"{self.absent} has no numbers ({why}): {instead if self.pairs else 'no difference is given'}"

    @property
    def title(self) -> str:
        """What is compared with what."""
        first, *others = [entry.name for entry in self.entries]
        if not others:
            return first
        said = f"{len(others)} entries" if len(others) > _NAMED else listed(others)
        return f"{said} against {first}"

    @property
    def summary(self) -> str:
        """One sentence: how many entries, over what."""
        first, groups = self.entries[0].name, self.qualities[0].gain.n_groups
        what = f"{count(len(self.entries), 'entry', 'entries')}, {count(groups, 'held-out group')}"
        if not self.pairs:
            return f"{what}: nothing to hold {first} against"
        return f"{what}; each is held against {first}, in bits per byte of the same held-out texts"

    def as_json(self) -> Json:
        """All fields, as plain JSON values."""
        found = {
            "schema": 1,
            "against": self.entries[0].name,
            "note": self.note,
            "entries": [
                {
                    "name": entry.name,
                    "factors": entry.factors,
                    "runs": [label(run) for run in entry.runs],
                    "seeds": list(own.seeds),
                    "quality": own.as_json(),
                    "costs": spent.as_json(),
                }
                for entry, own, spent in zip(self.entries, self.qualities, self.costs, strict=True)
            ],
            "pairs": [pair.as_json() for pair in self.pairs],
            "changes": self.changes.as_json(),
            "curves": self.curves.as_json(),
            "failed": [one.as_json() for one in self.failed],
            "selection": None if self.selection is None else self.selection.as_json(),
            "one_tokenizer": self.one_tokenizer,
            "settings": dict(self.settings),
            "not_concluded": self.not_concluded,
        }
        return {key: _listed(value) for key, value in found.items()}


def _listed(value: Any) -> Any:
    """The value with a list for each tuple in it, as JSON has them."""
    if isinstance(value, dict):
        return {key: _listed(item) for key, item in value.items()}
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


def compare(runs: Sequence[RunDir], weights: Mapping[str, float] | None = None) -> Comparison:
    """Compare runs that were chosen by hand: their entries, the first of them against the others.

    Raises:
        InputError: fewer than two runs, one is given twice, or one is not evaluated.
        GuardError: a run's numbers cannot be trusted, or two runs were measured differently.
    """
    if len({run.path.resolve() for run in runs}) < 2:
        raise InputError("a comparison needs two different runs", fix="assay compare RUN RUN; `assay runs` lists them")
    return comparison(entries(runs), weights=weights)


def comparison(
    entries: Sequence[Entry],
    failed: Sequence[Failed] = (),
    weights: Mapping[str, float] | None = None,
    declared: Declared | None = None,
) -> Comparison:
    """Hold each entry against the first.

    Args:
        entries: of `entries.entries`; one alone is described, and held against nothing.
        failed: what was to be compared too: it counts in the family of comparisons, for leaving out what broke would
            make the others' findings easier.
        weights: of the criteria by which a model is chosen.
        declared: what the sweep that made the entries declares to differ between them.

    Raises:
        InputError: there is no entry, a weight is none, or a file of a run is damaged.
        GuardError: two runs were measured differently, or have scores that cannot both be real.
    """
    if not entries:
        raise InputError("there is nothing to compare: no run has numbers", fix="`assay runs` lists the runs")
    check_weights(weights or {})
    sides = [measure(entry) for entry in entries]
    checks.check_together([run for side in sides for run in side])
    missing = sorted({one.name for one in failed} - {entry.name for entry in entries})
    one_tokenizer = len({run.settings["tokenizer_sha256"] for side in sides for run in side}) == 1
    pairs, spent = _pairs(entries, sides, len(missing), declared or Declared()), costs(sides)
    return Comparison(
        tuple(entries),
        tuple(quality(side, one_tokenizer=one_tokenizer) for side in sides),
        tuple(pairs),
        changes(sides),
        tuple(spent),
        curves(sides),
        tuple(failed),
        select(entries, weights, sides=sides) if len(entries) > 1 else None,
        one_tokenizer,
        {key: sides[0][0].settings.get(key) for key in ("window", "stride", "bos_rule", "max_bytes_per_group")},
        tuple(not_concluded(entries, sides, pairs, spent, [one.name for one in failed])),
    )


@dataclass(frozen=True)
class _Held:
    """One entry against the first, before the family's p-values are adjusted."""

    difference: Difference
    over_seeds: SeedVariance | None
    seeds: tuple[int, ...]
    p: float | None
    records: list[GuardRecord]
    smallest_effect: float


def _pairs(
    entries: Sequence[Entry], sides: Sequence[Sequence[Measured]], failed: int, declared: Declared
) -> list[Compared]:
    family, first = len(sides) - 1 + failed, entries[0].name
    found = [
        _held(sides[0], side, family, declared.between(first, entry.name))
        for entry, side in zip(entries[1:], sides[1:], strict=True)
    ]
    adjusted = holm([*(one.p for one in found), *[None] * failed])
    ps = [None] * len(found) if isinstance(adjusted, Undefined) else adjusted[: len(found)]
    return [
        _compared(entry.name, first, held, p, family) for entry, held, p in zip(entries[1:], found, ps, strict=True)
    ]


def _held(
    first: Sequence[Measured], other: Sequence[Measured], family: int, declared: Mapping[str, Collection[str]]
) -> _Held:
    """Paired by group, and by the seeds that both have; where they share none, the means over each side's own."""
    alpha = limits("paired-verdict.p").passes / family
    one, two = ({run.seed: run for run in side} for side in (first, other))
    shared = tuple(sorted(one.keys() & two.keys()))
    by_seed = [two[seed].against(one[seed]) for seed in shared] or [
        b.against(a) for a in first for b in other
    ]  # the mean over all pairs is the difference of the two means
    difference = summarise(averaged(by_seed), alpha=alpha)
    wider = over_seeds(by_seed) if len(shared) > 1 else None
    p = difference.p
    if wider is not None and p is not None:
        over = seed_p(difference_rows(by_seed))
        # both must speak: the groups' signs alone, and seeds and groups together
        p = None if isinstance(over, Undefined) else max(p, over)
    records = [
        checks.currency(first[0], other[0]),
        checks.equality(first[0], other[0]),
        one_change(first[0], other[0], seeds_differ=one.keys() != two.keys(), declared=declared),
    ]
    smallest = max(run.smallest_effect for run in (*first, *other))
    return _Held(difference, wider, shared, p, records, smallest)


def _compared(name: str, against: str, held: _Held, p: float | None, family: int) -> Compared:
    alpha = limits("paired-verdict.p").passes
    d, needed = _deciding(held), groups_needed(alpha, family)
    outcome = "not-shown"
    if d.low is None or d.high is None or p is None or d.n_groups < needed:
        outcome = "cannot-conclude"
    elif p < alpha and d.low > 0:
        outcome = "better" if d.low >= held.smallest_effect else "better-but-small"
    elif p < alpha and d.high < 0:
        outcome = "worse"
    change = next(one for one in held.records if one.guard == "one-change")
    causal = change.status != "fail" and len(change.measured["factors"]) < 2
    scope: Claim = "recipe" if held.over_seeds and len(held.seeds) >= RECIPE_SEEDS else "checkpoint"
    return Compared(
        name, against, held.difference, held.over_seeds, held.seeds, d.low, d.high, held.p, p, outcome, scope, causal,
        _found(outcome, d, needed, held, p), _claim(scope, held), _cause(change.why, causal=causal), held.records,
    )  # fmt: skip


def _deciding(held: _Held) -> Difference:
    """The difference with the interval that decides: over seeds and groups where there are seeds."""
    wide = held.over_seeds
    if wide is None:
        return held.difference
    return replace(
        held.difference, mean=wide.mean, low=wide.low, high=wide.high, half_width=(wide.high - wide.low) / 2, mde=None
    )


def _found(outcome: str, d: Difference, needed: int, held: _Held, p: float | None) -> str:
    amount = amount_text(d, sign=-1 if outcome == "worse" else 1)
    said = f"{outcome} by {amount}"
    if outcome == "better-but-small":
        said = f"better, but less than the effect you named ({held.smallest_effect:g}): by {amount}"
    elif outcome == "not-shown":
        said = f"not shown: the difference is {amount}"
        said += "" if d.mde is None else f", and the smallest that could have been found {bpb_text(d.mde)}"
        if d.low is not None and d.high is not None and (d.low > 0 or d.high < 0):
            said += "; the interval leaves 0 out, the test over all comparisons does not"
    elif outcome == "cannot-conclude":
        reason = f"{needed} groups could conclude" if d.n_groups < needed else str(d.reason)
        said = f"cannot conclude: {reason}; measured: {amount}"
    seeds = f", {len(held.seeds)} seeds" if held.over_seeds else ""
    alpha = limits("paired-verdict.p").passes
    return f"{said} ({count(d.n_groups, 'held-out group')}{seeds}, {p_text(p, alpha)} by Holm)"


def _claim(scope: Claim, held: _Held) -> str:
    seeds = len(held.seeds)
    if scope == "recipe":
        return f"the recipe ({seeds} seeds)"
    if seeds > 1:
        return f"these checkpoints only ({seeds} seeds, and a claim about the recipe takes {RECIPE_SEEDS})"
    return "this checkpoint only (1 seed)" if seeds else "these checkpoints only (no seed that both have)"


def _cause(why: str, *, causal: bool) -> str:
    return why if causal else f"no cause may be named: {why}"
