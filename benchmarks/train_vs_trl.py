"""Training: TRL's fastest setting against us, in pairs of fresh processes on one machine.

    python benchmarks/train_vs_trl.py --trl-python PYTHON [--text FILE] [--base BASE] [--kinds full lora] [--steps 8]
    python benchmarks/train_vs_trl.py --device cuda --trl-python PYTHON [--unsloth-python PYTHON] [--base mistral-7b]

The text is *Frankenstein* (Project Gutenberg 84), in chunks of about 190 tokens; whole chapters are held out. Both
sides get the same rows in the same steps, the same first weights, the same optimizer and a constant rate. For each kind
of training (LoRA of rank 8 on all linear layers; all weights)

1. TRL is tried in each setting of GRID; then the fastest with each of CHANGES. What is far slower is stopped. The
   seconds are those of the few steps tried, projected to the length of the pairs.
2. The fastest counts: A B A B, each training in a process of its own, each pair with another seed of order and adapter.
   `speed` is real tokens (padding is none) over the seconds of all steps, without loading; `memory` is the peak, over
   samples, of the proportional set size of the process and its children (on a GPU: of what torch reserved there).
3. Both results are scored on the held-out chapters by the same code in fp32. Ours must not be worse: the 95 % interval
   of the difference, paired by chapter, has to end below WORSE bits per byte.
4. A/A: TRL is trained once more in its other layout (packed for padded, or the reverse). Nothing differs but the order
   in which numbers are added, so the mean over chapters of the absolute difference to its own first result is the noise
   of the comparison (LEAST_NOISE at least). Ours may differ from TRL's by LIKE_NOISE times as much.

With `--device cuda` the peers are TRL with Liger kernels and Unsloth, on models of known shapes with random weights,
and the share of the GPU's bf16 peak that the model's own operations reach is printed too.

Ratios above 1 are in our favour; the last line is the lower end of the 95 % t interval of the last kind's speed. Ends
with 1 where a held-out loss is worse or unlike. The results are written to benchmarks/results/.
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
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path
from typing import Any

from measuring import Failed, Stopped, interval, measured
from our_train_side import SHAPES
from trl_train_side import Setting

HERE = Path(__file__).parent
OURS, PEER = HERE / "our_train_side.py", HERE / "trl_train_side.py"
EVERY = 0.5  # seconds between two looks at the memory: a look at some GB takes some 50 ms of one core
PATIENCE = 3  # a setting that takes this many times as long as the fastest is stopped
TRIED = 2  # steps of a setting in the search
WORSE = 0.001  # bits per byte: a fifth of the smallest effect that an experiment looks for by default
# bits per byte: 1e-5 nats for a token of four bytes, the least noise that the guards take for a measured one
LEAST_NOISE = 4e-6
LIKE_NOISE = 3  # the limit that the guard `adapter-effect` takes for "no more than noise"


def settings(*precisions: str, liger: bool = False) -> list[Setting]:
    """Each precision, layout and cut of a step into micro-batches."""
    cuts = product(precisions, ("padded", "packed"), (1, 2, 4, 8))
    return [Setting(precision, layout, parts, liger=liger) for precision, layout, parts in cuts]


GRID = {  # in bf16 weights a full fine-tune would lose its updates: there, bf16 is autocast
    ("cpu", "lora"): settings("fp32", "bf16", "bf16-weights"),
    ("cpu", "full"): settings("fp32", "bf16"),
    ("cuda", "lora"): settings("bf16-weights", liger=True),
    ("cuda", "full"): settings("bf16", liger=True),
}
CHANGES: dict[str, list[dict[str, Any]]] = {
    "cpu": [{"attention": "eager"}, {"checkpointing": True}, {"compiled": True}],
    "cuda": [{"attention": "flash_attention_2"}, {"checkpointing": True}, {"compiled": True}],
}

EXPERIMENT = """\
schema: 1
name: {kind}
base: {base}
data:
  source: {text}
  group: {{heading: '^(Letter|Chapter|LETTER|CHAPTER) ([0-9]+|[IVXLC]+)\\.?[ \\t]*$'}}
  chunk: {{by: paragraph, max_bytes: 1000}}
  split: {{dev: 0.1, test: 0.25, seed: 0}}
adapter: {adapter}
train:
  {{steps: {steps}, batch_tokens: {batch_tokens}, max_length: 512, learning_rate: {rate}, schedule: constant, warmup: 0,
   eval_every: {steps}, save_every: {steps}, device: {device}}}
