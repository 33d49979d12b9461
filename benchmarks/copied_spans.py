"""How long the search for copied spans takes, and how much memory: generations against many training rows.

    python benchmarks/copied_spans.py [--rows 100000] [--generations 200] [--text FILE] [--json FILE]

Rows and generations have 200 tokens. They are drawn by a Zipf law; or with `--text` the rows are stretches of that file
from places drawn at random, a token for each of its words and marks, and the generations are such stretches with every
tenth token changed. 50 tokens of every fourth generation are copied from a row. Printed are seconds, by how much the
search raised the process's peak of memory, and the lengths that were found.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOKENS, VOCABULARY, PLANTED = 200, 50_000, 50


def search(rows: int, generations: int, text: Path | None) -> dict[str, Any]:
    """One measurement: make the tokens, and search them."""
    import numpy as np

    from assay.text.copied import copied_spans

    generator = np.random.default_rng(0)
    if text is None:
        weights = 1 / np.arange(1, VOCABULARY + 1)
        edges = np.cumsum(weights / weights.sum())
        source = np.empty(rows * TOKENS, np.int32)
        for part in np.array_split(source, 100):  # at once, the drawing would be the peak of memory
            part[:] = np.searchsorted(edges, generator.random(len(part)))
        starts = np.arange(rows) * TOKENS
        made = np.searchsorted(edges, generator.random((generations, TOKENS)))
    else:
        numbers: dict[str, int] = {}
        found = re.findall(r"\w+|[^\w\s]", text.read_text(encoding="utf-8"))
        source = np.array([numbers.setdefault(word, len(numbers)) for word in found], np.int32)
        starts = generator.integers(0, len(source) - TOKENS, rows)
        made = np.stack([source[at : at + TOKENS] for at in generator.integers(0, len(source) - TOKENS, generations)])
        made[:, ::10] = generator.integers(0, len(numbers), made[:, ::10].shape)
    for number in range(0, generations, 4):
        at = starts[generator.integers(rows)]
        made[number, 70 : 70 + PLANTED] = source[at : at + PLANTED]

    def stream() -> Iterator[np.ndarray]:
        for at in starts.tolist():
            yield source[at : at + TOKENS]

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    spans = copied_spans(made.tolist(), stream())
    seconds = time.perf_counter() - start
    lengths = [one.longest.length if one.longest else 0 for one in spans]
    return {
        "rows": rows, "tokens": rows * TOKENS, "generations": generations, "text": text and text.name,
        "seconds": round(seconds, 2), "million_tokens_per_second": round(rows * TOKENS / seconds / 1e6, 2),
        "memory_mb": round((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024),
        "planted_found": sum(length >= PLANTED for length in lengths[::4]), "planted": len(lengths[::4]),
        "longest_other": max((length for k, length in enumerate(lengths) if k % 4), default=0),
        "covered_by_8": round(float(np.mean([one.covered(8) or 0.0 for one in spans])), 4),
    }  # fmt: skip


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--generations", type=int, default=200)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    found = search(given.rows, given.generations, given.text)
    print(json.dumps(found))
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    if found["planted_found"] < found["planted"]:
        sys.exit("a planted copy was not found")


if __name__ == "__main__":
    main()
