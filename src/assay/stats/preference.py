"""Which of two texts is better: win rates, consistency, bias, agreement, strengths and stars, with intervals.

The unit is the group: the prompt. Several answers about one prompt are averaged before their spread is looked at.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np

from assay.core.optional import require
from assay.stats.intervals import Floats, Undefined, mean, paired_interval
from assay.stats.tests import sign_flip_p

Choice = Literal["first", "second", "tie"]
TIE: Final = "tie"
STARS = (1.0, 5.0)  # the ends of the scale


@dataclass(frozen=True)
class Judgement:
    """One answer to "which of these two texts is better?", in the order in which they were shown.

    Args:
        rater: who answered.
        pair: which two texts.
        group: the prompt that both were made from.
        first: the arm whose text was shown first, such as ``tuned``.
        second: the other arm.
        choice: the answer; None where it could not be read.
    """

    rater: str
    pair: str
    group: str
    first: str
    second: str
    choice: Choice | None

    @property
    def winner(self) -> str | None:
        """The arm that won, ``tie``, or None."""
        if self.choice == "first":
            return self.first
        return self.second if self.choice == "second" else self.choice


@dataclass(frozen=True)
class Outcome:
    """What one rater's answers about a pair come to.

    `winner` is the arm that every answer names, else a tie: a preference that turns with the order of the texts is
    none (arXiv 2306.05685, section 3.4). `answers` is their number, 0 where the texts are equal and nobody was asked.
    """

    rater: str
    pair: str
    group: str
    arms: frozenset[str]
    winner: str
    answers: int
    agree: bool


@dataclass(frozen=True)
class Estimate:
    """A mean over groups of equal weight with its interval at `level`; what does not exist is None, with its reason."""

    mean: float | None
    low: float | None
    high: float | None
    level: float
    groups: int
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class WinRate:
    """Wins, ties and losses of one arm against another, and its win rate (0 to 1, a tie is half a win).

    `p` is the sign-flip test's of "each prompt is as likely to prefer the other", None where there is no prompt.
    """

    wins: int
    ties: int
    losses: int
    rate: Estimate
    p: float | None

    def as_json(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


def estimate(
    values: Iterable[tuple[str, float]], *, bounds: tuple[float, float] | None = None, level: float = 0.95
) -> Estimate:
    """The mean over groups, and its interval: the wider of t and cluster bootstrap over the groups' means.

    Where all n ≥ 2 groups have the same mean, neither knows a spread. Then, for bounded values, the share of groups at
    that mean has the exact lower bound ((1 - level) / 2)^(1/n) (Clopper and Pearson 1934), and the rest may lie
    anywhere.

    Args:
        values: (group, value).
        bounds: of the scale; the interval is cut off there.
        level: of the interval.
    """
    found: dict[str, list[float]] = {}
    for group, value in values:
        found.setdefault(group, []).append(value)
    means = [math.fsum(several) / len(several) for several in found.values()]
    centre = mean(means)
    if isinstance(centre, Undefined):
        return Estimate(None, None, None, level, len(means), centre.reason)
    if len(means) > 1 and max(means) == min(means):
        if bounds is None:
            reason = f"all {len(means)} groups have the same value: no spread is known"
            return Estimate(centre, None, None, level, len(means), reason)
        share = ((1 - level) / 2) ** (1 / len(means))
        low, high = (share * centre + (1 - share) * end for end in bounds)
        return Estimate(centre, low, high, level, len(means))
    interval = paired_interval(means, level=level)
    if isinstance(interval, Undefined):
        return Estimate(centre, None, None, level, len(means), interval.reason)
    least, most = bounds or (-math.inf, math.inf)
    return Estimate(centre, max(least, interval.low), min(most, interval.high), level, len(means))


def outcomes(judgements: Iterable[Judgement]) -> list[Outcome]:
    """What each rater's answers about each pair come to; a pair with an answer that could not be read is left out."""
    found: dict[tuple[str, str], list[Judgement]] = {}
    for judgement in judgements:
        found.setdefault((judgement.rater, judgement.pair), []).append(judgement)
    made = []
    for (rater, pair), answers in found.items():
        winners = {answer.winner for answer in answers}
        if None in winners:
            continue
        agree = len(winners) == 1
        winner = str(next(iter(winners))) if agree else TIE
        arms = frozenset((answers[0].first, answers[0].second))
        made.append(Outcome(rater, pair, answers[0].group, arms, winner, len(answers), agree))
    return made


