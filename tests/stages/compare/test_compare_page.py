"""The page and the files of a comparison: what they say, what they must not do, and the figures' geometry."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fixture_compare import FLAT, write_run
from fixture_page import Page
from hypothesis import given
from hypothesis import strategies as st

from assay.core.rundir import RunDir
from assay.stages.compare.compare_files import default_folder, markdown, spreadsheet, write_comparison
from assay.stages.compare.compare_page import render, shown
from assay.stages.compare.curves import Point
from assay.stages.compare.entries import Failed, entries
from assay.stages.compare.plots_runs import (
    AXES,
    Line,
    Spot,
    against_cost,
    apart,
    front,
    memory_marks,
    overlaid,
    step_marks,
    time_marks,
)
from assay.stages.compare.runs import Comparison, comparison

HOSTILE = "<script>alert(1)</script> | `x` {{ 7 * 7 }}"


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Comparison]:
    """A function that compares entries with these names, each better than the one before, over so many seeds."""

    def made(
        names: Sequence[str] = ("base", "better"), seeds: int = 2, failed: Sequence[Failed] = (), **how: Any
    ) -> Comparison:
        runs: dict[Path, str] = {}
        for n, name in enumerate(names):
            for seed in range(seeds):
                bits = [bpb - 0.05 * n + 0.001 * ((g + seed + n) % 3) for g, bpb in enumerate(FLAT)]
                changed = {"adapter": {"kind": "lora", "rank": 4 + n}, "seed": seed, "short": f"{n}{seed}aabbcc"}
                cost = {"train_seconds": 60.0 + n, "peak_memory": 1_000_000_000 + n * 400_000_000}
                folder = tmp_path / "runs" / "e" / f"2026{n:02}{seed:02}-120000-{n}{seed}aabbcc"
                run = write_run(folder, bits, changed=changed, cost=cost, **how)
                runs[run.path] = name
        return comparison(entries([RunDir(path) for path in runs], runs), failed)

    return made


# the page


def test_the_page_says_what_was_found_first_and_loads_nothing(make: Callable[..., Comparison]) -> None:
    html = render(make())
    page = Page(html)
    words = " ".join(page.words)
    assert words.index("better is better than base.") < words.index("The entries") < words.index("Down and to the left")
    assert "Better by" in words
    assert "The runs differ in adapter.rank." in words
    assert not re.search(r"""(?:src|href)=["'](?!#)|@import|url\(""", html)
    assert not any(tag in ("script", "iframe", "object", "link") for tag, _ in page.tags)
    ids = {value for _, attributes in page.tags for key, value in attributes.items() if key == "id"}
    links = {str(attributes["href"])[1:] for tag, attributes in page.tags if tag == "a"}
    assert links <= ids
    assert "failed" not in ids
    assert render(make()) == html


def test_names_of_any_kind_are_shown_as_they_are(make: Callable[..., Comparison]) -> None:
    html = render(make((HOSTILE, "b"), failed=[Failed(HOSTILE + "2", HOSTILE, None)]))
    assert "<script>" not in html
    assert "49" not in re.findall(r"x` (\d+)", html)
    assert HOSTILE in " ".join(Page(html).words)
    lines = markdown(make((HOSTILE, "b"))).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert rows
    widths = {len(re.findall(r"(?<!\\)\|", row)) for row in rows}
    assert widths <= {3, 4, 5, 12}  # tables of two entries with up to two columns more, and the overview's eleven


def test_what_failed_is_on_the_page_with_its_reason(make: Callable[..., Comparison]) -> None:
    c = make(failed=[Failed("third", "the loss of step 3 is not finite", "e/x")])
    words = " ".join(Page(render(c)).words)
    assert "the loss of step 3 is not finite" in words
    assert "over 2 comparisons, those that failed too" in words
    assert "the loss of step 3 is not finite" in markdown(c)


