"""Rating sheets: blind, safe in spreadsheets, checked against their key, and read back from what spreadsheets save."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.core.files import read_json, read_lines, write_json, write_lines
from assay.core.rundir import RunDir
from assay.stages.evaluate import rating as module
from assay.stages.evaluate.anchors import Anchor
from assay.stages.evaluate.pairs import check_rating
from assay.stages.evaluate.rating import rated, read_ratings, write_rating_sheet

Row = dict[str, str]
Fill = Callable[[Row, dict[str, Any]], Row | None]


def make_run(folder: Path, prompts: int = 20, arms: tuple[str, ...] = ("base",), **texts: str) -> RunDir:
    run = RunDir(folder / "run")
    write_lines(
        run.generations,
        [
            {"prompt": f"Prompt {i}", "seed": i, "tuned": f"tuned {i} „ü“\nline"}
            | {arm: f"{arm} {i}" for arm in arms}
            | texts
            for i in range(prompts)
        ],
    )
    return run


def key_of(run: RunDir) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = read_json(run.rating_key)["rows"]
    return rows


def rows_of(sheet: Path) -> list[Row]:
    return list(csv.DictReader(io.StringIO(sheet.read_bytes().decode("utf-8-sig"), newline=""), delimiter=";"))


def save(
    sheet: Path, rows: list[Row], *, delimiter: str = ";", encoding: str = "utf-8-sig", ends: str = "\r\n"
) -> Path:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), delimiter=delimiter, lineterminator=ends)
    writer.writeheader()
    writer.writerows(rows)
    sheet.write_bytes(text.getvalue().encode(encoding, "replace"))
    return sheet


def fill(run: RunDir, blank: Path, to: Path, answer: Fill, **form: Any) -> Path:
    """A copy of the blank sheet with answers."""
    entries = {str(entry["number"]): entry for entry in key_of(run)}
    rows = [answer(row, entries[row["number"]]) for row in rows_of(blank)]
    return save(to, [row for row in rows if row is not None], **form)


def prefers(arm: str) -> Fill:
    def answer(row: Row, entry: dict[str, Any]) -> Row:
        return row if "anchor" in entry else {**row, "preference": "1" if entry["first"] == arm else "2"}

    return answer


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    return make_run(tmp_path)


@pytest.fixture
def blank(run: RunDir, tmp_path: Path) -> Path:
    write_rating_sheet(run, tmp_path / "blank.csv", seed=5)
    return tmp_path / "blank.csv"


# the sheet


def test_the_sheet_is_blind_balanced_and_repeats_late(run: RunDir, blank: Path) -> None:
    raw = blank.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf")
    assert b"\r\n" in raw
    rows, key = rows_of(blank), key_of(run)
    assert [row["number"] for row in rows] == [str(i) for i in range(1, 26)]
    assert list(rows[0]) == ["number", "prompt", "text_1", "text_2", "preference"]
    assert {row["preference"] for row in rows} == {""}
    head = raw.decode("utf-8-sig").splitlines()[0]
    assert not any(word in head for word in ("tuned", "base", "seed", "repeat"))
    originals = [entry for entry in key if not entry["repeat"]]
    assert Counter(entry["first"] for entry in originals) == {"tuned": 10, "base": 10}
    assert [entry["first"] for entry in originals] != sorted(entry["first"] for entry in originals)
    shown = {entry["pair"]: entry for entry in originals}
    repeats = [entry for entry in key if entry["repeat"]]
    assert len(repeats) == 5
    for entry in repeats:
        assert entry["first"] == shown[entry["pair"]]["second"]
        assert entry["number"] > shown[entry["pair"]]["number"]
        assert entry["number"] > 10
    for row, entry in zip(rows, key, strict=True):
        assert row["text_1"].removeprefix("'").startswith(entry["first"])
        assert row["text_2"].removeprefix("'").startswith(entry["second"])


@pytest.mark.parametrize(("prompts", "rows"), [(1, 2), (3, 6), (10, 15), (50, 55), (120, 132)])
def test_a_tenth_comes_again_at_least_five(tmp_path: Path, prompts: int, rows: int) -> None:
    assert write_rating_sheet(make_run(tmp_path, prompts), tmp_path / "s.csv") == rows


def test_the_seed_is_nobody_elses_and_not_in_the_sheet(tmp_path: Path) -> None:
    seeds = set()
    for name in "ab":
        run = make_run(tmp_path / name)
        write_rating_sheet(run, tmp_path / f"{name}.csv")
        seeds.add(read_json(run.rating_key)["seed"])
    assert len(seeds) == 2
    assert not any(str(seed).encode() in (tmp_path / "a.csv").read_bytes() for seed in seeds)


def test_a_further_copy_is_the_same_sheet(run: RunDir, blank: Path, tmp_path: Path) -> None:
    write_rating_sheet(run, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == blank.read_bytes()


def test_answers_are_never_written_over(run: RunDir, blank: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already there"):
        write_rating_sheet(run, blank)
    with pytest.raises(InputError, match="another sheet was written before"):
        write_rating_sheet(run, tmp_path / "stars.csv", stars=True)
    assert not (tmp_path / "stars.csv").exists()


def test_equal_texts_are_not_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path, 3, tuned="same", base="same")
    with pytest.raises(InputError, match="nothing to compare"):
        write_rating_sheet(run, tmp_path / "s.csv")


def test_a_cell_that_a_spreadsheet_would_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="32,767"):
        write_rating_sheet(make_run(tmp_path, 1, tuned="x" * 33_000), tmp_path / "s.csv")


@pytest.mark.parametrize(
    "text", ["=1+1", "+1", "-1", "@SUM(A1)", "  =1", "\t=cmd|'/c calc'!A0", "\r\n=1", "\uff1d1", "\x00=1"]
)
def test_no_cell_begins_a_formula(tmp_path: Path, text: str) -> None:
    run = make_run(tmp_path, 2, tuned=text)
    write_rating_sheet(run, tmp_path / "s.csv")
    cells = [cell for row in rows_of(tmp_path / "s.csv") for cell in row.values()]
    assert not any(cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d")) for cell in cells)
    assert not any(c in cell for cell in cells for c in "\x00\r")
    found = read_ratings(run, [fill(run, tmp_path / "s.csv", tmp_path / "anna.csv", prefers("tuned"))])
    assert found["comparisons"][0]["wins"] == 2


@given(st.text())
def test_a_cell_keeps_its_words_whatever_a_spreadsheet_does_to_blanks(text: str) -> None:
    cell = module._cell(text)
    assert module._cell(cell) == cell or cell.startswith("'")
    assert module._hash(f" {cell}\n".replace("\n", "\r\n")) == module._hash(cell)
    assert not cell.lstrip().startswith(("=", "+", "-", "@"))
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=";", quoting=csv.QUOTE_ALL).writerow([cell])
    assert next(csv.reader(io.StringIO(buffer.getvalue(), newline=""), delimiter=";")) == [cell]


# reading it


def test_a_sheet_comes_to_the_same_record_as_a_judges(run: RunDir, blank: Path, tmp_path: Path) -> None:
    record = read_ratings(run, [fill(run, blank, tmp_path / "anna.csv", prefers("tuned"))])
    assert record == read_json(run.ratings)
    json.dumps(record, allow_nan=False)
    (found,) = record["comparisons"]
    assert (found["wins"], found["ties"], found["losses"], found["pairs"], found["twice"]) == (20, 0, 0, 20, 5)
    assert (found["consistency"]["mean"], found["blind"]) == (1.0, True)
    assert (record["raters"], record["unanswered"], record["stars"]) == (["anna"], 0, None)
    assert record["raters_agree"]["alpha"] is None
    assert check_rating(run).status == "warn"  # 20 pairs


@pytest.mark.parametrize(
    "form",
    [
        {"delimiter": ",", "encoding": "utf-8"},
        {"delimiter": ";", "encoding": "utf-8-sig", "ends": "\n"},
        {"delimiter": "\t", "encoding": "utf-16"},
        {"delimiter": ";", "encoding": "cp1252"},
    ],
)
def test_what_spreadsheets_save_is_read(run: RunDir, blank: Path, tmp_path: Path, form: dict[str, str]) -> None:
    words = iter(["1", " 2 ", "TIE", "Tie", "1.0", "2,00", "1"] * 4)

    def answer(row: Row, entry: dict[str, Any]) -> Row:
        changed = {name: cell.replace("\n", "\r\n") + " " for name, cell in row.items()}
        return {**changed, "preference": next(words), "my notes": "?"}

    found = rated(run, [fill(run, blank, tmp_path / "anna.csv", answer, **form)])
    assert Counter(j.choice for j in found.judgements) == Counter(
        (["first", "second", "tie", "tie", "first", "second", "first"] * 4)[:25]
    )


def test_rows_may_be_sorted_and_left_empty(run: RunDir, blank: Path, tmp_path: Path) -> None:
    rows = [{**row, "preference": "tie" if i < 7 else ""} for i, row in enumerate(reversed(rows_of(blank)))]
    rows.append(dict.fromkeys(rows[0], ""))
    record = read_ratings(run, [save(tmp_path / "anna.csv", rows)])
    assert (record["answers"], record["unanswered"]) == (7, 18)


def test_a_rater_who_takes_the_first_fails_the_guard(run: RunDir, blank: Path, tmp_path: Path) -> None:
    sheet = fill(run, blank, tmp_path / "anna.csv", lambda row, entry: {**row, "preference": "1"})
    (found,) = read_ratings(run, [sheet])["comparisons"]
    assert (found["consistency"]["mean"], found["first_share"]["mean"]) == (0.0, 1.0)
    assert check_rating(run).status == "fail"


def test_several_raters(run: RunDir, blank: Path, tmp_path: Path) -> None:
    sheets = [
        fill(run, blank, tmp_path / f"{name}.csv", prefers(arm)) for name, arm in (("anna", "tuned"), ("ben", "base"))
    ]
    record = read_ratings(run, sheets)
    (found,) = record["comparisons"]
    assert (found["wins"], found["losses"], found["pairs"], found["rate"]["mean"]) == (20, 20, 20, 0.5)
    # two raters who never agree, over 20 units: observed 1, expected 40·40/2 of 40·39/2
    assert record["raters_agree"]["alpha"] == pytest.approx(1 - 39 / 20)
    with pytest.raises(InputError, match="two sheets are called 'anna'"):
        rated(run, [sheets[0], tmp_path / "other" / "anna.csv"])


def test_stars_with_anchors(tmp_path: Path) -> None:
    run, blank = make_run(tmp_path), tmp_path / "blank.csv"
    anchors = [Anchor("A poor text.", 1), Anchor("A fair text.", 3), Anchor("A fine text.", 4)]
    write_rating_sheet(run, blank, anchors=anchors)
    rows = rows_of(blank)
    assert {row["text_1"] for row in rows[:3]} == {anchor.text for anchor in anchors}
    assert {row["text_2"] for row in rows[:3]} == {""}

    def stars(shift: int) -> Fill:
        def answer(row: Row, entry: dict[str, Any]) -> Row:
            if "anchor" in entry:
                return {**row, "stars_1": str(entry["anchor"] + shift)}
            one, two = ("4", "2") if entry["first"] == "tuned" else ("2", "4")
            return {**row, "stars_1": str(int(one) + shift), "stars_2": str(int(two) + shift), "preference": "tie"}

        return answer

    sheets = [fill(run, blank, tmp_path / f"{name}.csv", stars(shift)) for name, shift in (("anna", 0), ("ben", 1))]
    found = read_ratings(run, sheets)["stars"]
    assert found["shifts"] == {"anna": 0.0, "ben": 1.0}
    assert {arm: one["mean"] for arm, one in found["arms"].items()} == {"tuned": 4.5, "base": 2.5}
    assert {arm: one["mean"] for arm, one in found["corrected"].items()} == {"tuned": 4.0, "base": 2.0}
    assert found["beyond"]["base"]["mean"] == 2.0
    assert found["raters_agree"]["alpha"] < 1
    alone = read_ratings(run, [fill(run, blank, tmp_path / "eve.csv", lambda row, entry: {**row, "stars_2": "3"})])[
        "stars"
    ]
    assert alone["corrected"] is None
    assert "anchor" in alone["reason"]


def test_an_anchor_beyond_the_scale(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="anchor has 6 stars"):
        write_rating_sheet(run, tmp_path / "s.csv", anchors=[Anchor("x", 6)])


def test_three_arms(tmp_path: Path) -> None:
    run, blank = make_run(tmp_path, arms=("base", "prompt_only")), tmp_path / "blank.csv"
    assert write_rating_sheet(run, blank) == 45

    def answer(row: Row, entry: dict[str, Any]) -> Row:
        return {**row, "preference": "1" if entry["first"] == "tuned" and int(row["number"]) % 4 else "2"}

    record = read_ratings(run, [fill(run, blank, tmp_path / "anna.csv", answer)])
    assert [found["against"] for found in record["comparisons"]] == ["base", "prompt_only"]
    assert set(record["strengths"]["chances"]) == {"tuned", "prompt_only"}


# what is wrong with a sheet


def change(at: str, **cells: str) -> Fill:
    def answer(row: Row, entry: dict[str, Any]) -> Row:
        return {**row, "preference": "1", **(cells if row["number"] == at else {})}

    return answer


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (change("3", preference="3"), r"row 3: preference is '3'[\s\S]*write 1, 2 or tie"),
        (change("3", preference="left"), "row 3: preference is 'left'"),
        (change("3", preference="1;2"), "row 3: preference is '1;2'"),
        (change("4", text_1="another text"), r"row 4: text_1 is 'another text'[\s\S]*not the one that was written"),
        (change("4", prompt="Prompt 99"), "row 4: prompt is 'Prompt 99'"),
        (change("4", number="5"), r"row 5"),
        (change("4", number="99"), "number is '99'"),
        (change("4", number=""), "number is ''"),
        (lambda row, entry: row if row["number"] not in ("6", "7") else None, "row 6 is missing, and 1 more"),
        (lambda row, entry: row, "no row is filled in"),
    ],
)  # fmt: skip
def test_a_sheet_that_is_not_as_it_was_written(
    run: RunDir, blank: Path, tmp_path: Path, answer: Fill, message: str
) -> None:
    with pytest.raises(InputError) as caught:
        read_ratings(run, [fill(run, blank, tmp_path / "anna.csv", answer)])
    assert caught.match(message)
    assert "anna.csv" in str(caught.value)
    assert not (run.ratings).exists()


def test_a_doubled_row(run: RunDir, blank: Path, tmp_path: Path) -> None:
    rows = [{**row, "preference": "2"} for row in rows_of(blank)]
    with pytest.raises(InputError, match="row 2 is there twice"):
        read_ratings(run, [save(tmp_path / "anna.csv", [*rows, rows[1]])])


@pytest.mark.parametrize("given", ["0", "6", "3.5", "many", "-1"])
def test_stars_beyond_the_scale(tmp_path: Path, given: str) -> None:
    run, blank = make_run(tmp_path, 2), tmp_path / "blank.csv"
    write_rating_sheet(run, blank, stars=True)
    with pytest.raises(InputError, match="stars_2 is"):
        read_ratings(run, [fill(run, blank, tmp_path / "anna.csv", lambda row, entry: {**row, "stars_2": given})])


def test_an_encoding_that_loses_letters_is_told(run: RunDir, blank: Path, tmp_path: Path) -> None:
    sheet = fill(run, blank, tmp_path / "anna.csv", prefers("tuned"), encoding="ascii")
    with pytest.raises(InputError, match="UTF-8"):
        read_ratings(run, [sheet])


@pytest.mark.parametrize(
    "raw", [b"", b"hello", b"number;prompt\r\n1;x\r\n", b"\x00\xff\x00", b"number;prompt;text_1;text_2"]
)
def test_what_is_no_sheet(run: RunDir, blank: Path, tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "anna.csv").write_bytes(raw)
    with pytest.raises(InputError, match=r"anna\.csv"):
        read_ratings(run, [tmp_path / "anna.csv"])
    with pytest.raises(InputError, match="cannot be read"):
        read_ratings(run, [tmp_path / "nobody.csv"])


def test_a_sheet_of_other_texts(run: RunDir, blank: Path, tmp_path: Path) -> None:
    sheet = fill(run, blank, tmp_path / "anna.csv", prefers("tuned"))
    rows = read_lines(run.generations)
    rows[0]["tuned"] = "generated anew"
    write_lines(run.generations, rows)
    with pytest.raises(InputError, match="generated anew"):
        read_ratings(run, [sheet])


def test_without_a_key(run: RunDir, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no rating sheet was written"):
        read_ratings(run, [tmp_path / "anna.csv"])


def test_one_side_always_first_is_not_blind(run: RunDir, blank: Path, tmp_path: Path) -> None:
    """A sheet and key that somebody has sorted by model: each text's place now tells whose it is."""
    rows, key = rows_of(blank), read_json(run.rating_key)
    for row, entry in zip(rows, key["rows"], strict=True):
        row["preference"] = "1"
        if entry["first"] == "base":
            row["text_1"], row["text_2"] = row["text_2"], row["text_1"]
            entry["first"], entry["second"] = "tuned", "base"
            hashes = entry["sha256"]
            hashes["text_1"], hashes["text_2"] = hashes["text_2"], hashes["text_1"]
    write_json(run.rating_key, key)
    read_ratings(run, [save(tmp_path / "anna.csv", rows)])
    record = check_rating(run)
    assert record.status == "fail"
    assert "not blind" in record.why


