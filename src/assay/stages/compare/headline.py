"""The verdict in words: what stands first on the page."""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from assay.core.words import OUTCOMES, no_verdict
from assay.core.words import guard_line as tally
from assay.stages.compare.evidence import Evidence, Json
from assay.stages.compare.plots import bars, interval_plot
from assay.stages.compare.words import (
    NBSP,
    chance,
    count,
    decimals_for,
    defined,
    fixed,
    interval,
    percent,
    saving,
    savings,
    share_digits,
    short,
)
from assay.stats.verdict import over_looks

PAGE_BYTES = 2000  # the everyday picture: one printed page of about this many letters
# Outcome → the badge's style and sign (never colour alone).
BADGES = {
    "better": ("good", "✓"),
    "better-but-small": ("good", "✓"),
    "not-shown": ("plain", "≈"),
    "worse": ("bad", "▼"),
    "cannot-conclude": ("warn", "?"),
}
METHODS = {
    "t": "Student’s t over groups",
    "bootstrap-t": "a bootstrap over groups",
    "t+bootstrap-t": "Student’s t and a bootstrap over groups, at each end the wider",
    "cluster-bootstrap": "a bootstrap over groups",  # of version 0.1
}


def sentence(evidence: Evidence) -> str:
    """The verdict's one sentence, or why there is none."""
    failed = evidence.failed_validity
    if failed:
        said = no_verdict(failed)
        return f"{said[0].upper()}{said[1:]}."
    if evidence.only_prepared:
        splits = (evidence.manifest or {}).get("splits") or {}
        items, groups = (sum(part.get(what, 0) for part in splits.values()) for what in ("items", "groups"))
        return f"Prepared, not trained yet; {count(items)} texts in {count(groups)} groups"
    if evidence.verdict is None:
        return "No verdict: the held-out texts have not been scored."
    said = str(evidence.verdict.get("sentence") or "the verdict's sentence was not recorded")
    return f"{said[0].upper()}{said[1:].removesuffix('.')}."


def unmeasured(evidence: Evidence) -> str | None:
    """Why there is no verdict although no validity guard failed; None where there is one."""
    if evidence.failed_validity or evidence.verdict is not None:
        return None
    if evidence.only_prepared:
        return "Nothing is measured yet: this page shows the data. Once a model is trained, the verdict stands here."
    why = evidence.why_missing("evaluate")
    return f"{why[0].upper()}{why[1:]}. The same command again continues the run where it stopped."


def badge(evidence: Evidence) -> tuple[str, str, str]:
    """The status: its word, its style, its sign."""
    if evidence.failed_validity:
        return ("No verdict", "bad", "✕")
    if evidence.only_prepared:
        return ("Prepared", "plain", "·")
    if evidence.verdict is None:
        return ("Not measured", "plain", "–")
    outcome = str(evidence.verdict.get("outcome"))
    word = OUTCOMES.get(outcome, outcome)
    return (f"{word[:1].upper()}{word[1:]}", *BADGES.get(outcome, ("plain", "–")))


def difference(evidence: Evidence) -> Json:
    """The mean difference with its interval, or an empty record."""
    found: Json = (evidence.summary or {}).get("difference") or {}
    return found


def digits_of(evidence: Evidence) -> int:
    """Decimals for all differences on the page: two significant figures of the interval's half-width."""
    return decimals_for(difference(evidence).get("half_width"))


def smallest_effect(evidence: Evidence) -> float:
    """The smallest difference that matters to the user, in bits per byte (0 where none is recorded)."""
    verdict = (evidence.summary or {}).get("verdict") or {}
    return defined(verdict.get("smallest_effect")) or 0.0


def level(evidence: Evidence) -> str:
    """The interval's level as words: ``95 %``."""
    return percent(difference(evidence).get("level"), 0)


def base_mean(evidence: Evidence) -> float | None:
    """Mean over groups, equal weights, of the base's bits per byte: what the headline's share refers to."""
    return defined(difference(evidence).get("base_mean"))


def everyday(evidence: Evidence) -> Json | None:
    """The everyday picture: the bits that one page of unseen text costs each model, and the share saved."""
    mean, base = defined(difference(evidence).get("mean")), base_mean(evidence)
    if mean is None or not base:
        return None
    low, high = defined(difference(evidence).get("low")), defined(difference(evidence).get("high"))
    half = None if low is None or high is None else (high - low) / 2 / base * 100
    digits, ends = share_digits(half), ""
    if low is not None and high is not None:
        ends = f"{level(evidence)} interval: {savings(low / base, high / base, digits)}"
    page = [
        ("base", base * PAGE_BYTES, f"{count(base * PAGE_BYTES)}{NBSP}bits", "base"),
        ("tuned", (base - mean) * PAGE_BYTES, f"{count((base - mean) * PAGE_BYTES)}{NBSP}bits", "tuned"),
    ]
    return {"share": saving(mean / base, digits), "ends": ends, "bars": bars(page), "page_bytes": count(PAGE_BYTES)}


