"""The user's cache: downloads and converted models, shared by all experiments."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """`ASSAY_CACHE`, or `assay` under `XDG_CACHE_HOME`, or ``~/.cache/assay``; created by whoever writes there."""
    own = os.environ.get("ASSAY_CACHE")
    if own:
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "assay"
