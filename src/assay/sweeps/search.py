"""A search for the best values of some keys: what is tried next, from what was tried before. Torch is not needed.

Optuna proposes; it keeps nothing. What was proposed and what came of it stands in `search.jsonl`, a line each, and for
every proposal a study is made from these lines with a sampler seeded by the trial's number. So a search that was killed
goes on as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Any

from assay.config.problems import LEAVES
from assay.config.schema import kind_of
from assay.config.sweep import Range, SearchConfig
from assay.config.values import flow
from assay.core.errors import InputError
from assay.core.files import append_line, read_json, read_lines
from assay.core.optional import require
from assay.core.rundir import RunDir

JOURNAL = "search.jsonl"
STARTUP = 10  # random trials before TPE has something to go by: Optuna's own default
DRAWS = 10  # proposals of TPE that were tried before, after which it is drawn at random until one was not


@dataclass(frozen=True)
class Trial:
    """One proposal: its number, from 0, and the value of each key of the space."""

    number: int
    values: dict[str, Any]

    @property
    def overrides(self) -> tuple[str, ...]:
        """What `--set` would take."""
        return tuple(f"{key}={flow(value)}" for key, value in self.values.items())


@dataclass(frozen=True)
class Told:
    """What came of a trial: what it scored, lower being better, or None and the reason."""

    value: float | None
    why: str | None = None


class Search:
    """A search, from where its journal left it.

    Args:
        config: the section `sweep.search` of an experiment.
        folder: where the journal is, or will be.

    Raises:
        MachineError: optuna is not installed (extra `search`).
        InputError: the journal is of another search.
    """

    def __init__(self, config: SearchConfig, folder: Path) -> None:
        self._optuna = require("optuna", extra="search")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self.config, self._journal = config, folder / JOURNAL
        self._distributions = {key: self._distribution(key, span) for key, span in config.space.items()}
        self.asked: dict[int, dict[str, Any]] = {}
        self.told: dict[int, Told] = {}
        self._read()
        self._again = [number for number in self.asked if number not in self.told]

    @property
    def exhausted(self) -> bool:
        """Whether the space has no combination left that was not tried."""
        return len(self.asked) >= self._points()

    @property
    def best(self) -> int | None:
        """The number of the trial that scored lowest, of equal ones the first; None while none has a score."""
        scored = [(told.value, number) for number, told in self.told.items() if told.value is not None]
        return min(scored)[1] if scored else None

    def ask(self) -> Trial | None:
        """The next trial, written down before it is returned; None when there are no more.

        After a restart first come those that were asked for and of which nothing was told.
        No combination is tried twice: there are no more trials once the space is exhausted.
        """
        if self._again:
            number = self._again.pop(0)
            return Trial(number, self.asked[number])
        number = len(self.asked)
        if number >= self.config.trials or self.exhausted:
            return None
        values = self._fresh(number)
        append_line(self._journal, {"ask": number, "values": values})
        self.asked[number] = values
        return Trial(number, values)

    def tell(self, number: int, value: float | None, why: str | None = None) -> None:
        """Write down what came of a trial; telling the same again changes nothing.

        Args:
            number: of the trial.
            value: what it scored, lower being better; None where it failed.
            why: the reason, where it failed.

        Raises:
            ValueError: the trial was not asked for, something else was told of it, or the value is not finite.
        """
        if number not in self.asked or (value is not None and not math.isfinite(value)):
            raise ValueError(f"trial {number} with the value {value}")
        told = Told(value, why)
        if self.told.setdefault(number, told) is told:
            append_line(self._journal, {"tell": number, **asdict(told)})
        elif self.told[number].value != value:
            raise ValueError(f"trial {number} was told to be {self.told[number].value}, now {value}")

    def _read(self) -> None:
        header = {"search": _described(self.config)}
        lines = read_lines(self._journal)
        if not lines:
            append_line(self._journal, header)
        elif lines[0] != header:
            raise InputError(
                "the journal is of a search with another method, seed or space",
                where=str(self._journal),
                fix="restore sweep.search, or move the journal away to search anew",
            )
        for line in lines[1:]:
            if "ask" in line:
                self.asked[line["ask"]] = line["values"]
            else:
                self.told[line["tell"]] = Told(line["value"], line["why"])

    def _fresh(self, number: int) -> dict[str, Any]:
        """A combination that was not tried: the sampler's, or at random where it only repeats itself."""
        tried = {_key(values) for values in self.asked.values()}
        proposals = (self._proposed(number, draw) for draw in count())
        return next(values for values in proposals if _key(values) not in tried)

    def _proposed(self, number: int, draw: int) -> dict[str, Any]:
        """What the sampler proposes from what was told; trials still under way count as bad, so it looks elsewhere."""
        create, samplers, seed = self._optuna.create_study, self._optuna.samplers, self._seed(number, draw)
        if self.config.method == "random" or draw >= DRAWS:
            study = create(sampler=samplers.RandomSampler(seed=seed))
        else:
            study = create(sampler=samplers.TPESampler(seed=seed, n_startup_trials=STARTUP, constant_liar=True))
            study.add_trials([self._past(before) for before in sorted(self.asked)])
        params = study.ask(self._distributions).params
        return {key: self._value(key, params[key]) for key in self.config.space}

    def _past(self, number: int) -> Any:
        told, states = self.told.get(number), self._optuna.trial.TrialState
        state = states.RUNNING if told is None else states.FAIL if told.value is None else states.COMPLETE
        params = {key: self._param(key, value) for key, value in self.asked[number].items()}
        return self._optuna.trial.create_trial(
            state=state, value=told.value if told else None, params=params, distributions=self._distributions
        )

    def _distribution(self, key: str, span: list[Any] | Range) -> Any:
        """A key's values as Optuna has them; those of a list by their numbers, as it knows no lists or mappings."""
        kinds = self._optuna.distributions
        if not isinstance(span, Range):
            return kinds.CategoricalDistribution(tuple(range(len(span))))
        if _whole(key):
            return kinds.IntDistribution(span.low, span.high, log=span.log)
        return kinds.FloatDistribution(span.low, span.high, log=span.log)

    def _value(self, key: str, param: Any) -> Any:
        span = self.config.space[key]
        return param if isinstance(span, Range) else span[param]

    def _param(self, key: str, value: Any) -> Any:
        span = self.config.space[key]
        # by their texts, as True == 1
        return value if isinstance(span, Range) else [flow(one) for one in span].index(flow(value))

    def _points(self) -> float:
        """How many combinations the space holds."""
        counts = []
        for key, span in self.config.space.items():
            if not isinstance(span, Range):
                counts.append(float(len(span)))
            else:
                counts.append(span.high - span.low + 1.0 if _whole(key) else math.inf)
        return math.prod(counts)

    def _seed(self, number: int, draw: int) -> int:
        """A seed of its own for each proposal."""
        digest = hashlib.sha256(f"{self.config.seed} {number} {draw}".encode()).digest()
        return int.from_bytes(digest[:4], "big")


def dev_score(run: RunDir) -> float | None:
    """Bits per byte of the dev texts with the weights that the training kept; None where it recorded none.

    These are the numbers of `train/metrics.jsonl`, which training takes on a little of each dev group. The test
    texts have no part in them.
    """
    if run.finished("train") is None:
        return None
    kept = read_json(run.training)["result"]["step"]
    looks = [line["dev_bpb"] for line in read_lines(run.metrics) if line["step"] == kept and "dev_bpb" in line]
    score: float | None = looks[-1] if looks else None
    return score


def _described(config: SearchConfig) -> dict[str, Any]:
    """What makes a search this search: all but how long it goes on."""
    space = {k: asdict(span) if isinstance(span, Range) else span for k, span in config.space.items()}
    return {"method": config.method, "seed": config.seed, "space": space}


def _whole(key: str) -> bool:
    return kind_of(LEAVES[key]) is int


def _key(values: Mapping[str, Any]) -> str:
    return json.dumps(values, sort_keys=True)
