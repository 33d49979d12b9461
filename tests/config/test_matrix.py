"""From an experiment file to all its experiments: which there are, what they are called, and what is refused."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config.load import load_experiment
from assay.config.matrix import Variant, trial, variants
from assay.config.sweep import Matrix
from assay.core.errors import InputError

HEAD = "schema: 1\nname: a\nbase: b\ndata: {source: x.txt}\nadapter: {rank: 8}\ntrain: {steps: 16}\n"  # 6 lines
PAGE = Path(__file__).parents[2] / "docs" / "ablations.md"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "e.yaml"


def found(file: Path, text: str, *overrides: str) -> list[Variant]:
    file.write_text(HEAD + text + "\n", encoding="utf-8")
    return variants(file, overrides)


def refusal(file: Path, text: str, *overrides: str) -> InputError:
    with pytest.raises(InputError) as caught:
        found(file, text, *overrides)
    return caught.value


def test_one_factor_at_a_time(file: Path) -> None:
    every = found(file, "seeds: [0, 1]\nablations: {rank: {adapter.rank: [4, 8, 64]}, base: {base: [c, b]}}")
    assert [(one.name, one.seed) for one in every] == [
        ("baseline", 0), ("baseline", 1), ("rank=4", 0), ("rank=4", 1), ("rank=64", 0), ("rank=64", 1),
        ("base=c", 0), ("base=c", 1),
    ]  # fmt: skip
    assert [one.factors for one in every[::2]] == [{}, {"rank": "4"}, {"rank": "64"}, {"base": "c"}]
    assert [one.overrides for one in every[::2]] == [(), ("adapter.rank=4",), ("adapter.rank=64",), ('base="c"',)]
    assert [(e.seed, e.adapter.rank, e.base) for e in (one.loaded.experiment for one in every)][2:4] == [
        (0, 4, "b"), (1, 4, "b"),
    ]  # fmt: skip


def test_crossed_the_experiment_itself_comes_first_and_nothing_twice(file: Path) -> None:
    text = "ablations: {rank: {adapter.rank: [4, 8, 8.0]}, base: {base: [c, b]}}\nsweep: {cross: true}"
    error = refusal(file, text)
    assert "adapter.rank is 8.0" in error.what
    every = found(file, text.replace("8.0", "16"))
    assert [one.name for one in every] == [
        "rank=8 base=b", "rank=4 base=c", "rank=4 base=b", "rank=8 base=c", "rank=16 base=c", "rank=16 base=b",
    ]  # fmt: skip
    assert every[0].factors == {"rank": "8", "base": "b"}
    assert every[0].overrides == ("adapter.rank=8", 'base="b"')


def test_without_a_matrix_there_is_the_experiment_alone(file: Path) -> None:
    (one,) = found(file, "")
    assert (one.name, one.factors, one.overrides, one.seed) == ("baseline", {}, (), 42)
    assert [v.name for v in found(file, "sweep: {cross: true}")] == ["baseline"]
    assert [v.seed for v in found(file, "seeds: [4, 5]", "seed=9")] == [9]
    assert [v.seed for v in found(file, "seed: 4", "seeds=[5, 6]")] == [5, 6]
    searching = found(file, "sweep: {search: {space: {adapter.rank: [2, 4]}}}")
    assert [v.name for v in searching] == ["baseline"]


def test_a_level_takes_the_place_of_what_it_excludes(file: Path) -> None:
    text = (
        "ablations:\n"
        "  rows-equal-steps: {data.split.train_rows: [100, 300]}\n"
        "  rows-equal-epochs: {data.split.train_rows: [100, 300], train.epochs: [1, 1]}\n"
        "  kind: {adapter.kind: [full, qlora]}\n"
    )
    every = {one.name: one for one in found(file, text, "train.steps=4", "adapter.alpha=3", "train.warmup=0")}
    assert list(every) == [
        "baseline", "rows-equal-steps=100", "rows-equal-steps=300", "rows-equal-epochs=100", "rows-equal-epochs=300",
        "kind=full", "kind=qlora",
    ]  # fmt: skip
    epochs, full, qlora = (every[name] for name in ("rows-equal-epochs=300", "kind=full", "kind=qlora"))
    assert (epochs.loaded.experiment.train.epochs, epochs.loaded.experiment.train.steps) == (1.0, None)
    assert epochs.loaded.experiment.data.split.train_rows == 300
    assert "train.steps=4" not in epochs.overrides
    assert (full.loaded.experiment.train.steps, full.loaded.experiment.train.warmup) == (4, 0.0)
    assert full.overrides == ("train.steps=4", "train.warmup=0", 'adapter.kind="full"')
    assert (qlora.loaded.experiment.adapter.rank, qlora.loaded.experiment.adapter.alpha) == (8, 3.0)


def test_paths_are_absolute_and_their_labels_short(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file.parent / "models" / "own").mkdir(parents=True)
    file.write_text(
        HEAD.replace("x.txt}", "x.txt, split: {dev: d.txt, test: t.txt}}") + "ablations:\n"
        "  base: {base: [models/own, o/SmolLM2-135M@main, 'scratch:gpt2-tiny']}\n"
        "  texts: {data.source: [a/rows.csv, b/rows.csv, [p.txt, q.txt]]}\n"
        "  targets: {adapter.targets: [attention, [q_proj, k_proj, v_proj, o_proj]]}\n"
        "  noise: {train.neftune_alpha: [5, 2.5], adapter.rslora: [true, true]}\n"
    )
    elsewhere = file.parent / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    every = variants(Path(os.path.relpath(file)))
    assert [one.name for one in every] == [
        "baseline", "base=own", "base=SmolLM2-135M@main", "base=scratch:gpt2-tiny", "texts=a/rows.csv",
        "texts=b/rows.csv", f"texts={file.parent.name}/p.txt+{file.parent.name}/q.txt"[:29] + "…",
        "targets=attention", "targets=q_proj+k_proj+v_proj+o_…", "noise=5", "noise=2.5",
    ]  # fmt: skip
    assert every[1].overrides == (f'base="{file.parent / "models/own"}"',)
    assert every[4].loaded.experiment.data.source == str(file.parent / "a/rows.csv")


def test_labels_that_cannot_tell_levels_apart_are_numbered(file: Path) -> None:
    names = ["q_projection_of_all_layers_1", "q_projection_of_all_layers_2"]
    every = found(file, f"ablations: {{t: {{adapter.targets: [[{names[0]}], [{names[1]}]]}}}}")
    assert [one.name for one in every[1:]] == [f"t=q_projection_of_all_lay…#{n}" for n in (1, 2)]
    slugs = [one.slug for one in every]
    assert len(set(slugs)) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9.=_-]+", slug) for slug in slugs)


def test_a_slug_is_the_name_where_that_can_name_a_file(file: Path) -> None:
    text = "ablations: {rank: {adapter.rank: [4, 8]}, base: {base: [c, b]}}"
    assert [one.slug for one in found(file, text)] == ["baseline", "rank=4", "base=c"]
    crossed = found(file, text + "\nsweep: {cross: true}")
    assert all(re.fullmatch(r"rank=\d_base=\w-[0-9a-f]{6}", one.slug) for one in crossed)
    assert len({one.slug for one in crossed}) == 4


LEVELS = {
    "adapter.rank": st.integers(1, 9), "train.learning_rate": st.floats(1e-6, 1.0), "base": st.sampled_from("bcd"),
    "train.epochs": st.integers(1, 4), "train.schedule": st.sampled_from(["constant", "linear", "cosine"]),
}  # fmt: skip


@settings(max_examples=40)
@given(st.data())
def test_what_set_would_make_of_a_variant_is_that_variant(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """The overrides and the seed give the same experiment, and no two variants are the same."""
    keys = data.draw(st.lists(st.sampled_from(sorted(LEVELS)), unique=True, min_size=1, max_size=3))
    factors = {key: data.draw(st.lists(LEVELS[key], unique=True, min_size=2, max_size=3)) for key in keys}
    written = ", ".join(f"f{n}: {{{key}: {values}}}" for n, (key, values) in enumerate(factors.items()))
    file = tmp_path_factory.mktemp("a") / "e.yaml"
    cross = data.draw(st.booleans())
    file.write_text(f"{HEAD}seeds: [1, 2]\nablations: {{{written}}}\nsweep: {{cross: {str(cross).lower()}}}\n")
    given = data.draw(st.sampled_from([[], ["adapter.alpha=3"], ["train.steps=5"], ["train={steps: 5}"]]))
    every = variants(file, given)
    for one in every:
        again = load_experiment(file, [*one.overrides, f"seed={one.seed}"])
        assert again.experiment == one.loaded.experiment
        assert not any(hasattr(one.loaded.experiment, key) for key in Matrix.model_fields)
    experiments = [one.loaded.experiment.model_dump_json() for one in every]
    assert len(set(experiments)) == len(experiments) == len({(one.name, one.seed) for one in every})
    assert len(every) % 2 == 0
    plain = load_experiment(file, given).experiment
    same = [at for at, one in enumerate(every) if one.loaded.experiment == plain]
    assert same == ([0] if not cross else same[:1])
    assert not same or same == [0]


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("ablations: {rank: {adapter.rank: [4, 0]}}", "7:38 (ablations.rank.adapter.rank)",
         "adapter.rank is 0, which is not allowed (in rank=0)"),
        ("ablations: {when: {adapter.rank: [2024-01-01]}}", "7:35 (ablations.when.adapter.rank)",
         "adapter.rank is 2024-01-01, which is not allowed (in when=2024-01-01)"),
        ("ablations: {length: {train.max_length: [128, 4096]}}", "7:46 (ablations.length.train.max_length)",
         "a sequence longer than a batch cannot be packed (in length=4096)"),
        ("ablations: {same: {adapter.rank: [8]}}", "7:13 (ablations.same)", "the factor same changes nothing"),
        ("ablations: {a: {adapter.rank: [4]}, b: {adapter.rank: [4, 8]}}", "7:37 (ablations.b)",
         "the factor b changes nothing"),
        ("ablations: {r: {adapter.rank: [4, 8]}, k: {adapter.kind: [full, lora]}}\nsweep: {cross: true}",
         "", "adapter.kind is full, which trains every weight and has no rank (in r=4 k=full)"),
        ("sweep: {search: {space: {adapter.rank: {low: 0, high: 4}}}}", "7:26 (sweep.search.space.adapter.rank)",
         "adapter.rank is 0, which is not allowed (in adapter.rank=0)"),
        ("sweep: {search: {space: {train.schedule: [linear, cosin]}}}", "7:26 (sweep.search.space.train.schedule)",
         "train.schedule is 'cosin', which is not allowed (in train.schedule=cosin)"),
    ],
)  # fmt: skip
def test_levels_that_make_no_experiment(file: Path, text: str, where: str, what: str) -> None:
    error = refusal(file, text)
    assert str(error.where) == f"{file}:{where}".rstrip(":")
    assert what in error.what
    assert error.fix


def test_all_wrong_levels_in_one_message(file: Path) -> None:
    error = refusal(file, "ablations: {rank: {adapter.rank: [4, 0, many]}, kind: {adapter.kind: [lroa]}}")
    assert error.what.startswith("3 problems")
    assert "(in rank=many)" in error.what
    assert "did you mean lora?" in error.what


def test_too_many_runs_are_refused_before_they_are_made(file: Path) -> None:
    ranks = list(range(1, 1001))
    text = f"seeds: [0, 1]\nablations: {{r: {{adapter.rank: {ranks}}}, a: {{adapter.alpha: {ranks}}}}}"
    error = refusal(file, text + "\nsweep: {cross: true}")
    assert "1,000,000 combinations × 2 seeds make 2,000,000 runs, and sweep.max_runs is 200" in error.what
    assert len(found(file, "ablations: {r: {adapter.rank: [1, 2, 3]}}\nsweep: {max_runs: 4}")) == 4
    assert "4 combinations × 1 seed make 4 runs" in refusal(
        file, "ablations: {r: {adapter.rank: [1, 2, 3]}}\nsweep: {max_runs: 3}"
    ).what  # fmt: skip


def test_a_trial_is_named_by_its_number(file: Path) -> None:
    space = "sweep: {search: {space: {adapter.rank: [4, 16], train.learning_rate: {low: 1e-5, high: 1e-2}}}}"
    found(file, f"seeds: [0, 1]\n{space}")
    pair = trial(file, 3, {"adapter.rank": 4, "train.learning_rate": 0.00123456789}, ["train.warmup=0"])
    assert [(one.name, one.seed) for one in pair] == [("trial 3", 0), ("trial 3", 1)]
    assert pair[0].factors == {"adapter.rank": "4", "train.learning_rate": "0.001235"}
    assert pair[0].overrides == ("train.warmup=0", "adapter.rank=4", "train.learning_rate=0.00123456789")
    assert pair[1].loaded.experiment.train.learning_rate == 0.00123456789
    with pytest.raises(InputError, match=r"adapter\.rank is 0"):
        trial(file, 4, {"adapter.rank": 0})


def test_the_documented_examples_are_what_the_page_says(file: Path) -> None:
    blocks = re.findall(r"```yaml\n(.*?)```\n\n(?:(\d+) runs)?", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    counted = [(text, int(runs)) for text, runs in blocks if runs]
    assert len(counted) >= 4
    for text, runs in counted:
        # an example that has a section of its own stands for the whole file's
        own = {line.split(":")[0] for line in text.splitlines()}
        head = [line for line in HEAD.splitlines() if line.split(":")[0] not in own]
        given = re.sub("^data: {", "data: {source: x.txt, ", text)
        file.write_text("\n".join([*head, given]), encoding="utf-8")
        assert len(variants(file)) == runs, text
