"""What hand-written runs have to be given so that every criterion of model selection is measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fixture_compare import write_run

from assay.core.files import read_json, sha256_file, write_json, write_lines
from assay.core.records import Item
from assay.core.rundir import RunDir
from assay.data.items import write_items

PROMPTS = 8
DECODING = {"max_new_tokens": 60, "temperature": 0.8, "top_p": 0.95}
HELD = "one two three four five six seven eight nine ten eleven twelve"


def varied(count: int, start: int = 0) -> str:
    """So many words, all of them different."""
    return " ".join(f"w{n}" for n in range(start, start + count))


def cell(mean: float | None, half: float = 0.05, reason: str | None = None) -> dict[str, Any]:
    """The tuned arm's cell of a text metric."""
    low, high = (None, None) if mean is None else (mean - half, mean + half)
    return {"mean": mean, "low": low, "high": high, "units": PROMPTS if mean is not None else 0, "left_out": 0,
            "reason": reason}  # fmt: skip


def write_selectable(
    folder: Path,
    bits: Sequence[float],
    texts: Sequence[str],
    *,
    heard: float | None = 0.8,
    learned: str = "a",
    checks: float | None = None,
    lost: float = 0.01,
    span: int | None = 20,
    decoding: Mapping[str, Any] | None = None,
    inference: int | None = 500_000_000,
    **how: Any,
) -> RunDir:
    """Write an evaluated run with generated texts.

    Args:
        folder: the run's own.
        bits: of each held-out group.
        texts: what the tuned model answered to each prompt.
        heard: the classifier's mean; None: it refused.
        learned: what the classifier learned from.
        checks: share of instructions followed; None: there were none.
        lost: bits per byte lost on general text, of 1.
        span: the longest copied passage.
        decoding: of the texts.
        inference: peak memory while it answered.
        how: as of `fixture_compare.write_run`.
    """
    settings = {"decoding": dict(decoding or DECODING)} | dict(how.pop("settings", {}))
    run = write_run(folder, bits, settings=settings, **how)
    write_items(run.split("test"), [[Item(f"h{n}", f"h{n}", HELD) for n in range(4)]])
    write_lines(
        run.generations,
        [
            {"id": f"p{n}", "prompt": f"prompt {n}", "seed": n, "tuned": text, "base": "b", "tokens_tuned": 60}
            for n, text in enumerate(texts)
        ],
    )
    summary = read_json(run.summary)
    summary["generation"]["cost"]["tuned"]["peak_memory"] = inference
    metrics = {"like the data": {"arms": {"tuned": cell(heard, reason=None if heard is not None else "it refused")}}}
    if checks is not None:
        metrics["checks passed"] = {"arms": {"tuned": cell(checks)}}
    summary["generation"] |= {
        "manner": {"metrics": metrics},
        "adherence": {"words": 40, "learned_sha256": learned * 64, "reason": None,
                      "quality": {"accuracy": 0.9, "texts": 60}},
    }  # fmt: skip
    summary["forgetting"] = {
        "texts": [
            {"name": "en", "named": False, "base_bpb": 1.0, "mean": -lost, "low": -lost - 0.01, "high": -lost + 0.01,
             "level": 0.9, "n_groups": 12},
        ]
    }  # fmt: skip
    summary["memorisation"] = {"longest_span": span}
    write_json(run.summary, summary)
    run.finish("evaluate", key="k", outputs=[run.texts, run.summary], seconds=90.0)
    write_json(run.stages, {name: stage | {"others": 0.0} for name, stage in read_json(run.stages).items()})
    return run


def rate(run: RunDir, mean: float, *, raters: Sequence[str] = ("first", "second"), **change: Any) -> None:
    """Let people prefer the tuned text so often."""
    one = {
        "arm": "tuned", "against": "base", "pairs": 50, "blind": True, "twice": 10, "consistency": {"mean": 0.9},
        "rate": {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "reason": None},
    }  # fmt: skip
    write_json(
        run.ratings,
        {"generations_sha256": sha256_file(run.generations), "raters": list(raters), "comparisons": [one | change]},
    )
