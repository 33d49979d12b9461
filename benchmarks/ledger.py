"""How long the ledger takes with many runs, and whether processes that write to it at once lose a row.

    python benchmarks/ledger.py [--runs 100000] [--rows 1000] [--repeats 9] [--folder DIR] [--json FILE]

First, two processes write `--rows` rows each to one ledger at the same time; every row must be there. Then `--runs`
run directories are made (files as a real run has them; a learning rate of its own for each, so that no two
configurations are the same; one in twenty failed, one in twenty unfinished), read into a ledger once, and listed and
filtered. Listing is measured in process, without the interpreter's start, on files that the system has in memory:
looking after the directories, the query, and the rows as dicts. 100,000 runs take some 3 GB of disk and ten minutes;
they are deleted afterwards. It ends with 1 where a row is lost, or a listing that is limited takes 0.5 s or more.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.core.find import COMPARISONS, SWEEPS
from assay.core.ledger import Ledger, Query, resolve_run
from assay.core.machine import processor

PER_EXPERIMENT = 500
SHOWN = 50
LIMIT_SECONDS = 0.5  # of listing and filtering
EVERYTHING = "all rows"
QUERIES = {
    "newest 50": Query(limit=SHOWN),
    "status=failed": Query(["status=failed"], limit=SHOWN),
    "outcome=better difference>0.09, by difference": Query(
        ["outcome=better", "difference>0.09"], sort="difference", reverse=True, limit=SHOWN
    ),
    "adapter.rank=64": Query(["adapter.rank=64"], limit=SHOWN),
    "train.learning_rate<1e-5": Query(["train.learning_rate<1e-5"], limit=SHOWN),
    "by train.learning_rate": Query(sort="train.learning_rate", limit=SHOWN),
    "created>=2026-06-01 experiment=e7": Query(["created>=2026-06-01", "experiment=e7"], limit=SHOWN),
    "sweep=s3 variant=rank=8": Query(["sweep=s3", "variant=rank=8"], limit=SHOWN),
    EVERYTHING: Query(),
}

WRITER = """
import json, sys
from pathlib import Path
from assay.core.ledger import Ledger
from assay.core.rundir import RunDir
runs, name, rows = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ledger = Ledger(runs)
for n in range(rows):
    run = RunDir(runs / name / f"20260101-{n:06}-{n:08x}")
    run.path.mkdir(parents=True)
    run.identity.write_text(json.dumps({"short": f"{n:08x}"}))
    run.resolved.write_text(f"seed: {n}\\n")
    ledger.upsert(run)
"""


def two_writers(rows: int, folder: Path) -> dict[str, Any]:
    """Two processes write to one ledger at once."""
    runs = folder / "writers"
    started = time.perf_counter()
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(runs), name, str(rows)]) for name in ("a", "b")]
    codes = [writer.wait() for writer in writers]
    seconds = time.perf_counter() - started
    connection = sqlite3.connect(runs / "ledger.sqlite")
    kept = dict(connection.execute("SELECT experiment, COUNT(*) FROM runs GROUP BY experiment"))
    settings = connection.execute("SELECT COUNT(DISTINCT run) FROM settings").fetchone()[0]
    whole = connection.execute("PRAGMA integrity_check").fetchone()[0]
    connection.close()
    lost = 2 * rows - min(sum(kept.values()), settings)
    return {
        "rows_each": rows, "exit_codes": codes, "kept": kept, "lost": lost, "integrity": whole,
        "seconds": round(seconds, 2), "rows_per_second": round(2 * rows / seconds),
    }  # fmt: skip


def make_runs(count: int, runs: Path) -> None:
    """Run directories with the files that a row is read from."""
    rng = random.Random(0)
    for n in range(count):
        experiment = f"e{n // PER_EXPERIMENT}"
        day = f"2026{1 + n % 12:02}{1 + n % 28:02}"
        folder = runs / experiment / f"{day}-{n % 86400:06}-{n:08x}"
        state = "failed" if n % 20 == 3 else "unfinished" if n % 20 == 7 else "finished"
        write_run(folder, n, experiment, state, rng)
        for own in (SWEEPS, COMPARISONS):  # what assay itself keeps beside the runs
            (runs / experiment / own / "0123abcd").mkdir(parents=True, exist_ok=True)


def write_run(folder: Path, n: int, experiment: str, state: str, rng: random.Random) -> None:
    """One of them."""
    rank, rate, mean = rng.choice((4, 8, 16, 64)), 10 ** rng.uniform(-6, -3), rng.gauss(0.06, 0.03)
    values = SETTINGS | {"name": experiment, "seed": n % 3, "adapter.rank": rank, "train.learning_rate": rate}
    for part in ("data", "train", "evaluate", "adapter"):
        (folder / part).mkdir(parents=True)
    (folder / "resolved.yaml").write_text(as_yaml(values))
    time_of_day = f"2026-{1 + n % 12:02}-{1 + n % 28:02}T{n % 24:02}:00:00+00:00"
    varied = {"sweep": f"s{n // 1000}", "variant": f"rank={rank}", "factors": {"rank": str(rank)}}
    events = [{"time": time_of_day, "event": "created", "varied": varied}]
    events += [{"event": "stopped", "kind": "MachineError", "why": "not enough memory"}] if state == "failed" else []
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    done = ("prepare", "plan", "train", "evaluate", "report")[: 5 if state == "finished" else 2]
    files: dict[str, Any] = {
        "identity.json": {
            "short": f"{n:08x}", "seed": n % 3, "base": {"spec": "scratch:llama-tiny"},
            "adapter": {"kind": "lora", "rank": rank}, "data": {"content": {"files": [experiment]}},
        },
        "stages.json": {s: {"finished": time_of_day, "seconds": 10.0, "others": 0.1, "outputs": {}} for s in done},
        "guards.json": [],
        "data/manifest.json": {"splits": {"train": {"items": 900, "bytes": 9e5}, "test": {"sha256": experiment}}},
    }  # fmt: skip
    if state == "finished":
        files["train/summary.json"] = {
            "seconds": 200.0, "tokens": 61440, "tokens_per_s": 295.0, "peak_memory": 10**9,
            "result": {"step": 30, "best_step": 30, "best_dev_bpb": 1.1},
        }  # fmt: skip
        files["evaluate/summary.json"] = {
            "base": {"bpb": 1.25}, "tuned": {"bpb": 1.25 - mean}, "settings": {"window": 512},
            "difference": {"mean": mean, "low": mean - 0.02, "high": mean + 0.02, "p": 0.01, "n_groups": 30},
            "verdict": {"outcome": "better" if mean > 0.02 else "not-shown", "sentence": f"by {mean:.3f}"},
            "groups": [{"group": f"group {k}", "difference": mean} for k in range(30)],
        }  # fmt: skip
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    (folder / ".lock").touch()


def as_yaml(values: dict[str, Any]) -> str:
    """resolved.yaml, as its keys stand in `SETTINGS`."""
    lines: list[str] = []
    opened: list[str] = []
    for key, value in values.items():
        *parents, name = key.split(".")
        for depth, parent in enumerate(parents):
            if opened[depth : depth + 1] != [parent]:
                lines.append(f"{'  ' * depth}{parent}:")
                opened = [*parents[:depth], parent]
        opened = opened[: len(parents)]
        lines.append(f"{'  ' * len(parents)}{name}: {json.dumps(value):<40}  # default")
    return "\n".join(lines) + "\n"


def all_settings() -> dict[str, Any]:
    """Every key of the experiment file with its default."""
    from assay.config.schema import leaves

    found = {}
    for key, info in leaves():
        default = info.get_default(call_default_factory=True)
        found[key] = default if isinstance(default, str | int | float | list | None) else "given"
    return found


SETTINGS = all_settings()


def measured(work: Callable[[], Any], repeats: int) -> dict[str, float]:
    """Seconds of some work, done again and again."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return {"median": round(statistics.median(times), 4), "worst": round(max(times), 4)}


