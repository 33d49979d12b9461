"""The figures of a comparison: training curves of several entries, their intervals, quality against cost.

They are drawn as the report's (`plots`): positions in per cent, sizes in pixels, colours from the style sheet. Each
entry has a colour of its own, told apart by the colour-blind, a pattern of its own for print, and its name at its line.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup

from assay.stages.compare.curves import Point
from assay.stages.compare.plots import Row, Scale, svg, svg_line, svg_text, tick_text, ticks
from assay.stages.compare.words import compact, count

SERIES = 8  # colours and patterns; so many entries are drawn as lines, the first and the best of the others
_HEIGHT = 200  # pixels of a chart of lines, as in the style sheet
_BEGINNING = 0.1  # of a line's steps: what comes before does not decide how high the figure reaches
_LINE = 15  # pixels that a name takes
_WIDE, _LETTER = 520, 7.5  # pixels of that plot on a wide screen, and of a letter of a name
_TALL = 320  # pixels of a plot of quality against cost

Marks = list[tuple[float, str]]  # places on an axis, and what stands there
MarksOf = Callable[[float, float], Marks]
Axis = tuple[str, Callable[[Point], float], MarksOf]


@dataclass(frozen=True)
class Line:
    """An entry's line: its name, its place among the colours, and its points."""

    name: str
    series: int
    points: Sequence[Point]


def step_marks(low: float, high: float) -> Marks:
    """Labels of an axis of steps."""
    return [(t, count(t)) for t in ticks(low, high, 4) if t == int(t)]


def token_marks(low: float, high: float) -> Marks:
    """Labels of an axis of tokens."""
    return [(t, compact(t)) for t in ticks(low, high, 4)]


def time_marks(low: float, high: float) -> Marks:
    """Labels of an axis of seconds, in the unit that suits them."""
    return _in_units(low, high, (("h", 3600.0), ("min", 60.0), ("s", 1.0)))


def memory_marks(low: float, high: float) -> Marks:
    """Labels of an axis of bytes, in the unit that suits them."""
    return _in_units(low, high, (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)))


def _in_units(low: float, high: float, units: Sequence[tuple[str, float]]) -> Marks:
    unit, size = next((one for one in units if high >= 2 * one[1]), units[-1])
    marks = ticks(low / size, high / size, 4)
    return [(t * size, f"{tick_text(t, marks)} {unit}") for t in marks]


AXES: tuple[Axis, ...] = (
    ("steps", lambda point: point.step, step_marks),
    ("tokens", lambda point: point.tokens, token_marks),
    ("time in training steps", lambda point: point.seconds, time_marks),
)


def overlaid(lines: Sequence[Line], axis: Axis, *, title: str, unit: str) -> Markup:
    """Several entries' lines over one axis, each with its name behind it and the range of its seeds around it."""
    label, at, marks_of = axis
    lines = [line for line in lines if line.points]
    points = [point for line in lines for point in line.points]
    low, high = _upright(lines)
    right, up = max(at(p) for p in points) or 1.0, ticks(low, high, 4)

    def x(point: Point) -> float:
        return round(1000 * at(point) / right, 1)

    def y(value: float) -> float:
        return round(1000 * (high - value) / (high - low), 1)

    drawn = [Markup('<path d="M0 {}H1000" class="grid"/>').format(y(t)) for t in up]
    drawn += [_band(line, x, y) for line in lines if any(p.high > p.low for p in line.points)]
    drawn += [_path(line, x, y) for line in lines]
    ends = [y(line.points[-1].value) / 1000 * _HEIGHT for line in lines]
    left = Markup("").join(Markup('<span style="top:{}%">{}</span>').format(y(t) / 10, tick_text(t, up)) for t in up)
    under = Markup("").join(
        Markup('<span style="left:{}%">{}</span>').format(round(100 * t / right, 1), words)
        for t, words in marks_of(0, right)
    )
    described = "; ".join(f"{line.name} ends at {tick_text(line.points[-1].value, up)}" for line in lines)
    return Markup(
        '<figure class="chart overlaid"><figcaption><b>{}</b> <span>{}</span></figcaption><div class="plot">'
        '<div class="y" aria-hidden="true">{}</div><svg viewBox="0 0 1000 1000" preserveAspectRatio="none" role="img" '
        'aria-label="{}, {}, against {}: {}">{}</svg>{}</div>'
        '<div class="x" aria-hidden="true"><i></i><div>{}</div></div><p class="axis-name" aria-hidden="true">{}</p>'
        "</figure>"
    ).format(
        title, unit, left, title, unit, label, described, Markup("").join(drawn), _names(lines, ends), under, label
    )


