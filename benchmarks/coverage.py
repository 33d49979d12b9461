"""How often the intervals hold the true mean, and how often the tests are wrong: a simulation.

    python benchmarks/coverage.py [--repetitions 4000] [--seed 2026] [--out FILE]

Nominal is 95 %. Differences of 6 to 50 groups are drawn from distributions whose mean is known:

- `normal`; `clustered` (the mean of five chunks of each group, intra-class correlation 0.5)
- `exponential` and `lognormal` (sigma 1): a few groups gain far more than the others, or seen from the other side lose
- `t(3)`: symmetric with heavy tails

and on each draw all methods are tried. `verdict` is `paired_interval` itself. Printed in Markdown, each share in
percent with its Monte-Carlo standard error, are: coverage, and mean length relative to Student's t; how often the
verdict's rule (interval and sign-flip test) calls a true difference of 0 better; its power; what counting chunks as
groups does; and the coverage of a recipe's effect over seeds. Exit 1 if the verdict's interval leaves 93 to 98 % on
normal or clustered differences. The results are written to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from scipy.special import stdtrit
from scipy.stats import bootstrap, ttest_1samp

from assay.core.machine import processor
from assay.stats.intervals import Floats, Interval, bootstrap_t, paired_interval
from assay.stats.power import mde
from assay.stats.seeds import SeedVariance, seed_variance
from assay.stats.tests import sign_flip_p

GROUPS = (6, 8, 10, 15, 20, 30, 50)
DECIDED = (6, 8, 10, 15, 30)  # groups for which the slower sign-flip test is tried too
LEVEL, LEAST, MOST = 0.95, 0.93, 0.98
DRAWS = 1000  # of each bootstrap
BLOCK = 200  # repetitions that share the draws of a bootstrap

Generator = np.random.Generator
Ends = tuple[Floats, Floats]


def chunks(generator: Generator, documents: tuple[int, ...], each: int = 5, icc: float = 0.5) -> Floats:
    """Normal values of variance 1: so many chunks to a document, on the last axis."""
    shared = generator.normal(size=(*documents, 1)) * math.sqrt(icc)
    return shared + generator.normal(size=(*documents, each)) * math.sqrt(1 - icc)


# What draws differences of the given shape whose true mean is 0.
DISTRIBUTIONS: dict[str, Callable[[Generator, tuple[int, ...]], Floats]] = {
    "normal": lambda generator, shape: generator.normal(size=shape),
    "clustered": lambda generator, shape: chunks(generator, shape).mean(axis=-1),
    "exponential": lambda generator, shape: generator.exponential(size=shape) - 1,
    "lognormal": lambda generator, shape: generator.lognormal(size=shape) - math.exp(0.5),
    "t(3)": lambda generator, shape: generator.standard_t(3, size=shape),
}


def moments(x: Floats) -> tuple[Floats, Floats, float]:
    """Of each row the mean and its standard error, and Student's quantile."""
    n = x.shape[1]
    return x.mean(axis=1), x.std(axis=1, ddof=1) / math.sqrt(n), float(stdtrit(n - 1, (1 + LEVEL) / 2))


def students_t(x: Floats, _: Generator) -> Ends:
    """Mean ± t · standard error."""
    centre, error, t = moments(x)
    return centre - t * error, centre + t * error


def johnson(x: Floats, _: Generator) -> Ends:
    """Student's interval moved by the third moment (Johnson 1978)."""
    centre, error, t = moments(x)
    moved = centre + _skewness(x) / 6 * error / math.sqrt(x.shape[1])
    return moved - t * error, moved + t * error


def hall(x: Floats, _: Generator) -> Ends:
    """Hall's cubic transformation of t, inverted, at Student's quantiles (Hall 1992, Willink 2005)."""
    centre, error, t = moments(x)
    a = _skewness(x) / (6 * math.sqrt(x.shape[1]))

    def inverted(quantile: float) -> Floats:
        straight = np.abs(a) < 1e-6
        safe = np.where(straight, 1.0, a)
        return np.where(straight, quantile, (np.cbrt(1 + 6 * safe * (quantile - safe)) - 1) / (2 * safe))

    return centre - inverted(t) * error, centre - inverted(-t) * error


