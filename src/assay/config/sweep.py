"""The keys `ablations`, `seeds` and `sweep` of the experiment file: which runs belong together, and how they are made.

They are no part of any one run: each run has one value of every other key, and one seed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, model_validator

from assay.config.section import Section
from assay.config.values import number_like, problem
from assay.core.identity import NOT_IDENTITY

# keys of `data` that leave the held-out texts as they are
VARIED_DATA = ("data.split.train_rows", "data.against", "data.chat_template")
EXAMPLE = "rank: {adapter.rank: [4, 64]}"


@dataclass(frozen=True)
class Range:
    """Every number from `low` to `high`, both included; on a logarithmic scale if `log`."""

    low: int | float
    high: int | float
    log: bool = False


def _levels(value: Any) -> list[Any]:
    """The values of one key."""
    if isinstance(value, dict):
        raise problem("is a section here", fix=f"write the whole key before its values, such as {EXAMPLE}")
    if not isinstance(value, list):
        raise problem(f"is {value!r}, which is no list of values", fix=f"write [{_said(value)}]")
    if not value:
        raise problem("is an empty list", fix="give at least one value other than the experiment's own")
    return list(value)


def _named_keys(value: Any) -> Any:
    """A factor says which keys it changes."""
    if not isinstance(value, dict) or not value:
        raise problem("does not say which key changes", fix=f"write factor, key and values, such as {EXAMPLE}")
    return value


def _factor_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value):
        raise problem("is no name for a factor", fix="take letters, digits, `.`, `_` and `-`, such as more-rows")
    return value


def _workers(value: Any) -> int | str:
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool) and value >= 1:
        return value
    raise problem(f"is {value!r}")


def _together(keys: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """Keys of one factor change together: lists of one length, and no level twice."""
    if len({len(values) for values in keys.values()}) > 1:
        lengths = " and ".join(f"{len(values)} of {key}" for key, values in keys.items())
        raise problem(
            f"has {lengths}; keys of one factor change together",
            fix="give each key as many values; for every combination make them two factors and set sweep.cross",
        )
    told = [", ".join(f"{key}={_said(value)}" for key, value in level.items()) for level in levels(keys)]
    if twice := _repeated(told):
        raise problem(f"has the level {twice} twice", fix="give each level once")
    return keys


def _distinct(seeds: list[int]) -> list[int]:
    if twice := _repeated([str(seed) for seed in seeds]):
        raise problem(f"holds {twice} twice, which would be one run counted as two", fix="give each seed once")
    return seeds


def _span(value: Any) -> list[Any] | Range:
    """What a search chooses a key's value from."""
    if isinstance(value, list):
        if len(value) < 2:
            raise problem("has fewer than two values to choose from", fix="give several, or set the key itself")
        if twice := _repeated([_said(one) for one in value]):
            raise problem(f"holds {twice} twice", fix="give each value once")
        return list(value)
    if not isinstance(value, dict):
        raise problem(
            f"is {value!r}, which is neither a list nor a range", fix="write [4, 8] or {low: 1e-5, high: 1e-3}"
        )
    unknown = [key for key in value if key not in ("low", "high", "log")]
    if unknown or not {"low", "high"} <= value.keys():
        what = f"has no key {unknown[0]}" if unknown else "lacks low or high"
        raise problem(f"{what}: a range has low, high and perhaps log", fix="write {low: 1e-5, high: 1e-3, log: true}")
    low, high = (_bound(value[side]) for side in ("low", "high"))
    log = value.get("log", False)
    if not isinstance(log, bool):
        raise problem(f"has log: {log!r}", fix="give log: true or log: false")
    if low >= high:
        raise problem(f"goes from {low} to {high}, which holds nothing to search", fix="give low < high")
    if log and low <= 0:
        raise problem(
            f"is logarithmic and begins at {low}, and only numbers above 0 have a logarithm",
            fix="give low > 0, or leave log out",
        )
    return Range(low, high, log)


def _bound(value: Any) -> int | float:
    number = float(value) if isinstance(value, str) and number_like(value) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
        raise problem(f"has the bound {value!r}, which is no finite number", fix="give numbers for low and high")
    return number


