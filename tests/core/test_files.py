"""Files of a run are whole or absent, and say so when they are damaged."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.core import files
from assay.core.errors import InputError, MachineError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def encodable(value: object) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


@given(JSON.filter(encodable))
def test_json_comes_back_as_written(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    path = tmp_path_factory.mktemp("json") / "a" / "b.json"
    files.write_json(path, value)
    assert files.read_json(path) == value
    assert [p.name for p in path.parent.iterdir()] == ["b.json"]


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}])
def test_json_refuses_what_json_has_not(tmp_path: Path, value: object) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        files.write_json(tmp_path / "a.json", value)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    files.write_text(path, "old")

    def half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        files.write_atomic(path, half)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_process_killed_while_it_writes_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    script = (
        "import sys, itertools; from pathlib import Path; from assay.core.files import write_json\n"
        "for n in itertools.count(): write_json(Path(sys.argv[1]), [n] * 50_000)"
    )
    for delay in (0.03, 0.08, 0.15):
        process = subprocess.Popen([sys.executable, "-c", script, str(path)])
        deadline = time.monotonic() + 20
        while not path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        value = files.read_json(path)
        assert len(value) == 50_000
        assert len(set(value)) == 1
    files.remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == [path]


def test_damaged_json_is_named_with_the_fix(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (b'{"a": ', b"", b"\xff\xfe{}"):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"a\.json: is not valid JSON") as caught:
            files.read_json(path)
        assert caught.value.fix
    path.unlink()
    for missing in (path, tmp_path / "b" / "c.json"):
        with pytest.raises(InputError, match=r"\.json: this file is missing\n  fix: restore the file, .* --new"):
            files.read_json(missing)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EPERM])
def test_a_disk_that_cannot_take_it_is_the_machines_fault(code: int) -> None:
    with pytest.raises(MachineError) as caught, files.disk_errors(Path("x")):
        raise OSError(code, os.strerror(code))
    assert caught.value.exit_code == 4
    assert caught.value.fix


def test_other_system_errors_pass_through() -> None:
    with pytest.raises(FileNotFoundError), files.disk_errors(Path("x")):
        raise FileNotFoundError(errno.ENOENT, "gone")


@given(st.lists(JSON.filter(encodable), max_size=5), st.text(alphabet='{["ab:', min_size=1, max_size=6))
def test_lines_survive_a_torn_one(tmp_path_factory: pytest.TempPathFactory, values: list[object], torn: str) -> None:
    path = tmp_path_factory.mktemp("lines") / "events.jsonl"
    for value in values:
        files.append_line(path, value)
    with path.open("ab") as stream:
        stream.write(b'{"torn' + torn.encode())
    files.append_line(path, {"after": 1})
    assert files.read_lines(path) == [*values, {"after": 1}]


def test_lines_of_a_missing_file_are_none(tmp_path: Path) -> None:
    assert files.read_lines(tmp_path / "nothing.jsonl") == []


def test_a_directory_appears_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "checkpoint"
    with files.directory_atomic(target) as folder:
        (folder / "a").write_text("1")
        assert not target.exists()
    assert (target / "a").read_text() == "1"
    with pytest.raises(IsADirectoryError), files.directory_atomic(target) as folder:
        folder.write_text("2")
    assert (target / "a").read_text() == "1"
    with files.directory_atomic(target) as folder:
        (folder / "b").write_text("3")
    assert [p.name for p in target.iterdir()] == ["b"]
    assert list(tmp_path.iterdir()) == [target]


def test_leftovers_go_and_the_rest_stays(tmp_path: Path) -> None:
    (tmp_path / "sub" / ".model.abc.tmp").mkdir(parents=True)
    (tmp_path / "sub" / ".model.abc.tmp" / "x").write_text("x")
    (tmp_path / ".a.json.xyz.tmp").write_text("x")
    (tmp_path / "kept.tmp").write_text("x")
    files.remove_leftovers(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["kept.tmp", "sub"]


def test_hashes_are_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes("größer".encode())
    expected = hashlib.sha256("größer".encode()).hexdigest()
    assert files.sha256_file(tmp_path / "a") == files.sha256_text("größer") == expected


@given(st.dictionaries(st.text(alphabet="abcdef"), st.integers(), min_size=2, max_size=5))
def test_the_hash_of_json_does_not_see_the_order_of_keys(value: dict[str, int]) -> None:
    turned = dict(reversed(value.items()))
    assert files.sha256_json(value) == files.sha256_json(turned)
    assert files.sha256_json(value) != files.sha256_json({**value, "new": 1})


@pytest.mark.parametrize(
    "words",
    [
        "Error while serializing: I/O error: No space left on device (os error 28)",
        "Disk quota exceeded (os error 122)",
        "failed: os error 28",
        "database or disk is full",
    ],
)
def test_libraries_that_tell_a_full_disk_in_words(words: str) -> None:
    with pytest.raises(MachineError, match="no space left"), files.disk_errors(Path("x")):
        raise Exception(words)


def test_what_is_no_full_disk_passes_through() -> None:
    for error in (ValueError("os error 2"), ZeroDivisionError(), InputError("the disk is full of stars")):
        with pytest.raises(type(error)) as caught, files.disk_errors(Path("x")):
            raise error
        assert caught.value is error


LIMITED = """
import resource, sys
from pathlib import Path
import numpy, polars
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models
from assay.core.errors import MachineError
from assay.core.files import append_line, directory_atomic, write_atomic, write_text

