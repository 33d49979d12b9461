"""`assay prepare` of many synthetic rows: memory, and what a row costs at a hundred thousand and at a million.

    python benchmarks/prepare_scale.py [--rows 100000 1000000] [--folder FOLDER] [--json FILE]

Each row is a text of about 2 kB, drawn from 30,000 words by a Zipf law: a million are 2 GB of JSON Lines. One in
a thousand repeats another with a few words changed. The files are made once and kept in the folder. 2,000 rows are held
out. Each size is prepared in a process of its own, with near-duplicates, leaks, profile and tokens (of the embedded
base). Printed are the time per row, the peaks of resident and of unshared memory over samples every 100 ms (pages of
mapped files count in the first), and the ratio of the costs per row.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

WORDS, PER_ROW, COPIES = 30_000, 330, 1000
EXPERIMENT = """\
schema: 1
name: scale
base: smollm2-135m-instruct-q4
data:
  source: {source}
  split: {{dev: 1000, test: 1000}}
train: {{max_length: 1024, steps: 1}}
"""


def make(file: Path, rows: int) -> None:
    """Write the rows; the same number gives the same bytes."""
    import numpy as np

    generator = np.random.default_rng(rows)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = ["".join(generator.choice(letters, size)) for size in generator.integers(2, 10, WORDS)]
    weights = 1 / np.arange(1, WORDS + 1)
    edges = np.cumsum(weights / weights.sum())
    last: list[str] = []
    with file.with_suffix(".part").open("w", encoding="utf-8") as stream:
        for number in range(rows):
            if number % COPIES == COPIES - 1:
                words = [*last[:100], "changed", *last[101:]]
            else:
                words = [vocabulary[at] for at in np.searchsorted(edges, generator.random(PER_ROW)).tolist()]
            last = words
            stream.write(json.dumps({"id": number, "text": " ".join(words) + "."}) + "\n")
    file.with_suffix(".part").replace(file)


def measured(file: Path, rows: int) -> dict[str, Any]:
    """Prepare the file in a new process: seconds, and the peaks of memory."""
    import psutil

    work = Path(tempfile.mkdtemp(dir=file.parent))
    experiment = work / "scale.yaml"
    experiment.write_text(EXPERIMENT.format(source=json.dumps(str(file))), encoding="utf-8")
    command = [sys.executable, "-m", "assay", "prepare", str(experiment), "--runs-dir", str(work / "runs"), "--quiet"]
    start, resident, unshared = time.perf_counter(), 0, 0
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    watched = psutil.Process(process.pid)
    while process.poll() is None:
        try:
            memory = watched.memory_full_info()
            resident, unshared = max(resident, memory.rss), max(unshared, memory.uss)
        except psutil.Error:
            pass
        time.sleep(0.1)
    seconds = time.perf_counter() - start
    said = process.stdout.read() if process.stdout else ""
    shutil.rmtree(work)
    if process.returncode:
        sys.exit(f"assay prepare ended with {process.returncode}\n{said}")
    return {
        "rows": rows, "bytes": file.stat().st_size, "seconds": round(seconds, 1),
        "ms_per_row": round(1000 * seconds / rows, 4), "resident": resident, "unshared": unshared,
        "said": [line for line in said.splitlines() if "dropped" in line],
    }  # fmt: skip


def main() -> None:
    """Make the files, prepare each, print the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "assay-scale")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    results = []
    for rows in given.rows:
        file = given.folder / f"rows-{rows}.jsonl"
        if not file.exists():
            make(file, rows)
        results.append(measured(file, rows))
        print(json.dumps(results[-1]), flush=True)
    first, last = results[0], results[-1]
    ratio = last["ms_per_row"] / first["ms_per_row"]
    print(f"cost per row, {last['rows']:,} against {first['rows']:,} rows: {ratio:.3f}")
    if given.json:
        given.json.write_text(json.dumps({"results": results, "ratio": ratio}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