def how_sure(evidence: Evidence) -> list[str]:
    """Sentences about the certainty of the mean difference; only what was measured."""
    found = difference(evidence)
    reason = str(found.get("reason") or "no reason was recorded")
    if defined(found.get("mean")) is None:
        return [f"There is no mean difference: {reason}."]
    digits, said = digits_of(evidence), []
    n = count(found.get("n_groups"))
    if defined(found.get("half_width")) is None:
        said.append(f"There is no interval from {n} held-out groups: {reason}.")
    else:
        method = METHODS.get(str(found.get("method")), str(found.get("method")))
        said.append(
            f"{level(evidence)} interval: {interval(found.get('low'), found.get('high'), digits)} bits per byte, "
            f"from {n} independent held-out groups ({method}). "
            f"About {level(evidence)} of intervals made this way hold the true mean."
        )
    p = defined(found.get("p"))
    if p is not None:
        said.append(
            f"p = {short(p, 2)}: had fine-tuning changed nothing, "
            f"chance alone would give a difference this large {chance(p)} times (sign-flip test)."
        )
        looks = looked(evidence)
        if looks > 1:
            said.append(
                f"{looks} different trained models were measured on these texts, and the best of many looks good by "
                f"chance: the verdict therefore counts p {looks} times over, as {short(over_looks(p, looks), 2)}."
            )
    if defined(found.get("mde")) is not None:
        enough = found.get("groups_for_half")
        more = "" if defined(enough) is None else f" Half of that would take about {count(enough)} groups."
        said.append(
            "These groups would reliably (4 times in 5) show a difference of "
            f"{fixed(found['mde'], digits)} or more.{more}"
        )
    return said


def looked(evidence: Evidence) -> int:
    """How many trained weights were measured on these test texts, as the guard on selection counted."""
    counts = [r.measured.get("looks") for r in evidence.by_guard().get("selection-hygiene", []) if r.measured]
    return max((int(number) for n in counts if (number := defined(n)) is not None), default=1)


def scope(evidence: Evidence) -> str:
    """What the verdict is about: this checkpoint, or the recipe."""
    verdict = (evidence.summary or {}).get("verdict") or {}
    seeds = defined(verdict.get("seeds"))
    if verdict.get("scope") == "recipe":
        return f"The recipe: {count(seeds)} training seeds stand behind it."
    behind = "one training run stands" if seeds in (None, 1.0) else f"{count(seeds)} training seeds stand"
    return f"This checkpoint only: {behind} behind it, and the same recipe with another seed may do better or worse."


def guard_line(evidence: Evidence, *, names: bool = True) -> str:
    """``15 passed, 1 warned (power), 0 failed, 1 skipped``; guards without a record are counted too."""
    return tally(evidence.guards, names=names)


def checks(evidence: Evidence) -> str:
    """The guards in one sentence for the first screen."""
    passed = len(evidence.with_status("pass"))
    if passed == len(evidence.by_guard()) and not evidence.unrecorded:
        return f"All {passed} guards passed."
    return f"{'' if evidence.with_status('fail') else 'No guard failed: '}{guard_line(evidence)}."


def context(evidence: Evidence) -> Json:
    """What the first screen shows."""
    found, digits = difference(evidence), digits_of(evidence)
    mean = defined(found.get("mean"))
    word, css, sign = badge(evidence)
    plot: Markup | None = None
    if mean is not None:
        plot = interval_plot(
            mean, defined(found.get("low")), defined(found.get("high")), smallest_effect(evidence), digits
        )
    verdict: dict[str, Any] = evidence.verdict or {}
    return {
        "word": word,
        "css": css,
        "sign": sign,
        "sentence": sentence(evidence).partition("; "),
        "plain": verdict.get("plain"),
        "failed": evidence.failed_validity,
        "plot": plot,
        "level": level(evidence),
        "picture": everyday(evidence),
        "sure": how_sure(evidence),
        "scope": scope(evidence),
        "guards": checks(evidence),
        "unmeasured": unmeasured(evidence),
        "given": evidence.verdict is not None,
        "measured": evidence.summary is not None,
        "public": bool((evidence.summary or {}).get("public_source") or _public(evidence)),
    }


def _public(evidence: Evidence) -> bool:
    source = (evidence.manifest or {}).get("source")
    return bool(isinstance(source, dict) and source.get("public"))
