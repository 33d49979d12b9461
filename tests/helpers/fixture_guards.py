"""What every guard's record must be."""

from __future__ import annotations

import json

from assay.core.guard import GuardRecord


def sound(record: GuardRecord) -> GuardRecord:
    """The record: it can be written, says why, and offers a fix where something is wrong."""
    json.dumps(record.as_json(), allow_nan=False)
    assert record.why
    assert (record.fix is not None) == (record.status in ("warn", "fail"))
    return record