def test_few_answers_on_one_side_by_chance_are_blind_all_the_same(run: RunDir, blank: Path, tmp_path: Path) -> None:
    def some(row: Row, entry: dict[str, Any]) -> Row:
        return {**row, "preference": "1" if entry["first"] == "tuned" and not entry["repeat"] else ""}

    read_ratings(run, [fill(run, blank, tmp_path / "anna.csv", some)])
    assert check_rating(run).status == "warn"


@pytest.mark.parametrize("text", ["12.50", "March 5, 2020", "2020-03-05", "1e5", "TRUE", "10:30 PM"])
def test_no_cell_is_taken_for_a_number_or_a_date(tmp_path: Path, text: str) -> None:
    write_rating_sheet(make_run(tmp_path, 1, tuned=text), tmp_path / "s.csv")
    cells = [cell for row in rows_of(tmp_path / "s.csv") for cell in row.values()]
    assert f"'{text}" in cells
    assert text not in cells


def test_the_guard_looks_at_judge_and_people(run: RunDir, blank: Path, tmp_path: Path) -> None:
    assert check_rating(run).status == "skip"
    record = read_ratings(run, [fill(run, blank, tmp_path / "anna.csv", prefers("base"))])
    found = record["comparisons"][0]
    better = {**record, "comparisons": [{**found, "pairs": 60}]}
    write_json(run.judge, better)
    write_json(run.ratings, better)
    guard = check_rating(run)
    assert guard.status == "pass"
    assert "judge, tuned against base: 60 pairs" in guard.why
    assert "people, tuned against base" in guard.why
    assert [r.guard for r in run.guards.records()] == ["rating"]
