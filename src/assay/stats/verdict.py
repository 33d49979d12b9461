"""From scored texts to a verdict: did fine-tuning help on held-out groups, by how much, how sure.

A difference is base - tuned in bits per byte of UTF-8 text: above 0 the fine-tuned model is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar

from assay.stats.intervals import Method, Undefined, mean, paired_interval, sd
from assay.stats.power import groups_for, mde
from assay.stats.tests import groups_needed, sign_flip_p, smallest_p

Outcome = Literal["better", "better-but-small", "not-shown", "worse", "cannot-conclude"]
Claim = Literal["checkpoint", "recipe"]
T = TypeVar("T")

# A claim about the recipe, not one checkpoint, needs this many training seeds (arXiv 2103.03098).
RECIPE_SEEDS = 3


def bits_per_byte(nats: float, size: int) -> float | Undefined:
    """Σ -log2 p ÷ bytes, from a sum of nats and a number of UTF-8 bytes; undefined where nothing was scored."""
    if size <= 0:
        return Undefined("no bytes were scored")
    if not math.isfinite(nats):
        return Undefined("the negative log-likelihood is not finite")
    return nats / math.log(2) / size


@dataclass(frozen=True)
class GroupScore:
    """One held-out group: sizes, bits per byte under both models, and base - tuned.

    The three scores are None where `reason` says why they do not exist.
    """

    group: str
    bytes: int
    tokens: int
    base_bpb: float | None
    tuned_bpb: float | None
    difference: float | None
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """The score as it stands in the evaluation's summary; `reason` only where a score is missing."""
        row = asdict(self)
        if self.reason is None:
            del row["reason"]
        return row


def group_scores(rows: Iterable[tuple[str, int, int, float, float]]) -> list[GroupScore]:
    """Bits per byte of every group, in order of first appearance: sum first, divide once.

    Args:
        rows: (group, tokens, bytes, base NLL, tuned NLL) of each text; NLL summed over it, in nats.
    """
    texts: dict[str, list[tuple[int, int, float, float]]] = {}
    for group, tokens, size, base, tuned in rows:
        texts.setdefault(group, []).append((tokens, size, base, tuned))
    return [_group_score(group, members) for group, members in texts.items()]


def _group_score(group: str, texts: Sequence[tuple[int, int, float, float]]) -> GroupScore:
    tokens, size = sum(t[0] for t in texts), sum(t[1] for t in texts)
    base = bits_per_byte(_total(t[2] for t in texts), size)
    tuned = bits_per_byte(_total(t[3] for t in texts), size)
    if not isinstance(base, Undefined) and not isinstance(tuned, Undefined):
        return GroupScore(group, size, tokens, base, tuned, base - tuned)
    missing = [(name, x.reason) for name, x in (("base", base), ("tuned", tuned)) if isinstance(x, Undefined)]
    return GroupScore(
        group,
        size,
        tokens,
        None if isinstance(base, Undefined) else base,
        None if isinstance(tuned, Undefined) else tuned,
        None,
        "; ".join(f"{name}: {reason}" for name, reason in missing),
    )


def _total(values: Iterable[float]) -> float:
    listed = list(values)
    # fsum refuses inf - inf; any value that is not finite makes the sum undefined anyway.
    return math.fsum(listed) if all(math.isfinite(v) for v in listed) else math.nan