folder, numbers = Path(sys.argv[1]), numpy.random.default_rng(1).random(100_000)
frame = polars.DataFrame({"a": numbers})
tokenizer = Tokenizer(models.WordLevel({f"word {n}": n for n in range(20_000)}, unk_token="word 0"))
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))

def checkpoint():
    with directory_atomic(folder / "checkpoint") as target:
        save_file({"a": numbers}, target / "a.safetensors")

writes = {
    "text": lambda: write_text(folder / "a", "x" * 100_000),
    "line": lambda: append_line(folder / "b.jsonl", "x" * 100_000),
    "safetensors": checkpoint,
    "polars": lambda: write_atomic(folder / "c", frame.write_parquet),
    "tokenizers": lambda: write_atomic(folder / "d", lambda path: tokenizer.save(str(path))),
}
for name, write in writes.items():
    try:
        write()
    except MachineError as error:
        assert "no space left" in str(error) and error.fix, error
    else:
        sys.exit(f"{name} was written")
"""


def test_a_disk_that_is_full_for_any_library_is_the_machines_fault(tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: the same path through every library."""
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "old").write_text("old")
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.jsonl", "checkpoint"]
    assert (tmp_path / "checkpoint" / "old").read_text() == "old"


def test_a_folder_that_cannot_be_made_is_named_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "a" / "b", tmp_path / ("n" * 300)):
        with pytest.raises(InputError, match="this folder cannot be made") as caught:
            files.make_folder(path)
        assert (caught.value.where, bool(caught.value.fix)) == (str(path), True)
    with pytest.raises(InputError, match=r"/file is a file"):
        files.write_text(tmp_path / "file" / "a.txt", "x")


def test_a_directory_is_not_replaced_unless_it_may_be(tmp_path: Path) -> None:
    target = tmp_path / "run"
    with files.directory_atomic(target, replace=False) as folder:
        (folder / "a").write_text("1")
    with pytest.raises(InputError, match="already exists"), files.directory_atomic(target, replace=False):
        pytest.fail("nothing is made for a place that is taken")
    quicker = tmp_path / "another"

    def late() -> None:
        with files.directory_atomic(quicker, replace=False) as folder:
            (folder / "b").write_text("2")
            files.write_text(quicker / "theirs", "3")

    with pytest.raises(InputError, match="already exists"):
        late()
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == [
        "another", "another/theirs", "run", "run/a"
    ]  # fmt: skip


def test_the_old_directory_stays_where_the_new_one_cannot_be_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, rename = tmp_path / "checkpoint", Path.rename
    with files.directory_atomic(target) as folder:
        (folder / "a").write_text("1")

    def fails(self: Path, to: Path) -> Path:
        if to == target and not (self / "a").exists():
            raise OSError(errno.EIO, "a broken disk")
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(OSError, match="a broken disk"), files.directory_atomic(target) as folder:
        (folder / "b").write_text("2")
    assert [p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")] == ["checkpoint", "checkpoint/a"]


def test_a_line_may_hold_any_character(tmp_path: Path) -> None:
    values = ["a\u2028b\u2029c\x85d\x1ce\x0bf\x0cg\rh\ni", "next"]
    for value in values:
        files.append_line(tmp_path / "a.jsonl", value)
    assert files.read_lines(tmp_path / "a.jsonl") == values
