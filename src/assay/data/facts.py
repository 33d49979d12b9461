"""The counts that stand in a manifest, a profile and a token profile, under names, and as words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Json = Mapping[str, Any]


@dataclass(frozen=True)
class Facts:
    """What is known of prepared data; what is not recorded is empty."""

    manifest: Json
    profile: Json
    tokens: Json | None

    @property
    def items(self) -> Json:
        """The tally of items."""
        return self.manifest.get("items") or {}

    @property
    def train_tokens(self) -> Json:
        """The token profile of the training split."""
        return ((self.tokens or {}).get("splits") or {}).get("train") or {}

    @property
    def is_plain(self) -> bool:
        """Whether the items are plain texts, which can be cut into chunks."""
        return (self.manifest.get("format") or {}).get("name") == "text"

    def split(self, name: str) -> Json:
        """Counts of one split, from the manifest."""
        return (self.manifest.get("splits") or {}).get(name) or {}

    def every(self, what: str) -> int:
        """Items or groups of all splits together."""
        return sum(part.get(what, 0) for part in (self.manifest.get("splits") or {}).values())

    def sign(self, name: str) -> Json:
        """Rows, share and example of a sign in the text; a share of 0 where it was not seen."""
        found = ((self.profile.get("signs") or {}).get("found") or {}).get(name)
        return found or {"rows": 0, "share": 0.0}

    def seen(self, name: str) -> str:
        """How many rows have a sign, in words: ``12 of 5,000 texts (0.24 %)``."""
        found, sample = self.sign(name), (self.profile.get("signs") or {}).get("sample", 0)
        every = sum(part.get("rows", 0) for part in (self.profile.get("splits") or {}).values())
        looked = f"{sample:,} texts looked at" if sample < every else f"{sample:,} texts"
        return f"{found['rows']:,} of {looked} ({percent(found['share'])})"


def percent(share: float) -> str:
    """A share with two significant figures, and never rounded to all or nothing: ``12 %``, ``0.031 %``, ``99.7 %``."""
    if share in (0, 1):
        return f"{share:.0%}".replace("%", " %")
    digits = min(6, max(0, 1 - math.floor(math.log10(min(share, 1 - share) * 100))))
    text = f"{100 * share:.{digits}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def listed(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 2 more``."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
