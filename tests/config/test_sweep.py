"""The keys `ablations`, `seeds` and `sweep` as written in a file: what they may hold, and what is said otherwise."""

from __future__ import annotations

from itertools import product
from math import prod
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.config.load import Loaded, load_text, resolved_yaml
from assay.config.sweep import Matrix, Range, combinations, fixed, how_many
from assay.core.errors import InputError
from assay.core.identity import NOT_IDENTITY

HEAD = "schema: 1\nname: a\nbase: b\ndata: {source: x.txt}\n"  # 4 lines
FILE = Path("exp.yaml")


def load(text: str, *overrides: str) -> Loaded:
    return load_text(HEAD + text + "\n", FILE, overrides)


def refusal(text: str, *overrides: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load(text, *overrides)
    return caught.value


def test_what_a_file_may_hold() -> None:
    found = load(
        "seeds: [3, 1]\n"
        "ablations:\n"
        "  rank: {adapter.rank: [4, 64], adapter.alpha: [8, 128]}\n"
        "  targets: {adapter.targets: [attention, [q_proj, v_proj]]}\n"
        "sweep: {workers: 2}\n"
    ).matrix
    assert found.seeds == [3, 1]
    assert found.ablations["rank"] == {"adapter.rank": [4, 64], "adapter.alpha": [8, 128]}
    assert found.ablations["targets"]["adapter.targets"][1] == ["q_proj", "v_proj"]
    assert (found.sweep.workers, found.sweep.cross, found.sweep.search.space) == (2, False, {})
    space = load(
        "sweep:\n  search:\n    space:\n      train.learning_rate: {low: 1e-5, high: '1e-3', log: true}\n"
        "      adapter.rank: [4, 8]\n"
    ).matrix.sweep.search.space
    assert space == {"train.learning_rate": Range(1e-5, 1e-3, log=True), "adapter.rank": [4, 8]}
    assert load("").matrix == Matrix()


def test_a_run_takes_the_first_seed_and_holds_nothing_of_the_matrix() -> None:
    text = "seeds: [7, 8]\nablations: {rank: {adapter.rank: [4]}}\nsweep: {cross: false}"
    loaded = load(text)
    assert loaded.experiment.seed == 7
    assert loaded.origins["seed"] == "file"
    resolved = resolved_yaml(loaded)
    assert not {line.partition(":")[0] for line in resolved.splitlines()} & set(Matrix.model_fields)
    assert load_text(resolved, FILE).experiment == loaded.experiment
    assert loaded.experiment == load("seed: 7").experiment
    assert (load(text, "seed=5").experiment.seed, load(text, "seed=5").matrix.seeds) == (5, None)
    other = load("seed: 7", "seeds=[2, 3]")
    assert (other.experiment.seed, other.origins["seed"]) == (2, "--set")
    assert load("seed: 7\nseeds: [7, 8]").experiment.seed == 7


def test_paths_of_levels_count_from_the_file_or_from_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder in ("exp/own", "work/own"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    text = HEAD.replace("x.txt}", "x.txt, split: {dev: d.txt, test: t.txt}}")
    factors = "{base: {base: [own, distilgpt2]}, texts: {data.source: [[y.txt, 'gutenberg:84'], z.txt]}}"
    within = load_text(f"{text}ablations: {factors}\n", tmp_path / "exp" / "e.yaml").matrix.ablations
    assert within["base"]["base"] == [str(tmp_path / "exp/own"), "distilgpt2"]
    texts = [[str(tmp_path / "exp/y.txt"), "gutenberg:84"], str(tmp_path / "exp/z.txt")]
    assert within["texts"]["data.source"] == texts
    given = load_text(text, tmp_path / "exp" / "e.yaml", [f"ablations={factors}"]).matrix.ablations
    assert given["base"]["base"] == [str(tmp_path / "work/own"), "distilgpt2"]
    space = load_text(f"{text}sweep: {{search: {{space: {{base: [own, x]}}}}}}\n", tmp_path / "exp" / "e.yaml")
    assert space.matrix.sweep.search.space["base"] == [str(tmp_path / "exp/own"), "x"]


@pytest.mark.parametrize(
    ("text", "where", "what", "fix"),
    [
        ("ablations: {rank: {adapter.rnk: [4]}}", "5:20 (ablations.rank.adapter.rnk)", "there is no key adapter.rnk",
         "did you mean adapter.rank?"),
        ("ablations:\n  r:\n    adapter.rank: [4, 64]\n    adapter.alpha: [8]", "6:3 (ablations.r)",
         "2 of adapter.rank and 1 of adapter.alpha", "each key as many values"),
        ("ablations: {rank: {adapter.rank: 4}}", "5:20 (ablations.rank.adapter.rank)", "is 4, which is no list",
         "write [4]"),
        ("ablations: {rank: {adapter.rank: []}}", "5:20 (ablations.rank.adapter.rank)", "an empty list", "at least"),
        ("ablations: {rank: [4, 8]}", "5:13 (ablations.rank)", "does not say which key", "rank: {adapter.rank: [4"),
        ("ablations: {rank: }", "5:13 (ablations.rank)", "does not say which key", "rank: {adapter.rank: [4"),
        ("ablations: {rank: {adapter: {rank: [4]}}}", "5:20 (ablations.rank.adapter)", "is a section", "adapter.rank"),
        ("ablations: {rank: {adapter: [4]}}", "5:20 (ablations.rank.adapter)", "adapter is a section", "adapter.rank"),
        ("ablations: [4]", "5:12 (ablations)", "is [4]", "{factor: {section.key: [values]}}"),
        ("ablations: {my rank: {adapter.rank: [4]}}", "5:13 (ablations.my rank)", "no name for a factor", "letters"),
        ("ablations: {r: {adapter.rank: [4, 4]}}", "5:13 (ablations.r)", "the level adapter.rank=4 twice", "once"),
        ("ablations:\n  r: {adapter.rank: [4]}\n  r: {adapter.rank: [8]}", "7:3", "the key r stands twice", "keep one"),
        ("ablations: {a: {adapter.rank: [4, 5]}, b: {adapter.rank: [6, 7]}}\nsweep: {cross: true}",
         "5:40 (ablations.b)", "is changed by the factors a and b", "in one factor"),
        ("ablations: {a: {adapter.rank: [4]}}\nsweep: {cross: true}", "5:13 (ablations.a)", "has one value",
         "give more values"),
        ("seeds: 3", "5:8 (seeds)", "seeds is 3", "such as `[0, 1, 2]`"),
        ("seeds: []", "5:8 (seeds)", "seeds is []", "such as `[0, 1, 2]`"),
        ("seeds: [0, -1]", "5:12 (seeds)", "holds -1", "integers ≥ 0"),
        ("seeds: [0, 1.5]", "5:12 (seeds)", "holds 1.5", "integers ≥ 0"),
        ("seeds: [0, 1, 0]", "5:8 (seeds)", "holds 0 twice", "once"),
        ("seeds: [0, 1]\nseed: 5", "6:7 (seed)", "seed is 5 and seeds is [0, 1]", "remove seed"),
        ("sweep: {crss: true}", "5:9 (sweep.crss)", "there is no key sweep.crss", "did you mean sweep.cross?"),
        ("sweep: {workers: 0}", "5:18 (sweep.workers)", "sweep.workers is 0", "`auto` or an integer ≥ 1"),
        ("sweep: {workers: all}", "5:18 (sweep.workers)", "sweep.workers is 'all'", "`auto` or an integer ≥ 1"),
    ],
)  # fmt: skip
def test_mistakes(text: str, where: str, what: str, fix: str) -> None:
    error = refusal(text)
    assert error.where == f"exp.yaml:{where}"
    assert what in error.what
    assert error.fix is not None
    assert fix in error.fix


RATE = "sweep.search.space.train.learning_rate"
RANK = "sweep.search.space.adapter.rank"


@pytest.mark.parametrize(
    ("space", "where", "what", "fix"),
    [
        ("train.learning_rate: {low: 1e-3, high: 1e-5}", RATE, "goes from 0.001 to 1e-05", "low < high"),
        ("train.learning_rate: {low: 1, high: 1}", RATE, "goes from 1 to 1", "low < high"),
        ("train.learning_rate: {low: 0, high: 1e-3, log: true}", RATE, "logarithmic and begins at 0", "low > 0"),
        ("train.learning_rate: {low: a, high: 1e-3}", RATE, "bound 'a'", "numbers"),
        ("train.learning_rate: {low: 0, high: .inf}", RATE, "no finite number", "numbers"),
        ("train.learning_rate: {low: 1e-5, high: 1e-3, log: 10}", RATE, "log: 10", "true"),
        ("train.learning_rate: {low: 1e-5, hi: 1e-3}", RATE, "has no key hi", "{low: 1e-5"),
        ("train.learning_rate: {low: 1e-5}", RATE, "lacks low or high", "{low: 1e-5"),
        ("train.learning_rate: 3", RATE, "neither a list nor a range", "[4, 8]"),
        ("adapter.rank: [4]", RANK, "fewer than two", "several"),
        ("adapter.rank: [4, 8, 4]", RANK, "holds 4 twice", "once"),
        ("adapter.rank: {low: 0.5, high: 8}", RANK, "a whole number", "whole numbers"),
        ("adapter.kind: {low: 1, high: 2}", "sweep.search.space.adapter.kind", "is no number", "full, lora"),
        ("adapter.rnk: [4, 8]", "sweep.search.space.adapter.rnk", "there is no key", "did you mean adapter.rank?"),
        ("train.max_length: [64, 128]", "sweep.search.space.train.max_length", "window that dev texts", "ablations"),
        ("evaluate.window: [64, 128]", "sweep.search.space.evaluate.window", "measured differently", "once"),
    ],
)
def test_mistakes_in_a_search(space: str, where: str, what: str, fix: str) -> None:
    error = refusal(f"sweep: {{search: {{space: {{{space}}}}}}}")
    assert error.where == f"exp.yaml:5:26 ({where})"
    assert what in error.what
    assert error.fix is not None
    assert fix in error.fix


def test_a_search_and_ablations_are_one_or_the_other() -> None:
    space = "sweep: {search: {space: {adapter.rank: [4, 8]}}}"
    error = refusal(f"ablations: {{rank: {{adapter.rank: [4]}}}}\n{space}")
    assert error.where == "exp.yaml:6:25 (sweep.search.space)"
    assert load(f"ablations: {{rank: {{adapter.rank: [4]}}}}\n{space}", "ablations={}").matrix.sweep.search.space
    assert "no space to search in" in refusal("sweep: {search: {trials: 3}}").what


@pytest.mark.parametrize(
    ("key", "reason", "fix"),
    [
        ("name", "the same for all its runs", "leave it out"),
        ("schema", "the same for all its runs", "leave it out"),
        ("ablations", "the same for all its runs", "leave it out"),
        ("sweep.cross", "the same for all its runs", "leave it out"),
        ("seed", "is no factor", "seeds: [0, 1, 2]"),
        ("track", "the same run", "once"),
        *((f"train.{key}", "the same run", "once") for key in NOT_IDENTITY),
        ("evaluate.window", "measured differently", "once"),
        ("evaluate.judge.model", "measured differently", "once"),
        ("data.split.test", "different test texts", "data.split.train_rows"),
        ("data.split.dev", "different test texts", "data.split.train_rows"),
        ("data.split.seed", "different test texts", "data.split.train_rows"),
        ("data.source", "different test texts", "files of their own"),
        ("data.clean.near_duplicates", "different test texts", "files of their own"),
        ("data.max_rows", "different test texts", "nested choices"),
    ],
)
def test_what_must_not_change_between_runs(key: str, reason: str, fix: str) -> None:
    error = refusal(f"ablations: {{x: {{{key}: [1, 2]}}}}")
    assert error.where == f"exp.yaml:5:17 (ablations.x.{key})"
    assert error.what.startswith(key)
    assert reason in error.what
    assert error.fix is not None
    assert fix in error.fix


def test_what_may_change_between_runs() -> None:
    keys = ("base", "adapter.rank", "adapter.kind", "train.max_length", "train.loss_on", "data.split.train_rows")
    assert all(fixed(key, held_out_files=False) is None for key in keys)
    assert fixed("data.source", held_out_files=True) is None
    assert fixed("data.group", held_out_files=True)


@given(st.lists(st.integers(1, 4), max_size=4), st.booleans())
def test_every_combination_once(counts: list[int], cross: bool) -> None:
    ablations = {f"f{n}": {"adapter.rank": list(range(count))} for n, count in enumerate(counts)}
    matrix = Matrix.model_construct(ablations=ablations, sweep=Matrix().sweep.model_copy(update={"cross": cross}))
    found = [tuple(sorted(one.items())) for one in combinations(matrix)]
    assert len(found) == len(set(found)) == how_many(matrix) == (prod(counts) if cross else 1 + sum(counts))
    if cross:
        numbers = [tuple(one.values()) for one in combinations(matrix)]
        assert numbers == list(product(*map(range, counts)))
    else:
        assert found[0] == ()
        assert all(len(one) == 1 for one in found[1:])