def _said(value: Any) -> str:
    """A value as YAML would have it, whatever it is."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _repeated(texts: list[str]) -> str | None:
    return next((text for at, text in enumerate(texts) if text in texts[:at]), None)


FactorName = Annotated[str, AfterValidator(_factor_name)]
Workers = Annotated[int | Literal["auto"], PlainValidator(_workers)]
Levels = Annotated[list[Any], PlainValidator(_levels)]
Factor = Annotated[dict[str, Levels], BeforeValidator(_named_keys), AfterValidator(_together)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Seeds = Annotated[list[Seed], AfterValidator(_distinct)]
Span = Annotated[Any, PlainValidator(_span)]


class SearchConfig(Section):
    """A search for the lowest bits per byte on the dev texts, instead of `ablations`; on once `space` names a key."""

    method: Literal["tpe", "random"] = Field(
        default="tpe",
        description="`random` draws each trial anew; `tpe` (tree-structured Parzen estimator) draws nearer to the "
        "trials that were best, after ten random ones.",
    )
    trials: int = Field(default=20, ge=1, le=1000, description="How many combinations are tried.")
    seed: Seed = Field(default=0, description="Seed of the proposals; the runs have seeds of their own.")
    space: dict[str, Span] = Field(
        default_factory=dict,
        description="What is chosen from, by key. Needs `assay[search]`.",
        json_schema_extra={"allowed": "`{section.key: {low: 1e-5, high: 1e-3, log: true}, section.key: [values]}`"},
    )


class SweepConfig(Section):
    """How `assay sweep` makes the runs of this file."""

    cross: bool = Field(
        default=False,
        description="Run every combination of the factors' levels; without it one factor changes at a time.",
    )
    workers: Workers = Field(
        default="auto",
        description="How many runs are made at a time; `auto` is as many as this machine holds without crowding.",
        json_schema_extra={"allowed": "`auto` or an integer ≥ 1"},
    )
    max_runs: int = Field(
        default=200, ge=1, description="More runs than this are refused, as a product of lists soon grows by mistake."
    )
    search: SearchConfig = Field(default_factory=SearchConfig, description=str(SearchConfig.__doc__))


class Matrix(Section):
    """Which runs belong together: `assay sweep` makes them all, `assay run` the experiment with its first seed."""

    ablations: dict[FactorName, Factor] = Field(
        default_factory=dict,
        description="What changes between the runs, by factor; all keys of one factor change together. "
        "See [ablations](ablations.md).",
        json_schema_extra={"allowed": "`{factor: {section.key: [values]}}`"},
    )
    seeds: Seeds | None = Field(
        default=None,
        min_length=1,
        description="The seeds that each combination is run with, in place of `seed`; `assay run` takes the first.",
        json_schema_extra={"allowed": "a list of different integers ≥ 0, such as `[0, 1, 2]`"},
    )
    sweep: SweepConfig = Field(default_factory=SweepConfig, description=str(SweepConfig.__doc__))

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        search = self.sweep.search
        if self.ablations and search.space:
            raise problem(
                "ablations and sweep.search.space are both given: a search chooses its own values",
                "sweep.search.space",
                "ablations",
                fix="keep one of them, or make two experiment files",
            )
        if search.model_fields_set and not search.space:
            raise problem(
                "sweep.search has no space to search in",
                "sweep.search",
                fix="add space: {train.learning_rate: {low: 1e-5, high: 1e-3, log: true}}",
            )
        return self

    @model_validator(mode="after")
    def _crossed(self) -> Self:
        if not self.sweep.cross:
            return self
        owner: dict[str, str] = {}
        for factor, keys in self.ablations.items():
            for key, values in keys.items():
                if key in owner:
                    raise problem(
                        f"{key} is changed by the factors {owner[key]} and {factor}: a run has one value of it, so "
                        "they cannot be crossed",
                        f"ablations.{factor}",
                        fix="leave the key in one factor, or leave sweep.cross out",
                    )
                owner[key] = factor
                if len(values) == 1:
                    raise problem(
                        f"the factor {factor} has one value, so with sweep.cross nothing is held against it",
                        f"ablations.{factor}",
                        fix="give more values, or set the key itself in the experiment",
                    )
        return self


def levels(keys: dict[str, list[Any]]) -> list[dict[str, Any]]:
    """The levels of a factor, each with its value of every key."""
    return [dict(zip(keys, values, strict=True)) for values in zip(*keys.values(), strict=True)]


def combinations(matrix: Matrix) -> Iterator[dict[str, int]]:
    """Which level of which factor each combination takes, by number; ``{}`` is the experiment as it stands.

    One factor at a time, beginning with the experiment itself; or with `sweep.cross` every combination of levels.
    """
    counts = {factor: len(levels(keys)) for factor, keys in matrix.ablations.items()}
    if matrix.sweep.cross:
        yield from (dict(zip(counts, chosen, strict=True)) for chosen in product(*map(range, counts.values())))
        return
    yield {}
    for factor, count in counts.items():
        yield from ({factor: number} for number in range(count))


def how_many(matrix: Matrix) -> int:
    """The number of combinations, without making them."""
    counts = [len(levels(keys)) for keys in matrix.ablations.values()]
    return math.prod(counts) if matrix.sweep.cross else 1 + sum(counts)


def fixed(key: str, *, held_out_files: bool) -> tuple[str, str] | None:
    """Why a key may not differ between runs that are compared, and what to do; None if it may.

    Args:
        key: a dotted key of the schema.
        held_out_files: whether dev and test texts are files of their own, which other training files leave alone.
    """
    section, _, name = key.partition(".")
    if key == "seed":
        return "is no factor: every combination is to run with each seed", "write seeds: [0, 1, 2] at the top level"
    if section in ("schema", "name", *Matrix.model_fields):
        return "says what the file is, and is the same for all its runs", "leave it out"
    if section == "evaluate":
        return "is how runs are measured, and runs measured differently cannot be compared", "set it once, for all runs"
    if section not in ("base", "data", "adapter", "train") or (section == "train" and name in NOT_IDENTITY):
        return "does not change what is learned: it would be the same run", "set it once, for all runs"
    if section == "data" and key not in VARIED_DATA and not (held_out_files and key in ("data.source", "data.sha256")):
        fix = (
            "let data.split.train_rows change, or data.source where data.split.dev and data.split.test name files of "
            "their own"
        )
        if key == "data.max_rows":
            fix = "let data.split.train_rows change: nested choices of the training rows, and the same test texts"
        return "changes the held-out texts, and runs on different test texts cannot be compared", fix
    return None
