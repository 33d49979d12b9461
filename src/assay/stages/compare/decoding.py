"""What `assay decode` found, as plain values for its own page and for the report's section; read from decode/."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from assay.core.console import duration
from assay.core.files import read_json, read_lines, write_text
from assay.core.others import shared
from assay.core.rundir import RunDir
from assay.stages.compare.manner import visible
from assay.stages.compare.markup import template
from assay.stages.compare.plots import Scale, svg, svg_line, svg_text, tick_text, ticks
from assay.stages.compare.words import NBSP, count, decimals_for, defined, fixed, percent

Json = dict[str, Any]
Point = tuple[float | None, float | None, float | None]  # a mean and the ends of its interval
SHOWN_PROMPTS, TEXT_LIMIT = 3, 700
# key: name, what it says to a newcomer, whether it is a share, decimals
COLUMNS = {
    "loop": ("Loops", "texts that say one thing over and over", True, 0),
    "groups_with_loop": ("Groups with a loop", "groups of prompts with any", True, 0),
    "repeated_4": ("Repetition", "runs of four words that come again", True, 1),
    "distinct_1": ("Variety", "different words of all", True, 0),
    "bits_per_byte": ("Surprise", "bits per byte, by the base model", False, 2),
    "distance": ("Distance", "from human texts, in their own spreads", False, 2),
    "tokens": ("Length", "tokens", False, 0),
}
MORE = {
    "ends_in_loop": ("Ends in a loop", "texts", True, 0),
    "distinct_2": ("Distinct-2", "different pairs of words of all", True, 0),
    "mtld": ("MTLD", "words until the variety wears off", False, 0),
    "compression": ("Compression", "bytes ÷ compressed bytes", False, 2),
    "similarity": ("Between seeds", "word pairs that texts of one prompt share", True, 0),
    "stopped": ("Ended by itself", "texts", True, 0),
}
BADGES = {
    True: ("confirmed", "good", "✓"),
    False: ("not confirmed", "warn", "!"),
    None: ("cannot conclude", "plain", "–"),
}
MULTIPLES = ("loop", "distance", "repeated_4", "distinct_1", "bits_per_byte")


def gather(run: RunDir) -> Json | None:
    """The table of decode/, or None where nothing was tried."""
    found: Json | None = read_json(run.decoded) if run.decoded.exists() else None
    return found


def section(run: RunDir) -> Json | None:
    """What the report says of it; None where nothing was tried."""
    table = gather(run)
    return None if table is None else {**_head(table), "table": _table(table, table["settings"], COLUMNS)}


def context(run: RunDir) -> Json:
    """Everything that decode.html shows; the run has a table."""
    table = gather(run)
    assert table is not None
    rows = table["settings"]
    return {
        "title": run.path.parent.name,
        "run": run.path.name,
        **_head(table),
        "table": _table(table, rows, COLUMNS),
        "more": _table(table, rows, MORE),
        "multiples": [*(_multiple(table, rows, key) for key in MULTIPLES), _pace_figure(table, rows)],
        "costs": [_costs(row) for row in rows],
        "second": _table(table, table["confirmed_on"], COLUMNS) if table["confirmed_on"] else None,
        "tests": [_test(test) for test in table["confirmation"]["tests"]],
        "speed": _speed(table["speed"]),
        "samples": _samples(run, table),
        "dropped": table["choice"]["dropped"],
        "took": duration(table["seconds"]),
        "human": table["human"],
        "max_loops": percent(table["max_loops"], 0),
        "seeds": table["seeds"],
        "batch": table["batch"],
    }


def write_page(run: RunDir) -> Path:
    """Write decode/decode.html, one file that opens without a network."""
    path = run.decode / "decode.html"
    write_text(path, template("decode.html.j2").render(context(run)))
    return path


def _head(table: Json) -> Json:
    choice, said = table["choice"], table["confirmation"]
    word, css, sign = BADGES[said["confirmed"]]
    return {
        "chosen": choice["name"], "words": _words(table), "why": choice["why"], "word": word, "css": css, "sign": sign,
        "sentence": said["sentence"], "loops_too": choice["loops_too"],
        "unjudged": choice.get("unjudged", False),  # an older table does not tell the two apart
        "on": _where(table["prompts"]), "again": _where(table["confirm"]) if table["confirm"]["prompts"] else None,
    }  # fmt: skip


def _words(table: Json) -> str | None:
    """The chosen setting in full, where its name does not say it."""
    own = next(row["words"] for row in table["settings"] if row["name"] == table["choice"]["name"])
    return None if own == table["choice"]["name"] else str(own)


def _where(about: Json) -> str:
    prompts, groups = about["prompts"], about["groups"]
    return f"{prompts} prompt{'s' * (prompts != 1)} of {groups} group{'s' * (groups != 1)} ({about['source']})"


def _table(table: Json, rows: Sequence[Json], columns: dict[str, tuple[str, str, bool, int]]) -> Json:
    human = table["human"]["numbers"]
    columns = {key: column for key, column in columns.items() if key in table["numbers"]}  # an older table has fewer
    return {
        "columns": [(name, meaning) for name, meaning, _, _ in columns.values()],
        "human": [_value(human.get(key), share, digits) for key, (_, _, share, digits) in columns.items()]
        if human
        else [],
        "rows": [
            {
                "name": row["name"],
                "words": None if row["words"] == row["name"] else row["words"],
                "chosen": row["name"] == table["choice"]["name"],
                "dropped": table["choice"]["dropped"].get(row["name"]),
                "cells": [_cell(row["numbers"][key], share, digits) for key, (_, _, share, digits) in columns.items()],
                "pace": _pace(row["cost"]["tokens_per_s"]),
                "shared": shared(row["cost"]) is not None,
            }
            for row in rows
        ],
    }


def _value(value: Any, share: bool, digits: int) -> str:
    if defined(value) is None:
        return "–"
    return percent(value, digits) if share else fixed(value, digits)


def _cell(cell: Json, share: bool, digits: int) -> tuple[str, str]:
    """A mean and, below it, its interval over groups or why there is none."""
    if defined(cell["mean"]) is None:
        return "–", str(cell["reason"])
    if defined(cell["low"]) is None:
        return _value(cell["mean"], share, digits), str(cell["reason"])
    half = (100 if share else 1) * (cell["high"] - cell["low"]) / 2
    digits = max(digits, decimals_for(half, at_least=0, at_most=2) - 1)
    low, high = (max(0.0, min(1.0, end)) if share else end for end in (cell["low"], cell["high"]))
    scale = 100 if share else 1
    return _value(cell["mean"], share, digits), f"{fixed(scale * low, digits)} to {fixed(scale * high, digits)}"


def _pace(value: Any) -> str:
    return "–" if defined(value) is None else count(value) if value >= 10 else fixed(value, 1)


def _costs(row: Json) -> Json:
    cost = row["cost"]
    return {
        "name": row["name"], "pace": _pace(cost["tokens_per_s"]), "seconds": duration(cost["seconds"]),
        "shared": shared(cost), "texts": count(cost["texts"]), "tokens": count(cost["tokens"]),
    }  # fmt: skip


def _multiple(table: Json, rows: Sequence[Json], key: str) -> Json:
    """One number of all settings on one scale, as a figure: points, intervals, and a line at the human texts' mean."""
    name, meaning, share, digits = COLUMNS[key]
    cells = [row["numbers"][key] for row in rows]
    mark = 0.0 if key == "distance" else defined(table["human"]["numbers"].get(key))
    if mark is not None and key != "distance":
        meaning = f"{meaning}; human texts: {_value(mark, share, digits)}"
        mark *= 100 if share else 1
    words = [_value(cell["mean"], share, digits) for cell in cells]
    return _figure(table, rows, (name, meaning), [_point(cell, share) for cell in cells], words, mark, share)