def test_a_timing_that_may_not_be_compared_is_on_no_front(make: Callable[..., Comparison]) -> None:
    words = " ".join(Page(render(make(others=2.0))).words)
    assert "Quality and training time: × marks what may not be compared (base and better); it is on no front." in words
    assert "the machine was shared: others kept 2 cores busy meanwhile" in words
    quiet = " ".join(Page(render(make(others=0.0))).words)
    assert "× marks" not in quiet
    assert "not comparable" not in quiet


def test_one_entry_alone_is_described(make: Callable[..., Comparison]) -> None:
    words = " ".join(Page(render(make(("alone",)))).words)
    assert "There is one entry only, alone" in words


def test_of_many_entries_the_first_and_the_best_are_drawn(make: Callable[..., Comparison]) -> None:
    c = make([f"entry {n}" for n in range(11)], seeds=1)
    assert shown(c) == [0, 4, 5, 6, 7, 8, 9, 10]
    words = " ".join(Page(render(c)).words)
    assert "3 entries are not drawn: shown are the first and the 7 best of the others." in words


# the files


def test_the_files_agree_and_are_written_over(make: Callable[..., Comparison], tmp_path: Path) -> None:
    c, folder = make(), tmp_path / "out" / "deep"
    for _ in range(2):
        paths = write_comparison(c, folder)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in paths)
    data = json.loads((folder / "compare.json").read_text())
    assert data == c.as_json()
    header, *rows = csv.reader(io.StringIO((folder / "compare.csv").read_text()))
    table = [dict(zip(header, row, strict=True)) for row in rows]
    assert [row["entry"] for row in table] == ["base", "better"]
    assert float(table[1]["fewer_bits"]) == data["pairs"][0]["difference"]["mean"]
    assert (table[0]["fewer_bits"], table[1]["one_change"], table[1]["train_seconds"]) == ("", "yes", "61.0")
    assert render(c) == (folder / "compare.html").read_text()


def test_the_default_folder_is_no_run(make: Callable[..., Comparison], tmp_path: Path) -> None:
    from assay.core.ledger import run_dirs

    c = make()
    before = run_dirs(tmp_path / "runs")
    folder = default_folder(c)
    write_comparison(c, folder)
    assert folder.parent == tmp_path / "runs" / "e" / "comparisons"
    assert run_dirs(tmp_path / "runs") == before
    assert default_folder(make()) == folder
    assert default_folder(make(("base", "better", "best"))) != folder


@given(st.text(min_size=1))
def test_no_cell_is_a_formula(text: str) -> None:
    ((cell,),) = csv.reader(io.StringIO(spreadsheet([], [[text]]).removeprefix("\r\n"), newline=""))
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))


def test_numbers_stay_numbers() -> None:
    assert spreadsheet(["a"], [[-0.5, None, True, "-0.5"]]) == "a\r\n-0.5,,yes,'-0.5\r\n"


# the figures


@given(st.lists(st.floats(0, 200), max_size=12))
def test_names_keep_apart_in_their_order(wanted: list[float]) -> None:
    places = apart(wanted, 15, 200)
    ordered = sorted(range(len(wanted)), key=lambda i: wanted[i])
    gaps = [places[b] - places[a] for a, b in pairwise(ordered)]
    assert all(gap >= 15 - 1e-6 for gap in gaps)
    if len(wanted) <= 13:
        assert all(-1e-6 <= place <= 200 + 1e-6 for place in places)


def test_names_that_do_not_touch_stay_where_they_are() -> None:
    assert apart([10.0, 100.0, 50.0], 15, 200) == [10.0, 100.0, 50.0]


def test_the_front_is_what_none_beats_in_both() -> None:
    spots = [
        Spot("cheap", 0, 1.0, 2.0), Spot("dominated", 1, 3.0, 2.1), Spot("good", 2, 2.0, 1.5),
        Spot("as good", 3, 4.0, 1.5), Spot("best", 4, 9.0, 1.0), Spot("unsure", 5, 0.1, 0.1, sure=False),
    ]  # fmt: skip
    assert [spot.name for spot in front(spots)] == ["cheap", "good", "best"]
    drawn = against_cost(spots, title="t", unit="u", marks_of=time_marks)
    assert "On the front, from the cheapest on: cheap, good, best" in drawn
    assert drawn.count("hollow") == 2
    assert drawn.count("×") == 1