def _upright(lines: Sequence[Line]) -> tuple[float, float]:
    """The range of the values, with some air. How each begins is cut off: it would press what follows into one line."""
    ends = [(line.points, line.points[-1]) for line in lines]
    later = [p for points, last in ends for p in points if p is last or p.step > _BEGINNING * last.step]
    low, high = min(p.low for p in later), max(p.high for p in later)
    pad = 0.08 * ((high - low) or abs(high) or 1.0)
    return low - pad, high + pad


def _path(line: Line, x: Callable[[Point], float], y: Callable[[float], float]) -> Markup:
    """The line, and a faint one on from its end to its name where others took longer."""
    points = "L".join(f"{x(p)} {y(p.value)}" for p in line.points)
    last = line.points[-1]
    path = Markup('<path d="M{}" class="line s{}"/>').format(points, line.series)
    if x(last) < 995:
        path += Markup('<path d="M{} {}H1000" class="line on s{}"/>').format(x(last), y(last.value), line.series)
    return path


def _band(line: Line, x: Callable[[Point], float], y: Callable[[float], float]) -> Markup:
    there = "L".join(f"{x(p)} {y(p.high)}" for p in line.points)
    back = "L".join(f"{x(p)} {y(p.low)}" for p in reversed(line.points))
    return Markup('<path d="M{}L{}Z" class="seeds s{}"/>').format(there, back, line.series)


def _names(lines: Sequence[Line], ends: Sequence[float]) -> Markup:
    """The entries' names beside their lines' ends, moved apart where they would cover each other."""
    places = apart(ends, _LINE, _HEIGHT)
    leaders = Markup("").join(
        Markup('<line x1="0" x2="100%" y1="{}" y2="{}" class="line thin s{}"/>').format(
            round(end, 1), round(place, 1), line.series
        )
        for line, end, place in zip(lines, ends, places, strict=True)
    )
    names = Markup("").join(
        Markup('<span class="s{}" style="top:{}px" title="{}">{}</span>').format(
            line.series, round(place, 1), line.name, line.name
        )
        for line, place in zip(lines, places, strict=True)
    )
    return Markup('<svg class="leaders" width="100%" height="{}" aria-hidden="true">{}</svg>').format(
        _HEIGHT, leaders
    ) + Markup('<div class="names">{}</div>').format(names)


