"""What may not be concluded from a comparison, in plain sentences: each is made from what was measured and recorded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from assay.core.guard import limits
from assay.core.words import count, listed
from assay.stages.compare.costs import Costs
from assay.stages.compare.entries import Entry
from assay.stages.compare.measured import Measured
from assay.stages.compare.one_change import flat, scale
from assay.stats.verdict import RECIPE_SEEDS, bpb_text

if TYPE_CHECKING:
    from assay.stages.compare.runs import Compared

Json = dict[str, Any]
TIMINGS = ("train_seconds", "train_tokens_per_s", "tokens_per_s", "first_token_s")
# Keys whose best learning rate differs from value to value.
_RATE_MATTERS = ("base", "adapter.kind", "adapter.rank", "adapter.alpha", "adapter.targets", "adapter.rslora",
                 "train.batch_tokens", "train.optimizer", "train.schedule")  # fmt: skip
_CALLED = {"base": "the base", "adapter.kind": "what is trained", "adapter.rank": "the rank"}


def not_concluded(
    entries: Sequence[Entry],
    sides: Sequence[Sequence[Measured]],
    pairs: Sequence[Compared],
    spent: Sequence[Costs],
    failed: Sequence[str] = (),
) -> list[str]:
    """Sentences on what the comparison does not show, the gravest first; none where there is nothing to compare.

    Args:
        entries: what was compared.
        sides: the runs of each.
        pairs: each entry held against another one, with the record of the guard `one-change`.
        spent: the costs of each entry.
        failed: the entries' names of all runs that have no numbers.
    """
    if not pairs:
        return []
    first = {entry.name: side[0] for entry, side in zip(entries, sides, strict=True)}
    made = [(pair, _change(pair), first[pair.against], first[pair.name]) for pair in pairs]
    return [
        *_causes(made), *_bases(made), *_rows(made), *_scales(made), *_rates(made), *_seeds(entries),
        *_unshared(entries, pairs), *_groups(pairs), *_equal(pairs), *_best_of(entries), *_looks(sides),
        *_timings(entries, spent), *_precisions(entries, sides), *_lost(failed, list(first)),
    ]  # fmt: skip


_Made = Sequence[tuple["Compared", Json, Measured, Measured]]


def _change(pair: Compared) -> Json:
    record = next((one for one in pair.guards if one.guard == "one-change"), None)
    found: Json = dict(record.measured) | {"status": record.status, "why": record.why} if record else {}
    return found


def _causes(made: _Made) -> Iterator[str]:
    for pair, change, _, _ in made:
        if change.get("status") == "fail":
            yield (f"What makes {pair.name} differ from {pair.against} cannot be told: {change['why']}.")
        elif change.get("factors"):
            yield f"{pair.name} beside {pair.against}: {change['why']}."


def _bases(made: _Made) -> Iterator[str]:
    """A base is many things at once; and one that was never trained is none of the others' kind."""
    for pair, change, one, two in made:
        if "base" not in change.get("changes", ()):
            continue
        with_base = ["size", "architecture", "what it was trained on before"]
        if one.settings["tokenizer_sha256"] != two.settings["tokenizer_sha256"]:
            with_base.append("tokenizer")
        yield (
            f"{pair.name} and {pair.against} have other bases, {_spec(two)} and {_spec(one)}: {listed(with_base)} "
            "change together. The difference says which of the two does better on these texts after this training, and "
            "nothing about architectures or sizes."
        )
    scratch = dict.fromkeys(_spec(run) for _, _, *both in made for run in both if _spec(run).startswith("scratch:"))
    if scratch:
        yield (
            f"{listed(list(scratch))} begins with random weights: nothing found with it can be carried over to a "
            "pretrained model, of the same shape or another."
        )


def _spec(run: Measured) -> str:
    return str(run.identity["base"].get("spec", run.identity["base"]["hash"][:12]))


