"""From one experiment file to all the experiments that it describes: `ablations` × `seeds`. Nothing is run or read.

Every combination is loaded here, so that a wrong value is found before the first run begins.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.config.load import Given, Loaded, assembled, from_file, from_overrides, read_text
from assay.config.paths import PATH_KEYS
from assay.config.problems import Problem, one_message, place_in
from assay.config.schema import Experiment, leaves
from assay.config.sweep import Matrix, Range, combinations, how_many, levels
from assay.config.values import flow
from assay.core.errors import InputError
from assay.core.files import sha256_text

BASELINE = "baseline"
LONGEST = 24  # characters of a value in a name
SLUG = 80  # characters of a name in a file's name
RUN_KEYS = {key for key, _ in leaves()}


@dataclass(frozen=True)
class Variant:
    """One combination with one seed: an experiment to be run.

    Args:
        name: ``baseline``, ``rank=4``, crossed ``rank=4 base=x``; one for each combination, whatever the seed.
        factors: factor → the label of its level; empty for the experiment as it stands in the file.
        overrides: what `--set` would take, values as YAML, paths absolute; without the seed.
        seed: of the run.
        loaded: the experiment with the overrides and the seed.
    """

    name: str
    factors: dict[str, str]
    overrides: tuple[str, ...]
    seed: int
    loaded: Loaded

    @property
    def slug(self) -> str:
        """The name as a file's name, another one for every other name."""
        safe = re.sub(r"[^A-Za-z0-9.=_-]+", "_", self.name)[:SLUG]
        return safe if safe == self.name else f"{safe}-{sha256_text(self.name)[:6]}"


@dataclass(frozen=True)
class _Combination:
    """What a combination is called, and the values that it gives over the file's and the command's."""

    name: str
    factors: dict[str, str]
    given: Given


class _File:
    """An experiment file with a command's overrides, read once for all its combinations."""

    def __init__(self, path: Path | str, overrides: Sequence[str]) -> None:
        self.path = Path(path).expanduser()
        self.text = read_text(self.path)
        self.written, self.given = from_file(self.text, self.path), from_overrides(overrides)
        self.loaded = assembled(self.written, self.given, self.text, self.path)
        self.matrix: Matrix = self.loaded.matrix
        self.seeds = self.matrix.seeds or [self.loaded.experiment.seed]
        self._places = self.given.over(self.written).places

    def place(self, name: str) -> str:
        return place_in(name, self._places) or str(self.path)

    def load(self, level: Given, seed: int) -> Loaded:
        """The experiment with a level's values over the command's, which stand over the file's, and a seed."""
        own = Given({"seed": seed}, {"seed": self.place("seeds")})
        return assembled(self.written, own.over(level.over(self.given)), self.text, self.path)

    def checked(self, candidates: Iterable[_Combination]) -> list[Experiment]:
        """The experiment of each combination, with the first seed.

        Raises:
            InputError: some are none; each problem is told once, with the first combination that has it.
        """
        experiments: list[Experiment] = []
        problems: dict[tuple[str, str], Problem] = {}
        for one in candidates:
            try:
                experiments.append(self.load(one.given, self.seeds[0]).experiment)
            except InputError as error:
                found = Problem(str(error.where), f"{error.what} (in {one.name})", str(error.fix))
                problems.setdefault((found.where, error.what), found)
        if problems:
            raise one_message(list(problems.values()), self.path)
        return experiments

    def variants(self, one: _Combination) -> list[Variant]:
        """The combination with each seed."""
        loaded = [self.load(one.given, seed) for seed in self.seeds]
        values = one.given.over(self.given).values
        overrides = tuple(f"{key}={flow(value)}" for key, value in values.items() if key in RUN_KEYS - {"seed"})
        return [
            Variant(one.name, one.factors, overrides, seed, run) for seed, run in zip(self.seeds, loaded, strict=True)
        ]


def variants(path: Path | str, overrides: Sequence[str] = ()) -> list[Variant]:
    """All experiments that a file describes, each combination with each seed.

    One factor at a time: the experiment as it stands (`baseline`), then each level that differs from it. With
    `sweep.cross` every combination of levels, the one that is the experiment as it stands first. No combination stands
    twice. With a search the experiment as it stands alone; `trial` gives the others.

    Args:
        path: the experiment file, which relative paths in it count from.
        overrides: ``section.key=value``, over the file's values and under those of the levels.

    Raises:
        InputError: the file has a problem, or a combination is no experiment (all that are none are named), changes
            nothing, or there are more runs than `sweep.max_runs`.
    """
    file = _File(path, overrides)
    _few_enough(file)
    _check_space(file)
    labels = {factor: _labels(keys) for factor, keys in file.matrix.ablations.items()}
    candidates = [_combination(file, chosen, labels) for chosen in combinations(file.matrix)]
    kept: list[tuple[_Combination, Experiment]] = []
    for one, experiment in zip(candidates, file.checked(candidates), strict=True):
        if all(experiment != other for _, other in kept):
            kept.append((one, experiment))
    _every_factor_counts(file, [one for one, _ in kept])
    kept.sort(key=lambda pair: pair[1] != file.loaded.experiment)
    return [variant for one, _ in kept for variant in file.variants(one)]


