"""resolved.yaml as values: every key that a run used, and where each came from."""

from __future__ import annotations

import json
import re
from typing import Any

from assay.core.rundir import RunDir

# key: value  # origin; the value may hold a # of its own, the origin none
_SETTING = re.compile(r"( *)(\w+):(?: (.*?))?(?: {2,}# ([^#]+))?")


def settings(run: RunDir) -> list[dict[str, str]]:
    """The values of resolved.yaml: dotted key, value as written there, origin."""
    parents: list[str] = []
    found = []
    for line in run.resolved.read_text(encoding="utf-8").splitlines() if run.resolved.is_file() else []:
        match = _SETTING.fullmatch(line)
        if match is None:
            continue
        indent, key, value, origin = match.groups()
        parents[len(indent) // 2 :] = [key]
        if value:
            found.append({"key": ".".join(parents), "value": value, "origin": origin or ""})
    return found


def values(run: RunDir) -> dict[str, Any]:
    """The values by dotted key. They are written as JSON; what somebody wrote otherwise stays the text it is."""
    return {setting["key"]: _value(setting["value"]) for setting in settings(run)}


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=str)
    except json.JSONDecodeError:
        return text
