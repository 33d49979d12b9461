"""Datasets of the Hub: the unmodified client against a small Hub on this machine."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import hub_server
import pytest
from hub_server import Repo, commit_of

from assay.core.errors import AssayError, InputError, MachineError
from assay.data.hub import download_dataset

CARD = b"""---
configs:
- config_name: en
  default: true
  data_files:
  - {split: train, path: data/en-*}
  - {split: test, path: data/held.jsonl}
- config_name: fr
  data_files: data/fr.csv
---
# Stories
"""
FILES = {
    "README.md": CARD,
    "data/en-00000.parquet": b"PAR1 one",
    "data/en-00001.parquet": b"PAR1 two, longer",
    "data/held.jsonl": b'{"text": "held out"}\n',
    "data/fr.csv": b"text\noui\n",
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[hub_server.Hub]:
    """A Hub that the client finds as a user's would be found, with an empty cache and no token."""
    from huggingface_hub import close_session, constants

    close_session()  # the client keeps its connections, and the proxies that it started with
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    with hub_server.serve() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url + "/")
        served.repos["org/stories"] = Repo.of(FILES)
        yield served
        close_session()


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_a_dataset_is_pinned_to_its_commit(hub, tmp_path):
    found = download_dataset("hub:org/stories", cache=tmp_path / "cache")
    assert [(name, path.read_bytes()) for name, path in found.files] == [
        (name, FILES[name]) for name in ("data/en-00000.parquet", "data/en-00001.parquet")
    ]
    assert all(path.is_relative_to(tmp_path / "hf") for _, path in found.files)
    assert found.commit == commit_of(1)
    assert found.public
    assert found.archive == {
        "spec": "hub:org/stories",
        "name": "org/stories",
        "sha256": commit_of(1),
        "bytes": 24,
        "commit": commit_of(1),
        "config": "en",
        "split": "train",
    }


@pytest.mark.parametrize(
    ("spec", "names", "config", "split"),
    [
        ("hub:org/stories?split=test", ["data/held.jsonl"], "en", "test"),
        ("hub:org/stories?config=fr", ["data/fr.csv"], "fr", "train"),
        ("hub:org/stories@main?config=fr&split=train", ["data/fr.csv"], "fr", "train"),
        ("hub:org/stories/data/*.csv", ["data/fr.csv"], None, None),
        (f"hub:org/stories@{commit_of(1)}/**/en-*", ["data/en-00000.parquet", "data/en-00001.parquet"], None, None),
    ],
)
def test_what_a_spec_chooses(hub, tmp_path, spec, names, config, split):
    found = download_dataset(spec, cache=tmp_path / "cache")
    assert [name for name, _ in found.files] == names
    assert (found.archive["config"], found.archive["split"]) == (config, split)


def test_revisions_and_a_name_without_an_owner(hub, tmp_path):
    commits = {commit_of(1): {"train.txt": b"old"}, commit_of(2): {"train.txt": b"new"}}
    commits[commit_of(3)] = {"default/train/0000.parquet": b"PAR1"}
    refs = {"main": commit_of(2), "v1.0": commit_of(1), "a/branch": commit_of(1), "refs/convert/parquet": commit_of(3)}
    hub.repos["squad"] = Repo(commits, refs)
    for revision, text in {
        "": b"new",
        "@main": b"new",
        "@v1.0": b"old",
        "@a%2Fbranch": b"old",
        f"@{commit_of(1)}": b"old",
        f"@{commit_of(1)}/*.txt": b"old",
        "@refs/convert/parquet": b"PAR1",
        "@refs/convert/parquet/default/train/*": b"PAR1",
        "@refs/convert/parquet?split=train": b"PAR1",
    }.items():
        ((_, path),) = download_dataset(f"hub:squad{revision}", cache=tmp_path / "cache").files
        assert path.read_bytes() == text


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("hub:", "does not name a dataset"),
        ("hub:org/stories@", "does not name a dataset"),
        ("hub:../x", "does not name a dataset"),
        ("hub:org/stories?", "has a part after the \\? that is not understood"),
        ("hub:org/stories?name=en", "has a part after the \\? that is not understood"),
        ("hub:org/stories?config=", "has a part after the \\? that is not understood"),
        ("hub:org/stories/*.csv?split=train", "chooses its files twice: by a glob and by split"),
    ],
)
def test_a_spec_that_is_none(spec, words, tmp_path):
    with pytest.raises(InputError, match=words) as error:
        download_dataset(spec, cache=tmp_path)
    assert "hub:<owner>/<name>" in str(error.value.fix)


@pytest.mark.parametrize(
    ("spec", "words", "fix"),
    [
        ("hub:org/storys", "the Hub has no dataset org/storys, or it is private", "check the spelling"),
        ("hub:org/a--b", "the Hub has no dataset org/a--b", "check the spelling"),
        ("hub:org/stories@v2", "org/stories has no revision 'v2'", "leave @ out"),
        (f"hub:org/stories@{commit_of(9)}", "has no revision", "leave @ out"),
        ("hub:org/stories?split=dev", "has no split 'dev'", "train, test"),
        ("hub:org/stories?config=de", "has no config 'de'", "en, fr"),
        ("hub:org/stories/*.txt", r"no file matches '\*\.txt'", "README.md"),
    ],
)
def test_what_is_not_there_is_said(hub, tmp_path, spec, words, fix):
    with pytest.raises(InputError, match=words) as error:
        download_dataset(spec, cache=tmp_path / "cache")
    assert error.value.where == spec
    assert fix in str(error.value.fix)


