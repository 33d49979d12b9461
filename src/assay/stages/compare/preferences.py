"""Who prefers which text: what a judge and people answered, and how far their answers can be relied on."""

from __future__ import annotations

from assay.core.guard import limits
from assay.core.words import count as number
from assay.stages.compare.evaluation import ARMS
from assay.stages.compare.evidence import Evidence, Json
from assay.stages.compare.plots import Row, beside
from assay.stages.compare.words import UNKNOWN, count, defined, fixed, percent, short


def preferences(evidence: Evidence) -> list[Json]:
    """One entry for each source of answers; none where nobody was asked."""
    sources = (("judge", evidence.judge), ("people", evidence.ratings))
    return [_source(kind, found, evidence) for kind, found in sources if found]


def _source(kind: str, found: Json, evidence: Evidence) -> Json:
    judge = found.get("judge") or {}
    who = f"A language model as judge: {judge.get('model', UNKNOWN)}"
    if kind == "people":
        who = f"People: {', '.join(map(str, found['raters']))}"
    rows = [row for one in found["comparisons"] if (row := _row(one))]
    plot = beside(rows, mark=50.0, ends=("← the other", "the tuned →"), label="per cent of the pairs") if rows else None
    return {
        "who": who,
        "kind": kind,
        "stale": found["generations_sha256"] != evidence.generations_sha256,
        "plot": plot,
        "rows": [_comparison(one, kind) for one in found["comparisons"]],
        "strengths": _strengths(found["strengths"]),
        "stars": _stars(found.get("stars")),
        "agree": _agreement(found.get("raters_agree"), found),
    }


def _row(one: Json) -> Row | None:
    rate = one["rate"]
    if defined(rate["mean"]) is None:
        return None
    low, high = (None if defined(rate[end]) is None else 100 * rate[end] for end in ("low", "high"))
    label = f"against {ARMS.get(one['against'], one['against'])}"
    return Row(label, 100 * rate["mean"], low, high, words=percent(rate["mean"], 0))


def _comparison(one: Json, kind: str) -> Json:
    """The win rate in words, and the notes on whether the answers can be relied on."""
    unread = f"{number(one['unparsable'], 'answer')} could not be read, and these pairs are left out"
    return {
        "against": ARMS.get(one["against"], one["against"]),
        "rate": _rate_cell(one["rate"]),
        "counts": f"{count(one['wins'])} / {count(one['ties'])} / {count(one['losses'])}",
        "pairs": count(one["pairs"]),
        "p": "none" if defined(one["p"]) is None else short(one["p"], 2),
        "said": _said(one),
        "notes": [note for note in (*_bias(one, kind), *([unread] if one["unparsable"] else [])) if note],
    }


def _rate_cell(rate: Json) -> tuple[str, str]:
    """A share, and its interval or the reason why there is none."""
    if defined(rate["mean"]) is None:
        return ("none", str(rate["reason"]))
    if defined(rate["low"]) is None:
        return (percent(rate["mean"], 0), f"no interval: {rate['reason']}")
    return (percent(rate["mean"], 0), f"{fixed(100 * rate['low'], 0)} to {percent(rate['high'], 0)}")


def rate_text(rate: Json) -> str:
    """The same in one line: ``62 % (48 to 75 %)``."""
    share, ends = _rate_cell(rate)
    return f"{share} ({ends})"


def _said(one: Json) -> str:
    rate, p = one["rate"], defined(one["p"])
    low, high = defined(rate["low"]), defined(rate["high"])
    if low is None or high is None or p is None:
        return "cannot be told"
    if p < limits("paired-verdict.p").passes and not low <= 0.5 <= high:
        return "the tuned text is preferred" if low > 0.5 else "the other text is preferred"
    return "no preference beyond chance"


def _bias(one: Json, kind: str) -> list[str]:
    """What may have moved the answers besides the texts' worth."""
    again = "asked in both orders" if kind == "judge" else "shown twice"
    found = [
        f"The same winner again in {rate_text(one['consistency'])} of {number(one['twice'], 'pair')} {again}"
        if one["twice"]
        else f"No pair was {again}: whether the answers would come out again is unknown",
        f"The text shown first won {rate_text(one['first_share'])} of the decided answers (50 % is no bias)",
        f"The longer text won {rate_text(one['longer_wins'])} of the pairs of unequal length (50 % is no bias)",
    ]
    if not one["blind"]:
        found.append("Not blind: one model’s text always stood first")
    if one["equal"]:
        found.append(f"{number(one['equal'], 'pair')} of equal texts: a tie about which nobody was asked")
    people = one.get("people")
    if people:
        kappa = people["reason"] if defined(people["kappa"]) is None else f"Cohen’s kappa {fixed(people['kappa'], 2)}"
        share = rate_text(people["share"])
        found.append(f"The judge names the winner that people name in {share} of the cases ({kappa})")
    return found


def _strengths(found: Json) -> Json:
    if not found["chances"]:
        return {"reason": found["reason"], "rows": []}
    rows = [(ARMS.get(arm, arm), rate_text(chance)) for arm, chance in found["chances"].items()]
    return {"reason": None, "against": ARMS.get(found["against"], found["against"]), "rows": rows}


def _stars(found: Json | None) -> Json | None:
    """Stars by arm, as given and beyond the others'."""
    if not found:
        return None
    fair = found["corrected"] or {}
    return {
        "rows": [
            (ARMS.get(arm, arm), _mean(one), _mean(fair[arm]) if arm in fair else None)
            for arm, one in found["arms"].items()
        ],
        "reason": found["reason"],
        "beyond": [(ARMS.get(arm, arm), _mean(one, sign=True)) for arm, one in found["beyond"].items()],
        "agree": _agreement(found["raters_agree"], None),
    }


def _mean(one: Json, *, sign: bool = False) -> str:
    if defined(one["mean"]) is None:
        return f"none: {one['reason']}"
    ends = "no interval" if defined(one["low"]) is None else f"{fixed(one['low'], 2)} to {fixed(one['high'], 2)}"
    return f"{fixed(one['mean'], 2, sign=sign)} ({ends})"


def _agreement(found: Json | None, source: Json | None) -> str | None:
    """Krippendorff's alpha among the raters, where there were several to agree."""
    if found is None or (source is not None and len(source["raters"]) < 2):
        return None
    if defined(found["alpha"]) is None:
        return f"How far the raters agree is not known: {found['reason']}."
    return f"How far the raters agree: Krippendorff’s alpha {fixed(found['alpha'], 2)} (1 is complete, 0 is chance)."