def _pace_figure(table: Json, rows: Sequence[Json]) -> Json:
    paces = [row["cost"]["tokens_per_s"] for row in rows]
    points = [(defined(pace), None, None) for pace in paces]
    return _figure(
        table, rows, ("Pace", f"tokens per second, {table['batch']}"), points, list(map(_pace, paces)), 0.0, False
    )


def _figure(
    table: Json, rows: Sequence[Json], about: tuple[str, str], points: Sequence[Point], words: Sequence[str],
    mark: float | None, share: bool,
) -> Json:  # fmt: skip
    """One line per setting; `mark` is where a line is drawn through all of them."""
    values = [value for point in [*points, (mark,)] for value in point if value is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    pad = 0.06 * ((high - low) or 1.0)
    scale, marks = Scale(low - pad, high + pad), ticks(low, high, 3)
    lines = []
    for row, (mean, start, end), said in zip(rows, points, words, strict=True):
        parts = [] if mark is None else [svg_line(scale.at(mark), scale.at(mark), 0, 24, "least")]
        if start is not None and end is not None:
            parts.append(svg_line(scale.at(start), scale.at(end), 12, 12, "whisker"))
        if mean is not None:
            parts.append(Markup('<circle cx="{}%" cy="12" r="4.5" class="dot"/>').format(scale.at(mean)))
        css = "mean" if row["name"] == table["choice"]["name"] else ""
        lines.append(
            Markup('<li class="{}"><span class="name" title="{}">{}</span>{}<span class="num">{}</span></li>').format(
                css, row["name"], row["name"], svg(parts, 24, f"{row['name']}: {said}"), said
            )
        )
    lines.append(_axis(scale, marks, share, about[1]))
    return {
        "name": about[0],
        "meaning": about[1],
        "plot": Markup('<ol class="forest">{}</ol>').format(Markup("").join(lines)),
    }


def _point(cell: Json, share: bool) -> Point:
    """Mean and ends of the interval, of a share in per cent and no further than a share goes."""
    found = [defined(cell[part]) for part in ("mean", "low", "high")]
    mean, low, high = (100 * min(1.0, max(0.0, v)) if share and v is not None else v for v in found)
    return mean, low, high


def _axis(scale: Scale, marks: Sequence[float], share: bool, label: str) -> Markup:
    parts, unit = [svg_line(2, 98, 1, 1, "axis")], f"{NBSP}%" if share else ""
    for tick in marks:
        parts.append(svg_line(scale.at(tick), scale.at(tick), 1, 6, "axis"))
        parts.append(svg_text(scale.at(tick), 20, tick_text(tick, marks) + unit, "soft", "middle"))
    return Markup('<li class="axis-row"><span></span>{}<span></span></li>').format(svg(parts, 26, f"axis: {label}"))


def _test(test: Json) -> Json:
    name, _, share, _ = COLUMNS[test["number"]]
    scale, unit = (100, f"{NBSP}points") if share else (1, "")
    mean, low, high = (defined(test[key]) for key in ("mean", "low", "high"))
    if share and low is not None and high is not None:
        low, high = max(-1.0, low), min(1.0, high)
    digits = 2 if not share else 1
    return {
        "against": test["against"], "number": name, "groups": count(test["groups"]),
        "mean": "–" if mean is None else f"{fixed(scale * mean, digits, sign=True)}{unit}",
        "interval": str(test["reason"]) if low is None or high is None
        else f"{fixed(scale * low, digits, sign=True)} to {fixed(scale * high, digits, sign=True)}",
        "p": "–" if test["p"] is None else fixed(test["p"], 4),
        "adjusted": "–" if test["adjusted"] is None else fixed(test["adjusted"], 4),
    }  # fmt: skip


def _speed(speed: Json | None) -> Json | None:
    if not speed:
        return None
    return {
        "plain": _pace(speed["plain_tokens_per_s"]),
        "rounds": speed["rounds"],
        "precision": speed["precision"],
        "shared": shared(speed),
        "ways": [
            {
                "name": way["name"],
                "ratio": f"{fixed(way['ratio'], 2)} ×",
                "spread": ", ".join(fixed(ratio, 2) for ratio in way["ratios"]),
                "same": f"all {way['prompts']} texts equal" if not way["different"] else
                f"{way['different']} of {way['prompts']} texts differ, {count(way['different_tokens'])} of "
                f"{count(way['tokens'])} tokens",
                "gap": None if way["gap"] is None else fixed(way["gap"], 3),
            }
            for way in speed["ways"]
        ],
    }  # fmt: skip


def _samples(run: RunDir, table: Json) -> list[Json]:
    """The first texts of some prompts, those of each setting side by side: the chosen one, then the others."""
    lines = [line for line in read_lines(run.decode / "texts.jsonl") if line["set"] == "prompts"]
    first: dict[str, dict[str, Json]] = {}
    groups: dict[str, str] = {}
    for line in lines:
        if groups.setdefault(line["group"], line["prompt_id"]) == line["prompt_id"]:
            first.setdefault(line["prompt_id"], {}).setdefault(line["setting"], line)
    names = [row["name"] for row in table["settings"]]
    chosen = table["choice"]["name"]
    order = [chosen, *(name for name in names if name != chosen)]
    return [
        {
            "prompt": visible(next(iter(own.values()))["prompt"]),
            "sides": [
                {"name": name, "chosen": name == chosen, "text": _cut(visible(own[name]["text"])),
                 "tokens": count(own[name]["tokens"])}
                for name in order if name in own
            ],
        }
        for own in list(first.values())[:SHOWN_PROMPTS]
    ]  # fmt: skip


def _cut(text: str) -> str:
    return text if len(text) <= TEXT_LIMIT else f"{text[:TEXT_LIMIT]} … ({len(text) - TEXT_LIMIT} more characters)"