@dataclass(frozen=True)
class Difference:
    """The mean paired difference over groups of equal weight, in bits per byte, and how sure it is.

    `low` to `high` is the confidence interval at `level` by `method`; `p` is the sign-flip test's;
    `sd` that of the groups' differences; `mde` the smallest true difference that as many groups
    show with 80 % power; `groups_for_half` the number of groups that would show half of it;
    `base_mean` the base model's mean bits per byte over the same groups. What does not exist is
    None, and `reason` says why.
    """

    mean: float | None
    low: float | None
    high: float | None
    half_width: float | None
    method: Method | None
    level: float
    p: float | None
    n_groups: int
    sd: float | None
    mde: float | None
    groups_for_half: int | None
    base_mean: float | None
    reason: str | None

    def as_json(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


def summarise(scores: Sequence[GroupScore], *, level: float = 0.95, alpha: float = 0.05, seed: int = 0) -> Difference:
    """The paired difference over all groups that have bytes.

    A group with bytes but without a finite score is not left out: leaving it out would hide a
    model that broke on it. Then the mean and all that follows from it are None.

    Args:
        scores: of `group_scores`.
        level: of the interval.
        alpha: two-sided error rate that the minimum detectable effect is meant for.
        seed: of the bootstrap, and of the sampled sign-flip test.
    """
    counted = [s for s in scores if s.bytes > 0]
    broken = next((s for s in counted if s.difference is None), None)
    # Only the first is told: the others follow from it.
    reasons: list[str] = [] if broken is None else [f"group {broken.group!r} has no score ({broken.reason})"]
    differences = [] if broken else [s.difference for s in counted if s.difference is not None]
    base = [] if broken else [s.base_bpb for s in counted if s.base_bpb is not None]

    def known(value: T | Undefined) -> T | None:
        if not isinstance(value, Undefined):
            return value
        reasons.append(value.reason)
        return None

    interval = known(paired_interval(differences, level=level, seed=seed))
    spread = known(sd(differences))
    smallest = None if spread is None else known(mde(spread, len(differences), alpha=alpha))
    half = None if spread is None or smallest is None else known(groups_for(smallest / 2, spread, alpha=alpha))
    return Difference(
        mean=known(mean(differences)),
        low=interval.low if interval else None,
        high=interval.high if interval else None,
        half_width=interval.half_width if interval else None,
        method=interval.method if interval else None,
        level=level,
        p=known(sign_flip_p(differences, seed=seed)),
        n_groups=len(counted),
        sd=spread,
        mde=smallest,
        groups_for_half=half,
        base_mean=known(mean(base)),
        reason=reasons[0] if reasons else None,
    )


@dataclass(frozen=True)
class Verdict:
    """What may be said. `sentence` holds the numbers; `plain` is for someone who knows none of the terms.

    `scope` is what the claim covers: this checkpoint, or the recipe that made it.
    """

    outcome: Outcome
    sentence: str
    plain: str
    scope: Claim
    seeds: int
    smallest_effect: float
    looks: int = 1

    def as_json(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


def verdict(
    difference: Difference,
    *,
    smallest_effect: float,
    claim: Claim = "checkpoint",
    seeds: int = 1,
    alpha: float = 0.05,
    looks: int = 1,
    forgetting: str | None = None,
) -> Verdict:
    """The verdict on a paired difference, by the rules of the guards paired-verdict, power and seeds.

    Args:
        difference: of `summarise`, with alpha ÷ looks.
        smallest_effect: the least gain worth having, in bits per byte.
        claim: what is to be claimed; "recipe" is granted from three seeds up.
        seeds: number of training seeds behind the numbers.
        alpha: two-sided error rate.
        looks: how many different weights were measured on these test texts: p is multiplied by it (Bonferroni, which
            is Holm's first step; the other p-values are not asked for).
        forgetting: what was found of it, as the sentence's last part.
    """
    outcome = _outcome(difference, smallest_effect, alpha, looks)
    scope: Claim = "recipe" if claim == "recipe" and seeds >= RECIPE_SEEDS else "checkpoint"
    behind = f"{seeds} seed{'' if seeds == 1 else 's'}"
    tail = f"the recipe ({behind})" if scope == "recipe" else f"this checkpoint only ({behind})"
    parts = [_sentence(outcome, difference, smallest_effect, alpha, looks), tail, *filter(None, [forgetting])]
    sentence = "; ".join(parts)
    return Verdict(
        outcome,
        sentence,
        _plain(outcome, difference, smallest_effect, alpha, looks),
        scope,
        seeds,
        smallest_effect,
        looks,
    )


def _outcome(d: Difference, smallest_effect: float, alpha: float, looks: int) -> Outcome:
    p = over_looks(d.p, looks)
    if d.low is None or d.high is None or p is None or d.n_groups < groups_needed(alpha, looks):
        return "cannot-conclude"
    if d.high < 0:
        return "worse"
    if d.low > 0 and p < alpha:
        return "better" if d.low >= smallest_effect else "better-but-small"
    return "not-shown"


def over_looks(p: float | None, looks: int) -> float | None:
    """p for the worst of so many looks at the same test texts, at most 1."""
    return None if p is None else min(1.0, p * looks)


def p_text(p: float | None, alpha: float = 0.05) -> str:
    """A p-value without false precision: ``p = .008``, ``p = .34``, ``p < .001``; never rounded across alpha."""
    if p is None:
        return "p unknown"
    if p < 0.001:
        return "p < .001"
    if p > 0.995:
        return "p = 1" if p == 1 else "p > .99"
    digits = 2 if p >= 0.0995 else 3
    while (p < alpha) != (float(f"{p:.{digits}f}") < alpha) and digits < 15:
        digits += 1
    return f"p = {f'{p:.{digits}f}'.lstrip('0')}"


def bpb_text(value: float, scale: float | None = None) -> str:
    """Bits per byte with the decimals that `scale` (the uncertainty) bears: its two leading digits, 2 to 6 places."""
    size = abs(value if scale is None else scale)
    places = 3 if size == 0 else min(6, max(2, 1 - math.floor(math.log10(size))))
    # A rounded -0.0000 would show a sign that means nothing.
    return f"{round(value, places) + 0.0:.{places}f}"


def amount_text(difference: Difference, *, sign: int = 1) -> str:
    """``0.097 ± 0.012 bits per byte``; the interval is written out where it is not even around the mean.

    `sign` -1 turns base - tuned into tuned - base.
    """
    d = difference
    if d.mean is None:
        return "an unknown number of bits per byte"
    if d.low is None or d.high is None or d.half_width is None:
        return f"{bpb_text(sign * d.mean)} bits per byte, uncertainty unknown"
    if bpb_text(d.high - d.mean, d.half_width) == bpb_text(d.mean - d.low, d.half_width):
        return f"{bpb_text(sign * d.mean, d.half_width)} ± {bpb_text(d.half_width)} bits per byte"
    ends = sorted((sign * d.low, sign * d.high))
    low, high = (bpb_text(end, d.half_width) for end in ends)
    return f"{bpb_text(sign * d.mean, d.half_width)} ({low} to {high}) bits per byte"


def _groups(n: int) -> str:
    return f"{n} held-out group{'' if n == 1 else 's'}"


def _sentence(outcome: Outcome, d: Difference, smallest_effect: float, alpha: float, looks: int) -> str:
    p = over_looks(d.p, looks)
    evidence = f"({_groups(d.n_groups)}, {p_text(p, alpha)}{f' over {looks} looks' if looks > 1 else ''})"
    if outcome == "cannot-conclude":
        return _cannot(d, alpha, looks)
    if outcome == "better":
        return f"better by {amount_text(d)} {evidence}"
    if outcome == "better-but-small":
        return (
            f"better, but less than the effect you named ({smallest_effect:g}): by {amount_text(d)}, "
            f"whose lower end is {bpb_text(d.low or 0.0)} {evidence}"
        )
    if outcome == "worse":
        return f"worse by {amount_text(d, sign=-1)} {evidence}"
    above, unlikely = (d.low or 0.0) > 0, p is not None and p < alpha
    why = ""
    if above != unlikely:
        why = "; " + (
            f"the interval lies above 0, the sign-flip test {_disagrees(d.p, alpha)}"
            if above
            else "the sign-flip test speaks for a difference, the interval reaches 0"
        )
    found = "" if d.mde is None else f"; the smallest difference this test could have found is {bpb_text(d.mde)}"
    if d.mde is not None and d.groups_for_half is not None:
        found += f", {d.groups_for_half - d.n_groups} more groups would find {bpb_text(d.mde / 2)}"
    return f"not shown: the difference is {amount_text(d)} {evidence}{why}{found}"


def _disagrees(p: float | None, alpha: float) -> str:
    return "agrees, but not over so many looks" if p is not None and p < alpha else "does not agree"


def _cannot(d: Difference, alpha: float, looks: int) -> str:
    needed = groups_needed(alpha, looks)
    if d.n_groups < needed:
        best = min(1.0, smallest_p(d.n_groups) * looks)
        over = f" over {looks} looks" if looks > 1 else ""
        reach = f"{_groups(d.n_groups)} can reach p = {best:.2g}{over} at best, {needed} could conclude"
        seen = "" if d.mean is None else f"; measured: {amount_text(d)}"
        return f"cannot conclude: {reach}{seen}"
    return f"cannot conclude: {d.reason or 'there is no interval'}"


def _percent(part: float, whole: float | None) -> str | None:
    """``5 %``, two leading digits at most; None where the whole is unknown or 0."""
    if not whole or whole <= 0:
        return None
    share = abs(100 * part / whole)
    return f"{share:.0f} %" if share >= 10 else f"{share:.2g} %"


def _plain(outcome: Outcome, d: Difference, smallest_effect: float, alpha: float, looks: int) -> str:
    needed = groups_needed(alpha, looks)
    share = _percent(d.mean, d.base_mean) if d.mean is not None else None
    measured = f"Measured on {d.n_groups} separate groups of text"
    if outcome in ("better", "better-but-small"):
        bits = f"{share} fewer bits" if share else "fewer bits"
        said = (
            "The fine-tuned model predicts text that was held back from its training better than the base model "
            f"does: it needs {bits} for the same text. {measured}, this is more than chance explains."
        )
        small = f" The gain may be smaller than the one you named as worth having ({smallest_effect:g} bits per byte)."
        return said + (small if outcome == "better-but-small" else "")
    if outcome == "worse":
        bits = f"{share} more bits" if share else "more bits"
        return (
            "The fine-tuned model predicts text that was held back from its training worse than the base model "
            f"does: it needs {bits} for the same text. {measured}, this is more than chance explains."
        )
    if outcome == "not-shown":
        missed = None if d.mde is None else _percent(d.mde, d.base_mean)
        unseen = f" A true difference below about {missed} of the bits could have gone unseen." if missed else ""
        return (
            "It was not shown that the fine-tuned model predicts text that was held back from its training better "
            f"than the base model does. {measured}, the difference is not clearly larger than chance explains.{unseen}"
        )
    if d.n_groups < needed:
        return (
            f"There is too little independent held-out text to tell whether fine-tuning helped: {_groups(d.n_groups)}, "
            f"where at least {needed} are needed. Hold out more, or bring more independent texts."
        )
    return f"Whether fine-tuning helped cannot be told: {d.reason or 'there is no interval'}."
