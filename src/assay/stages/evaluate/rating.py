"""Blind rating files: pairs of texts that people compare in a spreadsheet, and what their answers come to."""

from __future__ import annotations

import csv
import io
import math
import random
import re
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from assay.core.errors import InputError
from assay.core.files import read_json, sha256_file, sha256_text, write_atomic, write_json
from assay.core.optional import installed, missing
from assay.core.rundir import RunDir
from assay.core.spreadsheet import is_formula, plain
from assay.stages.evaluate.anchors import Anchor
from assay.stages.evaluate.pairs import AGAINST, TUNED, Pair, compare, read_pairs
from assay.stats.intervals import Undefined
from assay.stats.preference import (
    STARS,
    TIE,
    Choice,
    Judgement,
    Stars,
    anchor_shifts,
    corrected,
    krippendorff_alpha,
    outcomes,
    star_difference,
    star_means,
)

TEXTS = ("prompt", "text_1", "text_2")
ANSWERS: dict[str, Choice] = {"1": "first", "2": "second", "tie": TIE}
_LONGEST = 32_000  # characters; spreadsheets cut a cell off at 32,767
_SHORT, _FEW_WORDS = 25, 2  # a cell so short, with a digit in it, may be taken for a number or a date
_REPEATED, _AT_LEAST = 0.1, 5  # pairs shown again with the texts exchanged: this share, but so many at least
_SHOWN = 60  # characters of a wrong value


@dataclass(frozen=True)
class Rated:
    """What people answered: preferences, stars, (rater, stars given, agreed on) of anchors, and rows left empty.

    `shown` holds the (first arm, second arm) of all rows.
    """

    judgements: list[Judgement]
    stars: list[Stars]
    anchors: list[tuple[str, float, float]]
    unanswered: int
    shown: list[tuple[str, str]]


def write_rating_sheet(
    run: RunDir, sheet: Path, *, stars: bool = False, anchors: Sequence[Anchor] = (), seed: int | None = None
) -> int:
    """Write a CSV file to be filled in, and beside the run's texts the key that says which text is whose.

    A row is a pair: number, prompt, text_1, text_2 and an empty `preference` (``1``, ``2`` or ``tie``); with `stars`
    also stars_1 and stars_2 (1 to 5), and the anchors first. Which arm stands first is balanced and drawn at random,
    and a tenth of the pairs (5 at least) comes again later with the texts exchanged. Each rater fills in a copy.

    Args:
        run: with evaluate/generations.jsonl; judged/rating_key.json is written there.
        sheet: the file to write; an existing one is not replaced, for it may hold answers.
        stars: whether texts are also rated on a scale.
        anchors: texts to be rated first, in mixed order; with any of them texts are rated on a scale too.
        seed: of the arrangement; None draws one that raters cannot know. A further copy of a sheet keeps its own.

    Returns:
        The number of rows.

    Raises:
        InputError: no two texts to compare, a text too long for a spreadsheet, an anchor beyond the scale, the sheet is
            already there, or the run's key belongs to a sheet with other rows.
    """
    if sheet.exists():
        raise InputError("the sheet is already there, and may hold answers", where=str(sheet), fix="name another file")
    pairs = [pair for pair in read_pairs(run) if not pair.equal]
    if not pairs:
        raise InputError(
            "there is nothing to compare: all texts of a prompt are equal", where=str(run.generations),
            fix="let guard adapter-effect tell whether the model was trained at all",
        )  # fmt: skip
    stars = stars or bool(anchors)
    wrong = next((anchor for anchor in anchors if not STARS[0] <= anchor.stars <= STARS[1]), None)
    if wrong is not None:
        raise InputError(f"an anchor has {wrong.stars:g} stars: {wrong.text[:_SHOWN]!r}", fix="give 1 to 5 stars")
    old = _read_key(run) if (run.rating_key).exists() else None
    settings = {"generations_sha256": sha256_file(run.generations), "stars": stars,
                "anchors": [[anchor.text, anchor.stars] for anchor in anchors]}  # fmt: skip
    if old is not None and any(old[name] != value for name, value in settings.items()):
        raise InputError(
            "another sheet was written before, of other texts or with other columns: its answers could be read no more",
            where=str(run.rating_key), fix="delete this file to give its answers up",
        )  # fmt: skip
    if old is not None:  # a further copy of the same sheet
        seed = old["seed"]
    chosen = secrets.randbits(64) if seed is None else seed
    rows = _arranged(pairs, anchors, random.Random(chosen))
    _check_lengths(rows)
    write_json(run.rating_key, {"schema": 1, "seed": chosen, **settings, "rows": [row.key for row in rows]})
    write_atomic(sheet, lambda path: path.write_bytes(_csv(rows, stars=stars)))
    return len(rows)