def _skewness(x: Floats) -> Floats:
    n = x.shape[1]
    third = ((x - x.mean(axis=1, keepdims=True)) ** 3).sum(axis=1) * n / ((n - 1) * (n - 2))
    return np.asarray(third / x.std(axis=1, ddof=1) ** 3)


def _blocks(x: Floats, quantiles: Callable[[Floats], Floats]) -> Ends:
    parts = [quantiles(x[start : start + BLOCK]) for start in range(0, len(x), BLOCK)]
    low, high = np.concatenate(parts, axis=1)
    return low, high


TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


def percentile(x: Floats, generator: Generator) -> Ends:
    """Quantiles of the means of groups drawn with replacement."""
    n = x.shape[1]

    def one(block: Floats) -> Floats:
        drawn = generator.multinomial(n, [1 / n] * n, size=DRAWS)
        return np.quantile(block @ drawn.T / n, TAILS, axis=1)

    return _blocks(x, one)


def efrons_t(x: Floats, generator: Generator) -> Ends:
    """The bootstrap-t with groups drawn with replacement, unbounded (Efron 1979, Hall 1988)."""
    n = x.shape[1]

    def one(block: Floats) -> Floats:
        drawn = generator.multinomial(n, [1 / n] * n, size=DRAWS)
        centre, error, _ = moments(block)
        moved = block - centre[:, None]
        means = moved @ drawn.T / n
        errors = np.sqrt(np.maximum(moved**2 @ drawn.T / n - means**2, 1e-30) / (n - 1))
        low, high = np.quantile(means / errors, TAILS, axis=1)
        return np.stack([centre - high * error, centre - low * error])

    return _blocks(x, one)


def bca(x: Floats, generator: Generator) -> Ends:
    """scipy's bias-corrected and accelerated bootstrap (Efron 1987)."""

    def one(block: Floats) -> Floats:
        found = bootstrap((block,), np.mean, axis=-1, n_resamples=DRAWS, method="BCa", rng=generator)
        return np.stack([found.confidence_interval.low, found.confidence_interval.high])

    return _blocks(x, one)


def inverted_sign_flips(x: Floats, generator: Generator) -> Ends:
    """The means that the sign-flip test does not reject: they lie among the means of all subsets (Hartigan 1969)."""
    n = x.shape[1]

    def one(block: Floats) -> Floats:
        if n <= 10:
            subsets = (np.arange(1, 2**n)[:, None] >> np.arange(n)) & 1
        else:
            subsets = generator.integers(0, 2, size=(4 * DRAWS, n))
        left_out = int(TAILS[0] * (len(subsets) + 1))
        means = np.sort(block @ (subsets / np.maximum(subsets.sum(axis=1, keepdims=True), 1)).T, axis=1)
        return np.stack([means[:, left_out - 1], means[:, -left_out]])

    return _blocks(x, one)


def ours(function: Callable[..., Any]) -> Callable[[Floats, Generator], Ends]:
    """One of the package's own intervals, row by row."""

    def ends(x: Floats, _: Generator) -> Ends:
        found = [function(row, seed=number, draws=DRAWS) for number, row in enumerate(x.tolist())]
        assert all(isinstance(interval, Interval) for interval in found)
        return np.array([interval.low for interval in found]), np.array([interval.high for interval in found])

    return ends


METHODS: dict[str, Callable[[Floats, Generator], Ends]] = {
    "verdict": ours(paired_interval),
    "t": students_t,
    "bootstrap-t (beta)": ours(bootstrap_t),
    "bootstrap-t (counts)": efrons_t,
    "percentile": percentile,
    "BCa": bca,
    "Johnson": johnson,
    "Hall": hall,
    "sign flips": inverted_sign_flips,
}


def share(hits: Any) -> dict[str, float]:
    """A share of repetitions, and its Monte-Carlo standard error."""
    found = float(np.mean(hits))
    return {"share": round(found, 5), "error": round(math.sqrt(found * (1 - found) / np.size(hits)), 5)}


