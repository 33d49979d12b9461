"""The count of what came in and what became of it: nothing is kept or dropped without standing here."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from assay.core.errors import InputError

EXAMPLES = 3  # shown of each reason
_EXCERPT = 160  # characters


@dataclass(frozen=True, slots=True)
class Drop:
    """Why something is left out.

    Args:
        reason: a few words in kebab-case, counted.
        detail: what was found in this one, for the example shown.
        bad: it is malformed, and counts towards `data.max_bad_rows`.
    """

    reason: str
    detail: str = ""
    bad: bool = False


BEYOND = Drop("beyond-max-rows")  # not looked at: whether it is malformed is not known


class Tally:
    """Counts of one kind of thing (rows, items): in = kept + dropped by reason, and examples of each reason."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.came = 0
        self.kept = 0
        self.bad = 0
        self._bad_reasons: set[str] = set()
        self.dropped: Counter[str] = Counter()
        self.examples: dict[str, list[dict[str, str]]] = {}

    def keep(self, count: int = 1) -> None:
        """Count what is kept."""
        self.came += count
        self.kept += count

    def drop(self, drop: Drop, where: str, text: str = "") -> None:
        """Count one thing that is left out; `where` and the start of `text` are shown for the first of its reason."""
        self.came += 1
        self.unkeep(drop, where, text, kept=0)

    def unkeep(self, drop: Drop, where: str, text: str = "", *, kept: int = 1) -> None:
        """Count one thing as dropped that was counted as kept before."""
        self.kept -= kept
        self.dropped[drop.reason] += 1
        if drop.bad:
            self.bad += 1
            self._bad_reasons.add(drop.reason)
        shown = self.examples.setdefault(drop.reason, [])
        if len(shown) < EXAMPLES:
            excerpt = " ".join(text[: 4 * _EXCERPT].split())
            shown.append(
                {
                    "where": where,
                    "detail": drop.detail,
                    "text": excerpt if len(excerpt) <= _EXCERPT else excerpt[: _EXCERPT - 1] + "…",
                }
            )

    def unkeep_many(self, reason: str, count: int) -> None:
        """Count several things as dropped that were counted as kept before, without an example."""
        self.kept -= count
        if count:
            self.dropped[reason] += count

    def check(self) -> None:
        """Assert that nothing was lost."""
        if self.came != self.kept + sum(self.dropped.values()):
            raise AssertionError(f"{self.what}: {self.came} in, {self.kept} kept, {dict(self.dropped)} dropped")

    def judge_bad(self, most: float, fix: str) -> None:
        """Refuse the data when too much of it is malformed.

        Args:
            most: the largest share of malformed rows, of those looked at, that is dropped and counted.
            fix: what to do.

        Raises:
            InputError: more are malformed; the message names the first of each reason.
        """
        looked_at = self.came - self.dropped[BEYOND.reason]
        if looked_at and self.bad / looked_at > most:
            found = ", ".join(
                f"{count} x {reason} (first: {self.examples[reason][0]['where']}"
                + (f", {self.examples[reason][0]['detail']})" if self.examples[reason][0]["detail"] else ")")
                for reason, count in self.dropped.most_common()
                if reason in self._bad_reasons
            )
            raise InputError(
                f"{self.bad} of {looked_at} {self.what} are malformed ({self.bad / looked_at:.1%}), more than "
                f"data.max_bad_rows = {most:.1%}: {found}",
                where="data.source",
                fix=fix,
            )

    def as_json(self) -> dict[str, Any]:
        """in, kept, bad (malformed, among the dropped), dropped by reason (the most frequent first), and examples."""
        self.check()
        return {
            "in": self.came,
            "kept": self.kept,
            "bad": self.bad,
            "dropped": dict(sorted(self.dropped.items(), key=lambda pair: (-pair[1], pair[0]))),
            "examples": self.examples,
        }