def test_costs_that_are_all_alike_are_not_drawn_from_0() -> None:
    far = [Spot("a", 0, 1.0, 2.0), Spot("b", 1, 9.0, 1.0)]
    near = [Spot("a", 0, 8.0, 2.0), Spot("b", 1, 9.0, 1.0)]
    assert "not from 0" not in against_cost(far, title="t", unit="u", marks_of=time_marks)
    assert "u, not from 0 on" in against_cost(near, title="t", unit="u", marks_of=time_marks)


def test_an_axis_has_round_marks_in_a_fitting_unit() -> None:
    assert time_marks(0, 600) == [
        (0.0, "0 min"),
        (150.0, "2.5 min"),
        (300.0, "5.0 min"),
        (450.0, "7.5 min"),
        (600.0, "10.0 min"),
    ]
    assert [words for _, words in memory_marks(4.0e9, 5.0e9)] == ["4.00 GB", "4.25 GB", "4.50 GB", "4.75 GB", "5.00 GB"]
    assert step_marks(0, 3) == [(0, "0"), (1, "1"), (2, "2"), (3, "3")]


def test_a_short_line_beside_a_long_one_is_drawn_within_the_figure() -> None:
    """Three steps are less than a tenth of sixty: they are no beginning that may be cut off."""

    def heights(lines: Sequence[Line], series: int) -> list[float]:
        figure = overlaid(lines, AXES[0], title="t", unit="u")
        (drawn,) = re.findall(rf'<path d="M([^"H]*)" class="line s{series}"/>', figure)
        return [float(at.split()[1]) for at in drawn.split("L")]

    def line(name: str, series: int, steps: Sequence[int], start: float) -> Line:
        values = [(step, start - 0.01 * step) for step in steps]
        return Line(name, series, [Point(step, step, step, v, v, v) for step, v in values])

    short, long = line("short", 0, (1, 2, 3), 6.0), line("long", 1, range(1, 61), 3.0)
    for lines in ([short, long], [long, short]):
        assert [0 <= at <= 1000 for at in heights(lines, 0)] == [True] * 3
        assert [0 <= at <= 1000 for at in heights(lines, 1)] == [True] * 60
    # the first of 60 steps is a beginning: it alone is cut off
    steep = Line("steep", 1, [Point(1, 1, 1, 90.0, 90.0, 90.0), *long.points[1:]])
    assert [0 <= at <= 1000 for at in heights([short, steep], 1)] == [False] + [True] * 59


def test_a_lines_only_point_is_within_the_figure() -> None:
    alone = Line("alone", 0, [Point(0, 0, 0, 9.0, 9.0, 9.0)])
    long = Line("long", 1, [Point(n, n, n, 2.0, 2.0, 2.0) for n in range(1, 61)])
    figure = overlaid([alone, long], AXES[0], title="t", unit="u")
    (height,) = re.findall(r'<path d="M\S+ (\S+)" class="line s0"/>', figure)
    assert 0 <= float(height) <= 1000


def test_lines_end_at_their_names_and_shorter_ones_go_on_faintly() -> None:
    def line(name: str, series: int, seconds: float) -> Line:
        return Line(
            name, series, [Point(n, n, n * seconds, 2.0 - n / 10, 1.9 - n / 10, 2.1 - n / 10) for n in range(4)]
        )

    lines = [line("quick", 0, 1.0), line("slow", 1, 2.0)]
    by_steps, _, by_time = (overlaid(lines, axis, title="t", unit="u") for axis in AXES)
    assert by_steps.count("line on") == 0
    assert by_time.count("line on s0") == 1
    assert by_time.count('class="seeds') == 2
    for figure in (by_steps, by_time):
        assert ">quick</span>" in figure
        assert ">slow</span>" in figure
