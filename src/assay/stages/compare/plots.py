"""The report's figures: hand-written inline SVG and HTML, coloured by the page's style sheet.

Positions are percentages of the figure's width and sizes are pixels, so that lettering stays the same size on a
phone and on a wide screen, and the dark colours come from the page. Every figure carries its content as a text
alternative; the numbers also stand in tables.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from assay.stages.compare.words import compact, count, fixed, interval

MAX_POINTS = 400  # a longer curve is drawn from means over equal stretches of steps


@dataclass(frozen=True)
class Scale:
    """A linear map of [low, high] to per cent of a figure's width."""

    low: float
    high: float
    start: float = 2.0
    end: float = 98.0

    def at(self, value: float) -> float:
        """The position of `value` in per cent, rounded so that output is the same everywhere."""
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)


@dataclass(frozen=True)
class Row:
    """One line of a forest plot: a difference and, where it is defined, its interval."""

    label: str
    value: float
    low: float | None
    high: float | None
    note: str = ""
    words: str = ""  # of the value, where it is no plain number


def ticks(low: float, high: float, about: int = 4) -> list[float]:
    """Round numbers (1, 2, 2.5 or 5 times a power of ten) inside [low, high], about `about` of them."""
    if not high > low:
        return [low]
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def tick_text(value: float, all_ticks: Sequence[float]) -> str:
    """A tick's label with as many decimals as the distance between ticks needs."""
    if value == 0:
        return "0"
    gaps = [b - a for a, b in pairwise(all_ticks)] or [abs(value) or 1.0]
    if gaps[0] < 1e-4:
        return f"{value:.1e}".replace("e-0", "e-").replace("-", "\u2212")
    digits = max(0, -math.floor(math.log10(gaps[0]) + 1e-9))
    if round(gaps[0], digits) != round(gaps[0], digits + 1):
        digits += 1
    return compact(value) if abs(value) >= 1000 else fixed(value, digits)


def svg_text(x: float, y: int, words: str, css: str, anchor: str = "", dx: int = 0) -> Markup:
    """Lettering at `x` per cent and `y` pixels; without an anchor it leans inwards near an edge."""
    where = anchor or ("start" if x < 26 else "end" if x > 74 else "middle")
    return Markup('<text x="{}%" y="{}" dx="{}" text-anchor="{}" class="{}">{}</text>').format(
        x, y, dx, where, css, words
    )


def svg_line(x1: float, x2: float, y1: float, y2: float, css: str) -> Markup:
    """A line: across in per cent, down in pixels."""
    return Markup('<line x1="{}%" x2="{}%" y1="{}" y2="{}" class="{}"/>').format(x1, x2, y1, y2, css)


def svg(parts: Iterable[Markup], height: int, label: str, css: str = "") -> Markup:
    """A figure as wide as its place and `height` pixels high; `label` is its text alternative."""
    head = Markup('<svg class="flat {}" width="100%" height="{}" role="img" aria-label="{}">').format(
        css, height, label
    )
    return head + Markup("").join(parts) + Markup("</svg>")


def interval_plot(mean: float, low: float | None, high: float | None, smallest: float, digits: int) -> Markup:
    """The verdict's interval against zero and the smallest effect that matters (all bits per byte)."""
    ends = [mean, 0.0, smallest, *(v for v in (low, high) if v is not None)]
    span = (max(ends) - min(ends)) or 1.0
    # Room on both sides for the words.
    scale = Scale(min(ends) - 0.4 * span, max(ends) + 0.4 * span)
    zero, least, dot = scale.at(0.0), scale.at(smallest), scale.at(mean)
    where = interval(low, high, digits)
    parts = [
        svg_text(zero, 14, "← worse", "soft", "end", -10),
        svg_text(zero, 14, "better →", "soft", "start", 10),
        svg_line(2, 98, 48, 48, "axis"),
        svg_line(zero, zero, 4, 100, "zero"),
    ]
    if smallest > 0:
        parts.append(svg_line(least, least, 26, 122, "least"))
    if low is not None and high is not None:
        left, right = scale.at(low), scale.at(high)
        parts.append(
            Markup('<rect x="{}%" width="{}%" y="40" height="16" rx="8" class="span"/>').format(
                left, round(right - left, 2)
            )
        )
    parts.append(Markup('<circle cx="{}%" cy="48" r="6" class="dot"/>').format(dot))
    # near an edge the label leans on it: on a phone it is as wide as half the plot
    at, side = (99.0, "end") if dot > 60 else (1.0, "start") if dot < 40 else (dot, "middle")
    parts.append(svg_text(at, 80, f"{fixed(mean, digits, sign=True)}  ({where})", "strong halo", side))
    parts.append(svg_text(zero, 100, "no difference", "soft halo", "end", -8))
    if smallest > 0:
        side = "end" if least > 58 else "start"
        words = f"smallest gain worth having {fixed(smallest, max(digits, 3))}"
        parts.append(svg_text(least, 120, words, "soft halo", side, -8 if side == "end" else 8))
    label = (
        f"Mean difference {fixed(mean, digits, sign=True)} bits per byte, interval {where}; zero means no difference"
    )
    return svg(parts, 128, label, "verdict-plot")


