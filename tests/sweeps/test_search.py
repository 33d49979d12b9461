"""Searches: the same proposals whether killed or not, none twice, the best one found; dev scores of what was kept."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config.sweep import Range, SearchConfig
from assay.core.errors import InputError
from assay.core.files import append_line, read_lines, write_json, write_lines
from assay.core.rundir import RunDir
from assay.sweeps.search import DRAWS, JOURNAL, STARTUP, Search, Trial, dev_score

SPACE: dict[str, Any] = {
    "train.learning_rate": {"low": 1e-5, "high": 1e-1, "log": True},
    "adapter.rank": [2, 4, 8],
    "adapter.targets": ["attention", ["q_proj", "v_proj"]],
    "train.batch_tokens": {"low": 512, "high": 4096},
}


def config(space: Mapping[str, Any] = SPACE, **others: Any) -> SearchConfig:
    return SearchConfig.model_validate({"space": dict(space), "trials": 14} | others)


def score(values: Mapping[str, Any]) -> float | None:
    """Best at a rate of 1e-3; every seventh or so fails."""
    if values["train.batch_tokens"] % 7 == 0:
        return None
    return (math.log10(values["train.learning_rate"]) + 3) ** 2 + values["adapter.rank"] / 100


def work(search: Search, workers: int = 1, *, most: int = 10**6) -> list[Trial]:
    """Ask and tell with so many trials under way at a time, the oldest of them told first; `most` asked for."""
    done, under_way = [], list[Trial]()
    while True:
        while len(under_way) < workers and len(done) < most and (trial := search.ask()):
            done.append(trial)
            under_way.append(trial)
        if not under_way or len(done) >= most:
            return done
        first = under_way.pop(0)
        search.tell(first.number, score(first.values), None if score(first.values) else "the loss is not finite")


@pytest.mark.parametrize("method", ["tpe", "random"])
def test_proposals_lie_in_the_space(method: str, tmp_path: Path) -> None:
    trials = work(Search(config(method=method, trials=30), tmp_path))
    assert [trial.number for trial in trials] == list(range(30))
    for trial in trials:
        assert list(trial.values) == list(SPACE)
        assert 1e-5 <= trial.values["train.learning_rate"] <= 1e-1
        assert trial.values["adapter.rank"] in (2, 4, 8)
        assert trial.values["adapter.targets"] in SPACE["adapter.targets"]
        assert isinstance(trial.values["train.batch_tokens"], int)
        assert 512 <= trial.values["train.batch_tokens"] <= 4096
    below = sum(trial.values["train.learning_rate"] < 1e-3 for trial in trials)
    assert method == "tpe" or 8 <= below <= 22  # half of a logarithmic range


def test_overrides_are_what_set_would_take() -> None:
    trial = Trial(0, {"adapter.rank": 4, "adapter.targets": ["q_proj"], "base": "a b"})
    assert trial.overrides == ("adapter.rank=4", 'adapter.targets=["q_proj"]', 'base="a b"')


@settings(max_examples=25, deadline=None)
@given(
    method=st.sampled_from(["tpe", "random"]),
    workers=st.integers(1, 3),
    kills=st.lists(st.tuples(st.integers(0, 9), st.booleans()), max_size=4),
)
def test_a_search_that_is_killed_goes_on_as_if_it_had_not_been(
    tmp_path_factory: pytest.TempPathFactory, method: str, workers: int, kills: list[tuple[int, bool]]
) -> None:
    folder = tmp_path_factory.mktemp("s")
    whole = work(Search(config(method=method), folder / "whole"), workers)
    assert len(whole) == 14
    for most, torn in kills:
        work(Search(config(method=method), folder / "killed"), workers, most=most)
        if torn:  # killed while writing a line
            with (folder / "killed" / JOURNAL).open("a") as journal:
                journal.write('{"ask": 99, "val')
    work(Search(config(method=method), folder / "killed"), workers)
    resumed = Search(config(method=method), folder / "killed")
    assert resumed.asked == {trial.number: trial.values for trial in whole}
    assert resumed.told.keys() == resumed.asked.keys()
    assert resumed.ask() is None
    asked = [line["ask"] for line in read_lines(folder / "killed" / JOURNAL) if "ask" in line]
    assert asked == list(range(14))


def test_other_seeds_and_methods_propose_otherwise(tmp_path: Path) -> None:
    first = {
        (method, seed): work(Search(config(method=method, seed=seed), tmp_path / f"{method}{seed}"))
        for method in ("tpe", "random") for seed in (0, 1)
    }  # fmt: skip
    assert first["tpe", 0] != first["tpe", 1]
    assert first["random", 0] != first["random", 1]
    assert first["tpe", 0] != first["random", 0]


def test_tpe_comes_nearer_to_the_best_than_chance(tmp_path: Path) -> None:
    space = {"train.learning_rate": SPACE["train.learning_rate"]}

    def distances(method: str, seed: int) -> list[float]:
        search = Search(config(space, method=method, seed=seed, trials=30), tmp_path / f"{method}{seed}")
        found = []
        while trial := search.ask():
            found.append(abs(math.log10(trial.values["train.learning_rate"]) + 3))
            search.tell(trial.number, found[-1])
        return found[STARTUP:]

    mean = {m: sum(sum(distances(m, seed)) for seed in range(3)) / 60 for m in ("tpe", "random")}
    assert mean["random"] == pytest.approx(1.0, abs=0.25)  # uniform over two decades to each side
    assert mean["tpe"] < 0.7 * mean["random"]


def test_the_sampler_is_optunas_own_with_the_told_trials(tmp_path: Path) -> None:
    """Trial by trial the proposal is that of a study that has seen the same: failures and pending ones too."""
    space = {"adapter.rank": {"low": 1, "high": 4000}}
    search = Search(config(space, trials=20, seed=3), tmp_path)
    kinds = {"adapter.rank": optuna.distributions.IntDistribution(1, 4000)}
    states = optuna.trial.TrialState
    past = []
    for number in range(20):
        trial = search.ask()
        assert trial is not None
        sampler = optuna.samplers.TPESampler(seed=search._seed(number, 0), n_startup_trials=10, constant_liar=True)
        study = optuna.create_study(sampler=sampler)
        study.add_trials(past)
        assert study.ask(kinds).params == trial.values
        rank = trial.values["adapter.rank"]
        value = None if number % 5 == 4 else (rank - 900) ** 2 / 1e4
        if number % 6 < 5:
            search.tell(number, value)
        state = states.RUNNING if number % 6 == 5 else states.FAIL if value is None else states.COMPLETE
        value = value if state == states.COMPLETE else None
        past.append(optuna.trial.create_trial(state=state, value=value, params=trial.values, distributions=kinds))


@pytest.mark.parametrize("method", ["tpe", "random"])
def test_a_small_space_is_tried_whole_and_nothing_twice(method: str, tmp_path: Path) -> None:
    space = {"adapter.rank": {"low": 1, "high": 5}, "adapter.rslora": [True, False], "train.steps": [1, True]}
    search = Search(config(space, method=method, trials=100), tmp_path)
    found = []
    while trial := search.ask():
        found.append(tuple(trial.values.values()))
        search.tell(trial.number, float(trial.values["adapter.rank"]))
    assert len({repr(one) for one in found}) == len(found) == 20
    assert search.exhausted
    assert Search(config(space, method=method, trials=100), tmp_path).ask() is None


def test_an_even_smaller_share_left_is_found(tmp_path: Path) -> None:
    """The last of 400 combinations takes more draws than TPE is given."""
    space = {"adapter.rank": {"low": 1, "high": 400}}
    (tmp_path / JOURNAL).parent.mkdir(exist_ok=True)
    first = Search(config(space, trials=400), tmp_path)
    for number in range(399):
        append_line(tmp_path / JOURNAL, {"ask": number, "values": {"adapter.rank": number + 1}})
        append_line(tmp_path / JOURNAL, {"tell": number, "value": abs(number - 7.0), "why": None})
    assert first.told == {}
    again = Search(config(space, trials=400), tmp_path)
    proposed = [again._proposed(399, draw)["adapter.rank"] for draw in range(DRAWS)]
    assert 400 not in proposed
    assert again.ask() == Trial(399, {"adapter.rank": 400})
    assert again.best == 7


def test_what_is_told(tmp_path: Path) -> None:
    search = Search(config(), tmp_path)
    assert search.best is None
    for number in range(3):
        assert search.ask() == Trial(number, search.asked[number])
    search.tell(1, 2.5)
    search.tell(0, None, "memory ran out")
    search.tell(0, None, "memory ran out")
    search.tell(2, 2.5)
    assert search.best == 1
    assert [line.get("why") for line in read_lines(tmp_path / JOURNAL) if "tell" in line] == [
        None, "memory ran out", None,
    ]  # fmt: skip
    for number, value in ((0, 1.0), (1, None), (3, 1.0), (2, math.nan), (2, math.inf)):
        with pytest.raises(ValueError, match=f"trial {number}"):
            search.tell(number, value)
    assert Search(config(), tmp_path).told == search.told


def test_a_longer_search_goes_on_and_another_is_refused(tmp_path: Path) -> None:
    short = work(Search(config(trials=5), tmp_path / "a"))
    longer = work(Search(config(trials=9), tmp_path / "a"))
    assert [*short, *longer] == work(Search(config(trials=9), tmp_path / "b"))
    for other in (config(seed=1), config(method="random"), config({"adapter.rank": [2, 4]})):
        with pytest.raises(InputError, match="another method, seed or space"):
            Search(other, tmp_path / "a")
    assert isinstance(config().space["train.learning_rate"], Range)


def test_without_optuna_the_extra_is_named(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['optuna'] = None\n"
        "from assay.config.sweep import SearchConfig\nfrom assay.sweeps.search import Search\n"
        "from assay.core.errors import MachineError\nfrom pathlib import Path\n"
        "try: Search(SearchConfig(space={'adapter.rank': [2, 4]}), Path('.'))\n"
        "except MachineError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "pip install 'assay[search]'" in done.stdout


# --- what is searched for ---


def trained(folder: Path, looks: Mapping[int, float | None], kept: int) -> RunDir:
    run = RunDir(folder)
    lines: list[dict[str, Any]] = []
    for step in range(7):
        lines += [{"step": step, "loss": 9.0}] if step else []
        lines += [{"step": step, "dev_bpb": looks[step], "dev_low": None}] if step in looks else []
    write_lines(run.metrics, lines)
    write_json(run.training, {"result": {"step": kept, "best_step": 4, "best_dev_bpb": 1.2}})
    run.finish("train", key="k", outputs=[run.metrics, run.training], seconds=1.0)
    return run


def test_the_score_is_that_of_the_weights_that_were_kept(tmp_path: Path) -> None:
    looks = {0: 3.0, 2: 2.0, 4: 1.2, 6: 1.5}
    assert dev_score(trained(tmp_path / "last", looks, 6)) == 1.5
    assert dev_score(trained(tmp_path / "best", looks, 4)) == 1.2
    assert dev_score(trained(tmp_path / "unseen", looks, 5)) is None
    assert dev_score(trained(tmp_path / "broken", {6: None}, 6)) is None


def test_an_unfinished_training_has_no_score(tmp_path: Path) -> None:
    run = trained(tmp_path / "a", {6: 1.5}, 6)
    run.begin("train")
    assert dev_score(run) is None
    assert dev_score(RunDir(tmp_path / "none")) is None