def covered(
    distribution: str, groups: int, repetitions: int, seed: int, methods: Sequence[str] = tuple(METHODS)
) -> tuple[Floats, dict[str, dict[str, Any]], dict[str, Ends]]:
    """Draws, and of each method on them: coverage, misses on both sides, length relative to Student's; and its ends."""
    generator = np.random.default_rng([seed, list(DISTRIBUTIONS).index(distribution), groups])
    x = DISTRIBUTIONS[distribution](generator, (repetitions, groups))
    ends = {name: METHODS[name](x, generator) for name in methods}
    _, error, t = moments(x)
    found = {
        name: {
            **share((low <= 0) & (high >= 0)),
            "above": round(float(np.mean(low > 0)), 5),
            "below": round(float(np.mean(high < 0)), 5),
            "length": round(float(np.mean(high - low) / np.mean(2 * t * error)), 3),
        }
        for name, (low, high) in ends.items()
    }
    return x, found, ends


def flipped(x: Floats) -> Floats:
    """p of the sign-flip test of each row."""
    return np.array([sign_flip_p(row, seed=number, draws=2000) for number, row in enumerate(x.tolist())], dtype=float)


def decided(x: Floats, ends: dict[str, Ends], alpha: float = 0.05) -> dict[str, Any]:
    """How often a true difference of 0 is called better, as drawn and with all signs turned; the size of the test."""
    unlikely = flipped(x) < alpha
    found: dict[str, Any] = {"sign_flip": share(unlikely)}
    for name in ("t", "verdict"):
        low, high = ends[name]
        found[name] = {"better": share((low > 0) & unlikely), "better_turned": share((high < 0) & unlikely)}
    return found


def powers(groups: int, repetitions: int, seed: int) -> dict[str, Any]:
    """How often a normal difference as large as the minimum detectable effect is called better."""
    effect = mde(1.0, groups)
    assert isinstance(effect, float)
    generator = np.random.default_rng([seed, 100, groups])
    x = generator.normal(effect, 1.0, size=(repetitions, groups))
    unlikely = flipped(x) < 0.05
    lows = {name: METHODS[name](x, generator)[0] > 0 for name in ("t", "verdict")}
    return {"groups": groups, "t_alone": share(lows["t"])} | {k: share(v & unlikely) for k, v in lows.items()}


def chunk_level(repetitions: int, seed: int) -> dict[str, Any]:
    """How often a t test at 5 % finds a difference that is not there, in 5 documents of 5 chunks each."""
    drawn = chunks(np.random.default_rng([seed, 200]), (repetitions, 5))
    by_chunk = ttest_1samp(drawn.reshape(repetitions, 25), 0.0, axis=1).pvalue < 0.05
    by_document = ttest_1samp(drawn.mean(axis=2), 0.0, axis=1).pvalue < 0.05
    return {"chunks": share(by_chunk), "documents": share(by_document)}


def recipes(seeds: int, groups: int, seed_sd: float, repetitions: int, seed: int) -> dict[str, Any]:
    """Coverage of a recipe's effect, 0. Standard deviations: groups 1, seeds `seed_sd`, one group of one seed 0.45."""
    generator = np.random.default_rng([seed, 300, seeds, groups, round(100 * seed_sd)])
    drawn = generator.normal(size=(repetitions, 1, groups)) + seed_sd * generator.normal(size=(repetitions, seeds, 1))
    drawn = drawn + 0.45 * generator.normal(size=(repetitions, seeds, groups))
    found = [seed_variance(rows, seed=number, draws=200) for number, rows in enumerate(drawn.tolist())]
    both = [one.low <= 0 <= one.high for one in found if isinstance(one, SeedVariance)]
    centre, by_group, t = moments(drawn.mean(axis=1))
    _, by_seed, _ = moments(drawn.mean(axis=2))
    df = (by_group**2 + by_seed**2) ** 2 / (by_group**4 / (groups - 1) + by_seed**4 / (seeds - 1))
    satterthwaite = stdtrit(df, (1 + LEVEL) / 2) * np.hypot(by_group, by_seed)
    return {
        "seeds": seeds,
        "groups": groups,
        "seed_sd": seed_sd,
        "both": share(both),
        "groups_alone": share(np.abs(centre) <= t * by_group),
        "satterthwaite": share(np.abs(centre) <= satterthwaite),
    }


