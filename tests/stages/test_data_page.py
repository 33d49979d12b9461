"""What the report says of the data, before and after training, and the figures as files."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from html import unescape
from pathlib import Path
from typing import Any

import fixture_run
import pytest
from fixture_data import HOSTILE
from fixture_page import page_of
from hypothesis import given
from hypothesis import strategies as st

from assay.core.files import read_json, write_json
from assay.core.guard import record
from assay.core.rundir import RunDir
from assay.data.advice import ALL_WELL, advise
from assay.stages.compare import data_page, plots_data
from assay.stages.compare.plots_data import Histogram, figures, write_plots
from assay.stages.compare.words import share


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Chats that were prepared and not trained on."""
    found: RunDir = fixture_run.make_run(tmp_path, until="prepare")
    fixture_run.fixture_data.write_chats(found)
    return found


def said(run: RunDir) -> str:
    return unescape(page_of(run).text).replace("\u00a0", " ")


def section(run: RunDir) -> str:
    return said(run).split("What was read, what became of it", 1)[1].split("Automatic checks.", 1)[0]


def test_a_prepared_run_reads_as_one(run: RunDir) -> None:
    text = said(run)
    assert text.startswith(" Prepared · bard")
    assert "Prepared, not trained yet" in text
    assert "900 texts in 900 groups" in text
    assert "Nothing is measured yet" in text
    for absent in ("No verdict", "Base against tuned", "Each held-out group", "Training loss", "Side by side"):
        assert absent not in text
    assert "Results Groups" not in text


def test_a_failed_guard_is_no_prepared_run(run: RunDir) -> None:
    run.guards.add(record("split-leak", "fail", "12 of 32 held-out texts also stand in training"))
    text = said(run)
    assert "Prepared, not trained yet" not in text
    assert "No verdict: the validity guard split-leak failed." in text


def test_advice_stands_first_and_whole(run: RunDir) -> None:
    found = advise(read_json(run.manifest), read_json(run.profile), read_json(run.tokens_profile))
    text = section(run)
    assert len(found) > 8
    places = [text.index(" ".join(a["what"].split())[1:]) for a in found]
    assert places == sorted(places)
    assert places[-1] < text.index("Rows read")
    for a in found:
        assert " ".join(a["fix"].split()) in text
        assert a["why"][1:] in text


def test_where_nothing_is_to_change_that_is_said(run: RunDir, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_page, "advise", lambda *_: [])
    assert ALL_WELL in section(run)
    assert "What to change" not in section(run)


def test_every_row_and_text_is_accounted_for(run: RunDir) -> None:
    manifest, text = read_json(run.manifest), section(run)
    for key, label in (("rows", "Rows read"), ("items", "Texts")):
        tally = manifest[key]
        assert tally["in"] == tally["kept"] + sum(tally["dropped"].values())
        end = "what was dropped" if key == "rows" else "Groups and splits"
        table = text.split(f"{label}: what was dropped", 1)[1].split(end)[0]
        for reason, amount in tally["dropped"].items():
            assert f"{reason}{amount}{share(amount / tally['in'])}".replace("\u00a0", " ") in table
            for example in tally["examples"][reason]:
                assert example["where"] in table
        assert f"of {tally['in']:,} in all" in table


def test_what_was_read_and_how_it_was_divided(run: RunDir) -> None:
    text = section(run)
    for words in (
        "chats.jsonl.gz", "4.4 MB", "sharegpt (the column conversations holds lists of from and value)",
        "messages: conversations", "id, service", "each row stands for itself", "encoding repaired in 12",
        "Training640640", "Development6060", "Held-out test200200", "Shares by service", "bus160 (73 %)",
    ):  # fmt: skip
        assert words in text


def test_passages_and_pairs_are_shown(run: RunDir) -> None:
    text = section(run)
    for words in (
        "61 texts nearly equal to one, were dropped", "80 % or more of their runs of five words", "40 clusters",
        "by the window, at nine", "2 of 260 held-out texts", "a long passage", "I would like to I would like to",
        "541 rows of bench.jsonl were compared with every training text: 1 training text shared passages",
        "bench.jsonl:17", "to the mayor of the town",
    ):  # fmt: skip
        assert words in text


def test_the_model_s_view(run: RunDir) -> None:
    text, page = section(run), page_of(run)
    train = read_json(run.tokens_profile)["splits"]["train"]
    limit = f"cut at 256: {share(train['cut']['max_length'])}".replace("\u00a0", " ")
    assert limit in text
    assert any(tag == "line" and a.get("class") == "least" for tag, a in page.tags)
    for words in ("<|im_end|> in 3", "200 of 200 texts", "94.1 %", "25 % (", "41 tokens, 17 of them learned", "2.1 %"):
        assert words in text
    assert sum(tag == "mark" and a.get("class") == "learned" for tag, a in page.tags) == 1 + 3
    assert "assistant" in text.split("Who speaks", 1)[1]


def test_texts_of_users_are_escaped_and_made_visible(run: RunDir) -> None:
    html = (page_of(run), run.report.read_text(encoding="utf-8"))[1]
    assert "<script" not in html
    assert section(run).count(HOSTILE) >= 5
    for words in ("⟨U+0000⟩", "⟨U+200B⟩", "→", "↵"):
        assert words in section(run)
    assert re.search("[\x00-\x08\u200b\ufeff]", html) is None