def _rows(made: _Made) -> Iterator[str]:
    """More rows take two designs, and several draws of the rows."""
    nested = [(pair, change) for pair, change, _, _ in made if (change.get("data") or {}).get("nested")]
    held: dict[tuple[int, ...], set[str]] = {}
    for _, change in nested:
        held.setdefault(tuple(sorted(change["data"]["rows"])), set()).add(str(change["held"]))
    for rows, both in held.items():
        for have, lack in (("steps", "epochs"), ("epochs", "steps")):
            if have in both and lack not in both:
                how = "each row is seen less often" if have == "steps" else "the training is longer"
                yield (
                    f"What {rows[1]:,} rows do that {rows[0]:,} do not is compared at equal {have} only, where with "
                    f"more rows {how}: at equal {lack} the answer may be another."
                )
    if nested:
        yield (
            "The fewer rows are one draw from the more: how far another draw would lie from it was not measured "
            "(data.split.seed is the same in all)."
        )


def _scales(made: _Made) -> Iterator[str]:
    for pair, change, one, two in made:
        if "adapter.rank" not in change.get("changes", ()):
            continue
        values = [dict(flat(run.identity)) for run in (one, two)]
        scales = [scale(own) for own in values]
        if None not in scales and scales[0] != scales[1]:
            yield (
                f"Between {pair.against} and {pair.name} the rank goes from {values[0]['adapter.rank']} to "
                f"{values[1]['adapter.rank']} and the adapter’s scale with it, from {scales[0]:g} to {scales[1]:g}, as "
                "adapter.alpha is not in proportion: rank and scale are not told apart."
            )


def _rates(made: _Made) -> Iterator[str]:
    """A comparison at one learning rate does not show either side at its best."""
    every: set[float | None] = set()
    found: dict[float | None, tuple[dict[str, None], dict[str, None]]] = {}  # rate → the entries, the keys
    for pair, change, *both in made:
        rates = [run.identity["train"].get("learning_rate") for run in both]
        every.update(rates)
        keys = [_CALLED.get(key, key) for key in change.get("changes", ()) if key.startswith(_RATE_MATTERS)]
        if keys and rates[0] == rates[1]:
            names, what = found.setdefault(rates[0], ({}, {}))
            names |= dict.fromkeys((pair.against, pair.name))
            what |= dict.fromkeys(keys)
    for rate, (names, what) in found.items():
        who = "All" if len(every) == 1 else listed(list(names))
        yield (
            f"{who} were trained at one learning rate{'' if rate is None else f', {rate:g}'}: with another value of "
            f"{listed(list(what))} another rate may be the best, so that none is shown at its own best."
        )


def _seeds(entries: Sequence[Entry]) -> Iterator[str]:
    few = {entry.name: len(entry.runs) for entry in entries if len(entry.runs) < RECIPE_SEEDS}
    if few:
        said = "one training seed" if set(few.values()) == {1} else f"fewer than {RECIPE_SEEDS} training seeds"
        who = "Every entry" if len(few) == len(entries) else listed(list(few))
        yield (
            f"{who} {'has' if len(few) in (1, len(entries)) else 'have'} {said}: what was found is about these "
            "checkpoints, and not about the recipe, which another seed may show otherwise."
        )


def _unshared(entries: Sequence[Entry], pairs: Sequence[Compared]) -> Iterator[str]:
    """A difference is made of the seeds that both have; the entries' own means are of all of theirs."""
    seeds = {entry.name: set(entry.seeds) for entry in entries}
    for pair in pairs:
        alone = (seeds[pair.name] | seeds[pair.against]) - set(pair.seeds)
        if pair.seeds and alone:
            which = f"seed{'' if len(alone) == 1 else 's'} {listed([str(seed) for seed in sorted(alone)])}"
            yield (
                f"Between {pair.name} and {pair.against} {which} {'has' if len(alone) == 1 else 'have'} no part, as "
                "one of the two has no such run: their difference is not that of their own means."
            )


