"""What is asked of the ledger, as SQL. Text that a user gave is only ever a bound parameter, never part of the SQL."""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from assay.core.errors import InputError
from assay.core.ledger_rows import COLUMNS, Column

OPERATORS = ("!=", ">=", "<=", "=", ">", "<", "~")
NONE = ("none", "null")  # the value of what is not measured, or not set
BOOLEANS = {"true": True, "yes": True, "false": False, "no": False}
UNITS = {
    "bytes": {"b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12},
    "seconds": {"s": 1.0, "min": 60.0, "h": 3600.0, "d": 86400.0},
}
# A run may belong to several sweeps: these are looked for in all of them, and must hold for one and the same.
OF_A_SWEEP = ("sweep", "variant", "factors")

_FILTER = re.compile(r"\s*([\w.]+)\s*(!=|>=|<=|==?|>|<|~)\s*(.*?)\s*", re.DOTALL)
_AMOUNT = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([A-Za-z]*)")
_TIME = re.compile(r"\d{4}(-\d\d(-\d\d([T ]\d\d(:\d\d(:\d\d)?)?)?)?)?")
_AFTER = "~"  # sorts behind every character of a time

Knows = Callable[[str], bool]
Keys = Callable[[], Collection[str]]


@dataclass(frozen=True)
class Query:
    """Which runs, in which order, how many. Without `sort` the newest come first; undefined values come last.

    Args:
        filters: texts such as ``status=failed`` or ``adapter.rank>=8``; all of them must hold.
        sort: a column or a setting, its smallest value first.
        reverse: the other way round.
        limit: at most so many; None for all.
        columns: the columns and settings that are to be shown; an unknown one is an error.
        experiment: only this experiment's runs.
    """

    filters: Sequence[str] = ()
    sort: str | None = None
    reverse: bool = False
    limit: int | None = None
    columns: Sequence[str] = ()
    experiment: str | None = None


@dataclass(frozen=True)
class Part:
    """A piece of SQL and the values of its parameters."""

    sql: str
    values: tuple[Any, ...] = ()


def where(query: Query, settings: Keys) -> Part:
    """The condition that a query's filters make together.

    Args:
        query: its filters are read.
        settings: gives the dotted keys of all settings in the ledger; called only for a key that is no column.

    Raises:
        InputError: a filter has no operator, an unknown key, or a value that its key cannot have.
    """
    parts, of_a_sweep = [], []
    if query.experiment is not None:
        parts.append(Part("runs.experiment = ?", (query.experiment,)))
    for text in query.filters:
        key, operator, value = _split(text, settings)
        if key in OF_A_SWEEP and value.lower() not in NONE:
            if operator == "!=":
                one = _column(key, "=", value, text)
                parts.append(Part(f"runs.run NOT IN (SELECT members.run FROM members WHERE {one.sql})", one.values))
            else:
                of_a_sweep.append(_column(key, operator, value, text))
        elif key in COLUMNS:
            parts.append(_column(key, operator, value, text))
        else:
            parts.append(_setting(key, operator, value, text))
    if of_a_sweep:
        both = _all(of_a_sweep)
        parts.append(Part(f"runs.run IN (SELECT members.run FROM members WHERE {both.sql})", both.values))
    return _all(parts)


def order(query: Query, settings: Keys) -> Part:
    """The order that a query asks for.

    Raises:
        InputError: there is no such key.
    """
    way = "DESC" if query.reverse else "ASC"
    if query.sort is None:
        way = "ASC" if query.reverse else "DESC"
        return Part(f"runs.created {way}, runs.path {way}")
    check_key(query.sort, settings, where=f"--sort {query.sort}")
    value = Part(f'runs."{query.sort}"') if query.sort in COLUMNS else _value_of(query.sort)
    # the value is named once: a setting's is looked up
    return Part(f"({value.sql}) {way} NULLS LAST, runs.created DESC, runs.path DESC", value.values)


def check_key(key: str, settings: Keys, *, where: str) -> None:
    """Nothing, if there is such a column or setting.

    Raises:
        InputError: there is none; the nearest are named.
    """
    if key in COLUMNS:
        return
    known = settings()
    if key in known or ("." in key and not known):  # without a run nobody knows the settings
        return
    everything = [*COLUMNS, *known]
    ends = [one for one in everything if one.rpartition(".")[2] == key.rpartition(".")[2]]
    near = list(dict.fromkeys([*ends, *difflib.get_close_matches(key, everything, n=3, cutoff=0.5)]))[:3]
    hint = f"did you mean {' or '.join(near)}?" if near else f"the columns are {', '.join(COLUMNS)}"
    raise InputError(
        f"no run has a column or setting {key!r}", where=where, fix=f"{hint} A setting is named as in --set"
    )


def section_of(key: str) -> str:
    """The section of the experiment file that a setting stands in; of a top-level key, none."""
    return key.partition(".")[0] if "." in key else ""


def leaf(value: Any) -> str | int | float | None:
    """A setting's value as the ledger compares it: numbers and texts as they are, all else as its JSON."""
    if value is None or (isinstance(value, str | int | float) and not isinstance(value, bool)):
        return value
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _split(text: str, settings: Keys) -> tuple[str, str, str]:
    match = _FILTER.fullmatch(text) if _is_text(text) else None
    if match is None:
        raise InputError(
            f"{text!r} is no filter" + (": it has no operator" if text.isidentifier() else ""),
            where="assay runs",
            fix=f"write KEY=VALUE with one of {' '.join(OPERATORS)}, as in 'difference>0.05'; in quotes, because the "
            "shell takes > and < for itself (`assay runs --help` names the commands)",
        )
    key, operator, value = match[1], match[2].replace("==", "="), match[3]
    check_key(key, settings, where=f"assay runs {text}")
    if not value:
        raise _bad(text, "it has no value", f"give one; {key}={NONE[0]} finds what is not measured or not set")
    return key, operator, value


def _is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: a command line may hold bytes that are no text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bad(text: str, what: str, fix: str) -> InputError:
    return InputError(f"{text!r} cannot be looked for: {what}", where=f"assay runs {text}", fix=fix)


def _all(parts: Sequence[Part]) -> Part:
    if not parts:
        return Part("1")
    return Part(" AND ".join(f"({part.sql})" for part in parts), tuple(v for part in parts for v in part.values))


# --- columns ---


def _column(key: str, operator: str, value: str, text: str) -> Part:
    column, name = COLUMNS[key], f'"{key}"'
    if value.lower() in NONE:
        return Part(f"{name} IS {_nothing(operator, text)}NULL")
    if operator == "~":
        if column.kind not in ("text", "choice"):
            raise _bad(text, f"{key} is no text", "~ finds a piece of a text; use = < > <= >= or !=")
        return Part(f"instr(lower({name}), lower(?)) > 0", (value,))
    if column.kind == "time":
        return _time(name, operator, value, text)
    if column.kind in ("text", "choice"):
        return _words(name, column, operator, value, text)
    number: float = _flag(key, value, text) if column.kind == "flag" else _amount(key, column, value, text)
    return Part(f"{name} {_sql(operator)} ?", (number,))


def _nothing(operator: str, text: str) -> str:
    if operator not in ("=", "!="):
        raise _bad(text, f"{NONE[0]} is neither small nor large", "use = or !=")
    return "NOT " if operator == "!=" else ""


def _sql(operator: str) -> str:
    # what is undefined is not equal to any value
    return "IS NOT" if operator == "!=" else operator


def _words(name: str, column: Column, operator: str, value: str, text: str) -> Part:
    if operator not in ("=", "!="):
        raise _bad(text, f"{name[1:-1]} is text", "use = or !=, or ~ for a piece of it")
    if column.choices and value not in column.choices:
        near = difflib.get_close_matches(value, column.choices, 1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise _bad(
            text, f"{name[1:-1]} is one of {', '.join(column.choices)}", f"{hint}Or {NONE[0]}, where there is none"
        )
    return Part(f"{name} {_sql(operator)} ?", (value,))


def _time(name: str, operator: str, value: str, text: str) -> Part:
    """A time that is not given to the second means the whole day, month or year."""
    begin = value.replace(" ", "T")
    if not _TIME.fullmatch(value) or not _exists(begin):
        raise _bad(text, f"{value!r} is no time", "write it as 2026-11-01 or 2026-11-01T14:30, in UTC")
    end = begin + _AFTER
    match operator:
        case "=":
            return Part(f"{name} >= ? AND {name} < ?", (begin, end))
        case "!=":
            return Part(f"{name} IS NULL OR {name} < ? OR {name} >= ?", (begin, end))
        case "<" | ">=":
            return Part(f"{name} {operator} ?", (begin,))
        case _:
            return Part(f"{name} {operator} ?", (end,))


def _exists(begin: str) -> bool:
    """Whether there is such a time: what is left out is filled in."""
    whole = begin + "0001-01-01T00:00:00"[len(begin) :]
    try:
        datetime.fromisoformat(whole)
    except ValueError:
        return False
    return True


def _amount(key: str, column: Column, value: str, text: str) -> float:
    match = _AMOUNT.fullmatch(value)
    units = UNITS.get(column.kind, {})
    scale = units.get(match[2].lower()) if match and match[2] else 1.0
    number = float(match[1]) * scale if match and scale else math.nan
    if not math.isfinite(number):
        named = f", with or without a unit ({', '.join(_shown(units))})" if units else ""
        raise _bad(text, f"{key} is a number, and {value!r} is none", f"give a number{named}")
    return number


def _shown(units: dict[str, float]) -> list[str]:
    return [{"b": "B", "kb": "kB"}.get(unit, unit.upper() if unit[-1] == "b" else unit) for unit in units]


def _flag(key: str, value: str, text: str) -> int:
    if value.lower() not in BOOLEANS:
        raise _bad(text, f"{key} is true or false", f"write {key}=true, {key}=false or {key}={NONE[0]}")
    return int(BOOLEANS[value.lower()])


# --- settings: `leaves` holds the values of each section of an experiment file once, however many runs have it ---


def _setting(key: str, operator: str, value: str, text: str) -> Part:
    if value.lower() in NONE:
        return _with(key, Part("value IS NOT NULL"), negated=_nothing(operator, text) == "")
    if operator in ("=", "!="):
        return _with(key, _equal(value), negated=operator == "!=")
    if operator == "~":
        return _with(key, Part("instr(lower(value), lower(?)) > 0", (value,)))
    number = _amount(key, Column("number", ""), value, text)
    return _with(key, Part(f"typeof(value) IN ('integer', 'real') AND value {operator} ?", (number,)))


def _equal(value: str) -> Part:
    try:
        meant = json.loads(value)
        number = float(meant) if isinstance(meant, int | float) and not isinstance(meant, bool) else None
    except (ValueError, OverflowError, RecursionError):
        meant = number = None
    if number is not None:
        return Part("value IN (?, ?)", (number, value))
    return Part("value = ?", (leaf(meant) if isinstance(meant, list | dict | bool) else value,))


def _with(key: str, condition: Part, *, negated: bool = False) -> Part:
    """The runs in whose configuration the condition holds for the key's value (or does not)."""
    return Part(
        f"runs.run {'NOT ' if negated else ''}IN (SELECT settings.run FROM settings WHERE settings.section IN "
        f"(SELECT section FROM leaves WHERE key = (SELECT id FROM keys WHERE keys.key = ?) AND {condition.sql}))",
        (key, *condition.values),
    )


def _value_of(key: str) -> Part:
    return Part(
        "SELECT leaves.value FROM settings JOIN leaves ON leaves.section = settings.section "
        "WHERE settings.run = runs.run AND settings.name = ? "
        "AND leaves.key = (SELECT id FROM keys WHERE keys.key = ?)",
        (section_of(key), key),
    )
