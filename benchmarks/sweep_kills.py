"""Kill a sweep of 12 short runs twice at random moments, finish it, and look for work that was lost or done twice.

    python benchmarks/sweep_kills.py [--seed 0] [--trials 1] [--work FOLDER]

A tiny model with random weights is trained twelve times, and a thirteenth time at a learning rate that breaks it.
The sweep is killed once by SIGKILL and once by SIGTERM (even seeds) or SIGINT (odd ones), each sent to its process
alone, at moments drawn from the seed: so many stages after the beginning, and a little later. Then the same command is
given again. It ends with 1 if anything of this does not hold:

- The runs are those that the plan named, each of their identities once; twelve are done, and the broken one is in
  the record and in the comparison with its reason.
- No stage of any run was finished twice, and no training went on from further back than its last checkpoint.
- After a kill none of the sweep's processes is left, nor of theirs. (Before it there is one: the kill waits for it.)
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

RANKS = [1, 2, 3, 5, 6, 7, 8, 9, 10, 12, 16]
RUNS = len(RANKS) + 1
STAGES = 5  # prepare, plan, train, evaluate, report
SAVE_EVERY = 2
ORPHAN_SECONDS = 5.0  # that a process may take to end
WORDS = ["sea", "storm", "lord", "night", "news", "from", "milan", "and", "naples", "master", "yet", "here", "comes"]
EXPERIMENT = f"""\
schema: 1
name: kills
base: scratch:llama-tiny
data: {{source: text.txt, split: {{dev: 0.15, test: 0.35}}}}
adapter: {{rank: 4}}
train: {{steps: 20, max_length: 128, batch_tokens: 512, learning_rate: 0.01, save_every: {SAVE_EVERY}, eval_every: 10}}
evaluate: {{window: 128, max_bytes_per_group: 300, prompts: ["the sea"], decoding: {{max_new_tokens: 4}}}}
ablations:
  rank: {{adapter.rank: {RANKS}}}
  broken: {{train.learning_rate: [1.0e+6]}}
"""


@dataclass
class Found:
    """What is seen of a sweep from outside: by run, its identity, the stages it finished, and its trainings."""

    identities: dict[str, str] = field(default_factory=dict)
    finished: dict[str, list[str]] = field(default_factory=dict)
    begun: dict[str, list[int]] = field(default_factory=dict)  # the step that each training began or went on after
    last_step: dict[str, int] = field(default_factory=dict)


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file that are whole."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def look(folder: Path) -> Found:
    """See what the run directories hold."""
    found = Found()
    for run in sorted(folder.glob("runs/kills/2*")):
        events = lines(run / "events.jsonl")
        found.identities[run.name] = json.loads((run / "identity.json").read_text())["id"]
        found.finished[run.name] = [e["stage"] for e in events if e["event"] == "stage finished"]
        found.begun[run.name] = [e["step"] for e in events if e["event"] in ("training started", "training resumed")]
        found.last_step[run.name] = max((line["step"] for line in lines(run / "train" / "metrics.jsonl")), default=0)
    return found


def lost_or_doubled(planned: Mapping[str, str], kills: Iterable[Found], end: Found) -> list[str]:
    """What is wrong with the runs, in words.

    Args:
        planned: the identity of each run that the plan named, by its folder.
        kills: what was seen after each kill.
        end: what was seen in the end.
    """
    wrong = []
    if dict(end.identities) != dict(planned):
        wrong.append(f"the runs are not those of the plan: {sorted(set(end.identities) ^ set(planned))}")
    twice = [identity for identity, times in Counter(end.identities.values()).items() if times > 1]
    wrong += [f"the identity {identity[:8]} has several runs" for identity in twice]
    for run, stages in end.finished.items():
        wrong += [f"{run}: {stage} was finished {n} times" for stage, n in Counter(stages).items() if n > 1]
    for kill in kills:
        for run, last in kill.last_step.items():
            later = end.begun.get(run, [])[len(kill.begun[run]) :]
            if later and later[0] < last - SAVE_EVERY:
                wrong.append(f"{run}: step {last} was done, and the training went on after step {later[0]}")
    return wrong


def processes_of(parent: int) -> list[int]:
    """The processes that a sweep has started, whoever their parent is by now: they are told the sweep's process."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = process.info["cmdline"] or []
        ours = "assay.sweeps.child" in line and line[-1] == str(parent)
        if ours and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process.pid)
    return found


def left_of(parent: int, family: Iterable[psutil.Process]) -> list[int]:
    """What is alive of a sweep: those of its descendants before the signal, and runs that it has begun since."""
    alive = []
    for process in family:
        try:
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:  # not another with its number
                alive.append(process.pid)
        except psutil.NoSuchProcess:
            continue
    return sorted({*alive, *processes_of(parent)})


def command(folder: Path, *more: str) -> list[str]:
    """The sweep's command."""
    own = ["sweep", str(folder / "kills.yaml"), "--runs-dir", str(folder / "runs"), "--quiet"]
    return [sys.executable, "-m", "assay", *own, *more]


def record_of(folder: Path) -> dict[str, Any]:
    """What sweep.json says."""
    (path,) = folder.glob("runs/kills/sweeps/*/sweep.json")
    return {**json.loads(path.read_text()), "folder": path.parent}