def _groups(pairs: Sequence[Compared]) -> Iterator[str]:
    groups = min(pair.difference.n_groups for pair in pairs)
    enough = limits("power.groups").passes
    if groups < enough:
        smallest = [pair.difference.mde for pair in pairs if pair.difference.mde is not None]
        least = (
            f": a difference below {bpb_text(max(smallest))} bits per byte can be there and not be found"
            if smallest
            else ""
        )
        there = "There is" if groups == 1 else "There are"
        yield f"{there} {count(groups, 'held-out group')}, fewer than {enough:g}{least}."


def _equal(pairs: Sequence[Compared]) -> Iterator[str]:
    for pair in pairs:
        if pair.outcome not in ("not-shown", "cannot-conclude"):
            continue
        said = f"{pair.name} and {pair.against} are not shown to be equal: "
        if pair.low is None or pair.high is None:
            yield f"{said}how far they may be apart is not known."
        else:
            ends = f"{bpb_text(pair.low)} to {bpb_text(pair.high)} bits per byte"
            yield f"{said}the difference may be anything from {ends}."


def _best_of(entries: Sequence[Entry]) -> Iterator[str]:
    if len(entries) > 1:
        yield (
            f"The best of {len(entries)} entries on these held-out texts is partly the luckiest: its own number there "
            "is too good, and only texts that had no part in the choice show how good it is."
        )


def _looks(sides: Sequence[Sequence[Measured]]) -> Iterator[str]:
    """Weights that were measured on the same test texts and do not stand here are no part of the family of tests."""
    runs = [run for side in sides for run in side]
    records = [record for run in runs for record in run.run.guards.records() if record.guard == "selection-hygiene"]
    seen = max((int((record.measured or {}).get("looks") or 0) for record in records), default=0)
    here = len({run.weights for run in runs})
    if seen > here:
        yield (
            f"{seen} different weights were measured on these held-out texts, and {here} of them stand here: p is "
            "adjusted for the comparisons made here alone, and too small if these were picked by how they did there."
        )


def _timings(entries: Sequence[Entry], spent: Sequence[Costs]) -> Iterator[str]:
    found: dict[tuple[str, bool], list[str]] = {}
    for entry, own in zip(entries, spent, strict=True):
        for item in own.items:
            if item.key in TIMINGS and item.comparable is not True and item.caution:
                # how much and in which run stands with the costs
                why = item.caution.partition(":")[0].partition(" (")[0]
                names = found.setdefault((why, item.comparable is False), [])
                names += [entry.name] if entry.name not in names else []
    for (caution, sure), names in found.items():
        verb = "says nothing" if sure else "may say nothing"
        yield f"How fast {listed(names)} {'is' if len(names) == 1 else 'are'} {verb} beside the others: {caution}."


def _precisions(entries: Sequence[Entry], sides: Sequence[Sequence[Measured]]) -> Iterator[str]:
    found: dict[str, list[str]] = {}
    for entry, side in zip(entries, sides, strict=True):
        found.setdefault(str(side[0].settings["dtype"]), []).append(entry.name)
    if len(found) > 1:
        said = "; ".join(f"{listed(names)} in {dtype}" for dtype, names in found.items())
        yield f"The entries were scored in other number formats ({said}): small differences may be rounding."


def _lost(failed: Sequence[str], measured: Sequence[str]) -> Iterator[str]:
    """Entries without numbers; and those whose mean is over the runs that did not fail."""
    runs = Counter(failed)
    if gone := [name for name in runs if name not in measured]:
        yield f"Nothing can be said of {listed(gone)}, which failed: what is left is not the whole of what was planned."
    for name in (name for name in runs if name in measured):
        yield (
            f"{name} stands here without {count(runs[name], 'run')} that failed: its numbers are of those that came "
            "through, and may flatter it."
        )