def forest(rows: Sequence[Row], mean: Row | None, smallest: float, digits: int) -> Markup:
    """One line per group and the mean below: differences in bits per byte on a common axis, 0 marked."""
    everything = [*rows, *([mean] if mean else [])]
    values = [0.0, smallest]
    for row in everything:
        values += [v for v in (row.value, row.low, row.high) if v is not None]
    pad = 0.06 * ((max(values) - min(values)) or 1.0)
    scale = Scale(min(values) - pad, max(values) + pad)
    marks = ticks(scale.low, scale.high, 4)
    body = [_forest_row(row, scale, mean, smallest, digits, last=False) for row in rows]
    if mean:
        body.append(_forest_row(mean, scale, mean, smallest, digits, last=True))
    axis = [svg_line(2, 98, 1, 1, "axis")]
    for tick in marks:
        axis += [svg_line(scale.at(tick), scale.at(tick), 1, 6, "axis")]
        axis += [svg_text(scale.at(tick), 20, tick_text(tick, marks), "soft", "middle")]
    foot = Markup('<li class="axis-row"><span></span>{}<span class="num soft"></span></li>').format(
        svg(axis, 26, "axis in bits per byte")
    )
    return Markup('<ol class="forest">') + Markup("").join(body) + foot + Markup("</ol>")


def _forest_row(row: Row, scale: Scale, mean: Row | None, smallest: float, digits: int, *, last: bool) -> Markup:
    parts = []
    if mean and mean.low is not None and mean.high is not None:
        parts.append(_rect(scale.at(mean.low), scale.at(mean.high), "band"))
    parts.append(svg_line(scale.at(0.0), scale.at(0.0), 0, 30, "zero"))
    if smallest > 0:
        parts.append(svg_line(scale.at(smallest), scale.at(smallest), 0, 30, "least"))
    y = 15
    if row.low is not None and row.high is not None:
        parts.append(svg_line(scale.at(row.low), scale.at(row.high), y, y, "mean-bar" if last else "whisker"))
    parts.append(
        Markup('<circle cx="{}%" cy="{}" r="{}" class="dot"/>').format(scale.at(row.value), y, 6 if last else 4.5)
    )
    value = fixed(row.value, digits, sign=True)
    where = "" if row.low is None else f", {interval(row.low, row.high, digits)}"
    return Markup('<li class="{}"><span class="name" title="{}">{}{}</span>{}<span class="num">{}</span></li>').format(
        "mean" if last else "group",
        row.label,
        row.label,
        Markup("<small>{}</small>").format(row.note) if row.note else "",
        svg(parts, 30, f"{row.label}: {value}{where}"),
        value,
    )


def beside(
    rows: Sequence[Row], *, mark: float, band: tuple[float, float] | None = None, ends: tuple[str, str], label: str
) -> Markup:
    """One line per row: a point and its interval, in per cent, on a common axis.

    Args:
        rows: with `words` for what stands behind each line.
        mark: the value that a line is drawn through.
        band: a range around it that is shaded.
        ends: what lies to the left and to the right of the mark, in words.
        label: of the axis.
    """
    values = [mark, *(band or ())]
    for row in rows:
        values += [v for v in (row.value, row.low, row.high) if v is not None]
    pad = 0.08 * ((max(values) - min(values)) or 1.0)
    scale = Scale(min(values) - pad, max(values) + pad)
    behind = [svg_line(scale.at(mark), scale.at(mark), 0, 30, "zero")]
    if band:
        left, right = scale.at(band[0]), scale.at(band[1])
        behind.insert(0, _rect(left, right, "margin"))
    body = []
    for row in rows:
        parts = list(behind)
        if row.low is not None and row.high is not None:
            parts.append(svg_line(scale.at(row.low), scale.at(row.high), 15, 15, "mean-bar"))
        parts.append(Markup('<circle cx="{}%" cy="15" r="6" class="dot"/>').format(scale.at(row.value)))
        body.append(
            Markup('<li><span class="name">{}</span>{}<span class="num">{}</span></li>').format(
                row.label, svg(parts, 30, f"{row.label}: {row.words}"), row.words
            )
        )
    marks = ticks(scale.low, scale.high, 4)
    axis = [svg_line(2, 98, 1, 1, "axis")]
    for tick in marks:
        axis.append(svg_line(scale.at(tick), scale.at(tick), 1, 6, "axis"))
        axis.append(svg_text(scale.at(tick), 20, f"{tick_text(tick, marks)} %", "soft", "middle"))
    return Markup(
        '<ol class="forest beside"><li class="ends"><span></span><span class="soft"><i>{}</i><i>{}</i></span>'
        '<span></span></li>{}<li class="axis-row"><span></span>{}<span></span></li></ol>'
    ).format(*ends, Markup("").join(body), svg(axis, 26, label))


