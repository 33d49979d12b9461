"""What is compared: entries. Runs that differ in their training seed alone are one entry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from assay.core.errors import AssayError, GuardError, InputError
from assay.core.files import at, read_json, read_lines, sha256_json
from assay.core.rundir import RunDir
from assay.core.words import failed_validity

Json = dict[str, Any]

# Names are made of what differs where that is so little, and so short.
_FEW_KEYS, _SHORT_VALUE = 2, 20
_MISSING = object()
# What a comparison needs of a run; those of earlier versions lack some of it.
_NEEDED = {
    "identity": ("base.hash", "data", "adapter", "train", "seed"),
    "training": ("weights.sha256", "steps"),
    "summary": tuple(
        f"settings.{key}" for key in ("window", "stride", "bos_rule", "tokenizer_sha256", "dtype", "lossy_share")
    ),
}


@dataclass(frozen=True)
class Entry:
    """One thing that is compared: the runs of one identity but for the training seed, by their seeds.

    `factors` are those of the sweep that the runs were made by, as `{"rank": "4"}`; empty without one.
    """

    name: str
    runs: tuple[RunDir, ...]
    factors: dict[str, str] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The training seed of each run."""
        return tuple(read_json(run.identity)["seed"] for run in self.runs)


@dataclass(frozen=True)
class Failed:
    """Something that was to be compared and has no numbers. `name` is its entry's, `run` the run's folder if any."""

    name: str
    why: str
    run: str | None = None

    def as_json(self) -> Json:
        """All fields, as plain JSON values."""
        return {"name": self.name, "why": self.why, "run": self.run}


def label(run: RunDir) -> str:
    """A run as a reader finds it: ``experiment/folder``."""
    return f"{run.path.parent.name}/{run.path.name}"


def admit(run: RunDir) -> None:
    """Nothing, where the run's numbers may be used.

    Raises:
        InputError: it is not evaluated, or an earlier version wrote it.
        GuardError: a validity guard of it failed, or its evaluation was changed afterwards.
    """
    if run.finished("evaluate") is None:
        raise InputError("has not been evaluated", where=str(run.path), fix=f"assay run {run.path}")
    for failed in failed_validity(run.guards.records()):
        raise GuardError(failed.guard, failed.why, where=str(run.path), fix=failed.fix)
    if changed := run.changed_outputs("evaluate"):
        why = f"{', '.join(changed)} changed after the evaluation wrote it"
        raise GuardError("unit-counting", why, where=str(run.path), fix=f"assay evaluate {run.path}")
    _check_complete(run)


def _check_complete(run: RunDir) -> None:
    for file, keys in _NEEDED.items():
        path: Path = getattr(run, file)
        values = read_json(path)
        for key in keys:
            if at(values, *key.split("."), default=_MISSING) is _MISSING:
                raise InputError(
                    f"has no {key}, as runs of earlier versions: it cannot be compared", where=str(path),
                    fix=f"assay evaluate {run.path}" if file == "summary" else "train it again, with --new",
                )  # fmt: skip


def entries(runs: Sequence[RunDir], names: Mapping[Path, str] | None = None) -> list[Entry]:
    """The entries of these runs, in the order in which the first run of each comes.

    A second run of the same identity with the same seed is a repetition and no further draw of a seed: it is an entry
    of its own.

    Args:
        runs: evaluated ones, none of them twice.
        names: of each run's entry, by the run's path; without it the names are made from what sets the runs apart.

    Raises:
        InputError: a run is not evaluated, or given twice.
        GuardError: a run's numbers cannot be trusted.
    """
    if len({run.path.resolve() for run in runs}) < len(runs):
        raise InputError("a run is given twice, which would count as one more comparison", fix="give each run once")
    for run in runs:
        admit(run)
    grouped: dict[tuple[str, int], list[RunDir]] = {}
    times: Counter[tuple[str, int]] = Counter()
    for run in runs:
        identity = read_json(run.identity)
        same = [identity["base"]["hash"], identity["data"], identity["adapter"], identity["train"]]
        what, seed = sha256_json(same), identity["seed"]
        grouped.setdefault((what, times[what, seed]), []).append(run)
        times[what, seed] += 1
    members = [sorted(own, key=lambda run: read_json(run.identity)["seed"]) for own in grouped.values()]
    made = [_varied(own[0]) for own in members]
    said = _names(members, made, names)
    return [
        Entry(name, tuple(own), _factors(own[0], name, names is not None))
        for name, own in zip(_apart(said, members), members, strict=True)
    ]


