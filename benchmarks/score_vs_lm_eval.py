"""Likelihoods: lm-evaluation-harness against us, equal first and then timed, in fresh processes on one machine.

    python benchmarks/score_vs_lm_eval.py --lm-eval-python PYTHON --texts FILE ... [--choices FILE.jsonl] [--rounds 4]

1. Equality, for a Llama and a GPT-2 architecture: the log-likelihood of 20 documents of each text by rolling windows,
   and of the choices of 50 questions. Largest relative difference, which must stay below LIKE; the choices must be the
   same by log-likelihood and by log-likelihood per letter (lm_eval's `acc` and `acc_norm`).
2. lm_eval's batch sizes are tried, each on a part of the work; the fastest counts. (`auto` is not among them: its first
   try is 64 times the window, whose logits take 6 GB on a vocabulary of 49,152.)
3. `together`: base and tuned of one run. Two runs of lm_eval, one with `peft=`, against one process of ours with one
   loaded model. A B A B; the seconds of whole processes, loading included, and those of scoring alone.
4. `short`: 1,000 texts of 5 to 400 tokens, a part in each round; likewise.

Both sides have the same texts, window, precision and threads. With `--dtype bf16` all is done in bf16, where a machine
multiplies it faster than fp32, and how far each side is from our own fp32 is told in bits per byte; equality is not
asked for, since lm_eval also rounds its log-softmax to bf16.

Ratios above 1 are in our favour, with the 95 % t interval over rounds; the last line is the lower end of the last
work's. Ends with 1 where a score or a choice is not equal. The results are written to benchmarks/results/.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from measuring import Failed, interval, measured

HERE = Path(__file__).parent
OURS, PEER = HERE / "our_score_side.py", HERE / "lm_eval_side.py"
LLAMA, GPT2 = "smollm2-135m-instruct-q4", "scratch:distilgpt2@smollm2-135m-instruct-q4"
LIKE = 1e-4  # relative
EVERY = 0.5  # seconds between two looks at the memory
TRIED = 48  # texts of which the batch sizes are tried


def largest_difference(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The largest |a - b| ÷ |b|."""
    return max(abs(a - b) / abs(b) for a, b in zip(ours, theirs, strict=True))


def choices(logs: Sequence[float], sizes: Sequence[Sequence[int]], *, by_size: bool) -> list[int]:
    """Of each question the choice of the highest log-likelihood, of itself or for each letter of the choice."""
    start, found = 0, []
    for own in sizes:
        scores = [log / (size if by_size else 1) for log, size in zip(logs[start : start + len(own)], own, strict=True)]
        found.append(scores.index(max(scores)))
        start += len(own)
    return found


def ratio(name: str, rounds: Sequence[dict[str, Any]], what: str) -> dict[str, Any]:
    """lm_eval's seconds ÷ ours in each round, with their interval; printed too."""
    ratios = [sum(side[what] for side in each["theirs"]) / each["ours"][what] for each in rounds]
    mean, low, high = interval(ratios)
    said = {"wall": "whole processes", "score": "scoring alone"}[what]
    print(f"{name}: {said} {mean:.2f} [{low:.2f}, {high:.2f}]  ({', '.join(f'{r:.2f}' for r in ratios)})", flush=True)
    return {"ratios": ratios, "mean": mean, "low": low, "high": high}