def _rect(left: float, right: float, css: str) -> Markup:
    """A shaded stretch of a line's whole height, from `left` to `right` per cent."""
    return Markup('<rect x="{}%" width="{}%" y="0" height="100%" class="{}"/>').format(
        left, round(right - left, 2), css
    )


def thin(points: Sequence[tuple[float, float]]) -> tuple[list[tuple[float, float]], int]:
    """At most MAX_POINTS points, each the mean of `k` consecutive ones; also k."""
    k = math.ceil(len(points) / MAX_POINTS) or 1
    if k == 1:
        return list(points), 1
    groups = [points[i : i + k] for i in range(0, len(points), k)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups], k


def curve(
    points: Sequence[tuple[float, float]],
    *,
    title: str,
    unit: str,
    last_step: float,
    tokens_at: Sequence[tuple[float, float]],
    dots: bool = False,
    from_zero: bool = False,
    spans: Sequence[tuple[float, float, float]] = (),
) -> Markup:
    """A line against optimizer steps, with the tokens seen so far as a second row of labels.

    `points` are (step, value), `tokens_at` (step, cumulative supervised tokens), both in the order of steps; `spans`
    are intervals (step, low, high) of some of the points.
    """
    drawn, k = thin(points)
    low, high = _upright([y for _, y in drawn] + [end for _, *ends in spans for end in ends], from_zero)
    right = max(last_step, 1.0)
    across, up = ticks(0, right, 4), ticks(low, high, 4)

    def x(value: float) -> float:
        return round(1000 * value / right, 1)

    def y(value: float) -> float:
        return round(1000 * (high - value) / (high - low), 1)

    grid = "".join(f'<path d="M0 {y(t)}H1000" class="grid"/>' for t in up)
    path = "M" + "L".join(f"{x(a)} {y(b)}" for a, b in drawn)
    marks = "".join(f'<path d="M{x(a)} {y(b)}h0" class="mark"/>' for a, b in drawn) if dots else ""
    bars = "".join(f'<path d="M{x(a)} {y(from_)}V{y(to)}" class="reach"/>' for a, from_, to in spans)
    first, last = drawn[0], drawn[-1]
    label = (
        f"{title}, {unit}: {tick_text(first[1], up)} at step {count(first[0])}, "
        f"{tick_text(last[1], up)} at step {count(last[0])}"
    )
    left = Markup("").join(
        Markup('<span style="top:{}%">{}</span>').format(round(y(t) / 10, 1), tick_text(t, up)) for t in up
    )
    steps = [(t, count(t)) for t in across if t == int(t)]
    seen = [(t, compact(float(f"{_tokens(tokens_at, t):.2g}"))) for t, _ in steps] if tokens_at else []
    return Markup(
        '<figure class="chart"><figcaption><b>{}</b> <span>{}{}</span></figcaption><div class="plot">'
        '<div class="y" aria-hidden="true">{}</div>'
        '<svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg></div>{}{}</figure>'
    ).format(
        title,
        unit,
        f", each point the mean of {k} steps" if k > 1 else ", bars: 95 % over groups" if spans else "",
        left,
        label,
        Markup(grid + bars + f'<path d="{path}" class="curve"/>' + marks),
        _under("step", steps, right),
        _under("tokens", seen, right),
    )


def _upright(values: Sequence[float], from_zero: bool) -> tuple[float, float]:
    """The range that a curve is drawn in, with some air."""
    low, high = (0.0 if from_zero else min(values)), max(values)
    pad = 0.08 * ((high - low) or abs(high) or 1.0)
    return (low if from_zero else low - pad), high + pad


def _tokens(tokens_at: Sequence[tuple[float, float]], step: float) -> float:
    return next((tokens for at, tokens in reversed(tokens_at) if at <= step), 0.0)


def _under(what: str, labels: Sequence[tuple[float, str]], right: float) -> Markup:
    if not labels:
        return Markup("")
    spans = Markup("").join(
        Markup('<span style="left:{}%">{}</span>').format(round(100 * at / right, 1), text) for at, text in labels
    )
    return Markup('<div class="x" aria-hidden="true"><i>{}</i><div>{}</div></div>').format(what, spans)


def bars(rows: Sequence[tuple[str, float, str, str]]) -> Markup:
    """Horizontal bars from a common zero: (label, length, words behind it, style)."""
    top = max((length for _, length, _, _ in rows), default=0) or 1
    lines = Markup("").join(
        Markup(
            '<li><span class="name">{}</span><span class="track"><i class="{}" style="width:{}%"></i></span>'
            '<span class="num">{}</span></li>'
        ).format(label, css, round(100 * length / top, 1), words)
        for label, length, words, css in rows
    )
    return Markup('<ul class="barlist">{}</ul>').format(lines)