evaluate: {{window: 512, max_bytes_per_group: {held_out}}}
"""
ADAPTER = {"lora": "{kind: lora, rank: 8, alpha: 16, targets: all-linear}", "full": "{kind: full}"}
RATE = {"lora": 5e-4, "full": 5e-5}


def projected(step_seconds: Sequence[float], steps: int) -> float:
    """Seconds of `steps` steps by those measured: the first as it was (it compiles), the others as their mean."""
    first, *rest = step_seconds
    return first + (steps - 1) * sum(rest) / len(rest)


def search(
    grid: Sequence[Setting], changes: Sequence[dict[str, Any]], attempt: Callable[[Setting], dict[str, Any]]
) -> tuple[Setting, list[dict[str, Any]]]:
    """The fastest of the grid, or of its fastest with one change; and a record of each.

    Args:
        attempt: tries one setting; gives its `seconds` with whatever else there is to record. It raises `Failed` where
            it does not work, and `Stopped` where it is far too slow: as long as no setting of that library has finished
            in that precision, none of the others is tried either.

    Raises:
        Failed: no setting works.
    """
    records: list[dict[str, Any]] = []
    slow: dict[tuple[str, str], bool] = {}

    def tried(setting: Setting) -> float:
        kind = (setting.library, setting.precision)
        try:
            if slow.get(kind):
                raise Failed(f"not tried: {setting.precision} is far slower")
            found = attempt(setting)
            slow[kind] = False
        except Failed as error:
            if isinstance(error, Stopped):
                slow.setdefault(kind, True)
            found = {"failed": str(error)}
        records.append({"setting": asdict(setting), **found})
        print(f"  {json.dumps(records[-1])}", flush=True)
        return float(found.get("seconds", math.inf))

    seconds = {setting: tried(setting) for setting in grid}
    best = min(seconds, key=lambda setting: seconds[setting])
    if seconds[best] == math.inf:
        raise Failed(f"no setting works: {records[0]['failed']}")
    seconds |= {setting: tried(setting) for setting in (replace(best, **change) for change in changes)}
    return min(seconds, key=lambda setting: seconds[setting]), records


def speed(side: dict[str, Any]) -> float:
    """Real tokens per second of training."""
    return float(sum(side["step_tokens"]) / sum(side["step_seconds"]))


def bits(groups: dict[str, Sequence[float]]) -> dict[str, float]:
    """Bits per byte of each group, from its nats and bytes."""
    return {name: nats / math.log(2) / size for name, (nats, size) in groups.items()}


def differences(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]]) -> list[float]:
    """Per group, the mean over pairs of ours minus theirs."""
    pairs = list(zip(ours, theirs, strict=True))
    return [sum(own[name] - other[name] for own, other in pairs) / len(pairs) for name in sorted(ours[0])]


def mean_size(values: Sequence[float]) -> float:
    """The mean of the absolute values."""
    return sum(map(abs, values)) / len(values)


def peak_of(gpu: str) -> float | None:
    """Dense bf16 operations a second of a GPU by the name that it gives itself; None where no data sheet is at hand."""
    from assay.model.devices import DEVICES

    plain = gpu.lower().replace(" ", "")
    known = [device for key, device in DEVICES.items() if device.kind == "cuda" and key.partition("-")[0] in plain]
    return known[0].speeds.get("bf16") if known else None


def judged(kind: str, pairs: Sequence[dict[str, Any]], noise: float) -> dict[str, Any]:
    """Ratios and held-out differences with their intervals, and whether they hold; printed too.

    Args:
        pairs: of each the `ratios`, and the `bits` of `ours` and `theirs`: bits per byte of each chapter.
        noise: by how much TRL is apart from itself, in bits per byte.
    """
    from assay.stats.intervals import Undefined, paired_interval

    result: dict[str, Any] = {}
    for what in ("speed", "memory"):
        ratios = [pair["ratios"][what] for pair in pairs]
        mean, low, high = interval(ratios)
        result[what] = {"ratios": ratios, "mean": mean, "low": low, "high": high}
        print(f"{kind}: {what} {mean:.2f} [{low:.2f}, {high:.2f}]  ({', '.join(f'{r:.2f}' for r in ratios)})")
    apart = differences([pair["bits"]["ours"] for pair in pairs], [pair["bits"]["theirs"] for pair in pairs])
    found = paired_interval(apart)
    if isinstance(found, Undefined):
        raise Failed(f"the held-out texts cannot be compared: {found.reason}")
    mean, first = sum(apart) / len(apart), pairs[0]["bits"]
    unlike = mean_size(differences([first["ours"]], [first["theirs"]]))
    not_worse, like = found.high < WORSE, unlike <= LIKE_NOISE * max(noise, LEAST_NOISE)
    print(
        f"{kind}: held out, ours - theirs: {mean:+.7f} [{found.low:+.7f}, {found.high:+.7f}] bits per byte: "
        f"{'not worse' if not_worse else 'WORSE'}\n"
        f"{kind}: a chapter is {unlike:.7f} apart from TRL's, and TRL's {noise:.7f} from its own in the other layout: "
        f"{'alike' if like else 'UNLIKE'}"
    )
    held_out = {"mean": mean, "low": found.low, "high": found.high, "not_worse": not_worse}
    return result | {"held_out": held_out | {"unlike": unlike, "noise": noise, "like": like}}


class Bench:
    """One kind of training on both sides."""

    def __init__(self, kind: str, base: str, given: argparse.Namespace, work: Path) -> None:
        self.kind, self.given, self.work = kind, given, work / kind
        self.work.mkdir()
        self.experiment = self.work / "experiment.yaml"
        text = EXPERIMENT.format(
            kind=kind, base=json.dumps(base), text=json.dumps(given.text), adapter=ADAPTER[kind], rate=RATE[kind],
            steps=given.steps, batch_tokens=given.batch_tokens, device=given.device, held_out=given.held_out,
        )  # fmt: skip
        self.experiment.write_text(text, encoding="utf-8")

    def ours(self, *command: str) -> dict[str, Any]:
        """One of our side's commands, in a process of its own."""
        return measured([sys.executable, str(OURS), *command], every=EVERY)

    def task(self, number: int) -> tuple[Path, dict[str, Any]]:
        """The work of one pair: the folder that a peer reads, and the run that we train."""
        folder = self.work / f"pair-{number}"
        return folder, self.ours("task", str(self.experiment), str(folder), "--set", f"seed={number}")

    def peer(self, task: Path, setting: Setting, *options: str, limit: float | None = None) -> dict[str, Any]:
        """One training by a peer."""
        python = self.given.unsloth_python if setting.library == "unsloth" else self.given.trl_python
        command = [python, str(PEER), str(task), json.dumps(asdict(setting)), *options]
        return measured(command, every=EVERY, limit=limit)

    def fastest(self, task: Path) -> tuple[Setting, list[dict[str, Any]]]:
        """The peer's best setting, with the whole grid's figures."""
        quickest = math.inf

        def attempt(setting: Setting) -> dict[str, Any]:
            nonlocal quickest
            limit = PATIENCE * quickest if quickest < math.inf else None
            found = self.peer(task, setting, "--steps", str(TRIED), limit=limit)
            quickest = min(quickest, found["wall"])
            seconds = projected(found["step_seconds"], self.given.steps)
            return {"seconds": seconds, "tokens_per_s": speed(found), "memory": self.memory(found)}

        grid = GRID[self.given.device, self.kind]
        if self.given.unsloth_python:
            grid = grid + [replace(setting, library="unsloth", liger=False) for setting in grid]
        return search(grid, CHANGES[self.given.device], attempt)

    def memory(self, side: dict[str, Any]) -> int:
        """The peak of memory that counts on this device, in bytes."""
        return int(side["gpu_memory"] if self.given.device == "cuda" else side["memory"])

    def pair(self, number: int, task: Path, known: dict[str, Any], setting: Setting) -> dict[str, Any]:
        """A and B: the peer, then us, then both scored."""
        weights = self.work / f"weights-{number}"
        theirs = self.peer(task, setting, "--out", str(weights))
        ours = self.ours("train", known["run"])
        for name, side in (("the peer", theirs), ("ours", ours)):
            if side["step_tokens"] != known["tokens"]:
                raise Failed(f"{name} trained on {side['step_tokens']} tokens, and not on {known['tokens']}")
        scored = {"theirs": self.score(known, weights), "ours": self.score(known, Path(ours.pop("weights")))}
        ratios = {"speed": speed(ours) / speed(theirs), "memory": self.memory(theirs) / self.memory(ours)}
        return {"theirs": theirs, "ours": ours, "bits": scored, "ratios": ratios}

    def score(self, known: dict[str, Any], weights: Path | None) -> dict[str, float]:
        """Bits per byte of each held-out group."""
        return bits(self.ours("score", known["run"], *(["--weights", str(weights)] if weights else []))["groups"])

    def run(self) -> dict[str, Any]:
        """Search, pairs and A/A; prints as it goes."""
        task, known = self.task(1)
        setting, grid = self.given.setting, list[dict[str, Any]]()
        if setting is None:
            print(f"{self.kind}: the peer's settings, {TRIED} steps each", flush=True)
            setting, grid = self.fastest(task)
            print(f"{self.kind}: its fastest is {asdict(setting)}", flush=True)
        pairs: list[dict[str, Any]] = []
        for number in range(1, self.given.pairs + 1):
            task_here, known_here = (task, known) if number == 1 else self.task(number)
            pairs.append(self.pair(number, task_here, known_here, setting))
            print(f"pair {number}: {json.dumps(pairs[-1])}", flush=True)
        other = replace(setting, layout="padded" if setting.layout == "packed" else "packed")
        self.peer(task, other, "--out", str(self.work / "again"))
        noise = mean_size(differences([self.score(known, self.work / "again")], [pairs[0]["bits"]["theirs"]]))
        result = judged(self.kind, pairs, noise)
        if self.given.device == "cuda":
            result["utilisation"] = self.utilisation(pairs)
        return {
            "kind": self.kind, "setting": asdict(setting), "grid": grid, "base": self.score(known, None),
            "pairs": pairs, **result,
        }  # fmt: skip

    def utilisation(self, pairs: list[dict[str, Any]]) -> dict[str, float] | None:
        """The model's own operations a second over the GPU's peak, each side's mean; None on an unknown GPU."""
        peak = peak_of(self.given.gpu)
        if peak is None:
            print(f"{self.kind}: the peak of {self.given.gpu} is not known here, so neither is the utilisation")
            return None
        each = pairs[0]["ours"]["operations_per_token"]
        found = {side: sum(speed(p[side]) for p in pairs) / len(pairs) * each / peak for side in ("theirs", "ours")}
        print(f"{self.kind}: model utilisation {found['ours']:.1%}, the peer's {found['theirs']:.1%}")
        return found


