"""The story of an experiment: its versions in order, what changed, what came of it, what it cost.

Written from the ledger alone. A version is one run. What changed is held against the version before it; bits per byte
of versions that were measured on other test texts, or otherwise, are never drawn on one scale.
"""

from __future__ import annotations

import difflib
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from assay.core.console import duration, size
from assay.core.errors import InputError
from assay.core.files import write_text
from assay.core.find import folders
from assay.core.ledger import Ledger, Query
from assay.core.ledger_query import leaf
from assay.core.words import OUTCOMES, count
from assay.stages.compare.headline import BADGES
from assay.stages.compare.markup import template
from assay.stages.compare.plots import Scale, svg, svg_line, svg_text, tick_text, ticks
from assay.stages.compare.words import NBSP, decimals_for, defined, fixed, interval

Row = dict[str, Any]
LONGEST = 60  # letters of a setting's value
METHOD = (
    "A version is one run, in the order in which they were made; what changed is held against the version before it.",
    "Bits per byte are means over the test groups. The interval is that of the saving against the version's own base: "
    "it is no interval between two versions. `assay compare` compares versions, pair by pair.",
    "To pick the version that looks best here would be to choose by the test texts, and its number would flatter it. "
    "Choose by the development texts (`assay runs --sort dev_bpb`, within one `dev_scale`), then look here.",
)


@dataclass(frozen=True)
class Version:
    """One run of the story.

    `texts` is the letter of the test texts and the way of measuring; None where nothing was measured that counts.
    """

    name: str
    row: Row
    changes: list[str]
    texts: str | None
    result: str
    amount: str
    notes: list[str]
    cost: list[str]


def write_history(runs_dir: Path, experiment: str) -> list[Path]:
    """Write ``history.html`` and ``history.md`` beside the experiment's runs; gives their paths.

    Raises:
        InputError: the ledger has no run of this experiment.
        MachineError: the disk is full or not writable.
    """
    oldest_first = Query(experiment=experiment, reverse=True)
    rows = Ledger(runs_dir).select(oldest_first, settings=True).rows
    if not rows:
        names = sorted(entry.name for entry in folders(runs_dir))
        near = difflib.get_close_matches(experiment, names, 1)
        raise InputError(
            f"there is no run of an experiment named {experiment!r}",
            where=str(runs_dir),
            fix=f"did you mean {near[0]}?" if near else "`assay runs` lists all runs, with their experiments",
        )
    found = versions(rows)
    files = [runs_dir / experiment / "history.html", runs_dir / experiment / "history.md"]
    write_text(files[0], template("history.html.j2").render(context(experiment, found)))
    write_text(files[1], markdown(experiment, found))
    return files


def versions(rows: Sequence[Row]) -> list[Version]:
    """The versions of an experiment, from its ledger's rows with their settings, the oldest first."""
    letters: dict[str, str] = {}
    found: list[Version] = []
    for number, row in enumerate(rows):
        texts = letters.setdefault(row["scale"], _letter(len(letters))) if row["scale"] and row["outcome"] else None
        found.append(
            Version(
                f"v{number + 1}", row, changes(rows[number - 1], row) if number else [], texts,
                _result(row), _amount(row), _notes(row, texts, found), _cost(row),
            )
        )  # fmt: skip
    return found


def changes(before: Row, now: Row) -> list[str]:
    """What is different from the run before: each setting with both values, and the data."""
    if not before["settings"] or not now["settings"]:
        return ["not known: the settings of one of the two cannot be read"]
    old, new = before["settings"], now["settings"]
    keys = list(dict.fromkeys([*new, *old]))
    said = [f"{key} {_shown(old.get(key))} → {_shown(new.get(key))}" for key in keys if old.get(key) != new.get(key)]
    if before["data"] != now["data"]:
        said.append("what the data files hold")
    pair = (before["train_items"], now["train_items"])
    if None not in pair and pair[0] != pair[1]:
        said.append(f"training texts {pair[0]:,} → {pair[1]:,}")
    return said or ["nothing: the same settings and the same data"]