def win_rate(results: Sequence[Outcome], arm: str, against: str) -> WinRate:
    """How often `arm` is preferred to `against`; a tie counts half."""
    met = [result for result in results if result.arms == {arm, against}]
    scores = {arm: 1.0, TIE: 0.5, against: 0.0}
    rate = estimate(((result.group, scores[result.winner]) for result in met), bounds=(0.0, 1.0))
    won = Counter(result.winner for result in met)
    by_group: dict[str, list[float]] = {}
    for result in met:
        by_group.setdefault(result.group, []).append(scores[result.winner] - 0.5)
    p = sign_flip_p([math.fsum(several) / len(several) for several in by_group.values()])
    return WinRate(won[arm], won[TIE], won[against], rate, None if isinstance(p, Undefined) else p)


def consistency(results: Sequence[Outcome]) -> Estimate:
    """Share of the pairs answered more than once whose answers all name the same winner.

    Of a judge that is asked in both orders this is position consistency (arXiv 2306.05685, table 2); of a person,
    who meets some pairs again with the texts exchanged, self-agreement.
    """
    return estimate(((r.group, float(r.agree)) for r in results if r.answers > 1), bounds=(0.0, 1.0))


def first_share(judgements: Iterable[Judgement]) -> Estimate:
    """Position bias: share of the answers without a tie that prefer the text shown first.

    0.5 is no bias, where each arm was shown first equally often.
    """
    decided = [j for j in judgements if j.choice in ("first", "second")]
    return estimate(((j.group, float(j.choice == "first")) for j in decided), bounds=(0.0, 1.0))


def length_gap(results: Sequence[Outcome], words: Mapping[tuple[str, str], int]) -> tuple[Estimate, Estimate]:
    """Are longer texts preferred?

    Args:
        results: of `outcomes`.
        words: number of words of the text of (pair, arm).

    Returns:
        Words of the preferred text beyond the other's, on average, over the pairs without a tie; and the win rate of
        the longer text (0 to 1, a tie is half a win), over the pairs of unequal length.
    """
    gaps, wins = [], []
    for result in results:
        one, other = sorted(result.arms, key=lambda arm: words[result.pair, arm])
        longer = words[result.pair, other] - words[result.pair, one]
        if result.winner != TIE:
            gaps.append((result.group, float(longer if result.winner == other else -longer)))
        if longer:
            wins.append((result.group, {other: 1.0, TIE: 0.5, one: 0.0}[result.winner]))
    return estimate(gaps), estimate(wins, bounds=(0.0, 1.0))


def cohen_kappa(first: Sequence[str], second: Sequence[str]) -> float | Undefined:
    """Agreement of two raters beyond chance: (observed - expected) ÷ (1 - expected) (Cohen 1960).

    Args:
        first: the labels that one gave, one for each unit.
        second: the labels of the other, in the same order.
    """
    n = len(first)
    if n == 0 or n != len(second):
        return Undefined("no unit has a label of both")
    ones, others = Counter(first), Counter(second)
    same = sum(a == b for a, b in zip(first, second, strict=True))
    by_chance = sum(ones[label] * others[label] for label in ones)  # times n²
    if by_chance == n * n:
        return Undefined("both gave every unit the same label")
    return (same * n - by_chance) / (n * n - by_chance)