class Bench:
    """All pieces of work, in one folder."""

    def __init__(self, given: argparse.Namespace, work: Path) -> None:
        self.given, self.work, self.equal = given, work, True
        wish = {key: getattr(given, key) for key in ("window", "dtype", "device", "threads", "rounds", "documents")}
        wish |= {"texts": given.texts, "choices": given.choices, "bases": given.bases}
        wish |= {"questions": given.questions, "short": given.short}
        (work / "wish.json").write_text(json.dumps(wish), encoding="utf-8")
        self.sizes = self.ours("task", str(work / "wish.json"), str(work))

    def ours(self, *command: str) -> dict[str, Any]:
        """One of our side's commands, in a process of its own."""
        return measured([sys.executable, str(OURS), *command], every=EVERY)

    def theirs(self, *command: str) -> dict[str, Any]:
        """Likewise lm_eval's."""
        return measured([self.given.lm_eval_python, str(PEER), *command], every=EVERY)

    def task(self, name: str) -> str:
        """The file of a piece of work."""
        return str(self.work / f"{name}.json")

    def read(self, name: str) -> dict[str, Any]:
        """What stands in it."""
        found: dict[str, Any] = json.loads(Path(self.task(name)).read_text(encoding="utf-8"))
        return found

    def held(self, what: str, ours: Sequence[float], theirs: Sequence[float]) -> float:
        """The largest relative difference; printed, and remembered where it is too large."""
        found = largest_difference(ours, theirs)
        good = found < LIKE or self.given.dtype != "fp32"
        self.equal &= good
        print(f"{what}: at most {found:.1e} apart{'' if good else ': UNEQUAL'}", flush=True)
        return found

    def parity(self, number: int, base: str) -> dict[str, Any]:
        """Documents and questions under one base."""
        name = f"{number}-documents"
        theirs, ours = self.theirs("run", self.task(name), "1"), self.ours("score", self.task(name))
        found: dict[str, Any] = {"base": base, "documents": len(theirs["logs"])}
        found["rolling"] = self.held(f"{base}, {len(theirs['logs'])} documents", ours["logs"][0], theirs["logs"])
        if self.given.choices:
            theirs, ours = (
                self.theirs("pairs", self.task(f"{number}-pairs")),
                self.ours("pairs", self.task(f"{number}-pairs")),
            )
            found["continuations"] = self.held(f"{base}, continuations", ours["logs"], theirs["logs"])
            found["questions"] = self.choices(base, self.read(f"{number}-pairs")["sizes"], ours, theirs)
        return found

    def choices(
        self, base: str, sizes: list[list[int]], ours: dict[str, Any], theirs: dict[str, Any]
    ) -> dict[str, int]:
        """How many questions get the same choice on both sides, by each rule."""
        same = {
            "questions": len(sizes),
            "greedy": sum(a == b for a, b in zip(ours["greedy"], theirs["greedy"], strict=True)),
        }
        for rule, by_size in (("acc", False), ("acc_norm", True)):
            both = (choices(side["logs"], sizes, by_size=by_size) for side in (ours, theirs))
            same[rule] = sum(a == b for a, b in zip(*both, strict=True))
            self.equal &= same[rule] == len(sizes) or self.given.dtype != "fp32"
        print(f"{base}: the same choice in {same['acc']} and {same['acc_norm']} of {len(sizes)} questions", flush=True)
        return same

    def fastest(self, name: str) -> tuple[int, dict[str, float]]:
        """lm_eval's best batch size for a piece of work, and the seconds of each."""
        whole = self.read(name)
        part = self.work / f"{name}-grid.json"
        part.write_text(json.dumps(whole | {"texts": whole["texts"][:TRIED]}), encoding="utf-8")
        seconds: dict[str, float] = self.theirs("grid", str(part), *map(str, self.given.batch_sizes))["seconds"]
        best = min(seconds, key=lambda size: seconds[size])
        print(f"{name}: lm_eval's seconds by batch size: {json.dumps(seconds)}", flush=True)
        return int(best), seconds

    def timed(self, name: str) -> dict[str, Any]:
        """Rounds of A and B."""
        adapter = str(self.work / "adapter")
        adapted = name == "together"
        size, seconds = self.fastest(name if adapted else f"{name}-0")
        rounds = []
        for number in range(self.given.rounds):
            task = self.task(name if adapted else f"{name}-{number}")
            theirs = [self.theirs("run", task, str(size))]
            theirs += [self.theirs("run", task, str(size), "--adapter", adapter)] if adapted else []
            ours = self.ours("score", task, *(["--adapter", adapter] if adapted else []))
            logs = zip(ours.pop("logs"), [side.pop("logs") for side in theirs], strict=True)
            apart = [self.held(f"{name}, round {number + 1}", own, other) for own, other in logs]
            rounds.append({"theirs": theirs, "ours": ours, "apart": apart})
            print(f"  {json.dumps(rounds[-1])}", flush=True)
        parts = {what: ratio(name, rounds, what) for what in ("wall", "score")}
        return {"work": name, "batch_size": size, "grid": seconds, "rounds": rounds, **parts}

    def rounding(self) -> dict[str, float]:
        """How far each side is from our own fp32 in this precision: mean over documents, in bits per byte."""
        narrow = self.read("0-documents")
        wide = self.work / "wide.json"
        wide.write_text(json.dumps(narrow | {"dtype": "fp32"}), encoding="utf-8")
        exact = self.ours("score", str(wide))["logs"][0]
        task = self.task("0-documents")
        sides = {"ours": self.ours("score", task)["logs"][0], "theirs": self.theirs("run", task, "1")["logs"]}
        bytes_ = [len(text.encode()) * math.log(2) for text in narrow["texts"]]
        found = {
            side: sum(abs(a - b) / size for a, b, size in zip(logs, exact, bytes_, strict=True)) / len(exact)
            for side, logs in sides.items()
        }
        print(f"{self.given.dtype} from fp32, bits per byte: {json.dumps(found)}", flush=True)
        return found