def test_a_private_dataset(hub, tmp_path, monkeypatch):
    hub.repos["org/mine"] = Repo.of({"train.txt": b"secret text"}, private=True)
    with pytest.raises(InputError, match="or it is private") as error:
        download_dataset("hub:org/mine", cache=tmp_path / "cache")
    assert "hf auth login" in str(error.value.fix)
    monkeypatch.setenv("HF_TOKEN", hub.token)
    found = download_dataset("hub:org/mine", cache=tmp_path / "cache")
    assert found.files[0][1].read_bytes() == b"secret text"
    assert not found.public


def test_a_gated_dataset_never_shows_the_token(hub, tmp_path, monkeypatch):
    hub.repos["org/gated"] = Repo.of({"train.txt": b"for members"}, gated=True)

    def refused() -> str:
        with pytest.raises(InputError, match="this dataset is gated") as error:
            download_dataset("hub:org/gated", cache=tmp_path / "cache")
        assert "hf auth login" in str(error.value.fix)
        return str(error.value)

    refused()
    monkeypatch.setenv("HF_TOKEN", "hf_the_wrong_one")
    assert "hf_the_wrong_one" not in refused()
    monkeypatch.setenv("HF_TOKEN", hub.token)
    assert download_dataset("hub:org/gated", cache=tmp_path / "cache").files[0][1].read_bytes() == b"for members"


def test_what_was_downloaded_is_found_without_a_network(hub, tmp_path, monkeypatch):
    cache = tmp_path / "cache"
    first = download_dataset("hub:org/stories", cache=cache)
    hub.repos["org/stories"].refs["main"] = "the Hub is not asked"
    asked = len(hub.requests)
    # a commit never changes: no question even with a network
    pinned = download_dataset(f"hub:org/stories@{commit_of(1)}", cache=cache)
    assert pinned.files == first.files
    offline(monkeypatch)
    assert download_dataset("hub:org/stories", cache=cache) == first
    assert len(hub.requests) == asked
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    assert download_dataset("hub:org/stories", cache=cache) == first


def test_a_hub_that_is_out_of_order_is_as_none(hub, tmp_path):
    first = download_dataset("hub:org/stories", cache=tmp_path / "cache")
    hub.broken = 503
    assert download_dataset("hub:org/stories", cache=tmp_path / "cache") == first
    with pytest.raises(MachineError, match="the Hub answered 503"):
        download_dataset("hub:org/others", cache=tmp_path / "cache")


def test_a_token_that_the_hub_refuses(hub, tmp_path):
    hub.broken = 403
    with pytest.raises(InputError, match="the Hub refuses access to org/stories") as error:
        download_dataset("hub:org/stories", cache=tmp_path / "cache")
    assert "hf auth login" in str(error.value.fix)


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:9", None])
def test_without_a_network_it_is_said_what_to_do(hub, tmp_path, monkeypatch, endpoint):
    if endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
    else:
        offline(monkeypatch)
    with pytest.raises(MachineError, match="not in the local cache, and cannot be downloaded") as error:
        download_dataset("hub:org/stories", cache=tmp_path / "cache")
    assert error.value.where == "hub:org/stories"
    assert "hf download --repo-type dataset org/stories" in str(error.value.fix)
    assert endpoint or "HF_HUB_OFFLINE is set" in str(error.value)


def test_a_file_that_was_not_downloaded_is_missed_without_a_network(hub, tmp_path, monkeypatch):
    download_dataset("hub:org/stories", cache=tmp_path / "cache")
    offline(monkeypatch)
    with pytest.raises(MachineError, match="HF_HUB_OFFLINE is set"):
        download_dataset("hub:org/stories?split=test", cache=tmp_path / "cache")


def test_an_address_in_the_clients_message_stays_out(hub, tmp_path, monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError("failed: https://cdn/x?Signature=abc")

    monkeypatch.setattr("huggingface_hub.HfApi.hf_hub_download", fail)
    with pytest.raises(MachineError) as error:
        download_dataset("hub:org/stories", cache=tmp_path / "cache")
    assert "abc" not in str(error.value)
    assert "OSError" in str(error.value)


def test_a_full_disk_is_the_machines_fault(hub, tmp_path, monkeypatch):
    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("huggingface_hub.HfApi.hf_hub_download", fail)
    with pytest.raises(AssayError, match="no space left on the disk") as error:
        download_dataset("hub:org/stories", cache=tmp_path / "cache")
    assert error.value.exit_code == 4


def test_the_client_is_imported_only_when_it_is_needed():
    script = "import sys, assay.data.hub; sys.exit('huggingface_hub' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