def stages_done(folder: Path) -> int:
    """How many stages all runs have finished together."""
    return sum(len(stages) for stages in look(folder).finished.values())


def kill(folder: Path, after: int, delay: float, how: signal.Signals) -> tuple[list[str], Found]:
    """Begin the sweep, end its process once `after` stages are done and `delay` seconds later; what is wrong."""
    log = (folder / "log").open("ab")
    sweep = subprocess.Popen(command(folder), stdout=log, stderr=log)
    while stages_done(folder) < after:
        if sweep.poll() is not None:
            sys.exit(f"the sweep ended by itself with {sweep.returncode}: see {folder / 'log'}")
        time.sleep(0.02)
    time.sleep(delay)
    while not (working := processes_of(sweep.pid)):  # between two runs there is none, and nothing to be seen
        if sweep.poll() is not None:
            sys.exit(f"the sweep ended by itself with {sweep.returncode}: see {folder / 'log'}")
        time.sleep(0.02)
    family = psutil.Process(sweep.pid).children(recursive=True)
    sweep.send_signal(how)
    code = sweep.wait()
    wrong = []
    if how != signal.SIGKILL:
        wrong += [f"{how.name}: it ended with {code}, not 130"] if code != 130 else []
        wrong += [f"{how.name}: processes were left: {left}"] if (left := left_of(sweep.pid, family)) else []
    until = time.monotonic() + ORPHAN_SECONDS
    while (left := left_of(sweep.pid, family)) and time.monotonic() < until:
        time.sleep(0.02)
    wrong += [f"{how.name}: orphans after {ORPHAN_SECONDS} s: {left}"] if left else []
    print(f"{how.name} after {after} stages and {delay:.2f} s, of {len(working)} at work: {len(left)} left", flush=True)
    return wrong, look(folder)


def concluded(record: Mapping[str, Any]) -> list[str]:
    """What is wrong with the record and the comparison at the end."""
    states = Counter(row["state"] for row in record["rows"])
    wrong = [] if states == {"done": RUNS, "failed": 1} else [f"the runs ended so: {dict(states)}"]
    failures = [row["failure"]["what"] for row in record["rows"] if row["failure"]]
    if len(failures) != 1 or "finite" not in failures[0]:
        return [*wrong, f"the broken run's reason is not recorded: {failures}"]
    compared = json.loads((record["folder"] / "compare.json").read_text())
    wrong += [] if len(compared["entries"]) == RUNS else [f"{len(compared['entries'])} entries are compared"]
    told = [one["why"] for one in compared["failed"]]
    wrong += [] if told == failures else [f"the comparison says of failures: {told}"]
    wrong += [] if "not finite" in (record["folder"] / "compare.md").read_text() else ["compare.md has no reason"]
    return wrong


def trial(folder: Path, seed: int) -> list[str]:
    """One sweep, killed twice and finished; what is wrong with it."""
    draw = random.Random(seed)
    folder.mkdir(parents=True)
    text = ("\n\n").join(" ".join(draw.choice(WORDS) for _ in range(12)) + f" {number}." for number in range(900))
    (folder / "text.txt").write_text(text + "\n")
    (folder / "kills.yaml").write_text(EXPERIMENT)
    subprocess.run(command(folder, "--plan"), check=False, capture_output=True)
    planned = look(folder).identities
    wrong = [] if len(planned) == RUNS + 1 else [f"the plan made {len(planned)} runs"]
    ahead = 2 * len(planned)  # the stages that the plan has done
    in_turn = [signal.SIGKILL, (signal.SIGTERM, signal.SIGINT)[seed % 2]]
    draw.shuffle(in_turn)
    thirds = (draw.randint(1, 3 * RUNS // 2 - 2), draw.randint(3 * RUNS // 2, 3 * RUNS - 4))
    kills = []
    for how, after in zip(in_turn, thirds, strict=True):
        found, seen = kill(folder, ahead + after, draw.uniform(0, 4), how)
        wrong += found
        kills.append(seen)
    done = subprocess.run(command(folder), check=False, capture_output=True, text=True)
    wrong += [] if done.returncode == 3 else [f"it ended with {done.returncode}, not 3:\n{done.stdout}{done.stderr}"]
    wrong += lost_or_doubled(planned, kills, look(folder)) + concluded(record_of(folder))
    again = [begun[len(kills[-1].begun.get(run, [])) :] for run, begun in look(folder).begun.items()]
    print(f"trained in the last part: {sum(map(bool, again))} of {len(again)} runs; wrong: {len(wrong)}", flush=True)
    return wrong


def main() -> int:
    """Read the arguments, do the trials, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--trials", type=int, default=1)
    parser.add_argument("--work", type=Path, help="an empty folder to work in; without it a temporary one")
    asked = parser.parse_args()
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # in the background of a shell it is ignored, and inherited
    with tempfile.TemporaryDirectory() as temporary:
        work = asked.work or Path(temporary)
        wrong = [line for n in range(asked.trials) for line in trial(work / f"trial-{asked.seed + n}", asked.seed + n)]
    print("\n".join(wrong) or "nothing was lost or done twice")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