def write(given: argparse.Namespace, result: dict[str, Any]) -> Path:
    """The results as `results/score-<precision>-<machine>-<date>.json`, without this machine's paths."""
    from assay.core.machine import processor

    machine = processor()
    name = re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")
    file = HERE / "results" / f"score-{given.dtype}-{name}-{dt.date.today()}.json"
    file.parent.mkdir(exist_ok=True)
    keys = ("window", "dtype", "device", "threads", "bases", "documents", "questions", "short")
    shown = {key: getattr(given, key) for key in keys} | {"texts": [Path(text).name for text in given.texts]}
    file.write_text(json.dumps({"machine": machine, "cores": os.cpu_count(), **shown, **result}, indent=1) + "\n")
    return file


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--lm-eval-python", default=sys.executable, help="of an environment with lm_eval")
    parser.add_argument("--texts", nargs="+", required=True, help="plain texts of 200 kB or more")
    parser.add_argument("--choices", help="questions in JSON Lines, as evaluate.questions takes them")
    parser.add_argument("--bases", nargs="+", default=[LLAMA, GPT2], help="the first is timed")
    parser.add_argument("--work", nargs="*", choices=("together", "short"), default=["together", "short"])
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--window", type=int, default=512)
    parser.add_argument("--documents", type=int, default=20, help="of each text; ten of each are timed")
    parser.add_argument("--questions", type=int, default=50)
    parser.add_argument("--short", type=int, default=1000)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 8, 16])
    parser.add_argument("--rounds", type=int, default=4)
    given = parser.parse_args()
    if given.rounds < 2:
        parser.error("needs 2 rounds at least")
    given.texts = [str(Path(text).resolve()) for text in given.texts]
    given.choices = given.choices and str(Path(given.choices).resolve())
    return given


def main() -> int:
    """Equality, then the ratios; writes the results."""
    given = arguments()
    try:
        with tempfile.TemporaryDirectory() as work:
            if given.dtype == "bf16" and given.device == "cpu":
                rates = measured([sys.executable, str(OURS), "products"])
                print(f"products, billions of operations a second: {json.dumps(rates)}")
                if rates["bf16"] < rates["fp32"]:
                    print("bf16 is emulated here, and slower than fp32 on both sides", file=sys.stderr)
                    return 4
            bench = Bench(given, Path(work))
            equal = [bench.parity(number, base) for number, base in enumerate(given.bases)]
            rounding = bench.rounding() if given.dtype == "bf16" else None
            timed = [bench.timed(name) for name in given.work]
    except Failed as error:
        sys.exit(str(error))
    file = write(given, {"sizes": bench.sizes, "equality": equal, "rounding": rounding, "timed": timed})
    print(f"written: {file}")
    for each in timed:
        print(f"{each['work']}: ratio {each['wall']['low']:.2f}x, scoring alone {each['score']['low']:.2f}x")
    print(f"ratio {timed[-1]['wall']['low']:.2f}x" if timed else "no ratio")
    return int(not bench.equal)


if __name__ == "__main__":
    sys.exit(main())