@dataclass(frozen=True)
class _Row:
    """A row's cells as written, and its entry of the key."""

    cells: dict[str, str]
    key: dict[str, Any]


def _arranged(pairs: Sequence[Pair], anchors: Sequence[Anchor], draw: random.Random) -> list[_Row]:
    """The anchors, then the pairs in mixed order; repeats come from the first half and stand in the second."""
    mixed = draw.sample(pairs, len(pairs))
    swaps = draw.sample([i % 2 == 1 for i in range(len(mixed))], len(mixed))
    shown = [(pair, swap, False) for pair, swap in zip(mixed, swaps, strict=True)]
    times = min(len(shown), max(_AT_LEAST, math.ceil(_REPEATED * len(shown))))
    half = max(times, len(shown) // 2)
    again = [(pair, not swap, True) for pair, swap, _ in draw.sample(shown[:half], times)]
    late = draw.sample(shown[half:] + again, len(shown) - half + times)
    rows = [_row(1 + i, "", anchor.text, "", {"anchor": anchor.stars})
            for i, anchor in enumerate(draw.sample(anchors, len(anchors)))]  # fmt: skip
    for pair, swap, repeat in shown[:half] + late:
        first, second = (pair.against, TUNED) if swap else (TUNED, pair.against)
        entry = {"pair": pair.id, "group": pair.group, "first": first, "second": second, "repeat": repeat}
        rows.append(_row(1 + len(rows), pair.prompt, pair.texts[first], pair.texts[second], entry))
    return rows


def _row(number: int, prompt: str, first: str, second: str, entry: dict[str, Any]) -> _Row:
    cells = dict(zip(TEXTS, map(_cell, (prompt, first, second)), strict=True))
    return _Row(cells, {"number": number, **entry, "sha256": {name: _hash(cell) for name, cell in cells.items()}})


def _cell(text: str) -> str:
    """A text that no spreadsheet takes for a formula, a number or a date; without control signs, and with LF."""
    kept = plain(text)
    recast = len(kept) <= _SHORT and (
        kept.strip().casefold() in ("true", "false")
        or (re.search(r"\d", kept) and len(re.findall(r"[^\W\d_]{2,}", kept)) <= _FEW_WORDS)
    )
    return f"'{kept}" if recast or is_formula(kept) else kept


def _hash(cell: str) -> str:
    """Of a cell's words: spreadsheets change line ends and outer blanks, and may swallow the apostrophe in front."""
    return sha256_text(" ".join(cell.strip().removeprefix("'").split()))[:16]


def _check_lengths(rows: Sequence[_Row]) -> None:
    for row in rows:
        for name, cell in row.cells.items():
            if len(cell) > _LONGEST:
                raise InputError(
                    f"{name} of row {row.key['number']} has {len(cell):,} characters, and spreadsheets cut a cell off "
                    "at 32,767",
                    fix="shorten evaluate.prompts or evaluate.decoding.max_new_tokens",
                )


def _columns(stars: bool) -> list[str]:
    return ["number", *TEXTS, "preference", *(("stars_1", "stars_2") if stars else ())]


def _csv(rows: Sequence[_Row], *, stars: bool) -> bytes:
    """UTF-8 with its mark, semicolons and CRLF: what Excel and LibreOffice open without questions."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(
        text, _columns(stars), delimiter=";", quoting=csv.QUOTE_ALL, lineterminator="\r\n", restval=""
    )
    writer.writeheader()
    writer.writerows({"number": row.key["number"], **row.cells} for row in rows)
    return text.getvalue().encode("utf-8-sig")


def rated(run: RunDir, sheets: Sequence[Path]) -> Rated:
    """The answers of filled-in sheets, each checked against the run's key. A rater is called as the file is.

    Raises:
        InputError: no key, texts generated anew since; a sheet with a changed, missing or doubled row, an unknown
            answer, or none at all; or two sheets of one name.
    """
    key = _read_key(run)
    if key["generations_sha256"] != sha256_file(run.generations):
        raise InputError(
            "the run's texts were generated anew after the sheet had been written", where=str(run.generations),
            fix=f"delete {run.rating_key}, and write and rate a new sheet",
        )  # fmt: skip
    names = [sheet.stem for sheet in sheets]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise InputError(f"two sheets are called {double!r}", fix="name each sheet after its rater")
    shown = [(entry["first"], entry["second"]) for entry in key["rows"] if "anchor" not in entry]
    found = Rated([], [], [], 0, shown)
    for sheet in sheets:
        _read_answers(key, sheet, found)
    return replace(found, unanswered=len(shown) * len(sheets) - len(found.judgements))


def _read_key(run: RunDir) -> dict[str, Any]:
    path = run.rating_key
    if not path.exists():
        raise InputError("no rating sheet was written for this run", where=str(path), fix="write one first")
    key: dict[str, Any] = read_json(path)
    return key


def _read_answers(key: dict[str, Any], sheet: Path, found: Rated) -> None:
    """Add one sheet's answers to those found."""
    answers = 0
    for entry, cells in _checked(key, sheet):
        where = f"{sheet}, row {entry['number']}"
        given = [_stars(cells, f"stars_{side}", where) if key["stars"] else None for side in (1, 2)]
        answers += sum(one is not None for one in given)
        if "anchor" in entry:
            found.anchors.extend((sheet.stem, one, float(entry["anchor"])) for one in given[:1] if one is not None)
            continue
        arms = (entry["first"], entry["second"])
        choice = _choice(cells["preference"], where)
        if choice is not None:
            answers += 1
            found.judgements.append(Judgement(sheet.stem, entry["pair"], entry["group"], *arms, choice))
        for side, arm, one in zip((1, 2), arms, given, strict=True):
            if one is not None:
                unit = f"{entry['group']} {entry['sha256'][f'text_{side}']}"
                found.stars.append(Stars(sheet.stem, unit, entry["group"], arm, one))
    if not answers:
        raise InputError(
            "no row is filled in", where=str(sheet), fix="write 1, 2 or tie into the column preference, and save as CSV"
        )


def _checked(key: dict[str, Any], sheet: Path) -> list[tuple[dict[str, Any], dict[str, str]]]:
    """Each row's entry of the key with its cells, in the key's order, once all texts are as they were written."""
    entries = {entry["number"]: entry for entry in key["rows"]}
    found: dict[int, dict[str, str]] = {}
    for line, cells in _lines(sheet, _columns(key["stars"])):
        number, where = _whole(cells["number"]), f"{sheet}, line {line} of the spreadsheet"
        if number is None or number not in entries:
            raise _wrong(where, "number", cells["number"], f"give the row its number, 1 to {len(entries)}")
        if number in found:
            raise InputError(f"row {number} is there twice", where=where, fix="remove one of them")
        found[number] = cells
        for name in TEXTS:
            if _hash(cells[name]) != entries[number]["sha256"][name]:
                raise _wrong(
                    f"{sheet}, row {number}", name, cells[name],
                    "this text is not the one that was written: copy the answers into a fresh sheet, and save it as "
                    "CSV in UTF-8; write only into the columns of answers",
                )  # fmt: skip
    gone = [number for number in entries if number not in found]
    if gone:
        raise InputError(
            f"row {gone[0]} is missing" + (f", and {len(gone) - 1} more" if gone[1:] else ""), where=str(sheet),
            fix="leave the answer empty where there is none, and keep the row",
        )  # fmt: skip
    return [(entry, found[number]) for number, entry in entries.items()]


def _lines(sheet: Path, columns: Sequence[str]) -> list[tuple[int, dict[str, str]]]:
    """The filled lines of a CSV file, by its columns: whatever separator and encoding a spreadsheet saved it with."""
    text = _decoded(sheet)
    for separator in ";,\t":
        lines = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        try:
            header = [cell.strip().casefold() for cell in next(lines, [])]
            if not set(columns) <= set(header):
                continue
            at = {name: header.index(name) for name in columns}
            return [
                (i, {name: row[k] if k < len(row) else "" for name, k in at.items()})
                for i, row in enumerate(lines, 2)
                if any(cell.strip() for cell in row)
            ]
        except csv.Error as error:
            raise InputError(f"is no CSV file: {error}", where=str(sheet), fix="save it as CSV again") from error
    raise InputError(
        f"the first line does not name the columns {', '.join(columns)}", where=str(sheet),
        fix="keep the sheet's first line, and save it as CSV with semicolons or commas",
    )  # fmt: skip


def _decoded(sheet: Path) -> str:
    try:
        raw = sheet.read_bytes()
    except OSError as error:
        raise InputError(
            f"cannot be read: {error.strerror}", where=str(sheet), fix="name the filled-in sheet"
        ) from error
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return raw.decode("utf-16", "replace")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        return raw.decode("cp1252", "replace")  # Excel's plain CSV; a text that it spoiled is found by its hash


def _wrong(where: str, name: str, value: str, fix: str) -> InputError:
    shown = value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…"
    return InputError(f"{name} is {shown!r}", where=where, fix=fix)


def _whole(cell: str) -> int | None:
    """A whole number as spreadsheets write one: ``3``, ``3.0``, ``3,00``."""
    match = re.fullmatch(r"(\d{1,9})([.,]0+)?", cell.strip())
    return int(match[1]) if match else None


def _choice(cell: str, where: str) -> Choice | None:
    word = cell.strip().casefold()
    number = _whole(word)
    if not word:
        return None
    if (answer := ANSWERS.get(word if number is None else str(number))) is None:
        raise _wrong(where, "preference", cell, "write 1, 2 or tie")
    return answer


def _stars(cells: dict[str, str], name: str, where: str) -> float | None:
    if not cells[name].strip():
        return None
    number = _whole(cells[name])
    if number is None or not STARS[0] <= number <= STARS[1]:
        raise _wrong(where, name, cells[name], "write a whole number from 1 (worst) to 5 (best)")
    return float(number)


def read_ratings(run: RunDir, sheets: Sequence[Path]) -> dict[str, Any]:
    """Read filled-in sheets, one for each rater, and write judged/ratings.json.

    Returns:
        The record, as it stands in the file: as the judge's, with the raters' agreement, and the stars by arm.

    Raises:
        InputError: as `rated` says.
    """
    found = rated(run, sheets)
    pairs = read_pairs(run)
    code = {winner: float(i) for i, winner in enumerate((TIE, TUNED, *AGAINST))}
    units = [(result.pair, result.rater, code[result.winner]) for result in outcomes(found.judgements)]
    record = {
        "schema": 1, **compare(run, pairs, found.judgements, shown=found.shown),
        "raters": [sheet.stem for sheet in sheets], "unanswered": found.unanswered,
        "raters_agree": _alpha(units, "nominal"), "stars": _star_record(found) if found.stars else None,
        "judgements": [asdict(one) for one in found.judgements],
    }  # fmt: skip
    write_json(run.ratings, record)
    return record


def _star_record(found: Rated) -> dict[str, Any]:
    """Stars by arm, as given and less each rater's shift on the anchors, where every rater has rated some."""
    shifts = anchor_shifts(found.anchors)
    anchored = {one.rater for one in found.stars} <= set(shifts)
    means = star_means(corrected(found.stars, shifts), bounds=None) if anchored else None
    arms = [arm for arm in AGAINST if any(one.arm == arm for one in found.stars)]
    return {
        "arms": {arm: stars.as_json() for arm, stars in star_means(found.stars).items()},
        "shifts": shifts,
        "corrected": means and {arm: stars.as_json() for arm, stars in means.items()},
        "reason": None if anchored else "not every rater has rated an anchor: scales cannot be aligned",
        "beyond": {arm: star_difference(found.stars, TUNED, arm).as_json() for arm in arms},
        "raters_agree": _alpha([(one.unit, one.rater, one.stars) for one in found.stars], "ordinal"),
    }


def _alpha(units: Sequence[tuple[str, str, float]], distance: Literal["nominal", "ordinal"]) -> dict[str, Any]:
    """Krippendorff's alpha of (unit, rater, value), or why there is none."""
    if len({rater for _, rater, _ in units}) > 1 and not installed("evalica"):
        return {"alpha": None, "reason": str(missing("evalica", extra="judge"))}
    alpha = krippendorff_alpha(units, distance=distance)
    if isinstance(alpha, Undefined):
        return {"alpha": None, "reason": alpha.reason}
    return {"alpha": alpha, "reason": None}