def trial(path: Path | str, number: int, values: Mapping[str, Any], overrides: Sequence[str] = ()) -> list[Variant]:
    """The experiments of one trial of a search, one for each seed.

    Args:
        path: the experiment file.
        number: of the trial; its name is ``trial <number>``.
        values: what the search proposes, by key.
        overrides: as in `variants`.

    Raises:
        InputError: the values are no experiment together.
    """
    file = _File(path, overrides)
    places = {key: file.place(f"sweep.search.space.{key}") for key in values}
    return file.variants(_trial(f"trial {number}", values, places))


def _few_enough(file: _File) -> None:
    combined, seeds, most = how_many(file.matrix), len(file.seeds), file.matrix.sweep.max_runs
    if combined * seeds > most:
        raise InputError(
            f"{combined:,} combinations × {seeds} seed{'s' * (seeds > 1)} make {combined * seeds:,} runs, and "
            f"sweep.max_runs is {most:,}",
            where=file.place("ablations") if file.matrix.ablations else file.place("seeds"),
            fix="give fewer levels, leave sweep.cross out, search (sweep.search), or raise sweep.max_runs",
        )


def _combination(file: _File, chosen: Mapping[str, int], labels: Mapping[str, Sequence[str]]) -> _Combination:
    given = Given()
    for factor, number in chosen.items():
        for key, value in levels(file.matrix.ablations[factor])[number].items():
            given.values[key] = value
            given.places[key] = file.place(f"ablations.{factor}.{key}.{number}")
    factors = {factor: labels[factor][number] for factor, number in chosen.items()}
    return _Combination(_joined(factors) or BASELINE, factors, given)


def _every_factor_counts(file: _File, kept: Sequence[_Combination]) -> None:
    """A factor that adds no combination is a mistake: it was meant to compare something."""
    there = {factor for one in kept for factor in one.factors}
    for factor in file.matrix.ablations:
        if factor not in there:
            raise InputError(
                f"the factor {factor} changes nothing: each of its levels is the experiment as it stands, or a level "
                "of a factor before it",
                where=file.place(f"ablations.{factor}"),
                fix="give values other than the experiment's own, or leave the factor out",
            )


def _check_space(file: _File) -> None:
    """Load the ends of each range and each value of each list, with the first of every other key."""
    space = file.matrix.sweep.search.space
    ends = {key: [span.low, span.high] if isinstance(span, Range) else span for key, span in space.items()}
    start = {key: values[0] for key, values in ends.items()}
    places = {key: file.place(f"sweep.search.space.{key}") for key in space}
    corners = [{**start, key: value} for key, values in ends.items() for value in values]
    file.checked(_trial(_joined(_shorts(values)), values, places) for values in corners)


def _trial(name: str, values: Mapping[str, Any], places: Mapping[str, str]) -> _Combination:
    return _Combination(name, _shorts(values), Given(dict(values), dict(places)))


# --- names ---


def _joined(factors: Mapping[str, str]) -> str:
    return " ".join(f"{factor}={label}" for factor, label in factors.items())


def _shorts(values: Mapping[str, Any]) -> dict[str, str]:
    return {key: _short(key, value, 1) for key, value in values.items()}


def _labels(keys: Mapping[str, list[Any]]) -> list[str]:
    """A short label for each level of a factor, all different: the value of its first key where that tells them apart,
    else of all keys that differ between its levels.

    Of paths the last part, or as many as tell them apart.
    """
    first = dict([next(iter(keys.items()))])
    differing = {key: values for key, values in keys.items() if any(one != values[0] for one in values)} or keys
    for own, parts in [(first, 1), *((dict(differing), parts) for parts in (1, 2, 3))]:
        found = [",".join(_short(key, value, parts) for key, value in level.items()) for level in levels(own)]
        if len(set(found)) == len(found):
            return found
    return [f"{label}#{number}" for number, label in enumerate(found, 1)]


def _short(key: str, value: Any, parts: int) -> str:
    """A value in a few characters, without blanks."""
    match value:
        case None:
            text = "none"
        case bool():
            text = str(value).lower()
        case float():
            text = repr(value) if len(repr(value)) <= 8 else f"{value:.4g}"
        case str():
            text = "/".join(value.rstrip("/").split("/")[-parts:]) if key in PATH_KEYS else value
        case list():
            text = "+".join(_short(key, one, parts) for one in value)
        case _:
            text = str(value)
    text = re.sub(r"\s+", "_", text.strip()) or "empty"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"
