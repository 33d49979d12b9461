"""Are our ids and loss masks TRL's? Compares them on conversations, and ends with 1 on a difference.

    python benchmarks/equal_to_trl.py ROWS.jsonl.gz TOKENIZER_FOLDER [--rows 1000]

Runs in an environment that has TRL 1.16 and this package.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import trl_side

from assay.core.records import Item, Turn
from assay.text.tokenizer import TextTokenizer
from assay.text.tokens import Encoder, chat_template


def main() -> int:
    """Compare; 0 where every id and every mask is equal."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--rows", dest="count", type=int, default=1000)
    given = parser.parse_args()
    with gzip.open(given.rows, "rt", encoding="utf-8") as stream:
        said = [json.loads(line)["conversations"] for line in islice(stream, given.count)]
    items = [
        Item(str(n), "", "", tuple(Turn(trl_side.ROLES[turn["from"]], turn["value"]) for turn in row))
        for n, row in enumerate(said, 1)
    ]
    tokenizer = TextTokenizer.from_folder(given.tokenizer)
    ours = Encoder(tokenizer, chat_template(tokenizer, trl_side.TEMPLATE)).encode(items)
    with tempfile.TemporaryDirectory() as work:
        theirs = trl_side.prepared(given.rows, given.tokenizer, Path(work), max_length=None, limit=given.count)
        rows = list(zip(theirs["input_ids"], theirs["labels"], strict=True))
    different = []
    for number, (ids, labels) in enumerate(rows):
        own, learn = ours.row(number)
        if not (np.array_equal(own, ids) and np.array_equal(learn, np.array(labels) != -100)):
            different.append(number + 1)
    learned, tokens = int(ours.learn.sum()), int(ours.ids.size)
    print(f"{len(rows)} conversations, {tokens} tokens, {learned} learned ({tokenizer.backend_name})")
    print(f"different from TRL's: {len(different)} {different[:10] or ''}")
    return int(bool(different) or len(rows) != len(items))


if __name__ == "__main__":
    sys.exit(main())
