"""Preparing conversations for assistant-only loss: TRL against us, in pairs of fresh processes on one machine.

    python benchmarks/prepare_vs_trl.py ROWS.jsonl.gz TOKENIZER_FOLDER --trl-python PYTHON [--pairs 5] [--json FILE]

Both read the gzipped ShareGPT rows, render them with the same template (`chatml.jinja`), tokenize, mask, cut at
`--max-length`, pack by best-fit decreasing, and leave the result on disk. Each side runs in a process of its own with
empty caches: TRL, then ours, then the whole of `assay prepare` with all its checks, and so on. (That one takes its
tokenizer, the same, from the embedded base.) Compared are

- `work`: seconds from opening the rows to the finished result, without imports and without making a model and trainer;
- `wall`: seconds of the whole process;
- `memory`: the peak, over samples every 50 ms, of the proportional set size of the process and its children. (A page
  that several processes share counts once; the sum of resident sizes would count it for each of TRL's workers.)

Printed are the ratios of each pair, and of their mean a 95 % t interval: what counts is its end on the side against us.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain, product
from pathlib import Path
from typing import Any

from measuring import Failed, interval, measured

BATCH = 2048  # items encoded at a time


def trl(rows: Path, tokenizer: Path, work: Path, max_length: int) -> dict[str, Any]:
    """TRL's side: with two processes, as it has two cores."""
    import datasets  # noqa: F401  (imported before the clock starts)
    import trl_side
    from trl import SFTTrainer

    spent = 0.0

    def timed(function: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            nonlocal spent
            start = time.perf_counter()
            try:
                return function(*given, **named)
            finally:
                spent += time.perf_counter() - start

        return run

    trl_side.loaded = timed(trl_side.loaded)
    SFTTrainer._prepare_dataset = timed(SFTTrainer._prepare_dataset)
    packed = trl_side.prepared(rows, tokenizer, work, max_length=max_length)
    tokens = learned = 0
    for some in packed.iter(100):
        tokens += sum(map(len, some["input_ids"]))
        learned += sum(label != -100 for labels in some["labels"] for label in labels)
    return {"work": spent, "sequences": len(packed), "tokens": tokens, "learned": learned}


def ours(rows: Path, tokenizer: Path, work: Path, max_length: int) -> dict[str, Any]:
    """Our side of the same work: what `assay prepare` does, without its checks."""
    import numpy as np
    import trl_side

    from assay.core.records import Item
    from assay.data.formats import Draft, decide
    from assay.data.readers import Row, read_rows
    from assay.data.sources import locate
    from assay.text.packing import pack
    from assay.text.tokenizer import TextTokenizer
    from assay.text.tokens import Encoder, Tokens, chat_template, write_tokens

    def batches(read: Iterator[Row]) -> Iterator[list[Item]]:
        first = next(read)
        layout = decide("sharegpt", {}, None, None, [first])
        batch = []
        for row in chain([first], read):
            draft = layout.parse(row)
            if isinstance(draft, Draft):
                batch.append(Item(row.place, row.place, draft.text, draft.turns))
            if len(batch) == BATCH:
                yield batch
                batch = []
        yield batch

    start = time.perf_counter()
    known = TextTokenizer.from_folder(tokenizer)
    encoder = Encoder(known, chat_template(known, trl_side.TEMPLATE))
    file = locate([str(rows)], sha256=None, cache=work).files[0]
    write_tokens(work, (encoded for _, encoded in encoder.encode_all(batches(read_rows(file)))))
    tokens = Tokens.open(work)
    kept = np.minimum(tokens.lengths, max_length)
    sequences = pack(kept, max_length)
    np.save(work / "order.npy", np.concatenate(sequences))
    np.save(work / "sequences.npy", np.cumsum([len(rows) for rows in sequences]))
    spent = time.perf_counter() - start
    return {
        "work": spent,
        "sequences": len(sequences),
        "tokens": int(kept.sum()),
        "learned": sum(int(tokens.row(number)[1][:max_length].sum()) for number in range(len(tokens))),
        "backend": known.backend_name,
    }


def checked(rows: Path, tokenizer: Path, work: Path, max_length: int) -> dict[str, Any]:
    """The whole of `assay prepare`: near-duplicates, splits, leaks, profile, tokens, masks, page and plots."""
    import trl_side

    import assay
    import assay.stages.compare.plots_data
    import assay.stages.compare.report
    import assay.stages.prepare
    import assay.stages.tokenize  # (imported before the clock starts)
    from assay.core.files import read_json

    template = json.dumps(trl_side.TEMPLATE)
    overrides = [f"data.source={rows}", f"train.max_length={max_length}", f"data.chat_template={template}"]
    example = Path(__file__).parents[1] / "examples" / "sgd_sharegpt.yaml"
    start = time.perf_counter()
    run = assay.prepare(example, overrides=overrides, runs_dir=work).run
    spent = time.perf_counter() - start
    profile = read_json(run.tokens_profile)["splits"]["train"]
    return {"work": spent} | {key: profile[key] for key in ("sequences", "tokens", "learned")}


SIDES: dict[str, Callable[[Path, Path, Path, int], dict[str, Any]]] = {"trl": trl, "ours": ours, "checked": checked}
OURS = ("ours", "checked")


def measured_side(python: str, side: str, given: argparse.Namespace) -> dict[str, Any]:
    """One side in a process of its own: what it reports, with the whole time and the peak of memory."""
    work = Path(tempfile.mkdtemp())
    command = [python, __file__, str(given.rows), str(given.tokenizer), "--max-length", str(given.max_length)]
    try:
        return measured([*command, "--side", side, "--work", str(work)])
    except Failed as error:
        sys.exit(f"{side} {error}")
    finally:
        shutil.rmtree(work, ignore_errors=True)


def main() -> None:
    """Run the pairs and print the ratios."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("rows", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--trl-python", default=sys.executable)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--max-length", type=int, default=1024)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(SIDES[given.side](given.rows, given.tokenizer, given.work, given.max_length)))
        return
    pairs = []
    for number in range(given.pairs):
        pair = {"trl": measured_side(given.trl_python, "trl", given)}
        pair |= {side: measured_side(sys.executable, side, given) for side in OURS}
        pairs.append(pair)
        print(f"pair {number + 1}: {json.dumps(pair)}", flush=True)
    result: dict[str, Any] = {"pairs": pairs}
    for side, what in product(OURS, ("work", "wall", "memory")):
        ratios = [pair["trl"][what] / pair[side][what] for pair in pairs]
        mean, low, high = interval(ratios)
        result[f"{side} {what}"] = {"ratios": ratios, "mean": mean, "low": low, "high": high}
        print(f"TRL / {side}, {what}: {mean:.2f} [{low:.2f}, {high:.2f}]  ({', '.join(f'{r:.2f}' for r in ratios)})")
    if given.json:
        given.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