def many_runs(count: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Make the runs, read them in, list and filter them."""
    runs = folder / "runs"
    started = time.perf_counter()
    make_runs(count, runs)
    made = time.perf_counter() - started
    time.sleep(3)  # folders changed this recently are looked into again at each listing
    ledger = Ledger(runs)
    started = time.perf_counter()
    total = ledger.select(Query(limit=1)).total
    read = time.perf_counter() - started
    if total != count:
        raise SystemExit(f"{count} runs were made, and {total} are in the ledger")
    found = {}
    for name, query in QUERIES.items():
        found[name] = measured(lambda query=query: ledger.select(query), repeats) | {
            "found": ledger.select(query).total
        }
        print(
            f"{name:50} {found[name]['median']:.3f} s (worst {found[name]['worst']:.3f})  {found[name]['found']} runs"
        )
    newest = ledger.select(Query(limit=1)).rows[0]
    found["a run by its hash"] = measured(lambda: resolve_run(newest["id"], runs), repeats)
    print(f"{'a run by its hash':50} {found['a run by its hash']['median']:.3f} s")
    return {
        "runs": count, "experiments": len(list(runs.glob("e*"))), "made_seconds": round(made, 1),
        "read_seconds": round(read, 1), "read_ms_per_run": round(1000 * read / count, 2),
        "file_mb": round(ledger.path.stat().st_size / 1e6), "listing_seconds": found,
    }  # fmt: skip


def wrong(found: dict[str, Any]) -> list[str]:
    """What does not stand, in words; listing every row is no listing for people, and has no limit."""
    writers, times = found["two_writers"], found["many_runs"]["listing_seconds"]
    said = [f"{writers['lost']} rows were lost"] if writers["lost"] else []
    said += [f"the table is damaged: {writers['integrity']}"] if writers["integrity"] != "ok" else []
    said += [f"the writers ended with {writers['exit_codes']}"] if any(writers["exit_codes"]) else []
    return said + [
        f"{name}: {taken['median']} s, and less than {LIMIT_SECONDS} s is asked for"
        for name, taken in times.items()
        if name != EVERYTHING and taken["median"] >= LIMIT_SECONDS
    ]


def main() -> int:
    """Both measurements; 1 where something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--folder", type=Path, default=None, help="where there is room; a temporary folder otherwise")
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=options.folder, prefix="ledger-"))
    try:
        found: dict[str, Any] = {
            "machine": {
                "processor": processor(),
                "cores": len(os.sched_getaffinity(0)),
                "sqlite": sqlite3.sqlite_version,
            }
        }
        print(json.dumps(found["machine"]))
        found["two_writers"] = two_writers(options.rows, folder)
        print(json.dumps(found["two_writers"], indent=2))
        found["many_runs"] = many_runs(options.runs, options.repeats, folder)
        print(json.dumps({k: v for k, v in found["many_runs"].items() if k != "listing_seconds"}, indent=2))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print("\n".join(said := wrong(found)) or "no row was lost, and every listing was fast enough")
    return 1 if said else 0


if __name__ == "__main__":
    sys.exit(main())
