"""What a comparison reads of an evaluated run, and what the numbers of several runs of one entry come to."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import polars as pl

from assay.core.files import read_json
from assay.core.rundir import RunDir
from assay.stages.compare.entries import Entry, label
from assay.stats.intervals import Interval, Undefined, mean, paired_interval
from assay.stats.seeds import SeedVariance, seed_variance
from assay.stats.verdict import Difference, GroupScore, group_scores, summarise

Json = dict[str, Any]


@dataclass(frozen=True)
class Measured:
    """An evaluated run's files; `texts` by id: id, group, tokens, bytes, and nats under base and tuned."""

    run: RunDir
    identity: Json
    summary: Json
    training: Json
    texts: pl.DataFrame

    @property
    def name(self) -> str:
        """``experiment/folder``."""
        return label(self.run)

    @property
    def seed(self) -> int:
        """Of the training."""
        seed: int = self.identity["seed"]
        return seed

    @property
    def settings(self) -> Json:
        """How it was measured: window, stride, tokenizer, dtype, ..."""
        settings: Json = self.summary["settings"]
        return settings

    @property
    def smallest_effect(self) -> float:
        """The least difference worth having, in bits per byte, as the experiment names it; 0 where none is recorded."""
        named: float = (self.summary.get("verdict") or {}).get("smallest_effect") or 0.0
        return named

    @property
    def weights(self) -> str:
        """The hash of the trained weights."""
        digest: str = self.training["weights"]["sha256"]
        return digest

    @cached_property
    def scores(self) -> list[GroupScore]:
        """Each held-out group under base and tuned."""
        return group_scores(self.texts.select("group", "tokens", "bytes", "nll_base", "nll_tuned").iter_rows())

    def against(self, first: Measured) -> list[GroupScore]:
        """Each held-out group under the first run's tuned model (as base) and under this one's, of the same texts."""
        rows = first.texts.select("group", "tokens", "bytes", "nll_tuned").with_columns(
            self.texts["nll_tuned"].alias("own")
        )
        return group_scores(rows.iter_rows())


def measured(run: RunDir) -> Measured:
    """Read an evaluated run.

    Raises:
        InputError: a file is missing or damaged.
    """
    return Measured(
        run, read_json(run.identity), read_json(run.summary), read_json(run.training),
        pl.read_parquet(run.texts).sort("id"),
    )  # fmt: skip


@dataclass(frozen=True)
class Quality:
    """An entry's bits per byte on the test texts, as means over groups of equal weight and over its seeds.

    `low` to `high` is the 95 % interval of `tuned`: how far the mean over other such groups (and, from two seeds up,
    other seeds) may lie. `gain` is base - tuned, paired by group, and `gain_over_seeds` the same with the seeds as
    draws of many. `by_seed` has the tuned mean of each of `seeds`. `perplexity`, per token, is None where tokenizers
    differ. What does not exist is None, and `reason` says why.
    """

    base: float | None
    tuned: float | None
    low: float | None
    high: float | None
    gain: Difference
    gain_over_seeds: SeedVariance | None
    seeds: tuple[int, ...]
    by_seed: tuple[float | None, ...]
    perplexity: float | None
    reason: str | None

    def as_json(self) -> Json:
        """All fields, as plain JSON values."""
        return asdict(self)


def quality(runs: Sequence[Measured], *, one_tokenizer: bool) -> Quality:
    """The quality of one entry, from its runs: one per seed, on the same test texts."""
    gain = summarise(averaged([run.scores for run in runs]))
    rows = [[score.tuned_bpb for score in run.scores if score.bytes > 0] for run in runs]
    by_seed = tuple(_defined(mean(_finite(row))) for row in rows)
    centre = _defined(mean(_finite(by_seed)))
    around: Interval | SeedVariance | Undefined
    around = seed_variance([_finite(row) for row in rows]) if len(runs) > 1 else paired_interval(_finite(rows[0]))
    found = None if isinstance(around, Undefined) else around
    perplexities = [_finite([run.summary.get("tuned", {}).get("perplexity")])[0] for run in runs]
    return Quality(
        base=gain.base_mean,
        tuned=centre,
        low=found.low if found else None,
        high=found.high if found else None,
        gain=gain,
        gain_over_seeds=over_seeds([run.scores for run in runs]),
        seeds=tuple(run.seed for run in runs),
        by_seed=by_seed,
        perplexity=_defined(mean(perplexities)) if one_tokenizer else None,
        reason=gain.reason or (around.reason if isinstance(around, Undefined) else None),
    )


def averaged(by_seed: Sequence[Sequence[GroupScore]]) -> list[GroupScore]:
    """The groups' means over seeds; a group without a score under one seed has none, and the reason."""
    if len(by_seed) == 1:
        return list(by_seed[0])
    return [_averaged(scores) for scores in zip(*by_seed, strict=True)]


def _averaged(scores: Sequence[GroupScore]) -> GroupScore:
    first = scores[0]
    broken = next((score for score in scores if score.reason is not None), None)
    base, tuned, difference = (
        None if broken else _defined(mean(_finite([getattr(score, key) for score in scores])))
        for key in ("base_bpb", "tuned_bpb", "difference")
    )
    return GroupScore(
        first.group, first.bytes, first.tokens, base, tuned, difference, broken.reason if broken else None
    )


def over_seeds(by_seed: Sequence[Sequence[GroupScore]], *, level: float = 0.95) -> SeedVariance | None:
    """The differences with seeds and groups as draws of many; None below two seeds, or where one is not finite."""
    rows = difference_rows(by_seed)
    found = seed_variance(rows, level=level) if len(rows) > 1 else Undefined("one seed")
    return None if isinstance(found, Undefined) else found


def difference_rows(by_seed: Sequence[Sequence[GroupScore]]) -> list[list[float]]:
    """A row per seed: the differences of all groups that have bytes, NaN where there is none."""
    return [_finite([score.difference for score in scores if score.bytes > 0]) for scores in by_seed]


def _finite(values: Sequence[float | None]) -> list[float]:
    """The values, NaN for what does not exist: whatever is computed from it is undefined, with a reason."""
    return [math.nan if value is None else value for value in values]


def _defined(value: float | Undefined) -> float | None:
    return None if isinstance(value, Undefined) else value


def measure(entry: Entry) -> list[Measured]:
    """All runs of an entry, by their seeds."""
    return [measured(run) for run in entry.runs]
