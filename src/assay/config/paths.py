"""Which values of an experiment name files, and from where their relative paths count."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path
from typing import Any

from assay.config.values import NAMED, SCHEMES, SOURCE_KEYS, TEXTS, number_like
from assay.core.records import is_name

BASES = frozenset({"base", "decode.assistant"})
PATH_KEYS = SOURCE_KEYS | BASES


def absolute_paths(values: dict[str, Any], folder: Path) -> None:
    """Make the relative paths among the values of dotted keys absolute, counted from `folder`."""
    for key in PATH_KEYS & values.keys():
        values[key] = _absolute_value(key, values[key], folder)
    # of keys that change from run to run, each of the values
    ablations, space = values.get("ablations"), values.get("sweep.search.space")
    factors = list(ablations.values()) if isinstance(ablations, dict) else []
    for keys in (one for one in [*factors, space] if isinstance(one, dict)):
        for key in PATH_KEYS & keys.keys():
            if isinstance(keys[key], list):
                keys[key] = [_absolute_value(key, value, folder) for value in keys[key]]


def _absolute_value(key: str, value: Any, folder: Path) -> Any:
    named = key in NAMED
    if key in BASES:
        looks_local = isinstance(value, str) and value.startswith(("./", "../", "/", "~"))
        local = isinstance(value, str) and value.strip() and (looks_local or (folder / value).is_dir())
        return os.path.abspath(folder / os.path.expanduser(value)) if local else value
    if isinstance(value, str) and not number_like(value):
        return value if named and is_name(value) else _absolute(value, folder)
    if isinstance(value, list) and key not in TEXTS:
        return [
            _absolute(one, folder) if isinstance(one, str) and not (named and is_name(one)) else one for one in value
        ]
    return value


def _absolute(spec: str, folder: Path) -> str:
    if not spec.strip() or spec.startswith(SCHEMES) or re.match(r"[a-z][a-z0-9+.-]+:", spec):
        return spec
    expanded = os.path.expanduser(spec)
    literal = os.path.abspath(folder / expanded)
    if os.path.isabs(expanded) or os.path.exists(literal) or not glob.has_magic(spec):
        return literal
    # The folder's own brackets are no pattern.
    return os.path.abspath(os.path.join(glob.escape(str(folder)), expanded))