def percent(found: dict[str, float]) -> str:
    """``95.1 ± 0.3``: a share and its standard error."""
    return f"{100 * found['share']:.1f} ± {100 * found['error']:.1f}"


def table(head: Sequence[object], rows: Sequence[Sequence[object]]) -> None:
    """Print a Markdown table."""
    for row in (head, ["---"] * len(head), *rows):
        print(f"| {' | '.join(map(str, row))} |")
    print(flush=True)


def simulate(repetitions: int, seed: int) -> dict[str, Any]:
    """All simulations; each table is printed as soon as it is known."""
    coverage, decisions = [], []
    for name in DISTRIBUTIONS:
        rows = []
        for groups in GROUPS:
            x, found, ends = covered(name, groups, repetitions, seed)
            coverage.append({"distribution": name, "groups": groups, "methods": found})
            rows.append([groups, *(f"{percent(one)} ({one['length']:.2f})" for one in found.values())])
            if groups in DECIDED:
                decisions.append({"distribution": name, "groups": groups, **decided(x, ends)})
        print(f"Coverage, {name} differences (in brackets: length relative to Student's t)\n")
        table(["groups", *METHODS], rows)
    print("A true difference of 0 called better, as drawn | with all signs turned\n")
    of = [(rule, way) for rule in ("t", "verdict") for way in ("better", "better_turned")]
    table(["differences", "groups", "by t", "by t, turned", "verdict", "verdict, turned", "sign-flip p < .05"],
          [[d["distribution"], d["groups"], *(percent(d[rule][way]) for rule, way in of), percent(d["sign_flip"])]
           for d in decisions])  # fmt: skip
    power = [powers(groups, repetitions, seed) for groups in DECIDED]
    print("A difference as large as the MDE (80 % power) called better\n")
    table(["groups", "t test alone", "t and sign flips", "verdict"],
          [[p["groups"], percent(p["t_alone"]), percent(p["t"]), percent(p["verdict"])] for p in power])  # fmt: skip
    chunked = chunk_level(5 * repetitions, seed)
    by_chunk, by_document = percent(chunked["chunks"]), percent(chunked["documents"])
    print(f"5 documents of 5 chunks, no difference, p < .05: t over chunks {by_chunk}, over documents {by_document}\n")
    over = [recipes(s, g, sd, repetitions, seed) for s in (2, 3, 5) for g in (6, 20) for sd in (0.0, 0.3, 1.0, 3.0)]
    print("Coverage of a recipe's effect; standard deviation over groups 1\n")
    table(["seeds", "groups", "sd over seeds", "seeds and groups", "groups alone", "Satterthwaite"],
          [[r["seeds"], r["groups"], r["seed_sd"], *(percent(r[k]) for k in ("both", "groups_alone", "satterthwaite"))]
           for r in over])  # fmt: skip
    return {"coverage": coverage, "decisions": decisions, "power": power, "chunks": chunked, "recipes": over}


def main() -> int:
    """Simulate, write the results, and say whether the verdict's interval covers what it should."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=2026)
    parser.add_argument("--out", type=Path, help="the results' file (default: by machine and date, in results/)")
    given = parser.parse_args()
    found = simulate(given.repetitions, given.seed)
    machine = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    file = given.out or Path(__file__).parent / "results" / f"coverage-{machine}-{dt.date.today()}.json"
    about = {"repetitions": given.repetitions, "seed": given.seed, "draws": DRAWS, "level": LEVEL}
    versions = {"numpy": np.__version__, "scipy": scipy.__version__}
    file.write_text(json.dumps({**about, **versions, **found}, indent=1) + "\n", encoding="utf-8")
    plain = [c for c in found["coverage"] if c["distribution"] in ("normal", "clustered")]
    missed = [c for c in plain if not LEAST <= c["methods"]["verdict"]["share"] <= MOST]
    print(f"{len(plain) - len(missed)} of {len(plain)} cells of normal and clustered differences within 93 to 98 %; "
          f"{time.process_time():.0f} s; {file.name}")  # fmt: skip
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
