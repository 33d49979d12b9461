"""The story of an experiment: in order, with what changed, and never two scales in one picture."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixture_page import Page

from assay.core.errors import InputError
from assay.core.files import read_json, write_json
from assay.core.guard import record
from assay.core.ledger import Ledger, Query
from assay.core.rundir import RunDir
from assay.stages.compare import history

Make = Callable[..., RunDir]
HOSTILE = "<script>alert(1)</script> | `x` *y* [z](http://x)"


@pytest.fixture
def version(make_run: Make) -> Callable[..., RunDir]:
    """Makes a run, newer than those before it, whose rank, test texts and numbers are given."""
    made: list[RunDir] = []

    def make(until: str = "report", rank: int = 4, test: str = "a", gain: float = 0.1, **settings: str) -> RunDir:
        number = len(made) + 1
        run = make_run(number=number, until=until)
        made.append(run)
        text = run.resolved.read_text().replace("rank: 4", f"rank: {rank}")
        for key, value in settings.items():
            text = re.sub(rf"^( *){key}: .*$", rf"\1{key}: {value}", text, flags=re.MULTILINE)
        run.resolved.write_text(text)
        events = run.events.read_text()
        run.events.write_text(re.sub(r'"time": "[^"]*"', f'"time": "2026-01-0{number}T12:00:00+00:00"', events))
        if run.summary.exists():
            change(
                run.summary, settings={"window": 512},
                difference={"mean": gain, "low": gain - 0.01, "high": gain + 0.02, "base_mean": 1.3, "n_groups": 8},
            )  # fmt: skip
        manifest = read_json(run.manifest)
        manifest["splits"]["test"]["sha256"] = test
        write_json(run.manifest, manifest)
        return run

    return make


def change(path: Path, **new: Any) -> None:
    write_json(path, read_json(path) | new)


def story(runs: Path) -> list[history.Version]:
    return history.versions(Ledger(runs).select(Query(reverse=True), settings=True).rows)


def written(runs: Path) -> tuple[Page, str]:
    page, text = history.write_history(runs, "bard")
    assert (page, text) == (runs / "bard" / "history.html", runs / "bard" / "history.md")
    return Page(page.read_text(encoding="utf-8")), text.read_text(encoding="utf-8")


def test_versions_in_order_with_what_changed(version: Callable[..., RunDir], tmp_path: Path) -> None:
    version()
    version(rank=8, temperature="0.9")
    again = version(rank=8, temperature="0.9")
    other = version(rank=8, temperature="0.9")
    change(again.identity, data={"content": {"files": ["new"]}})
    change(other.identity, data={"content": {"files": ["new"]}})
    manifest = read_json(again.manifest)
    manifest["splits"]["train"]["items"] = 1300
    write_json(again.manifest, manifest)
    write_json(other.manifest, manifest)
    found = story(tmp_path / "runs")
    assert [v.name for v in found] == ["v1", "v2", "v3", "v4"]
    assert [v.changes for v in found] == [
        [],
        ["adapter.rank 4 → 8", "evaluate.decoding.temperature 0.5 → 0.9"],
        ["what the data files hold", "training texts 20 → 1,300"],
        ["nothing: the same settings and the same data"],
    ]
    assert found[1].cost == ["8 s in all", "3 min 28 s of training steps", "3.1 GB at the peak"]
    assert found[1].amount == "+0.100 (0.090 to 0.120)"


def test_results_of_every_kind(version: Callable[..., RunDir], tmp_path: Path) -> None:
    version()
    version(until="plan").event("stopped", kind="MachineError", why="not enough memory")
    version().guards.add(record("adapter-effect", "fail", "the adapter does nothing"))
    version(until="train")
    found = story(tmp_path / "runs")
    assert [history.word(v.row)[0] for v in found] == ["Better", "Failed", "No verdict", "Not finished"]
    assert [v.result for v in found] == [
        "better by 0.097 bits per byte",
        "not enough memory",
        "the validity guard adapter-effect failed: the adapter does nothing",
        "not finished: it stopped after the stage train",
    ]
    # numbers that are not to be trusted stand nowhere, not even in the picture
    assert [v.amount != "" for v in found] == [True, False, False, False]
    assert [v.texts for v in found] == ["A", None, None, None]
    page, text = written(tmp_path / "runs")
    for words in ("4 versions from 2026-01-01 to 2026-01-04", "1 better, 1 failed, 1 no verdict, 1 not finished"):
        assert words in page.text
        assert words in text
    assert page.section("scores").count("v1") == 1
    assert "v3" not in page.section("scores")


def test_other_test_texts_are_on_another_scale(version: Callable[..., RunDir], tmp_path: Path) -> None:
    version(test="a")
    version(test="a", rank=8)
    version(test="b", gain=0.5)
    version(test="a", rank=16)
    found = story(tmp_path / "runs")
    assert [v.texts for v in found] == ["A", "A", "B", "A"]
    assert [bool(v.notes) for v in found] == [False, False, True, True]
    assert found[2].notes[0].startswith("test texts B: not those of v1, v2, or not scored in the same way.")
    assert "not those of v3" in found[3].notes[0]
    page, text = written(tmp_path / "runs")
    shown = page.section("scores")
    assert "Test texts A" in shown
    assert "Test texts B" in shown
    assert shown.index("v4") < shown.index("Test texts B") < shown.index("v3")
    assert len([tag for tag, _ in page.tags if tag == "figure"]) == 2
    assert "(test texts B)" in text


def test_one_scale_needs_no_letters(version: Callable[..., RunDir], tmp_path: Path) -> None:
    version()
    version(rank=8)
    page, text = written(tmp_path / "runs")
    assert "Test texts A" not in page.text
    assert "test texts A" not in text


def test_a_version_whose_test_texts_are_not_known_is_not_drawn(version: Callable[..., RunDir], tmp_path: Path) -> None:
    run = version()
    manifest = read_json(run.manifest)
    del manifest["splits"]["test"]["sha256"]
    write_json(run.manifest, manifest)
    (found,) = story(tmp_path / "runs")
    assert found.texts is None
    assert "stands on no scale" in found.notes[0]
    page, _ = written(tmp_path / "runs")
    assert "scores" not in page.sections


def test_the_picture_places_base_tuned_and_interval() -> None:
    row = {"base_mean": 1.3, "difference": 0.1, "low": 0.09, "high": 0.12, "variant": None}
    one = history.Version("v1", row, [], "A", "", "+0.1", [], [])
    figure = str(history.plot([one]))
    assert "base 1.3000, tuned 1.2000, 1.1800 to 1.2100" in figure
    # 1.18 to 1.3 with 6 % of that on both sides, on 2 to 98 per cent of the width
    place = [round(2 + 96 * (value - (1.18 - 0.0072)) / (0.12 * 1.12), 2) for value in (1.18, 1.21, 1.2, 1.3)]
    left, right, tuned, base = place
    assert f'<line x1="{left}%" x2="{right}%" y1="15" y2="15" class="mean-bar"/>' in figure
    assert f'<circle cx="{tuned}%" cy="15" r="5" class="dot"/>' in figure
    assert f'<circle cx="{base}%" cy="15" r="4.5" class="base-dot"/>' in figure
    assert history.plot([history.Version("v1", row | {"base_mean": None}, [], "A", "", "+0.1", [], [])]) is None


def test_sweeps_and_shared_machines_are_told(version: Callable[..., RunDir], tmp_path: Path) -> None:
    run = version()
    stages = read_json(run.stages)
    stages["evaluate"]["others"] = 0.9
    write_json(run.stages, stages)
    run.event("joined", varied={"sweep": "s1", "variant": "rank=8", "factors": {"rank": "8"}})
    (found,) = story(tmp_path / "runs")
    assert found.notes == ["part of the sweep s1: rank=8"]
    assert found.cost[-1] == "times not comparable: it shared the machine"


def test_hostile_texts_stay_texts(version: Callable[..., RunDir], tmp_path: Path) -> None:
    version()
    version(source=f'"{HOSTILE}"')
    run = version(until="plan")
    run.event("stopped", why=HOSTILE + "\n\n# heading")
    page, text = written(tmp_path / "runs")
    assert "script" not in [tag for tag, _ in page.tags]
    assert page.text.count("<script>alert(1)</script>") >= 2
    assert "<script>" not in text
    assert "\n# heading" not in text
    (line,) = [line for line in text.splitlines() if "**v3**" in line]
    assert len(re.findall(r"(?<!\\)\|", line)) == 6  # five cells


def test_the_page_needs_no_network_and_links_only_to_pages_that_are_there(
    version: Callable[..., RunDir], tmp_path: Path
) -> None:
    run = version()
    version(until="plan")
    page, _ = written(tmp_path / "runs")
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == [f"{run.path.name}/report.html"]
    assert (tmp_path / "runs" / "bard" / str(links[0])).is_file()
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in page.tags}


def test_writing_it_again_gives_the_same_bytes(version: Callable[..., RunDir], tmp_path: Path) -> None:
    version()
    first = [file.read_bytes() for file in history.write_history(tmp_path / "runs", "bard")]
    assert [file.read_bytes() for file in history.write_history(tmp_path / "runs", "bard")] == first
    assert len(Ledger(tmp_path / "runs").rows()) == 1  # the files are no runs


def test_an_unknown_experiment_is_told_with_the_nearest(version: Callable[..., RunDir], tmp_path: Path) -> None:
    version()
    with pytest.raises(InputError, match="no run of an experiment named 'brad'") as caught:
        history.write_history(tmp_path / "runs", "brad")
    assert caught.value.fix == "did you mean bard?"


def test_letters_go_on_after_z() -> None:
    assert [history._letter(n) for n in (0, 25, 26, 27, 701, 702)] == ["A", "Z", "AA", "AB", "ZZ", "AAA"]