def _shown(value: Any) -> str:
    text = "none" if value is None else str(leaf(value))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _letter(number: int) -> str:
    return (_letter(number // 26 - 1) if number >= 26 else "") + chr(ord("A") + number % 26)


def _result(row: Row) -> str:
    if row["outcome"]:
        return str(row["sentence"] or OUTCOMES.get(row["outcome"], row["outcome"]))
    if row["status"] == "failed":
        guard = f"the validity guard {row['guard']} failed: " if row["guard"] else ""
        return f"{guard}{row['why'] or 'no reason was recorded'}"
    after = f"after the stage {row['stage']}" if row["stage"] else "before its first stage was done"
    return f"running, {after}" if row["status"] == "running" else f"not finished: it stopped {after}"


def _amount(row: Row) -> str:
    """The difference with its interval; empty where there is no verdict that it belongs to."""
    mean, low, high = (defined(row[key]) for key in ("difference", "low", "high"))
    if not row["outcome"] or mean is None:
        return ""
    if low is None or high is None:
        return f"{fixed(mean, 4, sign=True)}, no interval"
    digits = decimals_for((high - low) / 2)
    return f"{fixed(mean, digits, sign=True)} ({interval(low, high, digits)})"


def _notes(row: Row, texts: str | None, before: Sequence[Version]) -> list[str]:
    notes = []
    if row["sweep"]:
        notes.append(f"part of the sweep {row['sweep']}" + (f": {row['variant']}" if row["variant"] else ""))
    others = [version.name for version in before if version.texts not in (None, texts)]
    if texts and others:
        notes.append(
            f"test texts {texts}: not those of {_listed(others)}, or not scored in the same way. "
            "Their bits per byte are not on one scale."
        )
    if row["outcome"] and not row["scale"]:
        notes.append("its test texts are not recorded: it stands on no scale with other versions")
    if row["damaged"]:
        notes.append(f"could not be read in full: {row['damaged']}")
    return notes


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} others"


def _cost(row: Row) -> list[str]:
    said = []
    if row["seconds"] is not None:
        said.append(
            f"{duration(row['seconds'])} {'in all' if row['status'] == 'finished' else 'in the stages that were done'}"
        )
    if row["train_seconds"] is not None:
        said.append(f"{duration(row['train_seconds'])} of training steps")
    if row["peak_memory"] is not None:
        said.append(f"{size(row['peak_memory'])} at the peak")
    if row["comparable"] == 0:
        said.append("times not comparable: it shared the machine")
    return said or ["not recorded"]


# --- as Markdown ---


def markdown(experiment: str, found: Sequence[Version]) -> str:
    """The story as a Markdown file."""
    lines = [f"# {_md(experiment)}: history", "", _md(summary(found)), ""]
    lines += ["| version | what changed | result | base − tuned, bits per byte | cost |", "|---|---|---|---|---|"]
    for v in found:
        name = f"**{v.name}** `{v.row['id']}`<br>{_md(when(v.row))}"
        changed = "<br>".join(map(_md, v.changes)) or "the first version"
        result = "<br>".join([f"**{_md(word(v.row)[0])}**: {_md(v.result)}", *map(_md, v.notes)])
        amount = _md(v.amount) + (f" (test texts {v.texts})" if v.texts and _several(found) else "")
        lines.append(f"| {name} | {changed} | {result} | {amount or '–'} | {'<br>'.join(map(_md, v.cost))} |")
    return "\n".join([*lines, "", *(f"- {line}" for line in METHOD), ""])


def _md(text: str) -> str:
    """Text that means nothing in Markdown, on one line."""
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", html.escape(" ".join(text.split()), quote=False))


def _several(found: Sequence[Version]) -> bool:
    return len({v.texts for v in found if v.texts}) > 1


def when(row: Row) -> str:
    """When a run was made, to the minute."""
    return f"{row['created'][:16].replace('T', ' ')} UTC" if row["created"] else "at an unknown time"


def word(row: Row) -> tuple[str, str, str]:
    """What came of a run in a word, with the style and the sign of its badge."""
    if row["outcome"]:
        said = OUTCOMES.get(row["outcome"], str(row["outcome"]))
        return (f"{said[:1].upper()}{said[1:]}", *BADGES.get(row["outcome"], ("plain", "–")))
    if row["status"] == "failed":
        return ("No verdict", "bad", "✕") if row["guard"] else ("Failed", "bad", "✕")
    return ("Running", "plain", "…") if row["status"] == "running" else ("Not finished", "plain", "–")


def summary(found: Sequence[Version]) -> str:
    """How many versions there are, since when, and what they took."""
    rows = [v.row for v in found]
    states = [word(row)[0].lower() for row in rows]
    said = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    took = [row["seconds"] for row in rows if row["seconds"] is not None]
    first, last = (str(row["created"] or "?")[:10] for row in (rows[0], rows[-1]))
    span = f"on {first}" if first == last else f"from {first} to {last}"
    cost = f" They took {duration(sum(took))} in all." if took else ""
    return f"{count(len(found), 'version')} {span}: {said}.{cost}"


# --- as a page ---


def context(experiment: str, found: Sequence[Version]) -> dict[str, Any]:
    """What the page's template needs."""
    letters = list(dict.fromkeys(v.texts for v in found if v.texts))
    return {
        "title": experiment,
        "summary": summary(found),
        "several": len(letters) > 1,
        "plots": [(letter, plot([v for v in found if v.texts == letter])) for letter in letters],
        "versions": [
            {"v": v, "word": word(v.row), "when": when(v.row), "report": _report(v.row)} for v in reversed(found)
        ],
        "method": [Markup(re.sub(r"`(.*?)`", r"<code>\1</code>", html.escape(line))) for line in METHOD],
    }


def _report(row: Row) -> str | None:
    """The run's own page, from where history.html lies; only a finished run is sure to have one."""
    return f"{row['path'].partition('/')[2]}/report.html" if row["status"] == "finished" else None


def plot(found: Sequence[Version]) -> Markup | None:
    """Bits per byte by version, base and tuned, all measured on the same test texts; None where nothing is known."""
    rows = [(v, *_ends(v.row)) for v in found if defined(v.row["base_mean"]) is not None and v.amount]
    if not rows:
        return None
    values = [value for _, *points in rows for value in points if value is not None]
    pad = 0.06 * ((max(values) - min(values)) or 1.0)
    scale = Scale(min(values) - pad, max(values) + pad)
    marks, digits = ticks(scale.low, scale.high, 4), 4
    body = []
    for v, base, tuned, low, high in rows:
        parts = [svg_line(scale.at(mark), scale.at(mark), 0, 30, "grid-line") for mark in marks]
        if low is not None and high is not None:
            parts.append(svg_line(scale.at(low), scale.at(high), 15, 15, "mean-bar"))
        parts.append(Markup('<circle cx="{}%" cy="15" r="4.5" class="base-dot"/>').format(scale.at(base)))
        parts.append(Markup('<circle cx="{}%" cy="15" r="5" class="dot"/>').format(scale.at(tuned)))
        label = f"{v.name}: base {fixed(base, digits)}, tuned {fixed(tuned, digits)}, {interval(low, high, digits)}"
        body.append(
            Markup(
                '<li><span class="name" title="{}">{}<small>{}</small></span>{}<span class="num">{}</span></li>'
            ).format(
                "; ".join(v.changes),
                v.name,
                v.row["variant"] or _changed(v),
                svg(parts, 30, label),
                fixed(tuned, digits),
            )
        )
    axis = [svg_line(2, 98, 1, 1, "axis")]
    for mark in marks:
        axis.append(svg_line(scale.at(mark), scale.at(mark), 1, 6, "axis"))
        axis.append(svg_text(scale.at(mark), 20, tick_text(mark, marks), "soft", "middle"))
    foot = Markup('<li class="axis-row"><span></span>{}<span></span></li>').format(svg(axis, 26, "bits per byte"))
    return Markup('<ol class="forest">{}{}</ol>').format(Markup("").join(body), foot)


def _ends(row: Row) -> tuple[float, float, float | None, float | None]:
    """Base, tuned, and the ends of the interval: that of the saving, put where the tuned model stands."""
    base, low, high = float(row["base_mean"]), defined(row["low"]), defined(row["high"])
    return base, base - row["difference"], None if high is None else base - high, None if low is None else base - low


def _changed(v: Version) -> str:
    """A version's change in a word or two, for a label."""
    if len(v.changes) == 1:
        return v.changes[0].replace(" → ", f"{NBSP}→{NBSP}")
    return f"{len(v.changes)} changes" if v.changes else "the first"