@dataclass(frozen=True)
class Agreement:
    """How far two sources of outcomes agree: share of equal winners (ties among them) by group, and Cohen's kappa."""

    share: Estimate
    kappa: float | None
    pairs: int
    reason: str | None = None

    def as_json(self) -> dict[str, Any]:
        """All fields, as plain JSON values."""
        return asdict(self)


def agreement(one: Sequence[Outcome], other: Sequence[Outcome]) -> Agreement:
    """Do two sources, a judge and people say, name the same winners?

    Each answered pair of one is held against every outcome of the other on the same pair (arXiv 2306.05685, 4.2).
    """
    theirs: dict[str, list[Outcome]] = {}
    for result in other:
        if result.answers:
            theirs.setdefault(result.pair, []).append(result)
    met = [(mine, their) for mine in one if mine.answers for their in theirs.get(mine.pair, [])]
    share = estimate(((a.group, float(a.winner == b.winner)) for a, b in met), bounds=(0.0, 1.0))
    kappa = cohen_kappa([a.winner for a, _ in met], [b.winner for _, b in met])
    pairs = len({mine.pair for mine, _ in met})
    if isinstance(kappa, Undefined):
        return Agreement(share, None, pairs, kappa.reason)
    return Agreement(share, kappa, pairs)


def bradley_terry(
    results: Sequence[Outcome], reference: str, *, level: float = 0.95, seed: int = 0, draws: int = 1000
) -> dict[str, Estimate]:
    """The chance that each arm is preferred to `reference`, by one strength for each arm.

    Bradley and Terry's model (1952), P(i over j) = s_i ÷ (s_i + s_j), fitted by evalica; a tie counts as half a win
    for each. It exists where no set of arms won or lost all its comparisons with the others (Ford 1957). The interval
    is the bootstrap's over whole prompts; a resample without a fit counts as 0 below and as 1 above. With fewer than
    30 prompts it is on the narrow side.

    Args:
        results: of `outcomes`, about two arms or more.
        reference: the arm that the others are held against.
        level: of the interval.
        seed: of the bootstrap.
        draws: number of resamples.

    Raises:
        MachineError: evalica is not installed (extra `judge`).
    """
    arms = sorted({arm for result in results for arm in result.arms})
    wins = _wins_by_group(results, arms)
    at = arms.index(reference)
    point = _chances(wins.sum(axis=0), at)
    generator = np.random.default_rng(seed)
    shares = np.full(len(wins), 1 / len(wins))
    fits = [_chances(np.tensordot(generator.multinomial(len(wins), shares), wins, 1), at) for _ in range(draws)]
    found = np.array([fit for fit in fits if fit is not None]).reshape(-1, len(arms))
    unfitted = np.ones((draws - len(found), len(arms)))
    tail = (1 - level) / 2
    low = np.quantile(np.concatenate([found, 0 * unfitted]), tail, axis=0, method="inverted_cdf")
    high = np.quantile(np.concatenate([found, unfitted]), 1 - tail, axis=0, method="inverted_cdf")
    reason = None if point is not None else "some arms won or lost every comparison with the others: no strength fits"
    return {
        arm: Estimate(
            None if point is None else float(point[i]), float(low[i]), float(high[i]), level, len(wins), reason
        )
        for i, arm in enumerate(arms)
        if i != at
    }  # fmt: skip


def _wins_by_group(results: Sequence[Outcome], arms: Sequence[str]) -> Floats:
    """Wins of arm i over arm j, [group, i, j]."""
    groups = {group: i for i, group in enumerate(dict.fromkeys(result.group for result in results))}
    wins = np.zeros((len(groups), len(arms), len(arms)))
    for result in results:
        one, other = (arms.index(arm) for arm in sorted(result.arms))
        for i, j in ((one, other), (other, one)):
            wins[groups[result.group], i, j] += {arms[i]: 1.0, TIE: 0.5}.get(result.winner, 0.0)
    return wins


