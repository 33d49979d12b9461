"""What a reader of a run's report should have understood: the questions, and the right answers from the run's records.

    python benchmarks/reading.py RUN [--questions]

RUN is a run's folder. `--questions` leaves the answers out: for the reader. The questions and what each answer is made
of stand in tests/questions/newcomer.yaml, which names no run; a reading is marked by hand, on the number and on what it
means.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from assay.api import RunDir
from assay.core.files import read_json
from assay.stages.compare.manner import beyond_chance

QUESTIONS = Path(__file__).parent.parent / "tests" / "questions" / "newcomer.yaml"
SHOWN = {"equivalent": "ruled out", "not-worse": "ruled out", "not-shown": "open", "beyond": "shown"}


def more(difference: float | None, base: float) -> str:
    """How many per cent more bits than the base."""
    return "none" if difference is None else f"{-100 * difference / base:+.1f}"


def differing(metrics: dict[str, Any]) -> str:
    """The metrics in which tuned and base differ beyond chance, by the page's own rule: all of them are one family."""
    clear = beyond_chance({name: each["difference"] for name, each in metrics.items()})
    found = [
        f"{name} ({'higher' if each['difference']['mean'] > 0 else 'lower'})"
        for name, each in metrics.items()
        if clear[name]
    ]
    return ", ".join(found) or "none"


def values(run: RunDir) -> dict[str, Any]:
    """Every value that an answer is made of."""
    summary, trained = read_json(run.summary), read_json(run.training)
    difference, kept, recited = summary["difference"], summary["forgetting"], summary["memorisation"]
    guards = run.guards.records()
    english = next(text for text in kept["texts"] if text["name"] == "en")
    suite, cost = kept["suites"][0], summary["generation"]["cost"]
    base = english["base_bpb"]
    warned = sorted({record.guard for record in guards if record.status == "warn"})

    def stretches(split: str, model: str) -> int:
        return round(recited["rates"][split][model] * recited["rows"][split])

    return {
        "outcome": summary["verdict"]["outcome"],
        **{name: f"{difference[key]:.4f}" for name, key in (("gain", "mean"), ("low", "low"), ("high", "high"))},
        "percent": f"{100 * difference['mean'] / difference['base_mean']:.1f}",
        "groups": difference["n_groups"], "p": f"{difference['p']:.4f}", "mde": f"{difference['mde']:.4f}",
        "failed": sum(record.status == "fail" for record in guards), "warned": len(warned),
        "warnings": ", ".join(warned) or "none",
        "english": SHOWN[english["outcome"]], "margin": f"{100 * kept['margin']:.0f}",
        "english_percent": more(english["mean"], base),
        "english_low": more(english["high"], base), "english_high": more(english["low"], base),
        "asked": suite["questions"], "base_right": suite["both"] + suite["only_first"],
        "tuned_right": suite["both"] + suite["only_second"], "mcnemar": f"{suite['p']:.3f}",
        "recited": stretches("train", "tuned"), "tried": recited["rows"]["train"],
        "base_recited": stretches("train", "base"), "unseen_recited": stretches("held_out", "tuned"),
        "unseen_tried": recited["rows"]["held_out"],
        "differs": differing(summary["generation"]["manner"]["metrics"]),
        "examples": YAML(typ="safe").load(run.resolved)["evaluate"]["examples"],
        "base_speed": f"{cost['base']['tokens_per_s_alone']:.1f}",
        "tuned_speed": f"{cost['tuned']['tokens_per_s_alone']:.1f}",
        "training_time": f"{trained['seconds']:.0f} s", "training_memory": f"{trained['peak_memory'] / 1e9:.2f} GB",
        "public": "yes, the source is public" if summary["public_source"] else "not known to be",
    }  # fmt: skip


def main() -> int:
    """Print questions and answers."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--questions", action="store_true", help="without the answers")
    given = parser.parse_args()
    known = {} if given.questions else values(RunDir(given.run))
    for number, each in enumerate(YAML(typ="safe").load(QUESTIONS), start=1):
        print(f"{number}. {each['question']}")
        if not given.questions:
            print(f"   {str(each['answer']).format(**known)}\n   ({each['meaning']})")
    return 0


if __name__ == "__main__":
    sys.exit(main())