def apart(wanted: Sequence[float], gap: float, room: float) -> list[float]:
    """Places as near as may be to the wanted ones, `gap` apart, in their order, and within 0 to `room` if they fit."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [0.0] * len(wanted)
    below = -gap
    for i in order:
        below = places[i] = max(wanted[i], below + gap)
    above = room + gap
    for i in reversed(order):
        above = places[i] = min(places[i], above - gap)
    short = min(places, default=0.0)
    return [place - min(0.0, short) for place in places]


def intervals(rows: Sequence[Row], *, mark: float | None, ends: tuple[str, str], label: str) -> Markup:
    """A forest plot of entries: a point and its interval on each line, on a common axis.

    Args:
        rows: the entries; `words` stand behind each line, `note` beside its name.
        mark: a value that a line is drawn through, such as no difference.
        ends: what lies to the left and to the right.
        label: of the axis.
    """
    values = [value for row in rows for value in (row.value, row.low, row.high) if value is not None]
    values += [] if mark is None else [mark]
    pad = 0.06 * ((max(values) - min(values)) or abs(max(values)) or 1.0)
    scale = Scale(min(values) - pad, max(values) + pad)
    behind = [] if mark is None else [svg_line(scale.at(mark), scale.at(mark), 0, 30, "zero")]
    body = []
    for row in rows:
        parts = list(behind)
        if row.low is not None and row.high is not None:
            parts.append(svg_line(scale.at(row.low), scale.at(row.high), 15, 15, "mean-bar"))
        parts.append(Markup('<circle cx="{}%" cy="15" r="5.5" class="dot"/>').format(scale.at(row.value)))
        note = Markup("<small>{}</small>").format(row.note) if row.note else ""
        body.append(
            Markup('<li><span class="name" title="{}">{}{}</span>{}<span class="num">{}</span></li>').format(
                row.label, row.label, note, svg(parts, 30, f"{row.label}: {row.words}"), row.words
            )
        )
    marks = ticks(scale.low, scale.high, 5)
    axis = [svg_line(2, 98, 1, 1, "axis")]
    for tick in marks:
        axis.append(svg_line(scale.at(tick), scale.at(tick), 1, 6, "axis"))
        axis.append(svg_text(scale.at(tick), 20, tick_text(tick, marks), "soft", "middle"))
    return Markup(
        '<ol class="forest beside entries"><li class="ends"><span></span><span class="soft"><i>{}</i><i>{}</i></span>'
        '<span></span></li>{}<li class="axis-row"><span class="soft">{}</span>{}<span></span></li></ol>'
    ).format(*ends, Markup("").join(body), label, svg(axis, 26, f"axis: {label}"))


@dataclass(frozen=True)
class Spot:
    """An entry in a plot of quality against cost; both are the better the lower they are.

    `low` to `high` is what the difference to the first leaves open. `sure` is False where the cost may not be held
    against the others': such an entry is drawn as a cross, and on no front.
    """

    name: str
    series: int
    cost: float
    quality: float
    low: float | None = None
    high: float | None = None
    sure: bool = True


def front(spots: Sequence[Spot]) -> list[Spot]:
    """Those that no other beats in both, by their cost (Pareto): none has lower quality at no more cost."""
    found: list[Spot] = []
    for spot in sorted((one for one in spots if one.sure), key=lambda one: (one.cost, one.quality)):
        if not found or spot.quality < found[-1].quality:
            found.append(spot)
    return found


def against_cost(spots: Sequence[Spot], *, title: str, unit: str, marks_of: MarksOf) -> Markup:
    """Quality (bits per byte) against a cost, the front joined by a line.

    The cost begins at 0, unless all are so alike that they would be one spot.
    """
    values = [v for spot in spots for v in (spot.quality, spot.low, spot.high) if v is not None]
    pad = 0.1 * ((max(values) - min(values)) or abs(max(values)) or 1.0)
    low, high = min(values) - pad, max(values) + pad
    scale, up = Scale(*_span([spot.cost for spot in spots]), 9, 97), ticks(low, high, 5)

    def y(value: float) -> float:
        return round(12 + (_TALL - 60) * (high - value) / (high - low), 1)

    base = y(low)
    parts = [svg_line(9, 97, y(t), y(t), "rule") for t in up]
    parts += [svg_text(8.2, round(y(t) + 4), tick_text(t, up), "soft", "end") for t in up]
    parts.append(svg_line(9, 97, base, base, "axis"))
    for at, words in marks_of(scale.low, scale.high):
        parts += [
            svg_line(scale.at(at), scale.at(at), base, base + 5, "axis"),
            svg_text(scale.at(at), round(base + 20), words, "soft", "middle"),
        ]
    unit += ", not from 0 on" if scale.low else ""
    parts.append(svg_text(53, round(base + 40), unit, "soft", "middle"))
    best = front(spots)
    parts += _steps(best, scale, y)
    parts += _spot_names(spots, scale, y)  # under the spots, none of which they may hide
    for spot in spots:
        parts += _spot(spot, scale, y, on_front=spot in best)
    said = ", ".join(f"{spot.name}" for spot in best)
    return Markup('<figure class="cost-plot"><figcaption><b>{}</b></figcaption>{}</figure>').format(
        title, svg(parts, _TALL, f"{title}. On the front, from the cheapest on: {said or 'none'}")
    )


def _span(costs: Sequence[float]) -> tuple[float, float]:
    """The range of an axis of costs."""
    least, most = min(costs), max(costs)
    if least < most / 2 or least == most:
        return 0.0, 1.08 * most or 1.0
    pad = 0.15 * (most - least)
    return least - pad, most + pad


def _steps(best: Sequence[Spot], scale: Scale, y: Callable[[float], float]) -> list[Markup]:
    """The front as steps: what is reached up to each cost."""
    parts = []
    for one, other in pairwise(best):
        left, right = scale.at(one.cost), scale.at(other.cost)
        parts.append(svg_line(left, right, y(one.quality), y(one.quality), "front"))
        parts.append(svg_line(right, right, y(one.quality), y(other.quality), "front"))
    return parts


def _spot(spot: Spot, scale: Scale, y: Callable[[float], float], *, on_front: bool) -> list[Markup]:
    x, parts = scale.at(spot.cost), []
    if spot.low is not None and spot.high is not None:
        parts.append(svg_line(x, x, y(spot.low), y(spot.high), f"reach-of s{spot.series}"))
    if not spot.sure:
        return [*parts, svg_text(x, round(y(spot.quality) + 6), "×", f"cross s{spot.series}", "middle")]
    css = f"spot s{spot.series}" + ("" if on_front else " hollow")
    return [*parts, Markup('<circle cx="{}%" cy="{}" r="6" class="{}"/>').format(x, y(spot.quality), css)]


def _spot_names(spots: Sequence[Spot], scale: Scale, y: Callable[[float], float]) -> list[Markup]:
    """A name beside each spot: at the first of several places where it covers neither a spot nor another name.

    Widths are reckoned for a figure of `_WIDE` pixels; in a narrower one names may touch.
    """
    centres = [(scale.at(spot.cost) * _WIDE / 100, y(spot.quality)) for spot in spots]
    taken = [(x - 8, x + 8, at - 8, at + 8) for x, at in centres]
    parts = []
    for spot, (x, at) in zip(spots, centres, strict=True):
        long = _LETTER * len(spot.name)
        places = [
            ("start", 11, 4), ("end", -11, 4), ("middle", 0, -12), ("middle", 0, 20), ("start", 11, 20),
            ("end", -11, 20), ("start", 11, -12), ("end", -11, -12),
        ]  # fmt: skip
        boxes = [_box(side, x + dx, at + dy, long) for side, dx, dy in places]
        free = next((n for n, box in enumerate(boxes) if _fits(box, taken)), 0)
        side, dx, dy = places[free]
        taken.append(boxes[free])
        parts.append(svg_text(scale.at(spot.cost), round(at + dy), spot.name, f"halo s{spot.series}", side, dx))
    return parts


Box = tuple[float, float, float, float]  # left, right, top, bottom


def _box(side: str, x: float, baseline: float, long: float) -> Box:
    """What a name covers, in pixels."""
    left = {"start": x, "end": x - long, "middle": x - long / 2}[side]
    return left, left + long, baseline - 11, baseline + 3


def _fits(box: Box, taken: Sequence[Box]) -> bool:
    """Whether a box lies in the figure and covers none that is taken."""
    left, right, top, bottom = box
    inside = left > 0.09 * _WIDE and right < _WIDE
    return inside and all(right < a or left > b or bottom < c or top > d for a, b, c, d in taken)