def test_without_a_tokenizer_that_is_said(run: RunDir) -> None:
    run.tokens_profile.unlink()
    text = section(run)
    assert "Not counted in tokens" in text
    assert "Rows cut" not in text
    assert "Learned" not in text.split("Groups and splits")[1].split("Lengths")[0]


def test_a_record_without_rows_shows_none(run: RunDir) -> None:
    run.guards.add(record("supervision", "pass", "all rows teach something", measured={"rows": 640}))
    assert "Rows as the loss sees them" not in section(run)


def test_a_very_long_row_is_cut(run: RunDir) -> None:
    row = f"row 1: 9 tokens, 8 of them learned\n{'a ' * 1900}[[{'b ' * 1900}]] [[c]]"
    run.guards.add(record("supervision", "pass", "all rows teach something", measured={"shown": [row]}))
    page = page_of(run)
    assert page.text.count("b ") < 1000
    assert "… (cut here)" in page.text


def test_kept_duplicates_are_not_said_to_be_dropped(run: RunDir) -> None:
    manifest, profile = read_json(run.manifest), read_json(run.profile)
    manifest["items"]["dropped"] = {}
    manifest["near_duplicates"] = None
    profile["splits"]["train"]["exact_duplicates"] = 3
    write_json(run.manifest, manifest)
    write_json(run.profile, profile)
    text = section(run)
    assert "No text was dropped because it repeats another one. 3 texts equal to another one of the same split" in text
    assert "Nearly equal texts were not searched for." in text


@pytest.mark.parametrize("manifest", [{}, {"schema": 2, "splits": {}, "rows": {"in": 3, "kept": 3, "dropped": {}}}])
def test_little_is_shown_as_little(run: RunDir, manifest: dict[str, Any]) -> None:
    write_json(run.manifest, manifest)
    write_json(run.profile, {})
    run.tokens_profile.unlink()
    assert "not recorded" in section(run)
    assert "None" not in section(run)


def test_plain_texts_have_no_turns_and_one_figure_per_split(tmp_path: Path) -> None:
    run: RunDir = fixture_run.make_run(tmp_path)
    text = section(run)
    assert "Who speaks" not in text
    assert "The base may have read this text." in text
    assert [figure.name for figure in figures(read_json(run.profile), None)] == [
        "bytes-train",
        "bytes-dev",
        "bytes-test",
    ]


SVG = "{http://www.w3.org/2000/svg}"
EDGES = st.lists(st.integers(0, 10_000), min_size=2, max_size=25, unique=True).map(sorted)


@given(EDGES, st.floats(0, 10_000))
def test_places_on_the_axis_follow_the_edges(edges: list[int], value: float) -> None:
    figure = Histogram("h", "H", "", "bytes", edges, [1] * (len(edges) - 1))
    places = [figure.at(edge) for edge in edges]
    assert places == pytest.approx([n / (len(edges) - 1) for n in range(len(edges))])
    assert 0 <= figure.at(value) <= 1
    assert all((figure.at(value) <= place) == (value <= edge) for edge, place in zip(edges, places, strict=True) if
               edges[0] <= value <= edges[-1])  # fmt: skip
    marks = figure.marks()
    assert 2 <= len(marks) <= 5 or len(edges) == 2
    assert all(0 <= place <= 1 for place, _ in marks)


@given(EDGES, st.data())
def test_a_drawing_is_sound_whatever_the_counts(edges: list[int], data: st.DataObject) -> None:
    counts = data.draw(st.lists(st.integers(0, 10**6), min_size=len(edges) - 1, max_size=len(edges) - 1))
    limit = data.draw(st.none() | st.integers(0, 20_000))
    drawing = ET.fromstring(plots_data._file(Histogram("h", "<b>", "&", "tokens", edges, counts, limit, "cut")))
    heights = [float(rect.get("height") or 0) for rect in drawing.iter(f"{SVG}rect") if rect.get("height") != "100%"]
    assert all(0 <= height <= plots_data._BOTTOM - plots_data._TOP for height in heights)
    assert (max(heights) == plots_data._BOTTOM - plots_data._TOP) == (max(counts) > 0)
    assert len(list(drawing.iter(f"{SVG}g"))) == len(counts)


def test_the_figures_are_written_as_files(run: RunDir, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    profile, tokens = read_json(run.profile), read_json(run.tokens_profile)
    names = ["bytes-train", "bytes-dev", "bytes-test", "tokens-train", "turns"]
    written = write_plots(tmp_path / "one", profile, tokens)
    assert [path.name for path in written] == [f"{name}{end}" for name in names for end in (".svg", ".png")]
    for path, again in zip(written, write_plots(tmp_path / "two", profile, tokens), strict=True):
        assert path.read_bytes() == again.read_bytes()
        if path.suffix == ".png":
            assert path.read_bytes().startswith(b"\x89PNG")
        else:
            assert ET.fromstring(path.read_text(encoding="utf-8")).tag == f"{SVG}svg"


def test_without_matplotlib_the_svg_files_are_written(
    run: RunDir, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plots_data, "installed", lambda _: False)
    written = write_plots(tmp_path / "plots", json.loads(run.profile.read_text()), None)
    assert {path.suffix for path in written} == {".svg"}
    assert {path.name for path in (tmp_path / "plots").iterdir()} == {path.name for path in written}
