"""A sweep's record with rows by hand, and processes that stand in for its runs: small, and without torch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from assay.sweeps.roster import Record, Row

# A worker does for each run what the file BEHAVIOUR says of its key, and writes down what it was given.
WORKER = """\
import json, os, signal, sys, time
from pathlib import Path
from assay.core.files import append_line
from assay.core.signals import end_with, sigterm_interrupts
from assay.core.files import write_json
from assay.core.rundir import RunDir
def trained(path, dev):
    run = RunDir(path)
    write_json(run.training, dict(result=dict(step=3)))
    append_line(run.metrics, dict(step=3, dev_bpb=dev))
    run.finish("train", key="k", outputs=[], seconds=1)
end_with(int(sys.argv[1]))
task = json.load(sys.stdin)
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, set(task["cores"]) & os.sched_getaffinity(0) or os.sched_getaffinity(0))
folder = Path({folder!r})
behaviour = json.loads((folder / "behaviour.json").read_text())
with sigterm_interrupts():
    for run in task["runs"]:
        key = run["key"]
        begun = dict(key=key, pid=os.getpid(), cores=task["cores"], threads=os.environ["OMP_NUM_THREADS"],
                     at=time.monotonic(), run=run, until=task["until"])
        append_line(folder / "begun.jsonl", begun)
        what = behaviour.get(key, "ok")
        try:
            if what == "sleep":
                time.sleep(60)
            if what == "pause":
                time.sleep(0.3)
            if what == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if what == "silent":
                sys.exit(7)
            line = dict(key=key, code=0, run=task["runs_dir"] + "/e/" + key, seconds=2.5)
            if what == "fails":
                line |= dict(code=3, what="it broke", where="here", fix="mend it")
            if what == "held":
                line |= dict(code=2, what="another writes to it", where=line["run"] + "/adapter.rank", fix="wait")
            if what == "refused":
                line |= dict(code=2, what="adapter.rank is too high", where="adapter.rank: 9", fix="a lower one")
            if what == "edits" and task["until"] == "train":
                with open(task["experiment"], "a") as file:
                    file.write("# a note\\n")
                what = "dev:7.5"
            if what == "breaks" and task["until"] == "plan":
                Path(task["experiment"]).write_text("schema: [")
            if what.startswith("dev:") and task["until"] != "plan":
                trained(Path(task["runs_dir"]) / "e" / key, float(what[4:]))
            append_line(folder / "ended.jsonl", dict(key=key, at=time.monotonic()))
            append_line(Path(task["outcomes"]), line)
        except KeyboardInterrupt:
            append_line(folder / "interrupted.jsonl", dict(key=key))
            sys.exit(130)
"""


def sweep_record(folder: Path, keys: list[str], **values: Any) -> Record:
    """A record under `folder` with a row for each key."""
    rows = [
        Row(key=key, name=key, seed=1, factors={"f": key}, overrides=[f"adapter.rank={n}"])
        for n, key in enumerate(keys)
    ]
    own = {"id": "abcd1234", "experiment": str(folder / "e.yaml"), "text_sha256": "0" * 64, "created": "2026-01-01"}
    return Record(folder / "runs" / "e" / "sweeps" / "abcd1234", folder / "runs", rows=rows, **{**own, **values})


def workers(folder: Path, **behaviour: str) -> Callable[[], list[str]]:
    """What starts such a process. By key, what becomes of the run: ok, pause, sleep, killed, silent or dev:N.

    Of dev:N the bits per byte are N. It fails: fails, held or refused. It changes the experiment file: edits or breaks.
    """
    folder.mkdir(exist_ok=True)
    (folder / "behaviour.json").write_text(json.dumps(behaviour))
    script = folder / "worker.py"
    script.write_text(WORKER.format(folder=str(folder)))
    return lambda: [sys.executable, str(script), str(os.getpid())]