def _chances(wins: Floats, reference: int) -> Floats | None:
    """The chance of each arm against the reference; None where no finite strengths fit best."""
    beats = (wins > 0) | np.eye(len(wins), dtype=bool)
    if not np.linalg.matrix_power(beats, len(wins)).all():  # from each arm a chain of wins leads to each other one
        return None
    evalica, pandas = require("evalica", extra="judge"), require("pandas", extra="judge")
    winners, losers = np.nonzero(wins)
    scores = evalica.bradley_terry(
        winners.tolist(), losers.tolist(), [evalica.Winner.X] * len(winners), weights=wins[winners, losers],
        index=pandas.RangeIndex(len(wins)), tolerance=1e-9, limit=100_000,
    ).scores  # fmt: skip
    strength = np.empty(len(wins))
    strength[scores.index.to_numpy()] = scores.to_numpy()  # the strongest comes first
    chances: Floats = strength / (strength + strength[reference])
    return chances


def krippendorff_alpha(
    ratings: Iterable[tuple[str, str, float]], *, distance: Literal["nominal", "ordinal", "interval"]
) -> float | Undefined:
    """Agreement of several raters, each of whom may have left units out: 1 - observed ÷ expected disagreement.

    Krippendorff, Content Analysis (2018), computed by evalica.

    Args:
        ratings: (unit, rater, value); of a nominal scale the value is a code. Where a rater meets a unit again, the
            first value counts.
        distance: the kind of scale.

    Raises:
        MachineError: evalica is not installed (extra `judge`).
    """
    table: dict[str, dict[str, float]] = {}
    for unit, rater, value in ratings:
        table.setdefault(unit, {}).setdefault(rater, value)
    if not any(len(row) > 1 for row in table.values()):
        return Undefined("no unit was rated by two")
    evalica, pandas = require("evalica", extra="judge"), require("pandas", extra="judge")
    found = evalica.alpha(pandas.DataFrame(table), distance=distance)
    if found.expected == 0:
        return Undefined("all gave every unit the same value")
    return float(found.alpha)


@dataclass(frozen=True)
class Stars:
    """A text's rating on the scale of 1 to 5. `unit` names the text, `arm` whose it is, `group` its prompt."""

    rater: str
    unit: str
    group: str
    arm: str
    stars: float


def anchor_shifts(anchors: Iterable[tuple[str, float, float]]) -> dict[str, float]:
    """How many stars each rater gives too many, on average over the anchors: texts whose stars are agreed on.

    Args:
        anchors: (rater, stars given, stars agreed on).
    """
    found: dict[str, list[float]] = {}
    for rater, given, agreed in anchors:
        found.setdefault(rater, []).append(given - agreed)
    return {rater: math.fsum(several) / len(several) for rater, several in found.items()}


def corrected(ratings: Iterable[Stars], shifts: Mapping[str, float]) -> list[Stars]:
    """The ratings less their rater's shift; they may leave the scale, and are not cut off."""
    return [Stars(r.rater, r.unit, r.group, r.arm, r.stars - shifts[r.rater]) for r in ratings]


def star_means(ratings: Sequence[Stars], *, bounds: tuple[float, float] | None = STARS) -> dict[str, Estimate]:
    """The mean stars of each arm over prompts."""
    arms = sorted({rating.arm for rating in ratings})
    return {arm: estimate(((r.group, r.stars) for r in ratings if r.arm == arm), bounds=bounds) for arm in arms}


def star_difference(ratings: Sequence[Stars], arm: str, against: str) -> Estimate:
    """Stars of `arm` beyond those of `against`, paired by prompt; a rater's shift cancels out where both were rated."""
    means: dict[str, dict[str, list[float]]] = {}
    for rating in ratings:
        means.setdefault(rating.group, {}).setdefault(rating.arm, []).append(rating.stars)
    both = [(group, by[arm], by[against]) for group, by in means.items() if arm in by and against in by]
    width = STARS[1] - STARS[0]
    return estimate(
        ((group, math.fsum(a) / len(a) - math.fsum(b) / len(b)) for group, a, b in both), bounds=(-width, width)
    )
