"""Kill trainings at random moments, resume each, and compare the final weights with an uninterrupted run's.

    python benchmarks/kills.py [--kills 20] [--seed 0] [--work FOLDER]

A tiny model with random weights is trained with a checkpoint after every step; two kills in five are aimed at
the write of one. All else is drawn from the seed: the step, the delay after it, SIGKILL (three in four) or SIGTERM.
Weights are compared byte by byte; it ends with 1 if any differ.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

STEPS = 30
WORDS = ["sea", "storm", "lord", "night", "news", "from", "milan", "and", "naples", "master", "yet", "here", "comes"]
EXPERIMENT = f"""\
schema: 1
name: kills
base: scratch:gpt2-tiny
data: {{source: text.txt, split: {{dev: 0.15, test: 0.35}}}}
adapter: {{rank: 4, dropout: 0.1}}
train: {{steps: {STEPS}, max_length: 128, batch_tokens: 512, learning_rate: 0.01, save_every: 1, eval_every: 5}}
evaluate: {{window: 128}}
"""


@dataclass(frozen=True)
class Kill:
    """A moment: so many seconds after the line of step `step` was written, or in the next write of a checkpoint."""

    step: int
    delay: float | None
    how: signal.Signals


@dataclass(frozen=True)
class Ended:
    """What a kill met: the code that the process ended with, the last step done, and whether a write was cut off."""

    code: int
    step: int
    writing: bool


def moments(count: int, seed: int, step_seconds: float) -> list[Kill]:
    """`count` kills drawn from the seed, spread over the steps and over a step's time."""
    draw = random.Random(seed)
    return [
        Kill(
            draw.randint(1, STEPS - 2),
            draw.uniform(0, 1.5 * step_seconds) if draw.random() < 0.6 else None,
            signal.SIGKILL if draw.random() < 0.75 else signal.SIGTERM,
        )
        for _ in range(count)
    ]


def command(folder: Path, name: str) -> list[str]:
    """An assay command on the experiment in `folder`."""
    return [
        sys.executable,
        "-m",
        "assay",
        name,
        str(folder / "kills.yaml"),
        "--runs-dir",
        str(folder / "runs"),
        "--quiet",
    ]


def run(folder: Path, name: str) -> None:
    """Do a command to its end."""
    done = subprocess.run(command(folder, name), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"assay {name} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def prepared(folder: Path) -> None:
    """An experiment whose data are prepared and whose plan is made; every trial trains on a copy of it."""
    folder.mkdir(parents=True)
    draw = random.Random(1)
    lines = (" ".join(draw.choice(WORDS) for _ in range(12)) + f" {number}." for number in range(900))
    (folder / "text.txt").write_text("\n\n".join(lines) + "\n")
    (folder / "kills.yaml").write_text(EXPERIMENT)
    run(folder, "plan")


def last_step(folder: Path) -> int:
    """The last step whose line stands in metrics.jsonl."""
    lines = [line for path in folder.glob("runs/kills/*/train/metrics.jsonl") for line in path.read_text().splitlines()]
    return sum('"loss"' in line for line in lines)


def writing(folder: Path) -> bool:
    """Whether a checkpoint has been begun and not ended."""
    return any(folder.glob("runs/kills/*/train/checkpoints/.step-*.tmp"))


def kill(folder: Path, moment: Kill) -> Ended:
    """Begin the training and end it at that moment."""
    process = subprocess.Popen(command(folder, "train"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while last_step(folder) < moment.step and process.poll() is None:
        time.sleep(0.001)
    if moment.delay is None:
        while not writing(folder) and process.poll() is None:
            pass
    else:
        time.sleep(moment.delay)
    process.send_signal(moment.how)
    code = process.wait()
    return Ended(code, last_step(folder), writing(folder))


def weights(folder: Path) -> str:
    """SHA-256 of the trained weights."""
    (file,) = folder.glob("runs/kills/*/adapter/adapter_model.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def trials(work: Path, count: int, seed: int) -> bool:
    """Kill and resume `count` times, a line each; whether all final weights were equal."""
    prepared(work / "prepared")
    shutil.copytree(work / "prepared", work / "straight")
    run(work / "straight", "train")
    expected = weights(work / "straight")
    (metrics,) = (work / "straight").glob("runs/kills/*/train/metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    step_seconds = 2 * statistics.median(line["seconds"] for line in lines if "loss" in line)  # with its checkpoint
    print(f"uninterrupted: {STEPS} steps, weights {expected[:16]}")
    print("kill  signal   code  steps done  in a write  weights", flush=True)
    equal = 0
    for number, moment in enumerate(moments(count, seed, step_seconds), start=1):
        folder = work / f"kill-{number}"
        shutil.copytree(work / "prepared", folder)
        ended = kill(folder, moment)
        run(folder, "train")
        found = weights(folder)
        equal += found == expected
        said = "equal" if found == expected else f"DIFFERENT {found[:16]}"
        cut = "yes" if ended.writing else "no"
        print(f"{number:>4}  {moment.how.name:<7} {ended.code:>5} {ended.step:>11}  {cut:>10}  {said}", flush=True)
        shutil.rmtree(folder)
    print(f"{equal} of {count} equal")
    return equal == count


def main() -> int:
    """Read the arguments, do the trials, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, help="an empty folder to work in; without it a temporary one")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        return 0 if trials(asked.work or Path(temporary), asked.kills, asked.seed) else 1


if __name__ == "__main__":
    sys.exit(main())