def write(given: argparse.Namespace, found: list[dict[str, Any]]) -> Path:
    """The results as `results/train-<kinds>-<machine>-<date>.json`, without this machine's paths."""
    from assay.core.machine import processor

    machine = given.gpu or processor()
    name = re.sub(r"[^a-z0-9]+", "-", machine.lower()).strip("-")
    file = HERE / "results" / f"train-{'-'.join(given.kinds)}-{name}-{dt.date.today()}.json"
    file.parent.mkdir(exist_ok=True)
    shown = {key: getattr(given, key) for key in ("device", "steps", "batch_tokens", "held_out", "pairs")}
    result = {"machine": machine, "cores": os.cpu_count(), **shown, "base": given.base, "found": found}
    file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return file


def main() -> int:
    """Run each kind and write the results."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("--trl-python", default=sys.executable, help="of an environment with TRL")
    parser.add_argument("--unsloth-python", help="of an environment with Unsloth (CUDA)")
    parser.add_argument("--text", default="gutenberg:84", help="the novel: a file, or a source that assay knows")
    parser.add_argument("--base", help=f"as in an experiment, or one of {', '.join(SHAPES)} with random weights")
    parser.add_argument("--kinds", nargs="+", choices=ADAPTER, default=["full", "lora"])
    parser.add_argument("--device", choices=CHANGES, default="cpu")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--batch-tokens", type=int, default=2048)
    parser.add_argument("--held-out", type=int, default=4000, help="bytes of each chapter that are scored")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument(
        "--setting", type=lambda text: Setting(**json.loads(text)), help="the peer's, as a JSON object: no search"
    )
    given = parser.parse_args()
    if given.steps < TRIED or given.pairs < 2:
        parser.error(f"needs {TRIED} steps and 2 pairs at least")
    base = given.base = given.base or {"cpu": "smollm2-135m-instruct-q4", "cuda": "llama-3.2-1b"}[given.device]
    given.text = str(Path(given.text).resolve()) if Path(given.text).is_file() else given.text
    try:
        with tempfile.TemporaryDirectory() as work:
            given.gpu = measured([sys.executable, str(OURS), "gpu"])["gpu"] if given.device == "cuda" else None
            if given.device == "cuda" and not given.gpu:
                print("--device cuda needs a GPU, and torch sees none on this machine", file=sys.stderr)
                return 4
            if base in SHAPES:
                measured([sys.executable, str(OURS), "base", base, str(Path(work) / base)])
                base = str(Path(work) / base)
            found = [Bench(kind, base, given, Path(work)).run() for kind in given.kinds]
    except Failed as error:
        sys.exit(str(error))
    file = write(given, found)
    print(f"written: {file}")
    for kind in found:
        print(f"{kind['kind']}: ratio {kind['speed']['low']:.2f}x, memory {kind['memory']['low']:.2f}x")
    print(f"ratio {found[-1]['speed']['low']:.2f}x")
    return int(not all(kind["held_out"]["not_worse"] and kind["held_out"]["like"] for kind in found))


if __name__ == "__main__":
    sys.exit(main())
