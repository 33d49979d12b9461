"""The figures of the data: histograms, drawn once for the page, for .svg files and, with matplotlib, for .png files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from markupsafe import Markup

from assay.core.files import write_atomic, write_text
from assay.core.optional import installed, require
from assay.stages.compare.evidence import Json
from assay.stages.compare.plots import svg, svg_line, svg_text, ticks
from assay.stages.compare.words import compact, count, share

SPLITS = {"train": "Training", "dev": "Development", "test": "Held-out test"}
_TOP, _BOTTOM, _HEIGHT = 24, 112, 134  # pixels: where the tallest bar ends, where all begin, the whole figure
_WIDTH, _MARGIN, _HEAD = 640, 48, 58  # of a file, in pixels
_INK, _OVER = "#2b5c8f", "#a36a00"  # of bars, below and above a limit
# The page's own colours, for a file that has no page around it.
_STYLE = f"""
svg {{ overflow: visible; }} text {{ font: 12.5px system-ui, "Segoe UI", Roboto, Arial, sans-serif; fill: #1b1d20; }}
.soft {{ font-size: 12px; fill: #62676e; }} .title {{ font-size: 15px; font-weight: 650; }} .paper {{ fill: #fcfcfb; }}
.bar {{ fill: {_INK}; opacity: .8; }} .over {{ fill: {_OVER}; }} .axis {{ stroke: #b9bab5; }}
.rule {{ stroke: #e1e1dc; }} .least {{ stroke: {_OVER}; stroke-dasharray: 3 3; }}
.halo {{ paint-order: stroke; stroke: #fcfcfb; stroke-width: 5px; stroke-linejoin: round; }}
"""


@dataclass(frozen=True)
class Histogram:
    """Rows by a whole number that each has.

    Args:
        name: of its files.
        title: what is counted.
        note: how many, in words.
        unit: of the edges.
        edges: of the bins; they have equal widths in the figure, whatever theirs is in numbers.
        counts: rows in each bin.
        limit: a value that is marked; the bins above it are coloured differently.
        limit_words: what stands at the mark.
    """

    name: str
    title: str
    note: str
    unit: str
    edges: Sequence[int]
    counts: Sequence[int]
    limit: float | None = None
    limit_words: str = ""

    def at(self, value: float) -> float:
        """Where a value stands, as a share of the width: straight lines between the edges."""
        for number, (low, high) in enumerate(pairwise(self.edges)):
            if value < high:
                return (number + max(0.0, (value - low) / (high - low))) / len(self.counts)
        return 1.0

    def marks(self, about: int = 4) -> list[tuple[float, str]]:
        """Labels of the axis, evenly apart: at edges, or under the middle of bins that hold a single value."""
        single = all(high - low == 1 for low, high in pairwise(self.edges))
        most = len(self.counts) - single
        chosen = sorted({round(most * k / about) for k in range(about + 1)})
        return [((n + single / 2) / len(self.counts), compact(self.edges[n])) for n in chosen]


def length_figures(profile: Json) -> list[Histogram]:
    """The lengths of the texts of each split that has any, in bytes."""
    found = []
    for split, label in SPLITS.items():
        part = (profile.get("splits") or {}).get(split) or {}
        bins = (part.get("histograms") or {}).get("bytes") or {}
        if part.get("rows") and bins.get("edges"):
            note = f"{count(part['rows'])} texts, bytes"
            found.append(Histogram(f"bytes-{split}", label, note, "bytes", bins["edges"], bins["counts"]))
    return found


def token_figure(tokens: Json | None) -> Histogram | None:
    """The lengths of the training rows in tokens, with the length at which they are cut."""
    train = ((tokens or {}).get("splits") or {}).get("train") or {}
    bins = (train.get("histograms") or {}).get("tokens") or {}
    if not tokens or not bins.get("edges"):
        return None
    cut = (train.get("cut") or {}).get("max_length")
    return Histogram(
        "tokens-train", "Training rows", f"{count(train.get('rows'))} rows, tokens", "tokens", bins["edges"],
        bins["counts"], tokens.get("max_length"), f"cut at {count(tokens.get('max_length'))}: {share(cut)}",
    )  # fmt: skip


def turns_figure(profile: Json) -> Histogram | None:
    """How many turns the rows have; None for plain texts and for pairs, which all have two."""
    turns = profile.get("turns") or {}
    bins = (turns.get("per_row") or {}).get("histogram") or {}
    if len(bins.get("counts") or []) < 2:
        return None
    note = f"{count(turns['rows'])} rows, without system prompts"
    return Histogram("turns", "Turns in a row", note, "turns", bins["edges"], bins["counts"])


def figures(profile: Json, tokens: Json | None) -> list[Histogram]:
    """All figures of the data, in the page's order."""
    found = [*length_figures(profile), token_figure(tokens), turns_figure(profile)]
    return [figure for figure in found if figure is not None]


def inline(figure: Histogram) -> Markup:
    """The figure as a part of the page."""
    return Markup(
        '<figure class="chart"><figcaption><b>{}</b> <span>{}</span></figcaption><div class="drawn">{}</div></figure>'
    ).format(figure.title, figure.note, _drawing(figure))


def _drawing(figure: Histogram) -> Markup:
    top = max(figure.counts, default=0) or 1
    up = [tick for tick in ticks(0, top, 3) if tick and tick == int(tick)]

    def y(value: float) -> float:
        return round(_BOTTOM - (_BOTTOM - _TOP) * value / top, 1)

    parts = [svg_line(0, 100, y(tick), y(tick), "rule") for tick in up]
    parts += [_bar(figure, number, y(rows)) for number, rows in enumerate(figure.counts)]
    parts.append(svg_line(0, 100, _BOTTOM, _BOTTOM, "axis"))
    parts += [svg_text(0, round(y(tick)) + 4, compact(tick), "soft", "end", -7) for tick in up]
    for place, label in figure.marks():
        side = "start" if place < 0.02 else "end" if place > 0.98 else "middle"
        parts.append(svg_text(round(100 * place, 2), _HEIGHT - 4, label, "soft", side))
    if figure.limit is not None:
        at = round(100 * figure.at(figure.limit), 2)
        parts.append(svg_line(at, at, 4, _BOTTOM, "least"))
        side, shift = ("end", -7) if at > 50 else ("start", 7)
        parts.append(svg_text(at, 14, figure.limit_words, "soft halo", side, shift))
    low, high = count(figure.edges[0]), count(figure.edges[-1])
    label = f"{figure.title}: {figure.note}, between {low} and {high} {figure.unit}"
    return svg(parts, _HEIGHT, f"{label}; {figure.limit_words}" if figure.limit_words else label)


def _bar(figure: Histogram, number: int, top: float) -> Markup:
    """One bin, in two colours where the limit goes through it."""
    width, low, high = len(figure.counts), figure.edges[number], figure.edges[number + 1]
    start, end = 100 * (number + 0.04) / width, 100 * (number + 0.96) / width
    turn = end if figure.limit is None else min(end, max(start, 100 * figure.at(figure.limit)))
    words = f"{count(low)} {figure.unit}" if high - low == 1 else f"{count(low)} to {count(high)} {figure.unit}"
    rects = Markup("").join(
        Markup('<rect x="{}%" width="{}%" y="{}" height="{}" class="{}"/>').format(
            round(left, 2), round(right - left, 2), top, round(_BOTTOM - top, 1), css
        )
        for left, right, css in ((start, turn, "bar"), (turn, end, "bar over"))
        if right > left
    )
    return Markup("<g><title>{}: {}</title>{}</g>").format(words, count(figure.counts[number]), rects)


def write_plots(folder: Path, profile: Json, tokens: Json | None) -> list[Path]:
    """Write each figure of the data as .svg and, where matplotlib is installed (the extra ``plots``), as .png.

    Equal profiles give equal files.

    Args:
        folder: made where it is missing.
        profile: as in data/profile.json.
        tokens: the token profile, or None.

    Returns:
        What was written.

    Raises:
        MachineError: the disk is full or not writable.
    """
    written = []
    for figure in figures(profile, tokens):
        path = folder / f"{figure.name}.svg"
        write_text(path, _file(figure))
        written.append(path)
        if installed("matplotlib"):
            written.append(path.with_suffix(".png"))
            _write_png(figure, written[-1])
    return written


def _file(figure: Histogram) -> str:
    return str(
        Markup(
            '<svg xmlns="http://www.w3.org/2000/svg" width="{}" height="{}">\n<style>{}</style>\n'
            '<rect width="100%" height="100%" class="paper"/><text x="{}" y="28" class="title">{}</text>'
            '<text x="{}" y="47" class="soft">{}</text>\n<svg x="{}" y="{}" width="{}" height="{}">{}</svg>\n</svg>\n'
        ).format(
            _WIDTH, _HEAD + _HEIGHT + 14, Markup(_STYLE), _MARGIN, figure.title, _MARGIN, figure.note, _MARGIN, _HEAD,
            _WIDTH - 2 * _MARGIN, _HEIGHT, _drawing(figure),
        )
    )  # fmt: skip


def _write_png(figure: Histogram, path: Path) -> None:
    drawing = require("matplotlib.figure", extra="plots").Figure(figsize=(6.4, 2.4), dpi=150)
    axes = drawing.add_axes((0.09, 0.12, 0.88, 0.74))
    width, limit = len(figure.counts), figure.limit
    colours = [_OVER if limit is not None and low >= limit else _INK for low in figure.edges[:-1]]
    places = [(n + 0.5) / width for n in range(width)]
    axes.bar(places, figure.counts, width=0.92 / width, color=colours, alpha=0.8)
    axes.set_xlim(0, 1)
    axes.set_xticks(*zip(*figure.marks(), strict=True))
    axes.tick_params(labelsize=8)
    axes.set_title(f"{figure.title}: {figure.note}", loc="left", fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    if limit is not None:
        at, side = figure.at(limit), "right" if figure.at(limit) > 0.5 else "left"
        axes.axvline(at, color=_OVER, linestyle="--", linewidth=1)
        words = f" {figure.limit_words} "
        axes.text(at, axes.get_ylim()[1], words, color=_OVER, fontsize=8, ha=side, va="top")
    write_atomic(path, lambda temporary: drawing.savefig(temporary, format="png", metadata={"Software": None}))
