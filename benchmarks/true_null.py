"""A true null through the public comparison: how often is nothing called better?

    python benchmarks/true_null.py [--run RUN] [--draws 2000] [--seed 0] [--out FILE]

Of a finished run (without --run one is made: a small model on Shakespeare's plays) the difference of each held-out
group has its sign flipped at random, so that there is nothing to find, and the two columns of scores are held against
each other by `assay.compare`, as two runs whose files and hashes are consistent. "Better" may come out in 2.5 % of the
draws, "worse" likewise, beyond which only the binomial error of so many draws is allowed for.

And A/A: the base held against itself, scored once more in rows of other lengths, is never better. It ends with 1
otherwise. The results are written to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import datetime as dt
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import binom

import assay
from assay.api import RunDir
from assay.core.cache import cache_dir
from assay.core.files import read_json, sha256_file, write_json
from assay.core.machine import processor

ONE_SIDED = 0.025
SURE = 0.999  # of the binomial bound on the number of draws
ROWS = (1, 64, 257, 1024)  # tokens of a row, in which the base is scored again
NOT_COMPARED = shutil.ignore_patterns("checkpoints", "adapter", "model", "tokens", "plots", "*.html")


def copied(run: RunDir, folder: Path, weights: str) -> RunDir:
    """What a comparison reads of a run, in a folder of its own, as a run of these weights."""
    shutil.copytree(run.path, folder, ignore=NOT_COMPARED)
    made = RunDir(folder)
    told = read_json(made.training)
    write_json(made.training, told | {"weights": told["weights"] | {"sha256": weights}})
    return made


def scored(run: RunDir, texts: pl.DataFrame) -> None:
    """Put these scores in place of a run's, and their hash on record."""
    texts.write_parquet(run.texts)
    stages = read_json(run.stages)
    for name in stages["evaluate"]["outputs"]:
        stages["evaluate"]["outputs"][name] = sha256_file(run.path / name)
    write_json(run.stages, stages)


def nulls(texts: pl.DataFrame, draws: int, seed: int) -> Iterator[pl.DataFrame]:
    """The scores with each group's difference flipped at random, so many times."""
    generator = np.random.default_rng(seed)
    groups = texts["group"].unique(maintain_order=True)
    change = pl.col("nll_base") - pl.col("nll_tuned")
    for _ in range(draws):
        signs = pl.DataFrame({"group": groups, "sign": generator.choice([-1.0, 1.0], len(groups))})
        flipped = texts.join(signs, on="group", maintain_order="left")
        yield flipped.with_columns((pl.col("nll_base") - pl.col("sign") * change).alias("nll_tuned")).drop("sign")


def null_outcomes(run: RunDir, work: Path, *, draws: int, seed: int) -> Counter[str]:
    """How often a comparison of the base with itself, give or take, comes out better, worse, and not shown."""
    texts = pl.read_parquet(run.texts)
    base, null = copied(run, work / "base", "0" * 64), copied(run, work / "null", "1" * 64)
    scored(base, texts.with_columns(pl.col("nll_base").alias("nll_tuned")))
    found: Counter[str] = Counter()
    for flipped in nulls(texts, draws, seed):
        scored(null, flipped)
        found[assay.compare([base, null])["pairs"][0]["outcome"]] += 1
    return found


def again(run: RunDir, row_tokens: int) -> dict[str, float]:
    """The base's nats on each held-out text (plain text) of a run, scored anew in rows of so many tokens."""
    from assay.config.load import load_experiment
    from assay.core.console import Console
    from assay.data.excerpts import excerpts
    from assay.data.items import read_items
    from assay.model.load import load_base
    from assay.model.registry import locate
    from assay.model.score import Scorer

    experiment, settings = load_experiment(run.resolved).experiment, read_json(run.summary)["settings"]
    model, tokenizer = load_base(
        locate(experiment.base, cache_dir()), cache_dir(), dtype=settings["dtype"], device=settings["device"],
        console=Console(quiet=True),
    )  # fmt: skip
    scorer = Scorer(model, tokenizer, window=settings["window"], stride=settings["stride"], row_tokens=row_tokens)
    items = excerpts(read_items(run.split("test")), settings["max_bytes_per_group"], seed=experiment.data.split.seed)
    nats = scorer.score([item.text for item in items])
    return {item.id: float(own.sum()) for item, own in zip(items, nats, strict=True)}


def a_a(run: RunDir, work: Path) -> list[dict[str, Any]]:
    """The base held against itself: as it was scored, and scored again in rows of other lengths."""
    texts = pl.read_parquet(run.texts)
    one, other = copied(run, work / "one", "0" * 64), copied(run, work / "other", "0" * 64)
    scored(one, texts.with_columns(pl.col("nll_base").alias("nll_tuned")))
    found = []
    for rows in (None, *ROWS):
        nats = pl.col("nll_base")
        if rows is not None:
            nats = pl.col("id").replace_strict(again(run, rows), return_dtype=pl.Float64)
        for column in (nats, 2 * pl.col("nll_base") - nats):  # seen from either side
            scored(other, texts.with_columns(column.alias("nll_tuned")))
            compared = assay.compare([one, other])["pairs"][0]
            found.append({"row_tokens": rows, "outcome": compared["outcome"], "mean": compared["difference"]["mean"]})
    return found


def made_run(work: Path) -> RunDir:
    """A run on a table of passages of the plays."""
    import healthy_runs

    first, others = healthy_runs.split_plays()
    one = next(one for one in healthy_runs.ALL if one.name == "table-lora")
    run, _ = healthy_runs.run(one, healthy_runs.trained_base(first, work), others, work)
    return run


def main() -> int:
    """Draw, compare, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, help="a finished run on plain text; without it one is made")
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="the results' file (default: by machine and date, in results/)")
    asked = parser.parse_args()
    machine = re.sub(r"[^a-z0-9]+", "-", processor().lower()).strip("-")
    file = asked.out or Path(__file__).parent / "results" / f"true-null-{machine}-{dt.date.today()}.json"
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        run = RunDir(asked.run.resolve()) if asked.run else made_run(work)
        counts = null_outcomes(run, work, draws=asked.draws, seed=asked.seed)
        same = a_a(run, work)
        groups = pl.read_parquet(run.texts)["group"].n_unique()
    most = {"better": ONE_SIDED, "worse": ONE_SIDED, "either": 2 * ONE_SIDED}
    seen = {"better": counts["better"], "worse": counts["worse"], "either": counts["better"] + counts["worse"]}
    allowed = {what: int(binom.ppf(SURE, asked.draws, share)) for what, share in most.items()}
    for what, times in seen.items():
        share = f"{100 * times / asked.draws:.2f} %"
        print(f"{what}: {times} of {asked.draws} nulls ({share}, {groups} groups; at most {allowed[what]} by chance)")
    for one in same:
        print(f"A/A, rows of {one['row_tokens'] or 'the same'} tokens: {one['outcome']} (mean {one['mean']:.2g})")
    write_json(file, {"draws": asked.draws, "groups": groups, "seen": seen, "allowed": allowed, "a_a": same})
    wrong = any(seen[what] > allowed[what] for what in seen) or any(one["outcome"] == "better" for one in same)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
