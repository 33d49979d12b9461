"""The list of looks at test texts: one line for each time that something was measured on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.core.files import append_line, read_lines, sha256_json
from assay.core.rundir import now


def note_look(looks: Path, test: Sequence[Mapping[str, Any]], *, run: str, weights: str, what: str) -> int:
    """Write down that weights were looked at on test texts; how many different weights these texts have seen.

    Args:
        looks: the file, append-only.
        test: the rows of the manifest.
        run: its name.
        weights: the hash of what was looked at.
        what: ``evaluate`` for a score of the texts, ``decode`` for their beginnings as prompts.
    """
    split = sha256_json([[row["id"], row["sha256"]] for row in test])
    append_line(looks, {"time": now(), "run": run, "test_split": split, "weights": weights, "what": what})
    return len({look.get("weights", look["run"]) for look in read_lines(looks) if look["test_split"] == split})
