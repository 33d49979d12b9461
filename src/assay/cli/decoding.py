"""`assay decode`: which settings were tried, which was chosen, and what other prompts say of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from assay.cli.tables import table
from assay.core.console import Console
from assay.core.ledger import resolve_run
from assay.core.others import shared

HEADER = ("", "setting", "loops", "repetition", "variety", "surprise", "distance", "tokens", "tokens/s")
KEYS = ("loop", "repeated_4", "distinct_1", "bits_per_byte", "distance", "tokens")
SHARES = ("loop", "repeated_4", "distinct_1")
LEGEND = """\
loops: texts that say one thing over and over; repetition: 4-grams of words that come again; variety: different words of
all; surprise: bits per byte by the base; distance: from human texts of the same length, in their spreads; each with its
95 % interval over groups of prompts, = where all groups are alike; ~ a pace that is not comparable, since other work
kept the machine busy"""


def decode(name: str, runs_dir: Path, overrides: Sequence[str], as_json: bool, console: Console) -> None:
    """Try settings on a run and print what came of it.

    Raises:
        InputError: there is no such run, it has not been trained, or a setting does not stand.
        MachineError: the installed library cannot do one of the settings.
    """
    from assay.byhand import decoded

    found = decoded(name, runs_dir=runs_dir, overrides=overrides, console=console)
    if as_json:
        console.json(found)
        return
    run = resolve_run(name, runs_dir)
    console.result("\n".join([*lines(found), "", f"preset: {run.preset}", f"page: {run.decode / 'decode.html'}"]))


def lines(found: dict[str, Any]) -> list[str]:
    """The result for a terminal."""
    choice, said = found["choice"], found["confirmation"]
    dropped = [f"  not {name}: {why}" for name, why in choice["dropped"].items()]
    words = next(row["words"] for row in found["settings"] if row["name"] == choice["name"])
    full = "" if words == choice["name"] else f" ({words})"
    told = [f"chosen: {choice['name']}{full}: {choice['why']}", *dropped, said["sentence"]]
    parts = [f"on {_where(found['prompts'])}:", _table(found, found["settings"]), LEGEND]
    if found["confirmed_on"]:
        parts += ["", f"on {_where(found['confirm'])}:", _table(found, found["confirmed_on"])]
    if found["speed"]:
        parts += ["", f"greedy decoding, {found['speed']['plain_tokens_per_s']:.3g} tokens/s, guessing ahead:"]
        if why := shared(found["speed"]):
            parts.append(f"  {why}")
        for way in found["speed"]["ways"]:
            same = "the same texts" if not way["different"] else f"{way['different']} of {way['prompts']} texts DIFFER"
            rounds = ", ".join(f"{ratio:.2f}" for ratio in way["ratios"])
            parts.append(f"  {way['name']}: {way['ratio']:.2f} times as fast (rounds: {rounds}), {same}")
    return [*parts, "", *told]


def _where(about: dict[str, Any]) -> str:
    return f"{about['prompts']} prompts of {about['groups']} groups ({about['source']})"


def _table(found: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    body = [
        (
            "*" if row["name"] == found["choice"]["name"] else "", row["name"],
            *(_cell(row["numbers"][key], share=key in SHARES) for key in KEYS),
            _pace(row["cost"]),
        )
        for row in rows
    ]  # fmt: skip
    human = found["human"]["numbers"]
    if human:
        cells = (_number(human.get(key), share=key in SHARES) for key in KEYS)
        body.append(("", f"human texts, {found['human']['tokens']} tokens", *cells, ""))
    return table(HEADER, body)


def _pace(cost: dict[str, Any]) -> str:
    pace = cost["tokens_per_s"]
    return "-" if pace is None else f"{pace:.3g}{' ~' if shared(cost) else ''}"


def _cell(cell: dict[str, Any], *, share: bool) -> str:
    mean = _number(cell["mean"], share=share)
    if cell["low"] is None:
        return f"{mean} =" if cell["reason"] == "all groups alike" else mean
    low, high = (max(0.0, min(1.0, end)) if share else end for end in (cell["low"], cell["high"]))
    return f"{mean} [{_number(low, share=share)}, {_number(high, share=share)}]"


def _number(value: float | None, *, share: bool) -> str:
    return "-" if value is None else f"{value:.0%}" if share else f"{value:.3g}"