def sifted(runs: Sequence[RunDir], names: Mapping[Path, str]) -> tuple[list[Entry], list[Failed]]:
    """The entries of those runs that have numbers, and the others with the reason: for a sweep, which goes on."""
    usable, failed = [], []
    for run in runs:
        try:
            admit(run)
        except AssayError as error:
            failed.append(Failed(names[run.path], error.what, label(run)))
        else:
            usable.append(run)
    return entries(usable, names), failed


def _varied(run: RunDir) -> list[Json]:
    """What sweeps wrote into a run's events, the newest last: `{"sweep", "variant", "factors"}`."""
    return [event["varied"] for event in read_lines(run.events) if isinstance(event, dict) and event.get("varied")]


def _factors(run: RunDir, name: str, named: bool) -> dict[str, str]:
    """The factors of the newest sweep; of the newest that called the run's variant so, where names are given."""
    found = [varied for varied in _varied(run) if not named or varied.get("variant") == name]
    return dict(found[-1].get("factors") or {}) if found else {}


def _names(
    members: Sequence[Sequence[RunDir]], made: Sequence[Sequence[Json]], names: Mapping[Path, str] | None
) -> list[str]:
    """Names as given; else of one sweep's variants, of the experiments, or of what differs: what tells all apart."""
    if names is not None:
        return [names[own[0].path] for own in members]
    newest = [varied[-1] if varied else {} for varied in made]
    if len({varied.get("sweep") for varied in newest}) == 1 and all(newest):
        variants = [str(varied["variant"]) for varied in newest]
        if len(set(variants)) == len(variants):
            return variants
    experiments = [own[0].path.parent.name for own in members]
    if len(set(experiments)) == len(experiments):
        return experiments
    by_values = _by_values([own[0] for own in members])
    if len(set(by_values)) == len(by_values):
        return by_values
    return [f"{own[0].path.parent.name} {read_json(own[0].identity)['short']}" for own in members]


def _by_values(runs: Sequence[RunDir]) -> list[str]:
    """``rank=4`` for each run; empty names where much differs, or something that is long to say."""
    leaves = [dict(_leaves(read_json(run.identity))) for run in runs]
    keys = [key for key in dict.fromkeys(k for own in leaves for k in own) if len({own.get(key) for own in leaves}) > 1]
    # what only some have follows from another key: a full fine-tune has no rank
    keys = [key for key in keys if all(key in own for own in leaves)] or keys
    values = [[own[key] for key in keys if own.get(key) is not None] for own in leaves]
    if not 0 < len(keys) <= _FEW_KEYS or any(len(value) > _SHORT_VALUE for own in values for value in own):
        return [""] * len(runs)
    return [
        ", ".join(f"{key.rpartition('.')[2]}={own[key]}" for key in keys if own.get(key) is not None) for own in leaves
    ]


def _leaves(identity: Json) -> Iterator[tuple[str, str]]:
    """What an identity is made of, dotted key and value in words; of the data files their hash."""
    yield "base", str(identity["base"].get("spec", identity["base"]["hash"])).rpartition("/")[2]

    def inner(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
        if isinstance(value, dict) and prefix != "data.content":
            for key, item in value.items():
                yield from inner(f"{prefix}.{key}", item)
        elif value is not None:
            yield prefix, sha256_json(value) if isinstance(value, dict | list) else str(value)

    for section in ("data", "adapter", "train"):
        yield from inner(section, identity[section])


def _apart(names: Sequence[str], members: Sequence[Sequence[RunDir]]) -> list[str]:
    """The names, with the run's folder behind those that several entries have."""
    times = Counter(names)
    return [
        name if times[name] == 1 else f"{name} ({own[0].path.name})" for name, own in zip(names, members, strict=True)
    ]
