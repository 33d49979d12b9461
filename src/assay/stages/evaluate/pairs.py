"""The pairs of generated texts that a judge or people compare, and the record that both kinds of answers come to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from assay.core.errors import InputError
from assay.core.files import read_json, read_lines, sha256_file, sha256_json, sha256_text
from assay.core.guard import GuardRecord
from assay.core.optional import installed, missing
from assay.core.rundir import RunDir
from assay.guards.rating import Panel, rating
from assay.stats.preference import (
    TIE,
    Judgement,
    Outcome,
    agreement,
    bradley_terry,
    consistency,
    first_share,
    length_gap,
    outcomes,
    win_rate,
)

TUNED = "tuned"
AGAINST = ("base", "prompt_only")


@dataclass(frozen=True)
class Pair:
    """Two texts made from one prompt with one seed: the tuned model's, and that of the arm `against`."""

    id: str
    group: str
    prompt: str
    against: str
    texts: dict[str, str]

    @property
    def equal(self) -> bool:
        """Whether the texts are the same: a tie about which nobody needs to be asked."""
        return self.texts[TUNED] == self.texts[self.against]


def read_pairs(run: RunDir) -> list[Pair]:
    """The pairs of a run's generated texts: tuned against base, and against the prompt-only baseline if there is one.

    Raises:
        InputError: nothing was generated.
    """
    rows = read_lines(run.generations)
    if not rows:
        raise InputError(
            "the run has no generated texts to compare",
            where=str(run.generations),
            fix="set evaluate.prompts and evaluate the run",
        )
    return [_pair(row, against) for row in rows for against in AGAINST if isinstance(row.get(against), str)]


def _pair(row: dict[str, Any], against: str) -> Pair:
    texts = {TUNED: row[TUNED], against: row[against]}
    return Pair(
        sha256_json([row["prompt"], row["seed"], texts])[:16], sha256_text(row["prompt"])[:16], row["prompt"], against,
        texts,
    )  # fmt: skip


def compare(
    run: RunDir,
    pairs: Sequence[Pair],
    judgements: Sequence[Judgement],
    *,
    shown: Iterable[tuple[str, str]],
    people: Sequence[Judgement] | None = None,
) -> dict[str, Any]:
    """What the answers come to, as plain JSON: a comparison for each arm that was compared with the tuned model.

    Args:
        run: whose texts they are.
        pairs: all pairs of the run.
        judgements: the answers, those that could not be read among them.
        shown: (first arm, second arm) of all that there was to answer.
        people: answers by people about the same pairs, to hold the judge's against.
    """
    raters = list(dict.fromkeys(j.rater for j in judgements))
    ties = [Outcome(r, p.id, p.group, frozenset(p.texts), TIE, 0, True) for r in raters for p in pairs if p.equal]
    results = outcomes(judgements) + ties
    words = {(pair.id, arm): len(text.split()) for pair in pairs for arm, text in pair.texts.items()}
    theirs = None if people is None else outcomes(people)
    orders = set(shown)
    arms = [arm for arm in AGAINST if any(pair.against == arm for pair in pairs)]
    return {
        "generations_sha256": sha256_file(run.generations),
        "raters": raters,
        "answers": len(judgements),
        "comparisons": [_comparison(arm, pairs, judgements, results, words, orders, theirs) for arm in arms],
        "strengths": _strengths(results, len(arms) + 1),
    }


def _comparison(
    against: str,
    pairs: Sequence[Pair],
    judgements: Sequence[Judgement],
    results: Sequence[Outcome],
    words: dict[tuple[str, str], int],
    orders: set[tuple[str, str]],
    people: Sequence[Outcome] | None,
) -> dict[str, Any]:
    asked = [j for j in judgements if against in (j.first, j.second)]
    found = [r for r in results if against in r.arms]
    gap, longer = length_gap(found, words)
    return {
        "arm": TUNED,
        "against": against,
        **win_rate(found, TUNED, against).as_json(),
        "pairs": len({r.pair for r in found if r.answers}),
        "equal": sum(pair.equal for pair in pairs if pair.against == against),
        "unparsable": sum(j.choice is None for j in asked),
        "blind": orders >= {(TUNED, against), (against, TUNED)},
        "twice": sum(r.answers > 1 for r in found),
        "consistency": consistency(found).as_json(),
        "first_share": first_share(asked).as_json(),
        "length_gap": gap.as_json(),
        "longer_wins": longer.as_json(),
        "people": None if people is None else agreement(found, people).as_json(),
    }


def _strengths(results: Sequence[Outcome], arms: int) -> dict[str, Any]:
    """Bradley and Terry's chances against the base; of two arms alone they say no more than the win rate."""
    if arms < 3:
        return {"against": None, "chances": None, "reason": "only two arms were compared: the win rate says it all"}
    if not installed("evalica"):
        return {"against": None, "chances": None, "reason": str(missing("evalica", extra="judge"))}
    if len({arm for result in results for arm in result.arms}) < arms:
        return {"against": None, "chances": None, "reason": "no answer about some of the arms could be read"}
    chances = bradley_terry(results, AGAINST[0])
    return {"against": AGAINST[0], "chances": {arm: e.as_json() for arm, e in chances.items()}, "reason": None}


def answers_of_people(run: RunDir) -> list[Judgement] | None:
    """What people answered about this run's texts as they are; None where nobody did."""
    found = read_json(run.ratings) if run.ratings.exists() else None
    if found is None or found["generations_sha256"] != sha256_file(run.generations):
        return None
    return [Judgement(**one) for one in found["judgements"]]


def check_rating(run: RunDir) -> GuardRecord:
    """Put the guard `rating` on record, about all that judged this run's texts as they are: judge, people, or both."""
    panels = [
        Panel(
            f"{source}, {TUNED} against {found['against']}",
            found["pairs"],
            found["consistency"]["mean"],
            found["twice"],
            found["blind"],
        )
        for file, source in ((run.judge, "judge"), (run.ratings, "people"))
        if file.exists() and (answers := read_json(file))["generations_sha256"] == sha256_file(run.generations)
        for found in answers["comparisons"]
    ]
    record = rating(panels)
    run.guards.add(record)
    return record
