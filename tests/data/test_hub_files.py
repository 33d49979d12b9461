"""Which files are a split: the rules of the Hub's documentation, on its own examples, and what cannot be told."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core.errors import InputError
from assay.data.hub_files import Choice, by_glob, choose, matches, read_card


def take(files: list[str], card: dict[str, Any] | None = None, **asked: str) -> Choice:
    settings = {"revision": "main", "config": None, "split": None, "where": "hub:org/name"} | asked
    return choose(["README.md", ".gitattributes", *files], card or {}, **settings)  # type: ignore[arg-type]


def splits(files: list[str]) -> dict[str, list[str]]:
    """Every split of files that no card describes."""
    found = {}
    for split in ("train", "validation", "test", "random"):
        try:
            found[split] = take(files, split=split).files
        except InputError:
            continue
    return found


# the examples of "File names and splits"
@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["data.csv"], {"train": ["data.csv"]}),
        (
            ["train.csv", "test.csv", "validation.csv"],
            {"train": ["train.csv"], "test": ["test.csv"], "validation": ["validation.csv"]},
        ),
        (
            ["my_train_file_0.csv", "my_train_file_1.csv", "test-file.csv"],
            {"train": ["my_train_file_0.csv", "my_train_file_1.csv"], "test": ["test-file.csv"]},
        ),
        (["testfile.csv"], {"train": ["testfile.csv"]}),
        (
            ["data/train/a.csv", "data/train/b.csv", "data/test/c.csv", "data/validation/d.csv"],
            {
                "train": ["data/train/a.csv", "data/train/b.csv"],
                "test": ["data/test/c.csv"],
                "validation": ["data/validation/d.csv"],
            },
        ),
        (
            ["training.jsonl", "dev.jsonl", "eval.jsonl"],
            {"train": ["training.jsonl"], "validation": ["dev.jsonl"], "test": ["eval.jsonl"]},
        ),
        (
            ["data/train-00000-of-00002.csv", "data/train-00001-of-00002.csv", "data/random-00000-of-00001.csv"],
            {
                "train": ["data/train-00000-of-00002.csv", "data/train-00001-of-00002.csv"],
                "random": ["data/random-00000-of-00001.csv"],
            },
        ),
        # folders go before file names
        (["train/test_a.jsonl", "test/b.jsonl"], {"train": ["train/test_a.jsonl"], "test": ["test/b.jsonl"]}),
        # what is hidden or describes the data is no data
        (["a.jsonl", "dataset_infos.json", ".cache/b.jsonl", "__pycache__/c.jsonl"], {"train": ["a.jsonl"]}),
    ],
)
def test_splits_by_name(files, expected):
    assert splits(files) == expected
    assert take(files, split=next(iter(expected))).config is None


def test_the_only_split_is_taken_and_of_several_train():
    assert take(["test.csv"]) == Choice(["test.csv"], None, "test")
    assert take(["test.csv", "train.csv"]) == Choice(["train.csv"], None, "train")
    with pytest.raises(InputError, match="has several splits, and none is the default") as error:
        take(["dev.csv", "test.csv"])
    assert error.value.fix == "its splits are validation, test: add ?split=validation to the source"
    with pytest.raises(InputError, match="has no split 'dev'"):
        take(["train.csv", "test.csv"], split="dev")


@pytest.mark.parametrize(
    ("files", "taken"),
    [
        (["train.csv", "train.parquet", "train.jsonl"], ["train.parquet"]),
        (["train.parquet", "train.jsonl.zst"], ["train.parquet"]),
        (["stories.jsonl", "LICENSE.txt"], ["stories.jsonl"]),
        (["a.txt", "b.txt", "scripts/make.py"], ["a.txt", "b.txt"]),
        (["train.jsonl.gz", "image.png"], ["train.jsonl.gz"]),
    ],
)
def test_one_format_is_taken(files, taken):
    assert take(files).files == taken


@pytest.mark.parametrize(
    ("files", "words", "fix"),
    [
        (["train.csv", "train.jsonl"], "is there in several formats: .csv, .jsonl", "by a glob"),
        (["train.csv", "train.csv.gz"], "is there in several formats: .csv, .csv.gz", "by a glob"),
        (["train-0.jsonl.zst", "train-sample.jsonl"], "holds .zst files, which are not read", "refs/convert/parquet"),
        (["train.arrow"], "holds .arrow files", "refs/convert/parquet"),
        (
            ["name.py", "utils.py"],
            "holds only a loading script, and no code of a dataset is run",
            "refs/convert/parque",
        ),
        (["a.png", "b.png"], "holds no file of a format that is read", "choose another dataset"),
        ([], "holds no file of a format that is read", "choose another dataset"),
    ],
)
def test_what_cannot_be_read_or_told_is_said(files, words, fix):
    with pytest.raises(InputError, match=re.escape(words)) as error:
        take(files)
    assert error.value.where == "hub:org/name"
    assert fix in str(error.value.fix)


FILES = ["data/abc.csv", "data/def.csv", "holdout/ghi.csv", "extra.csv", "dataset_infos.json"]


# the examples of "Manual Configuration"
@pytest.mark.parametrize(
    ("entry", "train"),
    [
        ({"data_files": "data/*.csv"}, ["data/abc.csv", "data/def.csv"]),
        ({"data_files": ["extra.csv", "data/abc.csv"]}, ["data/abc.csv", "extra.csv"]),
        (
            {"data_files": [{"split": "train", "path": "data/*"}, {"split": "test", "path": "holdout/ghi.csv"}]},
            FILES[:2],
        ),
        ({"data_files": [{"split": "train", "path": ["data/abc.csv", "./data/def.csv"]}]}, FILES[:2]),
        ({"data_files": "**/*.csv"}, FILES[:4]),
        ({"data_files": "*.csv"}, ["extra.csv"]),
        ({"data_dir": "holdout"}, ["holdout/ghi.csv"]),
        ({"data_dir": "./data/", "data_files": "a*.csv"}, ["data/abc.csv"]),
        ({}, FILES[:4]),
        ({"data_files": "dataset_infos.json"}, ["dataset_infos.json"]),
    ],
)
def test_a_card_names_the_files(entry, train):
    assert take(FILES, {"configs": [{"config_name": "only"} | entry]}) == Choice(train, "only", "train")


def test_a_configuration_is_chosen():
    def entries(**flags: bool) -> dict[str, Any]:
        names = ("main_data", "additional_data", "more")
        files = ("extra.csv", "holdout/*", "data/*")
        return {
            "configs": [
                {"config_name": n, "data_files": f} | ({"default": True} if flags.get(n) else {})
                for n, f in zip(names, files, strict=True)
            ]
        }

    assert take(FILES, entries(additional_data=True)).config == "additional_data"
    assert take(FILES, entries(), config="more").files == FILES[:2]
    with pytest.raises(InputError, match="has several configs, and none is the default") as error:
        take(FILES, entries())
    assert "main_data, additional_data, more: add ?config=main_data" in str(error.value.fix)
    with pytest.raises(InputError, match="has no config 'en'"):
        take(FILES, entries(), config="en")
    plain = {"configs": [{"config_name": "other", "data_files": "data/*"}, {"data_files": "extra.csv"}]}
    assert take(FILES, plain) == Choice(["extra.csv"], "default", "train")


def test_without_a_card_a_configuration_is_a_folder():
    files = ["en/train.jsonl", "en/test.jsonl", "fr/train.jsonl"]
    assert take(files, config="fr") == Choice(["fr/train.jsonl"], "fr", "train")
    assert take(files, config="en", split="test").files == ["en/test.jsonl"]
    assert take(files, config="default").files == ["en/train.jsonl", "fr/train.jsonl"]
    with pytest.raises(InputError, match="has no config 'de': its card names none"):
        take(files, config="de")


def test_the_hubs_own_parquet():
    files = ["en/train/0000.parquet", "en/train/0001.parquet", "en/test/0000.parquet", "fr/partial-train/0000.parquet"]
    converted = {"revision": "refs/convert/parquet"}
    assert take(files, config="en", **converted) == Choice(files[:2], "en", "train")
    with pytest.raises(InputError, match="has several configs"):
        take(files, **converted)
    # a part is never taken for the whole: it has to be asked for by its name
    with pytest.raises(InputError, match="has no split 'train'"):
        take(files, config="fr", split="train", **converted)
    assert take(files, config="fr", **converted).split == "partial-train"


@pytest.mark.parametrize(
    ("configs", "words"),
    [
        ("data/*", "configs is no list"),
        (["data/*"], "configs is no list"),
        ([{"data_files": {"train": "data/*"}}], "data_files is neither"),
        ([{"data_files": [{"split": "train", "path": None}]}], "data_files is neither"),
        ([{"data_files": [{"split": "train", "path": "a"}, "b"]}], "data_files is neither"),
        ([{"data_files": [{"split": "a", "path": "*.csv"}, {"split": "a", "path": "*"}]}], "data_files is neither"),
        ([{"data_files": "gone/*"}], "no file matches gone/\\*, of split 'train'"),
        ([{"data_dir": "gone"}], "data_dir 'gone' holds no data"),
        ([{"data_files": "https://example.com/a.csv?token=abc"}], "from outside of the repository: https://\\.\\.\\."),
    ],
)
def test_a_malformed_card_is_said(configs, words):
    with pytest.raises(InputError, match=words) as error:
        take(FILES, {"configs": configs})
    assert "abc" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "metadata"),
    [
        ("---\nconfigs:\n- config_name: a\n---\n# Card\n---\n", {"configs": [{"config_name": "a"}]}),
        ("\ufeff\r\n---\r\nlicense: mit\r\n---\r\nText", {"license": "mit"}),
        ("---\na: 1\na: 2\n---\n", {"a": 1}),
        ("# No metadata\n---\n", {}),
        ("---\n---\n", {}),
        ("---\n- a list\n---\n", {}),
        ("", {}),
    ],
)
def test_the_metadata_of_a_card(text, metadata, tmp_path: Path):
    path = tmp_path / "README.md"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_card(path, where="x") == metadata


def test_broken_metadata_is_said(tmp_path: Path):
    path = tmp_path / "README.md"
    path.write_text("---\nconfigs: [\n---\n")
    with pytest.raises(InputError, match=r"the metadata of its README\.md cannot be read"):
        read_card(path, where="hub:org/name")


def test_a_glob():
    files = ["README.md", ".git/x.csv", "a.csv", "data/b.csv", "data/deep/c.csv", "data/.hidden.csv"]
    assert by_glob(files, "*.csv", where="x") == ["a.csv"]
    assert by_glob(files, "**/*.csv", where="x") == ["a.csv", "data/b.csv", "data/deep/c.csv"]
    assert by_glob(files, "data/**", where="x") == ["data/b.csv", "data/deep/c.csv"]
    assert by_glob(files, "data/.*", where="x") == ["data/.hidden.csv"]
    with pytest.raises(InputError, match=r"no file matches 'data/d\.csv'") as error:
        by_glob(files, "data/d.csv", where="x")
    assert "data/b.csv" in str(error.value.fix)


PARTS = st.lists(st.sampled_from(["a", "ab", "b.csv", "train"]), min_size=1, max_size=4)


@given(PARTS, st.lists(st.sampled_from(["a", "*", "a*", "**", "*.csv"]), min_size=1, max_size=4))
def test_a_glob_means_what_its_regular_expression_means(parts, pattern):
    # of a path with a slash after each part, `**` takes any number of parts and every other word takes one
    words = {"a": "a/", "*": "[^/]*/", "a*": "a[^/]*/", "**": "(?:[^/]*/)*", "*.csv": r"[^/]*\.csv/"}
    expected = re.fullmatch("".join(words[word] for word in pattern), "/".join(parts) + "/") is not None
    assert matches("/".join(parts), "/".join(pattern)) == expected
    if "**" not in pattern and len(parts) == len(pattern):
        assert expected == all(fnmatchcase(part, word) for part, word in zip(parts, pattern, strict=True))
